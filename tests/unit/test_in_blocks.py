"""Blocks in the analysis of variance and in the winner's curse."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.anova import AnovaRM

from regulens.stats.anova import analyse_variance
from regulens.stats.samples import on_common_blocks, sample
from regulens.stats.selection import selection_optimism


def _table(blocks: int, seed: int, block_sd: float = 3.0) -> dict[tuple[int, str], np.ndarray]:
    rng = np.random.default_rng(seed)
    shared = block_sd * rng.standard_normal(blocks)
    return {(d, r): shared + rng.standard_normal(blocks) for d in (1, 2) for r in ("none", "l2")}


def test_f_within_blocks_is_that_of_randomized_blocks_by_hand():
    values = _table(8, 0)
    table = np.array(list(values.values()))
    found = analyse_variance(("depth", "regularizer"), values, blocks=True)
    rest = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    assert found.residual_ss == pytest.approx(float((rest**2).sum()))
    assert found.residual_df == 3 * 7


def test_the_robust_f_of_one_degree_of_freedom_is_that_of_repeated_measures():
    values = _table(9, 1)
    rows = [
        {"depth": d, "regularizer": r, "block": b, "y": y}
        for (d, r), x in values.items()
        for b, y in enumerate(x.tolist())
    ]
    wanted = AnovaRM(pd.DataFrame(rows), "y", "block", within=["depth", "regularizer"]).fit().anova_table
    found = {
        source.factors: source for source in analyse_variance(("depth", "regularizer"), values, blocks=True).sources
    }
    for factors, row in ((("depth",), "depth"), (("regularizer",), "regularizer")):
        assert found[factors].robust_f == pytest.approx(wanted.loc[row, "F Value"])
        assert found[factors].robust_p == pytest.approx(wanted.loc[row, "Pr > F"])


def test_blocks_that_cells_share_are_no_luck_of_the_choice():
    """Equal cells: the true optimism is that of the best of four independent means, whatever the blocks share."""
    rng = np.random.default_rng(2)
    estimates, unpaired, true = [], [], []
    for _ in range(60):
        shared = 4 * rng.standard_normal(10)
        cells = [sample(shared + rng.standard_normal(10)) for _ in range(4)]
        estimates.append(selection_optimism(cells, rng, 300, blocks=True).estimate)
        unpaired.append(selection_optimism(cells, rng, 300).estimate)
        true.append(max(float((cell.values - shared).mean()) for cell in cells))
    assert np.mean(estimates) == pytest.approx(np.mean(true), rel=0.25)
    assert np.mean(unpaired) > 2 * np.mean(true)


def test_samples_are_cut_down_to_the_blocks_that_all_have():
    a, b = sample([1.0, 2.0, 3.0], seeds=[2, 0, 1]), sample([5.0, 6.0], seeds=[1, 2])
    first, second = on_common_blocks([a, b])
    assert first.values.tolist() == [3.0, 1.0]
    assert second.values.tolist() == [5.0, 6.0]
    assert on_common_blocks([a, sample([1.0], seeds=[7])]) == []
