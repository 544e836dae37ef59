"""What a running study shows: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from regulens.api import PlannedCell
from regulens.models.cnn import LayerRow
from regulens.results import EpochRecord
from regulens.spec import RunSpec, StudySpec
from regulens.study.grid import cell_label
from regulens.study.runner import (
    EnvironmentDiffers,
    EpochEnded,
    OnEvent,
    Opened,
    RunEnded,
    RunFailed,
    RunStarted,
    Selected,
    StageStarted,
    StudyEvent,
)


def print_layer_tables(cells: Sequence[PlannedCell], console: Console) -> None:
    """Print the layer table of each network below its name."""
    for cell in cells:
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
def study_display(study: StudySpec, console: Console) -> Iterator[OnEvent]:
    """Yield what shows a study's events on this console."""
    if not console.is_terminal:
        yield _PlainLines(study, console).show
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield _LiveBars(study, progress).show


class _PlainLines:
    """One line per event, for logs and pipes."""

    def __init__(self, study: StudySpec, console: Console) -> None:
        self.study, self.console = study, console
        self.runs = self.done = 0

    def show(self, event: StudyEvent) -> None:
        line = self._line(event)
        if line:
            self.console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _line(self, event: StudyEvent) -> str:
        match event:
            case StageStarted(_, pending, _):
                self.runs, self.done = len(pending), 0
            case EpochEnded(spec, record):
                return f"{_run_label(spec, self.study)}: epoch {record.epoch}/{spec.train.epochs}: {_numbers(record)}"
            case RunEnded() | RunFailed():
                self.done += 1
                return f"[{self.done}/{self.runs}] {_event_text(event, self.study)}"
        return _event_text(event, self.study)


class _LiveBars:
    """A bar over all epochs of the stage, and one for each network at work."""

    def __init__(self, study: StudySpec, progress: Progress) -> None:
        self.study, self.progress = study, progress
        self.total: TaskID | None = None
        self.bars: dict[RunSpec, TaskID] = {}

    def show(self, event: StudyEvent) -> None:
        match event:
            case StageStarted(stage, pending, _):
                self._start_stage(stage, pending)
            case RunStarted(spec):
                label = _run_label(spec, self.study)
                self.bars[spec] = self.progress.add_task(label, total=spec.train.epochs, unit="epochs", numbers="")
            case EpochEnded(spec, record):
                self.progress.update(self.bars[spec], advance=1, numbers=_numbers(record))
                self._advance(1)
            case RunEnded(spec, _):
                self.progress.remove_task(self.bars.pop(spec))
            case RunFailed(spec, _):
                task = self.bars.pop(spec)
                self._advance(spec.train.epochs - self.progress.tasks[self.progress.task_ids.index(task)].completed)
                self.progress.remove_task(task)
        text = _event_text(event, self.study)
        if text:
            self.progress.console.print(text, highlight=False, markup=False)

    def _start_stage(self, stage: str, pending: Sequence[RunSpec]) -> None:
        if self.total is not None:
            self.progress.remove_task(self.total)
        epochs = sum(spec.train.epochs for spec in pending)
        name = "training" if stage == "train" else "refitting"
        self.total = self.progress.add_task(f"{name} {len(pending)} runs", total=epochs, unit="epochs", numbers="")

    def _advance(self, epochs: float) -> None:
        if self.total is not None:
            self.progress.update(self.total, advance=epochs)


def _event_text(event: StudyEvent, study: StudySpec) -> str:
    """Say what happened in one line; nothing for what only moves a bar."""
    match event:
        case EnvironmentDiffers(differences):
            return f"note: the study goes on under other conditions than some finished runs: {differences}"
        case StageStarted(stage, pending, finished):
            verb = "training" if stage == "train" else "refitting on train + validation"
            return f"{verb}: {len(pending)} runs to do, {finished} finished before"
        case RunEnded(spec, result) if spec.stage == "train":
            return (
                f"{_run_label(spec, study)}: train {result.train_accuracy:.4f}, validation "
                f"{result.val_accuracy:.4f}, {result.train_seconds:.1f} s"
            )
        case RunEnded(spec, result):
            return f"{_run_label(spec, study)}: train {result.train_accuracy:.4f}, {result.train_seconds:.1f} s"
        case RunFailed(spec, error):
            return f"{_run_label(spec, study)}: FAILED: {error}"
        case Selected(selection):
            return (
                f"selected on validation: {selection.label} (mean {selection.mean_val_accuracy:.4f} over "
                f"{selection.seeds} seeds)"
            )
        case Opened(spec, record):
            return f"test part opened for {_run_label(spec, study)}: accuracy {record.test_accuracy:.4f}"
    return ""


def _run_label(spec: RunSpec, study: StudySpec) -> str:
    refit = ", refit" if spec.stage == "refit" else ""
    return f"{cell_label(spec, study)}, seed {spec.seed}{refit}"


def _numbers(record: EpochRecord) -> str:
    text = f"loss {record.loss:.4f} acc {record.accuracy:.4f}"
    if record.val_accuracy == record.val_accuracy:  # a refit has no validation part: NaN
        text += f" val_loss {record.val_loss:.4f} val_acc {record.val_accuracy:.4f}"
    return text
