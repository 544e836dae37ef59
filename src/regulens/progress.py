"""What a running study shows: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

from regulens.models.cnn import LayerRow
from regulens.report.wording import counted
from regulens.results import EpochRecord
from regulens.spec import RunSpec, StudySpec
from regulens.study.grid import run_label
from regulens.study.plan import plan_study
from regulens.study.runner import (
    EpochEnded,
    Note,
    OnEvent,
    Opened,
    RunEnded,
    RunFailed,
    RunStarted,
    Selected,
    StageStarted,
    StudyEvent,
    StudyStarted,
)


def print_layer_tables(study: StudySpec, console: Console) -> None:
    """Print the layer table of each network below its name."""
    for cell in plan_study(study, [], estimate=False):
        trainable = f"{cell.parameters_total:,} parameters, {cell.parameters_trainable:,} trainable"
        console.print(f"{cell.label}: {trainable}", style="bold", soft_wrap=True)
        table = Table("layer", "kind", box=None, pad_edge=False)
        table.add_column("output", justify="right")
        table.add_column("parameters", justify="right")
        for row in cell.layers:
            table.add_row(*_layer_cells(row))
        console.print(table, "")


def _layer_cells(row: LayerRow) -> tuple[str, str, str, str]:
    return row.name, row.kind, "x".join(map(str, row.output_shape)), f"{row.parameters:,}"


@contextmanager
def study_display(console: Console) -> Iterator[OnEvent]:
    """Yield what shows a study's events on this console."""
    if not console.is_terminal:
        yield _PlainLines(console).show
        return
    total = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("epochs,"),
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("remaining"),
    )
    networks = Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[numbers]}", markup=False, table_column=Column(no_wrap=True)),
        expand=True,
    )
    with Live(Group(total, networks), console=console, refresh_per_second=5):
        yield _LiveBars(console, total, networks).show


class _PlainLines:
    """One line per event, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.study: StudySpec | None = None
        self.runs = self.done = 0

    def show(self, event: StudyEvent) -> None:
        """Print the event's line, if it has one."""
        if isinstance(event, StudyStarted):
            self.study = event.study
            print_layer_tables(event.study, self.console)
            self.console.print(_size_text(event.study), soft_wrap=True)
            return
        line = self._line(event)
        if line:
            self.console.print(line, soft_wrap=True, markup=False)

    def _line(self, event: StudyEvent) -> str:
        match event:
            case StageStarted(_, pending, _):
                self.runs, self.done = len(pending), 0
            case EpochEnded(spec, record):
                label = run_label(spec, _started(self.study))
                return f"{label}: epoch {record.epoch}/{spec.train.epochs}: {_numbers(record)}"
            case RunEnded() | RunFailed():
                self.done += 1
                return f"[{self.done}/{self.runs}] {_event_text(event, self.study)}"
        return _event_text(event, self.study)


class _LiveBars:
    """A bar over all epochs of the stage, and a line for each network at work."""

    def __init__(self, console: Console, total: Progress, networks: Progress) -> None:
        self.console, self.total, self.networks = console, total, networks
        self.study: StudySpec | None = None
        self.bar: TaskID | None = None
        self.lines: dict[RunSpec, TaskID] = {}
        self.epochs_left: dict[RunSpec, int] = {}
        self.at_work = False

    def show(self, event: StudyEvent) -> None:
        """Move the bars, and print above them what is to stay."""
        match event:
            case StudyStarted(study):
                self.study = study
                print_layer_tables(study, self.console)
                self.console.print(_size_text(study))
            case StageStarted(stage, pending, _):
                self._start_stage(stage, pending)
            case RunStarted(spec):
                label = run_label(spec, _started(self.study))
                numbers = "" if self.at_work else "its worker is starting"
                self.lines[spec] = self.networks.add_task(label, total=spec.train.epochs, numbers=numbers)
                self.epochs_left[spec] = spec.train.epochs
            case EpochEnded(spec, record):
                self.at_work = True
                self.networks.update(self.lines[spec], advance=1, numbers=_short_numbers(record))
                self.epochs_left[spec] -= 1
                self._advance(1)
            case RunEnded(spec, _) | RunFailed(spec, _):
                self.networks.remove_task(self.lines.pop(spec))
                self._advance(self.epochs_left.pop(spec))
        text = _event_text(event, self.study)
        if text:
            self.console.print(text, markup=False)

    def _start_stage(self, stage: str, pending: Sequence[RunSpec]) -> None:
        if self.bar is not None:
            self.total.remove_task(self.bar)
        epochs = sum(spec.train.epochs for spec in pending)
        name = "training" if stage == "train" else "refitting"
        self.bar = self.total.add_task(f"{name} {len(pending)} runs", total=epochs)

    def _advance(self, epochs: int) -> None:
        if self.bar is not None:
            self.total.update(self.bar, advance=epochs)


def _size_text(study: StudySpec) -> str:
    networks = math.prod(map(len, study.factors.values()))
    size = f"{counted(networks, 'network')} x {counted(study.seeds, 'seed')}"
    return f"{size} = {counted(networks * study.seeds, 'run')}, then refits and tests"


def _started(study: StudySpec | None) -> StudySpec:
    if study is None:
        raise RuntimeError("a study's events begin with StudyStarted")
    return study


def _event_text(event: StudyEvent, study: StudySpec | None) -> str:
    """Say what happened in one line; nothing for what only moves a bar."""
    match event:
        case Note(text):
            return f"note: {text}"
        case StageStarted(stage, pending, finished):
            verb = "training" if stage == "train" else "refitting on train + validation"
            return f"{verb}: {len(pending)} runs to do, {finished} finished before"
        case RunEnded(spec, result):
            val = f", validation {result.val_accuracy:.4f}" if spec.stage == "train" else ""
            label = run_label(spec, _started(study))
            return f"{label}: train {result.train_accuracy:.4f}{val}, {result.train_seconds:.1f} s"
        case RunFailed(spec, error):
            return f"{run_label(spec, _started(study))}: FAILED: {error}"
        case Selected(selection):
            among = f" on {selection.among}" if selection.among else ""
            mean = f"mean {selection.mean_val_accuracy:.4f} over {selection.seeds} seeds"
            return f"selected on validation{among}: {selection.label} ({mean})"
        case Opened(spec, record):
            label = run_label(spec, _started(study))
            return f"evaluated on the held-out test set: {label}: accuracy {record.test_accuracy:.4f}"
    return ""


def _numbers(record: EpochRecord) -> str:
    text = f"objective {record.objective:.4f} acc {record.accuracy:.4f}"
    if not math.isnan(record.val_accuracy):  # a refit has no validation part
        text += f" val_objective {record.val_objective:.4f} val_acc {record.val_accuracy:.4f}"
    return text


def _short_numbers(record: EpochRecord) -> str:
    """Write an epoch in some forty characters: train/validation."""
    if math.isnan(record.val_accuracy):
        return f"objective {record.objective:.3f} acc {record.accuracy:.3f}"
    objective = f"objective {record.objective:.3f}/{record.val_objective:.3f}"
    return f"{objective} acc {record.accuracy:.3f}/{record.val_accuracy:.3f}"
