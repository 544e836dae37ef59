"""The networks of a report: what the runs of each cell, and its refits, came to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from regulens.models.cnn import LayerRow
from regulens.report import pictures
from regulens.report.pictures import Picture
from regulens.results import Opening, RunResult
from regulens.spec import RunSpec, StudySpec
from regulens.stats.estimates import Summary, summarize
from regulens.study.grid import cell_label, cells, with_levels
from regulens.study.plan import layers_of
from regulens.study.table import collapse_bound, is_collapsed


@dataclass(frozen=True)
class PublishedFigure:
    """A figure that others printed for a cell, and where it falls among our seeds, in words."""

    value: float
    place: str


@dataclass(frozen=True)
class Loss:
    """The median of the losses that are finite (NaN if none is), and how many are not."""

    median: float
    not_finite: int


@dataclass(frozen=True)
class CellReport:
    """One network: its runs and what they came to."""

    label: str
    spec: RunSpec
    runs: tuple[RunResult, ...]
    accuracy: Summary
    gap: Summary
    train_loss: Loss
    train_accuracy: Summary
    val_loss: Loss
    seconds: Summary
    chance_bound: float
    collapsed: int
    selected: bool
    published: PublishedFigure | None
    parameters: tuple[int, int]
    layers: tuple[LayerRow, ...]
    curves: Picture


@dataclass(frozen=True)
class RefitReport:
    """One refitted network: its runs on train + validation and their openings of the test part."""

    label: str
    runs: tuple[tuple[RunResult, Opening | None], ...]
    reasons: tuple[str, ...]
    test: Summary | None
    published: PublishedFigure | None
    curves: Picture


def cell_reports(
    study: StudySpec, folder: Path, results: Sequence[RunResult], selected: set[str]
) -> Iterator[CellReport]:
    """Yield each network that has runs, in the order of the study's cells; ``selected`` are ids of cells."""
    runs_by_cell: dict[RunSpec, list[RunResult]] = {spec: [] for spec in cells(study)}
    for run in sorted(results, key=lambda run: run.spec.seed):
        if run.spec.compared:
            runs_by_cell[run.spec.cell].append(run)
    groups = [(spec, runs) for spec, runs in runs_by_cell.items() if runs]
    curves = pictures.curves([(cell_label(spec, study), runs) for spec, runs in groups], folder, "curves")
    for (spec, runs), picture in zip(groups, curves, strict=True):
        accuracies = [run.val_accuracy for run in runs]
        trained = [run.val_accuracy for run in runs if not is_collapsed(run)]
        yield CellReport(
            label=cell_label(spec, study),
            spec=spec,
            runs=tuple(runs),
            accuracy=summarize(accuracies),
            gap=summarize([run.train_accuracy - run.val_accuracy for run in runs]),
            train_loss=_loss([run.train_loss for run in runs]),
            train_accuracy=summarize([run.train_accuracy for run in runs]),
            val_loss=_loss([run.val_loss for run in runs]),
            seconds=summarize([run.train_seconds for run in runs]),
            chance_bound=collapse_bound(runs[0]),
            collapsed=len(accuracies) - len(trained),
            selected=runs[0].cell_id in selected,
            published=_published(study, spec, "val_accuracy", accuracies, trained),
            parameters=(runs[0].parameters_total, runs[0].parameters_trainable),
            layers=layers_of(spec),
            curves=picture,
        )


def _loss(values: Sequence[float]) -> Loss:
    finite = [value for value in values if math.isfinite(value)]
    return Loss(summarize(finite).median if finite else math.nan, len(values) - len(finite))


def refit_reports(
    study: StudySpec, folder: Path, results: Sequence[RunResult], tested: dict[str, Opening]
) -> list[RefitReport]:
    """Return each refitted network; ``tested`` are the openings of the test part, by run_id."""
    grouped: dict[str, list[RunResult]] = {}
    for run in results:
        if run.spec.stage == "refit":
            grouped.setdefault(run.cell_id, []).append(run)
    groups = [sorted(runs, key=lambda run: run.spec.seed) for runs in grouped.values()]
    curves = pictures.curves([(f"{cell_label(g[0].spec, study)}, refit", g) for g in groups], folder, "refit")
    reports = []
    for runs, picture in zip(groups, curves, strict=True):
        records = [tested.get(run.run_id) for run in runs]
        accuracies = [record.test_accuracy for record in records if record and math.isfinite(record.test_accuracy)]
        reports.append(
            RefitReport(
                label=cell_label(runs[0].spec, study),
                runs=tuple(zip(runs, records, strict=True)),
                reasons=tuple(dict.fromkeys(record.reason for record in records if record is not None)),
                test=summarize(accuracies) if accuracies else None,
                published=_published(study, runs[0].spec.cell, "test_accuracy", accuracies, accuracies),
                curves=picture,
            )
        )
    return reports


def _published(
    study: StudySpec, cell: RunSpec, name: str, ours: Sequence[float], trained: Sequence[float]
) -> PublishedFigure | None:
    for published in study.published.cells if study.published else []:
        value: float | None = getattr(published, name)
        if value is not None and ours and with_levels(study, published.where) == cell:
            place = place_among(value, ours)
            if len(trained) < len(ours):
                place += f"; of the non-collapsed runs: {place_among(value, trained)}" if trained else "; none trained"
            return PublishedFigure(value, place)
    return None


def place_among(value: float, ours: Sequence[float]) -> str:
    """Say where a single figure falls among our runs: below all, above all, or above k of n."""
    below = sum(other < value for other in ours)
    runs = f"all {len(ours)} of our runs" if len(ours) > 1 else "our one run"
    if value < min(ours):
        return f"below {runs}"
    if value > max(ours):
        return f"above {runs}"
    return f"within our range, above {below} of {len(ours)}"
