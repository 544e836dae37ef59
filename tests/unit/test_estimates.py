"""Checked against exact sums, all subsets, published examples, closed forms and simulated coverage."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from regulens.stats.chance import chance_bound
from regulens.stats.estimate import IntervalEstimate
from regulens.stats.estimates import (
    expected_best,
    expected_best_curve,
    interquartile_mean,
    interquartile_mean_intervals,
    median_interval,
    sd_interval,
    summarize,
)
from regulens.stats.intervals import Interval

Runs = NDArray[np.float64]
accuracies = st.lists(st.floats(0, 1), min_size=4, max_size=40)
# the example of Bonett 2006, as the manual of R's DescTools quotes it
BONETT = (15.83, 16.01, 16.24, 16.42, 15.33, 15.44, 16.88, 16.31)


def interquartile_mean_interval(
    values: ArrayLike, level: float, rng: np.random.Generator, resamples: int = 10_000
) -> Interval:
    return interquartile_mean_intervals([np.asarray(values, np.float64)], level, rng, resamples)[0]


def tail(images: int, largest: int, above: int) -> Fraction:
    """P(more than ``above`` right guesses), by exact summation."""
    p = Fraction(largest, images)
    return sum(
        (math.comb(images, k) * p**k * (1 - p) ** (images - k) for k in range(above + 1, images + 1)), start=Fraction(0)
    )


@given(st.lists(st.integers(0, 12), min_size=2, max_size=4).filter(any))
def test_guessing_exceeds_the_bound_with_at_most_a_thousandth(counts: list[int]) -> None:
    images, bound = sum(counts), chance_bound(counts)
    right = round(bound * images)
    assert tail(images, max(counts), right) <= Fraction(1, 1000) + Fraction(1, 10**12)
    if right > 0:
        assert tail(images, max(counts), right - 1) > Fraction(1, 1000) - Fraction(1, 10**12)


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=12).filter(any))
def test_the_bound_is_the_quantile_of_scipy(counts: list[int]) -> None:
    images = sum(counts)
    assert chance_bound(counts) == stats.binom.ppf(0.999, images, max(counts) / images) / images


def test_bound_of_nine_thousand_images_in_ten_equal_classes() -> None:
    normal_approximation = 0.1 + 3.0902 * math.sqrt(0.1 * 0.9 / 9000)
    assert chance_bound([900] * 10) == pytest.approx(normal_approximation, abs=2 / 9000)


def test_bound_needs_images() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        chance_bound([0, 0])


def test_summary_is_numpys() -> None:
    values = np.random.default_rng(1).normal(size=9)
    summary = summarize(values)
    assert summary.n == 9
    assert summary.median == np.median(values)
    assert summary.mean == pytest.approx(values.mean())
    assert summary.sd == pytest.approx(values.std(ddof=1))
    assert (summary.low, summary.high) == (values.min(), values.max())


def test_one_value_has_no_standard_deviation() -> None:
    assert math.isnan(summarize([0.5]).sd)


def test_no_values_cannot_be_summarized() -> None:
    with pytest.raises(ValueError, match="non-empty"):
        summarize([])


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> Runs:
    return rng.normal(0.9, 0.01, shape)


def skewed(rng: np.random.Generator, shape: tuple[int, int]) -> Runs:
    return 0.95 - rng.gamma(2, 0.01, shape)


def tied(rng: np.random.Generator, shape: tuple[int, int]) -> Runs:
    return 0.9 + 0.01 * np.round(rng.normal(size=shape))


def collapsing(rate: float) -> Callable[[np.random.Generator, tuple[int, int]], Runs]:
    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> Runs:
        return np.where(rng.random(shape) < rate, rng.normal(0.1, 0.003, shape), normal(rng, shape))

    return draw


def coverage(samples: Runs, interval: Callable[[Runs], Interval], truth: float) -> float:
    """The share of (samples, n) whose interval holds the truth; a bound on a tie counts as holding it."""
    made = [interval(sample) for sample in samples]
    return float(np.mean([made_one.low - 1e-9 <= truth <= made_one.high + 1e-9 for made_one in made]))


def without_bounds(interval: Interval) -> bool:
    return math.isnan(interval.low) and math.isnan(interval.high)


@pytest.mark.parametrize("n", [4, 8, 12, 40])
def test_interquartile_mean_of_a_multiple_of_four_is_scipys_trimmed_mean(n: int) -> None:
    values = np.random.default_rng(n).normal(size=n)
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25))


@given(accuracies)
def test_interquartile_mean_is_that_of_the_sample_four_times_over(values: list[float]) -> None:
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(np.repeat(values, 4), 0.25))


@pytest.mark.parametrize(
    ("values", "by_hand"),
    [
        ([10, 0, 1, 2, 100], 0.3 * 1 + 0.4 * 2 + 0.3 * 10),  # of each outer 1/5, 0.15 of 0.5 lies within the quartiles
        ([100, 10, 3, 2, 1, 0], (1 + 2 * 2 + 2 * 3 + 10) / 6),
    ],
)
def test_interquartile_mean_counts_the_values_at_the_quartiles_in_part(values: list[float], by_hand: float) -> None:
    assert interquartile_mean(values) == pytest.approx(by_hand)


def test_interquartile_mean_works_along_the_last_axis() -> None:
    values = np.random.default_rng(0).normal(size=(2, 3, 7))
    means = interquartile_mean(values)
    assert means.shape == (2, 3)
    assert means[1, 2] == pytest.approx(interquartile_mean(values[1, 2]))


def test_interquartile_mean_needs_four_values() -> None:
    with pytest.raises(ValueError, match="at least 4 values, got 3"):
        interquartile_mean([0.1, 0.2, 0.3])


def test_interquartile_intervals_of_many_samples_are_those_of_each() -> None:
    rng = np.random.default_rng(0)
    samples = [rng.normal(size=n) for n in (12, 30, 12, 5)] + [rng.normal(size=12) for _ in range(60)]
    samples.append(samples[0][::-1])
    found = interquartile_mean_intervals(samples, 0.95, np.random.default_rng(1))
    assert [each.estimate for each in found] == pytest.approx([float(interquartile_mean(x)) for x in samples])
    assert without_bounds(found[3])
    for place in (0, 1, 2, 40):
        alone = interquartile_mean_interval(samples[place], 0.95, np.random.default_rng(2))
        assert (found[place].low, found[place].high) == pytest.approx((alone.low, alone.high), abs=0.05)
    assert found[0].low == pytest.approx(found[-1].low, abs=0.05)
    assert interquartile_mean_intervals([], 0.95, rng) == []


@pytest.mark.parametrize("collapsed", [0, 3, 8, 13])
def test_interquartile_interval_of_two_values_has_its_closed_form(collapsed: int) -> None:
    n, level = 20, 0.9
    made = interquartile_mean_interval(np.arange(n) >= collapsed, level, np.random.default_rng(1), resamples=200_000)
    rate_high = stats.beta.ppf((1 + level) / 2, collapsed + 1, n - collapsed)  # Clopper and Pearson's
    rate_low = stats.beta.ppf((1 - level) / 2, collapsed, n - collapsed + 1) if collapsed else 0.0
    assert made.low == pytest.approx(np.clip((0.75 - rate_high) / 0.5, 0, 1), abs=0.01)
    assert made.high == pytest.approx(np.clip((0.75 - rate_low) / 0.5, 0, 1), abs=0.01)


@pytest.mark.parametrize("n", [10, 30])
@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (normal, 0.9),
        (skewed, 0.932750),  # 2 * the integral of the quantile function over the middle half
        (tied, 0.9),
        (collapsing(0.1), 0.898462),
        (collapsing(0.3), 0.815227),
        (collapsing(0.4), 0.656228),
    ],
)
def test_interquartile_intervals_cover(
    n: int, draw: Callable[[np.random.Generator, tuple[int, int]], Runs], truth: float
) -> None:
    rng = np.random.default_rng(n)
    assert interquartile_mean(draw(rng, (1, 1_000_000)))[0] == pytest.approx(truth, abs=1.5e-3)
    covered = coverage(draw(rng, (400, n)), lambda x: interquartile_mean_interval(x, 0.95, rng, 1000), truth)
    assert covered >= 0.93 - 2 * math.sqrt(0.93 * 0.07 / 400)


@pytest.mark.parametrize(("n", "level"), [(8, 0.95), (12, 0.99)])
def test_too_few_runs_have_no_interquartile_interval(n: int, level: float) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=n + 1)
    few = interquartile_mean_interval(values[:n], level, rng)
    assert without_bounds(few)
    assert few.estimate == interquartile_mean(values[:n])
    assert not without_bounds(interquartile_mean_interval(values, level, rng))


@given(st.lists(st.sampled_from([0.1, 0.3, 0.7]), min_size=9, max_size=30), st.integers(0, 9))
def test_interquartile_interval_holds_its_estimate_and_stays_within_the_data(values: list[float], seed: int) -> None:
    made = interquartile_mean_interval(values, 0.95, np.random.default_rng(seed), 500)
    assert made.low <= made.estimate <= made.high
    assert min(values) - 1e-12 <= made.low
    assert made.high <= max(values) + 1e-12


@pytest.mark.parametrize(
    ("level", "low", "high"), [(0.9, 0.3592, 0.9359), (0.95, 0.3263, 1.0841), (0.99, 0.2607, 1.5109)]
)
def test_interval_of_the_standard_deviation_is_bonetts(level: float, low: float, high: float) -> None:
    made = sd_interval(BONETT, level)
    assert (made.estimate, made.low, made.high) == pytest.approx((0.5168, low, high), abs=6e-5)


@pytest.mark.parametrize(
    ("values", "level"), [([1.0], 0.95), ([1, 2, 3, 4], 0.95), ([0.3] * 9, 0.95), ([1, 2, 3, 5, 9], 1 - 1e-7)]
)
def test_no_interval_of_the_standard_deviation_where_there_is_no_ground_for_one(
    values: list[float], level: float
) -> None:
    made = sd_interval(values, level)
    assert without_bounds(made)
    assert made.estimate == pytest.approx(summarize(values).sd, nan_ok=True)


@pytest.mark.parametrize(
    ("draw", "truth", "at_least"),
    [
        (normal, 0.01, 0.93),
        (tied, 0.01 * math.sqrt(1 + 1 / 12), 0.93),
        (skewed, 0.01 * math.sqrt(2), 0.87),  # what the docstring says falls short
    ],
)
def test_intervals_of_the_standard_deviation_cover(
    draw: Callable[[np.random.Generator, tuple[int, int]], Runs], truth: float, at_least: float
) -> None:
    samples = draw(np.random.default_rng(2), (600, 20))
    covered = coverage(samples, lambda x: sd_interval(x, 0.95), truth)
    assert covered >= at_least - 2 * math.sqrt(at_least * (1 - at_least) / 600)


@pytest.mark.parametrize(("n", "rank"), [(2, 1), (9, 2), (10, 2), (12, 3), (15, 4), (20, 6), (20, 5)])
def test_median_interval_at_an_attained_level_ends_at_order_statistics(n: int, rank: int) -> None:
    level = 1 - 2 * stats.binom.cdf(rank - 1, n, 0.5)
    made = median_interval(np.random.default_rng(n).permutation(np.arange(1.0, n + 1)), level)
    assert (made.low, made.high) == pytest.approx((rank, n + 1 - rank))
    assert made.estimate == (n + 1) / 2


@pytest.mark.parametrize("n", [3, 5, 20, 40, 50])
def test_the_widest_median_interval_is_that_of_all_values(n: int) -> None:
    x = np.random.default_rng(n).standard_normal(n)
    least = 0.5 ** (n - 1)  # all values miss the median with this probability
    for beyond in (1.0, 1 + 1e-12, 1 + 1e-7, 1 + 1e-4):
        made = median_interval(x, 1 - least * beyond)
        assert (made.low, made.high) == pytest.approx((x.min(), x.max()), abs=1e-3)


def test_median_interval_interpolates_as_hettmansperger_and_sheather() -> None:
    n, level, inner = 10, 0.95, 1 - 2 * stats.binom.cdf(2, 10, 0.5)
    outer = 1 - 2 * stats.binom.cdf(1, n, 0.5)
    share = (outer - level) / (outer - inner)
    weight = (n - 2) * share / (2 + (n - 4) * share)
    made = median_interval(np.arange(1.0, 11.0) ** 2, level)
    assert (made.low, made.high) == pytest.approx(((1 - weight) * 4 + weight * 9, (1 - weight) * 81 + weight * 64))


@pytest.mark.parametrize(("n", "level"), [(1, 0.95), (5, 0.95), (7, 0.99)])
def test_too_few_runs_have_no_median_interval(n: int, level: float) -> None:
    values = np.random.default_rng(0).normal(size=n + 1)
    assert without_bounds(median_interval(values[:n], level))
    if n > 1:
        assert not without_bounds(median_interval(values, level))


@pytest.mark.parametrize("n", [10, 30])
@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (normal, 0.9),
        (tied, 0.9),
        (collapsing(0.1), float(stats.norm.ppf(4 / 9, 0.9, 0.01))),
        (collapsing(0.4), float(stats.norm.ppf(1 / 6, 0.9, 0.01))),
    ],
)
def test_median_intervals_cover(
    n: int, draw: Callable[[np.random.Generator, tuple[int, int]], Runs], truth: float
) -> None:
    samples = draw(np.random.default_rng(n), (1000, n))
    assert coverage(samples, lambda x: median_interval(x, 0.95), truth) >= 0.93 - 2 * math.sqrt(0.93 * 0.07 / 1000)


@given(accuracies, st.sampled_from([0.8, 0.95, 0.999]))
def test_median_interval_is_in_order_or_absent(values: list[float], level: float) -> None:
    made = median_interval(values, level)
    inside = [min(values), made.low, made.estimate, made.high, max(values)]
    assert without_bounds(made) or (np.diff(inside) >= -1e-12).all()


def test_median_interval_refuses_a_level_that_it_would_misread() -> None:
    with pytest.raises(ValueError, match=r"level must be in \[0.5, 1\), got 0.05"):
        median_interval([1, 2, 3], 0.05)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7), st.data())
def test_expected_best_is_the_mean_of_the_best_over_all_subsets(values: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(values)))
    subsets = list(itertools.combinations(values, k))
    assert expected_best(values, k) == pytest.approx(np.mean([max(subset) for subset in subsets]))
    assert expected_best(values, k, "lower") == pytest.approx(np.mean([min(subset) for subset in subsets]))


@pytest.mark.parametrize(("direction", "best"), [("higher", max), ("lower", min)])
def test_curve_runs_from_the_mean_to_the_best(
    direction: Literal["higher", "lower"], best: Callable[[Runs], float]
) -> None:
    values = np.random.default_rng(0).normal(size=9)
    curve = expected_best_curve(values, direction)
    assert curve[0] == pytest.approx(values.mean())
    assert curve[-1] == best(values)
    assert curve[3] == expected_best(values, 4, direction)
    assert (np.diff(curve) > 0).all() == (direction == "higher")


@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_expected_best_of_thousands_of_runs_is_exact(direction: Literal["higher", "lower"]) -> None:
    values = np.sort(np.random.default_rng(1).normal(size=3000))
    for k in (1, 5, 700, 3000):
        subsets = math.comb(3000, k)
        shares = np.array([float(Fraction(math.comb(rank, k - 1), subsets)) for rank in range(3000)])
        exact = float(shares @ (values if direction == "higher" else values[::-1]))
        assert expected_best(values, k, direction) == pytest.approx(exact, rel=1e-12, abs=1e-12)
    assert expected_best_curve(values, direction)[4] == expected_best(values, 5, direction)


@pytest.mark.parametrize("k", [0, 4])
def test_expected_best_never_goes_beyond_the_runs(k: int) -> None:
    with pytest.raises(ValueError, match=f"between 1 and the number of runs 3, got {k}"):
        expected_best([0.1, 0.2, 0.3], k)


def test_p_of_a_bound_that_stays_at_zero_is_where_it_leaves_it() -> None:
    def rule(level: float) -> Interval:  # as of medians of tied values
        return Interval(0.1, -0.1 if level > 0.999 else 0.0 if level > 0.9 else 0.05, 0.2, level)

    assert IntervalEstimate(0.1, rule).p == pytest.approx(0.1, rel=1e-3)
