"""The commands that measure inside all networks of a study, and print what was measured."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from regulens.cli.options import Folder, ResultsFormat, Workers
from regulens.cli.tables import differences_table
from regulens.cli.terminal import console, errors, print_wide


def inside(folder: Folder, workers: Workers = None) -> None:
    """Measure what every network of a study learned, say what regularization did to it, and add it to the report.

    What is measured already is not measured again.
    """
    from regulens.api import load_study
    from regulens.report.inside import difference_paragraphs

    study = load_study(folder)
    columns = (TextColumn("measuring"), BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("runs,"))
    with Progress(*columns, TimeElapsedColumn(), TextColumn("gone,"), TimeRemainingColumn(), console=errors) as bar:
        task = bar.add_task("")
        found = study.inside(workers, lambda measured, of: bar.update(task, completed=measured, total=of))
    for title, whole in (("filters", False), ("whole networks", True)):
        console.print(title, style="bold")
        for text in difference_paragraphs(study.spec, found, whole):
            console.print(text.text, soft_wrap=True, markup=False)
    with errors.status("writing the report, with pictures of what was learned"):
        path = study.report()
    console.print(f"report: {path.resolve()}", soft_wrap=True)


def measures(
    folder: Folder,
    output: Annotated[
        ResultsFormat, typer.Option("--format", help="table: the comparisons; csv, json: every run's values.")
    ] = ResultsFormat.table,
) -> None:
    """Print what was measured inside a study's networks (regulens inside measures it)."""
    from regulens.api import load_study

    study = load_study(folder)
    if output is ResultsFormat.table:
        print_wide(differences_table(study.spec, study.inside()))
        return
    frame = study.measures()
    if output is ResultsFormat.csv:
        frame.to_csv(sys.stdout, index=False, lineterminator="\n")
    else:
        rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
        print(json.dumps(rows, indent=1, allow_nan=False))
