"""The levels of a factor: their types, which of them are one, and which is meant by a text."""

from __future__ import annotations

import math
import numbers
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from regulens.stats.analysis import Level
from regulens.study.external.problems import Problem
from regulens.study.external.values import NUMBER, is_missing
from regulens.study.own_rows import Rows

_EXACT = 2**53  # beyond it not every whole number is a float of its own
_ROUNDING = 1e-13  # relative, of sums such as 0.1 + 0.2
_NEAR = 1e-2  # relative: more than half precision rounds by
_WHOLE = re.compile(r"[+-]?\d+")
_NUMBER_WITHIN = re.compile(r"(\d+\.?\d*|\.\d+)(e[+-]?\d+)?")
_LOOK_ALIKE = str.maketrans(
    "аеорсухіјѕАВЕКМНОРСТХΑΒΕΖΗΙΚΜΝΟΡΤΥΧο‐‑‒–—−",  # Cyrillic, Greek, dashes
    "aeopcyxijsABEKMHOPCTXABEZHIKMNOPTYXo------",
)


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


def levels(rows: Rows, column: str) -> Levels:
    """Return the levels of a column that has no ``level_problems``.

    Texts are read as numbers, or as true and false, only if all of the column are; ``none``, ``None`` and ``NA`` are
    levels like others. Whole numbers are ints, however they are written. Numbers that are equal up to the rounding of
    single, half or double precision are one level.
    """
    found = _typed(rows.columns[column])
    joined = _joined(found)
    notes = [
        f"level {level} of {column} is read as {other}, the same number but for rounding"
        for level, other in joined.items()
        if level != other
    ]
    of_rows = [joined.get(level, level) if _is_number(level) else level for level in found]
    return Levels(of_rows, notes + _alike(column, ordered(of_rows)))


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
        lambda level: any(_same_number(level, each) for each in meant),
        lambda level: str(level).casefold() == str(wanted).casefold(),
        lambda level: _key(level) == _key(wanted),
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
        return f"is NaN ({value})", "pandas takes None and NA for it: read with keep_default_na=False"
    if not isinstance(value, str | numbers.Real):
        return f"is a {type(value).__name__}", "a level is a text, a number or true/false"
    infinite = isinstance(value, float) and math.isinf(value)
    return (f"is infinite ({value})", "write it as a text") if infinite else ("", "")


def _typed(values: Sequence[object]) -> list[Level]:
    if any(isinstance(value, str) for value in values):  # then all are texts, as they are in a file
        texts = [str(value) for value in values]
        return list(map(_reader(texts), texts))
    return [_native(value) for value in values]


def _reader(texts: Sequence[str]) -> Callable[[str], Level]:
    """Return how the texts of one column are read."""
    if all(text.lower() in {"true", "false"} for text in texts):
        return lambda text: text.lower() == "true"
    if all(NUMBER.fullmatch(text) and math.isfinite(float(text)) for text in texts):
        return lambda text: int(text) if _WHOLE.fullmatch(text) else _native(float(text))
    return str


def _native(value: object) -> Level:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    number = float(value)  # type: ignore[arg-type]  # a level is of one of these types: it was checked
    return int(number) if number.is_integer() and abs(number) < _EXACT else number


def _is_number(level: Level) -> bool:
    return not isinstance(level, bool | str)


def _joined(found: Iterable[Level]) -> dict[Level, Level]:
    """Return for each number the one that stands for all that are the same: whole, else of the fewest digits."""
    groups: list[list[Level]] = []
    for level in sorted({level for level in found if _is_number(level)}, key=float):
        if groups and _same_number(groups[-1][-1], level):
            groups[-1].append(level)
        else:
            groups.append([level])
    return {level: min(group, key=_digits) for group in groups for level in group}


def _digits(level: Level) -> tuple[bool, int, float]:
    return not isinstance(level, int), len(repr(level)), float(level)


def _same_number(a: Level, b: Level) -> bool:
    """Tell whether two numbers are equal up to rounding, whole numbers only if they are equal or summed up."""
    if not (_is_number(a) and _is_number(b)):
        return False
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    x, y = float(a), float(b)
    if math.isclose(x, y, rel_tol=_ROUNDING):
        return True
    if isinstance(a, int) or isinstance(b, int) or not math.isclose(x, y, rel_tol=_NEAR):
        return False
    short, long = sorted((x, y), key=lambda number: len(repr(number)))
    return (_within(x, np.float32) and np.float32(x) == np.float32(y)) or (
        _within(short, np.float16) and long == float(np.float16(short))
    )


def _within(number: float, kind: type[np.float32 | np.float16]) -> bool:
    """Tell whether a number is neither too small nor too large for all digits of a kind."""
    bounds = np.finfo(kind)
    return float(bounds.tiny) < abs(number) < float(bounds.max) / 2


def _alike(column: str, levels: Sequence[Level]) -> list[str]:
    """Warn of levels that are probably one, but are written differently."""
    groups: dict[str, list[Level]] = {}
    for level in levels if any(isinstance(level, str) for level in levels) else ():
        groups.setdefault(_key(level), []).append(level)
    largest = max((abs(float(level)) for level in levels if _is_number(level)), default=0.0)
    nearly = [level for level in levels if _is_number(level) and 0 < abs(float(level)) < largest * np.finfo(float).eps]
    if 0 in levels and nearly:
        groups["0 and nearly 0"] = [0, *nearly]
    return [
        f"levels {_listed(group)} of {column} differ {_how(group)} only: if they are one, write them alike"
        for group in groups.values()
        if len(group) > 1
    ]


def _listed(group: Sequence[Level]) -> str:
    """Return levels in words; if signs look alike, with the codes of those that are not ASCII."""
    texts = [str(level) for level in group]
    visible = all(text.isprintable() and text.translate(_LOOK_ALIKE) == text for text in texts)
    written = [f'"{level}"' if isinstance(level, str) else str(level) for level in group]
    named = written if visible else [ascii(text) for text in texts]
    return f"{', '.join(named[:-1])} and {named[-1]}"


def _how(group: Sequence[Level]) -> str:
    texts = [str(level) for level in group]
    if len({text.casefold() for text in texts}) == 1:
        return "in case"
    if len({"".join(text.split()) for text in texts}) == 1:
        return "in spaces"
    if any(NUMBER.fullmatch(text) for text in texts):
        return "in how a number is written"
    return "in case, spaces, signs or how numbers are written"


def _key(level: Level) -> str:
    """Return what two ways to write one level have in common."""
    text = unicodedata.normalize("NFKC", str(level)).translate(_LOOK_ALIKE).casefold()
    text = "".join(sign for sign in text if unicodedata.category(sign) not in {"Cf", "Cc"} or sign.isspace())
    text = {"true": "1", "false": "0"}.get(text.strip(), text)
    text = re.sub(r"(?<=\d),(?=\d)", ".", text)
    text = re.sub(r"(?<=[^\W\d])[\s_-]+(?=[^\W\d])", "", text)
    return "".join(_NUMBER_WITHIN.sub(_written_number, text).split())


def _written_number(found: re.Match[str]) -> str:
    if _WHOLE.fullmatch(found[0]):
        return found[0].lstrip("0") or "0"
    number = float(found[0])
    return str(np.float32(number)) if number % 1 and _within(number, np.float32) else f"{number:.17g}"
