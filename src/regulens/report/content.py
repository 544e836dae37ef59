"""From a study's store to what its report says: numbers, sentences, pictures. Nothing here is HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from regulens.models.cnn import LayerRow, layer_table, parameter_counts
from regulens.report import pictures
from regulens.report.pictures import KernelPicture, Picture
from regulens.results import Opening, RunResult
from regulens.spec import RunSpec, StudySpec, level_of
from regulens.stats.estimates import Summary, chance_bound, summarize
from regulens.study.grid import cell_label, cells, level_text, with_levels
from regulens.study.protocol import SELECTION_RULE, is_of_cell, selected_cell
from regulens.study.runner import environment_differences, run_folder
from regulens.study.store import Selection, Store
from regulens.study.table import is_collapsed
from regulens.training.checkpoint import load_model


@dataclass(frozen=True)
class PublishedFigure:
    """A figure that others printed for a cell, and where it falls among our seeds, in words."""

    value: float
    place: str


@dataclass(frozen=True)
class CellReport:
    """One network: its runs and what they came to."""

    label: str
    spec: RunSpec
    runs: tuple[RunResult, ...]
    accuracy: Summary
    gap: Summary
    train_loss: Summary
    train_accuracy: Summary
    val_loss: Summary
    seconds: Summary
    collapsed: int
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
    chance_bound: float
    comparison: Picture
    selection: Selection | None
    earlier_selections: tuple[Selection, ...]
    selection_rule: str
    refits: tuple[RefitReport, ...]
    ledger: tuple[tuple[Opening, str], ...]
    kernels: tuple[KernelPicture, ...]
    study_file: str


def report_content(study: StudySpec, folder: Path, store: Store) -> ReportContent | None:
    """Gather the report and write its figures; ``None`` as long as no run of the first stage is finished."""
    results = store.results()
    reports = tuple(_cell_reports(study, folder, results))
    if not reports:
        return None
    tested = {record.run_id: record for record in store.ledger()}
    by_id = {result.run_id: result for result in results}
    selections = store.selections()
    selection = selected_cell(store)
    trained = [run for cell in reports for run in cell.runs]
    bound = max(chance_bound(run.val_class_counts) for run in trained)
    refits = tuple(_refit_reports(study, folder, results, tested))
    points = [
        (cell.label, [run.val_accuracy for run in cell.runs], cell.published.value if cell.published else None)
        for cell in reports
    ]
    return ReportContent(
        study=study,
        facts=tuple(_facts(study, trained, results)),
        sentences=tuple(_sentences(reports, selection, refits)),
        notes=tuple(_notes(study, results, selections)),
        galleries=tuple(pictures.galleries(study, folder)),
        cells=reports,
        chance_bound=bound,
        comparison=pictures.comparison(points, bound, folder),
        selection=selection,
        earlier_selections=tuple(selections[:-1]),
        selection_rule=SELECTION_RULE,
        refits=refits,
        ledger=tuple((record, _run_label(by_id[record.run_id], study)) for record in tested.values()),
        kernels=tuple(pictures.kernels_of_runs(study, folder, pictures.shown_refits(results))),
        study_file=(folder / "study.toml").read_text(encoding="utf-8"),
    )


def _cell_reports(study: StudySpec, folder: Path, results: Sequence[RunResult]) -> list[CellReport]:
    grouped = []
    for spec in cells(study):
        runs = [run for run in results if run.spec.stage == "train" and is_of_cell(run, spec)]
        if runs:
            grouped.append((spec, sorted(runs, key=lambda run: run.spec.seed)))
    curves = pictures.curves([(cell_label(spec, study), runs) for spec, runs in grouped], folder, "curves")
    return [
        _cell_report(study, folder, spec, runs, picture) for (spec, runs), picture in zip(grouped, curves, strict=True)
    ]


def _cell_report(
    study: StudySpec, folder: Path, spec: RunSpec, runs: Sequence[RunResult], curves: Picture
) -> CellReport:
    model = load_model(run_folder(folder, runs[0].run_id))
    accuracies = [run.val_accuracy for run in runs]
    return CellReport(
        label=cell_label(spec, study),
        spec=spec,
        runs=tuple(runs),
        accuracy=summarize(accuracies),
        gap=summarize([run.train_accuracy - run.val_accuracy for run in runs]),
        train_loss=summarize([run.train_loss for run in runs]),
        train_accuracy=summarize([run.train_accuracy for run in runs]),
        val_loss=summarize([run.val_loss for run in runs]),
        seconds=summarize([run.train_seconds for run in runs]),
        collapsed=sum(bool(is_collapsed(run)) for run in runs),
        published=_published(study, spec, "val_accuracy", accuracies),
        parameters=parameter_counts(model),
        layers=tuple(layer_table(model)),
        curves=curves,
    )


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
        accuracies = [record.test_accuracy for record in records if record is not None]
        reports.append(
            RefitReport(
                label=cell_label(runs[0].spec, study),
                runs=tuple(zip(runs, records, strict=True)),
                reasons=tuple(dict.fromkeys(record.reason for record in records if record is not None)),
                test=summarize(accuracies) if accuracies else None,
                published=_published(study, runs[0].spec, "test_accuracy", accuracies),
                curves=picture,
            )
        )
    return reports


def _published(study: StudySpec, spec: RunSpec, name: str, ours: Sequence[float]) -> PublishedFigure | None:
    for published in study.published.cells if study.published else []:
        value: float | None = getattr(published, name)
        same = with_levels(study, published.where) == spec.model_copy(update={"stage": "train", "seed": 0})
        if same and value is not None and ours:
            return PublishedFigure(value, place_among(value, ours))
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


def _facts(study: StudySpec, trained: Sequence[RunResult], results: Sequence[RunResult]) -> list[tuple[str, str]]:
    first, data = trained[0], study.data
    used = first.train_images + first.val_images
    factors = "; ".join(f"{path}: {', '.join(map(level_text, levels))}" for path, levels in study.factors.items())
    environment = results[-1].environment

    def field(path: str) -> str:
        return _field_text(study, path)

    return [
        ("Data", f"{field('data.name')}; pixels 0..255 times {field('data.scale')}"),
        (
            "Split",
            f"{first.train_images:,} train and {first.val_images:,} validation images, the rest sealed for the test "
            f"({1 - data.validation - data.test:.0%} / {data.validation:.0%} / {data.test:.0%}); scikit-learn's "
            f"train_test_split twice, random_state {field('data.split_seed')}, not stratified; a refit has {used:,}",
        ),
        (
            "Networks",
            f"{_count(len(cells(study)), 'cell')} ({factors or 'no factors'}), {_count(study.seeds, 'seed')} each",
        ),
        (
            "Architecture",
            f"blocks of convolution (kernel size {field('model.kernel_size')}, {field('model.filters')} filters, "
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
        ("Data set digest", first.dataset_digest),
    ]


def _field_text(study: StudySpec, path: str) -> str:
    """Write the value that all cells share in this field, or its levels if it is a factor."""
    levels = [{path: level} for level in study.factors.get(path, [])] or [{}]
    return " or ".join(level_text(level_of(with_levels(study, level), path)) for level in levels)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _sentences(reports: Sequence[CellReport], selection: Selection | None, refits: Sequence[RefitReport]) -> list[str]:
    """State what the tables show, and no more."""
    best = max(reports, key=lambda cell: cell.accuracy.median)
    worst = min(reports, key=lambda cell: cell.accuracy.median)
    said = []
    if len(reports) > 1:
        said.append(
            f"Of {len(reports)} networks, “{best.label}” has the highest median validation accuracy "
            f"({best.accuracy.median:.4f} over {_count(best.accuracy.n, 'seed')}), “{worst.label}” the lowest "
            f"({worst.accuracy.median:.4f})."
        )
    collapsed = [cell for cell in reports if cell.collapsed]
    if collapsed:
        listed = "; ".join(f"“{cell.label}” ({cell.collapsed} of {cell.accuracy.n})" for cell in collapsed)
        said.append(f"Collapsed runs, no better than guessing the largest class: {listed}.")
    else:
        said.append("No run collapsed to guessing.")
    if selection is not None:
        said.append(
            f"Selected on validation: “{selection.label}” (mean {selection.mean_val_accuracy:.4f} over "
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
    said.append("These are descriptions of the runs made, not tests of significance.")
    return said


def _notes(study: StudySpec, results: Sequence[RunResult], selections: Sequence[Selection]) -> list[str]:
    """Say what a reader must know before trusting the rest."""
    notes = []
    missing = len(cells(study)) * study.seeds - sum(run.spec.stage == "train" for run in results)
    if missing > 0:
        notes.append(f"The study is not finished: {missing} of its runs are missing.")
    differences = environment_differences([run.environment for run in results])
    if differences:
        count = len(Counter(run.environment for run in results))
        notes.append(f"The runs come from {count} environments, which differ in: {differences}.")
    for before, after in pairwise(selections):
        if before.cell_id != after.cell_id:
            notes.append(
                f"The selection changed when the study grew from {before.seeds} to {after.seeds} seeds: "
                f"“{before.label}” before, “{after.label}” now. "
                f"The ledger lists every opening of the test part, those for the earlier selection "
                f"included."
            )
    return notes


def _run_label(run: RunResult, study: StudySpec) -> str:
    return f"{cell_label(run.spec, study)}, seed {run.spec.seed}"
