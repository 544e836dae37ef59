"""The command line: parse, call, print."""

from __future__ import annotations

import enum
import json
import math
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from regulens import __version__
from regulens.errors import RegulensError, UserError

if TYPE_CHECKING:
    from regulens.api import Study
    from regulens.study.plan import PlannedCell

app = typer.Typer(
    help="Which regularization helps here, is the difference real, and what did the network learn?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(help="Find, fetch and verify data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)
_WIDE = 160
_SHOWN_NUMBERS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_accuracy", "train_seconds")


class ResultsFormat(enum.StrEnum):
    """How `results` prints."""

    table = "table"
    csv = "csv"
    json = "json"


class KernelScale(enum.StrEnum):
    """Over what a picture's black to white is spread."""

    kernel = "kernel"
    layer = "layer"


Source = Annotated[
    str, typer.Argument(metavar="STUDY", help="A preset (lab, quickstart), a study file, or a study's folder.")
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A study's folder, e.g. studies/lab.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The study's folder (default: studies/NAME).")]
Seeds = Annotated[int | None, typer.Option(help="Trainings per network (default: as the study says).")]
Workers = Annotated[int | None, typer.Option(help="Processes at work at once (default: one per core).")]
Device = Annotated[str, typer.Option(help="Where to train: cpu, cuda or cuda:N.")]


def _version(asked: bool) -> None:
    if asked:
        console.print(f"regulens {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Which regularization helps here, is the difference real, and what did the network learn?"""


@app.command()
def run(source: Source, seeds: Seeds = None, workers: Workers = None, out: Out = None, device: Device = "cpu") -> None:
    """Train a study's networks, select, refit, open the test part, and write the report.

    Run it again to go on where it was, or with more seeds to extend it.
    """
    from regulens.api import load_study, run_study
    from regulens.progress import study_display

    study = load_study(source, out).with_seeds(seeds)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the workers are ended, the lock is freed
    try:
        with study_display(console) as on_event:
            study = run_study(study, workers=workers, device=device, on_event=on_event)
    except KeyboardInterrupt:
        errors.print("stopped; what is finished is kept, the same command goes on from there")
        raise typer.Exit(130) from None
    _print_summary(study)
    console.print(f"report: {(study.folder / 'report.html').resolve()}", soft_wrap=True)


@app.command()
def plan(source: Source, seeds: Seeds = None, workers: Workers = None, out: Out = None) -> None:
    """List what would run, with parameters and an estimate of time; nothing is trained."""
    from regulens.api import check_workers, load_study
    from regulens.study.plan import estimate_minutes

    study = load_study(source, out).with_seeds(seeds)
    count = check_workers(workers)
    cells = study.plan()
    _print_wide(_plan_table(cells))
    pending, planned = sum(cell.pending for cell in cells), len(study.runs())
    finished = f" ({planned - pending} of them finished in {study.folder})" if pending < planned else ""
    console.print(
        f"{len(cells)} networks x {study.spec.seeds} seeds = {planned} runs{finished}, then refits and tests; about "
        f"{estimate_minutes(study.spec, cells, count):.1f} minutes with {count} workers here (from a few timed steps "
        f"on random pixels)",
        soft_wrap=True,
    )


@app.command()
def init(
    preset: Annotated[str, typer.Argument(metavar="PRESET", help="lab or quickstart.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there; it must not exist.")
    ] = None,
) -> None:
    """Print a commented study file to start from: `regulens init lab > my.toml`."""
    from regulens.study.study_file import preset_text

    text = preset_text(preset)
    if out is None:
        sys.stdout.write(text)
    elif out.exists():
        raise UserError(f"{out}: exists already; choose another name")
    else:
        out.write_text(text, encoding="utf-8")


@app.command()
def status(
    folder: Folder,
    show_traceback: Annotated[bool, typer.Option("--traceback", help="Show where each failed run failed.")] = False,
) -> None:
    """Say how far a study is."""
    from regulens.api import load_study

    progress = load_study(folder).progress()
    console.print(f"{progress.finished} of {progress.planned} runs finished, {len(progress.failures)} failed")
    for failure in progress.failures:
        console.print(f"  failed: {failure.run_id}: {failure.error}", soft_wrap=True, markup=False)
        if show_traceback:
            console.print(failure.details, soft_wrap=True, markup=False)
    for chosen in progress.selections:
        among = f" on {chosen.among}" if chosen.among else ""
        console.print(f"selected{among}: {chosen.label} over {chosen.seeds} seeds", markup=False)
    if not progress.selections:
        console.print("selected: nothing yet")
    console.print(f"refits finished: {progress.refits_finished}; test part opened {progress.test_openings} times")
    console.print(f"report: {progress.report or 'not written yet'}", soft_wrap=True)


@app.command()
def report(folder: Folder) -> None:
    """Rebuild a study's figures and report."""
    from regulens.api import load_study

    console.print(f"report: {load_study(folder).report().resolve()}", soft_wrap=True)


@app.command()
def results(
    folder: Folder,
    output: Annotated[ResultsFormat, typer.Option("--format", help="How to print them.")] = ResultsFormat.table,
) -> None:
    """Print every run's numbers."""
    from regulens.api import load_study

    study = load_study(folder)
    if output is ResultsFormat.json:
        sys.stdout.write(json.dumps(study.result_rows(), indent=1, allow_nan=False) + "\n")
    elif output is ResultsFormat.csv:
        sys.stdout.write(study.results().drop(columns="epochs", errors="ignore").to_csv(index=False))
    else:
        _print_wide(_results_table(study))


@app.command()
def kernels(
    folder: Folder,
    run_id: Annotated[
        str | None, typer.Option("--run", metavar="RUN_ID", help="One run (default: the refits).")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="One convolution, e.g. conv2 (default: all).")] = None,
    scale: Annotated[
        KernelScale, typer.Option(help="Spread black to white per kernel or per layer.")
    ] = KernelScale.kernel,
) -> None:
    """Draw the convolution kernels as grayscale grids; print shapes and biases."""
    from regulens.api import load_study

    for item in load_study(folder).kernels(run_id, layer, "layer" if scale is KernelScale.layer else "kernel"):
        console.print(f"{item.network} (run {item.run_id})", soft_wrap=True)
        console.print(f"  {item.kernels.layer}: {item.kernels.shape} (height x width x input channels x filters)")
        console.print("  biases: " + " ".join(f"{bias:.4f}" for bias in item.kernels.bias), soft_wrap=True)
        console.print(f"  {item.picture.path} and .png", soft_wrap=True)


@app.command()
def doctor() -> None:
    """Show what trainings run on here: kernels, instruction set, versions, cores, devices, data."""
    from regulens.doctor import examine

    table = Table(show_header=False, box=None, pad_edge=False)
    for name, finding in examine():
        table.add_row(name, finding)
    _print_wide(table)


@app.command()
def bench(
    source: Source = "lab",
    seeds: Annotated[int, typer.Option(help="Of the study whose time is told.")] = 10,
    workers: Workers = None,
) -> None:
    """Time a study's training step on this machine, kernel by kernel, and say how long the study will take."""
    from regulens.api import bench_study

    benchmark = bench_study(source, seeds=seeds, workers=workers)
    table = Table("network", box=None, pad_edge=False)
    for name in ("ms per step", "of it matrix products", "on plain torch", "times faster", "seconds per run"):
        table.add_column(name, justify="right")
    for row in benchmark.rows:
        table.add_row(
            row.label,
            f"{row.step_ms:.2f}",
            f"{row.floor_ms:.2f}",
            f"{row.reference_ms:.2f}",
            f"{row.reference_ms / row.step_ms:.1f}",
            f"{row.seconds_per_run:.1f}",
        )
    _print_wide(table)
    console.print(
        f"kernels: {benchmark.kernels}; {benchmark.runs} runs of {source} at {seeds} seeds, then refits: about "
        f"{benchmark.minutes:.1f} minutes with {benchmark.workers} workers",
        soft_wrap=True,
    )


@data_app.command("list")
def data_list() -> None:
    """List the known data sets and where each is on this machine."""
    from regulens.data.catalog import CATALOG, locate

    table = Table("name", "images", "shape", "classes", "where", "what", box=None, pad_edge=False)
    for info in CATALOG.values():
        found = locate(info)
        where = found.place if found else "not here: regulens data get"
        shape = "x".join(map(str, info.image_shape))
        table.add_row(
            info.name, f"{info.images:,}", shape, str(len(info.class_names)), where, f"{info.title}; {info.licence}"
        )
    _print_wide(table)


@data_app.command("get")
def data_get(name: str) -> None:
    """Find a data set, or download it into the package's cache, and verify it."""
    from regulens.data.catalog import dataset_info, fetch, verify

    info = dataset_info(name)
    fetch(info)
    located = verify(info)
    console.print(f"{name}: {_where(located.place, located.paths)}, verified", soft_wrap=True)


@data_app.command("check")
def data_check(name: str) -> None:
    """Verify the checksums of a data set that is on this machine."""
    from regulens.data.catalog import dataset_info, verify

    located = verify(dataset_info(name))
    for path in located.paths:
        console.print(f"ok  {path}", soft_wrap=True)
    console.print(f"{name}: {_where(located.place, located.paths)}, every checksum is right", soft_wrap=True)


def _where(place: str, paths: tuple[Path, ...]) -> str:
    return f"{paths[0].parent} ({place})" if paths else place


def _plan_table(cells: list[PlannedCell]) -> Table:
    table = Table("network", box=None, pad_edge=False)
    for name in ("parameters", "trainable", "runs to do", "seconds per run"):
        table.add_column(name, justify="right")
    for cell in cells:
        seconds = f"{cell.seconds_per_run:.1f}" if cell.seconds_per_run is not None else ""
        table.add_row(
            cell.label, f"{cell.parameters_total:,}", f"{cell.parameters_trainable:,}", str(cell.pending), seconds
        )
    return table


def _print_summary(study: Study) -> None:
    frame = study.results()
    trained = frame[frame["stage"] == "train"]
    table = Table("network", "n", "median", "min", "max", "collapsed", box=None, pad_edge=False)
    for label, runs in trained.groupby("network", sort=False):
        values = runs["val_accuracy"]
        numbers = (f"{value:.4f}" for value in (values.median(), values.min(), values.max()))
        table.add_row(str(label), str(len(runs)), *numbers, str(int(runs["collapsed"].sum())))
    console.print("validation accuracy over seeds", style="bold")
    _print_wide(table)


def _results_table(study: Study) -> Table:
    shown = ("run_id", "stage", "network", "seed", *_SHOWN_NUMBERS, "status", "collapsed")
    table = Table(*shown, box=None, pad_edge=False)
    for row in study.result_rows():
        table.add_row(*(_cell_text(row[name]) for name in shown))
    return table


def _print_wide(table: Table) -> None:
    """Print a table with every value whole, also where the terminal is narrower."""
    Console(width=max(console.width, _WIDE), highlight=False).print(table)


def _cell_text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if math.isfinite(value) else "–"
    return "–" if value is None else str(value)


def main() -> None:
    """Run the command line: exit code 2 for a user's mistake, 1 for a failure, one line each."""
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        sys.exit(app(arguments, standalone_mode=False))
    except UserError as error:
        _end(f"error: {error}", 2, debug)
    except RegulensError as error:
        _end(f"failed: {error}", 1, debug)
    except typer.Abort:
        _end("stopped", 130, debug)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if hasattr(error, "format_message"):  # the parser's own: an unknown option, a missing argument
            _end(f"error: {error.format_message()} (see regulens --help)", 2, debug)
        _end(f"failed: {type(error).__name__}: {error} (--debug shows where)", 1, debug)


def _end(line: str, code: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    errors.print(" ".join(line.split()), soft_wrap=True, markup=False)
    sys.exit(code)
