"""CSV files as spreadsheets and programs write them: from a text to a header and records."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from regulens.errors import UserError
from regulens.study.external.decoding import decoded
from regulens.study.external.problems import Problem, named_rows

SEPARATORS = (",", ";", "\t", "|", " ")
MAX_ROWS = 1_000_000
"""Rows that a table of runs may have; each takes about a kilobyte of memory, its text aside."""
_HEADER_WITHIN = 100  # records; what stands above a header is short
_SEPARATOR_LINE = re.compile(r'\s*"?sep=(?P<separator>\\t|[^"\r\n])"?[,;\t| ]*(\r\n|\r|\n|\Z)', re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?\d*[.,]?\d+([eE][+-]?\d+)?")
_OTHER_MARK = re.compile(r"^(%+|!|//)\s*(?=\S|\Z)")  # of a comment that is the header, as numpy.savetxt may write it
_RULE = re.compile(r":?-{2,}:?|")  # below the header of a Markdown table


@dataclass(frozen=True)
class Table:
    """The records of a file below its header.

    Attributes:
        header: the names of the columns.
        names: what to call each record: ``line 2`` is the second line of the file.
        records: the fields of each, as many as there are columns.
        problems: the records that do not fit the header; their fields are empty.
        notes: what was passed over, if that is worth a word.
    """

    header: list[str]
    names: list[str]
    records: list[list[str]]
    problems: list[Problem]
    notes: list[str]


@dataclass(frozen=True)
class _Record:
    """A record, and what it is as a header: a commented header has its mark in front."""

    line: int
    fields: list[str]
    names: list[str]
    comment: bool = False


def read_table(path: Path, wanted: Sequence[str]) -> Table:
    """Read a CSV file.

    The header is the first line that has all wanted columns, also if a ``#`` stands in front of it. The separator is
    the one that shows them: that of a ``sep=`` line, or one of ``, ; tab | space``. Empty lines, lines that begin with
    ``#`` and repeated headers are passed over; fields are stripped of spaces.

    Args:
        path: UTF-8, or UTF-16 and UTF-32 with their marks.
        wanted: the columns that are asked for; the caller tells of those that are not there.

    Raises:
        UserError: naming the file and the line, if it cannot be read as text, or has unbalanced quotes, or is empty,
            or too large.
    """
    text = decoded(path)
    separators, above = _separators(text)
    separator, line = _header_place(text, separators, wanted, above)
    if not line:
        raise UserError(f"{path}: is empty")
    try:
        records = list(itertools.islice(_records(text, separator), MAX_ROWS + 1))
    except csv.Error as error:
        raise UserError(f"{path}: {error}") from None
    if len(records) > MAX_ROWS:
        raise UserError(f"{path}: has more than {MAX_ROWS:,} rows; is it a log? keep one row per run")
    return _table(records, line, separator, wanted, above)


def header_hint(header: Sequence[str]) -> str:
    """Say why columns may be missing, empty where nothing points to a reason."""
    if header and header[0][:1] in {"{", "["}:
        return "; the file looks like JSON: write CSV"
    names = header[0].split() if len(header) == 1 else header
    if sum(bool(_NUMBER.fullmatch(name)) for name in names) > 1:
        return "; its first line holds numbers: name the columns in a line above it"
    return ""


def _separators(text: str) -> tuple[tuple[str, ...], int]:
    """Return which separators to try, and the number of lines that only say which it is."""
    declared = _SEPARATOR_LINE.match(text)
    if not declared:
        return SEPARATORS, 0
    mark = declared["separator"].replace("\\t", "\t")
    above = len(list(io.StringIO(declared[0], newline="")))
    return (mark, *(each for each in SEPARATORS if each != mark)), above


class _Lines:
    """The lines of a text as csv.reader takes them; those of comments, which are no part of a record, are set apart."""

    def __init__(self, text: str) -> None:
        self._lines = iter(io.StringIO(text, newline=""))
        self.number = 0
        self.first = 0
        self.comments: list[tuple[int, str]] = []

    def begin(self) -> None:
        """Say that the next line begins a record."""
        self.first = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        for line in self._lines:
            self.number += 1
            if not self.first and line.lstrip().startswith("#"):
                self.comments.append((self.number, line.strip()))
                continue
            self.first = self.first or self.number
            return line
        raise StopIteration


def _records(text: str, separator: str) -> Iterator[_Record]:
    """Yield records and comments in their order, none of them empty.

    Raises:
        csv.Error: naming the line.
    """
    lines = _Lines(text)
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    more = True
    while more:
        lines.begin()
        try:
            fields = [field.strip() for field in next(reader, [])]
            more = lines.first > 0
        except csv.Error as error:
            raise csv.Error(f"line {lines.first}: is not valid CSV: {error}") from None
        for number, comment in lines.comments:
            yield _comment(number, comment, separator)
        lines.comments.clear()
        if separator == " ":
            fields = [field for field in fields if field]
        if not all(map(_RULE.fullmatch, fields)):
            yield _Record(lines.first, fields, _names(fields, separator))


def _names(fields: list[str], separator: str) -> list[str]:
    """Return what fields are as a header: without a mark in front, which between spaces is a field of its own."""
    if separator == " " and len(fields) > 1 and _OTHER_MARK.fullmatch(f"{fields[0]} "):
        return fields[1:]
    return [_OTHER_MARK.sub("", fields[0]), *fields[1:]]


def _comment(line: int, text: str, separator: str) -> _Record:
    def parts(text: str) -> list[str]:
        found = text.split() if separator == " " else text.split(separator)
        return [part.strip().strip('"') for part in found]

    named = text.lstrip("#").strip()
    first_is_sign = separator != " " and text.lstrip("#").startswith(separator)
    return _Record(line, parts(text), parts(text if first_is_sign else named), comment=True)


def _first_records(text: str, separator: str, above: int) -> Iterator[_Record]:
    found = (record for record in _records(text, separator) if record.line > above)
    try:
        yield from itertools.islice(found, _HEADER_WITHIN)
    except csv.Error:
        return  # the whole is read again, and then told of


def _header_place(text: str, separators: Sequence[str], wanted: Sequence[str], above: int) -> tuple[str, int]:
    """Return the separator and the line of the header, 0 in an empty file."""
    nearest: list[tuple[int, bool, int, str, int]] = []
    for separator in separators:
        records = list(_first_records(text, separator, above))
        for record in records:
            if all(name in record.names for name in wanted):
                return separator, record.line
            if _belongs_to_a_table(record, wanted):
                break
        first = next((record for record in records if not record.comment), records[0] if records else None)
        if first:
            among = sum(name in first.names for name in wanted)
            nearest.append((among, separator != " ", len(first.fields), separator, first.line))
    best = max(nearest, key=lambda each: each[:3], default=(0, True, 0, separators[0], 0))
    return best[3:]


def _belongs_to_a_table(record: _Record, wanted: Sequence[str]) -> bool:
    """Tell whether a record is a run, or a header of other columns: no title or note, as may stand above a header."""
    if record.comment:
        return False
    run = len(record.fields) >= len(wanted) and any(map(_NUMBER.fullmatch, record.fields))
    return run or sum(name in record.names for name in wanted) >= max(1, min(2, len(wanted) - 1))


@dataclass
class _PassedOver:
    """Lines below and above the header that are no records, as far as a user should know."""

    above: list[int] = field(default_factory=list)
    commented: list[int] = field(default_factory=list)
    headers: list[int] = field(default_factory=list)

    def notes(self) -> list[str]:
        def lines(numbers: Sequence[int]) -> str:
            return named_rows([f"line {number}" for number in numbers], range(len(numbers)))

        said = []
        if self.above:
            said.append(f"lines above the header were skipped: {lines(self.above)}")
        if self.headers:
            said.append(f"repeated headers were skipped: {lines(self.headers)}")
        if self.commented:
            said.append(f"rows that begin with # were read as comments and skipped: {lines(self.commented)}")
        return said


def _table(records: Sequence[_Record], line: int, separator: str, wanted: Sequence[str], above: int) -> Table:
    place = next(number for number, record in enumerate(records) if record.line == line)
    header = records[place].names
    passed = _PassedOver([each.line for each in records[:place] if not each.comment and each.line > above])
    body = records[place + 1 :]
    if all(record.comment for record in body):  # then # is part of a name
        body = [_Record(each.line, each.fields, each.fields) for each in body if len(each.fields) == len(header)]
    if separator in {" ", "\t"} and _has_row_names(body, len(header)):
        body = [replace(each, fields=each.fields[1:], names=each.names[1:]) for each in body]
    first_fields = {record.fields[0] for record in body if not record.comment}
    table = Table(header, [], [], [], [])
    for record in body:
        if record.names == header:
            passed.headers.append(record.line)
        elif not record.comment:
            _add(table, record, separator, wanted)
        elif len(record.fields) == len(header) and any(map(_NUMBER.fullmatch, record.fields[1:])):
            if record.names[0] in first_fields:
                passed.commented.append(record.line)
            else:
                fix = 'delete the line, or write the name in quotes, as in "#1"'
                table.problems.append(Problem(len(table.names), "is a comment, or a run whose name begins with #", fix))
                _add_empty(table, record)
    table.notes.extend(passed.notes())
    return table


def _has_row_names(body: Sequence[_Record], width: int) -> bool:
    """Tell whether all rows have one field more than the header, and it numbers them: so R and pandas print tables."""
    runs = [record.fields for record in body if not record.comment and len(record.fields) != width]
    numbers = [fields[0] for fields in runs]
    counted = any(numbers == [str(row + start) for row in range(len(runs))] for start in (0, 1))
    return bool(runs) and counted and all(len(fields) == width + 1 for fields in runs) and len(runs) == len(body)


def _add(table: Table, record: _Record, separator: str, wanted: Sequence[str]) -> None:
    """Add a record to a table; empty fields behind the last column, and for columns without a name, are no fault."""
    width = len(table.header)
    fields = record.fields
    unnamed = table.header[len(fields) :]
    if Counter(wanted) <= Counter(fields):
        wrong = "is a header of other columns; split the file there"
    elif any(fields[width:]) or any(unnamed):
        hint = "; are these decimal commas?" if separator == "," and len(fields) > width else ""
        wrong = f"has {len(fields)} field{'s' * (len(fields) > 1)}, the header has {width}{hint}"
    else:
        table.names.append(f"line {record.line}")
        table.records.append([*fields[:width], *unnamed])
        return
    table.problems.append(Problem(len(table.records), wrong))
    _add_empty(table, record)


def _add_empty(table: Table, record: _Record) -> None:
    table.names.append(f"line {record.line}")
    table.records.append([""] * len(table.header))
