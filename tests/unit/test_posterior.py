"""The posterior shares are those of closed forms, of quadrature and of draws, and depend on the prior as stated."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from regulens.stats.analysis import Cell, analyse
from regulens.stats.comparison_posteriors import Moments, comparison_posteriors, posteriors
from regulens.stats.design import Design
from regulens.stats.posterior import Prior, correlated_posterior, posterior_shares, sensitivity, weak_prior
from regulens.stats.samples import sample

FLAT = Prior(math.inf)
SPLITS = [0.012, -0.003, 0.008, 0.001, 0.015, 0.004, -0.006, 0.009, 0.002, 0.007]


@pytest.mark.parametrize("df", [1, 4, 18.5, math.inf])
@pytest.mark.parametrize("rope", [0.0, 0.5, 3.0])
def test_under_a_flat_prior_the_shares_are_those_of_the_t_distribution(df: float, rope: float) -> None:
    estimates = np.array([-9.0, -0.4, 0.0, 1.3, 40.0])
    found = posterior_shares(estimates, 0.7, df, rope, FLAT)
    t = stats.norm(estimates, 0.7) if math.isinf(df) else stats.t(df, estimates, 0.7)
    np.testing.assert_allclose(found.better, t.sf(rope), rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(found.worse, t.cdf(-rope), rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(found.together.sum(axis=0), 1, rtol=1e-12)
    wide = posterior_shares(estimates, 0.7, df, rope, Prior(1e5))
    np.testing.assert_allclose(wide.together, found.together, atol=2e-5 if df == 1 else 1e-7)


@pytest.mark.parametrize(("estimate", "error", "scale"), [(0.1, 1, 0.3), (3, 1, 2), (-8, 0.1, 2), (10, 1, 1)])
def test_a_normal_prior_and_a_known_error_give_the_conjugate_normal(
    estimate: float, error: float, scale: float
) -> None:
    variance = 1 / (1 / error**2 + 1 / scale**2)
    normal = stats.norm(variance * estimate / error**2, math.sqrt(variance))
    found = posterior_shares(estimate, error, math.inf, 0.5, Prior(scale, math.inf))
    assert found.better == pytest.approx(normal.sf(0.5), abs=1e-11)
    assert found.worse == pytest.approx(normal.cdf(-0.5), abs=1e-11)


@pytest.mark.parametrize("df", [1.0, 3.7, 300])
@pytest.mark.parametrize("scale", [0.002, 0.05, 1.0])
def test_the_shares_are_those_of_adaptive_quadrature(df: float, scale: float) -> None:
    for estimate, error in [(0.0, 0.01), (0.004, 0.0005), (-0.03, 0.02), (0.3, 0.01)]:
        pieces = sorted(
            {-0.005, 0.005, *(c + w * k for c, w in ((estimate, error), (0.0, scale)) for k in (-9, -1, 0, 1, 9))}
        )

        def density(x: float, estimate: float = estimate, error: float = error) -> float:
            return float(np.exp(stats.t.logpdf(x, df, estimate, error) + stats.cauchy.logpdf(x, 0, scale)))

        ends = [-math.inf, *pieces, math.inf]
        masses = [
            integrate.quad(density, low, high, epsabs=0, epsrel=1e-8, limit=200)[0]
            for low, high in itertools.pairwise(ends)
        ]
        above = sum(mass for mass, low in zip(masses, ends, strict=False) if low >= 0.005) / sum(masses)
        found = posterior_shares(estimate, error, df, 0.005, Prior(scale))
        assert found.better == pytest.approx(above, abs=1e-8)


def test_the_shares_are_those_of_weighted_draws_between_the_limits() -> None:
    draws = stats.t(4, 0.02, 0.03).rvs(400_000, random_state=np.random.default_rng(1))
    weights = np.where(np.abs(draws) < 0.06, stats.cauchy.pdf(draws, 0, 0.02), 0.0)
    wanted = [weights[draws > 0.01].sum(), weights[np.abs(draws) < 0.01].sum(), weights[draws < -0.01].sum()]
    found = posterior_shares(0.02, 0.03, 4, 0.01, Prior(0.02), limits=(-0.06, 0.06))
    np.testing.assert_allclose(found.together, np.array(wanted) / weights.sum(), atol=0.004)
    flat = posterior_shares(0.02, 0.03, 4, 0.01, FLAT, limits=(-0.06, 0.06))
    inside = draws[np.abs(draws) < 0.06]
    assert flat.better == pytest.approx(np.mean(inside > 0.01), abs=0.004)


def test_of_unequal_variances_welchs_t_is_near_the_behrens_fisher_distribution_from_ten_runs_on() -> None:
    rng = np.random.default_rng(2)
    for n, ratio, near in ((10, 1, 0.04), (10, 4, 0.012), (30, 1, 0.013), (3, 1, 0.13)):
        parts = np.array([1.0, ratio**2]) / n
        noise = np.sqrt(parts / parts.sum())[:, None] * rng.standard_t(n - 1, (2, 200_000))
        df = (n - 1) * parts.sum() ** 2 / (parts**2).sum()
        x = 1.5 + noise[0] - noise[1]
        found = posterior_shares(1.5, 1.0, df, 1.0, FLAT)
        assert abs(float(found.equivalent) - np.mean(np.abs(x) < 1)) < near
        assert float(found.worse) < np.mean(x < -1) + 0.002  # Behrens and Fisher's tails are the heavier


def test_shares_turn_with_the_sign_the_direction_and_the_unit() -> None:
    one = posterior_shares(0.013, 0.008, 7, 0.005, Prior(0.05))
    for other in (
        posterior_shares(-0.013, 0.008, 7, 0.005, Prior(0.05), direction="lower"),
        posterior_shares(1.3, 0.8, 7, 0.5, Prior(5)),
    ):
        np.testing.assert_allclose(other.together, one.together, rtol=1e-12)
    turned = posterior_shares(-0.013, 0.008, 7, 0.005, Prior(0.05)).together
    np.testing.assert_allclose(turned[::-1], one.together, rtol=1e-9)


def test_without_a_region_nothing_is_equivalent() -> None:
    found = posterior_shares([0.0, 2.0], 1, 9, 0, Prior(3))
    assert found.equivalent.tolist() == [0, 0]
    assert found.better[0] == pytest.approx(0.5, abs=1e-12)


def test_a_difference_without_spread_has_no_shares() -> None:
    found = posterior_shares([0.1, 0.1, math.nan, 0.1], [0.0, math.nan, 1.0, 0.1], [8, 8, 8, math.nan], 0.01, Prior(1))
    assert np.isnan(found.together).all()


def test_shares_do_not_depend_on_what_is_computed_beside_them() -> None:
    estimates = np.random.default_rng(3).normal(0, 1, (700, 2))
    together = posterior_shares(estimates, 0.5, 6, 0.3, Prior(1)).better
    assert together.shape == (700, 2)
    assert together[600, 1] == posterior_shares(estimates[600, 1], 0.5, 6, 0.3, Prior(1)).better


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rope": -0.1}, "rope"),
        ({"limits": (1.0, -1.0)}, "limits"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        posterior_shares(0, 1, 5, **{"rope": 0.1, "prior": FLAT} | arguments)  # type: ignore[arg-type]
    for wrong in ((0, 1), (-1, 1), (math.nan, 1), (1, 0.5)):
        with pytest.raises(ValueError, match="prior"):
            Prior(*wrong)


class TestResplits:
    def test_under_a_flat_prior_it_is_the_correlated_t_test_of_corani_and_benavoli(self) -> None:
        found = correlated_posterior(SPLITS, 0.1, 0.005, FLAT)
        mean, variance = np.mean(SPLITS), np.var(SPLITS, ddof=1)
        t = stats.t(9, mean, math.sqrt(variance * (1 / 10 + 0.1 / 0.9)))  # their equation 10
        assert found.better == pytest.approx(t.sf(0.005), rel=1e-12)
        assert found.worse == pytest.approx(t.cdf(-0.005), rel=1e-12)

    def test_no_number_of_splits_makes_it_surer_than_the_overlap_allows(self) -> None:
        x = np.tile([0.0, 2.0], 5000)
        assert correlated_posterior(x, 0.3, 0, FLAT).better == pytest.approx(
            stats.norm.cdf(1 / math.sqrt(0.3 / 0.7)), abs=1e-3
        )

    def test_of_equal_learners_more_than_95_percent_is_wrong_in_a_tenth_of_studies(self) -> None:
        rng = np.random.default_rng(4)
        x = math.sqrt(0.2) * rng.standard_normal((20_000, 1)) + math.sqrt(0.8) * rng.standard_normal((20_000, 10))
        found = correlated_posterior(x, 0.2, 0, FLAT)
        wrong = np.maximum(found.better, found.worse) > 0.95
        assert wrong.mean() == pytest.approx(0.1, abs=0.012)
        alone = posterior_shares(x.mean(axis=1), x.std(axis=1, ddof=1) / math.sqrt(10), 9, 0, FLAT)
        assert (np.maximum(alone.better, alone.worse) > 0.95).mean() > 0.3

    @pytest.mark.parametrize(("x", "fraction", "words"), [([0.1], 0.2, "two splits"), ([0.1, 0.2], 1.0, "test_frac")])
    def test_too_few_splits_and_wrong_fractions_are_refused(self, x: list[float], fraction: float, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            correlated_posterior(x, fraction, 0.01, FLAT)


class TestPrior:
    def test_of_accuracies_half_of_it_lies_within_five_points(self) -> None:
        prior = weak_prior((0, 1), [])
        assert prior == Prior(0.05, 1)
        assert stats.cauchy(0, prior.scale).cdf([-0.05, 0.05]).tolist() == pytest.approx([0.25, 0.75])

    def test_of_unbounded_responses_it_is_worth_one_run_of_each_cell(self) -> None:
        cells = [np.array([1.0, 3.0]), np.array([10.0, 12.0, 14.0]), np.array([7.0])]
        assert weak_prior((0, math.inf), cells).scale == pytest.approx(math.sqrt(2 * (2 + 8) / 3))
        with pytest.raises(ValueError, match="scale"):
            weak_prior((0, math.inf), [np.ones(3)])

    def test_the_sensitivity_is_the_largest_change_under_narrower_and_wider_priors(self) -> None:
        given = (0.01, 0.004, 8)
        shares = [posterior_shares(*given, 0.005, Prior(scale)).together for scale in (0.05, 0.01, 0.25)]
        wanted = max(np.abs(shares[1] - shares[0]).max(), np.abs(shares[2] - shares[0]).max())
        assert sensitivity(*given, 0.005, Prior(0.05)) == pytest.approx(wanted, rel=1e-9)
        assert sensitivity(*given, 0.005, FLAT) == 0

    def test_it_gives_way_to_runs_that_plainly_speak_against_it(self) -> None:
        assert posterior_shares(0.6, 0.01, 18, 0.005, Prior(0.05)).better > 0.999


class TestComparisons:
    DESIGN = Design(rope=0.005, bounds=(0, 1))
    A, B = np.array([0.91, 0.92, 0.935]), np.array([0.90, 0.905, 0.895, 0.91])

    def shares(self, a: np.ndarray, b: np.ndarray, design: Design, collapsed: bool = False) -> object:
        cells = [
            Cell({"regularizer": "none"}, sample(b)),
            Cell({"regularizer": "l2"}, sample(a, [collapsed] + [False] * (len(a) - 1))),
        ]
        analysis = analyse(cells, "regularizer", [("l2", "none")], design, np.random.default_rng(0))
        [found] = comparison_posteriors(analysis)
        return found

    def test_an_analysis_has_the_shares_of_its_triple_and_prior(self) -> None:
        found = self.shares(self.A, self.B, self.DESIGN)
        test = stats.ttest_ind(self.A, self.B, equal_var=False)
        estimate = self.A.mean() - self.B.mean()
        wanted = posterior_shares(estimate, estimate / test.statistic, test.df, 0.005, Prior(0.05), limits=(-1.0, 1.0))
        shares = [found.better, found.equivalent, found.worse]  # type: ignore[attr-defined]
        assert shares == pytest.approx(wanted.together.tolist())
        assert 0 < found.change < 0.2  # type: ignore[attr-defined]

    def test_there_are_none_without_a_t_interval(self) -> None:
        for design, b in (
            (Design(primary="median"), self.B),
            (self.DESIGN, self.B[:1]),
            (self.DESIGN, self.B[:2]),
            (Design(paired=True), self.B[:2]),
        ):
            assert self.shares(self.A, b, design) is None
        assert self.shares(np.ones(3), np.full(3, 0.5), self.DESIGN) is None
        assert self.shares(np.ones(3), np.full(3, 0.5), Design()) is None
        assert self.shares(self.A, self.B, Design(primary="mean", rates=True, failed=0.1), collapsed=True) is None
        more = np.append(self.A, 0.925)
        assert self.shares(more, self.B, Design(primary="trained"), collapsed=True) is not None

    def test_no_difference_has_no_posterior(self) -> None:
        assert posteriors([], 0.1, Prior(1)) == []
        [found] = posteriors([Moments(2.0, 1.0, 9.0)], 0.1, Prior(1), direction="lower")
        assert found.worse > found.better
