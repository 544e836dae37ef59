"""Checked against the multivariate normal distribution, Pocock's table, and simulation with known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr, stdtrit
from scipy.stats import multivariate_normal, norm

from regulens.stats.looks import FIRST, LATER, Taken, crossing, declared_share, share_at, spent

TAIL = 0.05 / 6 / 2  # of one of six statements


def grown(sizes: tuple[int, ...], declared: tuple[int, ...] = (), tail: float = TAIL) -> list[Taken]:
    taken: list[Taken] = []
    for seeds in sizes:
        taken.append(Taken(seeds, share_at(seeds, taken, declared, tail)))
    return taken


def test_error_over_looks_is_that_of_the_multivariate_normal_distribution() -> None:
    seeds, critical = np.array([5, 10, 30]), np.array([2.2, 2.3, 2.4])
    correlation = np.sqrt(np.minimum.outer(seeds, seeds) / np.maximum.outer(seeds, seeds))
    exact = 1 - multivariate_normal.cdf(critical, cov=correlation, abseps=1e-8, releps=1e-8, maxpts=10**6)
    assert crossing(tuple(seeds.tolist()), tuple(ndtr(-critical).tolist())) == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize(("looks", "critical"), [(2, 2.178), (3, 2.289), (5, 2.413)])
def test_error_at_pococks_critical_values_is_five_percent(looks: int, critical: float) -> None:
    one_sided = crossing(tuple(range(1, looks + 1)), (float(norm.sf(critical)),) * looks)
    assert 2 * one_sided == pytest.approx(0.05, abs=1e-4)  # Pocock 1977, table 1


def test_first_report_leaves_error_for_an_extension_and_all_later_ones_share_the_rest() -> None:
    taken = grown((5, 10, 20, 40, 80, 160))
    assert taken[0].share == FIRST
    parts = [spent(taken[:count], TAIL) for count in range(1, 7)]
    assert parts == pytest.approx([FIRST, LATER, 0.975, 0.9875, 0.99375, 0.996875], abs=1e-5)


def test_declared_looks_spend_more_the_more_seeds_they_have() -> None:
    declared = (5, 10, 20, 29)
    taken = grown(declared, declared)
    shares = [look.share for look in taken]
    assert shares == sorted(shares)
    assert spent(taken, TAIL) == pytest.approx(LATER, abs=1e-5)
    assert shares[-1] > 0.5 > 10 * shares[0] / 2
    assert share_at(29, [], (29,), TAIL) == pytest.approx(LATER)
    assert declared_share(20, declared, TAIL) == taken[2].share
    assert declared_share(12, declared, TAIL) == taken[2].share
    assert declared_share(60, declared, TAIL) == share_at(60, taken, declared, TAIL)


def test_looks_declared_for_a_study_begun_share_what_is_left() -> None:
    declared = (10, 20, 29)
    taken = [Taken(5, FIRST)]
    for seeds in declared:
        taken.append(Taken(seeds, share_at(seeds, taken, declared, TAIL)))
    assert spent(taken, TAIL) == pytest.approx(LATER, abs=1e-5)
    assert taken[-1].share < grown((5, *declared), (5, *declared))[-1].share


def test_looks_at_too_few_runs_for_a_verdict_spend_nothing() -> None:
    assert spent([Taken(2, FIRST)], TAIL) == 0
    assert share_at(10, [Taken(2, FIRST)], (), TAIL) == FIRST


def test_study_that_spent_all_at_its_first_look_errs_by_a_tenth_more_at_most() -> None:
    taken = [Taken(5, 1.0)]
    for seeds in (10, 20, 40, 80):
        taken.append(Taken(seeds, share_at(seeds, taken, (), TAIL)))
    assert 1 < spent(taken, TAIL) < 1.1


def test_a_look_at_fewer_seeds_than_the_last_is_refused() -> None:
    with pytest.raises(ValueError, match="after one at 10 seeds"):
        share_at(10, [Taken(10, FIRST)], (), TAIL)


@pytest.mark.parametrize("statements", [1, 2, 6, 12, 30])
@pytest.mark.parametrize("seeds", [5, 10, 20])
def test_extended_study_has_widths_within_a_tenth_of_one_made_at_once(statements: int, seeds: int) -> None:
    tail, df = 0.025 / statements, 2 * (2 * seeds - 1)
    at_once, extended = (share_at(2 * seeds, looks, (), tail) for looks in ([], [Taken(seeds, FIRST)]))
    width = stdtrit(df, 1 - tail * extended) / stdtrit(df, 1 - tail * at_once)
    assert 1 < width < 1.06
    assert stdtrit(df, 1 - tail * at_once) / stdtrit(df, 1 - tail) < 1.13  # what a study never extended loses


@pytest.mark.parametrize("declared", [(), (5, 10, 20, 40)])
def test_any_false_verdict_at_any_look_has_the_probability_promised(declared: tuple[int, ...]) -> None:
    rng, studies, tail = np.random.default_rng(5), 40_000, 0.025
    runs = rng.standard_normal((studies, 2, 40), np.float32)
    wrong = np.zeros(studies, bool)
    for look in grown((5, 10, 20, 40), declared, tail):
        x = runs[:, :, : look.seeds]
        variances = x.var(axis=2, ddof=1) / look.seeds
        total = variances.sum(axis=1)
        df = total**2 / ((variances**2).sum(axis=1) / (look.seeds - 1))
        t = (x[:, 0].mean(axis=1) - x[:, 1].mean(axis=1)) / np.sqrt(total)
        wrong |= np.abs(t) > stdtrit(df, 1 - tail * look.share)
    assert 0.044 < wrong.mean() < 0.051
