"""The commands of a study: train it, audit it, and say what came of it."""

from __future__ import annotations

import csv
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regulens.cli.opening import find, open_study
from regulens.cli.options import Device, Folder, MaxCells, Out, ReportFormat, ResultsFormat, Seeds, Source, Workers
from regulens.cli.planning import print_few_seeds
from regulens.cli.tables import results_table, summary_table
from regulens.cli.terminal import console, errors, print_wide
from regulens.errors import UserError

if TYPE_CHECKING:
    from regulens.api import Study
    from regulens.study.runner import OnEvent, StudyEvent
    from regulens.study.store import Look


def run(
    source: Source,
    *,
    seeds: Seeds = None,
    workers: Workers = None,
    out: Out = None,
    device: Device = "cpu",
    until_decided: Annotated[
        bool,
        typer.Option(
            "--until-decided",
            help="Sequential design: add seeds at pre-declared interim analyses until every comparison is conclusive.",
        ),
    ] = False,
    max_seeds: Annotated[int, typer.Option(help="With --until-decided: seeds at the last interim analysis.")] = 29,
    looks: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...", help="With --until-decided: seeds at each interim analysis (default: 5, 10, 20, ...)."
        ),
    ] = None,
    pilot: Annotated[
        bool,
        typer.Option(
            "--pilot", help="Only train: nothing is compared or tested, so planning by these runs costs no error."
        ),
    ] = False,
    max_cells: MaxCells = None,
) -> None:
    """Train a study's networks, select on validation, refit, evaluate on the held-out test set, and write the report.

    Run it again to go on where it was, or with more seeds to extend it.
    """
    if looks is not None and not until_decided:
        raise UserError(f"--looks {looks} requires --until-decided; add it, or omit --looks")
    if pilot and until_decided:
        raise UserError("--pilot is not looked at; omit it, or --until-decided")
    study = _starting(source, out, seeds, workers=workers, device=device, max_cells=max_cells, growing=until_decided)
    from regulens.api import run_study
    from regulens.study.runner import Answered

    stops = _looks(looks, max_seeds) if until_decided else None
    answers: list[Answered] = []

    def on_event(event: StudyEvent) -> None:
        if isinstance(event, Answered):
            answers.append(event)
        show(event)

    if stops is None and not pilot:
        print_few_seeds(study)
    with _training() as show:
        study = run_study(
            study, looks=stops, workers=workers, device=device, on_event=on_event, max_cells=max_cells, pilot=pilot
        )
    if pilot:
        console.print(
            f"pilot of {study.spec.seeds} seeds: nothing was compared, selected or tested; "
            f"`regulens plan {study.folder} --power` says how many seeds an effect needs",
            soft_wrap=True,
            markup=False,
        )
        return
    console.print("validation accuracy over seeds", style="bold")
    print_wide(summary_table(study))
    for answer in answers:
        console.print("", *answer.lines, sep="\n", soft_wrap=True, markup=False)
        console.print(f"report: {answer.report.resolve()}", soft_wrap=True, markup=False)


def audit(
    source: Source,
    *,
    seeds: Seeds = None,
    workers: Workers = None,
    out: Out = None,
    device: Device = "cpu",
    max_cells: MaxCells = None,
) -> None:
    """Train a study again under each of its variations, and say which of its claims survive."""
    study = _starting(source, out, seeds, workers=workers, device=device, max_cells=max_cells, auditing=True)
    from regulens.api import audit_study
    from regulens.report.audit import AUDIT, conclusions

    with _training() as on_event:
        found = audit_study(study, workers=workers, device=device, on_event=on_event, max_cells=max_cells)
    for text in conclusions(found):
        console.print(text, soft_wrap=True)
    console.print(f"audit: {(study.folder / AUDIT).resolve()}", soft_wrap=True)


def status(
    folder: Folder,
    show_traceback: Annotated[bool, typer.Option("--traceback", help="Show the traceback of each failed run.")] = False,
) -> None:
    """Say how far a study is."""
    from regulens.study.finding import progress_of

    progress = progress_of(*find(folder))
    console.print(f"{progress.finished} of {progress.planned} runs finished, {len(progress.failures)} failed")
    for failure in progress.failures:
        console.print(f"  failed: {failure.run_id}: {failure.error}", soft_wrap=True)
        if show_traceback:
            console.print(failure.details, soft_wrap=True)
    for chosen in progress.selections:
        among = f" on {chosen.among}" if chosen.among else ""
        console.print(f"selected{among}: {chosen.label} over {chosen.seeds} seeds")
    if not progress.selections:
        console.print("selected: nothing yet")
    console.print(f"refits finished: {progress.refits_finished}; test set evaluated {progress.test_openings} times")
    for look in progress.looks:
        console.print(_look_text(look), soft_wrap=True)
    for deviation in progress.deviations:
        console.print(f"deviation: {deviation.noted_at}: {deviation.text}", soft_wrap=True)
    console.print(f"report: {progress.report or 'not written yet'}", soft_wrap=True)


def report(
    folder: Folder,
    output: Annotated[
        ReportFormat,
        typer.Option(
            "--format",
            help="Format: HTML page, Markdown, LaTeX, PDF (requires regulens\\[pdf]), or JSON with the numbers.",
        ),
    ] = ReportFormat.html,
) -> None:
    """Rebuild a study's figures and report."""
    study = open_study(folder)
    with errors.status("writing the report; the look inside takes a minute"):
        path = study.report(output.value)
    console.print(f"report: {path.resolve()}", soft_wrap=True)


def results(
    folder: Folder,
    output: Annotated[ResultsFormat, typer.Option("--format", help="Format of the output.")] = ResultsFormat.table,
    compared: Annotated[
        bool,
        typer.Option(
            "--compared", help="Print only the runs that are compared: no refits, held-out seeds or failures."
        ),
    ] = False,
) -> None:
    """Print every run's numbers."""
    from regulens.study.folder import own_store
    from regulens.study.rescoring import unknown_losses
    from regulens.study.table import result_columns, result_rows

    study, place = find(folder)
    store = own_store(study, place)
    rows = result_rows(study, store, compared)
    for text in unknown_losses(store.results()):
        errors.print(f"note: {text}", soft_wrap=True)
    if output is ResultsFormat.json:
        sys.stdout.write(json.dumps(rows, indent=1, allow_nan=False) + "\n")
    elif output is ResultsFormat.csv:
        columns = [name for name in result_columns(study) if name != "epochs"]
        writer = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        print_wide(results_table(rows))


def _starting(
    source: str,
    out: Path | None,
    seeds: int | None,
    *,
    workers: int | None,
    device: str,
    max_cells: int | None,
    growing: bool = False,
    auditing: bool = False,
) -> Study:
    """Return the study to run, and say at once that workers are starting: torch takes seconds, here and in each.

    Nothing is said where every training is finished; one that is ``growing``, or audited, has more than are planned.
    """
    from regulens.study.finding import check_auditable, pending_runs, with_seeds
    from regulens.study.grid import planned

    spec, folder = find(source, out, max_cells)
    spec = with_seeds(spec, seeds)
    if auditing:
        check_auditable(spec)
    from regulens.study.workers import check_workers

    growing, count = growing or auditing, check_workers(workers, device)
    count = min(count, len(planned(spec) if growing else pending_runs(spec, folder)))
    if count:
        console.print(f"starting {count} worker{'s' if count > 1 else ''} ...")
    from regulens.api import Study

    return Study(spec, folder)


def _look_text(look: Look) -> str:
    """Say at which level a look was taken, and what is left of the error of 5 %."""
    if look.share is None or look.spent is None:
        return f"look at {look.seeds} seeds: {look.looked_at}, by an earlier version"
    return (
        f"look at {look.seeds} seeds: {look.looked_at}, all intervals hold together with "
        f"{100 - 5 * look.share:.2f} %; "
        f"{100 * look.spent:.3g} % of the error spent, {100 * max(1 - look.spent, 0.0):.3g} % left"
    )


@contextmanager
def _training() -> Iterator[OnEvent]:
    """Show the progress of trainings; Ctrl-C ends the workers, frees the lock and keeps what is finished."""
    from regulens.progress import study_display

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        with study_display(console) as on_event:
            yield on_event
    except KeyboardInterrupt:
        errors.print("stopped; what is finished is kept, the same command goes on from there")
        raise typer.Exit(130) from None


def _looks(text: str | None, max_seeds: int) -> tuple[int, ...]:
    from regulens.study.until_decided import default_looks

    if text is None:
        return default_looks(max_seeds)
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise UserError(f'--looks "{text}": must be numbers of seeds, e.g. 5,10,20,29') from None
