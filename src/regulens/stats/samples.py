"""The runs of one cell as the statistics take them: arrays, and nothing of what was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regulens.stats.ties import joined


@dataclass(frozen=True, eq=False)
class Sample:
    """The runs of one cell.

    Attributes:
        values: (n,) the response of each run; NaN where a run diverged and has none.
        collapsed: (n,) which runs failed to train: collapsed, or diverged; none where that is not looked for.
        seeds: (n,) the seed of each run, which names its block where seeds are blocks.

    Raises:
        ValueError: if the shapes differ, there is no run, or a run that trained has no finite value.
    """

    values: NDArray[np.float64]
    collapsed: NDArray[np.bool_]
    seeds: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or not len(self.values):
            raise ValueError(f"values must be a non-empty vector, got shape {self.values.shape}")
        if not self.values.shape == self.collapsed.shape == self.seeds.shape:
            shapes = f"{self.values.shape}, {self.collapsed.shape}, {self.seeds.shape}"
            raise ValueError(f"values, collapsed and seeds must have one shape, got {shapes}")
        if not np.isfinite(self.values[~self.collapsed]).all():
            raise ValueError("values of runs that trained must be finite")
        if np.isinf(self.values).any():
            raise ValueError("the value of a run that diverged must be NaN, not infinite")

    @property
    def n(self) -> int:
        """The number of runs."""
        return len(self.values)

    @property
    def collapses(self) -> int:
        """The number of runs that failed to train."""
        return int(self.collapsed.sum())

    @property
    def diverged(self) -> NDArray[np.bool_]:
        """(n,) which runs have no value."""
        return np.isnan(self.values)

    @property
    def trained(self) -> NDArray[np.float64]:
        """The values of the runs that trained."""
        return self.values[~self.collapsed]

    def all_trained(self) -> Sample:
        """Return the runs with none of them set apart; those without a value are left out."""
        known = ~self.diverged
        return Sample(self.values[known], np.zeros(int(known.sum()), np.bool_), self.seeds[known])

    def filled(self, value: float) -> NDArray[np.float64]:
        """Return (n,) the response of each run, with a value for those that diverged."""
        return np.where(self.diverged, value, self.values)


def sample(values: ArrayLike, collapsed: ArrayLike | None = None, seeds: ArrayLike | None = None) -> Sample:
    """Make a sample of (n,) values; by default none collapsed, and the seeds are 0 to n - 1."""
    x = np.asarray(values, np.float64)
    return Sample(
        x,
        np.zeros(x.shape, np.bool_) if collapsed is None else np.asarray(collapsed, np.bool_),
        np.arange(x.size) if seeds is None else np.asarray(seeds, np.int64),
    )


def on_common_blocks(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples cut down to the seeds that all have, in one order; of runs of one seed and cell, the first."""
    common = reduce(np.intersect1d, [each.seeds for each in samples])
    kept = []
    for each in samples:
        _, place = np.unique(each.seeds, return_index=True)
        rows = place[np.isin(each.seeds[place], common)]
        kept.append(Sample(each.values[rows], each.collapsed[rows], each.seeds[rows]) if len(rows) else each)
    return kept if len(common) else []


def joined_samples(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples of one response with values that differ by rounding alone made the same (``ties.joined``)."""
    if not samples:
        return []
    finite = joined([each.values[~each.diverged] for each in samples])
    joint = []
    for each, x in zip(samples, finite, strict=True):
        values = each.values.copy()
        values[~each.diverged] = x
        joint.append(replace(each, values=values))
    return joint
