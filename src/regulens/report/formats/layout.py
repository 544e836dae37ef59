"""What the printed formats share: clean text, the files of figures, links to runs, the widths of columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from regulens.report.document import Document, Paragraph, Table
from regulens.report.pictures import Picture

RUNS = "runs"
"""Name of the table whose rows, a network in the first column, are what paragraphs are linked to."""
Lines = tuple[str, ...]
"""Of one cell of a table."""
_SHORT, _LONG = "n" * 12, "n" * 30
"""Columns of words as wide as the one are not wrapped; the other is as far as they are kept to about two lines."""
_INTERVAL = re.compile(r"(.+?) (\([^()]+ to [^()]+\))")


def plain(text: str) -> str:
    """Return text in one line, without characters that do not print."""
    line = " ".join(text.split())
    return " ".join("".join(filter(str.isprintable, line)).split())


def png_of(picture: Picture) -> Path | None:
    """Return the PNG of a saved figure, or ``None`` where it has gone."""
    path = picture.path.with_suffix(".png") if picture.path.suffix == ".svg" else picture.path
    return path if path.is_file() else None


def missing_text(picture: Picture) -> str:
    """Say that a figure's file has gone."""
    return f"The figure {picture.path.stem} is missing: {picture.caption}"


def anchors(document: Document) -> dict[str, str]:
    """Return the networks whose runs are listed, each with the name of the place where they are."""
    labels = (row[0] for table in document.tables() if table.name == RUNS for row in table.rows)
    return {label: f"{RUNS}-{number}" for number, label in enumerate(labels, 1)}


def linked_cells(paragraph: Paragraph, places: Mapping[str, object]) -> list[str]:
    """Return the networks that a paragraph rests on and whose runs are listed."""
    return [cell for cell in paragraph.cells if cell in places]


def words(table: Table) -> frozenset[int]:
    """Return the places of the columns that hold words: they are set to the left and may be wrapped."""
    return frozenset({0, *table.left})


def cell_lines(table: Table, tight: bool = False) -> list[list[Lines]]:
    """Return a table's head and rows, each cell as its lines.

    Where it is tight, an interval stands below its estimate, and heads wider than what is below them are halved.
    """
    head, *rows = _cells(table)
    if not tight:
        return [head, *rows]
    numbers = [place for place in range(len(head)) if place not in words(table)]
    for row in rows:
        for place in numbers:
            row[place] = _stacked(row[place][0])
    for place in numbers:
        below = max((len(line) for row in rows for line in row[place]), default=0)
        if len(head[place][0]) > below:
            head[place] = _halved(head[place][0])
    return [head, *rows]


def _cells(table: Table) -> list[list[Lines]]:
    return [[(plain(text),) for text in row] for row in (table.columns, *table.rows)]


def _stacked(text: str) -> Lines:
    """Part an estimate from its interval, as of ``0.50 (0.40 to 0.60)``."""
    found = _INTERVAL.fullmatch(text)
    return found.groups() if found else (text,)


def _halved(text: str) -> Lines:
    """Part words into two lines of about the same length."""
    parts = text.split()
    cuts = [(" ".join(parts[:place]), " ".join(parts[place:])) for place in range(1, len(parts))]
    return min(cuts, key=lambda cut: max(map(len, cut)), default=(text,))


@dataclass(frozen=True)
class Room:
    """A way to set a table: the width there is for its columns, how a text's width is measured, whether it is tight."""

    width: float
    measure: Callable[[str], float]
    tight: bool = False


@dataclass(frozen=True)
class Fit:
    """A table set in a room: the room's place among those offered, the lines of the cells, the widths of columns.

    ``natural`` are the widths that the columns would have if nothing were wrapped. ``excess`` is by how many times all
    is too wide, where it does not fit: 1 where it does.
    """

    place: int
    lines: list[list[Lines]]
    widths: list[float]
    natural: list[float]
    excess: float


def fitted(table: Table, rooms: Sequence[Room]) -> Fit:
    """Set a table in the first room that it fits in, or in the last: nothing is wrapped but where it is tight."""
    for place, room in enumerate(rooms):
        lines = cell_lines(table, room.tight)
        natural, least = _column_widths(lines, words(table), room.measure)
        needed = sum(least if room.tight else natural)
        if needed <= room.width:
            return Fit(place, lines, _shared_widths(natural, least, room.width), natural, 1)
    return Fit(len(rooms) - 1, lines, least, natural, needed / room.width)


def _column_widths(
    rows: Sequence[Sequence[Lines]], wrapped: frozenset[int], width: Callable[[str], float]
) -> tuple[list[float], list[float]]:
    """Return the width of every column as it is, and the least that it may have where it may be wrapped.

    That is no less than its longest word, and keeps short texts whole and others to two lines.
    """
    columns = [[line for cell in column for line in cell] for column in zip(*rows, strict=True)]
    natural = [max(map(width, lines)) for lines in columns]
    least = [
        min(natural[place], max(_longest_word(lines, width), width(_SHORT), min(0.6 * natural[place], width(_LONG))))
        if place in wrapped
        else natural[place]
        for place, lines in enumerate(columns)
    ]
    return natural, least


def _longest_word(lines: Sequence[str], width: Callable[[str], float]) -> float:
    return max((width(word) for line in lines for word in line.split()), default=0)


def _shared_widths(natural: Sequence[float], least: Sequence[float], total: float) -> list[float]:
    """Return widths of columns that together take at most ``total``: the widest give way first, to one common width.

    None gets more than its natural width or less than its least, even where that is too much for ``total``.
    """
    bottom, top = 0.0, max(natural, default=0.0)
    if sum(natural) <= total:
        return list(natural)
    for _ in range(50):
        common = (bottom + top) / 2
        taken = sum(_held(common, *bounds) for bounds in zip(least, natural, strict=True))
        bottom, top = (bottom, common) if taken > total else (common, top)
    return [_held(bottom, *bounds) for bounds in zip(least, natural, strict=True)]


def _held(width: float, least: float, natural: float) -> float:
    return max(least, min(natural, width))
