"""Checked against statsmodels' closed forms, the analysis' own intervals, and simulation with known truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from regulens.stats.claims import refutes, supports
from regulens.stats.comparisons import judge
from regulens.stats.contrasts import contrast, mover_contrast
from regulens.stats.intervals import Collapse, Interval, overall_interval, welch_interval
from regulens.stats.power import (
    CellModel,
    Looks,
    Question,
    SeedsNeeded,
    _intervals,
    _simulate,
    decided,
    seeds_needed,
    seeds_needed_from_pilot,
    undecidable,
)
from regulens.stats.samples import Sample, sample

UNIT = CellModel(1.0)
BOUNDS = np.linspace(-0.03, 0.03, 25) + 1e-4


@pytest.mark.parametrize("rope", [0.0, 0.005, 0.01])
def test_decided_is_what_the_verdicts_and_the_claims_call_so(rope: float) -> None:
    for low in BOUNDS:
        for high in BOUNDS[low < BOUNDS]:
            interval = Interval((low + high) / 2, low, high, 0.95)
            bounds = np.array([low]), np.array([high])
            assert decided(*bounds, rope)[0] == (judge(interval, rope) != "undecided")
            claimed = supports(interval, rope, "greater") or refutes(interval, rope, "greater")
            assert decided(*bounds, rope, "greater")[0] == claimed


def test_bounds_that_are_not_there_decide_nothing() -> None:
    nowhere = np.array([math.nan])
    assert not decided(nowhere, nowhere, 0.01)[0]


@pytest.mark.parametrize("comparisons", [1, 6])
@pytest.mark.parametrize("effect", [0.5, 1.0, -1.5])
def test_seeds_without_collapse_are_those_of_the_t_test(effect: float, comparisons: int) -> None:
    closed = TTestIndPower().solve_power(abs(effect), power=0.8, alpha=0.05 / comparisons)
    found = seeds_needed(Question(effect, 0.0, comparisons=comparisons), [UNIT, UNIT], np.random.default_rng(1))
    assert found.low is not None
    assert found.high is not None
    assert 0.93 * closed <= found.low <= found.high <= 1.07 * closed + 2  # unequal variances are allowed for


def test_seeds_of_pairs_are_those_of_the_one_sample_t_test() -> None:
    closed = TTestPower().solve_power(0.6, power=0.8, alpha=0.05)
    found = seeds_needed(Question(0.6, 0.0, weights=(1.0,)), [UNIT], np.random.default_rng(1))
    assert found.low is not None
    assert found.high is not None
    assert 0.93 * closed <= found.low <= found.high <= 1.07 * closed + 2


def test_seeds_for_equivalence_are_those_of_two_one_sided_tests() -> None:
    closed = 2 * (stats.norm.ppf(0.975) + stats.norm.ppf(0.9)) ** 2 / 0.6**2  # both tails share the 20 %
    found = seeds_needed(Question(0.0, 0.6), [UNIT, UNIT], np.random.default_rng(1))
    assert found.low is not None
    assert found.high is not None
    assert 0.95 * closed <= found.low <= found.high <= 1.07 * closed + 2


def test_interaction_of_four_cells_needs_twice_the_seeds_of_a_difference() -> None:
    pair = seeds_needed(Question(0.5, 0.0), [UNIT] * 2, np.random.default_rng(1))
    four = seeds_needed(Question(0.5, 0.0, weights=(1, -1, -1, 1)), [UNIT] * 4, np.random.default_rng(1))
    assert pair.low is not None
    assert four.low is not None
    assert four.low == pytest.approx(2 * pair.low, rel=0.07)


def test_effect_on_the_edge_is_never_decided() -> None:
    found = seeds_needed(Question(0.5, 0.5), [UNIT, UNIT], np.random.default_rng(1), max_seeds=400)
    assert (found.low, found.high, found.max_seeds) == (None, None, 400)


def test_claimed_difference_is_refuted_where_the_verdict_stays_open() -> None:
    question = Question(0.0, 1.0)
    verdict = seeds_needed(question, [UNIT, UNIT], np.random.default_rng(1))
    claim = seeds_needed(replace(question, rule="greater"), [UNIT, UNIT], np.random.default_rng(1))
    assert claim.low is not None
    assert verdict.low is not None
    assert claim.low < verdict.low


def draw(cells: list[CellModel], centres: list[float], n: int, rng: np.random.Generator) -> list[Sample]:
    found = []
    for cell, centre in zip(cells, centres, strict=True):
        collapsed = rng.random(n) < cell.collapse_rate
        found.append(sample(np.where(collapsed, 0.1, centre + cell.sd * rng.normal(size=n)), collapsed))
    return found


def test_eight_in_ten_studies_with_collapse_are_decided_by_the_analysis() -> None:
    cells, rng = [CellModel(0.01, 0.0, 0.7), CellModel(0.02, 0.3, 0.65)], np.random.default_rng(3)
    means = [0.8, 0.7 * 0.75 + 0.3 * 0.1]
    found = seeds_needed(Question(means[0] - means[1], 0.005, comparisons=3), cells, np.random.default_rng(1))
    assert found.high is not None

    def is_decided() -> bool:
        studied = draw(cells, [0.8, 0.75], found.high or 0, rng)
        bounds = [overall_interval(each, Collapse(0.1, 0.85), 1 - 0.05 / 3) for each in studied]
        return judge(mover_contrast(bounds, [1, -1]), 0.005) != "undecided"

    assert np.mean([is_decided() for _ in range(600)]) == pytest.approx(0.81, abs=0.05)


@pytest.mark.parametrize("seeds", [3, 12])
@pytest.mark.parametrize("rates", [None, (0.0, 0.3), (0.6, 0.1)])
def test_simulated_intervals_are_those_of_the_analysis(rates: tuple[float, float] | None, seeds: int) -> None:
    cells = [CellModel(0.02), CellModel(0.05)]
    if rates is not None:
        cells = [replace(cell, collapse_rate=rate, rise=0.7) for cell, rate in zip(cells, rates, strict=True)]
    question = Question(0.03, 0.0, comparisons=4)
    runs = _simulate(question, cells, np.random.default_rng(9), 12, 50)
    trained = np.diff(runs.trained, axis=1, prepend=0) == 1
    values = np.where(trained, runs.centres + np.diff(runs.powers[0], axis=1, prepend=0), 0.0)
    low, high = _intervals(runs, question, seeds)
    for study in range(50):
        pair = [sample(values[study, :seeds, cell], ~trained[study, :seeds, cell]) for cell in (0, 1)]
        if rates is None:
            expected = welch_interval(pair[0].values, pair[1].values, 1 - 0.05 / 4)
        else:
            collapse = Collapse(0.0, max(0.0, *(float(each.values.max()) for each in pair)))
            expected = mover_contrast([overall_interval(each, collapse, 1 - 0.05 / 4) for each in pair], [1, -1])
        np.testing.assert_allclose((low[study], high[study]), (expected.low, expected.high), atol=1e-9)


def test_simulated_intervals_of_an_interaction_are_those_of_the_analysis() -> None:
    weights = (1.0, -1.0, -0.5, 0.5)
    runs = _simulate(Question(0.4, 0.0, weights), [UNIT] * 4, np.random.default_rng(9), 6, 20)
    values = runs.centres + np.diff(runs.powers[0], axis=1, prepend=0)
    low, high = _intervals(runs, Question(0.4, 0.0, weights), 6)
    for study in range(20):
        expected = contrast(list(values[study].T), weights, 0.95).interval
        np.testing.assert_allclose((low[study], high[study]), (expected.low, expected.high), atol=1e-9)


def test_simulated_effect_is_the_one_asked_for() -> None:
    cells = [CellModel(0.01, 0.2, 0.6), CellModel(0.02, 0.4, 0.7)]
    runs = _simulate(Question(0.1, 0.0), cells, np.random.default_rng(2), 50, 2000)
    sums = runs.trained[:, -1] * runs.centres + runs.powers[0][:, -1]
    assert np.mean(sums @ [1, -1]) / 50 == pytest.approx(0.1, abs=0.002)


def test_collapse_asks_for_more_seeds() -> None:
    question, rng = Question(0.05, 0.0), np.random.default_rng(1)
    plain = seeds_needed(question, [CellModel(0.02)] * 2, rng)
    rare = seeds_needed(question, [CellModel(0.02, 0.0, 0.7)] * 2, rng)
    often = seeds_needed(question, [CellModel(0.02, 0.3, 0.7)] * 2, rng)
    assert plain.high is not None
    assert rare.low is not None
    assert plain.high < rare.low  # so few runs without a collapse do not exclude it
    assert (often.low, often.high) == (None, None)


def test_lower_is_better_mirrors_the_question() -> None:
    up = [CellModel(0.02, 0.3, 0.7), CellModel(0.01, 0.05, 0.6)]
    down = [replace(cell, rise=-(cell.rise or 0.0)) for cell in up]
    found = [
        seeds_needed(Question(effect, 0.01), cells, np.random.default_rng(1))
        for effect, cells in ((-0.3, up), (0.3, down))
    ]
    assert found[0] == found[1]
    assert found[0].low is not None


def test_more_simulated_studies_narrow_the_range() -> None:
    few, many = (seeds_needed(Question(0.3, 0.0), [UNIT] * 2, np.random.default_rng(1), 300, n) for n in (200, 5000))
    assert few.low is not None
    assert few.high is not None
    assert many.low is not None
    assert many.high is not None
    assert few.low < many.low <= many.high < few.high
    margin = 1.96 * math.sqrt(0.8 * 0.2 / 200)
    ends = [TTestIndPower().solve_power(0.3, power=0.8 + sign * margin, alpha=0.05) for sign in (-1, 1)]
    assert few.high / few.low == pytest.approx(ends[1] / ends[0], rel=0.08)


def test_high_end_from_a_pilot_suffices_in_four_of_five_pilots() -> None:
    rng = np.random.default_rng(8)
    closed = TTestIndPower().solve_power(1.0, power=0.8, alpha=0.05)
    found = [
        seeds_needed_from_pilot(Question(1.0, 0.0), pilots, rng, studies=300)
        for pilots in ([sample(rng.normal(size=5)) for _ in range(2)] for _ in range(100))
    ]
    assert np.mean([each.high is None or each.high >= closed for each in found]) > 0.8
    assert np.mean([each.low is None or each.low >= closed for each in found]) < 0.7  # the estimates alone do not


def test_pilot_without_spread_is_decided_at_once() -> None:
    constant = [sample([0.5] * 3), sample([0.4] * 3)]
    found = seeds_needed_from_pilot(Question(0.1, 0.005), constant, np.random.default_rng(1))
    assert (found.low, found.high) == (2, 2)


def test_collapses_of_a_pilot_widen_its_range() -> None:
    rng = np.random.default_rng(1)
    a = sample(0.8 + 0.01 * rng.normal(size=10))
    b = sample([*(0.7 + 0.01 * rng.normal(size=8)), 0.1, 0.1], [False] * 8 + [True] * 2)
    among = seeds_needed_from_pilot(Question(0.1, 0.005), [a, sample(b.trained)], rng)
    overall = seeds_needed_from_pilot(Question(0.22, 0.005), [a, b], rng, collapsed_mean=0.1)
    assert among.high is not None
    assert overall.low is not None
    assert among.high < overall.low
    assert overall.high is None or overall.high > 1.3 * overall.low


def test_pilot_of_one_run_says_nothing() -> None:
    with pytest.raises(ValueError, match="two runs of each cell that trained, got 1"):
        seeds_needed_from_pilot(Question(0.1, 0.0), [sample([0.5]), sample([0.4, 0.5])], np.random.default_rng(1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CellModel(-0.1), "sd must not be negative"),
        (lambda: CellModel(math.nan), "sd must not be negative"),
        (lambda: CellModel(0.1, 1.0, 0.5), r"in \[0, 1\), got 1.0"),
        (lambda: CellModel(0.1, 0.2), "needs a rise"),
        (lambda: seeds_needed(Question(1, 0), [UNIT], np.random.default_rng()), "each of 2 weights, got 1"),
        (lambda: seeds_needed(Question(1, 0), [UNIT, CellModel(1, 0, 1)], np.random.default_rng()), "or none"),
        (lambda: Looks(()), "increasing"),
        (lambda: Looks((1, 5)), "from 2 on"),
        (lambda: Looks((5, 5)), "increasing"),
        (lambda: Looks((5, 9)).level_at(-1), "counted from 0"),
    ],
)
def test_what_makes_no_sense_is_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_cells_may_train_above_and_below_those_that_collapse() -> None:
    def needed(weights: tuple[float, float], rises: tuple[float, float]) -> SeedsNeeded:
        cells = [CellModel(0.02, 0.1, rises[0]), CellModel(0.03, 0.2, rises[1])]
        return seeds_needed(Question(0.1, 0.005, weights), cells, np.random.default_rng(1), 100, 4000)

    mixed = needed((1, -1), (0.15, -0.05))
    mirrored = needed((1, 1), (0.15, 0.05))  # the second cell's values mirrored, and its weight with them
    assert mixed.low is not None
    assert mirrored.low is not None
    assert mixed.low == pytest.approx(mirrored.low, rel=0.1, abs=1)


def test_undecidable_is_an_interval_over_an_edge() -> None:
    assert undecidable(0.006, 0.002, 0.005)
    assert undecidable(-0.004, 0.002, 0.005)
    assert undecidable(0.0, 0.006, 0.005)
    assert not undecidable(0.008, 0.002, 0.005)
    assert not undecidable(0.0, 0.004, 0.005)
    assert undecidable(0.001, 0.002, 0.0)
    assert undecidable(-0.006, 0.002, 0.005)
    assert not undecidable(-0.006, 0.002, 0.005, "greater")


def test_looks_share_alpha_by_their_seeds_and_keep_a_tenth_for_later_ones() -> None:
    looks = Looks((5, 10, 20, 29))
    alphas = [1 - looks.level_at(look) for look in range(4)]
    assert sum(alphas) == pytest.approx(0.045)
    assert [alpha / alphas[0] for alpha in alphas] == pytest.approx([1, 2, 4, 5.8])
    later = [1 - looks.level_at(look) for look in range(4, 40)]
    assert later[:2] == pytest.approx([0.0025, 0.00125])
    assert sum(alphas) + sum(later) == pytest.approx(0.05)
    assert looks.worst_alpha == pytest.approx(0.05)


def test_single_look_is_an_ordinary_study_and_extending_it_comes_on_top() -> None:
    looks = Looks((10,))
    assert looks.level_at(0) == 0.95
    assert looks.level_at(1) == pytest.approx(1 - 0.0025)
    assert looks.worst_alpha == pytest.approx(0.055)


def false_decisions(level_at: Callable[[int], float], gap: float, rope: float) -> float:
    """Share of studies, stopped at the first decision, that call one of four cells better or worse than the control."""
    rng, studies, arms, ends = np.random.default_rng(6), 2000, 4, (5, 10, 20, 29, 40, 60)
    runs = rng.normal(size=(studies, arms + 1, ends[-1]))
    runs[:, :-1] += gap
    wrong, stopped = np.zeros(studies, bool), np.zeros(studies, bool)
    for look, n in enumerate(ends):
        alpha = (1 - level_at(look)) / arms
        found = [stats.ttest_ind(runs[:, arm, :n], runs[:, arms, :n], axis=1, equal_var=False) for arm in range(arms)]
        intervals = [each.confidence_interval(1 - alpha) for each in found]
        low, high = (np.array([getattr(each, end) for each in intervals]) for end in ("low", "high"))
        wrong |= ~stopped & ((low > rope) | (high < -rope)).any(axis=0)
        stopped |= decided(low, high, rope).all(axis=0)
    return float(wrong.mean())


@pytest.mark.parametrize(("gap", "rope"), [(0.0, 0.0), (1.0, 1.0)])
def test_stopping_at_looks_and_extending_keeps_false_decisions_below_five_in_a_hundred(gap: float, rope: float) -> None:
    assert false_decisions(Looks((5, 10, 20, 29)).level_at, gap, rope) < 0.05


def test_looks_without_a_price_make_false_decisions() -> None:
    assert false_decisions(lambda _: 0.95, 0.0, 0.0) > 0.08
