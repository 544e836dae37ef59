"""What ties on paper ties in the statistics, whatever rounding makes of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from regulens.stats.analysis import Analysis, Cell, analyse
from regulens.stats.cells import Cells
from regulens.stats.claims import Part, judge_claim
from regulens.stats.comparisons import hedges_g
from regulens.stats.design import Design
from regulens.stats.estimate import IntervalEstimate
from regulens.stats.intervals import Interval
from regulens.stats.means import mean_interval
from regulens.stats.permutation import permutation_p
from regulens.stats.samples import sample
from regulens.stats.selection import selection_optimism, single_run_ranking
from regulens.stats.superiority import brunner_munzel_p, improvement_interval
from regulens.stats.ties import best_of_equals, cancelled, constant, first_best, joined, whole_steps
from regulens.stats.verdicts import judge

RNG = np.random.default_rng
Fractions = list[Fraction]


def far_out(x: Fractions, y: Fractions) -> Fraction:
    """Return ``t^2 / (1 + t^2)`` of Welch's t, exactly; 0 where nothing differs."""
    means = [sum(group, Fraction()) / len(group) for group in (x, y)]
    scatter = [
        sum(((v - mean) * (v - mean) for v in group), Fraction()) for group, mean in zip((x, y), means, strict=True)
    ]
    errors = [each / (len(group) * (len(group) - 1)) for group, each in zip((x, y), scatter, strict=True)]
    distance = (means[0] - means[1]) * (means[0] - means[1])
    return distance / (distance + sum(errors, Fraction())) if distance else Fraction()


def exact_p(x: Fractions, y: Fractions) -> float:
    pooled, observed = x + y, far_out(x, y)
    arrangements = list(itertools.combinations(range(len(pooled)), len(x)))
    as_far = sum(
        far_out([pooled[i] for i in chosen], [pooled[i] for i in range(len(pooled)) if i not in chosen]) >= observed
        for chosen in arrangements
    )
    return as_far / len(arrangements)


def exact_p_of_pairs(x: Fractions, y: Fractions) -> float:
    differences = [one - other for one, other in zip(x, y, strict=True)]
    signs = list(itertools.product((1, -1), repeat=len(differences)))
    flipped = [
        abs(sum((sign * each for sign, each in zip(row, differences, strict=True)), Fraction())) for row in signs
    ]
    return sum(each >= flipped[0] for each in flipped) / len(signs)


SCALES: dict[str, tuple[Callable[[int], Fraction], Callable[[Fraction], float]]] = {
    "accuracies of four decimals": (lambda k: Fraction(9800 + k, 10_000), float),
    "accuracies in percent": (lambda k: Fraction(9800 + k, 100), float),
    "accuracies on 9,000 images": (lambda k: Fraction(7300 + k, 9000), float),
    "these in percent": (lambda k: Fraction(7300 + k, 90), lambda value: 100 * float(value / 100)),
    "accuracies in single precision": (lambda k: Fraction(9800 + k, 10_000), lambda value: float(np.float32(value))),
    "these on 9,000 images": (lambda k: Fraction(7300 + k, 9000), lambda value: float(np.float32(value))),
    "differences of two numbers": (lambda k: Fraction(300 + k, 10_000), lambda value: (0.9512 + float(value)) - 0.9512),
    "losses of a millionth": (lambda k: Fraction(1 + k, 10**7), float),
    "days in seconds": (lambda k: Fraction(100_000 + k), float),
    "small steps on a million": (lambda k: 10**6 + Fraction(k, 10_000), float),
    "small steps on a billion": (lambda k: 10**9 + Fraction(k, 10_000), float),
    "one that diverged": (lambda k: Fraction(10**9) if k == 0 else Fraction(3000 + k, 10_000), float),
    "on both sides of zero": (lambda k: Fraction(k - 8, 1000), float),
}


class TestPermutationP:
    @pytest.mark.parametrize("scale", SCALES)
    def test_it_is_exact_at_every_scale_and_the_same_whichever_cell_is_named_first(self, scale: str) -> None:
        rng, (number, stored) = RNG(len(scale)), SCALES[scale]
        for _ in range(12):
            n, m = (int(size) for size in rng.integers(3, 6, 2))
            exact = [number(int(k)) for k in rng.integers(0, rng.choice([4, 12, 60]), n + m)]
            x, y, both = exact[:n], exact[n:], min(n, m)
            a, b = ([stored(value) for value in part] for part in (x, y))
            for paired, wanted, length in (
                (False, exact_p(x, y), None),
                (True, exact_p_of_pairs(x[:both], y[:both]), both),
            ):
                one, other = np.array(a[:length]), np.array(b[:length])
                assert permutation_p(one, other, paired) == pytest.approx(wanted, abs=1e-12), (a, b, paired)
                assert permutation_p(other, one, paired) == pytest.approx(wanted, abs=1e-12), (b, a, paired)

    def test_random_small_samples_of_accuracies_have_their_exact_p(self) -> None:
        rng = RNG(1)
        for _ in range(200):
            steps = rng.integers(0, 8, 8)
            exact = [Fraction(9890 + int(step), 10_000) for step in steps]
            a, b = (np.array([float(value) for value in part]) for part in (exact[:4], exact[4:]))
            assert permutation_p(a, b) == pytest.approx(exact_p(exact[:4], exact[4:]), abs=1e-12)

    def test_the_order_of_the_runs_is_nothing_to_it(self) -> None:
        a, b = np.array([0.9903, 0.9901, 0.9902, 0.9902]), np.array([0.9899, 0.9900, 0.9898, 0.9902])
        found = {permutation_p(RNG(k).permutation(a), RNG(k).permutation(b)) for k in range(9)}
        assert len(found) == 1

    def test_continuous_values_have_scipys_p(self) -> None:
        def welch(x: NDArray[np.float64], y: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
            return np.asarray(np.abs(stats.ttest_ind(x, y, axis=axis, equal_var=False).statistic))

        for seed in range(5):
            x, y = RNG(seed).standard_normal(4), 1 + RNG(seed + 50).standard_normal(6)
            wanted = stats.permutation_test((x, y), welch, alternative="greater", vectorized=True).pvalue
            assert permutation_p(x, y) == pytest.approx(wanted, abs=1e-12)

    def test_values_without_spread_but_for_rounding_tie_in_every_arrangement(self) -> None:
        a, b = np.array([0.3, 0.1 + 0.2, 0.3, 0.3]), np.array([0.1 + 0.2, 0.3, 0.3, 0.1 + 0.2])
        assert permutation_p(a, b) == 1.0
        assert permutation_p(a, b, paired=True) == 1.0


def gaps(pairs: Iterator[tuple[int, int]] | list[tuple[int, int]]) -> NDArray[np.float64]:
    """Return training minus validation accuracies as a program has them: rounded differences of rounded numbers."""
    return np.array([train / 100 - validation / 100 for train, validation in pairs])


def analysed(*cells: NDArray[np.float64], rope: float = 0.0, paired: bool = False) -> Analysis:
    named = [Cell({"x": name}, sample(values)) for name, values in zip("abcdef", cells, strict=False)]
    pairs = [(cell.levels["x"], "a") for cell in named[1:]]
    return analyse(named, "x", pairs, Design(rope=rope, paired=paired), RNG(0))


class TestValues:
    def test_computed_differences_that_tie_are_ranked_as_ties(self) -> None:
        a, b = gaps([(91, 87), (95, 91), (93, 90), (97, 92)]), gaps([(88, 84), (99, 95), (96, 93), (94, 88)])
        assert a[0] != a[1]  # 0.040000000000000036 and 0.039999999999999925
        whole = [np.array([4.0, 4, 3, 5]), np.array([4.0, 4, 3, 6])]
        result = analysed(b, a).comparisons[0].result
        assert result is not None
        assert result.improvement.estimate == improvement_interval(whole[0], whole[1], 0.95).estimate
        assert result.p_brunner_munzel == pytest.approx(brunner_munzel_p(whole[0], whole[1]))

    def test_values_are_joined_where_they_were_computed_and_kept_where_they_were_written(self) -> None:
        one, other = joined([np.array([0.1 + 0.2, 0.5]), np.array([0.3, 1e12])])
        assert one.tolist() == [0.3, 0.5]
        assert other.tolist() == [0.3, 1e12]
        written = [np.array([1e6 + 1e-7, 1e6]), np.array([1e6 + 2e-7])]
        assert [group.tolist() for group in joined(written)] == [group.tolist() for group in written]
        lone = RNG(0).standard_normal(1000)
        assert np.array_equal(joined([lone])[0], lone)

    @pytest.mark.parametrize(
        ("values", "steps"),
        [
            ([0.8123, 0.8121, 0.813], [2, 0, 9]),
            ([1e5, 2e5, 3.5e5], [0, 10, 25]),
            ([7200 / 9000, 7311 / 9000, 7201 / 9000], [0, 111, 1]),
            ([float(np.float32(0.8123)), 0.8121, 0.813], [2, 0, 9]),
            ([0.0, 0.0], [0, 0]),
            ([math.pi / 10, math.e / 10], None),
            ([1e300, 1e-300], None),
        ],
    )
    def test_steps_are_those_that_were_meant(self, values: list[float], steps: list[int] | None) -> None:
        found = whole_steps(np.array(values))
        assert (found is None) if steps is None else (found is not None and found.tolist() == steps)

    def test_cells_without_spread_but_for_rounding_have_none(self) -> None:
        a, b = np.array([0.3, 0.1 + 0.2, 0.3]), np.array([0.4, 0.4, 0.1 + 0.3])
        assert constant(a)
        assert not constant(a, b)
        assert math.isnan(hedges_g(a, b))
        assert math.isnan(hedges_g(np.full(3, 0.1), np.full(3, 0.2)))
        result = analysed(a, b).comparisons[0].result
        assert result is not None
        assert result.reason.startswith("neither cell has any spread")
        tenths = mean_interval(np.full(3, 0.1), 0.95)
        assert math.isnan(tenths.low)

    def test_an_interaction_that_cancels_is_zero(self) -> None:
        values = {"a": 0.3, "b": 0.1, "c": 0.4, "d": 0.2}
        cells = Cells({name: sample(np.full(3, value)) for name, value in values.items()}, Design())
        found = cells.trained({"a": 1.0, "b": -1.0, "c": -1.0, "d": 1.0})
        assert found.value == 0
        assert math.isnan(found.p)
        assert cancelled(1e-3, [0.3, 0.299]) == 1e-3


class TestOrder:
    def test_of_means_that_tie_the_first_is_the_best(self) -> None:
        first, second = sample([0.80, 0.83, 0.84]), sample([0.80, 0.82, 0.85])
        assert first.values.mean() < second.values.mean()  # by the last place: both add up to 2.47
        for pair in ((first, second), (second, first)):
            assert selection_optimism(pair, RNG(0), resamples=10).selected == 0
        chances = [single_run_ranking(pair, RNG(0)).best for pair in ((first, second), (second, first))]
        assert chances == pytest.approx([5 / 9, 5 / 9], abs=0.02)  # a tie is the first cell's
        assert best_of_equals([0.3, 0.5, 0.1 + 0.4, 0.2]) == [1, 2]
        assert best_of_equals([0.3, 0.1 + 0.2, 0.5], higher=False) == [0, 1]

    def test_resampled_means_that_tie_are_the_first_cells(self) -> None:
        up, down = sample([0.1, 0.2, 0.3]), sample([0.3, 0.2, 0.1])
        sums = {sum(order) / 3 for order in itertools.permutations(up.values.tolist())}
        assert len(sums) > 1  # the same three runs in another order have another mean, by the last place
        draws = np.array([np.mean(list(chosen)) for chosen in itertools.product(up.values.tolist(), repeat=3)])
        left_out = [len(set(chosen)) < 3 for chosen in itertools.product(range(3), repeat=3)]
        first, second = np.round(draws[left_out], 9), np.round(draws[left_out], 9)
        expected = np.mean(first[:, None] >= second)
        for pair in ((up, down), (down, up)):
            found = selection_optimism(pair, RNG(0), resamples=40_000)
            assert found.chosen[0] == pytest.approx(expected, abs=0.01)
        assert first_best(np.array([[0.3, 0.1 + 0.2, 0.2], [0.1 + 0.2, 0.3, 0.5]])).tolist() == [0, 2]

    def test_single_runs_that_tie_but_for_rounding_are_the_first_cells(self) -> None:
        found = single_run_ranking([sample([0.3, 0.3]), sample([0.1 + 0.2, 0.1 + 0.2])], RNG(0), studies=100)
        assert (found.best, found.order) == (1, 1)


def fixed(value: float, low: float, high: float) -> IntervalEstimate:
    """Return an estimate with the same bounds at every level."""
    return IntervalEstimate(value, lambda level: Interval(value, low, high, level))


class TestEdges:
    def test_a_bound_on_the_edge_is_on_neither_side(self) -> None:
        control = np.array([0.81, 0.83, 0.86, 0.89])
        arm = np.array([0.815, 0.835, 0.865, 0.895])
        assert (arm - control).max() > 0.005 > (arm - control).min()
        for difference in (arm, 2 * control - arm):
            result = analysed(control, difference, rope=0.005, paired=True).comparisons[0].result
            assert result is not None
            assert result.verdict == "undecided"

    def test_what_is_beyond_the_edge_by_more_than_rounding_is_beyond(self) -> None:
        assert judge(fixed(0.006, 0.0050000001, 0.007), 0.005, 0.05, rounding=1e-14) == "better"
        assert judge(fixed(0.0, -0.0049999999, 0.0049999999), 0.005, 0.05, rounding=1e-14) == "equivalent"
        assert judge(fixed(0.006, 0.005 + 1e-17, 0.007), 0.005, 0.05, rounding=1e-14) == "better (size open)"

    @pytest.mark.parametrize(("relation", "rope"), [("greater", 0.005), ("equal", 0.005), ("greater", 0.0)])
    def test_a_claim_on_the_edge_is_undecided(self, relation: str, rope: float) -> None:
        bound = rope + 4e-17
        part = Part("", fixed(bound, bound, bound), rope, relation, 1e-15)
        assert judge_claim([part], 1).verdict == "undecided"


def test_thousands_of_pairs_are_tested() -> None:
    cells = [sample(np.round(mean + RNG(seed).standard_normal(1100), 3)) for seed, mean in ((1, 0.0), (2, 0.0))]
    found = Cells(dict(enumerate(cells)), Design(paired=True)).trained({0: 1.0, 1: -1.0})
    assert found.p == pytest.approx(stats.ttest_rel(cells[0].values, cells[1].values).pvalue)
