"""Whether verdicts and intervals keep what they promise: false verdicts, coverage, widths and power, by simulation.

Studies are drawn from worlds whose truth is known (``worlds``), and judged by the rules of ``regulens.stats``: over
arrays (``vectorized``, which a test holds to the real functions) where only runs that train are compared, by the real
functions where runs collapse, and over images and splits. Of 2,000 studies a share of 0.05 has a standard error of
0.005.

    python benchmarks/calibration.py --studies 2000
    python benchmarks/calibration.py --table widths --table power
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import stdtr, stdtrit

import vectorized
from common import command, print_table
from crossed import over_images, over_splits
from regulens.stats.cells import Cells
from regulens.stats.claims import Part, judge_claim
from regulens.stats.comparisons import Comparison, compare
from regulens.stats.design import Design
from regulens.stats.estimate import StudentEstimate
from regulens.stats.samples import Sample
from vectorized import Differences, differences, moments, verdicts
from worlds import CHANCE, COLLAPSE, PARTIAL, SD, WORLDS, Drawn, World, normal

NS = (3, 4, 5, 7, 10, 12, 20, 30)
FAR, NEAR = ("better", "worse"), ("better (size open)", "worse (size open)")
Values = NDArray[np.float64]
Rows = list[list[object]]


def drawn(world: World, n: int, studies: int) -> tuple[Drawn, Differences]:
    """Draw studies and estimate their comparisons."""
    runs = world.draw(np.random.default_rng([n, studies]), studies, n)
    return runs, differences(moments(runs.values, runs.trained), world.compared)


def any_of(found: NDArray[np.str_], *tokens: str) -> float:
    """Return the share of studies with any of some verdicts."""
    return float(np.isin(found, tokens).any(1).mean())


def false_verdicts(studies: int) -> Rows:
    """Return, of worlds of equal means, the share of studies with a false direction, and of comparisons not judged."""
    rows: Rows = []
    for name, world in {**WORLDS, **PARTIAL}.items():
        found = {n: drawn(world, n, studies)[1] for n in NS}
        m = len(world.compared)
        for family, label in ((m, "m"), (2 * m, "2m")):
            said = [verdicts(found[n], 0, 0.05 / family) for n in NS]
            rows.append([world.kind, name, label, *(f"{any_of(each, *FAR, *NEAR):.3f}" for each in said)])
        rows.append(["", "", "too few runs, 2m", *(f"{np.mean(each == 'too few runs'):.2f}" for each in said)])
        rows.append(["", "", "Welch, Holm", *(f"{holm(found[n]).any(1).mean():.3f}" for n in NS)])
    return rows


def holm(found: Differences) -> NDArray[np.bool_]:
    """Return (studies, comparisons) which Welch's tests reject, stepping down (Holm 1979)."""
    p = np.nan_to_num(2 * stdtr(found.df, -np.abs(found.value) / found.error), nan=1.0)
    order = np.argsort(p, axis=1)
    m = p.shape[1]
    passed = np.cumprod(np.take_along_axis(p, order, 1) <= 0.05 / np.arange(m, 0, -1), axis=1).astype(bool)
    rejected = np.zeros_like(passed)
    np.put_along_axis(rejected, order, passed, 1)
    return rejected


@cache
def games_howell_quantiles(groups: int) -> tuple[Values, Values]:
    """Return degrees of freedom and the half-widths of Games and Howell's intervals, in standard errors."""
    df = np.array([1.5, 2, 2.5, 3, 4, 5, 7, 10, 15, 25, 50, 200])
    return df, stats.studentized_range.ppf(0.95, groups, df) / np.sqrt(2)


def games_howell(found: Differences, groups: int) -> Values:
    """Return (studies, comparisons) half-widths of Games and Howell's intervals, interpolated in 1 / df."""
    df, half = games_howell_quantiles(groups)
    return np.asarray(np.interp(-1 / found.df, -1 / df, half)) * found.error


def widths(studies: int) -> Rows:
    """Return coverage of all intervals of a study at once, and their widths over Welch's at the same level."""
    rows: Rows = []
    for name, world in WORLDS.items():
        for n in (5, 10, 20):
            _, found = drawn(world, n, studies)
            tail = 0.05 / len(world.compared) / 2
            covered = ((found.lower(tail) <= 0) & (found.upper(tail) >= 0)) | ~np.isfinite(found.error)
            ratio = (found.below + found.above) / 2
            judged = ratio[~found.doubted]
            welch = stdtrit(found.df, 1 - tail) * found.error
            size = [f"{each:.2f}" for each in (ratio.mean(), np.quantile(ratio, 0.9), *_of_judged(judged))]
            size.append("" if world.pairs else f"{(games_howell(found, len(world.spreads)) / welch).mean():.2f}")
            rows.append([world.kind, name, n, f"{covered.all(1).mean():.3f}", *size])
    return rows


def _of_judged(ratio: Values) -> tuple[float, float]:
    return (float(ratio.mean()), float(np.quantile(ratio, 0.9))) if len(ratio) else (np.nan, np.nan)


def edges(studies: int) -> Rows:
    """Return the share of false verdicts of one normal comparison at each border of the three regions."""
    rows: Rows = []
    world = World("a", "", (1.0, 1.0), (normal,))
    for n in (5, 10, 20):
        _, found = drawn(world, n, 10 * studies)
        for relative in (0.0, 0.25, 1.0, 4.0):
            rope = relative * SD * np.sqrt(2 / n)
            row: list[object] = [n, relative]
            for truth in (-rope, 0.0, rope):
                shifted = vectorized.shifted(found, truth)
                said = verdicts(shifted, rope, 0.05)
                wrong = [*(() if rope and truth else ("better (size open)", "worse (size open)")), *FAR]
                wrong += [] if not rope or not truth else [NEAR[1] if truth > 0 else NEAR[0]]
                row.append(f"{any_of(said, *wrong):.3f}")
                if rope and truth > 0:
                    row.append(f"{any_of(said, 'equivalent'):.3f}")
            rows.append(row if rope else [*row, ""])
    return rows


def at_the_rope(studies: int) -> Rows:
    """Return false verdicts of the family of m where all differences lie at an edge of the region, four errors wide."""
    rows: Rows = []
    for name, world in WORLDS.items():
        for n in (5, 10, 20) if world.kind != "c" else ():
            _, found = drawn(world, n, studies)
            rope = 4 * SD * max(world.spreads) * np.sqrt(2 / n)
            alpha = 0.05 / len(world.compared)
            above, below = (verdicts(vectorized.shifted(found, sign * rope), rope, alpha) for sign in (1, -1))
            beyond = any_of(above, "better", "worse", NEAR[1]), any_of(below, "better", "worse", NEAR[0])
            inside = any_of(above, "equivalent"), any_of(below, "equivalent")
            rows.append([world.kind, name, n, *(f"{share:.3f}" for share in (*beyond, *inside))])
    return rows


def power(studies: int) -> Rows:
    """Return the runs of each cell at which one of m effects is called better with probability 0.8."""
    rows: Rows = []
    for m in (1, 3, 6, 15):
        for effect, rope in ((1.0, 0.0), (2.0, 0.0), (1.5, 0.5), (0.0, 1.25)):
            token = ("equivalent",) if effect == 0 else ("better", *(() if rope else NEAR))

            def ours(found: Differences, family: int, rope: float = rope, token: Sequence[str] = token) -> Values:
                return np.isin(verdicts(found, SD * rope, 0.05 / family)[:, 0], token)

            rules: list[Callable[[Differences], Values]] = [lambda x, m=m: ours(x, m), lambda x, m=m: ours(x, 2 * m)]
            if not rope:
                rules += [
                    lambda x, m=m: x.value[:, 0] > x.error[:, 0] * stdtrit(x.df[:, 0], 1 - 0.05 / m / 2),
                    lambda x: holm(x)[:, 0] & (x.value[:, 0] > 0),
                    lambda x, m=m: x.value[:, 0] > games_howell(x, m + 1)[:, 0],
                ]
            rows.append([m, effect, rope, *(_seeds(rule, m, effect, studies) for rule in rules)])
            rows[-1] += [""] * (8 - len(rows[-1]))
    return rows


def _seeds(rule: Callable[[Differences], Values], m: int, effect: float, studies: int) -> int | str:
    """Return the least n at which a rule decides 80 % of studies in which all m effects are of one size."""
    world = World("a", "", (1.0,) * (m + 1), (normal,), means=(88.0, *(88.0 + SD * effect,) * m))
    low, high = 2, 64
    while high - low > 1:
        n = (low + high) // 2
        low, high = (low, n) if rule(drawn(world, n, studies)[1]).mean() >= 0.8 else (n, high)
    return high


def judged(runs: Drawn, study: int, world: World, primary: str) -> list[Comparison]:
    """Return the comparisons of one study, by the real functions."""
    cells = {
        cell: Sample(x[there], failed[there], np.arange(there.sum()))
        for cell, (x, failed, there) in enumerate(
            zip(runs.values[study], runs.collapsed[study], runs.present[study], strict=True)
        )
    }
    design = Design(primary=primary, rates=True, failed=CHANCE, bounds=(0.0, 100.0))
    return compare(world.compared, Cells(cells, design))


def collapse(studies: int) -> Rows:
    """Return what is said of the overall mean where it decides, and of the better when it trains, cell by cell."""
    rows: Rows = []
    for name, world in COLLAPSE.items():
        said: dict[str, list[str]] = {}
        for n in (3, 5, 10, 20, 30):
            runs = world.draw(np.random.default_rng(n), studies, n)
            counts = np.zeros(len(SAID))
            for study in range(studies):
                trained = judged(runs, study, world, "trained")
                overall = judged(runs, study, world, "mean")
                counts += _said(trained, overall, world)
            for label, share in zip(SAID, counts / studies, strict=True):
                said.setdefault(label, []).append(f"{share:.3f}")
        rows += [[name if label == SAID[0] else "", label, *shares] for label, shares in said.items()]
    return rows


SAID = (
    "overall mean, if declared: any false direction",
    "when it trains: any false direction",
    "how often it trains: any false token",
    "comparisons called better, without more",
    "better, but mixed",
    "better, and the rates do not exclude what undoes it",
)


def _said(trained: Sequence[Comparison], overall: Sequence[Comparison], world: World) -> Values:
    """Return, in the order of ``SAID``, whether a study says it of any comparison, then of how many."""
    rates, means = world.rates, world.means or (88.0,) * len(world.rates)
    all_runs = [(1 - rate) * mean + rate * CHANCE for rate, mean in zip(rates, means, strict=True)]
    result = np.zeros((len(trained), len(SAID)))
    for row, (a, b), when, every in zip(result, world.compared, trained, overall, strict=True):
        assert when.rate is not None
        better, undone = when.verdict.startswith("better"), when.sensitivity
        row[0] = _wrong(every.verdict, all_runs[a] - all_runs[b], 0.0)
        row[1] = _wrong(when.verdict, means[a] - means[b], 0.0)
        row[2] = _wrong(when.rate.verdict or "", rates[b] - rates[a], 0.05)
        row[3:5] = better and not when.mixed, better and when.mixed
        row[5] = better and undone is not None and undone.difference < undone.interval.high
    return np.concatenate([result[:, :3].max(0), result[:, 3:].mean(0)])


def _wrong(verdict: str, truth: float, rope: float) -> bool:
    """Tell whether a verdict is false of a true difference, turned so that more is better."""
    sign = 1 if verdict.startswith("better") else -1
    if verdict in FAR:
        return sign * truth <= rope + 1e-9
    if verdict in NEAR:
        return sign * truth <= 1e-9
    return verdict == "equivalent" and abs(truth) >= rope


def claims(studies: int) -> Rows:
    """Return how often claims on the border of being true are supported, or refuted, though they are not, or are."""
    rows: Rows = []
    rope = 0.5 * SD
    for n in (5, 10, 20):
        world = World("a", "", (1.0,) * 4, (normal,))
        _, found = drawn(world, n, studies)
        shares = []
        for truths, relation, wrong in (
            ((rope, 5.0, 5.0), "greater", {"supported"}),
            ((rope,) * 3, "greater", {"refuted", "smaller than the ROPE", "true, smaller than the ROPE"}),
            ((0.0,) * 3, "greater", {"refuted", "supported", "true, smaller than the ROPE"}),
            ((rope, 0.0, 0.0), "equal", {"supported"}),
            ((rope, rope, rope), "equal", {"refuted"}),
        ):
            said = [_claim(found, study, truths, rope, relation) for study in range(studies)]
            shares.append(f"{np.mean([each in wrong for each in said]):.3f}")
        rows.append([n, *shares])
    return rows


def _claim(found: Differences, study: int, truths: Sequence[float], rope: float, relation: str) -> str:
    parts = [Part("", _estimate(found, study, place, truth), rope, relation) for place, truth in enumerate(truths)]
    return judge_claim(parts, claims=1).verdict


def _estimate(found: Differences, study: int, place: int, truth: float) -> StudentEstimate:
    at = study, place
    stretch = float(found.below[at]), float(found.above[at])
    return StudentEstimate(float(found.value[at]) + truth, float(found.error[at]), float(found.df[at]), stretch)


TABLES: dict[str, tuple[str, list[str], Callable[[int], Rows]]] = {
    "false": (
        "Studies with any false direction, ROPE 0, the family of m comparisons or of 2m statements",
        ["kind", "world", "", *(f"n = {n}" for n in NS)],
        false_verdicts,
    ),
    "widths": (
        "Simultaneous intervals: all of a study cover; widths over Welch's, mean and 90 % point",
        ["kind", "world", "n", "cover", "mean", "90 %", "judged: mean", "90 %", "Games-Howell"],
        widths,
    ),
    "edges": (
        "One normal comparison at the borders: false directions at -ROPE, 0 and +ROPE, and `equivalent` at +ROPE",
        ["n", "ROPE / se", "at -ROPE", "at 0", "at +ROPE", "equivalent"],
        edges,
    ),
    "rope": (
        "Worlds moved to the edges of the ROPE (four standard errors of the widest cells): beyond it, and `equivalent`",
        ["kind", "world", "n", "at +ROPE: beyond", "at -ROPE: beyond", "at +ROPE: equivalent", "at -ROPE: equivalent"],
        at_the_rope,
    ),
    "power": (
        "Runs of each cell for 80 % power, of one of m comparisons (effect and ROPE in sd)",
        ["m", "effect", "ROPE", "family of m", "of 2m", "Welch-Bonferroni", "Welch-Holm", "Games-Howell"],
        power,
    ),
    "collapse": (
        "Collapse: shares of studies",
        ["world", "", "n = 3", "n = 5", "n = 10", "n = 20", "n = 30"],
        lambda studies: collapse(max(studies // 10, 20)),
    ),
    "claims": (
        "Claims of three parts on the border (ROPE 0.5 sd): said, though false",
        ["n", "supported", "against, at the edge", "other, at 0", "equal: supported", "equal: refuted"],
        lambda studies: claims(max(studies // 4, 20)),
    ),
    "images": (
        "Learners of equal accuracy in the population, images x cell interaction of 1 logit: false directions",
        ["images", "n", "over seeds", "over seeds, images"],
        lambda studies: over_images(max(studies // 20, 20)),
    ),
    "splits": (
        "Resplits of one data set of 1,797 images, learners equal in the population: false directions",
        ["ROPE, points", "n", "over seeds, paired", "over seeds, split"],
        lambda studies: over_splits(max(studies // 4, 20)),
    ),
}


def main() -> None:
    """Simulate and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--studies", type=int, default=2000, help="simulated for each figure (default: 2000)")
    options.add_argument("--table", choices=TABLES, action="append", help="print these alone")
    given = options.parse_args()
    print(f"`{command()}`")
    for name in given.table or TABLES:
        title, head, rows = TABLES[name]
        print(f"\n{title}")
        print_table(head, rows(given.studies))


if __name__ == "__main__":
    main()
