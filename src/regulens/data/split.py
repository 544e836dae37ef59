"""The split of a data set's images into train, validation and the held-out test set."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regulens.errors import UserError
from regulens.spec import DataSpec, Stage


@dataclass(frozen=True, eq=False)
class Split:
    """Indices into a data set's images, int64 each: disjoint, and together all that are used."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]

    @property
    def refit(self) -> NDArray[np.int64]:
        """Train and validation together: what the chosen network is fitted on again."""
        return np.concatenate([self.train, self.validation])

    def fitted(self, stage: Stage) -> NDArray[np.int64]:
        """What a run of this stage is trained on."""
        return self.refit if stage == "refit" else self.train

    def judged(self, stage: Stage) -> NDArray[np.int64]:
        """What it is validated on while it trains: nothing in a refit."""
        return self.validation[:0] if stage == "refit" else self.validation


def split(images: int, spec: DataSpec) -> Split:
    """Split as the lab did: scikit-learn's ``train_test_split`` twice, not stratified.

    First the held-out share is cut off, then it is parted: its first part is test, its second validation.
    The same numbers give the same member images as the same two calls in any script.

    Args:
        images: how many the data set has.
        spec: of a run, its ``parts``, which hold the seed of that run's split.

    Raises:
        UserError: if a part would be empty.
    """
    indices = np.arange(images)
    if spec.limit is not None and spec.limit < images:
        indices, _ = _train_test_split(indices, images - spec.limit, spec.split_seed)
    held_out = _images(spec.validation + spec.test, len(indices))
    for_validation = _images(spec.validation / (spec.validation + spec.test), held_out)
    train, rest = _train_test_split(indices, held_out, spec.split_seed)
    test, validation = _train_test_split(rest, for_validation, spec.split_seed)
    if not min(len(train), len(validation), len(test)):
        raise UserError(
            f"data.validation = {spec.validation}, data.test = {spec.test}: too small a share of "
            f"{len(indices)} images; each part needs at least one"
        )
    return Split(train, validation, test)


def _train_test_split(indices: NDArray[np.int64], test: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what scikit-learn's function of this name returns, without its import of a second in every worker."""
    order = np.random.RandomState(seed).permutation(len(indices))
    return indices[order[test:]], indices[order[:test]]


def _images(share: float, of: int) -> int:
    """Round up, as scikit-learn does, but not on the last bit of 0.1 + 0.2."""
    return math.ceil(round(share * of, 6))
