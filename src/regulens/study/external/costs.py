"""Columns of results from elsewhere that say what a run costs: seconds, parameters, operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from regulens.stats.contrasts import Level
from regulens.stats.cost import Cost, cell_cost
from regulens.study.external.names import words
from regulens.study.external.problems import Problem
from regulens.study.external.values import is_number, number, response_problems
from regulens.study.own_rows import Rows

_TIMES = {
    *("time", "times", "second", "seconds", "sec", "secs", "s", "ms", "minute", "minutes", "min", "hour", "hours"),
    *("duration", "runtime", "elapsed", "walltime", "wall"),
}
_WORKERS = "workers"


def cost_problems(rows: Rows, column: str) -> list[Problem]:
    """Return the rows whose cost is no number, or not above zero.

    Raises:
        UserError: if there is no number in the whole column.
    """
    found = response_problems(rows, column)
    wrong = {problem.row for problem in (*found, *rows.problems)}
    values = rows.columns[column]
    return found + [
        Problem(row, f"{column} is {values[row]}", "a cost must be a number above 0")
        for row in range(len(values))
        if row not in wrong and not (is_number(values[row]) and number(values[row]) > 0)
    ]


def costs_of_rows(rows: Rows, columns: Sequence[str], found: Mapping[str, Sequence[Level]]) -> tuple[Cost, ...]:
    """Return what the runs of each cell cost, by these columns.

    Args:
        rows: the runs, without ``cost_problems``.
        columns: of the costs.
        found: each factor's level in each row.
    """
    keys = [frozenset(zip(found, levels, strict=True)) for levels in zip(*found.values(), strict=True)]
    costs = []
    for column in columns:
        values: dict[frozenset[tuple[str, Level]], list[float]] = {}
        for key, value in zip(keys, rows.columns[column], strict=True):
            values.setdefault(key, []).append(number(value))
        caution = _shared_cores(rows) if _TIMES.intersection(words(column)) else ""
        costs.append(Cost(column, {key: cell_cost(each) for key, each in values.items()}, caution))
    return tuple(costs)


def _shared_cores(rows: Rows) -> str:
    """Say that a column ``workers``, as this program's own, has runs that were made at once."""
    counts = [number(value) for value in rows.columns.get(_WORKERS, []) if is_number(value)]
    if not counts or max(counts) <= 1:
        return ""
    return f"up to {max(counts):g} runs were made at once and shared the cores (column {_WORKERS})"
