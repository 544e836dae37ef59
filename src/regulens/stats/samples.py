"""The runs of one cell as the statistics take them: arrays, and nothing of what was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regulens.stats.ties import joined


@dataclass(frozen=True, eq=False)
class Sample:
    """The runs of one cell.

    Attributes:
        values: (n,) the response of each run, finite.
        collapsed: (n,) which runs count as collapsed; none where collapse is not looked for.
        seeds: (n,) the seed of each run, which names its block where seeds are blocks.

    Raises:
        ValueError: if the shapes differ, there is no run, or a value is not finite.
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
        if not np.isfinite(self.values).all():
            raise ValueError("values must be finite")

    @property
    def n(self) -> int:
        """The number of runs."""
        return len(self.values)

    @property
    def collapses(self) -> int:
        """The number of collapsed runs."""
        return int(self.collapsed.sum())

    @property
    def trained(self) -> NDArray[np.float64]:
        """The values of the runs that did not collapse."""
        return self.values[~self.collapsed]


def sample(values: ArrayLike, collapsed: ArrayLike | None = None, seeds: ArrayLike | None = None) -> Sample:
    """Make a sample of (n,) values; by default none collapsed, and the seeds are 0 to n - 1."""
    x = np.asarray(values, np.float64)
    return Sample(
        x,
        np.zeros(x.shape, np.bool_) if collapsed is None else np.asarray(collapsed, np.bool_),
        np.arange(x.size) if seeds is None else np.asarray(seeds, np.int64),
    )


def joined_samples(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples of one response with values that differ by rounding alone made the same (``ties.joined``)."""
    if not samples:
        return []
    values = joined([each.values for each in samples])
    return [replace(each, values=x) for each, x in zip(samples, values, strict=True)]
