"""The whole analysis of one response: every cell described, every declared pair compared."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from regulens.stats.cells import Cells
from regulens.stats.comparisons import Comparison, compare
from regulens.stats.contrasts import Level, Levels
from regulens.stats.design import Design
from regulens.stats.estimates import RUNS_FOR_QUARTILES, expected_best, interquartile_mean_intervals, sd_interval
from regulens.stats.intervals import Interval, wilson
from regulens.stats.samples import Sample, joined_samples
from regulens.stats.ties import constant
from regulens.stats.verdicts import Direction

Pairs = Literal["control", "all"] | Sequence[tuple[Level, Level]]


@dataclass(frozen=True, eq=False)
class Cell:
    """A combination of levels, by the factors' names, and its runs.

    Attributes:
        levels: all cells name the factors in one order.
        sample: the runs.
        images: (runs, images) what each run scored on each image; None where that is unknown.
        image_set: which images these are.
    """

    levels: Mapping[str, Level]
    sample: Sample
    images: NDArray[np.float64] | None = None
    image_set: Hashable = None

    @property
    def key(self) -> Levels:
        """The levels alone."""
        return tuple(self.levels.values())


@dataclass(frozen=True, eq=False)
class CellSummary:
    """Estimates from the runs of a cell, each with its own 95 % interval.

    Attributes:
        levels: of the factors.
        runs: their number.
        collapse: the rate of collapsed runs (Wilson), ``None`` where collapse is not looked for.
        flagged: how many of the others look like partial collapses.
        mean: over all runs, collapses included; its interval carries the collapse rate, where that is looked for.
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
    flagged: int
    mean: Interval
    trained: Interval | None
    median: Interval
    sd: Interval
    interquartile_mean: Interval | None
    sample: Sample
    direction: Direction

    @property
    def key(self) -> Levels:
        """The levels alone."""
        return tuple(self.levels.values())

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
    """All cells and all comparisons of one response.

    Attributes:
        design: what was declared.
        data: the runs of all cells, by their levels, for further contrasts.
        cells: the estimates of each.
        comparisons: of the declared family.
        warnings: what to beware of.
    """

    design: Design
    data: Cells[Levels]
    cells: tuple[CellSummary, ...]
    comparisons: tuple[NamedComparison, ...]
    warnings: tuple[str, ...]


def analyse(
    cells: Sequence[Cell],
    factor: str,
    pairs: Sequence[tuple[Level, Level]],
    design: Design,
    rng: np.random.Generator,
) -> Analysis:
    """Describe the cells and compare the pairs of levels of one factor at every combination of the others.

    Args:
        cells: no two of the same levels.
        factor: the compared factor.
        pairs: of its levels, (a, b) each: the family, times the combinations of the other factors.
        design: what was declared beforehand.
        rng: for the interval of the interquartile mean.
    """
    samples = joined_samples([cell.sample for cell in cells])
    images = {cell.key: cell.images for cell in cells if cell.images is not None}
    image_sets = {cell.key: cell.image_set for cell in cells}
    data = Cells({cell.key: each for cell, each in zip(cells, samples, strict=True)}, design, images, image_sets)
    named = list(_named_pairs(cells, factor, pairs))
    possible = [(a.key, b.key) for _, _, _, a, b in named if a and b]
    results = iter(compare(possible, data, family=len(named)))
    comparisons = tuple(
        NamedComparison(factor, level_a, level_b, where, next(results))
        if a and b
        else NamedComparison(factor, level_a, level_b, where, None, _missing(factor, level_b if a else level_a, where))
        for level_a, level_b, where, a, b in named
    )
    middles = _middles(list(data.samples.values()), rng)
    summaries = tuple(_summary(cell, data, middle) for cell, middle in zip(cells, middles, strict=True))
    return Analysis(design, data, summaries, comparisons, tuple(_warnings(cells, comparisons, data.flagged)))


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


def _summary(cell: Cell, data: Cells[Levels], middle: Interval | None) -> CellSummary:
    runs, own = data.samples[cell.key], {cell.key: 1.0}
    filled = replace(runs, values=runs.filled(data.diverged_value))
    whole = not np.isnan(filled.values).any()
    unknown = Interval(math.nan, math.nan, math.nan, 0.95)
    return CellSummary(
        levels=cell.levels,
        runs=runs.n,
        collapse=wilson(runs.collapses, runs.n, 0.95) if data.design.rates else None,
        flagged=data.flagged[cell.key],
        mean=data.overall(own).interval(0.95),
        trained=data.trained(own).interval(0.95) if len(runs.trained) else None,
        median=data.median(own).interval(0.95) if whole else unknown,
        sd=_spread(filled) if whole else unknown,
        interquartile_mean=middle,
        sample=filled,
        direction=data.design.direction,
    )


def _middles(samples: Sequence[Sample], rng: np.random.Generator) -> list[Interval | None]:
    """Return the interquartile means of the samples that are large enough for one."""
    enough = [runs.n >= RUNS_FOR_QUARTILES and not runs.diverged.any() for runs in samples]
    found = iter(interquartile_mean_intervals([x.values for x in itertools.compress(samples, enough)], 0.95, rng))
    return [next(found) if each else None for each in enough]


def _spread(runs: Sample) -> Interval:
    """Return the standard deviation over all runs; no interval where they are of two kinds."""
    interval = sd_interval(runs.values, 0.95)
    return replace(interval, low=math.nan, high=math.nan) if runs.collapses else interval


def _warnings(
    cells: Sequence[Cell], comparisons: Sequence[NamedComparison], flagged: Mapping[Levels, int]
) -> list[str]:
    counts = {cell.sample.n for cell in cells}
    warnings = list(dict.fromkeys(each.reason for each in comparisons if each.reason))
    if len(counts) > 1:
        warnings.append(f"the cells have unequal numbers of runs ({min(counts)} to {max(counts)})")
    for cell in cells:
        name = ", ".join(f"{factor} {level}" for factor, level in cell.levels.items())
        if cell.sample.n == 1:
            warnings.append(f"only one run of {name}: its spread is unknown, and no interval can be computed")
        elif not cell.sample.diverged.any() and constant(cell.sample.values):
            warnings.append(f"all {cell.sample.n} runs of {name} have the same value: its spread may be underestimated")
        if flagged[cell.key]:
            runs = f"{flagged[cell.key]} run{'s' * (flagged[cell.key] > 1)} of {name}"
            warnings.append(
                f"{runs} learned far less than the others: a partial collapse? All the same counted as trained"
            )
    return warnings
