"""The written report as a PDF, set by fpdf2 in the DejaVu fonts that come with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import cast

import matplotlib
from fpdf import FPDF
from fpdf.enums import PageOrientation
from PIL import Image

from regulens.report.document import Block, Bullets, Document, Figure, Heading, Paragraph, Table
from regulens.report.formats.layout import (
    RUNS,
    Lines,
    Room,
    anchors,
    fitted,
    linked_cells,
    missing_text,
    plain,
    png_of,
    words,
)

_INK, _MUTED, _RULE = (29, 35, 48), (92, 100, 112), (120, 128, 140)
_MARKED, _NOTE, _NOTE_EDGE = (238, 244, 252), (255, 246, 224), (217, 154, 0)
_MARGIN, _BOTTOM = 18.0, 20.0
"""Of a page, in mm, as all lengths here; letters are in points."""
_TEXT, _SMALL = 9.5, 8.0
_HEADINGS = {1: 14.0, 2: 11.0}
_TABLE_SIZES = (8.0, 7.5, 7.0, 6.5)
"""Sizes of a table's letters, from the one that is wanted to the least that reads well."""
_LEADING = 1.4
_GAP = 3.0
"""Between columns, and between blocks."""
_BEGINNING = 45.0
"""Of a table that is parted over pages, in mm."""
_DOTS = 160 / 25.4
"""Dots of a saved figure in a mm."""
_STAMP = datetime(2000, 1, 1, tzinfo=UTC)
"""A PDF must have a date; a fixed one makes equal reports equal files."""
_FACES = {"": "DejaVuSans.ttf", "B": "DejaVuSans-Bold.ttf"}


def pdf(document: Document) -> bytes:
    """Return a document as a PDF on A4; the same document is the same bytes."""
    sheet = _Sheet(document)
    blocks = document.blocks
    for place, block in enumerate(blocks):
        sheet.draw(block, blocks[place + 1 :])
    return bytes(sheet.output())


@dataclass(frozen=True, eq=False)
class _Grid:
    """A table as it is set: head and rows as lines of each cell, sizes in points, widths in mm."""

    size: float
    widths: list[float]
    rows: list[list[Lines]]
    words: frozenset[int]
    landscape: bool

    @property
    def leading(self) -> float:
        return _mm(self.size) * 1.25

    @property
    def width(self) -> float:
        return sum(self.widths) + _GAP * (len(self.widths) - 1)

    def height(self, row: Sequence[Lines]) -> float:
        return max(map(len, row)) * self.leading + 1.6


class _Sheet(FPDF):
    """A document in the making."""

    def __init__(self, document: Document) -> None:
        super().__init__(format="A4")
        for style, name in _FACES.items():
            self.add_font("DejaVu", style, Path(matplotlib.get_data_path(), "fonts", "ttf", name))
        self.set_creation_date(_STAMP)
        self.set_title(plain(document.title))
        self.set_creator("Regulens")
        self.set_lang("en")
        self.set_margin(_MARGIN)
        self.set_auto_page_break(True, _BOTTOM)
        self.c_margin = 0
        self.tables = self.figures = 0
        self._grids: dict[Table, _Grid] = {}
        self.add_page()
        self.links_to = {label: self.add_link() for label in anchors(document)}
        self._write(document.title, 18, bold=True)
        self._write(document.lead, _TEXT, _MUTED)
        self.ln(_GAP)

    def footer(self) -> None:
        """Number the page."""
        self.set_xy(_MARGIN, -_BOTTOM / 2 - 3)
        self._font(_SMALL, _MUTED)
        self.cell(self.w - 2 * _MARGIN, 4, str(self.page_no()), align="C")

    def draw(self, block: Block, following: Sequence[Block]) -> None:
        """Draw a block; a heading is kept with the beginning of what follows it."""
        wide = self._wide([block, *following])
        if wide is not (self.cur_orientation is PageOrientation.LANDSCAPE):
            self.add_page("landscape" if wide else "portrait")
        match block:
            case Heading():
                self._heading(block, following)
            case Paragraph():
                self._paragraph(block)
            case Bullets():
                self._bullets(block)
            case Table():
                self._table(block)
            case Figure():
                self._figure(block)

    def _wide(self, blocks: Sequence[Block]) -> bool:
        """Tell whether a block needs a page laid across: a wide table, or the headings above it."""
        match blocks:
            case [Heading(), *rest]:
                return self._wide(rest)
            case [Table() as table, *_]:
                return self._grid(table).landscape
            case _:
                return False

    def _font(self, size: float, colour: tuple[int, int, int] = _INK, bold: bool = False) -> None:
        self.set_font("DejaVu", "B" if bold else "", size)
        self.set_text_color(*colour)

    def _write(self, text: str, size: float, colour: tuple[int, int, int] = _INK, bold: bool = False) -> None:
        """Write lines over the width that is left, and go to the next one."""
        self._font(size, colour, bold)
        self.multi_cell(0, _mm(size) * _LEADING, plain(text), align="L", new_x="LMARGIN", new_y="NEXT")

    def _heading(self, heading: Heading, following: Sequence[Block]) -> None:
        size = _HEADINGS[heading.level]
        height = _GAP + _mm(size) * _LEADING * len(self._lines(heading.text, size, self.epw))
        self._make_room(height + self._beginning(following))
        self.ln(_GAP)
        self.start_section(plain(heading.text), heading.level - 1, strict=False)
        self._write(heading.text, size, bold=True)
        self.ln(1)

    def _beginning(self, blocks: Sequence[Block]) -> float:
        """Return the height of what a heading above these blocks must not be parted from."""
        match blocks:
            case [Heading(), *rest]:
                return 10 + self._beginning(rest)
            case [Table() as table, *_]:
                return self._kept_height(table)
            case [Figure() as figure, *_]:
                return self._figure_size(figure)[1] + 12
            case _:
                return 3 * _mm(_TEXT) * _LEADING

    def _paragraph(self, paragraph: Paragraph) -> None:
        if paragraph.kind == "note":
            self._note(f"Note. {paragraph.text}")
        else:
            self._write(paragraph.text, _TEXT)
        self._runs(paragraph)
        self.ln(_GAP * 0.7)

    def _note(self, text: str) -> None:
        self.set_fill_color(*_NOTE)
        self.set_draw_color(*_NOTE_EDGE)
        self.set_line_width(1)
        self._font(_TEXT)
        self.multi_cell(
            0, _mm(_TEXT) * _LEADING, plain(text), "L", "L", fill=True, new_x="LMARGIN", new_y="NEXT", padding=(1, 3)
        )

    def _bullets(self, bullets: Bullets) -> None:
        for item in bullets.items:
            self._make_room(2 * _mm(_TEXT) * _LEADING)
            self._font(_TEXT)
            self.cell(4, _mm(_TEXT) * _LEADING, "•")
            self.set_left_margin(_MARGIN + 4)
            self._paragraph(item)
            self.set_left_margin(_MARGIN)
            self.set_x(_MARGIN)

    def _runs(self, paragraph: Paragraph) -> None:
        """Name the networks that a paragraph rests on, each a link to the list of its runs."""
        cells = linked_cells(paragraph, self.links_to)
        self._font(_SMALL - 1, _MUTED)
        for place, label in enumerate(cells):
            self.write(_mm(_SMALL) * _LEADING, "; " if place else "runs: ")
            self.write(_mm(_SMALL) * _LEADING, plain(label), self.links_to[label])
        if cells:
            self.ln(_mm(_SMALL) * _LEADING)

    def _figure(self, figure: Figure) -> None:
        path = png_of(figure.picture)
        if path is None:
            self._note(missing_text(figure.picture))
            self.ln(_GAP)
            return
        self.figures += 1
        width, height = self._figure_size(figure)
        caption = f"Figure {self.figures}. {plain(figure.picture.caption)}"
        self._make_room(height + 1 + _mm(_SMALL) * _LEADING * len(self._lines(caption, _SMALL, self.epw)))
        self.image(path, _MARGIN + (self.epw - width) / 2, w=width, h=height, alt_text=caption)
        self.ln(1)
        self._write(caption, _SMALL, _MUTED)
        self.ln(_GAP)

    def _figure_size(self, figure: Figure) -> tuple[float, float]:
        """Return width and height: its own, or what the page has room for."""
        path = png_of(figure.picture)
        if path is None:
            return self.epw, 0
        with Image.open(path) as image:
            width, height = (dots / _DOTS for dots in image.size)
        scale = min(1, self.epw / width, (self.eph - 30) / height)
        return scale * width, scale * height

    def _table(self, table: Table) -> None:
        grid = self._grid(table)
        self.tables += 1
        self._make_room(self._kept_height(table))
        self._write(f"Table {self.tables}. {table.caption}", _SMALL + 0.5, bold=True)
        self.ln(1)
        self._head(grid)
        for place, row in enumerate(grid.rows[1:]):
            if self.will_page_break(grid.height(row)):
                self.add_page(same=True)
                self._head(grid)
            if table.name == RUNS:
                self.set_link(self.links_to[table.rows[place][0]], y=self.y)
            self._row(grid, row, marked=place in table.marked)
        self._rule(grid, 0.35)
        if table.note:
            self.ln(1)
            self._write(table.note, _SMALL - 0.5, _MUTED)
        self.ln(_GAP * 1.3)

    def _kept_height(self, table: Table) -> float:
        """Return the height of what stands together on a page: all of a small table, the beginning of a large one."""
        grid = self._grid(table)
        lines = len(self._lines(table.caption, _SMALL + 1, self.epw)) + len(self._lines(table.note, _SMALL, self.epw))
        height = sum(map(grid.height, grid.rows)) + lines * _mm(_SMALL) * _LEADING + 3
        return height if height < self.eph / 2 else _BEGINNING

    def _head(self, grid: _Grid) -> None:
        self._rule(grid, 0.35)
        self._row(grid, grid.rows[0], head=True)
        self._rule(grid, 0.15)

    def _rule(self, grid: _Grid, thickness: float) -> None:
        self.set_draw_color(*_RULE)
        self.set_line_width(thickness)
        self.line(_MARGIN, self.y, _MARGIN + grid.width, self.y)

    def _row(
        self,
        grid: _Grid,
        row: Sequence[Lines],
        *,
        marked: bool = False,
        head: bool = False,
    ) -> None:
        """Draw a row of cells, line by line."""
        top, height = self.y, grid.height(row)
        if marked:
            self.set_fill_color(*_MARKED)
            self.rect(_MARGIN, top, grid.width, height, "F")
        self._font(grid.size, _MUTED if head else _INK)
        x = _MARGIN
        for place, (lines, width) in enumerate(zip(row, grid.widths, strict=True)):
            lower = height - 1.6 - len(lines) * grid.leading if head else 0
            for number, line in enumerate(lines):
                self.set_xy(x, top + 0.8 + lower + number * grid.leading)
                self.cell(width, grid.leading, line, align="L" if place in grid.words else "R")
            x += width + _GAP
        self.set_xy(_MARGIN, top + height)

    def _grid(self, table: Table) -> _Grid:
        if table not in self._grids:
            self._grids[table] = self._set(table)
        return self._grids[table]

    def _set(self, table: Table) -> _Grid:
        """Set a table as large as the page allows: in smaller letters, tighter, or on a page laid across."""
        gaps = _GAP * (len(table.columns) - 1)
        narrow, wide = (side - 2 * _MARGIN - gaps for side in sorted((self.w, self.h)))
        ways = [(narrow, size, False) for size in _TABLE_SIZES[:2]]
        ways += [(width, size, True) for width in (narrow, wide) for size in _TABLE_SIZES]
        fit = fitted(table, [Room(width, partial(self._width, size), tight) for width, size, tight in ways])
        width, size, _ = ways[fit.place]
        widths = [each / fit.excess for each in fit.widths]
        size /= fit.excess
        rows = [
            [self._wrapped_cell(cell, size, widths[place], place in words(table)) for place, cell in enumerate(row)]
            for row in fit.lines
        ]
        return _Grid(size, widths, rows, words(table), width == wide)

    def _width(self, size: float, text: str) -> float:
        self._font(size)
        return self.get_string_width(text) + 0.2

    def _wrapped_cell(self, cell: Lines, size: float, width: float, wrapped: bool) -> Lines:
        """Break the lines of a cell of words where they are too long."""
        return tuple(part for line in cell for part in self._lines(line, size, width)) if wrapped else cell

    def _lines(self, text: str, size: float, width: float) -> list[str]:
        """Return the lines that a text takes in this width; an empty text takes one."""
        self._font(size)
        lines = self.multi_cell(width, text=plain(text), align="L", dry_run=True, output="LINES")
        return cast("list[str]", lines) or [""]

    def _make_room(self, height: float) -> None:
        """Begin a new page if this height is not left on this one."""
        if self.will_page_break(height):
            self.add_page(same=True)


def _mm(points: float) -> float:
    return points * 25.4 / 72
