"""The split of a data set's images into train, validation and the sealed test part."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regulens.errors import UserError
from regulens.spec import DataSpec


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


def split(images: int, spec: DataSpec) -> Split:
    """Split as the lab did: scikit-learn's ``train_test_split`` twice, not stratified.

    First the held-out share is cut off, then it is parted: its first part is test, its second validation.
    The same numbers give the same member images as the same two calls in any script.

    Raises:
        UserError: if a part would be empty.
    """
    from sklearn.model_selection import train_test_split

    indices = np.arange(images)
    if spec.limit is not None and spec.limit < images:
        indices, _ = train_test_split(indices, train_size=spec.limit, random_state=spec.split_seed)
    held_out = _images(spec.validation + spec.test, len(indices))
    for_validation = _images(spec.validation / (spec.validation + spec.test), held_out)
    try:
        train, rest = train_test_split(indices, test_size=held_out, random_state=spec.split_seed)
        test, validation = train_test_split(rest, test_size=for_validation, random_state=spec.split_seed)
    except ValueError:
        raise UserError(
            f"data.validation = {spec.validation}, data.test = {spec.test}: too small a share of "
            f"{len(indices)} images; each part needs at least one"
        ) from None
    return Split(train, validation, test)


def _images(share: float, of: int) -> int:
    """Round up, as scikit-learn does, but not on the last bit of 0.1 + 0.2."""
    return math.ceil(round(share * of, 6))
