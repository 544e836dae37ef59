"""Posterior shares stand beside the verdicts, labelled, and change none of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from regulens.api import Study
from regulens.report.posterior import posterior_tables
from regulens.report.wording import unit_of
from regulens.stats.comparison_posteriors import comparison_posteriors
from regulens.study.analysis_text import comparison_table
from regulens.study.own_numbers import OwnAnalysis, analyze
from regulens.study.posterior_text import posterior_note, posterior_table, share_text


def analyzed(rope: float | None = None, low_n: int = 5, **options: object) -> OwnAnalysis:
    rows = [
        (name, seed, 0.8 + shift + 0.002 * ((seed * 7) % 5))
        for name, shift, n in (("none", 0.0, 5), ("batchnorm", 0.05, 5), ("l2", 0.003, low_n))
        for seed in range(n)
    ]
    data = pd.DataFrame(rows, columns=["regularizer", "seed", "val_accuracy"])
    return analyze(data, response="val_accuracy", factors="regularizer", seed="seed", rope=rope, **options)


def test_the_table_has_the_shares_and_the_verdict_of_each_comparison() -> None:
    found = analyzed()
    table = posterior_table(found.analysis)
    assert table is not None
    assert table.columns == ("regularizer", "verdict", "better", "equivalent", "worse", "other priors ±")
    batchnorm, l2 = table.rows
    assert batchnorm[:3] == ("batchnorm – none", "better", "> 0.999")
    [_, posterior] = comparison_posteriors(found.analysis)
    assert posterior is not None
    assert l2[2:5] == tuple(f"{share:.3f}" for share in (posterior.better, posterior.equivalent, posterior.worse))
    assert sum(map(float, l2[2:5])) == pytest.approx(1, abs=0.002)


def test_without_a_region_no_share_is_equivalent() -> None:
    table = posterior_table(analyzed(rope=0).analysis)
    assert table is not None
    assert "equivalent" not in table.columns
    assert "above or below zero" in posterior_note(analyzed(rope=0).analysis)


def test_the_note_labels_them_and_states_the_prior() -> None:
    note = posterior_note(analyzed().analysis)
    for words in ("exploratory", "no verdict depends on them", "Cauchy about zero, half of it within ±0.05", "±0.005"):
        assert words in note
    few = posterior_note(analyzed(low_n=2).analysis)
    assert "1 of 2 have none" in few


def test_the_json_has_them_where_there_are_any() -> None:
    first, second = json.loads(analyzed(low_n=2).to_json())["comparisons"]
    assert first["posterior_better"] + first["posterior_equivalent"] + first["posterior_worse"] == pytest.approx(1)
    assert first["posterior_scale"] == 0.05
    assert 0 <= first["posterior_change"] < 0.01
    assert not any(name.startswith("posterior") for name in second)


def test_medians_have_none() -> None:
    assert posterior_table(analyzed(primary="median").analysis) is None


def test_the_table_of_verdicts_is_silent_on_them() -> None:
    assert "posterior" not in str(comparison_table(analyzed().analysis))


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0.000"), (1.0, "1.000"), (0.99951, "> 0.999"), (0.0004, "< 0.001"), (0.9994, "0.999"), (np.nan, "–")],
)
def test_certainty_is_written_only_where_it_is(share: float, text: str) -> None:
    assert share_text(share) == text


def test_the_report_has_them_where_cells_have_three_runs(finished: Study) -> None:
    unit = unit_of("val_accuracy")
    two_runs = finished.analysis()
    assert not list(posterior_tables(finished.spec, two_runs, unit))
    [table] = posterior_tables(finished.spec, replace(two_runs, analysis=analyzed().analysis), unit)
    assert "Bayesian and exploratory" in table.caption
    assert table.rows[0][1:4] == ("batchnorm against none", "better", "> 0.999")
    assert "half of it within ±5 percentage points" in table.note
