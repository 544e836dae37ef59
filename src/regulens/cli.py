"""The command line: parse, call, print."""

from __future__ import annotations

import enum
import json
import math
import signal
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from regulens import __version__
from regulens.errors import RegulensError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regulens.api import Study
    from regulens.study.analysis_text import TextTable
    from regulens.study.plan import PlannedCell
    from regulens.study.runner import OnEvent

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


class AnalysisFormat(enum.StrEnum):
    """How `analyze` prints."""

    table = "table"
    json = "json"


class ReportFormat(enum.StrEnum):
    """How `report` writes."""

    html = "html"
    md = "md"
    tex = "tex"
    pdf = "pdf"


class Direction(enum.StrEnum):
    """Which response is better."""

    more = "higher"
    less = "lower"


class Primary(enum.StrEnum):
    """What decides: the mean of all runs, of those that trained, or the median."""

    mean = "mean"
    trained = "trained"
    median = "median"


class KernelScale(enum.StrEnum):
    """Over what a picture's black to white is spread."""

    kernel = "kernel"
    layer = "layer"


Source = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="A preset (quickstart, lab, lab-64 ...), a study file, or a study's folder."),
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
def run(
    source: Source,
    *,
    seeds: Seeds = None,
    workers: Workers = None,
    out: Out = None,
    device: Device = "cpu",
    until_decided: Annotated[
        bool, typer.Option("--until-decided", help="Add seeds at looks declared beforehand, until all is decided.")
    ] = False,
    max_seeds: Annotated[int, typer.Option(help="With --until-decided: the last look.")] = 29,
    looks: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="With --until-decided: the looks (default: 5, 10, 20, ...).")
    ] = None,
) -> None:
    """Train a study's networks, select, refit, open the test part, and write the report.

    Run it again to go on where it was, or with more seeds to extend it.
    """
    from regulens.api import load_study, run_study

    study = load_study(source, out).with_seeds(seeds)
    stops = _looks(looks, max_seeds) if until_decided else None
    if stops is None and looks is not None:
        raise UserError(f"--looks {looks}: is of use with --until-decided only; add it, or leave --looks away")
    with _training() as on_event:
        study = run_study(study, looks=stops, workers=workers, device=device, on_event=on_event)
    _print_summary(study)
    console.print(f"report: {(study.folder / 'report.html').resolve()}", soft_wrap=True)


@app.command()
def audit(
    source: Source, seeds: Seeds = None, workers: Workers = None, out: Out = None, device: Device = "cpu"
) -> None:
    """Train a study again under each of its variations, and say which of its claims survive."""
    from regulens.api import audit_study, load_study
    from regulens.report.audit import AUDIT, conclusions

    study = load_study(source, out)
    with _training() as on_event:
        found = audit_study(study, seeds=seeds, workers=workers, device=device, on_event=on_event)
    for text in conclusions(found):
        console.print(text, soft_wrap=True, markup=False)
    console.print(f"audit: {(study.folder / AUDIT).resolve()}", soft_wrap=True)


@app.command()
def plan(
    source: Source,
    *,
    seeds: Seeds = None,
    workers: Workers = None,
    out: Out = None,
    power: Annotated[bool, typer.Option("--power", help="How many seeds an effect needs, and how long.")] = False,
    effect: Annotated[float, typer.Option(help="With --power: in the response's unit; 0.01 is a point.")] = 0.01,
    sd: Annotated[
        float | None, typer.Option(help="With --power: the spread between seeds (default: the study's runs, a pilot).")
    ] = None,
    collapse: Annotated[float, typer.Option(help="With --power and --sd: the share of runs that collapse.")] = 0.0,
) -> None:
    """List what would run, with parameters and an estimate of time; nothing is trained."""
    from regulens.api import check_workers, load_study
    from regulens.study.plan import estimate_minutes

    study = load_study(source, out).with_seeds(seeds)
    count = check_workers(workers)
    if power:
        _print_power(study, effect, sd, collapse, count)
        return
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
    preset: Annotated[
        str, typer.Argument(metavar="PRESET", help="quickstart, lab, lab-64, lab-audit or lab-strength.")
    ],
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
def report(
    folder: Folder,
    output: Annotated[
        ReportFormat, typer.Option("--format", help="A page, Markdown, LaTeX, or PDF (needs regulens[pdf]).")
    ] = ReportFormat.html,
) -> None:
    """Rebuild a study's figures and report."""
    from regulens.api import load_study

    console.print(f"report: {load_study(folder).report(output.value).resolve()}", soft_wrap=True)


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
def analyze(
    data: Annotated[Path, typer.Argument(metavar="CSV", help="One row per run, the columns named in the first line.")],
    *,
    response: Annotated[str, typer.Option(metavar="COLUMN", help="The number to analyse, e.g. val_accuracy.")],
    factors: Annotated[str, typer.Option(metavar="COLUMNS", help="The factors, e.g. depth,regularizer.")],
    seed: Annotated[str | None, typer.Option(metavar="COLUMN", help="The seed of each run.")] = None,
    compare: Annotated[
        str | None, typer.Option(metavar="FACTOR", help="The compared one (default: the one that has the control).")
    ] = None,
    control: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="What its levels are compared with (default: none).")
    ] = None,
    rope: Annotated[
        float | None, typer.Option(help="Half-width of practical equivalence (default: 0.005 for accuracies, else 0).")
    ] = None,
    direction: Annotated[Direction, typer.Option(help="Which response is better.")] = Direction.more,
    chance: Annotated[
        float | None, typer.Option(help="Accuracy of guessing, to look for collapsed runs (default: not looked for).")
    ] = None,
    paired: Annotated[bool, typer.Option("--paired", help="Runs of one seed are pairs.")] = False,
    primary: Annotated[Primary, typer.Option(help="What decides: the mean, that of trained runs, the median.")] = (
        Primary.mean
    ),
    output: Annotated[AnalysisFormat, typer.Option("--format", help="How to print it.")] = AnalysisFormat.table,
) -> None:
    """Analyse results that were trained elsewhere: which differences are real?"""
    from regulens.study.analysis_text import cell_table, comparison_table, notes
    from regulens.study.own_numbers import analyze

    found = analyze(
        data,
        response=response,
        factors=factors,
        seed=seed,
        compare=compare,
        control=control,
        rope=rope,
        direction=direction.value,
        chance=chance,
        paired=paired,
        primary=primary.value,
    )
    if output is AnalysisFormat.json:
        sys.stdout.write(found.to_json() + "\n")
        return
    console.print(f"{response} of each cell", style="bold", markup=False)
    _print_text_table(cell_table(found.analysis))
    console.print(f"\n{response}: {found.compared} against {found.control}", style="bold", markup=False)
    _print_text_table(comparison_table(found.analysis))
    console.print()
    for note in notes(found.analysis):
        console.print(f"- {note}", markup=False)


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
    trained = frame[(frame["stage"] == "train") & (frame["seed"] < study.spec.seeds)]  # the rest are fresh seeds
    table = Table("network", "n", "median", "min", "max", "collapsed", box=None, pad_edge=False)
    for label, runs in trained.groupby("network", sort=False):
        values = runs["val_accuracy"]
        numbers = (f"{value:.4f}" for value in (values.median(), values.min(), values.max()))
        table.add_row(str(label), str(len(runs)), *numbers, str(int(runs["collapsed"].sum())))
    console.print("validation accuracy over seeds", style="bold")
    _print_wide(table)


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


def _print_power(study: Study, effect: float, sd: float | None, collapse: float, workers: int) -> None:
    """Print the seeds that each comparison needs, and how long the study takes with the most of them."""
    from regulens.study.plan import estimate_minutes, plan_study

    rows = study.power(effect, sd, collapse)
    table = Table("comparison", box=None, pad_edge=False)
    table.add_column("seeds", justify="right")
    most: list[int | None] = []
    for row in rows:
        found = row.seeds
        if found is None:
            table.add_row(f"{row.a} against {row.b}", row.reason)
            continue
        low, high = (str(end) if end is not None else f"> {found.max_seeds}" for end in (found.low, found.high))
        table.add_row(f"{row.a} against {row.b}", low if low == high else f"{low} to {high}")
        most.append(found.high)
    _print_wide(table)
    console.print(
        f"for a difference of {effect:g} to be decided with 80 % probability, as one of {len(rows)} comparisons whose "
        f"intervals hold together with 95 %; from {'the stated spread' if sd is not None else 'the runs in '}"
        f"{'' if sd is not None else study.folder}",
        soft_wrap=True,
    )
    known = [seeds for seeds in most if seeds is not None]
    if known and len(known) == len(most):
        grown = study.with_seeds(max(known))
        cells = plan_study(grown.spec, grown.runs(), estimate=True)
        console.print(
            f"{max(known)} seeds of every network: about {estimate_minutes(grown.spec, cells, workers):.1f} minutes "
            f"with {workers} workers here, refits included",
            soft_wrap=True,
        )


def _results_table(study: Study) -> Table:
    shown = ("run_id", "stage", "network", "seed", *_SHOWN_NUMBERS, "status", "collapsed")
    table = Table(*shown, box=None, pad_edge=False)
    for row in study.result_rows():
        table.add_row(*(_cell_text(row[name]) for name in shown))
    return table


def _print_text_table(text: TextTable) -> None:
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(text.columns):
        table.add_column(escape(name), justify="left" if place < text.names else "right")
    for row in text.rows:
        table.add_row(*map(escape, row))
    _print_wide(table)


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
