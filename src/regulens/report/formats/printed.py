"""What is printed of a report: the written document, what a reader must know before it, and its runs after it."""

from __future__ import annotations

from dataclasses import replace

from regulens.report.content import ReportContent
from regulens.report.document import Block, Bullets, Document, Heading, Paragraph, Table
from regulens.report.formats.layout import RUNS

_SHORT = 8
"""Signs of a run_id that tell it from all others of a study."""


def printed(content: ReportContent) -> Document:
    """Return the document of a report with its notes and sentences before it, its runs and openings after it."""
    before: list[Block] = [Paragraph(text, "note") for text in content.notes]
    before.append(Bullets(tuple(map(Paragraph, content.sentences))))
    after: list[Block] = [Heading("Runs"), _runs(content)]
    if content.ledger:
        after.append(_openings(content))
    return replace(content.document, blocks=(*before, *content.document.blocks, *content.inside, *after))


def _runs(content: ReportContent) -> Table:
    rows = [
        (cell.label, ", ".join(f"{run.spec.seed}:{run.run_id[:_SHORT]}" for run in cell.runs)) for cell in content.cells
    ]
    return Table(
        caption="The runs of each network, by seed",
        columns=("network", "seed:run_id"),
        rows=tuple(rows),
        note="Each run_id by its beginning, which regulens takes for the whole; regulens results prints their numbers.",
        left=(1,),
        name=RUNS,
    )


def _openings(content: ReportContent) -> Table:
    rows = [
        (
            record.opened_at.replace("T", " ").partition("+")[0],
            label,
            record.run_id[:_SHORT],
            record.reason,
            f"{record.test_images:,}",
            f"{record.test_accuracy:.4f}",
        )
        for record, label in content.ledger
    ]
    return Table(
        caption="Test-set access log",
        columns=("evaluated (UTC)", "refitted run", "run_id", "reason", "images", "test accuracy"),
        rows=tuple(rows),
        left=(1, 2, 3),
        name="openings",
    )
