"""From a study's store to what its report says: numbers, sentences, pictures. Nothing here is HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regulens.figures.comparison import CellPoints
from regulens.report import pictures
from regulens.report.answer import answer_lines
from regulens.report.document import Block, Document
from regulens.report.facts import facts_of
from regulens.report.inside.kernel_pictures import KernelPicture, kernels_of_runs, shown_refits
from regulens.report.inside.part import inside_blocks
from regulens.report.networks import CellReport, RefitReport, cell_reports, refit_reports
from regulens.report.paper import TestedNetwork, choice_blocks, paper
from regulens.report.pictures import Picture
from regulens.report.summary import notes, summary_sentences
from regulens.report.wording import cell_text
from regulens.results import Opening, RunResult
from regulens.spec import StudySpec
from regulens.stats.analysis import CellSummary
from regulens.stats.intervals import Interval
from regulens.study.analysis import analyse_study
from regulens.study.grid import cell_label, run_label
from regulens.study.looks import levels, looks_text
from regulens.study.runner import run_folder
from regulens.study.samples import right_images
from regulens.study.store import Selection, Store, selections_in_force
from regulens.study.study_file import study_text
from regulens.training.predictions import PREDICTIONS, TEST_PREDICTIONS


@dataclass(frozen=True)
class ReportContent:
    """All that the report shows, in its order."""

    study: StudySpec
    facts: tuple[tuple[str, str], ...]
    sentences: tuple[str, ...]
    answer: tuple[str, ...]
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
    inside: tuple[Block, ...]


def report_content(study: StudySpec, folder: Path, store: Store) -> ReportContent | None:
    """Gather the report and write its figures; ``None`` as long as no run of the first stage is finished."""
    results = store.results()
    selections = selections_in_force(store)
    reports = tuple(cell_reports(study, folder, results, {selection.cell_id for selection in selections}))
    if not reports:
        return None
    tested = {record.run_id: record for record in store.ledger()}
    by_id = {result.run_id: result for result in results}
    refits = tuple(refit_reports(study, folder, results, tested))
    found = analyse_study(study, results, folder, *levels(store, study))
    facts = tuple(facts_of(study, reports, results))
    of_accuracy = found.analysis.cells if found.declared.response == "val_accuracy" else ()
    means = {cell_text(study, cell.levels): cell for cell in of_accuracy}
    all_trained = not any(cell.collapsed for cell in reports)
    tested_networks = [] if found.declared.paired else list(_tested(refits, reports, folder))  # or each has its images
    choice = choice_blocks(selections, _fresh(study, results), tested_networks, found)
    return ReportContent(
        study=study,
        facts=facts,
        sentences=tuple(summary_sentences(reports, selections, refits, found)),
        answer=tuple(answer_lines(study, found, results, selections, store.ledger())),
        notes=tuple(notes(study, results, store.selections())),
        galleries=tuple(pictures.galleries(study, folder)),
        cells=reports,
        chance_bounds=" or ".join(dict.fromkeys(f"{cell.chance_bound:.4f}" for cell in reports)),
        selections=tuple(selections),
        earlier_selections=tuple(each for each in store.selections() if each not in selections),
        refits=refits,
        ledger=tuple((record, run_label(by_id[record.run_id].spec, study)) for record in tested.values()),
        kernels=tuple(kernels_of_runs(study, folder, shown_refits(results, folder))),
        study_file=study_text(study),
        document=paper(
            study,
            results,
            found,
            folder=folder,
            facts=facts,
            comparison=pictures.comparison(
                [_points(cell, means.get(cell.label), all_trained) for cell in reports], folder
            ),
            choice=tuple(choice),
            record=tuple(_record(store, study)),
        ),
        inside=tuple(inside_blocks(study, folder, results, store)),
    )


def _points(cell: CellReport, summary: CellSummary | None, all_trained: bool) -> CellPoints:
    """Return what is drawn of a network; where all runs of a study trained, their mean is that of runs that trained."""
    accuracies = np.array([run.val_accuracy for run in cell.runs])
    published = cell.published.value if cell.published else None
    mean, trained = (_bounds(each) for each in (summary.mean, summary.trained)) if summary else (None, None)
    if all_trained:
        mean = trained
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
    yield looks_text(store, study)
    deviations = store.deviations()
    for deviation in deviations:
        yield f"{deviation.noted_at.replace('T', ' ').partition('+')[0]} UTC: {deviation.text}."
    if not deviations:
        yield "No deviations from the declared design."


def _tested(refits: Sequence[RefitReport], cells: Sequence[CellReport], folder: Path) -> Iterator[TestedNetwork]:
    """Yield the refitted networks whose predictions are all there, for what they say of single images."""
    trained = {cell.label: cell.runs for cell in cells}
    bounds = {cell.label: cell.chance_bound for cell in cells}
    for refit in refits:
        runs = [run for run, record in refit.runs if record is not None]
        test = right_images([run_folder(folder, run.run_id) / TEST_PREDICTIONS for run in runs])
        before = right_images([run_folder(folder, run.run_id) / PREDICTIONS for run in trained.get(refit.label, ())])
        if test is None or before is None:
            continue
        bound = bounds[refit.label]
        kept, before = (rows[rows.mean(1) > bound] for rows in (test, before))
        if len(kept) and len(before):
            rule = f"as many {runs[0].spec.refit} as before"
            yield TestedNetwork(refit.label, kept, before, rule, before.shape[1], len(test) - len(kept))
