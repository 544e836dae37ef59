"""Single values: what they are as Python's own, and the numbers of a response."""

from __future__ import annotations

import datetime
import enum
import math
import numbers
import re
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from regulens.study.external.problems import Problem

if TYPE_CHECKING:
    from regulens.study.own_rows import Rows

TRUTH = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False, "1.0": True, "0.0": False}
"""What columns of true and false hold, in lower case."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
WHOLE = re.compile(r"[+-]?\d+")
_MISSING = {"", "nan", "na", "n/a", "#n/a", "<na>", "null", "none", "nat", "missing", "-"}
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?( ?%)?")
_GROUPS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(\.\d*)?|[+-]?\d{1,3}(?:['’_ \u00a0\u2009\u202f]\d{3})+([.,]\d*)?")
_GROUPS_OF_POINTS = re.compile(r"[+-]?\d{1,3}(?:\.\d{3})+,\d+|[+-]?\d{1,3}(?:\.\d{3}){2,}")
_POINT_AND_THREE = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")
_THREE_DIGITS = re.compile(r"[+-]?[1-9]\d{2}")
_MEANT_BY_POINT = "write the one that is meant: a point may separate thousands or decimals (then as in 985.000)"
_LEAVE_OUT = "a run that diverged counts: mark it true in a column named with --collapsed; delete what is no run"
_AS_TEXT = (datetime.date, datetime.time, datetime.timedelta, pd.Interval, pd.Period)


def plain(value: object) -> object:
    """Return a value of numpy, pandas, torch or the standard library as a text, a number or a truth value.

    What is none of them is returned as it is. Single and half precision become the number with the fewest digits that
    means the same, as a file would have it; dates, intervals and enumerations become texts.
    """
    if isinstance(value, str):
        return str.__str__(value).strip()
    if value is pd.NaT or value is pd.NA:
        return None
    if getattr(value, "ndim", None) == 0:
        value = _scalar(value)
    if isinstance(value, np.generic):
        value = float(str(value)) if isinstance(value, np.floating) else value.item()
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, _AS_TEXT):
        text = str(value)
        return text.removesuffix(" 00:00:00") if isinstance(value, datetime.datetime) else text
    return _float(value) if isinstance(value, Decimal | numbers.Real) and not isinstance(value, int) else value


def is_missing(value: object) -> bool:
    """Tell whether a value is NaN, ``None`` or an empty text; a text such as ``none`` is a text."""
    if isinstance(value, str):
        return not value.strip() or value.lower() == "nan"
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def is_number(value: object) -> bool:
    """Tell whether a value is a finite number, or the text of one."""
    if isinstance(value, str):
        return bool(NUMBER.fullmatch(value)) and math.isfinite(float(value))
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(_float(value))


def number(value: object) -> float:
    """Return a value that ``is_number``, or one in percent as it is written, without its sign."""
    return _float(value.rstrip("% ") if isinstance(value, str) else value)


def in_percent(value: object) -> bool:
    """Tell whether a value is a number with a percent sign."""
    return isinstance(value, str) and value.endswith("%") and is_number(value[:-1].strip())


def response_problems(rows: Rows, column: str, others: Collection[str] = ()) -> list[Problem]:
    """Return the rows whose response is NaN, infinite or no number.

    Args:
        rows: the runs.
        column: of the response.
        others: the columns that are no response, as they are factors or seeds.

    Raises:
        UserError: if there is no number in the whole column.
    """
    values = rows.columns[column]
    broken = {problem.row for problem in rows.problems}
    read = [row for row in range(len(values)) if row not in broken]
    if read and not any(_has_digits(values[row]) for row in read):
        raise rows.refuse(read[0], _no_number(rows, column, read, others))
    unsigned = [abs(number(values[row])) for row in read if is_number(values[row])]
    found = []
    if _points_may_separate_thousands([values[row] for row in read]):
        of_three = [row for row in read if "." in str(values[row])]
        return [Problem(row, f"{column} {_either(str(values[row]))}", _MEANT_BY_POINT) for row in of_three]
    for row in read:
        wrong = _in_percent(values[row], unsigned) if in_percent(values[row]) else _wrong(values[row])
        if wrong:
            found.append(Problem(row, f"{column} {wrong[0]}", wrong[1]))
    return found


def _points_may_separate_thousands(values: Sequence[object]) -> bool:
    """Tell whether values are whole numbers of three digits, and others with three behind a point: 985 and 1.021."""
    texts = [value for value in values if isinstance(value, str)]
    pointed = [text for text in texts if _POINT_AND_THREE.fullmatch(text)]
    whole = [text for text in texts if _THREE_DIGITS.fullmatch(text)]
    return bool(pointed and whole) and len(pointed) + len(whole) == len(values)


def _either(text: str) -> str:
    return f"{text} may be {text.replace('.', '')} or {text}"


def _no_number(rows: Rows, column: str, read: Sequence[int], others: Collection[str]) -> str:
    values = list(dict.fromkeys(str(rows.columns[column][row]) for row in read))
    first = _quoted(rows.columns[column][read[0]])
    if all(is_missing(rows.columns[column][row]) for row in read):
        what = f"column {column} has no values"
    else:
        others_there = len(values) - 1
        more = f", and {others_there} other value{'s' * (others_there > 1)}" if others_there else ""
        what = f"column {column} is not numeric: {first} here{more}"
    left = {name: values for name, values in rows.columns.items() if name and name not in others}
    numeric = [name for name, values in left.items() if all(is_number(values[row]) for row in read)]
    known = f"; numeric columns: {', '.join(numeric)}" if numeric else ""
    return "; ".join([what + known, *rows.notes])


def _has_digits(value: object) -> bool:
    """Tell whether a value is a number in any notation, also one that is refused."""
    if isinstance(value, str):
        forms = (NUMBER, _INFINITE, _DECIMAL_COMMA, _GROUPS, _GROUPS_OF_POINTS)
        return any(form.fullmatch(value.rstrip("% ")) for form in forms) or value.lower() == "nan"
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and not is_missing(value)


def _in_percent(value: object, unsigned: Sequence[float]) -> tuple[str, str] | None:
    """Say what is wrong with a percent sign if other values have none: they may be fractions, or percentages too."""
    if not unsigned:
        return None
    if max(unsigned) <= 1:
        return f"{value} is in percent", f"write {number(value) / 100:g}"
    return f"{value} has a percent sign, others have none", "write all with a percent sign, or all without"


def _wrong(value: object) -> tuple[str, str] | None:
    """Say what is wrong with a value as a response, and what to do."""
    if is_missing(value) or (isinstance(value, str) and value.lower() in _MISSING):
        return f"is NaN ({'an empty field' if value == '' else value})", _LEAVE_OUT
    if is_number(value):
        return None
    if isinstance(value, str):
        return _wrong_text(value)
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return f"is infinite ({value})", _LEAVE_OUT
    return f"{value!r} is non-numeric", "write a number"


def _wrong_text(text: str) -> tuple[str, str]:
    if NUMBER.fullmatch(text) or _INFINITE.fullmatch(text):
        return f"is infinite ({text})", _LEAVE_OUT
    if _EITHER.fullmatch(text):
        either = f"{text.replace(',', '')} or {text.replace(',', '.')}"
        return f"{text} may be {either}", "write the one that is meant: a comma may separate thousands or decimals"
    if _DECIMAL_COMMA.fullmatch(text):
        return f"{text} has a decimal comma", f"write {text.replace(',', '.')}"
    if _GROUPS.fullmatch(text):
        return f"{text} has thousands separators", f"write {_ungrouped(text)}"
    if _GROUPS_OF_POINTS.fullmatch(text):
        return f"{text} has thousands separators", f"write {text.replace('.', '').replace(',', '.')}"
    return f'"{text}" is non-numeric', "write a number"


def _ungrouped(text: str) -> str:
    separator = re.search(r"(?<=\d)[,'’_ \u00a0\u2009\u202f](?=\d{3})", text)
    return text.replace(separator[0] if separator else "", "").replace(",", ".")


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _scalar(value: object) -> object:
    """Return what a 0-dimensional array or tensor holds; that of numpy keeps its precision."""
    if isinstance(value, np.ndarray):
        return value[()]
    if isinstance(value, np.generic):
        return value
    item = getattr(value, "item", None)
    return item() if callable(item) else np.asarray(value)[()]


def _float(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # a number of some type, or its text
    except OverflowError:
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]  # a number beyond floats
    except ValueError:
        return math.nan  # a signalling NaN
