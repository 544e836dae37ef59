"""Checked against statsmodels, scipy, published examples, and simulation with known truth."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.oneway import anova_oneway

from regulens.stats.anova import analyse_variance
from regulens.stats.cells import Cells
from regulens.stats.contrasts import Level, Levels, mover_contrast
from regulens.stats.design import Design
from regulens.stats.estimate import StudentEstimate
from regulens.stats.factorial import (
    Estimated,
    Estimator,
    Layout,
    answer_factor,
    estimate_effects,
    interactions,
    main_effects,
    marginal_means,
    simple_effects,
)
from regulens.stats.intervals import Interval, mover_difference, wilson
from regulens.stats.samples import sample

Values = dict[Levels, NDArray[np.float64]]

# Length of teeth of 60 guinea pigs by supplement and dose: Crampton 1947, as R's ToothGrowth.
TEETH: Values = {
    ("OJ", 0.5): np.array([15.2, 21.5, 17.6, 9.7, 14.5, 10, 8.2, 9.4, 16.5, 9.7]),
    ("OJ", 1.0): np.array([19.7, 23.3, 23.6, 26.4, 20, 25.2, 25.8, 21.2, 14.5, 27.3]),
    ("OJ", 2.0): np.array([25.5, 26.4, 22.4, 24.5, 24.8, 30.9, 26.4, 27.3, 29.4, 23]),
    ("VC", 0.5): np.array([4.2, 11.5, 7.3, 5.8, 6.4, 10, 11.2, 11.2, 5.2, 7]),
    ("VC", 1.0): np.array([16.5, 16.5, 15.2, 17.3, 22.5, 17.3, 13.6, 14.5, 18.8, 15.5]),
    ("VC", 2.0): np.array([23.6, 18.5, 33.9, 25.5, 26.4, 32.5, 26.7, 21.5, 23.3, 29.5]),
}
LAYOUT = Layout(("supplement", "dose"), tuple(TEETH))


def unbalanced(seed: int = 3) -> Values:
    rng = np.random.default_rng(seed)
    sizes = {(a, b): 4 + 3 * a + b for a in range(2) for b in range(3)}
    return {cell: rng.normal(cell[0] - 0.3 * cell[1], 1 + cell[1], n) for cell, n in sizes.items()}


def frame(values: Values) -> pd.DataFrame:
    return pd.DataFrame([(*cell, y) for cell, x in values.items() for y in x], columns=["a", "b", "y"])


def only(found: tuple[Estimated, ...], a: Level, **where: Level) -> Estimated:
    [one] = [each for each in found if each.effect.a == a and each.effect.where == where]
    return one


def estimate_of(found: Estimated) -> float:
    assert found.interval is not None
    return found.interval.estimate


def rule(values: Values) -> Estimator:
    return Cells({cell: sample(x) for cell, x in values.items()}, Design()).primary


def contrast(values: list[NDArray[np.float64]], weights: list[float]) -> StudentEstimate:
    cells = Cells(dict(enumerate(map(sample, values))), Design())
    found = cells.trained(dict(enumerate(weights)))
    assert isinstance(found, StudentEstimate)
    return found


def test_contrast_of_two_cells_is_welchs_test() -> None:
    a, b = TEETH["OJ", 0.5], TEETH["VC", 2.0][:7]
    found, welch = contrast([a, b], [1, -1]), stats.ttest_ind(a, b, equal_var=False)
    assert found.df == pytest.approx(welch.df)
    assert found.error == pytest.approx(abs((a.mean() - b.mean()) / welch.statistic))
    assert found.p == pytest.approx(welch.pvalue)  # the tail is on the other side


def test_contrast_of_symmetric_values_has_students_interval() -> None:
    values = [np.array([1.0, 2, 3, 4, 5]), np.array([0.0, 10]), np.array([2.0, 2.5, 3.5, 4])]
    found = contrast(values, [1, -0.5, -0.5])
    error = math.sqrt(2.5 / 5 + 0.25 * 50 / 2 + 0.25 * np.var([2, 2.5, 3.5, 4], ddof=1) / 4)
    half = stats.t.ppf(0.975, found.df) * error
    assert (found.lower(0.025), found.upper(0.025)) == pytest.approx((-1.0 - half, -1.0 + half))


def test_interaction_contrast_covers_under_unequal_variances_and_numbers() -> None:
    rng = np.random.default_rng(5)
    draws = [(5, 4.0), (9, 1.0), (5, 1.0), (12, 0.5)]
    found = [contrast([rng.normal(0, sd, n) for n, sd in draws], [1, -1, -1, 1]) for _ in range(800)]
    covered = np.mean([each.lower(0.025) < 0 < each.upper(0.025) for each in found])
    assert 0.93 < covered < 0.985


def test_mover_of_two_wilson_intervals_is_newcombes_example() -> None:
    # Newcombe 1998, Statistics in Medicine 17, 873-890, table II, method 10: 56/70 - 48/80
    found = mover_contrast([wilson(56, 70, 0.95), wilson(48, 80, 0.95)], [1, -1])
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


BOUNDS = st.tuples(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1))
INTERVALS = st.lists(BOUNDS.map(lambda b: Interval(b[0], b[0] - b[1], b[0] + b[2], 0.95)), min_size=2, max_size=5)


@given(INTERVALS, st.data())
def test_mover_turns_with_the_weights_and_holds_each_part(intervals: list[Interval], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.floats(-2, 2), min_size=len(intervals), max_size=len(intervals)))
    found = mover_contrast(intervals, weights)
    turned = mover_contrast(intervals, [-w for w in weights])
    np.testing.assert_allclose((turned.low, turned.high), (-found.high, -found.low), atol=1e-12)
    widest = max(abs(w) * min(x.estimate - x.low, x.high - x.estimate) for x, w in zip(intervals, weights, strict=True))
    assert found.low <= found.estimate - widest + 1e-12
    assert found.high >= found.estimate + widest - 1e-12


def test_mover_of_a_difference_is_that_of_the_comparisons() -> None:
    a, b = Interval(0.5, 0.2, 0.6, 0.99), Interval(0.1, 0.05, 0.4, 0.99)
    found, pair = mover_contrast([a, b], [1, -1]), mover_difference(a, b)
    assert (found.estimate, found.low, found.high) == pytest.approx((pair.estimate, pair.low, pair.high))
    assert found.level == 0.99


def test_mover_refuses_intervals_of_different_levels() -> None:
    with pytest.raises(ValueError, match="one level"):
        mover_contrast([wilson(1, 5, 0.95), wilson(1, 5, 0.9)], [1, -1])


def test_simple_effects_are_differences_within_each_combination() -> None:
    found = estimate_effects(simple_effects(LAYOUT, "dose", 0.5), rule(TEETH), 0.95)
    assert [(each.effect.a, each.effect.b, each.effect.where) for each in found] == [
        (dose, 0.5, {"supplement": supplement}) for supplement in ("OJ", "VC") for dose in (1.0, 2.0)
    ]
    one, pair = only(found, 2.0, supplement="VC"), contrast([TEETH["VC", 2.0], TEETH["VC", 0.5]], [1, -1])
    assert one.interval is not None
    assert one.simultaneous is not None
    assert (one.interval.level, one.simultaneous.level) == (0.95, 1 - 0.05 / 4)
    welch = stats.ttest_ind(TEETH["VC", 2.0], TEETH["VC", 0.5], equal_var=False)
    for interval in (one.interval, one.simultaneous):
        low, high = welch.confidence_interval(interval.level)
        assert interval.low <= low + 1e-12  # of all six cells, whose lengths are a little skewed, as of these two
        assert interval.high >= high - 1e-12
        assert interval.high - interval.low <= 1.13 * (high - low)
    assert one.interval.estimate == pytest.approx(pair.value)


def test_interactions_are_the_coefficients_of_the_linear_model() -> None:
    values = unbalanced()
    fit = ols("y ~ C(a) * C(b)", frame(values)).fit()
    found = estimate_effects(interactions(Layout(("a", "b"), tuple(values)), "a", 0), rule(values), 0.95)
    assert [(each.effect.a, each.effect.by) for each in found] == [(1, ("b", 1, 0)), (1, ("b", 2, 0))]
    assert [estimate_of(each) for each in found] == pytest.approx(
        [fit.params[f"C(a)[T.1]:C(b)[T.{level}]"] for level in (1, 2)]
    )


def test_interactions_of_three_factors_stay_within_the_third() -> None:
    cells = tuple((a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1))
    values = {(a, b, c): np.array([a * b * c, a * b * c + 2.0]) for a, b, c in cells}
    found = estimate_effects(interactions(Layout(("a", "b", "c"), cells), "a", 0), rule(values), 0.95)
    by_place = {(each.effect.by, *each.effect.where.items()): estimate_of(each) for each in found}
    assert by_place == {
        (("b", 1, 0), ("c", 0)): 0,
        (("b", 1, 0), ("c", 1)): 1,
        (("c", 1, 0), ("b", 0)): 0,
        (("c", 1, 0), ("b", 1)): 1,
    }


def test_marginal_means_are_unweighted_and_main_effects_their_differences() -> None:
    values = unbalanced()
    layout = Layout(("a", "b"), tuple(values))
    means = {a: np.mean([values[a, b].mean() for b in range(3)]) for a in range(2)}
    found = estimate_effects(marginal_means(layout, "a"), rule(values), 0.95)
    assert [estimate_of(each) for each in found] == pytest.approx([means[0], means[1]])
    assert estimate_of(only(estimate_effects(main_effects(layout, "a", 0), rule(values), 0.95), 1)) == pytest.approx(
        means[1] - means[0]
    )


def test_missing_cell_leaves_out_what_needs_it_and_nothing_else() -> None:
    kept = {cell: x for cell, x in TEETH.items() if cell != ("VC", 1.0)}
    found = answer_factor(Layout(("supplement", "dose"), tuple(kept)), "dose", 0.5, rule(kept), 0.95)
    reasons = {(each.effect.a, *each.effect.where.values()): each.reason for each in found.simple}
    missing = "no runs with supplement VC, dose 1.0"
    assert reasons == {(1.0, "OJ"): None, (2.0, "OJ"): None, (1.0, "VC"): missing, (2.0, "VC"): None}
    assert [each.reason for each in found.interactions] == [missing, None]
    assert [each.reason for each in found.marginal] == [None, missing, None]
    assert only(found.main, 1.0).interval is None
    kept_one = only(found.simple, 2.0, supplement="VC").simultaneous
    assert kept_one is not None
    assert kept_one.level == 1 - 0.05 / 4  # the family is as large


def test_interaction_beyond_doubt_warns_of_the_main_effects() -> None:
    spread = np.array([-1.0, 0, 1])
    crossed = {(a, b): 10.0 * a * b + spread for a in (0, 1) for b in (0, 1)}
    added = {(a, b): 10.0 * (a + b) + spread for a in (0, 1) for b in (0, 1)}
    layout = Layout(("a", "b"), tuple(crossed))
    assert answer_factor(layout, "a", 0, rule(crossed), 0.95).interacting is True
    assert answer_factor(layout, "a", 0, rule(added), 0.95).interacting is False


def test_one_factor_or_one_run_a_cell_leaves_the_interaction_unknown() -> None:
    singles = {cell: x[:1] for cell, x in TEETH.items()}
    found = answer_factor(LAYOUT, "dose", 0.5, rule(singles), 0.95)
    assert found.interacting is None
    assert estimate_of(only(found.simple, 1.0, supplement="OJ")) == pytest.approx(19.7 - 15.2)
    assert {each.reason for each in found.simple} == {"an interval needs two runs of every cell"}
    alone = {(dose,): TEETH["OJ", dose] for dose in (0.5, 1.0)}
    single = answer_factor(Layout(("dose",), tuple(alone)), "dose", 0.5, rule(alone), 0.95)
    assert (single.interacting, single.interactions, len(single.simple)) == (None, (), 1)


def test_control_must_be_a_level() -> None:
    with pytest.raises(ValueError, match="level of dose, got 3"):
        simple_effects(LAYOUT, "dose", 3)


def test_layout_refuses_no_cells_and_cells_of_other_factors() -> None:
    with pytest.raises(ValueError, match="at least one cell"):
        Layout(("a",), ())
    with pytest.raises(ValueError, match="a level of each"):
        Layout(("a", "b"), ((1,),))


def test_analysis_of_variance_of_the_teeth_is_the_published_one() -> None:
    found = analyse_variance(LAYOUT.factors, TEETH)
    # summary(aov(len ~ supp * factor(dose), ToothGrowth)) in R
    published = [(1, 205.4, 15.572, 0.000231), (2, 2426.4, 92.000, 4.046e-18), (2, 108.3, 4.107, 0.021860)]
    assert [source.factors for source in found.sources] == [("supplement",), ("dose",), ("supplement", "dose")]
    for source, (df, ss, f, p) in zip(found.sources, published, strict=True):
        assert source.df == df
        assert source.sum_of_squares == pytest.approx(ss, abs=0.051)
        assert source.f == pytest.approx(f, abs=5e-4)
        assert source.p == pytest.approx(p, rel=2e-3)
    assert (found.residual_df, round(found.residual_ss, 1)) == (54, 712.1)


def test_omega_squared_of_the_teeth_is_hays_formula() -> None:
    total, error = 205.35 + 2426.434 + 108.319 + 712.106, 712.106 / 54
    expected = [(ss - df * error) / (total + error) for ss, df in ((205.35, 1), (2426.434, 2), (108.319, 2))]
    shares = [source.omega_squared for source in analyse_variance(LAYOUT.factors, TEETH).sources]
    assert shares == pytest.approx(expected, abs=1e-6)


def test_unequal_numbers_are_judged_about_unweighted_means() -> None:
    values = unbalanced()
    data = frame(values)
    codes = {"a": np.array([[1], [-1]]), "b": np.array([[1, 0], [0, 1], [-1, -1]])}
    a, b = codes["a"][data["a"]], codes["b"][data["b"]]
    columns = {("a",): a, ("b",): b, ("a", "b"): a * b}

    def residual(names: list[tuple[str, ...]]) -> float:
        x = np.column_stack([np.ones(len(data)), *(columns[name] for name in names)])
        return float(np.linalg.lstsq(x, data["y"].to_numpy(), rcond=None)[1][0])

    for source in analyse_variance(("a", "b"), values).sources:
        without = residual([name for name in columns if name != source.factors])
        assert source.sum_of_squares == pytest.approx(without - residual(list(columns)))


def test_sums_of_squares_of_three_factors_with_unequal_numbers_are_those_of_statsmodels() -> None:
    rng = np.random.default_rng(8)
    values = {
        (a, b, c): rng.normal(a - 0.4 * b * c, 1, 2 + (a + 2 * b + c) % 4)
        for a in range(3)
        for b in range(2)
        for c in range(2)
    }
    data = pd.DataFrame([(*cell, y) for cell, x in values.items() for y in x], columns=["a", "b", "c", "y"])
    table = anova_lm(ols("y ~ C(a, Sum) * C(b, Sum) * C(c, Sum)", data).fit(), typ=3)
    found = analyse_variance(("a", "b", "c"), values)
    assert len(found.sources) == 7
    for source in found.sources:
        row = table.loc[":".join(f"C({factor}, Sum)" for factor in source.factors)]
        expected = (row["sum_sq"], row["df"], row["F"], row["PR(>F)"])
        assert (source.sum_of_squares, source.df, source.f, source.p) == pytest.approx(expected)
    assert (found.residual_ss, found.residual_df) == pytest.approx(tuple(table.loc["Residual"].iloc[:2]))


def test_omega_squared_hits_the_true_share_on_average() -> None:
    rng, reach = np.random.default_rng(11), np.array([-1.0, 0, 1])
    cells: list[Levels] = [(a, b) for a in range(2) for b in range(3)]
    found = [
        analyse_variance(("a", "b"), {cell: rng.normal(reach[cell[1]], 1.5, 5) for cell in cells}).sources
        for _ in range(150)
    ]
    true_share = np.mean(reach**2) / (np.mean(reach**2) + 1.5**2)
    omegas = np.array([[source.omega for source in sources] for sources in found])
    np.testing.assert_allclose(omegas.mean(axis=0), [0, true_share, 0], atol=0.03)
    assert omegas.min() < 0
    assert min(source.omega_squared for sources in found for source in sources) == 0


def test_robust_f_of_one_factor_is_brown_and_forsythes() -> None:
    rng = np.random.default_rng(2)
    groups = [rng.normal(mean, sd, 6) for mean, sd in ((0, 1), (1, 2), (2, 5), (0, 0.5))]
    [source] = analyse_variance(("a",), {(i,): x for i, x in enumerate(groups)}).sources
    expected = anova_oneway(groups, use_var="bf")
    assert source.robust_f == pytest.approx(expected.statistic)
    assert source.robust_p == pytest.approx(expected.pvalue)


def test_robust_f_of_a_single_contrast_is_welchs_t_squared() -> None:
    values = {cell: x for cell, x in unbalanced().items() if cell[1] < 2}
    a, b, both = analyse_variance(("a", "b"), values).sources
    for source, weights in ((a, [0.5, 0.5, -0.5, -0.5]), (b, [0.5, -0.5, 0.5, -0.5]), (both, [1, -1, -1, 1])):
        found = contrast([values[cell] for cell in sorted(values)], weights)
        t = found.value / found.error
        assert source.robust_p == pytest.approx(2 * stats.t.sf(abs(t), found.df))


def test_robust_p_keeps_its_level_where_the_classical_one_does_not() -> None:
    rng, sds = np.random.default_rng(4), (1, 1, 1, 1, 1, 8)
    cells: list[Levels] = [(a, b) for a in range(2) for b in range(3)]

    def p_values() -> list[tuple[float, float]]:
        values = {cell: rng.normal(0, sd, 6) for cell, sd in zip(cells, sds, strict=True)}
        return [(source.robust_p, source.p) for source in analyse_variance(("a", "b"), values).sources]

    robust, classical = (np.array([p_values() for _ in range(250)]) < 0.05).mean(axis=0).max(axis=0)
    assert robust < 0.09
    assert classical > 0.1


def test_names_of_factors_and_levels_may_be_anything() -> None:
    values = {(True, "l2(0.01)"): TEETH["OJ", 0.5], (True, "~ a:b"): TEETH["OJ", 1.0]}
    [source] = analyse_variance(("a factor (%)", "C(y)"), values).sources  # the other has a single level
    assert source.factors == ("C(y)",)
    assert source.f == pytest.approx(stats.f_oneway(*values.values()).statistic)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "no runs"),
        ({(0, 0): np.arange(3.0), (1, 0): np.arange(3.0), (0, 1): np.arange(3.0)}, "no runs with a 1, b 1"),
        ({(0, 0): np.arange(3.0), (1, 0): np.array([])}, "there is one cell only"),
        ({(0, 0): np.array([1.0]), (1, 0): np.array([2.0])}, "needs two runs"),
        ({(0, 0): np.full(3, 1.0), (1, 0): np.full(3, 2.0)}, "equal to each other"),
    ],
)
def test_what_cannot_be_analysed_has_a_reason(values: Values, reason: str) -> None:
    found = analyse_variance(("a", "b"), values)
    assert found.sources == ()
    assert found.reason is not None
    assert reason in found.reason


def test_a_cell_of_one_run_leaves_the_classical_f_only() -> None:
    values = {**TEETH, ("VC", 2.0): TEETH["VC", 2.0][:1]}
    sources = analyse_variance(LAYOUT.factors, values).sources
    assert all(math.isnan(source.robust_p) and source.p < 1 for source in sources)
