"""Results that were trained elsewhere, one row per run, through the same analysis as those of a study."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from regulens.errors import UserError, suggestion
from regulens.stats.analysis import Analysis, Cell, Level, analyse, declared_pairs
from regulens.stats.comparisons import Design, Direction, Primary
from regulens.stats.samples import sample
from regulens.study.analysis_json import analysis_dict, cells_frame, comparisons_frame
from regulens.study.analysis_text import place_text
from regulens.study.own_rows import Rows, levels, read_level, read_rows, responses

ACCURACY_ROPE = 0.005
COLLAPSE_MARGIN = 1.1
"""Times chance: an accuracy not above it is one of guessing. A proper bound needs the number of images, not known."""

_CONTROL = "none"
_PERMUTATION_SEED = 0
_ACCURACY = re.compile(r"accura|acc(?![a-z])")
_OF_ACCURACIES = re.compile("gap|diff|delta")  # in their unit, but not between 0 and 1


@dataclass(frozen=True, eq=False)
class OwnAnalysis:
    """What comes out of ``analyze``.

    Attributes:
        response: the column that was analysed.
        factors: the columns of the factors, the compared one among them.
        compared: the compared factor.
        control: its level that the others are compared with.
        analysis: all numbers, as the statistics give them.
    """

    response: str
    factors: tuple[str, ...]
    compared: str
    control: Level
    analysis: Analysis

    @property
    def cells(self) -> pd.DataFrame:
        """One row per cell, indexed by the factors' levels; the columns are those of ``as_dict``."""
        return cells_frame(self.analysis)

    @property
    def comparisons(self) -> pd.DataFrame:
        """One row per comparison, indexed by the other factors' levels; the columns are those of ``as_dict``."""
        return comparisons_frame(self.analysis)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before trusting the numbers."""
        return self.analysis.warnings

    def as_dict(self) -> dict[str, list[Any]]:
        """Return cells, comparisons, claims (there are none) and warnings as JSON has them."""
        return analysis_dict(self.analysis)

    def to_json(self) -> str:
        """Return ``as_dict`` as JSON text."""
        return json.dumps(self.as_dict(), indent=1, allow_nan=False)


@dataclass(frozen=True)
class _Declared:
    """What is asked for, checked as far as that goes without the runs."""

    response: str
    factors: tuple[str, ...]
    seed: str | None
    compare: str | None
    control: Level | None
    design: Design
    chance: float | None
    accuracy: bool

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.response, *self.factors, *([self.seed] if self.seed else []))


def analyze(
    data: pd.DataFrame | str | Path,
    *,
    response: str,
    factors: str | Sequence[str],
    seed: str | None = None,
    compare: str | None = None,
    control: Level | None = None,
    rope: float | None = None,
    direction: Direction = "higher",
    chance: float | None = None,
    paired: bool = False,
    primary: Primary = "mean",
) -> OwnAnalysis:
    """Describe the cells of results that were trained elsewhere, and compare the levels of one factor with its control.

    Neither the order of the rows nor that of the columns changes anything, and two calls give the same.

    Args:
        data: one row per run: a DataFrame, or the path of a CSV file (``read_rows`` says which).
        response: the column with the number that is analysed.
        factors: the columns whose levels make the cells; in one text they are separated by commas.
        seed: the column of the seeds; without it a run that is there twice goes unnoticed.
        compare: the compared factor; by default the one that has the control among its levels.
        control: its level that the others are compared with; by default ``none``, written in any case.
        rope: half-width of practical equivalence; by default 0.005 for accuracies, otherwise 0: only the sign counts.
        direction: whether a ``higher`` or a ``lower`` response is better.
        chance: the accuracy of guessing: runs not above 1.1 times it count as collapsed. Without it none do.
        paired: whether runs of one seed are a block, as where the seed decided the split.
        primary: the estimand that decides: the ``mean`` of all runs, of those that ``trained``, or the ``median``.

    Raises:
        UserError: naming the row and what is wrong with it, or the option.
    """
    declared = _declare(
        response=response,
        factors=factors,
        seed=seed,
        compare=compare,
        control=control,
        rope=rope,
        direction=direction,
        chance=chance,
        paired=paired,
        primary=primary,
    )
    rows = read_rows(data, declared.columns)
    values = responses(rows, response)
    if declared.accuracy:
        _refuse_percent(rows, response, values)
        declared = replace(declared, design=replace(declared.design, bounds=_bounds(response, values)))
    found = {factor: levels(rows, factor) for factor in declared.factors}
    seeds = levels(rows, declared.seed) if declared.seed else None
    if seeds is not None:
        _refuse_duplicates(rows, found, seeds, declared)
    compared, against = _compared(rows, found, declared)
    order = {factor: _ordered(column, against if factor == compared else None) for factor, column in found.items()}
    cells = _cells(values, found, seeds, order, declared.chance)
    pairs = declared_pairs(order[compared], against)
    if declared.design.paired and seeds is not None:
        _refuse_unpaired(rows, found, seeds, compared, pairs)
    rng = np.random.default_rng(_PERMUTATION_SEED)
    analysis = analyse(cells, compared, pairs, declared.design, rng, collapse_looked_for=chance is not None)
    warnings = (*_assumed(declared, rope), *analysis.warnings)
    return OwnAnalysis(response, declared.factors, compared, against, replace(analysis, warnings=warnings))


def _declare(
    *,
    response: str,
    factors: str | Sequence[str],
    seed: str | None,
    compare: str | None,
    control: Level | None,
    rope: float | None,
    direction: Direction,
    chance: float | None,
    paired: bool,
    primary: Primary,
) -> _Declared:
    """Check what is asked for as far as that goes without the runs, and fill in the defaults."""
    names = [name.strip() for name in factors.split(",")] if isinstance(factors, str) else list(factors)
    _check_columns(response, names, seed, compare)
    for name, value, allowed in (("direction", direction, Direction), ("primary", primary, Primary)):
        if value not in get_args(allowed):
            raise UserError(f'{name} must be {" or ".join(get_args(allowed))}, got "{value}"')
    if rope is not None and not (math.isfinite(rope) and rope >= 0):
        raise UserError(f"rope must be a finite number >= 0, got {rope:g}")
    if chance is not None:
        _check_chance(chance, direction)
    if primary == "trained" and chance is None:
        raise UserError("primary trained needs chance: without it no run counts as collapsed")
    if paired and seed is None:
        raise UserError("paired needs the seeds: name their column with seed")
    accuracy = chance is not None or bool(_ACCURACY.search(response.lower()))
    width = rope if rope is not None else ACCURACY_ROPE if accuracy else 0.0
    design = Design(direction=direction, rope=width, primary=primary, paired=paired)
    return _Declared(response, tuple(names), seed, compare, control, design, chance, accuracy)


def _check_columns(response: str, factors: Sequence[str], seed: str | None, compare: str | None) -> None:
    for role, names in (("factors", factors), ("response", [response]), ("seed", [seed or "-"])):
        if not names or not all(names):
            raise UserError(f"{role} must name a column, got nothing")
    for name in factors:
        if factors.count(name) > 1:
            raise UserError(f"factors name {name} twice; keep one of them")
        if name in {response, seed}:
            role = "response" if name == response else "seed"
            raise UserError(f"{name} is the {role} and a factor as well; take it out of one of them")
    if seed == response:
        raise UserError(f"{seed} is the response and the seed as well; take it out of one of them")
    if compare is not None and compare not in factors:
        raise UserError(f'compare: "{compare}" is not one of the factors{suggestion(compare, factors)}')


def _check_chance(chance: float, direction: Direction) -> None:
    if not 0 < chance < 1:
        raise UserError(f"chance must be between 0 and 1, got {chance:g}; it is the accuracy of guessing, e.g. 0.1")
    if chance * COLLAPSE_MARGIN >= 1:
        raise UserError(f"chance {chance:g}: runs up to {COLLAPSE_MARGIN} times it count as collapsed, which is all")
    if direction == "lower":
        raise UserError("chance is the accuracy of guessing, of which more is better; leave out chance or lower")


def _refuse_percent(rows: Rows, response: str, values: Sequence[float]) -> None:
    """Refuse accuracies above 1, naming the first, and the first that is not, where the scales are mixed."""
    above = [row for row, value in enumerate(values) if value > 1 + 1e-9]
    if not above:
        return
    below = [row for row, value in enumerate(values) if 0 < value <= 1]
    mixed = f", but that of {rows.names[below[0]]} is {values[below[0]]:g}: a mix of scales" if below else ""
    value = values[above[0]]
    raise rows.refuse(
        above[0],
        f"{response} {value:g} is above 1{mixed}; accuracies in percent must be divided by 100 ({value / 100:g})",
    )


def _bounds(response: str, values: Sequence[float]) -> tuple[float, float]:
    """Return what an accuracy can be; none for a difference of accuracies."""
    difference = _OF_ACCURACIES.search(response.lower()) or min(values) < 0
    return (-math.inf, math.inf) if difference else (0.0, 1.0)


def _refuse_duplicates(
    rows: Rows, found: Mapping[str, Sequence[Level]], seeds: Sequence[Level], declared: _Declared
) -> None:
    """Refuse two runs of the same levels and seed, and name a column that tells them apart."""
    first: dict[tuple[Level, ...], int] = {}
    for row, key in enumerate(zip(*found.values(), seeds, strict=True)):
        earlier = first.setdefault(key, row)
        if earlier == row:
            continue
        others = [
            name
            for name, column in rows.columns.items()
            if name and name not in declared.columns and column[row] != column[earlier]
        ]
        same = place_text({**dict(zip(found, key, strict=False)), str(declared.seed): key[-1]})
        hint = f"; they differ in {others[0]}: is it a factor?" if others else "; leave one of them out"
        raise rows.refuse(row, f"is a duplicate of {rows.names[earlier]}, both {same}{hint}")


def _compared(rows: Rows, found: Mapping[str, Sequence[Level]], declared: _Declared) -> tuple[str, Level]:
    """Return the compared factor and its control."""
    wanted = _CONTROL if declared.control is None else declared.control
    among = [declared.compare] if declared.compare else list(found)
    controls = {factor: _matching(found[factor], wanted) for factor in among}
    having = [factor for factor in among if controls[factor]]
    if not having:
        known = [str(level) for factor in among for level in _ordered(found[factor])]
        where = declared.compare or "any factor"
        mend = suggestion(str(wanted), known) if declared.control is not None else _name_one(declared, known)
        raise UserError(f'{rows.place}: control "{wanted}" is not a level of {where}{mend}')
    if len(having) > 1:
        both = " and ".join(having)
        raise UserError(f'{rows.place}: {both} have the level "{wanted}"; say which is compared: compare {having[0]}')
    factor = having[0]
    if len(controls[factor]) > 1:
        written = " and ".join(map(str, controls[factor]))
        raise UserError(f"{rows.place}: {factor} has the levels {written}; say which is the control")
    if len(set(found[factor])) == 1:
        raise UserError(f"{rows.place}: {factor} has one level only, {controls[factor][0]}: nothing to compare with it")
    return factor, controls[factor][0]


def _name_one(declared: _Declared, known: Sequence[str]) -> str:
    what = "the control" if declared.compare or len(declared.factors) == 1 else "the compared factor and its control"
    return f"; name {what} (levels: {', '.join(known)})"


def _matching(column: Sequence[Level], wanted: Level) -> list[Level]:
    """Return the levels that are meant: the very level, else those that differ from it in case only."""
    ordered = _ordered(column)
    meant = {wanted, read_level(wanted)} if isinstance(wanted, str) else {wanted}
    return [level for level in ordered if level in meant] or [
        level for level in ordered if str(level).casefold() == str(wanted).casefold()
    ]


def _ordered(column: Sequence[Level], first: Level | None = None) -> list[Level]:
    """Return the levels of a column, numbers before texts, one of them first."""

    def place(level: Level) -> tuple[bool, bool, float, str]:
        text = isinstance(level, str)
        return level != first, text, 0.0 if isinstance(level, str) else float(level), str(level)

    return sorted(set(column), key=place)


def _cells(
    values: Sequence[float],
    found: Mapping[str, Sequence[Level]],
    seeds: Sequence[Level] | None,
    order: Mapping[str, Sequence[Level]],
    chance: float | None,
) -> list[Cell]:
    """Return the cells by their levels, their runs by seed and value: nothing is left of the order of the rows."""
    numbers = {level: number for number, level in enumerate(_ordered(seeds or []))}
    runs: dict[tuple[Level, ...], list[tuple[int, float]]] = {}
    for row, key in enumerate(zip(*found.values(), strict=True)):
        runs.setdefault(key, []).append((numbers[seeds[row]] if seeds else 0, values[row]))
    places = {factor: {level: place for place, level in enumerate(each)} for factor, each in order.items()}
    cells = []
    for key in sorted(runs, key=lambda key: [places[factor][level] for factor, level in zip(order, key, strict=True)]):
        of_seed, x = zip(*sorted(runs[key]), strict=True)
        collapsed = None if chance is None else [value <= chance * COLLAPSE_MARGIN for value in x]
        cells.append(Cell(dict(zip(order, key, strict=True)), sample(x, collapsed, of_seed if seeds else None)))
    return cells


def _refuse_unpaired(
    rows: Rows,
    found: Mapping[str, Sequence[Level]],
    seeds: Sequence[Level],
    compared: str,
    pairs: Sequence[tuple[Level, Level]],
) -> None:
    """Refuse the first run whose seed the cell it is paired with has not; a cell without runs is told of elsewhere."""
    runs = [dict(zip(found, key, strict=True)) for key in zip(*found.values(), strict=True)]
    seeds_of: dict[frozenset[tuple[str, Level]], set[Level]] = {}
    for levels_of_run, seed in zip(runs, seeds, strict=True):
        seeds_of.setdefault(frozenset(levels_of_run.items()), set()).add(seed)
    partners = [(a, b) for pair in pairs for a, b in (pair, pair[::-1])]
    for row, levels_of_run in enumerate(runs):
        for level, other in partners:
            partner = {**levels_of_run, compared: other}
            known = seeds_of.get(frozenset(partner.items()))
            if levels_of_run[compared] == level and known and seeds[row] not in known:
                raise rows.refuse(
                    row,
                    f"seed {seeds[row]} of {place_text(levels_of_run)} is not among those of {place_text(partner)}; "
                    "paired cells need the same seeds",
                )


def _assumed(declared: _Declared, rope: float | None) -> list[str]:
    """Say what was decided in the user's place."""
    said = []
    if rope is None and declared.accuracy:
        said.append(f"rope was not given: {ACCURACY_ROPE} is taken, the default for accuracies")
    if rope is None and not declared.accuracy:
        said.append("rope was not given: only the sign of differences is judged, and nothing can be equivalent")
    if declared.chance is not None:
        bound = f"{declared.chance * COLLAPSE_MARGIN:g} ({COLLAPSE_MARGIN} x chance)"
        said.append(f"runs not above {bound} count as collapsed: the number of judged images is unknown")
    if declared.seed is None:
        said.append("there is no column of seeds: a run that is there twice goes unnoticed")
    return said
