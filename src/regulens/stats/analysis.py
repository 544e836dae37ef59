"""The whole analysis of one response: every cell described, every declared pair compared."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from regulens.stats.comparisons import Comparison, Design, Direction, compare
from regulens.stats.estimates import (
    RUNS_FOR_QUARTILES,
    expected_best,
    interquartile_mean_intervals,
    median_interval,
    sd_interval,
)
from regulens.stats.intervals import Collapse, Interval, collapse_of, mean_interval, overall_interval, wilson
from regulens.stats.samples import Sample, joined_samples
from regulens.stats.ties import constant

Level = bool | int | float | str
Pairs = Literal["control", "all"] | Sequence[tuple[Level, Level]]


@dataclass(frozen=True, eq=False)
class Cell:
    """A combination of levels, by the factors' names, and its runs."""

    levels: Mapping[str, Level]
    sample: Sample


@dataclass(frozen=True, eq=False)
class CellSummary:
    """What the runs of a cell come to, each with its own 95 % interval.

    Attributes:
        levels: of the factors.
        runs: their number.
        collapse: the rate of collapsed runs (Wilson), ``None`` where collapse is not looked for.
        mean: over all runs, collapses included; under collapse its interval carries both parts.
        trained: over the runs that trained, ``None`` if none did.
        median: over all runs.
        sd: over all runs; without an interval where some of them collapsed.
        interquartile_mean: over all runs, ``None`` below four.
        sample: the runs themselves.
        direction: whether a higher or a lower response is better.
    """

    levels: Mapping[str, Level]
    runs: int
    collapse: Interval | None
    mean: Interval
    trained: Interval | None
    median: Interval
    sd: Interval
    interquartile_mean: Interval | None
    sample: Sample
    direction: Direction

    def best_of(self, k: int) -> float:
        """Return the expected best of k = 1..n runs."""
        return expected_best(self.sample.values, k, self.direction)


@dataclass(frozen=True, eq=False)
class NamedComparison:
    """Level ``a`` of a factor against level ``b``, the other factors being at ``where``; ``None`` if it cannot be made.

    Attributes:
        factor: the compared one.
        a: its one level.
        b: its other level: the control, where there is one.
        where: the other factors' levels.
        result: the comparison.
        reason: why there is none: a cell is missing.
    """

    factor: str
    a: Level
    b: Level
    where: Mapping[str, Level]
    result: Comparison | None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Analysis:
    """All cells and all comparisons of one response."""

    design: Design
    collapse_looked_for: bool
    cells: tuple[CellSummary, ...]
    comparisons: tuple[NamedComparison, ...]
    warnings: tuple[str, ...]


def analyse(
    cells: Sequence[Cell],
    factor: str,
    pairs: Sequence[tuple[Level, Level]],
    design: Design,
    rng: np.random.Generator,
    *,
    collapse_looked_for: bool = True,
) -> Analysis:
    """Describe the cells and compare the pairs of levels of one factor at every combination of the others.

    Args:
        cells: no two of the same levels.
        factor: the compared factor.
        pairs: of its levels, (a, b) each: the family, times the combinations of the other factors.
        design: what was declared beforehand.
        rng: for the permutation tests.
        collapse_looked_for: whether the samples know which runs collapsed.
    """
    samples = joined_samples([cell.sample for cell in cells])
    cells = [replace(cell, sample=sample) for cell, sample in zip(cells, samples, strict=True)]
    named = list(_named_pairs(cells, factor, pairs))
    possible = [(a.sample, b.sample) for _, _, _, a, b in named if a and b]
    results = iter(compare(possible, design, samples, rng, family=len(named)) if possible else [])
    comparisons = tuple(
        NamedComparison(factor, level_a, level_b, where, next(results))
        if a and b
        else NamedComparison(factor, level_a, level_b, where, None, _missing(factor, level_b if a else level_a, where))
        for level_a, level_b, where, a, b in named
    )
    collapse = collapse_of(samples, design.direction == "higher")
    middles = _middles(samples, rng)
    summaries = tuple(
        _summary(cell, collapse, design, middle, collapse_looked_for)
        for cell, middle in zip(cells, middles, strict=True)
    )
    warnings = _warnings(cells, comparisons)
    return Analysis(design, collapse_looked_for, summaries, comparisons, tuple(warnings))


def declared_pairs(
    levels: Sequence[Level], control: Level | None, pairs: Pairs = "control"
) -> list[tuple[Level, Level]]:
    """Return the pairs of levels to compare: each against the control, all (the later against the earlier), or named.

    Raises:
        ValueError: for a control or a named level that is not there.
    """
    if not isinstance(pairs, str):
        for level in itertools.chain.from_iterable(pairs):
            if level not in levels:
                raise ValueError(f"{level!r} is not among the levels {list(levels)}")
        return list(pairs)
    if pairs == "all" or control is None:
        return [(b, a) for a, b in itertools.combinations(levels, 2)]
    if control not in levels:
        raise ValueError(f"control {control!r} is not among the levels {list(levels)}")
    return [(level, control) for level in levels if level != control]


def _named_pairs(
    cells: Sequence[Cell], factor: str, pairs: Sequence[tuple[Level, Level]]
) -> Iterator[tuple[Level, Level, dict[str, Level], Cell | None, Cell | None]]:
    by_levels = {frozenset(cell.levels.items()): cell for cell in cells}
    places = dict.fromkeys(tuple((k, v) for k, v in cell.levels.items() if k != factor) for cell in cells)
    for where in places:
        for level_a, level_b in pairs:
            a, b = (by_levels.get(frozenset([*where, (factor, level)])) for level in (level_a, level_b))
            if a is not None or b is not None:
                yield level_a, level_b, dict(where), a, b


def _missing(factor: str, level: Level, where: Mapping[str, Level]) -> str:
    place = ", ".join(f"{name} {value}" for name, value in where.items())
    return f"there are no runs of {factor} {level}" + (f" at {place}" if place else "")


def _summary(
    cell: Cell, collapse: Collapse | None, design: Design, middle: Interval | None, collapse_looked_for: bool
) -> CellSummary:
    runs = cell.sample
    return CellSummary(
        levels=cell.levels,
        runs=runs.n,
        collapse=wilson(runs.collapses, runs.n, 0.95) if collapse_looked_for else None,
        mean=overall_interval(runs, collapse, 0.95).within(design.bounds),
        trained=mean_interval(runs.trained, 0.95).within(design.bounds) if len(runs.trained) else None,
        median=median_interval(runs.values, 0.95),
        sd=_spread(runs),
        interquartile_mean=middle,
        sample=runs,
        direction=design.direction,
    )


def _middles(samples: Sequence[Sample], rng: np.random.Generator) -> list[Interval | None]:
    """Return the interquartile means of the samples that are large enough for one."""
    enough = [runs.n >= RUNS_FOR_QUARTILES for runs in samples]
    found = iter(interquartile_mean_intervals([x.values for x in itertools.compress(samples, enough)], 0.95, rng))
    return [next(found) if each else None for each in enough]


def _spread(runs: Sample) -> Interval:
    """Return the standard deviation over all runs; no interval where they are of two kinds."""
    found = sd_interval(runs.values, 0.95)
    return replace(found, low=math.nan, high=math.nan) if runs.collapses else found


def _warnings(cells: Sequence[Cell], comparisons: Sequence[NamedComparison]) -> list[str]:
    counts = {cell.sample.n for cell in cells}
    warnings = list(dict.fromkeys(each.reason for each in comparisons if each.reason))
    if len(counts) > 1:
        warnings.append(f"the cells have unequal numbers of runs ({min(counts)} to {max(counts)})")
    for cell in cells:
        name = ", ".join(f"{factor} {level}" for factor, level in cell.levels.items())
        if cell.sample.n == 1:
            warnings.append(f"only one run of {name}: its spread is unknown, and no interval can be computed")
        elif constant(cell.sample.values):
            warnings.append(f"all {cell.sample.n} runs of {name} have the same value: its spread may be underestimated")
    return warnings
