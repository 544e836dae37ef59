"""The written report of a study as Markdown, LaTeX or PDF; the HTML page is rendered elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from regulens.errors import UserError, suggestion
from regulens.report.document import Document
from regulens.report.formats.latex import latex
from regulens.report.formats.markdown import markdown

Format = Literal["html", "md", "tex", "pdf", "json"]
"""``json`` holds the numbers of the analysis alone, and is written elsewhere, as the HTML page is."""
Printer = Callable[[Document, Path], str | bytes]
"""Takes a document and the folder that its figures are named from; returns the content of a file."""


def printer(format: Format) -> Printer | None:
    """Return what prints a document in this format; ``None`` for HTML, which shows more, and JSON, which shows less.

    Raises:
        UserError: if the format is not known, or the library that it needs is not installed.
    """
    if format not in get_args(Format):
        raise UserError(f'no report is written as "{format}"{suggestion(str(format), get_args(Format))}')
    if format == "pdf":
        return _pdf_printer()
    printers: dict[Format, Printer] = {"md": markdown, "tex": latex}
    return printers.get(format)


def _pdf_printer() -> Printer:
    try:
        from regulens.report.formats.pdf import pdf
    except ModuleNotFoundError as error:
        if error.name != "fpdf":
            raise
        raise UserError("a report as PDF needs fpdf2, which is not installed: pip install 'regulens[pdf]'") from error
    return lambda document, _: pdf(document)
