"""The arithmetic over many studies, with which the calibration is simulated, equals the real functions."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from regulens.stats.cells import Cells
from regulens.stats.comparisons import compare
from regulens.stats.design import Design
from regulens.stats.samples import Sample

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import vectorized

PAIRS = [(1, 0), (2, 0), (3, 0), (2, 3)]


@pytest.mark.parametrize("rope", [0.0, 0.3])
@pytest.mark.parametrize("n", [4, 6, 15])
def test_differences_and_verdicts_of_many_studies_are_those_of_each(n: int, rope: float) -> None:
    rng, studies = np.random.default_rng(n), 25
    values = 1 - rng.exponential(1, (studies, 4, n))
    values[:, 1] *= 3
    values[:, 2] += 2
    collapsed = rng.random(values.shape) < 0.08
    present = np.ones(values.shape, np.bool_)
    present[:, 3, n // 2 + 1 :] = False
    found = vectorized.differences(vectorized.moments(values, present & ~collapsed), PAIRS)
    alpha = 0.05 / len(PAIRS)
    said = vectorized.verdicts(found, rope, alpha)
    for study in range(studies):
        cells = {
            cell: Sample(x[there], failed[there], np.arange(there.sum()))
            for cell, (x, failed, there) in enumerate(zip(values[study], collapsed[study], present[study], strict=True))
        }
        real = compare(PAIRS, Cells(cells, Design(rope=rope)))
        assert [each.verdict for each in real] == list(said[study])
        bounds = [(each.difference.low, each.difference.high) for each in real]
        over_arrays = np.column_stack([found.lower(alpha / 2)[study], found.upper(alpha / 2)[study]])
        np.testing.assert_allclose(over_arrays, bounds, rtol=1e-9)
