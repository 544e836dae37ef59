"""The written report as Markdown with GitHub's tables."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from regulens.report.document import Block, Bullets, Document, Figure, Heading, Paragraph, Table
from regulens.report.formats.layout import RUNS, anchors, linked_cells, missing_text, plain, png_of

_MARKUP = re.compile(r"([\\`*_{}\[\]<>|~$&#])")
_STARTS_A_BLOCK = re.compile(r"[-+=]|\d+(?=[.)](?: |$))")


def markdown(document: Document, folder: Path) -> str:
    """Return a document as Markdown; its figures are linked by their paths below ``folder``."""
    places = anchors(document)
    parts = [f"# {escaped(document.title)}", _line(document.lead)]
    numbers = iter(range(1, len(document.tables()) + 1))
    for block in document.blocks:
        parts.append("\n".join(_lines(block, folder, places, numbers)))
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str) -> str:
    """Return text as Markdown shows it literally, in a line or a table's cell."""
    return _MARKUP.sub(r"\\\1", plain(text))


def _line(text: str) -> str:
    """Return text that begins a line: no list, heading or rule is made of its first characters."""
    text = escaped(text)
    start = _STARTS_A_BLOCK.match(text)
    if start is None:
        return text
    if start[0].isdigit():
        return f"{start[0]}\\{text[start.end() :]}"
    return f"\\{text}"


def _lines(block: Block, folder: Path, places: Mapping[str, str], numbers: Iterator[int]) -> Iterator[str]:
    match block:
        case Heading():
            yield f"{'#' * (block.level + 1)} {escaped(block.text)}"
        case Paragraph():
            yield _paragraph(block, places)
        case Bullets():
            yield from (f"- {_paragraph(item, places)}" for item in block.items)
        case Table():
            yield from _table(block, next(numbers), places)
        case Figure():
            yield from _figure(block, folder)


def _paragraph(paragraph: Paragraph, places: Mapping[str, str]) -> str:
    links = [f"[{escaped(label)}](#{places[label]})" for label in linked_cells(paragraph, places)]
    text = _line(paragraph.text) + (f" (runs: {'; '.join(links)})" if links else "")
    return f"> **Note.** {text}" if paragraph.kind == "note" else text


def _table(table: Table, number: int, places: Mapping[str, str]) -> Iterator[str]:
    left = {0, *table.left}
    yield f"**Table {number}.** {escaped(table.caption)}"
    yield ""
    yield _row([escaped(column) for column in table.columns])
    yield _row([":--" if place in left else "--:" for place in range(len(table.columns))])
    for place, row in enumerate(table.rows):
        cells = [escaped(text) for text in row]
        if place in table.marked:
            cells = [f"**{text}**" if text else "" for text in cells]
        if table.name == RUNS:
            cells[0] = f'<a id="{places[row[0]]}"></a>{cells[0]}'
        yield _row(cells)
    if table.note:
        yield ""
        yield _line(table.note)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(figure: Figure, folder: Path) -> Iterator[str]:
    path = png_of(figure.picture)
    if path is None:
        yield f"> {_line(missing_text(figure.picture))}"
        return
    link = quote(Path(os.path.relpath(path, folder)).as_posix())
    caption = escaped(figure.picture.caption)
    yield f"![{caption}]({link})"
    yield ""
    yield f"*{caption}*"
