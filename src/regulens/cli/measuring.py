"""The commands that measure inside all networks of a study, and print what was measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from regulens.cli.opening import open_study
from regulens.cli.options import Folder, Part, ResultsFormat, Workers
from regulens.cli.tables import document_table
from regulens.cli.terminal import console, errors, print_wide

if TYPE_CHECKING:
    from regulens.api import Study
    from regulens.report.document import Table as DocumentTable


def inside(folder: Folder, workers: Workers = None) -> None:
    """Measure what every network of a study learned, say what regularization did to it, and add it to the report.

    What is measured already is not measured again.
    """
    study = open_study(folder)
    from regulens.report.inside.measures import difference_paragraphs, family_text

    columns = (TextColumn("measuring"), BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("runs,"))
    bar = Progress(
        *columns,
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("remaining"),
        console=errors,
    )
    task = bar.add_task("")

    def show(measured: int, of: int) -> None:
        bar.start()  # here, not before: what cannot be measured is refused without a bar
        bar.update(task, completed=measured, total=of)

    try:
        found = study.inside(workers, show)
    finally:
        if bar.live.is_started:
            bar.stop()
    console.print(family_text(found), soft_wrap=True)
    for title, whole in (("filters", False), ("whole networks", True)):
        console.print(title, style="bold")
        for text in difference_paragraphs(study.spec, found, whole):
            console.print(text.text, soft_wrap=True)
    with errors.status("writing the report, with pictures of what was learned"):
        path = study.report()
    console.print(f"report: {path.resolve()}", soft_wrap=True)


def measures(
    folder: Folder,
    part: Annotated[Part, typer.Option("--part", help="What to show as a table.")] = Part.filters,
    output: Annotated[
        ResultsFormat, typer.Option("--format", help="Print a table, or as csv or json every value of every run.")
    ] = ResultsFormat.table,
) -> None:
    """Print what `regulens inside` measured in a study's networks."""
    study = open_study(folder)
    if output is ResultsFormat.table:
        with errors.status("comparing"):
            tables = _tables(study)[part]()
        for found in tables:
            console.print(found.caption, style="bold")
            print_wide(document_table(found))
            console.print(found.note, soft_wrap=True)
        return
    frame = study.measures()
    if output is ResultsFormat.csv:
        frame.to_csv(sys.stdout, index=False, lineterminator="\n")
    else:
        rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
        sys.stdout.write(json.dumps(rows, indent=1, allow_nan=False) + "\n")


def _tables(study: Study) -> dict[Part, Callable[[], Sequence[DocumentTable]]]:
    """Return what makes the tables of each part: the report's own."""
    from regulens.report.inside import measures, networks, similarity
    from regulens.study.inside.similarity import similarities_of

    spec, found = study.spec, study.measured()
    return {
        Part.filters: lambda: [measures.differences_table(spec, found, every=True)],
        Part.probes: lambda: [networks.probe_table(spec, found)],
        Part.similarity: lambda: similarity.similarity_tables(spec, found, similarities_of(found, study.folder)),
        Part.robustness: lambda: [measures.robustness_table(spec, found)],
        Part.calibration: lambda: [networks.calibration_table(spec, found, study.folder)],
    }
