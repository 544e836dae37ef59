"""Whether the intervals hold what they promise: coverage, length, false verdicts and power, by simulation.

Four cells a study; three are compared with the first. Accuracies are drawn from distributions whose truth is known,
with and without collapses (a run at chance). Each line is over all cells, or comparisons, of the simulated studies; a
share of 0.95 has a standard error of about 0.0022 * sqrt(10000 / studies). Tables: per-cell 95 % intervals;
simultaneous ones of the differences; false better or worse at one look and at looks of 5, 10, 20 and 29 seeds; power
beside a plain Welch test without any correction, and the seeds that looks save.

    python benchmarks/calibration.py
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import joblib
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from common import command, print_table
from regulens.stats.comparisons import Design, difference_interval, judge
from regulens.stats.estimates import median_interval
from regulens.stats.intervals import (
    Interval,
    collapse_of,
    mean_interval,
    mover_difference,
    overall_interval,
    wilson,
)
from regulens.stats.power import Looks
from regulens.stats.samples import Sample

CHANCE, CENTRE, SD = 0.1, 0.88, 0.006
CELLS, NS = 4, (3, 5, 10, 20, 30)
"""Cells of a study, and runs of a cell."""
LOOKS = (5, 10, 20, 29)
Values = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """Where the runs come from.

    Attributes:
        draw: (rng, n) values of mean 0 and standard deviation about 1, and their median.
        median: of them.
        rates: of collapse, one for each cell.
        spreads: standard deviations relative to ``SD``.
        shifts: of the mean of each cell's runs that train, in ``SD``.
    """

    draw: Callable[[np.random.Generator, int], Values]
    median: float = 0.0
    rates: tuple[float, ...] = (0.0,) * CELLS
    spreads: tuple[float, ...] = (1.0,) * CELLS
    shifts: tuple[float, ...] = (0.0,) * CELLS

    def cells(self, rng: np.random.Generator, n: int) -> list[Sample]:
        """Draw a study of n runs a cell."""
        found = []
        for rate, spread, shift in zip(self.rates, self.spreads, self.shifts, strict=True):
            collapsed = rng.random(n) < rate
            trained = CENTRE + SD * (shift + spread * self.draw(rng, n))
            values = np.where(collapsed, CHANCE + 0.003 * rng.standard_normal(n), trained)
            found.append(Sample(values, collapsed, np.arange(n)))
        return found

    def trained(self, cell: int) -> float:
        """Return the true mean among runs that train."""
        return CENTRE + SD * self.shifts[cell]

    def overall(self, cell: int) -> float:
        """Return the true mean over all runs."""
        return self.trained(cell) - self.rates[cell] * (self.trained(cell) - CHANCE)

    def middle(self, cell: int) -> float:
        """Return the true median over all runs; NaN where it falls between the two kinds of runs or is not known."""
        if self.rates[cell] >= 0.5 or (self.rates[cell] > 0 and self.draw is not normal):
            return math.nan
        if self.rates[cell] == 0:
            return self.trained(cell) + SD * self.spreads[cell] * self.median
        quantile = float(stats.norm.ppf((0.5 - self.rates[cell]) / (1 - self.rates[cell])))
        return self.trained(cell) + SD * self.spreads[cell] * quantile


def normal(rng: np.random.Generator, n: int) -> Values:
    """Normal."""
    return rng.standard_normal(n)


def skewed(rng: np.random.Generator, n: int) -> Values:
    """A long tail to the left, skewness -1.4."""
    return (2 - rng.gamma(2, 1, n)) / math.sqrt(2)


def exponential(rng: np.random.Generator, n: int) -> Values:
    """A long tail to the left, skewness -2."""
    return 1 - rng.exponential(1, n)


def heavy(rng: np.random.Generator, n: int) -> Values:
    """Student's t with 3 degrees of freedom."""
    return rng.standard_t(3, n) / math.sqrt(3)


def tied(rng: np.random.Generator, n: int) -> Values:
    """Normal, rounded to whole standard deviations."""
    return np.round(rng.standard_normal(n))


WORLDS = {
    "normal": World(normal),
    "skewed": World(skewed, (2 - 1.6783469900166612) / math.sqrt(2)),
    "exponential": World(exponential, 1 - math.log(2)),
    "heavy tails": World(heavy),
    "heavy ties": World(tied),
    "unequal spreads (1, 1, 4, 8)": World(normal, spreads=(1, 1, 4, 8)),
    "collapses 5 % of all": World(normal, rates=(0.05,) * CELLS),
    "collapses 20 % of all": World(normal, rates=(0.2,) * CELLS),
    "collapses 40 % of all": World(normal, rates=(0.4,) * CELLS),
    "collapses 0, 10, 20, 40 %": World(normal, rates=(0.0, 0.1, 0.2, 0.4)),
    "equal means, collapses 0, 10, 20, 40 %": World(
        normal,
        rates=(0.0, 0.1, 0.2, 0.4),
        shifts=tuple(((0.6 - rate * CHANCE) / (1 - rate) - CENTRE) / SD for rate in (0.0, 0.1, 0.2, 0.4)),
    ),
}


QUANTITIES = (
    "mean among trained",
    "overall mean",
    "median",
    "difference of overall means",
    "difference among trained",
    "difference of collapse rates",
)
EQUAL = ("normal", "skewed", "heavy tails", "heavy ties", "unequal spreads (1, 1, 4, 8)", "collapses 5 % of all")
EQUAL = (*EQUAL, "collapses 20 % of all", "collapses 40 % of all", "equal means, collapses 0, 10, 20, 40 %")
"""Worlds whose overall means are equal: every better or worse is false."""


@dataclass
class Count:
    """How many intervals covered, of those that there were, and how long they were together."""

    covered: int = 0
    made: int = 0
    asked: int = 0
    length: float = 0.0

    def add(self, interval: Interval, truth: float) -> None:
        """Count one interval; a truth that is not known counts for nothing."""
        if math.isnan(truth):
            return
        self.asked += 1
        if math.isfinite(interval.low):
            self.made += 1
            self.covered += interval.low - 1e-12 <= truth <= interval.high + 1e-12  # ties make bounds of no width
            self.length += interval.high - interval.low

    def text(self) -> str:
        """Write coverage, and the mean length in points."""
        if not self.asked:
            return ""
        if self.made < self.asked / 2:
            return "none"
        return f"{self.covered / self.made:.3f} ({100 * self.length / self.made:.2g})"


def coverage(world: World, n: int, studies: int) -> list[Count]:
    """Simulate studies of one world and count what covers, in the order of ``QUANTITIES``."""
    rng, level = np.random.default_rng([studies, n]), 1 - 0.05 / (CELLS - 1)
    trained, overall, median, difference, among, rates = counts = [Count() for _ in QUANTITIES]
    for _ in range(studies):
        cells = world.cells(rng, n)
        collapse = collapse_of(cells)
        for number, cell in enumerate(cells):
            if len(cell.trained):
                trained.add(mean_interval(cell.trained, 0.95), world.trained(number))
            overall.add(overall_interval(cell, collapse, 0.95), world.overall(number))
            median.add(median_interval(cell.values, 0.95), world.middle(number))
        for number in range(1, CELLS):
            pair = cells[number], cells[0]
            found = difference_interval(*pair, Design(), collapse, level)
            difference.add(found, world.overall(number) - world.overall(0))
            found = difference_interval(*pair, Design(primary="trained"), collapse, level)
            among.add(found, world.trained(number) - world.trained(0))
            if any(world.rates):
                found = mover_difference(*(wilson(cell.collapses, cell.n, level) for cell in pair))
                rates.add(found, world.rates[number] - world.rates[0])
    return counts


def decided(cells: Sequence[Sample], alpha: float) -> list[bool]:
    """Tell which cells are called better or worse than the first."""
    collapse, level = collapse_of(cells), 1 - alpha / (CELLS - 1)
    found = [difference_interval(cell, cells[0], Design(), collapse, level) for cell in cells[1:]]
    return [judge(each, 0) in {"better", "worse"} for each in found]


def false_verdicts(world: World, studies: int) -> list[float]:
    """Return the share of studies with a false verdict, with 3, 5, 10, 20 and 30 runs, and at any of several looks."""
    rng = np.random.default_rng(studies)
    shares = [float(np.mean([any(decided(world.cells(rng, n), 0.05)) for _ in range(studies)])) for n in NS]
    looks = Looks(LOOKS)
    wrong = 0
    for _ in range(studies):
        whole = world.cells(rng, LOOKS[-1])
        wrong += any(
            any(decided([_first(cell, n) for cell in whole], 1 - looks.level_at(look))) for look, n in enumerate(LOOKS)
        )
    return [*shares, wrong / studies]


def power(effect: float, studies: int) -> list[str]:
    """Return how often an effect in sds is seen, by us and by a plain Welch test, and the seeds used with looks."""
    world = World(normal, shifts=(0.0, effect, effect, effect))
    rng, looks = np.random.default_rng(studies), Looks(LOOKS)
    ours, welch = [0] * len(NS), [0] * len(NS)
    for place, n in enumerate(NS):
        for _ in range(studies):
            cells = world.cells(rng, n)
            ours[place] += decided(cells, 0.05)[0]
            welch[place] += bool(stats.ttest_ind(cells[1].values, cells[0].values, equal_var=False).pvalue < 0.05)
    used = []
    for _ in range(studies):
        whole = world.cells(rng, LOOKS[-1])
        stops = (
            n
            for look, n in enumerate(LOOKS)
            if all(decided([_first(cell, n) for cell in whole], 1 - looks.level_at(look)))
        )
        used.append(next(stops, LOOKS[-1]))
    shares = [f"{a / studies:.2f} / {b / studies:.2f}" for a, b in zip(ours, welch, strict=True)]
    return [*shares, f"{np.mean(used):.1f} of {LOOKS[-1]}"]


def _first(cell: Sample, n: int) -> Sample:
    return Sample(cell.values[:n], cell.collapsed[:n], cell.seeds[:n])


def main() -> None:
    """Simulate and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--studies", type=int, default=1000, help="simulated for each line (default: 1000)")
    options.add_argument("--jobs", type=int, default=-1, help="processes (default: one per core)")
    given = options.parse_args()
    run = joblib.Parallel(n_jobs=given.jobs)
    print(f"`{command()}`: coverage of 95 % intervals, and their mean length in points")
    keys = [(name, n) for name in WORLDS for n in NS]
    counted = run(joblib.delayed(coverage)(WORLDS[name], n, given.studies) for name, n in keys)
    rows = [[name, n, *(count.text() for count in counts)] for (name, n), counts in zip(keys, counted, strict=True)]
    print_table(["runs", "n", *QUANTITIES], rows)
    print("\nStudies with any false better or worse, where all means are equal")
    shares = run(joblib.delayed(false_verdicts)(WORLDS[name], given.studies) for name in EQUAL)
    head = ["runs", *(f"n = {n}" for n in NS), f"looks at {', '.join(map(str, LOOKS))}"]
    print_table(head, [[name, *(f"{share:.3f}" for share in row)] for name, row in zip(EQUAL, shares, strict=True)])
    print("\nPower for an effect in standard deviations: one of three comparisons held together / Welch's test alone")
    effects = (0.5, 1.0, 1.5, 2.0, 3.0)
    found = run(joblib.delayed(power)(effect, given.studies) for effect in effects)
    rows = [[effect, *row] for effect, row in zip(effects, found, strict=True)]
    print_table(["effect", *(f"n = {n}" for n in NS), "seeds used with looks"], rows)


if __name__ == "__main__":
    main()
