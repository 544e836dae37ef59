"""A report says what its verdicts hold for, at which error, by which rule, and what nobody tested."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter

from regulens.report import tables
from regulens.report.conditions import assumptions, conditions, exploratory_text, family_of, levels_text, rule_text
from regulens.report.pairs import failures_text, pair_of
from regulens.report.sentences import (
    claim_sentence,
    collapse_sentences,
    comparison_sentence,
    interaction_sentences,
    methods_texts,
    verdict_counts,
)
from regulens.report.tables import cells_table, claims_table, comparisons_table, factor_table, rates_table
from regulens.report.wording import unit_of
from regulens.report.written import analysis_blocks, results_blocks
from regulens.results import Environment, RunResult
from regulens.spec import StudySpec
from regulens.stats.autocorrelation import autocorrelation_power
from regulens.study.analysis import StudyAnalysis, analyse_study
from regulens.study.grid import planned
from regulens.study.study_file import parse_study

HERE = Environment(
    regulens="0", python="3", torch="2", numpy="2", platform="here", cpu="one", device="cpu", kernels="reference"
)
UNIT = unit_of("val_accuracy")
CLAIM = '[[claims]]\nid = "bn"\ntext = "Batch norm helps."\nkind = "greater"\na = "batchnorm"\nb = "none"\n'
SHAPE = np.array([-1.6, -1.0, -0.65, -0.35, -0.1, 0.1, 0.35, 0.65, 1.0, 1.6])


def study_of(rest: str = "", depths: str = "[1, 2]") -> StudySpec:
    factors = f'[factors]\nmodel.depth = {depths}\nregularizer = ["none", "batchnorm"]\n'
    return parse_study(f'name = "made-up"\nseeds = 10\n{factors}{rest}', "made-up")


def runs_of(
    study: StudySpec, gain: float = 0.03, collapsed: int = 0, diverged: int = 0, sd: float = 0.003
) -> list[RunResult]:
    """Make runs whose accuracies are symmetric; runs of ``none`` at depth 2 collapse or diverge, the first ones."""
    made = []
    for spec in planned(study):
        batchnorm, seed = spec.regularizer == "batchnorm", spec.seed
        lost = not batchnorm and spec.model.depth == 2
        accuracy = 0.9 + gain * batchnorm + sd * SHAPE[seed]
        accuracy = 0.1 if lost and seed < collapsed + diverged else accuracy
        made.append(
            RunResult(
                run_id=f"{spec.model.depth} {spec.regularizer} {seed}",
                cell_id=f"{spec.model.depth} {spec.regularizer}",
                dataset_digest="0",
                spec=spec,
                parameters_total=1,
                parameters_trainable=1,
                train_images=4000,
                val_class_counts=(100,) * 10,
                train_loss=0.1,
                train_accuracy=accuracy,
                val_loss=math.nan if lost and seed < diverged else 1.0 - accuracy,
                val_accuracy=accuracy,
                train_seconds=1.0,
                epochs=(),
                environment=HERE,
            )
        )
    return made


def found_of(study: StudySpec, **changes: float) -> StudyAnalysis:
    return analyse_study(study, runs_of(study, **changes))  # type: ignore[arg-type]


def test_conditions_name_what_is_drawn_anew_the_images_and_the_split() -> None:
    study = study_of()
    found = found_of(study)
    assert conditions(study, found) == "over new seeds, for this split and these 1,000 validation images"
    images = ("seeds", "images")
    assert conditions(study, found, images) == "over new seeds and images (1,000 validation images), for this split"
    splits = conditions(study, found, ("seeds", "split"))
    assert splits == "over new seeds and splits of the data (1,000 validation images in each)"
    assert "4,000 training and 1,000 validation images" in conditions(study, found, ("seeds",), "gap")
    assert conditions(study, found, ("seeds",), "train_seconds") == "over new seeds, on this machine"
    several = replace(found, val_images=(270, 9000))
    assert "270 or 9,000 validation images" in conditions(study, several)
    factor = study.model_copy(update={"factors": study.factors | {"data.split_seed": [1, 2]}})
    assert conditions(factor, found, images).endswith("for these splits")


def test_levels_are_those_of_both_answers_and_of_what_claims_leave() -> None:
    alone, with_claims = study_of(), study_of(CLAIM)
    found = found_of(alone)
    assert family_of(found).alpha_of_one == pytest.approx(0.05 / 4)
    assert levels_text(found) == (
        "Two-sided 98.75 % intervals: the 2 comparisons, each with two answers, hold together with 95 % (Bonferroni)."
    )
    shared = analyse_study(with_claims, runs_of(with_claims), level=0.96)
    assert family_of(shared).alpha_of_one == pytest.approx(0.02 / 4)
    assert levels_text(shared) == (
        "Two-sided 99.5 % intervals: the 2 comparisons, each with two answers, hold together with 98 % (Bonferroni); "
        "comparisons and claims together err by 4 % at most, 2 % the comparisons and 2 % the claims. The rest of the "
        "error of 5 % belongs to other looks at a study that grows."
    )


def test_the_rule_tells_every_word_and_that_one_sided_bounds_decide() -> None:
    study = study_of()
    rule = rule_text(found_of(study), UNIT)
    for words in ("Better or worse", "equivalent", "Equivalent, above", "Size open", "Undecided", "Too few", "Mixed"):
        assert f"{words}" in rule
    assert "beyond the ROPE (±0.5 percentage points)" in rule
    assert "may clear an edge that the two-sided interval touches" in rule
    without = rule_text(found_of(study_of("[analysis]\nrope = 0\n")), UNIT)
    assert "Without a ROPE nothing is equivalent." in without


def test_a_sentence_has_both_answers_what_undoes_it_and_what_it_holds_for() -> None:
    study = study_of()
    found = found_of(study, collapsed=2)
    [_, second] = found.analysis.comparisons
    said = comparison_sentence(study, second, found)
    assert said.cells == ("depth 2, batchnorm", "depth 2, none")
    pair = pair_of(study, second, found)
    assert pair is not None
    assert pair.failed == (0, 2)
    for words in (
        f"At depth 2, batchnorm is better than none when it trains: {pair.size}",
        "by the bound that decides. ",
        "Which trains more often is undecided: 0 of 10 against 2 of 10 runs failed to train, −20 percentage points (",
        "Undone if batchnorm fails to train ",
        " percentage points more often than none (means of all runs then equal); seen 0/10 and 2/10, which excludes",
        "Over new seeds, for this split and these 1,000 validation images; ROPE ±0.5 percentage points.",
    ):
        assert words in said.text


def test_tables_show_what_decides_first_failures_always_and_the_bound() -> None:
    study = study_of()
    found = found_of(study, collapsed=2)
    cells = cells_table(study, found, UNIT)
    assert cells.columns == ("network", "n", "mean, trained", "failed", "mean, all runs", "median, all runs")
    assert [row[3] for row in cells.rows] == ["0 (0 to 28 %)", "0 (0 to 28 %)", "2 (6 to 51 %)", "0 (0 to 28 %)"]
    table = comparisons_table(study, found, UNIT)
    assert table.caption == "Differences in validation accuracy of runs that trained, in percentage points"
    assert table.columns == ("where", "", "difference", "bound", "unadjusted 95 %", "all runs", "verdict")
    assert [row[-1] for row in table.rows] == ["better", "better"]
    assert all(row[3].startswith("at least +2.") for row in table.rows)
    for words in (levels_text(found), rule_text(found, UNIT), "Verdicts are over new seeds, for this split"):
        assert words in table.note
    rates = rates_table(study, found)
    assert [row[2:4] for row in rates.rows] == [("0 of 10", "0 of 10"), ("0 of 10", "2 of 10")]
    assert [row[-1] for row in rates.rows] == ["undecided", "undecided"]
    assert "ROPE ±5 percentage points, over new seeds" in rates.note


def test_where_nothing_is_judged_by_a_bound_there_is_no_column_of_bounds() -> None:
    study = study_of()
    found = found_of(study, gain=0.004)
    table = comparisons_table(study, found, UNIT)
    assert [row[-1] for row in table.rows] == ["better (size open)"] * 2
    assert "bound" not in table.columns


def test_the_mean_of_all_runs_comes_first_where_it_is_declared() -> None:
    study = study_of('[analysis]\nprimary = "mean"\n')
    found = found_of(study, collapsed=2)
    assert cells_table(study, found, UNIT).columns[2:5] == ("mean, all runs", "failed", "mean, trained")
    assert comparisons_table(study, found, UNIT).columns[-2:] == ("trained runs", "verdict")
    assert "in the mean of all runs" in comparison_sentence(study, found.analysis.comparisons[0], found).text


def test_runs_that_diverged_are_named_as_failures_to_train() -> None:
    study = study_of('[analysis]\nresponse = "val_loss"\n')
    found = found_of(study, collapsed=1, diverged=2)
    lost = next(cell for cell in found.analysis.cells if cell.collapse is not None and cell.collapse.estimate > 0)
    assert failures_text(lost, found) == "3, 2 diverged (11 to 60 %)"
    [said] = collapse_sentences(study, found)
    assert "depth 2, none 3 of 10, 2 diverged (11 to 60 %)" in said
    [none] = collapse_sentences(study_of(), found_of(study_of()))
    assert none == "None of the 40 runs failed to train (collapsed or diverged)."


def test_what_is_exploratory_is_labelled_and_has_no_verdict() -> None:
    study = study_of(CLAIM)
    found = found_of(study)
    [said] = interaction_sentences(found, UNIT)
    assert "depth 2, a difference of " in said
    assert "shown to differ" not in said
    assert "Only comparisons and claims are covered by the error of 5 %" in exploratory_text(found)
    for table in (factor_table(study, found.factors[0], found, UNIT), tables.tests_table(study, found)):
        assert "exploratory" in f"{table.caption} {table.note}".lower()
        cells = [text for row in table.rows for text in row]
        assert not {"better", "worse", "undecided"} & set(cells)


def test_claims_say_their_error_and_what_they_hold_for() -> None:
    study = study_of(CLAIM)
    found = found_of(study)
    table = claims_table(found)
    assert table.rows[0][2] == "supported"
    assert "which errs by at most 2.5 %" in table.note
    assert "True, smaller than the ROPE: in the claimed direction, and within the ROPE." in table.note
    said = claim_sentence(study, found.claims[0], found).text
    assert said.startswith("bn: supported. batchnorm against none, depth 1: +3.0")
    assert said.endswith(
        "Over new seeds, for this split and these 1,000 validation images; ROPE ±0.5 percentage points."
    )
    small = found_of(study, gain=0.0025, sd=0.001)
    assert claims_table(small).rows[0][2] == "true, smaller than the ROPE"
    assert verdict_counts(small).endswith("of one claim, 1 true, smaller than the ROPE.")


def test_verdicts_are_counted_by_their_words() -> None:
    assert verdict_counts(found_of(study_of())) == "of 2 comparisons, 2 better."
    two = study_of()
    few = analyse_study(two, [run for run in runs_of(two) if run.spec.seed < 2])
    assert verdict_counts(few) == "of 2 comparisons, 2 with too few runs."


def test_what_was_not_tested_is_named() -> None:
    independent, unseen = assumptions(found_of(study_of()))
    power = round(100 * autocorrelation_power([10] * 4, 0.5))
    assert f"would find one of 0.5 in about {power} % of such studies" in independent
    assert unseen.startswith("No run failed to train. That does not show that none does")
    assert "with 10 runs of a network, a rate of up to 28 % is within its 95 % interval" in unseen
    two = study_of()
    few, _ = assumptions(analyse_study(two, [run for run in runs_of(two) if run.spec.seed < 2]))
    assert few.endswith("so few runs cannot be tested for it.")
    _, some = assumptions(found_of(study_of(), collapsed=2))
    assert some.startswith("In 3 of 4 networks no run failed to train.")


def test_methods_say_who_decides_and_that_nothing_is_dropped() -> None:
    study = study_of(CLAIM)
    found = found_of(study)
    design, comparing, claiming = methods_texts(study, found, ["initial weights", "dropout masks"])
    assert "The mean of the runs that trained decides." in design
    assert "none is dropped" in design
    assert "is one of those runs, not the effect on every run" in design
    assert levels_text(found) in comparing
    assert "Goeman, Solari and Stijnen (2010)" in comparing
    assert "an error of 2.5 %" in claiming


def test_no_text_calls_an_interval_simultaneous_at_95_percent() -> None:
    study = study_of(CLAIM)
    found = found_of(study, collapsed=2)
    text = repr([*results_blocks(study, found), *analysis_blocks(study, found)])
    assert "simultaneous 95 %" not in text
    assert "Exploratory" in text
    assert "What was not tested" in text


@pytest.mark.parametrize(("runs", "cells"), [(5, 4), (10, 1), (10, 8), (30, 1)])
def test_the_power_against_correlated_seeds_is_that_of_simulated_ones(runs: int, cells: int) -> None:
    rng, studies = np.random.default_rng(7), 4000

    def averages(correlation: float) -> np.ndarray:
        noise = rng.standard_normal((studies, cells, runs))
        noise[..., 1:] *= math.sqrt(1 - correlation**2)
        x = lfilter([1.0], [1.0, -correlation], noise)
        x -= x.mean(axis=-1, keepdims=True)
        return ((x[..., 1:] * x[..., :-1]).sum(-1) / (x**2).sum(-1)).mean(-1)

    low, high = np.quantile(averages(0.0), [0.025, 0.975])
    among = averages(0.5)
    power = float(((among < low) | (among > high)).mean())
    assert autocorrelation_power([runs] * cells, 0.5) == pytest.approx(power, abs=0.06)
    assert autocorrelation_power([runs] * cells, 0.0) == pytest.approx(0.05, abs=0.01)
    assert autocorrelation_power([2] * cells, 0.5) == 0.0
