"""Results that were trained elsewhere, one row per run, through the same analysis as those of a study."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from regulens.errors import UserError
from regulens.spec import OTHER_NAMES
from regulens.stats.analysis import Analysis, analyse, declared_pairs
from regulens.stats.blocks import pairing_advice
from regulens.stats.contrasts import Level
from regulens.stats.cost import Cost
from regulens.stats.design import Design, Primary
from regulens.stats.factorial import FactorAnswers, Layout, answer_factor
from regulens.stats.looks import declared_share
from regulens.stats.verdicts import Direction
from regulens.study.analysis_json import analysis_dict, cells_frame, claims_list, comparisons_frame, effects_list
from regulens.study.claim_results import AnsweredClaim
from regulens.study.contrasts import Factorial
from regulens.study.cost_text import cost_records, costs_frame
from regulens.study.datasets import AcrossSets, across_sets
from regulens.study.datasets_json import datasets_dict
from regulens.study.external.claims import Ground, OwnClaim, judge_claims, read_claims
from regulens.study.external.costs import cost_problems, costs_of_rows
from regulens.study.external.datasets import refuse_datasets, with_datasets
from regulens.study.external.finished import OWN_COLUMNS, UnfinishedError, finished_runs
from regulens.study.external.levels import level_problems, levels, matching, ordered, seed_problems
from regulens.study.external.logs import last_of_runs, refuse_logs, repeated_runs
from regulens.study.external.options import COLLAPSE_MARGIN, Options, checked_options
from regulens.study.external.scale import Response, Scale, response_on_scale
from regulens.study.external.table import (
    cells_of,
    collapsed_column,
    collapsed_rows,
    compared_factor,
    failed_runs,
    refuse_duplicates,
    refuse_unpaired,
    without_value,
)
from regulens.study.external.values import response_problems
from regulens.study.own_rows import Rows, read_rows
from regulens.study.thresholds import rope_warnings

ACCURACY_ROPE = 0.005
ROPE_RATE = 0.05
CLAIMS_SHARE = 0.5
LEVEL = 0.95

_SEED = 0


@dataclass(frozen=True, eq=False)
class OwnAnalysis:
    """What comes out of ``analyze``.

    Attributes:
        response: the column that was analysed.
        factors: the columns of the factors, the compared one among them.
        compared: the compared factor.
        control: its level that the others are compared with; None where pairs of levels are, and there is none.
        scale: what the response was read as: a ``fraction``, ``percent`` (divided by 100), or ``none`` of these.
        analysis: all numbers, as the statistics give them.
        effects: what each factor does, exploratory.
        claims: as they were read, with their verdicts.
        others: the analyses of further responses, by their columns; their comparisons are of the same family.
        datasets_column: the factor whose levels are data sets, ``None`` where none was named.
        cost: what a run of each cell costs, by each column that was named for it.
    """

    response: str
    factors: tuple[str, ...]
    compared: str
    control: Level | None
    scale: Scale
    analysis: Analysis
    effects: tuple[FactorAnswers, ...] = ()
    claims: tuple[AnsweredClaim, ...] = ()
    others: Mapping[str, OwnAnalysis] = field(default_factory=dict)
    datasets_column: str | None = None
    cost: tuple[Cost, ...] = ()

    @cached_property
    def datasets(self) -> AcrossSets | None:
        """Effects pooled over data sets, ranks and profiles; ``None`` where no column of data sets was named."""
        return across_sets(self.analysis, self.datasets_column) if self.datasets_column else None

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

    def as_dict(self) -> dict[str, Any]:
        """Return cells, comparisons, claims, effects and warnings as JSON has them, and those of further responses."""
        judged = {"claims": claims_list(self.claims), "effects": effects_list(self.effects)}
        found = analysis_dict(self.analysis) | judged | datasets_dict(self.datasets)
        if self.cost:
            found |= {"costs": cost_records(self.analysis, self.cost)}
        others = {name: other.as_dict() for name, other in self.others.items()}
        return found | ({"responses": others} if others else {})

    def to_json(self) -> str:
        """Return ``as_dict`` as JSON text."""
        return json.dumps(self.as_dict(), indent=1, allow_nan=False)


def analyze(
    data: pd.DataFrame | str | Path,
    *,
    response: str | Sequence[str],
    factors: str | Sequence[str],
    seed: str | None = None,
    compare: str | None = None,
    control: Level | None = None,
    rope: float | None = None,
    direction: Direction = "higher",
    chance: float | None = None,
    paired: bool = False,
    primary: Primary = "trained",
    scale: Scale | None = None,
    last_of: str | None = None,
    split: str | None = None,
    collapsed: str | None = None,
    trained_above: float | None = None,
    comparisons: Literal["control", "all"] | Sequence[tuple[Level, Level]] = "control",
    claims: str | Path | None = None,
    looks: str | Sequence[int] | None = None,
    over: str | Sequence[str] | None = None,
    test_ratio: float | None = None,
    rope_rate: float = ROPE_RATE,
    datasets: str | None = None,
    cost: str | Sequence[str] | None = None,
) -> OwnAnalysis:
    """Describe the cells of results that were trained elsewhere, and compare the levels of one factor.

    Neither the order of the rows nor that of the columns changes anything, and two calls give the same. Rows of which
    a column says that they are no finished runs (``state``, ``status``, ``exit_code`` ...) are left out, and counted
    in the warnings.

    Args:
        data: one row per run: a DataFrame, or the path of a CSV file (``read_rows`` says which).
        response: the column with the number that is analysed; of several, the comparisons of all are one family. In a
            study's own results ``val_nll`` is ``val_loss``.
        factors: the columns whose levels make the cells; in one text they are separated by commas.
        seed: the column of the seeds; without it a run that is there twice goes unnoticed.
        compare: the compared factor; by default the one that has the control among its levels.
        control: its level that the others are compared with; by default ``none``, written in any case.
        rope: half-width of practical equivalence; by default 0.005 for accuracies, otherwise 0: only the sign counts.
        direction: whether a ``higher`` or a ``lower`` response is better.
        chance: the accuracy of guessing: runs not above 1.1 times it count as collapsed, where no column tells.
        paired: whether runs of one seed are a block, as where the seed decided the split.
        primary: the estimand that decides: the mean of the runs that ``trained``, of all (``mean``), or the ``median``.
        scale: whether the response is a ``fraction`` of 1 such as an accuracy, one in ``percent``, which is divided by
            100 (``rope`` and ``chance`` are fractions always), or ``none`` of these; by default told by the column's
            name, if the values fit.
        last_of: a column such as ``epoch``, if there are several rows per run: of each only the last is analysed.
        split: the column of the split, or another block within which all cells were trained: the runs of one cell in a
            block are averaged, and cells are compared within blocks.
        collapsed: the column of true and false that tells which runs collapsed or diverged; by default one of this
            name. Such a run may have no response.
        trained_above: the response above which a run counts as trained, instead.
        comparisons: each level with the ``control``, ``all`` with each other, or pairs (a, b) of levels.
        claims: the path of a TOML file with ``[[claims]]`` as in a study file, the factors being columns.
        looks: the numbers of seeds at which it was declared to look; the error is divided among them.
        over: what verdicts are about: ``seeds``, or ``seeds,split`` (the default where ``split`` is given).
        test_ratio: judged over training images of a split, which verdicts over splits need.
        rope_rate: half-width of practical equivalence of two collapse rates.
        datasets: the column of the data sets, a factor whether it is among ``factors`` or not: the comparisons are then
            also pooled over data sets, and the levels ranked on them.
        cost: the columns of what a run costs, such as ``seconds,parameters``: described, never judged.

    Raises:
        UserError: naming the rows and what is wrong with them, or the option.
    """
    options = checked_options(
        response=response,
        factors=with_datasets(factors, datasets),
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
        split=split,
        collapsed=collapsed,
        trained_above=trained_above,
        comparisons=comparisons,
        looks=looks,
        over=over,
        test_ratio=test_ratio,
        rope_rate=rope_rate,
        datasets=datasets,
        cost=cost,
    )
    own_claims = [] if claims is None else read_claims(Path(claims))
    rows, options = _read(data, options)
    table = _table(_runs(rows, options), options)
    alpha = (1 - _level(table)) * (1 - CLAIMS_SHARE if own_claims else 1.0) / len(options.responses)
    found = {name: _analysed(name, table, alpha) for name in options.responses}
    judged = _claims(own_claims, table, found)
    first, *rest = found.values()
    return replace(first, claims=judged, others={other.response: other for other in rest})


@dataclass(frozen=True, eq=False)
class _Table:
    """The rows that are runs, as cells have them.

    Attributes:
        rows: the finished runs.
        options: what is asked for.
        levels: of each factor, one of each row.
        blocks: of each row; None where neither seed nor split is known.
        order: the levels of each factor.
        compared: the compared factor, and its control.
        collapsed: which runs a column says collapsed; None where none says so.
        notes: on what was decided in the user's place.
    """

    rows: Rows
    options: Options
    levels: dict[str, list[Level]]
    blocks: list[Level] | None
    order: dict[str, list[Level]]
    compared: tuple[str, Level | None]
    collapsed: list[bool] | None
    notes: tuple[str, ...]

    @property
    def pairs(self) -> list[tuple[Level, Level]]:
        """The pairs of levels that are compared."""
        factor, control = self.compared
        asked = self.options.comparisons
        named = asked if isinstance(asked, str) else [(self._level(a), self._level(b)) for a, b in asked]
        return declared_pairs(self.order[factor], control, named)

    def _level(self, level: Level) -> Level:
        factor, _ = self.compared
        meant = matching(self.order[factor], level)
        if len(meant) != 1:
            known = ", ".join(map(str, self.order[factor]))
            raise UserError(f"comparisons: {level} is not a level of {factor}; it has {known}")
        return meant[0]


def _table(rows: Rows, options: Options) -> _Table:
    marked = collapsed_column(rows, options)
    collapsed = None if marked is None else collapsed_rows(rows, marked)
    _refuse_wrong_values(rows, options, collapsed)
    columns = {factor: levels(rows, factor) for factor in options.factors}
    found = {factor: list(column.of_rows) for factor, column in columns.items()}
    seeds = list(levels(rows, options.seed).of_rows) if options.seed else None
    blocks = list(levels(rows, options.split).of_rows) if options.split else seeds
    if seeds is not None:
        within = found | ({options.split: blocks} if options.split and blocks else {})
        refuse_duplicates(rows, within, seeds, options)
    factor, control = compared_factor(rows, found, options)
    refuse_datasets(rows.place, options.datasets, factor, found)
    order = {name: ordered(column, control if name == factor else None) for name, column in found.items()}
    notes = [note for column in columns.values() for note in column.notes]
    if marked is not None and options.collapsed is None:
        notes.append(f"which runs collapsed is taken from the column {marked}")
    table = _Table(rows, options, found, blocks, order, (factor, control), collapsed, tuple(notes))
    if options.design.paired and blocks is not None:
        refuse_unpaired(rows, found, blocks, factor, table.pairs, "split" if options.split else "seed")
    return table


def _analysed(response: str, table: _Table, alpha: float) -> OwnAnalysis:
    """Return the analysis of one response."""
    options = replace(table.options, responses=(response,))
    rows, accuracy = table.rows, options.chance is not None
    empty = without_value(rows, response, table.collapsed)
    known = rows.keep([row for row in range(len(rows.names)) if row not in empty])
    read = response_on_scale(known, response, options.scale, accuracy=accuracy)
    given = iter(read.values)
    values = [math.nan if row in empty else next(given) for row in range(len(rows.names))]
    failed = failed_runs(values, options, table.collapsed)
    design = replace(_design(options, read), alpha=alpha, rates=failed is not None)
    cells = cells_of(values, failed, table.levels, table.blocks, table.order)
    factor, control = table.compared
    analysis = analyse(cells, factor, table.pairs, design, np.random.default_rng(_SEED))
    on_data = (*rows.notes, *read.notes, *table.notes, *repeated_runs(rows, options.runs))
    wide = rope_warnings(options.rope, response, read.values, fraction=read.accuracy)
    advice = [] if design.paired or options.seed is None else [pairing_advice([each.sample for each in cells])]
    said = (*on_data, *_assumed(options, read, failed is not None), *wide, *filter(None, advice), *analysis.warnings)
    layout = Layout(tuple(table.order), tuple(analysis.data.samples))
    effects = tuple(
        answer_factor(
            layout, name, control if name == factor and control is not None else known[0], analysis.data.primary, LEVEL
        )
        for name, known in table.order.items()
        if len(known) > 1
    )
    return OwnAnalysis(
        response,
        options.factors,
        factor,
        control,
        read.scale,
        replace(analysis, warnings=said),
        effects,
        datasets_column=options.datasets,
        cost=costs_of_rows(rows, options.cost, table.levels),
    )


def _claims(claims: Sequence[OwnClaim], table: _Table, found: Mapping[str, OwnAnalysis]) -> tuple[AnsweredClaim, ...]:
    if not claims:
        return ()
    factorial = Factorial(table.order, lambda at: tuple(at[name] for name in table.order))
    data = {name: each.analysis.data for name, each in found.items()}
    return judge_claims(claims, Ground(factorial, table.compared[0], data), (1 - _level(table)) * CLAIMS_SHARE)


def _level(table: _Table) -> float:
    """Return the simultaneous level of all that is judged: lower errors for each of several looks."""
    looks = table.options.looks
    if not looks:
        return LEVEL
    if table.blocks is None:
        raise UserError("looks are numbers of seeds: name their column with seed")
    seeds = len(set(table.blocks))
    places = math.prod(len(known) for factor, known in table.order.items() if factor != table.compared[0])
    smallest = (1 - LEVEL) * (1 - CLAIMS_SHARE) / (2 * max(1, len(table.pairs) * places)) / 2
    return 1 - (1 - LEVEL) * declared_share(seeds, looks, smallest)


def _read(data: pd.DataFrame | str | Path, options: Options) -> tuple[Rows, Options]:
    """Read the rows; in a study's own results, a response is known by its other name too."""
    try:
        return read_rows(data, options.columns), options
    except UserError:
        if not OTHER_NAMES.keys() & set(options.responses):
            raise
        other = replace(options, responses=tuple(OTHER_NAMES.get(name, name) for name in options.responses))
        with suppress(UserError):
            rows = read_rows(data, other.columns)
            if rows.columns.keys() >= OWN_COLUMNS:
                return rows, other
        raise


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


def _refuse_wrong_values(rows: Rows, options: Options, collapsed: Sequence[bool] | None) -> None:
    """Refuse what does not fit the header, is no number or no level, all in one go."""
    blocks = [name for name in (options.seed, options.split) if name]
    others = (*options.factors, *blocks)
    problems = [*rows.problems, *(problem for column in others for problem in level_problems(rows, column))]
    for response in options.responses:
        empty = without_value(rows, response, collapsed)
        problems += [each for each in response_problems(rows, response, others) if each.row not in empty]
    problems += seed_problems(rows, options.seed) if options.seed else []
    problems += [problem for column in options.cost for problem in cost_problems(rows, column)]
    if problems:
        raise rows.refuse_all(problems)


def _design(options: Options, read: Response) -> Design:
    rope = options.rope if options.rope is not None else ACCURACY_ROPE if read.accuracy else 0.0
    return replace(options.design, rope=rope, bounds=read.bounds, failed=options.chance)


def _assumed(options: Options, read: Response, checked: bool) -> list[str]:
    """Say what was decided in the user's place."""
    said = []
    if options.rope is None and read.accuracy:
        said.append(f"no equivalence margin (ROPE) was given: the default for accuracies, {ACCURACY_ROPE}, is used")
    if options.rope is None and not read.accuracy:
        said.append(
            "no equivalence margin (ROPE) was given: only the sign of a difference is judged, and nothing can be "
            "called equivalent"
        )
    if checked and options.chance is not None and options.collapsed is None and options.trained_above is None:
        bound = f"{options.chance * COLLAPSE_MARGIN:g} ({COLLAPSE_MARGIN} times chance)"
        said.append(
            f"runs not above {bound} count as collapsed: an exact bound needs the number of evaluated images, which is "
            "unknown"
        )
    elif not checked and read.accuracy and options.design.direction == "higher":
        said.append("collapse was not checked: give the chance accuracy (--chance) to detect collapsed runs")
    elif not checked:
        said.append("collapse was not checked: it is defined for accuracies only, unless a column tells (--collapsed)")
    if options.seed is None:
        said.append("no column of seeds was given (--seed): a run that is listed twice goes unnoticed")
    return said
