"""From a study's store to what its report says: numbers, sentences, pictures. Nothing here is HTML."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regulens.figures.comparison import CellPoints
from regulens.models.cnn import LayerRow
from regulens.report import pictures
from regulens.report.document import Document
from regulens.report.paper import TestedNetwork, choice_blocks, paper
from regulens.report.pictures import KernelPicture, Picture
from regulens.report.written import cell_text, verdict_counts
from regulens.results import Opening, RunResult
from regulens.spec import RunSpec, StudySpec, level_of
from regulens.stats.analysis import CellSummary
from regulens.stats.estimates import Summary, chance_bound, summarize
from regulens.stats.intervals import Interval
from regulens.study.analysis import StudyAnalysis, analyse_study
from regulens.study.grid import cell_label, cells, level_text, run_label, with_levels
from regulens.study.looks import look_level, looks_text
from regulens.study.plan import layers_of
from regulens.study.protocol import selections_in_force
from regulens.study.runner import environment_differences, run_folder
from regulens.study.store import Selection, Store
from regulens.study.study_file import STUDY_FILE
from regulens.study.table import is_collapsed
from regulens.training.checkpoint import PREDICTIONS, TEST_PREDICTIONS, load_predictions


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


@dataclass(frozen=True)
class ReportContent:
    """All that the report shows, in its order."""

    study: StudySpec
    facts: tuple[tuple[str, str], ...]
    sentences: tuple[str, ...]
    notes: tuple[str, ...]
    galleries: tuple[Picture, ...]
    cells: tuple[CellReport, ...]
    chance_bounds: str
    selections: tuple[Selection, ...]
    earlier_selections: tuple[Selection, ...]
    refits: tuple[RefitReport, ...]
    ledger: tuple[tuple[Opening, str], ...]
    kernels: tuple[KernelPicture, ...]
    study_file: str
    document: Document


def report_content(study: StudySpec, folder: Path, store: Store) -> ReportContent | None:
    """Gather the report and write its figures; ``None`` as long as no run of the first stage is finished."""
    results = store.results()
    selections = selections_in_force(store)
    reports = tuple(_cell_reports(study, folder, results, {selection.cell_id for selection in selections}))
    if not reports:
        return None
    tested = {record.run_id: record for record in store.ledger()}
    by_id = {result.run_id: result for result in results}
    refits = tuple(_refit_reports(study, folder, results, tested))
    found = analyse_study(study, results, folder, look_level(store, study.seeds))
    facts = tuple(_facts(study, reports, results))
    means = {cell_text(study, cell.levels): cell for cell in found.analysis.cells}
    comparison = pictures.comparison([_points(cell, means.get(cell.label)) for cell in reports], folder)
    return ReportContent(
        study=study,
        facts=facts,
        sentences=tuple(_sentences(reports, selections, refits, found)),
        notes=tuple(_notes(study, results, store.selections())),
        galleries=tuple(pictures.galleries(study, folder)),
        cells=reports,
        chance_bounds=" or ".join(dict.fromkeys(f"{cell.chance_bound:.4f}" for cell in reports)),
        selections=tuple(selections),
        earlier_selections=tuple(each for each in store.selections() if each not in selections),
        refits=refits,
        ledger=tuple((record, run_label(by_id[record.run_id].spec, study)) for record in tested.values()),
        kernels=tuple(pictures.kernels_of_runs(study, folder, pictures.shown_refits(results, folder))),
        study_file=(folder / STUDY_FILE).read_text(encoding="utf-8"),
        document=paper(
            study,
            results,
            found,
            folder=folder,
            facts=facts,
            comparison=comparison,
            choice=tuple(
                choice_blocks(selections, _fresh(study, results), list(_tested(refits, reports, folder)), found)
            ),
            record=tuple(_record(store, study)),
        ),
    )


def _cell_reports(
    study: StudySpec, folder: Path, results: Sequence[RunResult], selected: set[str]
) -> Iterator[CellReport]:
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
            chance_bound=chance_bound(runs[0].val_class_counts),
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


def _points(cell: CellReport, summary: CellSummary | None) -> CellPoints:
    accuracies = np.array([run.val_accuracy for run in cell.runs])
    published = cell.published.value if cell.published else None
    mean, trained = (_bounds(each) for each in (summary.mean, summary.trained)) if summary else (None, None)
    return CellPoints(cell.label, accuracies, cell.chance_bound, published, mean, trained)


def _bounds(interval: Interval | None) -> tuple[float, float, float] | None:
    return None if interval is None else (interval.estimate, interval.low, interval.high)


def _fresh(study: StudySpec, results: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Return the runs from fresh seeds, by the label of their cell."""
    found: dict[str, list[RunResult]] = {}
    for run in results:
        if run.spec.fresh:
            found.setdefault(cell_label(run.spec.cell, study), []).append(run)
    return found


def _record(store: Store, study: StudySpec) -> Iterator[str]:
    """Say where the study left what was declared, and what its looks cost."""
    text = looks_text(store, study.seeds)
    if text:
        yield text
    for deviation in store.deviations():
        yield f"{deviation.noted_at.replace('T', ' ').partition('+')[0]} UTC: {deviation.text}."


def _tested(refits: Sequence[RefitReport], cells: Sequence[CellReport], folder: Path) -> Iterator[TestedNetwork]:
    """Yield the refitted networks whose predictions are all there, for what they say of single images."""
    trained = {cell.label: cell.runs for cell in cells}
    for refit in refits:
        runs = [run for run, record in refit.runs if record is not None]
        test = _right([run_folder(folder, run.run_id) / TEST_PREDICTIONS for run in runs])
        before = _right([run_folder(folder, run.run_id) / PREDICTIONS for run in trained.get(refit.label, ())])
        cell = next((cell for cell in cells if cell.label == refit.label), None)
        if test is not None and before is not None and cell is not None:
            kept, before = (rows[rows.mean(1) > cell.chance_bound] for rows in (test, before))
            if not (len(kept) and len(before)):
                continue
            rule = "as many updates as before" if runs[0].spec.refit == "updates" else "as many epochs as before"
            yield TestedNetwork(refit.label, kept, before, rule, before.shape[1], len(test) - len(kept))


def _right(paths: Sequence[Path]) -> NDArray[np.bool_] | None:
    """Return which images the runs have right, (runs, images); ``None`` where predictions are missing."""
    if not paths or not all(path.is_file() for path in paths):
        return None
    predictions = [load_predictions(path) for path in paths]
    return np.array([each.probabilities.argmax(1) == each.labels for each in predictions])


def _refit_reports(
    study: StudySpec, folder: Path, results: Sequence[RunResult], tested: dict[str, Opening]
) -> list[RefitReport]:
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
                place += f"; of those that trained: {place_among(value, trained)}" if trained else "; none trained"
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


def _facts(study: StudySpec, reports: Sequence[CellReport], results: Sequence[RunResult]) -> list[tuple[str, str]]:
    factors = "; ".join(f"{path}: {', '.join(map(level_text, levels))}" for path, levels in study.factors.items())
    environment = results[-1].environment
    first_runs = list({cell.spec.parts: cell.runs[0] for cell in reversed(reports)}.values())[::-1]

    def field(path: str) -> str:
        return _field_text(study, path)

    return [
        ("Data", f"{field('data.name')}; pixels 0..255 times {field('data.scale')}{_standardized(study)}"),
        ("Split", "; ".join(_split_text(run, len(first_runs) > 1) for run in first_runs)),
        (
            "Networks",
            f"{_count(len(cells(study)), 'cell')} ({factors or 'no factors'}), {_count(study.seeds, 'seed')} each",
        ),
        (
            "Architecture",
            f"regularizer {field('regularizer')}; {field('model.depth')} blocks of convolution (kernel size "
            f"{field('model.kernel_size')}, {field('model.filters')} filters, "
            f"{field('model.padding')} padding), ReLU and max pooling of {field('model.pool')}; a dense layer of "
            f"{field('model.dense')} with ReLU; softmax. Kernels start Glorot uniform, biases at zero. Dropout and "
            f"batch norm stand after each pooling and after the dense layer; L2 acts on convolution kernels, its "
            f"term inside every reported loss",
        ),
        (
            "Training",
            f"SGD on the cross-entropy, learning rate {field('train.learning_rate')}, momentum "
            f"{field('train.momentum')}, batches of {field('train.batch_size')}, {field('train.epochs')} epochs",
        ),
        (
            "Made with",
            f"Regulens {environment.regulens}, Python {environment.python}, torch {environment.torch}, "
            f"numpy {environment.numpy}",
        ),
        ("Machine", f"{environment.cpu}, {environment.platform}, device {environment.device}, one thread per run"),
        ("Data digest", ", ".join(dict.fromkeys(run.dataset_digest for run in first_runs))),
    ]


def _standardized(study: StudySpec) -> str:
    how = "brought to mean 0 and standard deviation 1 over the images fitted on"
    if "data.standardize" in study.factors:
        return f", then, where standardize is True, {how}"
    return f", then {how}" if study.data.standardize else ""


def _split_text(run: RunResult, several: bool) -> str:
    data = run.spec.data
    shares = f"{1 - data.validation - data.test:.0%} / {data.validation:.0%} / {data.test:.0%}"
    return (
        f"{data.name + ', ' if several else ''}{run.train_images:,} train and {run.val_images:,} validation images, "
        f"the rest sealed for the test ({shares}); scikit-learn's train_test_split twice, random_state "
        f"{data.split_seed}, not stratified; a refit has {run.train_images + run.val_images:,}"
    )


def _field_text(study: StudySpec, path: str) -> str:
    """Write the value that all cells share in this field, or its levels if it is a factor."""
    levels = [{path: level} for level in study.factors.get(path, [])] or [{}]
    return " or ".join(level_text(level_of(with_levels(study, level), path)) for level in levels)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _sentences(
    reports: Sequence[CellReport],
    selections: Sequence[Selection],
    refits: Sequence[RefitReport],
    found: StudyAnalysis,
) -> list[str]:
    """State what the tables show, and no more."""
    said = [_extremes(reports)] if len(reports) > 1 else []
    collapsed = [cell for cell in reports if cell.collapsed]
    if collapsed:
        listed = "; ".join(f"“{cell.label}” {cell.collapsed} of {cell.accuracy.n}" for cell in collapsed)
        said.append(f"Runs that collapsed (accuracy not above the 99.9 % bound of guessing): {listed}.")
    else:
        said.append("No run collapsed: all are above the 99.9 % bound of guessing.")
    for selection in selections:
        among = f" on {selection.among}" if selection.among else ""
        said.append(
            f"Selected on validation{among}: “{selection.label}” (mean {selection.mean_val_accuracy:.4f} over "
            f"{_count(selection.seeds, 'seed')})."
        )
    for refit in refits:
        if refit.test is not None:
            values = (
                f"from {refit.test.low:.4f} to {refit.test.high:.4f}, mean {refit.test.mean:.4f}, "
                f"over {refit.test.n} refits"
                if refit.test.n > 1
                else f"{refit.test.mean:.4f} in its one refit"
            )
            said.append(f"Test accuracy of “{refit.label}”, refitted on train + validation: {values}.")
    counts = verdict_counts(found)
    return [*said, f"{counts[0].upper()}{counts[1:]}"] if counts else said


def _extremes(reports: Sequence[CellReport]) -> str:
    medians = [cell.accuracy.median for cell in reports]
    high, low = max(medians), min(medians)
    if high == low:
        return f"All {len(reports)} networks have the same median validation accuracy ({high:.4f})."
    best, worst = (
        " and ".join(f"“{cell.label}”" for cell in reports if cell.accuracy.median == extreme)
        for extreme in (high, low)
    )
    return (
        f"Of {len(reports)} networks, the highest median validation accuracy is that of {best} ({high:.4f}), the "
        f"lowest that of {worst} ({low:.4f})."
    )


def _notes(study: StudySpec, results: Sequence[RunResult], selections: Sequence[Selection]) -> list[str]:
    """Say what a reader must know before trusting the rest."""
    notes = []
    missing = len(cells(study)) * study.seeds - sum(run.spec.compared for run in results)
    if missing > 0:
        notes.append(f"The study is not finished: {missing} of its runs are missing.")
    differences = environment_differences([run.environment for run in results])
    if differences:
        count = len(Counter(run.environment for run in results))
        notes.append(f"The runs come from {count} environments, which differ in: {differences}.")
    for among in dict.fromkeys(selection.among for selection in selections):
        for before, after in pairwise([selection for selection in selections if selection.among == among]):
            if before.cell_id != after.cell_id:
                notes.append(
                    f"The selection changed when the study grew from {before.seeds} to {after.seeds} seeds: "
                    f"“{before.label}” before, “{after.label}” now. The ledger lists every opening of the test part, "
                    f"those for the earlier selection included."
                )
    if "split" in study.vary:
        notes.append(
            "Seeds vary the split: an image that is sealed under one seed may be trained on under another. Within a "
            "seed all networks have the same images, and runs of one seed are compared as pairs."
        )
    if "data.split_seed" in study.factors:
        notes.append(
            "The cells differ in their split: an image that is sealed for one may be trained on by another, so a cell "
            "is selected for each split, and test accuracies are to be read within one."
        )
    return notes
