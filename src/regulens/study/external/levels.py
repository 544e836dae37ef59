"""The levels of a factor: their types, which of them are one, and which is meant by a text."""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from regulens.stats.contrasts import Level
from regulens.study.external.alike import alike, text_key
from regulens.study.external.problems import Problem
from regulens.study.external.rounding import same_number
from regulens.study.external.values import NUMBER, WHOLE, is_missing, is_number
from regulens.study.own_rows import Rows

_NO_SEEDS = {
    *("na", "n/a", "<na>", "null", "none", "missing", "mean", "average", "avg", "median", "std", "sd", "sem"),
    *("min", "max", "sum", "total", "all"),
}
_EXACT = 2**53  # beyond it not every whole number is a float of its own


@dataclass(frozen=True)
class Levels:
    """The levels of one column.

    Attributes:
        of_rows: the level of each row.
        notes: which levels were joined, and which are suspiciously alike.
    """

    of_rows: list[Level]
    notes: list[str]


def level_problems(rows: Rows, column: str) -> list[Problem]:
    """Return the rows whose level is missing, or of a type that cannot be one."""
    broken = {problem.row for problem in rows.problems}
    wrong = ((row, _wrong(value)) for row, value in enumerate(rows.columns[column]) if row not in broken)
    return [Problem(row, f"{column} {what}", fix) for row, (what, fix) in wrong if what]


def seed_problems(rows: Rows, column: str) -> list[Problem]:
    """Return the rows that have no seed where others have numbers: a missing one, or the word of a summary."""
    values = rows.columns[column]
    if not any(map(is_number, values)):
        return []
    fix = "delete the row, or give it its seed"
    return [
        Problem(row, f'{column} "{value}" is not a seed', fix)
        for row, value in enumerate(values)
        if isinstance(value, str) and value.lower() in _NO_SEEDS
    ]


def levels(rows: Rows, column: str) -> Levels:
    """Return the levels of a column that has no ``level_problems``.

    Texts are read as numbers, or as true and false, only if all of the column are; ``none``, ``None`` and ``NA`` are
    levels like others. Whole numbers are ints, however they are written. Numbers that are equal up to the rounding of
    single, half or double precision are one level.
    """
    found = _typed(rows.columns[column])
    joined = _joined(found)
    notes = [
        f"level {level} of {column} was read as {other}, the same number up to rounding"
        for level, other in joined.items()
        if level != other
    ]
    of_rows = [joined.get(level, level) if _is_number(level) else level for level in found]
    return Levels(of_rows, notes + alike(column, ordered(of_rows)))


def ordered(column: Iterable[Level], first: Level | None = None) -> list[Level]:
    """Return the levels of a column, numbers before texts, one of them first."""

    def place(level: Level) -> tuple[bool, bool, float, str]:
        text = isinstance(level, str)
        return level != first, text, 0.0 if isinstance(level, str) else float(level), str(level)

    return sorted(set(column), key=place)


def matching(column: Iterable[Level], wanted: Level) -> list[Level]:
    """Return the levels that are meant: the very one, else the same number, else the same text, written otherwise."""
    known = ordered(column)
    meant = {wanted, _reader([wanted])(wanted)} if isinstance(wanted, str) else {wanted, str(wanted)}
    ways: tuple[Callable[[Level], bool], ...] = (
        lambda level: level in meant,
        lambda level: any(_is_number(each) and _is_number(level) and same_number(level, each) for each in meant),
        lambda level: str(level).casefold() == str(wanted).casefold(),
        lambda level: text_key(level) == text_key(wanted),
    )
    for fits in ways:
        found = [level for level in known if fits(level)]
        if found:
            return found
    return []


def _wrong(value: object) -> tuple[str, str]:
    """Say what is wrong with a value as a level and what to do, both empty if nothing is."""
    if isinstance(value, str) and is_missing(value):
        return f"is NaN ({value or 'an empty field'})", ""
    if is_missing(value):
        return f"is NaN ({value})", "pandas reads None and NA as missing: read the file with keep_default_na=False"
    if not isinstance(value, str | numbers.Real):
        return f"is a {type(value).__name__}", "a level is a text, a number or true/false"
    infinite = isinstance(value, float | int) and abs(value) > sys.float_info.max
    return (f"is infinite ({value})", "write it as a text") if infinite else ("", "")


def _typed(values: Sequence[object]) -> list[Level]:
    kinds = {str if isinstance(value, str) else bool if isinstance(value, bool) else float for value in values}
    if str in kinds or len(kinds) > 1:  # then all are texts, as they are in a file
        texts = [str(value) for value in values]
        return list(map(_reader(texts), texts))
    return [_native(value) for value in values]


def _reader(texts: Sequence[str]) -> Callable[[str], Level]:
    """Return how the texts of one column are read."""
    if all(text.lower() in {"true", "false"} for text in texts):
        return lambda text: text.lower() == "true"
    if all(NUMBER.fullmatch(text) and math.isfinite(float(text)) for text in texts):
        return lambda text: int(text) if WHOLE.fullmatch(text) else _native(float(text))
    return str


def _native(value: object) -> Level:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    number = float(value)  # type: ignore[arg-type]  # a level is of one of these types: it was checked
    return int(number) if number.is_integer() and abs(number) < _EXACT else number


def _is_number(level: Level) -> TypeGuard[float]:
    return not isinstance(level, bool | str)


def _joined(found: Iterable[Level]) -> dict[Level, Level]:
    """Return for each number the one that stands for all that are the same: whole, else of the fewest digits."""
    groups: list[list[float]] = []
    for level in sorted({level for level in found if not isinstance(level, bool | str)}):
        if groups and same_number(groups[-1][-1], level):
            groups[-1].append(level)
        else:
            groups.append([level])
    return {level: min(group, key=_digits) for group in groups for level in group}


def _digits(level: float) -> tuple[bool, int, float]:
    return not isinstance(level, int), len(repr(level)), level
