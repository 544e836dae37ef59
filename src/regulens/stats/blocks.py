"""Whether runs of one seed go up and down together in different cells, so that they should be compared as pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from regulens.stats.samples import Sample
from regulens.stats.ties import constant

LEAST_BLOCKS = 4


@dataclass(frozen=True)
class BlockCorrelation:
    """How alike cells are in what their seeds do.

    Attributes:
        correlation: the mean correlation of two cells over the seeds that all have.
        p: one-sided, of no correlation.
        blocks: the number of these seeds.
    """

    correlation: float
    p: float
    blocks: int


def block_correlation(cells: Sequence[Sample]) -> BlockCorrelation | None:
    """Return how far the runs of one seed agree across cells, by two-way analysis of variance.

    Each cell is standardized, so that those that spread more do not decide; the correlation is then the intraclass
    one, ``(MS_seeds - MS_rest) / (MS_seeds + (k - 1) MS_rest)`` of k cells, and p that of ``F = MS_seeds / MS_rest``
    (Shrout and Fleiss 1979, Psychological Bulletin 86, 420-428, ICC(3, 1)).

    Args:
        cells: those with a run of a seed twice, or without spread, are left out, as are runs that failed to train.

    Returns:
        None below two such cells, or below ``LEAST_BLOCKS`` seeds that all have.
    """
    kept = [each for each in cells if len(np.unique(each.seeds)) == each.n and not constant(_known(each))]
    if len(kept) < 2:
        return None
    seeds = reduce(np.intersect1d, [each.seeds[~each.collapsed] for each in kept])
    if len(seeds) < LEAST_BLOCKS:
        return None
    table = np.array([_values_of(each, seeds) for each in kept])
    if any(constant(row) for row in table):
        return None
    table = (table - table.mean(axis=1, keepdims=True)) / table.std(axis=1, ddof=1, keepdims=True)
    k, blocks = table.shape
    between = k * float(table.mean(axis=0).var(ddof=1))
    rest = max((k * (blocks - 1) - between * (blocks - 1)) / ((k - 1) * (blocks - 1)), 0.0)  # sum of squares: k (J - 1)
    correlation = (between - rest) / (between + (k - 1) * rest)
    p = float(stats.f.sf(between / rest, blocks - 1, (k - 1) * (blocks - 1))) if rest > 0 else 0.0
    return BlockCorrelation(correlation, p, blocks)


def pairing_advice(cells: Sequence[Sample]) -> str:
    """Say that seeds go together, and what to do about it in the next study; empty where they do not."""
    found = block_correlation(cells)
    if found is None or found.p >= 0.01 or math.isnan(found.correlation) or found.correlation < 0.3:
        return ""
    return (
        f"runs of one seed correlate by {found.correlation:.1f} across cells ({found.blocks} seeds): declare them as "
        "pairs in the next study, before its runs; to pair these now is a deviation from the declared analysis"
    )


def _known(sample: Sample) -> NDArray[np.float64]:
    return sample.trained if len(sample.trained) else np.zeros(1)


def _values_of(sample: Sample, seeds: NDArray[np.int64]) -> NDArray[np.float64]:
    by_seed = dict(zip(sample.seeds.tolist(), sample.values.tolist(), strict=True))
    return np.array([by_seed[seed] for seed in seeds.tolist()])
