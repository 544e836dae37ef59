"""Rows of a file or DataFrame as runs: checked, with levels, blocks, responses, and which of them failed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from regulens.errors import UserError
from regulens.spec import OTHER_NAMES
from regulens.stats.analysis import declared_pairs
from regulens.stats.contrasts import Level
from regulens.stats.verdicts import Direction
from regulens.study.external.collapse import (
    Failures,
    failures_by_bound,
    marked_failures,
    not_finite,
    telling_response,
    without_value,
)
from regulens.study.external.costs import cost_problems
from regulens.study.external.datasets import refuse_datasets
from regulens.study.external.directions import usual_direction
from regulens.study.external.finished import OWN_COLUMNS, UnfinishedError, finished_runs
from regulens.study.external.levels import level_problems, levels, matching, ordered, seed_problems
from regulens.study.external.logs import last_of_runs, refuse_logs
from regulens.study.external.options import Asked, Options
from regulens.study.external.scale import Response, response_on_scale
from regulens.study.external.table import compared_factor, refuse_duplicates, refuse_unpaired
from regulens.study.external.values import response_problems
from regulens.study.own_rows import Rows, read_rows


@dataclass(frozen=True, eq=False)
class Runs:
    """The rows that are runs, as cells have them.

    Attributes:
        rows: the finished runs.
        options: what is asked for.
        levels: of each factor, one of each row.
        blocks: of each row, the split or else the seed; None where neither is known.
        order: the levels of each factor.
        factor: the compared one.
        control: its level that the others are compared with; None where there is none.
        responses: of each row, by column; NaN where a run diverged.
        failures: which runs failed to train.
        notes: on what was decided in the user's place.
    """

    rows: Rows
    options: Options
    levels: dict[str, list[Level]]
    blocks: list[Level] | None
    order: dict[str, list[Level]]
    factor: str
    control: Level | None
    responses: Mapping[str, Response]
    failures: Failures
    notes: tuple[str, ...]

    @property
    def pairs(self) -> list[tuple[Level, Level]]:
        """The pairs of levels that are compared."""
        asked = self.options.comparisons
        if isinstance(asked, str):
            return declared_pairs(self.order[self.factor], self.control, asked)
        pairs = [self._pair(a, b) for a, b in asked]
        for a, b in pairs:
            if pairs.count((a, b)) + pairs.count((b, a)) > 1:
                raise UserError(f"comparisons: {a} and {b} are compared twice; name each pair once")
        return pairs

    def direction(self, asked: Asked) -> Direction:
        """Return which values of a response are better: as asked for, else by its name."""
        return asked.direction or usual_direction(asked.response)

    def _pair(self, *named: Level) -> tuple[Level, Level]:
        found = []
        for level in named:
            meant = matching(self.order[self.factor], level)
            if len(meant) != 1:
                known = ", ".join(map(str, self.order[self.factor]))
                raise UserError(f"comparisons: {level} is not a level of {self.factor}; it has {known}")
            found += meant
        a, b = found
        if a == b:
            raise UserError(f"comparisons: {a} is compared with itself; name two levels of {self.factor}")
        return a, b


def read_runs(data: pd.DataFrame | str | Path, options: Options) -> Runs:
    """Read results from elsewhere.

    Raises:
        UserError: naming the rows and what is wrong with them, or the option.
    """
    rows, options = _read(data, options)
    rows = _finished(rows, options)
    marked = marked_failures(rows, options)
    _refuse_wrong_values(rows, options, marked)
    first = _first_response(rows, options, marked)
    failures = marked if marked.of_rows is not None else _by_bound(rows, options, first)
    failures = replace(failures, notes=(*(marked.notes if failures is not marked else ()), *failures.notes))
    responses = {each.response: _response(rows, options, each, failures, first) for each in options.asked}
    columns = {factor: levels(rows, factor) for factor in options.factors}
    found = {factor: list(column.of_rows) for factor, column in columns.items()}
    blocks = _blocks(rows, found, options)
    factor, control = compared_factor(rows, found, options)
    refuse_datasets(rows.place, options.datasets, factor, found)
    order = {name: ordered(column, control if name == factor else None) for name, column in found.items()}
    notes = tuple(note for column in columns.values() for note in column.notes)
    runs = Runs(rows, options, found, blocks, order, factor, control, responses, failures, notes)
    if options.design.paired and blocks is not None:
        refuse_unpaired(rows, found, blocks, factor, runs.pairs, "split" if options.split else "seed")
    return runs


def _read(data: pd.DataFrame | str | Path, options: Options) -> tuple[Rows, Options]:
    """Read the rows; in a study's own results, a response is known by its other name too."""
    try:
        return read_rows(data, options.columns), options
    except UserError:
        if not OTHER_NAMES.keys() & set(options.responses):
            raise
        other = options.renamed({str(name): str(own) for name, own in OTHER_NAMES.items()})
        with suppress(UserError):
            rows = read_rows(data, other.columns)
            if rows.columns.keys() >= OWN_COLUMNS:
                return rows, other
        raise


def _finished(rows: Rows, options: Options) -> Rows:
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


def _refuse_wrong_values(rows: Rows, options: Options, marked: Failures) -> None:
    """Refuse what does not fit the header, is no number or no level, all in one go.

    Responses other than the one that tells which runs collapsed are seen to when that is known.
    """
    others = (*options.factors, *(name for name in (options.seed, options.split) if name))
    problems = [*rows.problems, *(problem for column in others for problem in level_problems(rows, column))]
    telling = telling_response(options)
    for response in options.responses if marked.of_rows is not None else (telling,):
        empty = _diverged(rows, response, options, marked)
        problems += [each for each in response_problems(rows, response, others) if each.row not in empty]
    problems += seed_problems(rows, options.seed) if options.seed else []
    problems += [problem for column in options.cost for problem in cost_problems(rows, column)]
    if problems:
        raise rows.refuse_all(problems)


def _diverged(rows: Rows, response: str, options: Options, failures: Failures) -> set[int]:
    """Return the rows that may be without a response: a run that diverged has none."""
    if failures.of_rows is None and options.trained_above is not None and response == telling_response(options):
        return {row for row, value in enumerate(rows.columns[response]) if not_finite(value)}
    return without_value(rows, response, failures.of_rows)


def _first_response(rows: Rows, options: Options, marked: Failures) -> Response:
    """Return the response that tells which runs collapsed, where no column does."""
    name = telling_response(options)
    asked = next(each for each in options.asked if each.response == name)
    return _on_scale(rows, asked, _diverged(rows, name, options, marked), accuracy=options.chance is not None)


def _by_bound(rows: Rows, options: Options, first: Response) -> Failures:
    asked = next(each for each in options.asked if each.response == telling_response(options))
    return failures_by_bound(rows, first, options, asked.direction or usual_direction(asked.response))


def _response(rows: Rows, options: Options, asked: Asked, failures: Failures, first: Response) -> Response:
    if asked.response == telling_response(options):
        return first
    others = (*options.factors, *(name for name in (options.seed, options.split) if name))
    empty = without_value(rows, asked.response, failures.of_rows)
    problems = [each for each in response_problems(rows, asked.response, others) if each.row not in empty]
    if problems:
        raise rows.refuse_all(problems)
    return _on_scale(rows, asked, empty, accuracy=False)


def _on_scale(rows: Rows, asked: Asked, empty: set[int], *, accuracy: bool) -> Response:
    """Return the values of a response, NaN in the rows that have none."""
    if len(empty) == len(rows.names):
        raise UserError(
            f"{rows.place}: {asked.response} has no finite value: every run diverged; give another response"
        )
    read = response_on_scale(
        rows.keep([row for row in range(len(rows.names)) if row not in empty]), asked.response, asked.scale, accuracy
    )
    given = iter(read.values)
    return replace(read, values=[math.nan if row in empty else next(given) for row in range(len(rows.names))])


def _blocks(rows: Rows, found: Mapping[str, Sequence[Level]], options: Options) -> list[Level] | None:
    """Return the split of each row, or else its seed; no run may be there twice."""
    seeds = list(levels(rows, options.seed).of_rows) if options.seed else None
    blocks = list(levels(rows, options.split).of_rows) if options.split else seeds
    if seeds is not None:
        within = {**found, options.split: blocks} if options.split and blocks else found
        refuse_duplicates(rows, within, seeds, options)
    return blocks
