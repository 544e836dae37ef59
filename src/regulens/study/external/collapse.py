"""Which runs failed to train: by a column, by a bound that was declared, or by the accuracy of guessing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from regulens.errors import UserError
from regulens.stats.ties import ROUNDING
from regulens.stats.verdicts import Direction
from regulens.study.external.options import COLLAPSE_MARGIN, Options
from regulens.study.external.problems import Problem, named_rows
from regulens.study.external.scale import Response, named_accuracy
from regulens.study.external.values import is_missing
from regulens.study.own_rows import Rows

COLLAPSED = "collapsed"
"""The column in which Regulens' own results say which runs collapsed."""

_TRUTH = {"true": True, "yes": True, "1": True, "1.0": True, "false": False, "no": False, "0": False, "0.0": False}


@dataclass(frozen=True)
class Failures:
    """Which rows are of runs that failed to train, whatever their response, and what is to be said of how that is told.

    ``of_rows`` is None where nothing tells.
    """

    of_rows: tuple[bool, ...] | None
    notes: tuple[str, ...] = ()


def marked_failures(rows: Rows, options: Options) -> Failures:
    """Return the runs that a column says collapsed or diverged: the one named, else one called ``collapsed``.

    Raises:
        UserError: naming the rows in which the named column is neither true nor false.
    """
    if options.trained_above is not None:
        return Failures(None)
    if options.collapsed is not None:
        return Failures(tuple(_marked(rows, options.collapsed)))
    taken = {*options.factors, *options.responses, options.seed, options.split, options.last_of}
    if COLLAPSED not in rows.columns or COLLAPSED in taken:
        return Failures(None)
    if any(_truth(value) is None for value in rows.columns[COLLAPSED]):
        left = "it has values that are neither true nor false"
        return Failures(None, (f"the column {COLLAPSED} was not used: {left}; name it with --collapsed to see which",))
    said = f"which runs collapsed is taken from the column {COLLAPSED}"
    return Failures(tuple(_marked(rows, COLLAPSED)), (said,))


def telling_response(options: Options) -> str:
    """Return the response by which ``chance`` or ``trained_above`` tells runs that collapsed.

    That is the first; for ``chance`` the first that is named like an accuracy, if any is.
    """
    if options.trained_above is not None or options.chance is None:
        return options.response
    return next((name for name in options.responses if named_accuracy(name)), options.response)


def failures_by_bound(rows: Rows, read: Response, options: Options, direction: Direction) -> Failures:
    """Return the runs that collapsed by the values of the telling response, NaN where there is none.

    Raises:
        UserError: for an accuracy of guessing where less is better, or a bound in points where fractions are meant.
    """
    name = telling_response(options)
    of_all = f", by {name}, in all responses" if len(options.responses) > 1 else ""
    if options.trained_above is not None:
        return _above(rows, read, options.trained_above, direction, (name, of_all))
    if options.chance is None:
        return Failures(None)
    if direction == "lower":
        raise UserError(
            f"chance is the accuracy of guessing, of which more is better, but less of {name} is; omit chance or "
            "direction lower"
        )
    bound = options.chance * COLLAPSE_MARGIN
    said = (
        f"runs not above {bound:g} ({COLLAPSE_MARGIN} times chance) count as collapsed{of_all}: an exact bound needs "
        "the number of evaluated images, which is unknown"
    )
    return Failures(tuple(value <= bound * (1 + ROUNDING) for value in read.values), (said,))


def _above(rows: Rows, read: Response, bound: float, direction: Direction, named: tuple[str, str]) -> Failures:
    """Return the runs that are not beyond a declared bound, or have no value."""
    name, of_all = named
    if read.accuracy and abs(bound) > 1:
        raise UserError(f"trained_above {bound:g} is above 1, and {name} is a fraction; write {bound / 100:g}")
    sign, beyond = (1, "above") if direction == "higher" else (-1, "below")
    flags = tuple(math.isnan(value) or sign * (value - bound) <= abs(bound) * ROUNDING for value in read.values)
    diverged = [row for row, value in enumerate(read.values) if math.isnan(value)]
    unknown = f"; of {named_rows(rows.names, diverged)} {name} is not finite" if diverged else ""
    return Failures(flags, (f"runs not {beyond} {bound:g} count as collapsed{of_all}, as declared{unknown}",))


def without_value(rows: Rows, response: str, failed: Sequence[bool] | None) -> set[int]:
    """Return the rows of runs that failed to train and have no finite response: they diverged."""
    if failed is None:
        return set()
    return {row for row, value in enumerate(rows.columns[response]) if failed[row] and not_finite(value)}


def not_finite(value: object) -> bool:
    """Tell whether a value is missing, infinite or NaN; a text that is no number at all is not."""
    if is_missing(value):
        return True
    try:
        return not math.isfinite(float(str(value)))
    except ValueError:
        return False


def _marked(rows: Rows, column: str) -> list[bool]:
    broken = {problem.row for problem in rows.problems}
    truths: Mapping[int, bool | None] = {row: _truth(value) for row, value in enumerate(rows.columns[column])}
    problems = [
        Problem(row, f'{column} "{rows.columns[column][row]}" is neither true nor false')
        for row, truth in truths.items()
        if truth is None and row not in broken
    ]
    if problems:
        raise rows.refuse_all(problems)
    return [bool(truth) for truth in truths.values()]


def _truth(value: object) -> bool | None:
    return _TRUTH.get(str(value).strip().lower())
