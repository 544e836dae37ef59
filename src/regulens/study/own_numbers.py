"""Results that were trained elsewhere, one row per run, through the same analysis as those of a study."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from regulens.errors import UserError, suggestion
from regulens.stats.analysis import Analysis, Cell, Level, analyse, declared_pairs
from regulens.stats.comparisons import Design, Direction, Primary
from regulens.stats.cost import Cost
from regulens.stats.samples import sample
from regulens.stats.ties import ROUNDING
from regulens.study.analysis_json import analysis_dict, cells_frame, comparisons_frame
from regulens.study.analysis_text import place_text
from regulens.study.cost_text import cost_records, costs_frame
from regulens.study.external.costs import cost_problems, costs_of_rows
from regulens.study.external.finished import UnfinishedError, finished_runs
from regulens.study.external.levels import level_problems, levels, matching, ordered, seed_problems
from regulens.study.external.logs import last_of_runs, refuse_logs, repeated_runs, what_differs
from regulens.study.external.options import COLLAPSE_MARGIN, Options, checked_options
from regulens.study.external.problems import Problem
from regulens.study.external.scale import Response, Scale, response_on_scale
from regulens.study.external.values import response_problems
from regulens.study.own_rows import Rows, read_rows
from regulens.study.thresholds import rope_warnings

ACCURACY_ROPE = 0.005

_CONTROL = "none"
_PERMUTATION_SEED = 0
_EXPLAINED = 3  # duplicates: no more are shown


@dataclass(frozen=True, eq=False)
class OwnAnalysis:
    """What comes out of ``analyze``.

    Attributes:
        response: the column that was analysed.
        factors: the columns of the factors, the compared one among them.
        compared: the compared factor.
        control: its level that the others are compared with.
        scale: what the response was read as: a ``fraction``, ``percent`` (divided by 100), or ``none`` of these.
        analysis: all numbers, as the statistics give them.
        cost: what a run of each cell costs, by each column that was named for it.
    """

    response: str
    factors: tuple[str, ...]
    compared: str
    control: Level
    scale: Scale
    analysis: Analysis
    cost: tuple[Cost, ...] = ()

    @property
    def costs(self) -> pd.DataFrame:
        """One row per cell: its levels, n and estimate, then median, range and front of each cost; no verdict."""
        return costs_frame(self.analysis, self.cost)

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
        """Return cells, comparisons, claims (there are none), warnings and any costs as JSON has them."""
        costs = {"costs": cost_records(self.analysis, self.cost)} if self.cost else {}
        return analysis_dict(self.analysis) | costs

    def to_json(self) -> str:
        """Return ``as_dict`` as JSON text."""
        return json.dumps(self.as_dict(), indent=1, allow_nan=False)


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
    scale: Scale | None = None,
    last_of: str | None = None,
    cost: str | Sequence[str] | None = None,
) -> OwnAnalysis:
    """Describe the cells of results that were trained elsewhere, and compare the levels of one factor with its control.

    Neither the order of the rows nor that of the columns changes anything, and two calls give the same. Rows of which
    a column says that they are no finished runs (``state``, ``status``, ``exit_code`` ...) are left out, and counted
    in the warnings.

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
        scale: whether the response is a ``fraction`` of 1 such as an accuracy, one in ``percent``, which is divided by
            100 (``rope`` and ``chance`` are fractions always), or ``none`` of these; by default told by the column's
            name, if the values fit.
        last_of: a column such as ``epoch``, if there are several rows per run: of each only the last is analysed.
        cost: the columns of what a run costs, such as ``seconds,parameters``: described, never judged.

    Raises:
        UserError: naming the rows and what is wrong with them, or the option.
    """
    options = checked_options(
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
        scale=scale,
        last_of=last_of,
        cost=cost,
    )
    rows = _runs(read_rows(data, options.columns), options)
    _refuse_wrong_values(rows, options)
    read = response_on_scale(rows, options.response, options.scale, accuracy=options.chance is not None)
    design = _design(options, read)
    columns = {factor: levels(rows, factor) for factor in options.factors}
    found = {factor: column.of_rows for factor, column in columns.items()}
    seeds = levels(rows, options.seed).of_rows if options.seed else None
    if seeds is not None:
        _refuse_duplicates(rows, found, seeds, options)
    compared, against = _compared(rows, found, options)
    order = {factor: ordered(column, against if factor == compared else None) for factor, column in found.items()}
    cells = _cells(read.values, found, seeds, order, options.chance)
    pairs = declared_pairs(order[compared], against)
    if design.paired and seeds is not None:
        _refuse_unpaired(rows, found, seeds, compared, pairs)
    rng = np.random.default_rng(_PERMUTATION_SEED)
    analysis = analyse(cells, compared, pairs, design, rng, collapse_looked_for=options.chance is not None)
    on_levels = [note for column in columns.values() for note in column.notes]
    on_data = (*rows.notes, *read.notes, *on_levels, *repeated_runs(rows, options.runs))
    wide = rope_warnings(options.rope, options.response, read.values, fraction=read.accuracy)
    analysis = replace(analysis, warnings=(*on_data, *_assumed(options, read), *wide, *analysis.warnings))
    costs = costs_of_rows(rows, options.cost, found)
    return OwnAnalysis(options.response, options.factors, compared, against, read.scale, analysis, costs)


def _runs(rows: Rows, options: Options) -> Rows:
    """Return the rows that are finished runs of their own."""
    try:
        rows = finished_runs(rows, options.factors, options.columns)
    except UnfinishedError:
        refuse_logs(rows, options.runs)  # which says more, if they are none because each is an epoch
        raise
    if options.last_of:
        rows = last_of_runs(rows, options.last_of, options.runs)
    refuse_logs(rows, options.runs)
    return rows


def _refuse_wrong_values(rows: Rows, options: Options) -> None:
    """Refuse what does not fit the header, is no number or no level, all in one go."""
    others = (*options.factors, *([options.seed] if options.seed else []))
    problems = [*rows.problems, *response_problems(rows, options.response, others)]
    problems += [problem for column in others for problem in level_problems(rows, column)]
    problems += seed_problems(rows, options.seed) if options.seed else []
    problems += [problem for column in options.cost for problem in cost_problems(rows, column)]
    if problems:
        raise rows.refuse_all(problems)


def _design(options: Options, read: Response) -> Design:
    rope = options.rope if options.rope is not None else ACCURACY_ROPE if read.accuracy else 0.0
    return replace(options.design, rope=rope, bounds=read.bounds)


def _refuse_duplicates(
    rows: Rows, found: Mapping[str, Sequence[Level]], seeds: Sequence[Level], options: Options
) -> None:
    """Refuse runs of the same levels and seed, and say what tells them apart."""
    first: dict[tuple[Level, ...], int] = {}
    problems: list[Problem] = []
    for row, key in enumerate(zip(*found.values(), seeds, strict=True)):
        earlier = first.setdefault(key, row)
        if earlier != row:
            same = place_text({**dict(zip(found, key, strict=False)), str(options.seed): key[-1]})
            what = f"is a duplicate of {rows.names[earlier]}, both {same}"
            fix = what_differs(rows, row, earlier, options.runs) if len(problems) < _EXPLAINED else ""
            problems.append(Problem(row, what, fix))
    if problems:
        raise rows.refuse_all(problems)


def _compared(rows: Rows, found: Mapping[str, Sequence[Level]], options: Options) -> tuple[str, Level]:
    """Return the compared factor and its control."""
    wanted = _CONTROL if options.control is None else options.control
    among = [options.compare] if options.compare else list(found)
    controls = {factor: matching(found[factor], wanted) for factor in among}
    having = [factor for factor in among if controls[factor]]
    if not having:
        known = [str(level) for factor in among for level in ordered(found[factor])]
        where = options.compare or "any factor"
        fix = suggestion(str(wanted), known) if options.control is not None else _name_one(options, known)
        raise UserError(f'{rows.place}: control "{wanted}" is not a level of {where}{fix}')
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


def _name_one(options: Options, known: Sequence[str]) -> str:
    what = "the control" if options.compare or len(options.factors) == 1 else "the compared factor and its control"
    return f"; name {what} (levels: {', '.join(known)})"


def _cells(
    values: Sequence[float],
    found: Mapping[str, Sequence[Level]],
    seeds: Sequence[Level] | None,
    order: Mapping[str, Sequence[Level]],
    chance: float | None,
) -> list[Cell]:
    """Return the cells by their levels, their runs by seed and value: nothing is left of the order of the rows."""
    numbers = {level: number for number, level in enumerate(ordered(seeds or []))}
    runs: dict[tuple[Level, ...], list[tuple[int, float]]] = {}
    for row, key in enumerate(zip(*found.values(), strict=True)):
        runs.setdefault(key, []).append((numbers[seeds[row]] if seeds else 0, values[row]))
    places = {factor: {level: place for place, level in enumerate(each)} for factor, each in order.items()}
    cells = []
    for key in sorted(runs, key=lambda key: [places[factor][level] for factor, level in zip(order, key, strict=True)]):
        of_seed, x = zip(*sorted(runs[key]), strict=True)
        collapsed = None if chance is None else [value <= chance * COLLAPSE_MARGIN * (1 + ROUNDING) for value in x]
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


def _assumed(options: Options, read: Response) -> list[str]:
    """Say what was decided in the user's place."""
    said = []
    if options.rope is None and read.accuracy:
        said.append(f"no equivalence margin (ROPE) was given: the default for accuracies, {ACCURACY_ROPE}, is used")
    if options.rope is None and not read.accuracy:
        said.append(
            "no equivalence margin (ROPE) was given: only the sign of a difference is judged, and nothing can be "
            "called equivalent"
        )
    if options.chance is not None:
        bound = f"{options.chance * COLLAPSE_MARGIN:g} ({COLLAPSE_MARGIN} times chance)"
        said.append(
            f"runs not above {bound} count as collapsed: an exact bound needs the number of evaluated images, which is "
            "unknown"
        )
    elif read.accuracy and options.design.direction == "higher":
        said.append("collapse was not checked: give the chance accuracy (--chance) to detect collapsed runs")
    else:
        said.append("collapse was not checked: it is defined for accuracies only")
    if options.seed is None:
        said.append("no column of seeds was given (--seed): a run that is listed twice goes unnoticed")
    return said
