"""One analysis across data sets: effects pooled over them, levels ranked on them, runs of all of them together.

What it takes is an analysis of which one factor is the data set. Nothing in it is declared, and no verdict comes of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from regulens.stats.analysis import Analysis
from regulens.stats.contrasts import Level
from regulens.stats.datasets import (
    FEW_SETS,
    EqualWeights,
    RandomEffects,
    SetEffect,
    equal_weights,
    random_effects,
    set_effect,
)
from regulens.stats.design import Design
from regulens.stats.intervals import Interval
from regulens.stats.profiles import (
    Profile,
    interquartile_gain_of_sets,
    interquartile_mean_of_sets,
    performance_profile,
)
from regulens.stats.ranks import ALPHA, Ranks, rank_levels
from regulens.stats.samples import Sample
from regulens.stats.ties import constant
from regulens.study.text_table import place_text

THRESHOLDS = 101
"""Of a profile, evenly spaced over its runs."""
RUNS_FOR_MIDDLE = 4

_Place = tuple[tuple[str, Level], ...]
_Cells = Mapping[tuple[_Place, Level, Level], Sample]
_Runs = Mapping[Level, Sequence[NDArray[np.float64]]]
"""The values of each level's runs on each set."""


@dataclass(frozen=True, eq=False)
class PooledComparison:
    """Level ``a`` against level ``b`` over data sets, the other factors being at ``where``.

    Attributes:
        a: the one level.
        b: the other.
        where: the other factors' levels.
        sets: the data sets that have both, in the order of the analysis.
        effects: of each.
        equal: each set counting the same, ``None`` below two sets.
        weighted: random effects, ``None`` where a set's variance is not known, or is zero.
        reasons: why numbers are missing, and which sets are left out.
    """

    a: Level
    b: Level
    where: Mapping[str, Level]
    sets: tuple[Level, ...]
    effects: tuple[SetEffect, ...]
    equal: EqualWeights | None
    weighted: RandomEffects | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class LevelOverSets:
    """The runs of one level on all sets of its place.

    Attributes:
        level: of the compared factor.
        runs: their number.
        middle: their interquartile mean, ``None`` below four.
        gain: that of the runs minus the control's mean on their set; ``None`` for the control, or without one.
        profile: the share of runs above each threshold.
        gains: likewise of the runs minus the control's mean on their set; ``None`` without a control.
    """

    level: Level
    runs: int
    middle: Interval | None
    gain: Interval | None
    profile: Profile
    gains: Profile | None


@dataclass(frozen=True, eq=False)
class PlaceOverSets:
    """The levels of the compared factor side by side, the other factors being at ``where``, over sets that have all."""

    where: Mapping[str, Level]
    sets: tuple[Level, ...]
    levels: tuple[LevelOverSets, ...]
    ranks: Ranks


@dataclass(frozen=True, eq=False)
class AcrossSets:
    """What an analysis says across data sets.

    Attributes:
        column: the factor of the data sets.
        compared: the compared factor.
        sets: all data sets.
        design: the analysis' estimand and direction.
        comparisons: pooled over sets.
        places: the levels over sets, for each combination of the other factors that two sets or more have in full.
        warnings: what to beware of.
    """

    column: str
    compared: str
    sets: tuple[Level, ...]
    design: Design
    comparisons: tuple[PooledComparison, ...]
    places: tuple[PlaceOverSets, ...]
    warnings: tuple[str, ...]


def across_sets(analysis: Analysis, column: str) -> AcrossSets | None:
    """Return an analysis across data sets, ``None`` where fewer than two are compared on.

    Args:
        analysis: of which ``column`` is a factor, though not the compared one.
        column: the factor whose levels are data sets.
    """
    if not analysis.comparisons or column not in analysis.comparisons[0].where:
        return None
    compared, design = analysis.comparisons[0].factor, analysis.design
    cells = {_key(cell.levels, column, compared): cell.sample for cell in analysis.cells}
    sets = tuple(dict.fromkeys(name for _, name, _ in cells))
    if len(sets) < 2:
        return None
    pairs = list(dict.fromkeys((each.a, each.b) for each in analysis.comparisons))
    controls = {b for _, b in pairs}
    control = controls.pop() if len(controls) == 1 else None
    places = list(dict.fromkeys(place for place, _, _ in cells))
    comparisons = tuple(_pooled(cells, place, sets, pair, design) for place in places for pair in pairs)
    found = [_side_by_side(cells, place, sets, control, design) for place in places]
    return AcrossSets(
        column,
        compared,
        sets,
        design,
        comparisons,
        tuple(each for each in found if each is not None),
        tuple(_warnings(comparisons, sets, places, found)),
    )


def _key(levels: Mapping[str, Level], column: str, compared: str) -> tuple[_Place, Level, Level]:
    place = tuple((name, level) for name, level in levels.items() if name not in {column, compared})
    return place, levels[column], levels[compared]


def _pooled(
    cells: _Cells, place: _Place, sets: Sequence[Level], pair: tuple[Level, Level], design: Design
) -> PooledComparison:
    effects = dict(_effects(cells, place, sets, pair, design))
    left_out = [str(name) for name in sets if name not in effects]
    reasons = [f"without {', '.join(left_out)}, where there are no runs of both"] if left_out else []
    if len(effects) < 2:
        reasons = ["not pooled, as fewer than two data sets have runs of both"]
        return PooledComparison(*pair, dict(place), tuple(effects), tuple(effects.values()), None, None, tuple(reasons))
    y, v = np.array([(each.difference.estimate, each.variance) for each in effects.values()]).T
    unknown = [str(name) for name, each in effects.items() if not each.variance > 0]
    if unknown:
        where = "any data set" if len(unknown) == len(effects) else ", ".join(unknown)
        reasons.append(f"no random-effects model, as no spread between runs is known on {where}")
    if constant(y):
        reasons.append("no interval, as all data sets have the same difference")
    equal, weighted = equal_weights(y), None if unknown else random_effects(y, v)
    width = design.bounds[1] - design.bounds[0]
    bounds = -width, width
    equal = replace(equal, mean=equal.mean.within(bounds), new=equal.new.within(bounds))
    if weighted is not None:
        spread = weighted.spread.within((0.0, bounds[1]))  # no larger than half of what differences can range over
        weighted = replace(weighted, mean=weighted.mean.within(bounds), new=weighted.new.within(bounds), spread=spread)
    return PooledComparison(
        *pair, dict(place), tuple(effects), tuple(effects.values()), equal, weighted, tuple(reasons)
    )


def _effects(
    cells: _Cells, place: _Place, sets: Sequence[Level], pair: tuple[Level, Level], design: Design
) -> Iterator[tuple[Level, SetEffect]]:
    """Yield the effect on each set that has runs of both levels (that trained, where these are meant)."""
    for name in sets:
        a, b = (cells.get((place, name, level)) for level in pair)
        if a is not None and b is not None:
            effect = set_effect(a, b, design.primary, design.paired)
            if math.isfinite(effect.difference.estimate):
                yield name, effect


def _side_by_side(
    cells: _Cells, place: _Place, sets: Sequence[Level], control: Level | None, design: Design
) -> PlaceOverSets | None:
    """Set the levels of one place side by side; ``None`` where fewer than two sets have runs of all of them."""
    levels = list(dict.fromkeys(level for where, _, level in cells if where == place))
    centers = {name: [_center(cells.get((place, name, level)), design) for level in levels] for name in sets}
    kept = [name for name, of_levels in centers.items() if np.isfinite(of_levels).all()]
    if len(kept) < 2 or len(levels) < 2:
        return None
    runs = {level: [cells[place, name, level].values for name in kept] for level in levels}
    ranks = rank_levels([centers[name] for name in kept], design.direction == "higher")
    return PlaceOverSets(dict(place), tuple(kept), tuple(_levels(runs, control, design)), ranks)


def _center(cell: Sample | None, design: Design) -> float:
    """Return the primary estimand of a cell, NaN where there is no run of it."""
    values = cell.trained if cell is not None and design.primary == "trained" else cell.values if cell else np.array([])
    if not len(values):
        return math.nan
    return float(np.median(values) if design.primary == "median" else np.mean(values))


def _levels(runs: _Runs, control: Level | None, design: Design) -> Iterator[LevelOverSets]:
    higher, against = design.direction == "higher", runs.get(control) if control is not None else None
    thresholds = _thresholds(runs.values())
    profiles = {level: performance_profile(of_sets, thresholds, higher) for level, of_sets in runs.items()}
    gains = _gain_profiles(runs, against, higher) if against else {}
    for level, of_sets in runs.items():
        count = sum(map(len, of_sets))
        enough = count >= RUNS_FOR_MIDDLE
        middle = interquartile_mean_of_sets(of_sets).within(design.bounds) if enough else None
        gain = interquartile_gain_of_sets(of_sets, against) if enough and against and level != control else None
        yield LevelOverSets(level, count, middle, gain, profiles[level], gains.get(level))


def _gain_profiles(runs: _Runs, control: Sequence[NDArray[np.float64]], higher: bool) -> dict[Level, Profile]:
    gains = {
        level: [x - np.mean(base) for x, base in zip(of_sets, control, strict=True)] for level, of_sets in runs.items()
    }
    thresholds = _thresholds(gains.values())
    return {level: performance_profile(of_sets, thresholds, higher) for level, of_sets in gains.items()}


def _thresholds(runs: Iterable[Sequence[NDArray[np.float64]]]) -> NDArray[np.float64]:
    values = np.concatenate([np.concatenate(of_sets) for of_sets in runs])
    return np.linspace(values.min(), values.max(), THRESHOLDS)


def _warnings(
    comparisons: Sequence[PooledComparison],
    sets: Sequence[Level],
    places: Sequence[_Place],
    found: Sequence[PlaceOverSets | None],
) -> Iterator[str]:
    if len(sets) < FEW_SETS:
        yield (
            f"only {len(sets)} data sets: with fewer than {FEW_SETS}, what is said of other sets rests on the "
            "assumption that effects are normal, and no pair can differ significantly by signed ranks"
        )
    of_reason: dict[str, list[str]] = {}
    for each in comparisons:
        for reason in each.reasons:
            of_reason.setdefault(reason, []).append(f"{each.a} – {each.b}{_at(each.where)}")
    yield from (f"{reason}: {'; '.join(names)}" for reason, names in of_reason.items())
    for place, side_by_side in zip(places, found, strict=True):
        kept = side_by_side.sets if side_by_side else ()
        left_out = [str(name) for name in sets if name not in kept]
        if side_by_side is None:
            yield f"no ranks{_at(dict(place))}: fewer than two data sets have runs of all levels"
        elif left_out:
            yield f"ranks and profiles{_at(dict(place))} are without {', '.join(left_out)}, where a level has no runs"
        if side_by_side and side_by_side.ranks.smallest_p > ALPHA and len(sets) >= FEW_SETS:
            yield (
                f"no pair can differ significantly by signed ranks{_at(dict(place))}: with {len(kept)} data sets and "
                f"{len(side_by_side.ranks.pairs)} pairs no adjusted p is below {side_by_side.ranks.smallest_p:.2g}"
            )


def _at(where: Mapping[str, Level]) -> str:
    return f" at {place_text(where)}" if where else ""
