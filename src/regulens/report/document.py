"""The written part of a report as blocks, whatever it is printed as: HTML, Markdown, LaTeX or PDF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from regulens.report.pictures import Picture


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is a section of the report."""

    text: str
    level: Literal[1, 2] = 1


@dataclass(frozen=True)
class Paragraph:
    """Sentences. A ``note`` is what a reader must know before trusting the rest.

    ``cells`` are the labels of the networks that it rests on, for links to their runs.
    """

    text: str
    kind: Literal["text", "note"] = "text"
    cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bullets:
    """A list of paragraphs."""

    items: tuple[Paragraph, ...]


@dataclass(frozen=True)
class Table:
    """A table of text. The first column is set to the left, so are those in ``left``; the others to the right.

    Attributes:
        caption: what it shows, in a line.
        columns: the head.
        rows: as many texts each as there are columns.
        note: how to read it; below it.
        left: places of further columns that hold words.
        marked: places of rows that stand out, such as what was selected.
        name: a word for labels and files, e.g. ``cells``.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    left: tuple[int, ...] = ()
    marked: tuple[int, ...] = ()
    name: str = "table"


@dataclass(frozen=True)
class Figure:
    """A saved figure."""

    picture: Picture


Block = Heading | Paragraph | Bullets | Table | Figure


@dataclass(frozen=True)
class Document:
    """What is written of a study, in its order."""

    title: str
    lead: str
    blocks: tuple[Block, ...]

    def tables(self) -> Sequence[Table]:
        """Return its tables."""
        return [block for block in self.blocks if isinstance(block, Table)]
