"""Checked against statsmodels' closed forms, the analysis' own verdicts, and simulation with known truth."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from regulens.stats.cells import Cells
from regulens.stats.claims import Part, judge_part
from regulens.stats.comparisons import compare
from regulens.stats.design import Design, Primary
from regulens.stats.estimate import StudentEstimate
from regulens.stats.power import (
    Pilot,
    Piloted,
    least_difference,
    piloted,
    recommended_seeds,
    seeds_needed,
    seeds_needed_from_pilot,
)
from regulens.stats.samples import Sample, sample
from regulens.stats.simulated import CellModel, Question, Rule, Simulation, _decided
from regulens.stats.simulated_bounds import MedianEstimates, MixtureEstimates, StudentEstimates
from regulens.stats.verdicts import DECIDED, judge

UNIT = CellModel(1.0)
PLAIN = Question(1.0, 0.0, gated=False)
WEIGHTS = {0: 1.0, 1: -1.0}


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def estimates(count: int = 300) -> tuple[list[StudentEstimate], StudentEstimates]:
    values, errors = rng(2).normal(0, 1.5, count), rng(3).uniform(0.05, 1.0, count)
    dfs = rng(4).uniform(2, 40, count)
    each = [StudentEstimate(*numbers) for numbers in zip(values.tolist(), errors.tolist(), dfs.tolist(), strict=True)]
    return each, StudentEstimates(np.ones(count), values, errors, dfs)


@pytest.mark.parametrize("rope", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("direction_only", [False, True])
def test_decided_is_what_the_verdicts_call_so(rope: float, direction_only: bool) -> None:
    each, together = estimates()
    question = Question(0.0, rope, direction_only=direction_only)
    words = DECIDED | {"better (size open)", "worse (size open)"} if direction_only else DECIDED
    expected = [judge(one, rope, 0.02) in words for one in each]
    assert _decided(together, question, 0.02).tolist() == expected
    assert 20 < sum(expected) < 280


@pytest.mark.parametrize(
    ("rule", "rope"), [("greater", 0.0), ("greater", 0.3), ("greater", 1.0), ("equal", 0.3), ("equal", 1.0)]
)
def test_decided_is_what_the_claims_call_so(rule: Rule, rope: float) -> None:
    each, together = estimates()
    relation = "equal" if rule == "equal" else "greater"
    expected = [judge_part(Part("", one, rope, relation), 0.02, 0.01) != "undecided" for one in each]
    assert _decided(together, Question(0.0, rope, rule=rule, parts=2), 0.02).tolist() == expected


def collapsing(
    n: int, rates: tuple[float, float], effect: float, sds: tuple[float, float], source: int
) -> list[Sample]:
    draw, found = rng(source), []
    for rate, sd, mean in zip(rates, sds, (0.8 + effect, 0.8), strict=True):
        collapsed = draw.random(n) < rate
        found.append(sample(np.where(collapsed, 0.1, mean + sd * draw.standard_normal(n)), collapsed))
    return found


@pytest.mark.parametrize("alpha", [0.025, 0.003])
def test_bounds_of_simulated_mixtures_are_those_of_the_analysis(alpha: float) -> None:
    pair = collapsing(20, (0.1, 0.3), 0.02, (0.01, 0.03), 4)
    design = Design(primary="mean", rates=True, failed=0.1)
    expected = Cells(dict(enumerate(pair)), design).primary(WEIGHTS)
    trained = [each.trained for each in pair]
    found = MixtureEstimates(
        np.ones(1),
        np.array([1.0, -1.0]),
        np.array([[len(x) / 20 for x in trained]]),
        20,
        np.array([[x.mean() - 0.1 for x in trained]]),
        np.array([[x.std(ddof=1) / math.sqrt(len(x)) for x in trained]]),
        np.array([[len(x) - 1 for x in trained]]),
    )
    low, high = found.bounds(alpha)
    assert low[0] == pytest.approx(expected.lower(alpha), abs=2e-4)  # but for the stretch of skewed runs
    assert high[0] == pytest.approx(expected.upper(alpha), abs=2e-4)


@pytest.mark.parametrize("alpha", [0.025, 0.003])
def test_bounds_of_simulated_medians_are_those_of_the_analysis(alpha: float) -> None:
    pair = collapsing(15, (0.1, 0.2), 0.02, (0.01, 0.03), 4)
    expected = Cells(dict(enumerate(pair)), Design(primary="median")).primary(WEIGHTS)
    values = np.sort(np.array([each.values for each in pair]).T, axis=0)[None]
    low, high = MedianEstimates(np.ones(1), np.array([1.0, -1.0]), values).bounds(alpha)
    assert (low[0], high[0]) == pytest.approx((expected.lower(alpha), expected.upper(alpha)))
    few = MedianEstimates(np.ones(1), np.array([1.0, -1.0]), values[:, :5]).bounds(alpha)
    assert np.isnan(few).all()


@pytest.mark.parametrize(
    ("primary", "n", "effect", "rates", "sds"),
    [
        ("trained", 9, 0.02, (0.0, 0.0), (0.01, 0.01)),
        ("trained", 18, 0.03, (0.1, 0.2), (0.01, 0.03)),
        ("mean", 30, 0.28, (0.0, 0.1), (0.05, 0.05)),
        ("median", 20, 0.02, (0.1, 0.0), (0.01, 0.01)),
    ],
)
def test_simulated_studies_are_decided_as_often_as_analyzed_ones(
    primary: Primary, n: int, effect: float, rates: tuple[float, float], sds: tuple[float, float]
) -> None:
    design = Design(rope=0.005, primary=primary, alpha=0.03, rates=True, failed=0.1)

    def is_decided(source: int) -> bool:
        more = collapsing(n, rates, 0.0, sds, source + 10_000)  # other cells of the analysis
        cells = Cells(dict(enumerate([*collapsing(n, rates, effect, sds, source), *more])), design)
        return compare([(0, 1)], cells)[0].verdict in DECIDED

    analyzed = np.mean([is_decided(source) for source in range(100)])
    rise = None if primary == "trained" else 0.7
    models = [CellModel(sd, rate, rise) for sd, rate in zip(sds, rates, strict=True)]
    true = effect if primary != "mean" else (1 - rates[0]) * (0.7 + effect) - (1 - rates[1]) * 0.7
    question = Question(true, 0.005, alpha=0.015, primary=primary, gated=primary != "median")
    assert Simulation(question, models, rng()).share(n) == pytest.approx(analyzed, abs=0.13)


@pytest.mark.parametrize("comparisons", [1, 6])
@pytest.mark.parametrize("effect", [0.5, 1.0, -1.5])
def test_seeds_without_collapse_are_those_of_the_t_test(effect: float, comparisons: int) -> None:
    closed = TTestIndPower().solve_power(abs(effect), power=0.8, alpha=0.05 / comparisons)
    found = seeds_needed(replace(PLAIN, effect=effect, alpha=0.05 / comparisons), [UNIT, UNIT], rng())
    assert found == pytest.approx(closed + 0.8, rel=0.05, abs=1.2)  # unequal variances are allowed for


def test_seeds_of_blocks_are_those_of_the_one_sample_t_test() -> None:
    closed = TTestPower().solve_power(0.6, power=0.8, alpha=0.05)
    assert seeds_needed(replace(PLAIN, effect=0.6, weights=(1.0,)), [UNIT], rng()) == pytest.approx(closed, abs=2)


def test_seeds_for_equivalence_are_those_of_two_one_sided_tests() -> None:
    closed = 2 * (stats.norm.ppf(0.95) + stats.norm.ppf(0.9)) ** 2 / 0.6**2  # both tails share the 20 %
    assert seeds_needed(replace(PLAIN, effect=0.0, rope=0.6), [UNIT, UNIT], rng()) == pytest.approx(closed, abs=3)


def test_beyond_a_wide_region_one_sided_bounds_save_a_sixth_of_the_seeds() -> None:
    two_sided = TTestIndPower().solve_power(1.0, power=0.8, alpha=0.05)
    one_sided = TTestIndPower().solve_power(1.0, power=0.8, alpha=0.05, alternative="larger")
    found = seeds_needed(replace(PLAIN, effect=1.5, rope=0.5), [UNIT, UNIT], rng())
    assert found is not None
    assert found == pytest.approx(one_sided + 0.8, abs=1.2)
    assert found < 0.9 * two_sided


def test_direction_alone_needs_fewer_seeds_than_a_difference_beyond_the_region() -> None:
    question = replace(PLAIN, effect=1.0, rope=0.5)
    whole, direction = (
        seeds_needed(replace(question, direction_only=only), [UNIT, UNIT], rng()) for only in (False, True)
    )
    assert whole is not None
    assert direction is not None
    assert direction < 0.5 * whole


def test_interaction_of_four_cells_needs_twice_the_seeds_of_a_difference() -> None:
    pair = seeds_needed(replace(PLAIN, effect=0.5), [UNIT] * 2, rng())
    four = seeds_needed(replace(PLAIN, effect=0.5, weights=(1, -1, -1, 1)), [UNIT] * 4, rng())
    assert pair is not None
    assert four == pytest.approx(2 * pair, rel=0.08)


def test_runs_that_fail_to_train_are_made_up_for() -> None:
    plain, failing = (seeds_needed(PLAIN, [CellModel(1.0, rate)] * 2, rng()) for rate in (0.0, 0.2))
    assert plain is not None
    assert failing == pytest.approx(plain / 0.8, abs=2)


def test_means_of_all_runs_need_many_more_where_few_do_not_exclude_collapses() -> None:
    trained = seeds_needed(Question(0.3, 0.0), [CellModel(0.02)] * 2, rng())
    overall = seeds_needed(Question(0.3, 0.0, primary="mean"), [CellModel(0.02, 0.0, 0.7)] * 2, rng())
    assert trained == 3
    assert overall is not None
    assert overall >= 9


@pytest.mark.parametrize("primary", ["mean", "median"])
def test_lower_is_better_mirrors_the_question(primary: Primary) -> None:
    up = [CellModel(0.02, 0.3, 0.7), CellModel(0.01, 0.05, 0.6)]
    down = [replace(cell, rise=-(cell.rise or 0.0)) for cell in up]
    found = [
        Simulation(Question(effect, 0.01, primary=primary, gated=False), cells, rng(), 60).share(40)
        for effect, cells in ((-0.3, up), (0.3, down))
    ]
    assert found[0] == pytest.approx(found[1], abs=0.04)
    assert found[0] > 0.3


def test_images_that_all_cells_share_leave_what_no_number_of_seeds_removes() -> None:
    pilots = (Pilot(1.0, 9, runs=10), Pilot(1.0, 9, runs=10))
    for error, never in ((0.2, False), (0.5, True)):
        question = replace(PLAIN, image_variance=error**2, images=270)
        found = seeds_needed_from_pilot(Piloted(question, pilots), rng())
        assert found.never == never
        assert (found.recommended is None) == never
    many = Simulation(replace(PLAIN, image_variance=0.25, images=270), [UNIT, UNIT], rng()).share(1_000_000)
    assert many == pytest.approx(float(stats.norm.sf(1.97 - 1 / 0.5)), abs=0.03)


def test_overlapping_splits_leave_what_no_number_of_seeds_removes() -> None:
    asked = Piloted(replace(PLAIN, effect=1.0, weights=(1.0,), overlap=0.25), (Pilot(1.0, 9, runs=10),))
    assert seeds_needed_from_pilot(asked, rng()).never
    assert asked.floor == 0.5
    wide = replace(asked, question=replace(asked.question, effect=2.0))
    assert not seeds_needed_from_pilot(wide, rng()).never


def test_effect_on_the_edge_is_never_decided() -> None:
    asked = Piloted(replace(PLAIN, effect=0.5, rope=0.5), (Pilot(1.0, 9), Pilot(1.0, 9)))
    found = seeds_needed_from_pilot(asked, rng(), max_seeds=400)
    assert (found.low, found.high, found.recommended, found.never) == (None, None, None, True)


def test_recommended_seeds_decide_eight_in_ten_studies_on_average_over_pilots() -> None:
    draw, power = rng(8), []
    for _ in range(100):
        pilots = tuple(Pilot(math.sqrt(draw.chisquare(4) / 4), 4, runs=5) for _ in range(2))
        seeds = recommended_seeds(Piloted(PLAIN, pilots), draw, studies=500)
        power.append(TTestIndPower().power(1.0, seeds or 200, 0.05))
    assert np.mean(power) == pytest.approx(0.82, abs=0.045)


def test_range_of_a_pilot_holds_what_is_recommended_and_its_high_end_mostly_suffices() -> None:
    draw, closed = rng(8), TTestIndPower().solve_power(1.0, power=0.8, alpha=0.05)
    high = []
    for _ in range(40):
        pilots = tuple(Pilot(math.sqrt(draw.chisquare(4) / 4), 4, runs=5) for _ in range(2))
        found = seeds_needed_from_pilot(Piloted(PLAIN, pilots), draw, studies=500)
        assert found.low is not None
        assert found.recommended is None or found.low <= found.recommended
        assert found.high is None or (found.recommended is not None and found.recommended <= found.high)
        high.append(found.high is None or found.high >= closed)
    assert np.mean(high) > 0.75


def test_error_that_depends_on_the_seeds_is_that_of_each_look() -> None:
    question = replace(PLAIN, alpha=lambda seeds: 0.05 if seeds == 10 else 0.01)
    simulated = Simulation(question, [UNIT, UNIT], rng(), studies=20_000)
    for seeds, alpha in ((10, 0.05), (11, 0.01)):
        closed = TTestIndPower().power(1.0, seeds, alpha)
        assert simulated.share(seeds) == pytest.approx(closed, abs=0.02)


def test_runs_of_a_pilot_that_look_skewed_ask_for_a_dozen() -> None:
    skewed = seeds_needed(Question(3.0, 0.0, suspect=True), [UNIT, UNIT], rng())
    plain = seeds_needed(Question(3.0, 0.0), [UNIT, UNIT], rng())
    assert plain is not None
    assert skewed is not None
    assert plain < skewed <= 12


class TestPilots:
    def test_spread_and_collapses_are_those_of_the_runs(self) -> None:
        pair = collapsing(10, (0.0, 0.3), 0.02, (0.01, 0.02), 3)
        found = piloted(Cells(dict(enumerate(pair)), Design(rates=True, failed=0.1)), WEIGHTS, Question(0.02, 0.005))
        assert found is not None
        assert [pilot.sd for pilot in found.pilots] == pytest.approx([each.trained.std(ddof=1) for each in pair])
        assert [pilot.collapses for pilot in found.pilots] == [each.collapses for each in pair]
        assert all(pilot.rise is None for pilot in found.pilots)

    def test_blocks_are_planned_by_their_differences(self) -> None:
        blocks, draw = 0.1 * rng(4).standard_normal(8), rng(5)
        pair = [sample(0.8 + blocks + 0.01 * draw.standard_normal(8)) for _ in range(2)]
        design = Design(paired=True, over=("seeds", "split"), test_ratio=0.25)
        found = piloted(Cells(dict(enumerate(pair)), design), WEIGHTS, Question(0.02, 0.005))
        assert found is not None
        assert found.question.weights == (1.0,)
        assert found.question.overlap == 0.25
        assert found.pilots[0].sd == pytest.approx((pair[0].values - pair[1].values).std(ddof=1))

    def test_means_of_all_runs_do_not_share_their_images(self) -> None:
        draw = rng(8)
        right = draw.beta(0.9, 0.1, 300)
        scores = {i: (draw.random((20, 300)) < right) * 1.0 for i in range(2)}
        design = Design(over=("seeds", "images"), primary="mean", rates=True, failed=0.1)
        cells = Cells({i: sample(x.mean(1), [False] * 20) for i, x in scores.items()}, design, scores)
        found = piloted(cells, WEIGHTS, Question(0.05, 0.005))
        assert found is not None
        assert found.floor == pytest.approx(math.sqrt(sum(each.image_variance for each in found.pilots)))
        assert found.floor > 2 * math.sqrt(found.question.image_variance)

    def test_images_are_what_is_left_of_the_variance_for_any_number_of_runs(self) -> None:
        draw, images = rng(6), 400
        hard = draw.random(images) < 0.3
        scores = {i: (draw.random((200, images)) > np.where(hard, 0.4 + 0.2 * i, 0.1)) * 1.0 for i in range(2)}
        cells = Cells({i: sample(x.mean(1)) for i, x in scores.items()}, Design(over=("seeds", "images")), scores)
        found = piloted(cells, WEIGHTS, Question(0.1, 0.0))
        assert found is not None
        true = float(np.var(np.where(hard, 0.2, 0.0), ddof=1)) / images
        assert found.question.image_variance == pytest.approx(true, rel=0.25)
        assert found.question.images == images

    def test_runs_without_spread_tell_nothing(self) -> None:
        cells = Cells({0: sample([0.5] * 3), 1: sample([0.4] * 3)}, Design())
        assert piloted(cells, WEIGHTS, Question(0.1, 0.005)) is None

    def test_a_cell_without_collapses_borrows_the_rate_of_all(self) -> None:
        rare, often = (Piloted(PLAIN, (Pilot(1.0, 4, 0, 5, usual=(count, 40)),) * 2) for count in (0, 8))
        rates = [float(np.mean(asked.drawn(rng(), 5000)[0].collapse_rate)) for asked in (rare, often)]
        assert rates == pytest.approx([0.5 / 41 / 2, 8.5 / 41 / 2], rel=0.1)


def test_least_difference_is_that_of_the_interval() -> None:
    x = np.array([-1.0, 0.0, 1.0])  # of standard deviation 1, symmetric
    apart = least_difference(3, 0.01)
    for factor, told_apart in ((0.999, False), (1.001, True)):
        found = Cells({0: sample(x + factor * apart), 1: sample(x)}, Design()).trained(WEIGHTS)
        assert (found.lower(0.005) > 0) == told_apart
    assert least_difference(1, 0.01) == math.inf


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CellModel(-0.1), "sd must not be negative"),
        (lambda: CellModel(math.nan), "sd must not be negative"),
        (lambda: CellModel(0.1, 1.0, 0.5), r"in \[0, 1\), got 1.0"),
        (lambda: seeds_needed(PLAIN, [UNIT], rng()), "each of 2 weights, got 1"),
    ],
)
def test_what_makes_no_sense_is_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
