"""Runs that were trained elsewhere, as rows: read from a CSV file or a DataFrame, each row with a name for errors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from regulens.errors import UserError, suggestion
from regulens.study.external.csv_text import header_hint, read_table
from regulens.study.external.problems import Problem, refusal
from regulens.study.external.values import plain


@dataclass(frozen=True, eq=False)
class Rows:
    """Runs, one per row.

    Attributes:
        place: the file, or what else to call the whole in errors.
        names: what to call each row: ``line 2`` of a file is the first below its header.
        columns: the values of each column, all of them texts if they come from a file.
        problems: the rows that do not fit the header of their file; all their values are empty.
        notes: what was passed over while reading.
    """

    place: str
    names: tuple[str, ...]
    columns: dict[str, list[object]]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    def refuse(self, row: int, what: str) -> UserError:
        """Return the error that names a row and what is wrong with it."""
        return UserError(f"{self.place}: {self.names[row]}: {what}")

    def refuse_all(self, problems: Sequence[Problem]) -> UserError:
        """Return the error that names the first rows that are wrong, and counts the others."""
        return refusal(self.place, self.names, problems)

    def key(self, row: int, columns: Sequence[str]) -> tuple[str, ...]:
        """Return what a row has in some columns, as texts: what equal rows share, whatever else is wrong with them."""
        return tuple(str(self.columns[name][row]) for name in columns)

    def keep(self, kept: Sequence[int]) -> Rows:
        """Return some of the rows, in their order."""
        new = {row: number for number, row in enumerate(kept)}
        return replace(
            self,
            names=tuple(self.names[row] for row in kept),
            columns={name: [column[row] for row in kept] for name, column in self.columns.items()},
            problems=tuple(replace(each, row=new[each.row]) for each in self.problems if each.row in new),
        )


def read_rows(data: pd.DataFrame | str | Path, wanted: Sequence[str]) -> Rows:
    """Read all columns of a DataFrame, or of a CSV file (``read_table`` says which).

    A DataFrame is read as the file that ``to_csv`` writes of it: spaces around texts do not count, single-precision
    numbers are those with the fewest digits that mean them, and a named index is a column. Decimals, 0-dimensional
    arrays and tensors are numbers.

    Args:
        data: the runs, or the path of the file.
        wanted: the columns that must be there, each once.

    Raises:
        UserError: naming the file, and the line or the column.
    """
    if isinstance(data, pd.DataFrame):
        header, rows = _rows_of_frame(data)
        hint = ""
    elif isinstance(data, str | os.PathLike):
        table = read_table(Path(data), wanted)
        header = table.header
        columns: dict[str, list[object]] = {name: [each[k] for each in table.records] for k, name in enumerate(header)}
        rows = Rows(str(data), tuple(table.names), columns, tuple(table.problems), tuple(table.notes))
        hint = header_hint(header)
    else:
        raise UserError(f"data must be a DataFrame or the path of a CSV file, got {_kind(data)}")
    for name in wanted:
        if header.count(name) != 1:
            wrong = f'column "{name}" is there twice' if name in header else f'no column "{name}"'
            raise UserError(f"{rows.place}: {wrong}{'' if name in header else hint or suggestion(name, header)}")
    if not rows.names:
        raise UserError(f"{rows.place}: is empty: there is no run in it")
    return rows


def _kind(data: object) -> str:
    kind = type(data)
    if callable(getattr(data, "to_pandas", None)):
        return f"a {kind.__module__.partition('.')[0]} {kind.__name__}; give its .to_pandas()"
    return "None" if data is None else f"a {kind.__name__}; pandas.DataFrame(...) makes a table of many things"


def _rows_of_frame(frame: pd.DataFrame) -> tuple[list[str], Rows]:
    names = tuple(f"row {place} (index {label})" for place, label in enumerate(frame.index, 1))
    columns = [(name, frame.iloc[:, place]) for place, name in enumerate(frame.columns)]
    header = [str(name).strip() for name, _ in columns]
    indexed = [
        (str(name).strip(), frame.index.get_level_values(level))
        for level, name in enumerate(frame.index.names)
        if name is not None and str(name).strip() not in header
    ]
    values = {str(name).strip(): [plain(value) for value in column.array] for name, column in [*indexed, *columns]}
    return [*(name for name, _ in indexed), *header], Rows("the data", names, values)
