"""A verdict is told with both answers, the bound that decides, what would undo it, and what it holds for."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from regulens.report.verdicts import (
    Pair,
    bounds_text,
    deciding_bounds,
    first_answer,
    runs_text,
    second_answer,
    undoing_points,
    undone,
)
from regulens.report.wording import DASH, unit_of
from regulens.stats.cells import Cells
from regulens.stats.comparisons import Answer, Comparison, Sensitivity, compare
from regulens.stats.design import Design
from regulens.stats.intervals import Interval
from regulens.stats.rates import equivalence_sensitivity
from regulens.stats.samples import sample
from regulens.stats.verdicts import Verdict, edge_alpha

SHAPE = np.array([-1.6, -1.0, -0.65, -0.35, -0.1, 0.1, 0.35, 0.65, 1.0, 1.6])
DESIGN = Design(rope=0.005, rates=True, failed=0.1, bounds=(0, 1))


def pair_of(
    a: float, b: float, sd: float = 0.003, failed: tuple[int, int] = (0, 0), n: int = 10, design: Design = DESIGN
) -> Pair:
    """Compare two networks whose runs that train have about these means, of symmetric runs."""
    shape = np.interp(np.linspace(0, 9, n), np.arange(10), SHAPE)
    runs = {}
    for name, mean, lost in (("a", a, failed[0]), ("b", b, failed[1])):
        collapsed = np.arange(n) < lost
        runs[name] = sample(np.where(collapsed, 0.1, mean + sd * shape), collapsed)
    [result] = compare([("a", "b")], Cells(runs, design))
    unit, alpha = unit_of("val_accuracy"), design.alpha_of_one(1)
    return Pair("batchnorm", "none", result, design, alpha, unit, failed, ("seeds",), None, "depth 2")


def test_better_is_told_of_runs_that_train_with_the_bound_that_decides() -> None:
    pair = pair_of(0.93, 0.9)
    low, high = deciding_bounds(pair)
    assert low == pair.result.estimate.lower(edge_alpha(pair.alpha, 0.005, pair.result.estimate)) > 0.005
    assert math.isnan(high)
    assert low > pair.result.difference.low
    assert first_answer(pair) == (
        f"At depth 2, batchnorm is better than none when it trains: {pair.size}, at least +{100 * low:.2f} by the "
        "bound that decides."
    )
    worse = pair_of(0.9, 0.93)
    assert first_answer(worse).startswith("At depth 2, batchnorm is worse than none when it trains: −3.00 percentage")
    assert "at most −2." in first_answer(worse)


def test_a_bound_within_a_figure_of_the_edge_is_told_apart_from_it() -> None:
    unit, interval = unit_of("val_accuracy"), Interval(0.01, 0.0049, 0.0151, 0.99)
    assert unit.bound(0.00501, interval, 0.005) == "+0.5010"
    assert unit.bound(-0.00501, interval, 0.005) == "−0.5010"
    assert unit.bound(0.0061, interval, 0.005) == "+0.61"


def test_better_that_trains_less_often_is_mixed() -> None:
    pair = pair_of(0.93, 0.9, failed=(15, 0), n=30)
    assert pair.result.verdict == "better"
    assert pair.result.mixed
    assert pair.word == "mixed: better"
    assert first_answer(pair).startswith(
        "Mixed: at depth 2, batchnorm is better than none when it trains, but trains less often: +3."
    )
    assert second_answer(pair).startswith(
        "Batchnorm trains less often than none: 15 of 30 against 0 of 30 runs failed to train, +50 percentage points ("
    )
    assert undone(pair).endswith("seen 15/30 and 0/30, which undoes it.")
    other = pair_of(0.9, 0.93, failed=(0, 15), n=30)
    assert other.result.mixed
    assert "is worse than none when it trains, but trains more often: −3." in first_answer(other)
    alike = pair_of(0.93, 0.9, failed=(0, 15), n=30)
    assert not alike.result.mixed
    assert second_answer(alike).startswith("Batchnorm trains more often than none: 0 of 30 against 15 of 30")


def test_equivalent_names_both_bounds_and_the_side_of_zero_where_it_is_shown() -> None:
    pair = pair_of(0.901, 0.9)
    assert pair.word == "equivalent"
    assert first_answer(pair) == (
        f"At depth 2, batchnorm and none are practically equivalent when they train: {pair.size}, {bounds_text(pair)} "
        "by the bounds that decide, within ±0.5 percentage points."
    )
    low, high = deciding_bounds(pair)
    assert -0.005 < low < high < 0.005
    assert low > pair.result.difference.low
    above, below = pair_of(0.902, 0.9, sd=0.001), pair_of(0.9, 0.902, sd=0.001)
    assert (above.word, below.word) == ("equivalent, above zero", "equivalent, below zero")
    assert first_answer(above).endswith("; the difference is above zero all the same.")


def test_an_open_size_shows_the_direction_and_no_bound() -> None:
    pair = pair_of(0.906, 0.9, sd=0.004)
    assert pair.word == "better (size open)"
    assert "is better than none when it trains (size open): +0.60" in first_answer(pair)
    assert "the direction is shown, the size is not: the interval excludes zero" in first_answer(pair)
    assert bounds_text(pair) == ""


def test_what_is_not_decided_says_why_and_how_many_runs_are_missing() -> None:
    undecided = first_answer(pair_of(0.9, 0.9, sd=0.02))
    assert undecided.startswith("At depth 2, batchnorm against none is undecided when they train: 0.0")
    assert undecided.endswith("; the interval extends beyond the equivalence margin.")
    few = pair_of(0.9, 0.95, n=2)
    assert first_answer(few).endswith(
        "too few runs for a verdict (2 trained runs of a cell; a verdict needs 3; 1 more run of each)."
    )
    assert second_answer(few).startswith("Too few runs to say which trains more often: 0 of 2 against 0 of 2")
    assert undone(few) == ""
    assert undoing_points(few) == DASH


def test_a_verdict_says_what_difference_of_collapse_rates_would_undo_it() -> None:
    pair = pair_of(0.93, 0.9)
    found = pair.result.sensitivity
    assert found is not None
    assert 100 * found.difference == pytest.approx(100 * 0.03 / 0.83, rel=0.01)
    most = f"{100 * found.interval.high:.0f}"
    assert undone(pair) == (
        "Undone if batchnorm fails to train 3.6 percentage points more often than none (means of all runs then equal); "
        f"seen 0/10 and 0/10, which excludes more than {most}."
    )
    assert undone(pair_of(0.9, 0.93)).startswith("Undone if none fails to train 3.")


def with_sensitivity(pair: Pair, difference: float) -> Pair:
    found = Sensitivity(difference, ((0, 10), (1, 10)), Interval(-0.1, -0.4, 0.2, 0.99))
    return replace(pair, result=replace(pair.result, sensitivity=found))


def test_a_difference_of_rates_beyond_the_interval_is_said_to_be_out_of_reach() -> None:
    pair = pair_of(0.93, 0.9)
    assert undone(with_sensitivity(pair, 0.3)).endswith(
        "seen 0/10 and 1/10, which excludes more than 20: no difference within the interval reaches that."
    )
    assert undone(with_sensitivity(pair, 0.1)).endswith("seen 0/10 and 1/10, which excludes more than 20.")
    assert undone(with_sensitivity(pair, math.nan)) == ""
    worse = pair_of(0.9, 0.93)
    assert undone(with_sensitivity(worse, -0.2)).endswith("seen 1/10 and 0/10, which excludes more than 40.")


@pytest.mark.parametrize(("means", "sign"), [((0.902, 0.9), -1), ((0.9, 0.902), 1)])
def test_equivalence_is_undone_where_the_means_of_all_runs_are_the_rope_apart(
    means: tuple[float, float], sign: int
) -> None:
    found = equivalence_sensitivity(means, (0.1, 0.1), 0.1, 0.005)
    assert math.copysign(1, found) == sign  # the better one gains by the other's failures
    rates = [0.1, 0.1]
    rates[0 if found > 0 else 1] += abs(found)
    overall = [(1 - rate) * mean + rate * 0.1 for rate, mean in zip(rates, means, strict=True)]
    assert abs(overall[0] - overall[1]) == pytest.approx(0.005)
    assert math.isnan(equivalence_sensitivity(means, (0.1, 0.1), math.nan, 0.005))
    assert math.isnan(equivalence_sensitivity((0.102, 0.1), (0.0, 0.0), 0.1, 0.005))


@pytest.mark.parametrize(
    ("primary", "rates", "words"),
    [
        ("trained", True, " of runs that trained"),
        ("trained", False, ""),
        ("mean", True, ", mean of all runs"),
        ("median", False, ", median of all runs"),
    ],
)
def test_a_difference_is_said_to_be_of_the_runs_it_is_of(primary: str, rates: bool, words: str) -> None:
    assert runs_text(replace(DESIGN, primary=primary, rates=rates)) == words  # type: ignore[arg-type]


def test_few_runs_that_look_skewed_are_told_by_the_bounds_that_judge_them() -> None:
    pair = pair_of(0.93, 0.9)
    doubted = pair.result.estimate.stretched(2.5)
    said = first_answer(replace(pair, doubted=doubted))
    wide = doubted.interval(1 - pair.alpha)
    assert f"{pair.size} (judged by {100 * wide.low:.2f} to {100 * wide.high:.2f}, as few runs look skewed)" in said
    low, _ = deciding_bounds(replace(pair, doubted=doubted))
    assert 0.005 < low < deciding_bounds(pair)[0]
    assert f"at least +{100 * low:.2f} by the bound that decides" in said


def test_medians_are_compared_and_told_as_such() -> None:
    pair = pair_of(0.93, 0.9, design=replace(DESIGN, primary="median"))
    assert first_answer(pair).startswith("At depth 2, batchnorm is better than none in the median of all runs: +3.00")


def rated(result: Comparison, verdict: Verdict) -> Comparison:
    assert result.rate is not None
    rate = Answer((10, 10), result.rate.estimate, Interval(0.1, 0.01, 0.3, 0.99), verdict)
    return replace(result, rate=rate)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("better", "Batchnorm trains more often than none: "),
        ("better (size open)", "Batchnorm trains more often than none, by how much is open: "),
        ("worse", "Batchnorm trains less often than none: "),
        ("equivalent", "Batchnorm trains about as often as none: "),
        ("undecided", "Which trains more often is undecided: "),
    ],
)
def test_how_often_they_train_is_a_sentence_of_its_own(verdict: Verdict, words: str) -> None:
    pair = pair_of(0.93, 0.9)
    said = second_answer(replace(pair, result=rated(pair.result, verdict)))
    assert said == f"{words}0 of 10 against 0 of 10 runs failed to train, +10 percentage points (1 to 30)."


def test_without_collapses_to_look_for_there_is_one_answer_of_all_runs() -> None:
    pair = pair_of(0.93, 0.9, design=replace(DESIGN, rates=False))
    assert second_answer(pair) == undone(pair) == ""
    assert "is better than none: +3.00" in first_answer(pair)
