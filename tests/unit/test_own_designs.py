"""Looks, splits, pairs and planned effects of results from elsewhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import brentq
from statsmodels.stats.power import TTestIndPower, TTestPower

from regulens.errors import UserError
from regulens.study.external.power import seeds_table
from regulens.study.own_numbers import OwnAnalysis, analyze

NAMED: dict[str, Any] = {"response": "val_accuracy", "factors": "regularizer"}


def results(seeds: int, difference: float = 0.02, sd: float = 0.004) -> pd.DataFrame:
    """Return two cells of symmetric runs whose sample standard deviation is ``sd``."""
    at = np.linspace(-1, 1, seeds)
    at *= sd / at.std(ddof=1)
    rng = np.random.default_rng(seeds)
    rows = [
        (name, seed, 0.8 + difference * place + value)
        for place, name in enumerate(("none", "l2"))
        for seed, value in enumerate(rng.permutation(at))
    ]
    return pd.DataFrame(rows, columns=["regularizer", "seed", "val_accuracy"])


def analysed(data: pd.DataFrame, **options: Any) -> OwnAnalysis:
    return analyze(data, **({"seed": "seed"} | NAMED | options))


def only(found: OwnAnalysis) -> dict[str, Any]:
    [each] = found.as_dict()["comparisons"]
    return dict(each)


def alpha_of(seeds: int, looks: Any) -> float:
    """Return what the one comparison may err by."""
    return analysed(results(seeds), looks=looks).analysis.design.alpha


class TestVerdicts:
    """Of 10 runs a cell, symmetric and of one spread, so that bounds are Student's with 18 degrees of freedom."""

    SD, ROPE = 0.004, 0.005
    SE = SD * math.sqrt(2 / 10)
    WIDE = 0.06  # 30 standard errors: nothing can be wrong on the other side

    def verdict(self, difference: float, rope: float) -> str:
        return str(only(analysed(results(10, difference, self.SD), rope=rope))["verdict"])

    def bound(self, one_sided: float) -> float:
        return float(stats.t.isf(one_sided, 18)) * self.SE

    def test_beyond_a_wide_margin_one_sided_bounds_decide(self) -> None:
        edge = self.WIDE + self.bound(0.05)
        assert self.verdict(1.001 * edge, self.WIDE) == "better"
        assert self.verdict(0.999 * edge, self.WIDE) == "better (size open)"
        assert self.verdict(-1.001 * edge, self.WIDE) == "worse"
        assert self.verdict(-0.999 * edge, self.WIDE) == "worse (size open)"

    def test_within_the_margin_one_sided_bounds_decide(self) -> None:
        edge = self.WIDE - self.bound(0.05)
        assert self.verdict(0.999 * edge, self.WIDE) == "equivalent"
        assert self.verdict(1.001 * edge, self.WIDE) == "better (size open)"

    def test_at_zero_two_sided_bounds_decide(self) -> None:
        edge = self.bound(0.025)
        assert [self.verdict(factor * edge, 0.0) for factor in (1.001, 0.999)] == ["better", "undecided"]
        narrow = 0.1 * self.SE
        assert [self.verdict(factor * edge, narrow) for factor in (1.001, 0.999)] == [
            *("better (size open)", "undecided"),
        ]

    def test_beyond_a_narrow_margin_both_ways_to_err_add_up(self) -> None:
        rope = 0.25 * self.SE
        width, at_zero = 0.25, stats.t.isf(0.025, 18) + 0.25

        def excess(c: float) -> float:
            return float(stats.t.sf(c, 18) + stats.t.sf(min(c + 2 * width, at_zero), 18) - 0.05)

        edge = rope + brentq(excess, 0, 5) * self.SE
        assert self.verdict(1.001 * edge, rope) == "better"
        assert self.verdict(0.999 * edge, rope) == "better (size open)"

    def test_p_of_many_comparisons_is_as_small_as_the_evidence(self) -> None:
        data = pd.concat([results(5, 0.04, 0.004).assign(place=place) for place in range(60)])
        found = analysed(data, factors="place,regularizer").as_dict()["comparisons"]
        a, b = (
            data.loc[(data["place"] == 0) & (data["regularizer"] == name), "val_accuracy"] for name in ("l2", "none")
        )
        p = stats.ttest_ind(a, b, equal_var=False).pvalue
        assert found[0]["p_holm"] == pytest.approx(60 * p, rel=1e-6)
        assert {each["verdict"] for each in found} == {"better"}


class TestLooks:
    @pytest.mark.parametrize(
        ("seeds", "looks", "as_at", "words"),
        [
            (5, "5,10,20", 5, "looks at 5, 10, 20 seeds were declared, so the error is divided among them: at 5 seeds"),
            (10, [5, 10, 20], 10, "at 10 seeds all intervals hold together with"),
            (7, (5, 10, 20), 10, "7 seeds are judged as the look at 10, whose place they take"),
            (4, "5,10", 5, "4 seeds are judged as the look at 5"),
            (12, "5,10", 12, "12 seeds are beyond the last, an extension that was not declared"),
            (6, np.array([6]), 6, "one look was declared, at 6 seeds"),
            (8, "6", 8, "8 seeds are beyond the last, an extension"),
        ],
    )
    def test_the_interval_has_the_level_of_the_look(self, seeds: int, looks: Any, as_at: int, words: str) -> None:
        data = results(seeds)
        found = analysed(data, looks=looks)
        alpha = found.analysis.design.alpha
        assert alpha == alpha_of(as_at, looks) < 0.05
        a, b = (data.loc[data["regularizer"] == name, "val_accuracy"] for name in ("l2", "none"))
        wanted = stats.ttest_ind(a, b, equal_var=False).confidence_interval(1 - alpha)
        assert (only(found)["low"], only(found)["high"]) == pytest.approx(tuple(wanted))
        assert any(words in said for said in found.warnings)

    @pytest.mark.parametrize(("looks", "seeds"), [("5,10,20", (5, 10, 20, 25)), ("6", (6, 12)), ("5,10", (5, 10))])
    def test_all_looks_and_an_extension_err_together_by_five_percent_at_most(
        self, looks: str, seeds: tuple[int, ...]
    ) -> None:
        sums = np.random.default_rng(1).normal(size=(200_000, seeds[-1])).cumsum(axis=1)
        beyond = [np.abs(sums[:, n - 1]) / math.sqrt(n) > stats.norm.isf(alpha_of(n, looks) / 2) for n in seeds]
        assert 0.035 < np.mean(np.any(beyond, axis=0)) < 0.051
        assert analysed(results(seeds[-1])).analysis.design.alpha == pytest.approx(0.05)

    def test_cells_with_seeds_of_their_own_are_not_taken_for_more_seeds(self) -> None:
        data = results(5)
        data.loc[data["regularizer"] == "l2", "seed"] += 100
        assert any("at 5 seeds" in said for said in analysed(data, looks="5,10").warnings)


def of_splits(splits: int = 6, seeds: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(8)
    hard = rng.normal(0, 0.02, splits)
    rows = [
        (name, fold, seed, 0.8 + hard[fold] + 0.02 * place + rng.normal(0, 0.004))
        for place, name in enumerate(("none", "l2"))
        for fold in range(splits)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows, columns=["regularizer", "fold", "seed", "val_accuracy"])


class TestSplits:
    @pytest.mark.parametrize("seeds", [1, 3])
    def test_verdicts_over_splits_are_nadeau_and_bengios(self, seeds: int) -> None:
        data = of_splits(seeds=seeds)
        found = analysed(data, split="fold", test_ratio=0.25)
        means = data.groupby(["regularizer", "fold"])["val_accuracy"].mean()
        differences = means["l2"] - means["none"]
        error = math.sqrt((1 / 6 + 0.25) * differences.var(ddof=1))
        wanted = stats.t.interval(0.95, 5, differences.mean(), error)
        assert (only(found)["low"], only(found)["high"]) == pytest.approx(wanted)
        assert only(found)["over"] == ["seeds", "split"]
        assert "cells are compared within each fold, by the means of their runs in it" in found.warnings

    def test_over_seeds_splits_are_blocks_of_one_data_set(self) -> None:
        data = of_splits()
        means = data.groupby(["regularizer", "fold"])["val_accuracy"].mean()
        wanted = stats.ttest_rel(means["l2"], means["none"]).confidence_interval(0.95)
        each = only(analysed(data, split="fold", over="seeds"))
        assert (each["low"], each["high"]) == pytest.approx(tuple(wanted))

    def test_the_seed_may_be_the_split(self) -> None:
        data = of_splits(seeds=1)
        by_split = only(analysed(data, split="fold", test_ratio=0.25))
        by_seed = only(analysed(data.assign(seed=data["fold"]).drop(columns="fold"), split="seed", test_ratio=0.25))
        assert by_seed == by_split

    def test_a_run_lost_in_a_split_leaves_the_mean_of_the_others(self) -> None:
        data = of_splits().drop(index=0)
        means = data.groupby(["regularizer", "fold"])["val_accuracy"].mean()
        each = only(analysed(data, split="fold", test_ratio=0.25))
        assert each["difference"] == pytest.approx((means["l2"] - means["none"]).mean())

    def test_a_split_that_a_cell_lacks_is_named(self) -> None:
        data = of_splits().query("not (regularizer == 'l2' and fold == 3)")
        with pytest.raises(UserError, match="split 3 of regularizer none is not among those of regularizer l2"):
            analysed(data, split="fold", test_ratio=0.25)

    def test_a_run_that_is_there_twice_in_a_split_is_named(self) -> None:
        data = of_splits()
        with pytest.raises(UserError, match=r"is a duplicate of row 1 .*, both regularizer none, fold 0, seed 0"):
            analysed(pd.concat([data, data.iloc[:1]], ignore_index=True), split="fold", test_ratio=0.25)


class TestPaired:
    def test_pairs_decided_now_are_a_deviation_and_not_advised_when_declared(self) -> None:
        shared = np.random.default_rng(2).normal(0, 0.02, 10)
        data = results(10)
        data["val_accuracy"] += shared[data["seed"]]
        advice = "runs of one seed correlate by"
        assert any(said.startswith(advice) for said in analysed(data).warnings)
        paired = analysed(data, paired=True).warnings
        assert not any(said.startswith(advice) for said in paired)
        assert any("decided now, it is a deviation to report" in said for said in paired)


class TestEffect:
    def test_seeds_as_seen_are_those_of_the_t_test(self) -> None:
        found = analysed(results(10, sd=0.004), effect=0.004, rope=0)
        [needed] = found.as_dict()["power"]
        wanted = TTestIndPower().solve_power(effect_size=1.0, alpha=0.05, power=0.8)
        assert needed["seeds_low"] == pytest.approx(wanted, abs=1.5)
        assert needed["seeds_low"] < needed["seeds"] <= needed["seeds_high"]
        assert (needed["a"], needed["b"], needed["where"], needed["reason"]) == ("l2", "none", {}, None)

    def test_pairs_need_the_seeds_of_their_differences(self) -> None:
        data = results(10)
        shared = np.random.default_rng(2).normal(0, 0.05, 10)
        data["val_accuracy"] += shared[data["seed"]]
        by_name = data.pivot(index="seed", columns="regularizer", values="val_accuracy")
        sd = (by_name["l2"] - by_name["none"]).std(ddof=1)
        [needed] = analysed(data, effect=sd, rope=0, paired=True).as_dict()["power"]
        wanted = TTestPower().solve_power(effect_size=1.0, alpha=0.05, power=0.8)
        assert needed["seeds_low"] == pytest.approx(wanted, abs=1.5)

    def test_the_family_makes_it_more(self) -> None:
        data = pd.concat([results(10).assign(depth=depth) for depth in range(1, 7)])
        found = analysed(data, factors="depth,regularizer", effect=0.004, rope=0).as_dict()["power"]
        wanted = TTestIndPower().solve_power(effect_size=1.0, alpha=0.05 / 6, power=0.8)
        assert len(found) == 6
        assert np.median([each["seeds_low"] for each in found]) == pytest.approx(wanted, abs=1.5)

    def test_collapsed_runs_are_no_spread_of_runs_that_train(self) -> None:
        data = results(10, sd=0.004)
        data.loc[data["seed"] == 3, "val_accuracy"] = 0.1
        [needed] = analysed(data, effect=0.02, chance=0.1).as_dict()["power"]
        assert needed["seeds_high"] < 10

    @pytest.mark.parametrize(
        ("data", "options", "reason"),
        [
            (results(2), {}, "a pilot needs 3 runs of each cell that trained"),
            (results(5), {"rope": 0.1}, "effect 0.02 is not above the equivalence margin 0.1"),
        ],
    )
    def test_seeds_that_cannot_be_known_have_a_reason(
        self, data: pd.DataFrame, options: dict[str, Any], reason: str
    ) -> None:
        found = analysed(data, effect=0.02, **options)
        [needed] = found.as_dict()["power"]
        assert (needed["seeds_low"], needed["seeds_high"]) == (None, None)
        assert reason in needed["reason"]
        assert reason in seeds_table(found.seeds_needed).rows[0][-1]

    def test_over_splits_there_are_effects_that_no_number_of_seeds_decides(self) -> None:
        data = of_splits()
        means = data.groupby(["regularizer", "fold"])["val_accuracy"].mean()
        sd = (means["l2"] - means["none"]).std(ddof=1)
        found = analysed(data, split="fold", test_ratio=0.25, rope=0, effect=[sd])
        [needed] = found.as_dict()["power"]  # with a standard error of sd / 2 at least, 80 % power needs 2.8 of these
        assert needed["reason"].startswith("no number of seeds decides: the overlap of the splits alone leaves")
        [possible] = analysed(data, split="fold", test_ratio=0.25, rope=0, effect=2 * sd).as_dict()["power"]
        assert possible["seeds_low"] < 30

    def test_without_an_effect_nothing_is_planned(self) -> None:
        assert "power" not in analysed(results(5)).as_dict()
