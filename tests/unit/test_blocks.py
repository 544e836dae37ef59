"""Runs of one seed that go together across cells."""

import numpy as np
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from regulens.stats.blocks import block_correlation, pairing_advice
from regulens.stats.samples import sample


def _cells(rho: float, seeds: int, cells: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(seeds)
    return [
        sample(0.9 + 0.01 * (k + 1) * (np.sqrt(rho) * common + np.sqrt(1 - rho) * rng.standard_normal(seeds)))
        for k in range(cells)
    ]


def test_the_correlation_of_two_cells_is_pearsons():
    a, b = _cells(0.8, 12, 2)
    found = block_correlation([a, b])
    assert found is not None
    assert found.correlation == pytest.approx(np.corrcoef(a.values, b.values)[0, 1])


def test_p_is_that_of_seeds_in_an_analysis_of_variance_of_standardized_cells():
    import pandas as pd

    cells = _cells(0.5, 8, 3)
    rows = [
        {"cell": k, "seed": int(s), "y": (v - c.values.mean()) / c.values.std(ddof=1)}
        for k, c in enumerate(cells)
        for s, v in zip(c.seeds, c.values, strict=True)
    ]
    table = anova_lm(ols("y ~ C(cell) + C(seed)", pd.DataFrame(rows)).fit(), typ=2)
    found = block_correlation(cells)
    assert found is not None
    assert found.p == pytest.approx(table.loc["C(seed)", "PR(>F)"], rel=1e-9)


def test_advice_names_the_correlation_and_that_pairing_now_is_a_deviation():
    text = pairing_advice(_cells(0.9, 20, 4))
    assert "across cells (20 seeds)" in text
    assert "deviation" in text


def test_independent_seeds_are_advised_against_in_one_percent_of_studies():
    advised = sum(bool(pairing_advice(_cells(0.0, 10, 4, seed))) for seed in range(400))
    assert advised <= 11


def test_nothing_is_said_of_few_seeds_or_cells_that_share_none():
    assert block_correlation(_cells(0.9, 3, 4)) is None
    a, b = _cells(0.9, 8, 2)
    other = sample(b.values, seeds=b.seeds + 100)
    assert block_correlation([a, other]) is None
