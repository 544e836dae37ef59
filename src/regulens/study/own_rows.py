"""Runs that were trained elsewhere, as rows: read from a CSV file or a DataFrame, each row with a name for errors."""

from __future__ import annotations

import codecs
import csv
import io
import math
import numbers
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from regulens.errors import UserError, suggestion
from regulens.stats.analysis import Level

SEPARATORS = (",", ";", "\t", "|")
_EXACT = 2**53  # beyond it not every whole number is a float of its own
_NOT_A_NUMBER = {"", "nan", "na", "n/a", "#n/a", "<na>", "null", "none", "nat", "-"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d+")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Rows:
    """Runs, one per row.

    Attributes:
        place: the file, or what else to call the whole in errors.
        names: what to call each row: ``line 2`` of a file is the first below its header.
        columns: the values of each column, all of them texts if they come from a file.
    """

    place: str
    names: tuple[str, ...]
    columns: dict[str, list[object]]

    def refuse(self, row: int, what: str) -> UserError:
        """Return the error that names a row and what is wrong with it."""
        return UserError(f"{self.place}: {self.names[row]}: {what}")


def read_rows(data: pd.DataFrame | str | Path, wanted: Sequence[str]) -> Rows:
    """Read all columns of a DataFrame, or of a CSV file.

    A file is UTF-8 (or UTF-16 with its mark), its first line names the columns, and its separator is the one of
    ``, ; tab |`` that shows the wanted columns. Wholly empty lines are passed over.

    Args:
        data: the runs, or the path of the file.
        wanted: the columns that must be there, each once.

    Raises:
        UserError: naming the file, and the line or the column.
    """
    if isinstance(data, pd.DataFrame):
        rows = _rows_of_frame(data)
        header = [str(name) for name in data.columns]
    else:
        path = Path(data)
        text = _text(path)
        separator = _separator(text, wanted)
        header, rows = _rows_of_text(path, text, separator)
    for name in wanted:
        if header.count(name) != 1:
            wrong = f'column "{name}" is there twice' if name in header else f'no column "{name}"'
            raise UserError(f"{rows.place}: {wrong}{'' if name in header else suggestion(name, header)}")
    if not rows.names:
        raise UserError(f"{rows.place}: is empty: there is no run in it")
    return rows


def responses(rows: Rows, column: str) -> list[float]:
    """Return the numbers of a column.

    Raises:
        UserError: naming the row and what its value is: NaN, infinite, non-numeric.
    """
    return [_response(rows, row, column, value) for row, value in enumerate(rows.columns[column])]


def levels(rows: Rows, column: str) -> list[Level]:
    """Return the levels of a column with their natural types.

    Texts are read as numbers, or as true and false, only if all of the column are; ``none``, ``None`` and ``NA`` are
    levels like others. Whole numbers are ints, however they are written.

    Raises:
        UserError: naming the row if its level is missing, or of a type that cannot be one.
    """
    values = rows.columns[column]
    for row, value in enumerate(values):
        wrong = _wrong_level(value)
        if wrong:
            raise rows.refuse(row, f"{column} {wrong}")
    texts = [value for value in values if isinstance(value, str)]
    return list(map(_reader(texts), texts)) if len(texts) == len(values) else [_native(value) for value in values]


def read_level(text: str) -> Level:
    """Return a level that stands alone, by the rules of a file's columns."""
    return _reader([text])(text)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        return content.decode(encoding)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}: line {line}: is not UTF-8 text; save it as CSV in UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _separator(text: str, wanted: Sequence[str]) -> str:
    def fit(separator: str) -> tuple[int, int]:
        header = _header(text, separator)
        return sum(name in header for name in wanted), len(header)

    return max(SEPARATORS, key=fit)


def _header(text: str, separator: str) -> list[str]:
    try:
        found = next(filter(any, csv.reader(io.StringIO(text, newline=""), delimiter=separator)), [])
    except csv.Error:
        return []  # the whole is read again, and then told of
    return [name.strip() for name in found]


def _rows_of_text(path: Path, text: str, separator: str) -> tuple[list[str], Rows]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] = []
    names, records = [], []
    line = 1
    try:
        for fields in reader:
            values = [field.strip() for field in fields]
            if any(values):
                if header and len(values) != len(header):
                    hint = "; are these decimal commas?" if separator == "," and len(values) > len(header) else ""
                    wrong = f"line {line}: has {len(values)} fields, the header has {len(header)}{hint}"
                    raise UserError(f"{path}: {wrong}")
                if header:
                    names.append(f"line {line}")
                    records.append(values)
                header = header or values
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}: line {line}: is not valid CSV: {error}") from None
    if not header:
        raise UserError(f"{path}: is empty")
    columns: dict[str, list[object]] = {name: [fields[k] for fields in records] for k, name in enumerate(header)}
    return header, Rows(str(path), tuple(names), columns)


def _rows_of_frame(frame: pd.DataFrame) -> Rows:
    names = tuple(f"row {place} (index {label})" for place, label in enumerate(frame.index, 1))
    columns = {
        str(name): [value.item() if isinstance(value, np.generic) else value for value in frame.iloc[:, place]]
        for place, name in enumerate(frame.columns)
    }
    return Rows("the data", names, columns)


def _response(rows: Rows, row: int, column: str, value: object) -> float:
    if _is_nan(value) or (isinstance(value, str) and value.lower() in _NOT_A_NUMBER):
        found = "an empty field" if value == "" else value
        raise rows.refuse(row, f"{column} is NaN ({found}); leave the run out, or give it the value that it counts for")
    if isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value):
        raise rows.refuse(row, f"{column} {value} has a decimal comma; write {value.replace(',', '.')}")
    if isinstance(value, str) and value.endswith("%") and _NUMBER.fullmatch(value[:-1].strip()):
        raise rows.refuse(row, f"{column} {value} is in percent; write {float(value[:-1]) / 100:g}")
    if isinstance(value, str) and not (_NUMBER.fullmatch(value) or _INFINITE.fullmatch(value)):
        raise rows.refuse(row, f'{column} "{value}" is non-numeric; write a number')
    if not isinstance(value, str | numbers.Real) or isinstance(value, bool):
        raise rows.refuse(row, f"{column} {value!r} is non-numeric; write a number")
    number = float(value)
    if math.isinf(number):
        raise rows.refuse(row, f"{column} is infinite ({value}); leave the run out, or give it what it counts for")
    return number


def _wrong_level(value: object) -> str:
    """Say what is wrong with a value as a level, empty if nothing is."""
    if isinstance(value, str) and not value.strip():
        return "is NaN (an empty field)"
    if isinstance(value, str) and _is_nan(value):
        return f"is NaN ({value})"
    if _is_nan(value):
        return f"is NaN ({value}); pandas takes None and NA for it: read with keep_default_na=False"
    if not isinstance(value, str | numbers.Real):
        return f"is a {type(value).__name__}; a level is a text, a number or true/false"
    return f"is infinite ({value}); write it as a text" if isinstance(value, float) and math.isinf(value) else ""


def _is_nan(value: object) -> bool:
    if isinstance(value, str):
        return value.lower() == "nan"
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def _reader(texts: Sequence[str]) -> Callable[[str], Level]:
    """Return how the texts of one column are read."""
    if all(text.lower() in {"true", "false"} for text in texts):
        return lambda text: text.lower() == "true"
    if all(_NUMBER.fullmatch(text) and math.isfinite(float(text)) for text in texts):
        return lambda text: int(text) if _WHOLE.fullmatch(text) else _native(float(text))
    return str


def _native(value: object) -> Level:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    number = float(value)  # type: ignore[arg-type]  # a level is of one of these types: it was checked
    return int(number) if number.is_integer() and abs(number) < _EXACT else number
