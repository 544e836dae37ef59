"""Whether plans deliver: pilot, plan, extend, and the error over all looks, by simulation with known truth.

Studies of four cells, three of them compared with the first, normal runs (accuracies of sd 0.01 or as said) and the
collapse rates looked for, so that each comparison has two answers. Tables: the share of studies decided at the
recommended number of seeds, averaged over pilots; studies with any false verdict over all looks, first report included;
widths of a study that is extended against those of one made at once; seeds for 80 % power beside other procedures.

    python benchmarks/planning.py
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import joblib
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from common import command, print_table
from regulens.stats.cells import LEAST_RUNS, Cells
from regulens.stats.design import Design
from regulens.stats.looks import FIRST, Taken, share_at
from regulens.stats.power import piloted, recommended_seeds, seeds_needed
from regulens.stats.samples import Sample
from regulens.stats.simulated import CellModel, Question
from regulens.stats.verdicts import DECIDED, Verdict, judge

ALPHA, CELLS, ROPE, FAILED = 0.05, 4, 0.005, 0.1
STATEMENTS = 2 * (CELLS - 1)
TAIL = ALPHA / STATEMENTS / 2
MOST = 200
Values = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """Where runs come from.

    Attributes:
        effect: of every treatment over the control, of the primary estimand.
        design: what is declared.
        sd: of the runs that train, one for each cell.
        block_sd: of blocks, which all cells share.
        rate: of collapse, in all cells.
    """

    effect: float
    design: Design
    sd: tuple[float, ...] = (0.01,) * CELLS
    block_sd: float = 0.0
    rate: float = 0.0

    def runs(self, rng: np.random.Generator, n: int) -> list[Sample]:
        """Draw n runs of each cell."""
        blocks = self.block_sd * rng.standard_normal(n)
        found = []
        for number, sd in enumerate(self.sd):
            collapsed = rng.random(n) < self.rate
            shift = self.effect / (1 - self.rate if self.design.primary == "mean" else 1) if number else 0.0
            values = 0.8 + shift + blocks + sd * rng.standard_normal(n)
            found.append(Sample(np.where(collapsed, FAILED, values), collapsed, np.arange(n)))
        return found

    def cells(self, runs: Sequence[Sample], n: int, share: float) -> Cells[int]:
        """Return the first n runs of each cell, as judged at a share of the error."""
        first = {i: Sample(x.values[:n], x.collapsed[:n], x.seeds[:n]) for i, x in enumerate(runs)}
        return Cells(first, replace(self.design, alpha=ALPHA * share))


def verdict(cells: Cells[int], treatment: int = 1) -> Verdict:
    """Return the verdict on a treatment against the control, that of ``comparisons.compare`` and nothing else."""
    weights, alpha = {treatment: 1.0, 0: -1.0}, cells.design.alpha_of_one(CELLS - 1)
    few, estimate = cells.too_few(weights, alpha), cells.primary(weights)
    if few is not None and few.doubted is None:
        return "too few runs"
    doubted = few.doubted if few is not None and few.doubted is not None else estimate
    return judge(doubted, cells.design.rope, alpha, cells.design.direction)


def verdicts(cells: Cells[int]) -> list[Verdict]:
    """Return the verdicts on each treatment against the control."""
    return [verdict(cells, treatment) for treatment in range(1, CELLS)]


def later_share(first: int, seeds: int) -> float:
    """Return the share of the error at a study's seeds, the report at the first ones included."""
    return FIRST if seeds <= first else share_at(seeds, [Taken(first, FIRST)], (), TAIL)


def planned(world: World, runs: Sequence[Sample], pilot: int, rng: np.random.Generator) -> int | None:
    """Return the seeds to which a study is to be extended for its first comparison."""
    cells = world.cells(runs, pilot, FIRST)
    if min(len(cells.samples[i].trained) for i in (0, 1)) < LEAST_RUNS:
        return None
    asked = Question(
        world.effect, world.design.rope, alpha=lambda seeds: ALPHA * later_share(pilot, seeds) / STATEMENTS
    )
    found = piloted(cells, {1: 1.0, 0: -1.0}, asked)
    return None if found is None else recommended_seeds(found, rng, least=pilot, max_seeds=MOST, studies=500)


def extended(world: World, pilot: int, studies: int) -> tuple[float, float]:
    """Return the share of studies decided once they are extended as planned, and the mean seeds; of those planned."""
    rng = np.random.default_rng(pilot)
    decided, used = [], []
    for _ in range(studies):
        runs = world.runs(rng, MOST)
        seeds = planned(world, runs, pilot, rng)
        if seeds is None:
            continue
        cells = world.cells(runs, seeds, later_share(pilot, seeds))
        decided.append(verdict(cells) in DECIDED)
        used.append(seeds)
    return float(np.mean(decided)), float(np.mean(used))


def fresh(world: World, studies: int) -> tuple[float, float]:
    """Return the share of studies decided with the seeds planned from the true spread, and these."""
    rng, alpha = np.random.default_rng(1), ALPHA * FIRST / STATEMENTS
    rise = 0.8 - FAILED if world.design.primary != "trained" else None
    models = [CellModel(world.sd[i], world.rate, rise) for i in (1, 0)]
    question = Question(world.effect, world.design.rope, alpha=alpha, primary=world.design.primary)
    question = replace(question, gated=world.design.primary != "median")
    if world.design.paired:
        models = [CellModel(math.hypot(world.sd[0], world.sd[1]), 1 - (1 - world.rate) ** 2)]
        question = replace(question, weights=(1.0,), gated=False)
    seeds = seeds_needed(question, models, rng, studies=8000) or MOST
    found = [verdict(world.cells(world.runs(rng, seeds), seeds, FIRST)) for _ in range(studies)]
    return float(np.mean([each in DECIDED for each in found])), seeds


WORLDS = {
    "trained, effect 2 sd": World(0.02, Design(rope=ROPE, rates=True, failed=FAILED)),
    "trained, effect 1.5 sd, ROPE 0": World(0.015, Design(rates=True, failed=FAILED)),
    "trained, sd 1 and 3": World(0.03, Design(rope=ROPE, rates=True, failed=FAILED), sd=(0.005, 0.015, 0.015, 0.015)),
    "trained, 10 % collapses": World(0.02, Design(rope=ROPE, rates=True, failed=FAILED), rate=0.1),
    "mean, no collapses": World(0.3, Design(rope=ROPE, primary="mean", rates=True, failed=FAILED), sd=(0.05,) * CELLS),
    "mean, 10 % collapses": World(
        0.3, Design(rope=ROPE, primary="mean", rates=True, failed=FAILED), sd=(0.05,) * CELLS, rate=0.1
    ),
    "median": World(0.02, Design(rope=ROPE, primary="median", rates=True, failed=FAILED)),
    "median, 10 % collapses": World(0.02, Design(rope=ROPE, primary="median", rates=True, failed=FAILED), rate=0.1),
    "blocks of 3 sd": World(0.02, Design(rope=ROPE, paired=True, rates=True, failed=FAILED), block_sd=0.03),
    "blocks, 10 % collapses": World(
        0.02, Design(rope=ROPE, paired=True, rates=True, failed=FAILED), block_sd=0.03, rate=0.1
    ),
}


def decided_row(name: str, studies: int) -> list[str]:
    """Return a world's row of the first table."""
    world = WORLDS[name]
    pairs = [fresh(world, studies), *(extended(world, pilot, studies) for pilot in (3, 5, 10))]
    return [name, *(f"{share:.3f} ({seeds:.0f})" for share, seeds in pairs)]


def errors_row(effect: float, rope: float, rates: bool, looks: Sequence[int], studies: int) -> list[str]:
    """Return the share of studies with any false verdict at any look, for looks that none declared and planned ones.

    A verdict is false if it excludes the true effect: zero, or the edge of the region of practical equivalence.
    """
    world = World(effect, Design(rope=rope, rates=rates, failed=FAILED if rates else None))
    rng, wrong, at_plan = np.random.default_rng(3), 0, 0
    wrongly = (
        {"better", "worse", "better (size open)", "worse (size open)"} if effect == 0 else {"better", "equivalent"}
    )
    tail = TAIL if rates else 2 * TAIL
    shares: list[Taken] = []
    for n in looks:
        shares.append(Taken(n, share_at(n, shares, (), tail)))
    aim = replace(world, effect=0.02 if effect == 0 else 0.03)
    for _ in range(studies):
        runs = world.runs(rng, MOST)
        found = [wrongly & set(verdicts(world.cells(runs, look.seeds, look.share))) for look in shares]
        wrong += any(found)
        seeds = planned(aim, runs, looks[0], rng) or MOST
        at_end = verdicts(world.cells(runs, seeds, later_share(looks[0], seeds)))
        at_plan += bool(found[0]) or bool(wrongly & set(at_end))
    truth = "on the edge of the ROPE" if effect else "no effect, ROPE 0"
    answers = "two" if rates else "one"
    return [truth, answers, ", ".join(map(str, looks)), f"{wrong / studies:.3f}", f"{at_plan / studies:.3f}"]


def width_rows(studies: int) -> list[list[str]]:
    """Return the widths of a study of 5 + 5 seeds relative to those of one of 10, by comparisons of the family."""
    rng = np.random.default_rng(5)
    rows = []
    for family in (1, 3, 6, 15):
        tail = ALPHA / (2 * family) / 2
        second = share_at(10, [Taken(5, FIRST)], (), tail)
        row = [str(family), f"{100 * (1 - ALPHA * FIRST):.2f} / {100 * (1 - ALPHA * second):.2f} %"]
        for primary in ("trained", "mean", "median"):
            world = World(0.0, Design(primary=primary, rates=True, failed=FAILED))
            widths = [
                [_width(world, runs, share, family) for share in (second, FIRST, 1.0)]
                for runs in (world.runs(rng, 10) for _ in range(studies))
            ]
            grown, once, plain = np.mean(widths, axis=0)
            row.append(f"{grown / once:.3f} (once / 95 %: {once / plain:.3f})")
        rows.append(row)
    return rows


def _width(world: World, runs: Sequence[Sample], share: float, family: int) -> float:
    estimate = world.cells(runs, 10, share).primary({1: 1.0, 0: -1.0})
    alpha = ALPHA * share / (2 * family)
    return estimate.upper(alpha / 2) - estimate.lower(alpha / 2)


def seeds_row(family: int, effect: float, rope: float, studies: int) -> list[str]:
    """Return the seeds for 80 % power by this rule at one level, as studies go by it, and by three other procedures."""
    rng = np.random.default_rng(7)
    models = [CellModel(1.0)] * 2
    alone, studied = (
        seeds_needed(
            Question(effect, rope, alpha=alpha / family, gated=gated), models, rng, studies=20_000, max_seeds=400
        )
        for alpha, gated in ((ALPHA, False), (ALPHA * FIRST / 2, True))
    )
    others = [
        _first_n(lambda n, of=of: of(family, effect, rope, n, studies)) for of in (bonferroni, holm, games_howell)
    ]
    saved = 100 * (1 - (alone or 0) / others[0])
    return [str(family), f"{effect:g}", f"{rope:g}", str(alone), *map(str, others), f"{saved:.0f} %", str(studied)]


def _first_n(power: object) -> int:
    low, high = 2, 400
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= 0.8 else (middle, high)
    return high


def _statistics(family: int, effect: float, rope: float, n: int, studies: int) -> tuple[Values, Values]:
    """Return (studies, family) distances from the edge in standard errors, and degrees of freedom: all have effects."""
    rng = np.random.default_rng(n)
    means = rng.standard_normal((studies, family + 1)) / math.sqrt(n)
    parts = rng.chisquare(n - 1, (studies, family + 1)) / (n - 1) / n
    total = parts[:, 1:] + parts[:, :1]
    df = total**2 / ((parts[:, 1:] ** 2 + parts[:, :1] ** 2) / (n - 1))
    return (effect - rope + means[:, 1:] - means[:, :1]) / np.sqrt(total), df


def bonferroni(family: int, effect: float, rope: float, n: int, studies: int) -> float:
    """Return the power of Welch's two-sided intervals with Bonferroni's correction."""
    t, df = _statistics(family, effect, rope, n, studies)
    return float(np.mean(2 * stats.t.sf(t, df) < ALPHA / family))


def holm(family: int, effect: float, rope: float, n: int, studies: int) -> float:
    """Return the power of Welch's tests with Holm's correction, where all comparisons have the effect."""
    t, df = _statistics(family, effect, rope, n, studies)
    p = np.sort(np.minimum(2 * stats.t.sf(t, df), 1), axis=1)
    passed = np.cumprod(p < ALPHA / np.arange(family, 0, -1), axis=1)
    return float(np.mean(passed))


def games_howell(family: int, effect: float, rope: float, n: int, studies: int) -> float:
    """Return the power of Games and Howell's intervals of all pairs of the family and its control."""
    t, df = _statistics(family, effect, rope, n, studies)
    critical = stats.studentized_range.ppf(1 - ALPHA, family + 1, np.array([df.min(), np.median(df), df.max()]))
    return float(np.mean(t > np.interp(df, [df.min(), np.median(df), df.max()], critical) / math.sqrt(2)))


def main() -> None:
    """Simulate and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--studies", type=int, default=400, help="simulated studies of each row")
    options.add_argument("--jobs", type=int, default=1)
    options.add_argument("--tables", default="decided,errors,widths,seeds", help="which")
    given = options.parse_args()
    parallel = joblib.Parallel(n_jobs=given.jobs)
    print(f"`{command()}`\n")
    if "decided" in given.tables:
        print("Share of studies decided at the recommended number of seeds (mean of that)\n")
        rows = parallel(joblib.delayed(decided_row)(name, given.studies) for name in WORLDS)
        print_table(("primary", "fresh, true spread", "pilot of 3", "pilot of 5", "pilot of 10"), rows)
    if "errors" in given.tables:
        print("\nStudies with any false verdict at any look\n")
        rows = parallel(
            joblib.delayed(errors_row)(effect, rope, rates, looks, given.studies)
            for effect, rope in ((0.0, 0.0), (ROPE, ROPE))
            for rates in (True, False)
            for looks in ((3, 10, 30), (5, 10, 20, 40), (10, 20, 40))
        )
        print_table(
            ("truth", "answers", "looks, none declared", "any false", "the first, and once extended as planned"), rows
        )
    if "widths" in given.tables:
        print("\nWidths of 5 + 5 seeds relative to 10 at once\n")
        print_table(("comparisons", "levels", "trained", "mean", "median"), width_rows(given.studies))
    if "seeds" in given.tables:
        print("\nSeeds for 80 % power\n")
        rows = parallel(
            joblib.delayed(seeds_row)(family, effect, rope, 20 * given.studies)
            for rope, effects in ((0.0, (1.0, 2.0)), (0.5, (1.0, 1.5, 2.0)))
            for effect in effects
            for family in (1, 3, 6, 15)
        )
        header = ("comparisons", "effect (sd)", "ROPE (sd)", "this rule", "Welch-Bonferroni", "Welch-Holm")
        print_table((*header, "Games-Howell", "saved", "first report, two answers"), rows)


if __name__ == "__main__":
    main()
