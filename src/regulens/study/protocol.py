"""The order of a study: train every cell, select on validation, refit, open the held-out test set once per refit."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from regulens.data.batches import Feed, pixel_scaling
from regulens.data.catalog import load_dataset
from regulens.data.dataset import Dataset, SharedDataset, share
from regulens.data.split import split
from regulens.executors.base import Executor
from regulens.kernels.paths import REFERENCE, why_not_native
from regulens.models.regularizers import build_regularizer
from regulens.results import Opening, RunResult
from regulens.spec import MAX_SEEDS, DataSpec, RunSpec, StudySpec, feature_sizes, run_id
from regulens.stats.ties import best_of_equals
from regulens.study.folder import Reconciled, declare, reconcile
from regulens.study.grid import cell_label, cells, matching_cells, parts_label, planned
from regulens.study.looks import record_look
from regulens.study.run_files import has_test_predictions
from regulens.study.runner import Note, OnEvent, Opened, Selected, StudyStarted, run_folder, run_pending
from regulens.study.store import DATABASE, Deviation, Selection, Store, now, selections_in_force, sole_writer
from regulens.study.study_file import write_study
from regulens.study.thresholds import check_thresholds
from regulens.training.checkpoint import load_model
from regulens.training.device import find_device
from regulens.training.environment import pinned_torch
from regulens.training.evaluate import Evaluation, evaluate
from regulens.training.predictions import TEST_PREDICTIONS, save_predictions

SELECTION_RULE = (
    "the cell with the highest mean validation accuracy after the last epoch, over all its seeds, collapsed runs "
    "included; of equals, the one with fewer parameters, then the first in the study file"
)


def run_protocol(
    study: StudySpec,
    folder: Path,
    executor: Executor,
    on_event: OnEvent,
    device: str = "cpu",
    *,
    only_train: bool = False,
) -> StudySpec:
    """Bring the study in ``folder`` to its end on ``device``; what is finished there already is not repeated.

    Args:
        study: what to run.
        folder: where, a folder of its own.
        executor: on which the trainings run.
        on_event: is told what happens.
        device: where networks are trained.
        only_train: nothing is selected, refitted or tested: the test part stays sealed.

    Returns:
        The study as run: with no fewer seeds than were run in the folder before.

    Raises:
        UserError: if the folder holds another study, a network does not fit its images, or a new study declares a
            width in points.
        DataError: if a data set is absent or damaged.
        RegulensError: if a run failed; all others are stored, and the next call tries it again.
    """
    if not (folder / DATABASE).is_file():
        check_thresholds(study)
    with sole_writer(folder):
        found = reconcile(study, folder)
        study, asked = found.study, study.seeds
        datasets = {name: load_dataset(name) for name in sorted({spec.data.name for spec in cells(study)})}
        check_fit(study, datasets)
        write_study(folder, study)
        store = Store(folder)
        declare(study, store)
        for text in _notes(found, asked):
            on_event(Note(text))
        on_event(StudyStarted(study))
        _note_slow_kernels(device, on_event)
        with shared_datasets(datasets, folder) as data:
            run_stage = partial(
                run_pending,
                study=study,
                folder=folder,
                store=store,
                executor=executor,
                data=data,
                on_event=on_event,
                device=device,
            )
            trained = run_stage(planned(study), "train")
            if only_train:
                return study
            record_look(store, study)
            choices = select(study, trained)
            for choice in choices:
                _record(choice.selection, store, on_event)
            if study.fresh:
                run_stage(fresh_runs(study, choices), "train")
            refits = refits_of(study, [choice.spec for choice in choices])
            run_stage([refit.spec for refit in refits], "refit")
        open_test_parts(refits, folder, store, datasets, on_event)
    return study


def _notes(found: Reconciled, seeds: int) -> Iterator[str]:
    """Say how a study goes on in its folder, where that is not as it was asked for with so many seeds."""
    if found.seeds_run > seeds:
        yield f"the folder holds runs of {found.seeds_run} seeds: the study goes on with {found.seeds_run}"
    for deviation in found.deviations:
        change = deviation.text.partition(": ")[2]
        yield f"the declaration is not the one under which runs were made: {change}"


def check_fit(study: StudySpec, datasets: dict[str, Dataset]) -> None:
    """Check before anything is trained that every network fits its images and every part has some."""
    grid = cells(study)
    for spec in grid:
        list(feature_sizes(spec.model, datasets[spec.data.name].image_shape))
    for parts in {spec.parts for spec in grid}:
        split(len(datasets[parts.name].labels), parts)


@dataclass(frozen=True)
class Choice:
    """A selected cell: its spec (seed 0) and the record of how it was chosen."""

    spec: RunSpec
    selection: Selection


def select(study: StudySpec, trained: Sequence[RunResult]) -> list[Choice]:
    """Choose a cell by ``SELECTION_RULE`` among those that are evaluated on the same images.

    A study whose factors leave data set and split alone, the usual one, has one choice; otherwise one for
    each set of images. Where seeds vary the split, cells are still judged on the same images, seed by seed.
    """
    cells_by_parts: dict[DataSpec, dict[RunSpec, list[RunResult]]] = {}
    for spec in cells(study):
        cells_by_parts.setdefault(spec.parts, {})[spec] = []
    for result in trained:
        cells_by_parts[result.spec.cell.parts][result.spec.cell].append(result)
    return [_best(study, runs_by_cell) for runs_by_cell in cells_by_parts.values()]


def _best(study: StudySpec, runs_by_cell: dict[RunSpec, list[RunResult]]) -> Choice:
    specs = list(runs_by_cell)
    means = [float(np.mean([run.val_accuracy for run in runs])) for runs in runs_by_cell.values()]
    equals = best_of_equals(means)
    chosen = min(equals, key=lambda index: runs_by_cell[specs[index]][0].parameters_total)
    best = specs[chosen]
    selection = Selection(
        selected_at=now(),
        among=parts_label(best, study),
        cell_id=runs_by_cell[best][0].cell_id,
        label=cell_label(best, study),
        seeds=study.seeds,
        rule=SELECTION_RULE,
        mean_val_accuracy=means[chosen],
    )
    return Choice(best, selection)


def fresh_runs(study: StudySpec, choices: Sequence[Choice]) -> list[RunSpec]:
    """Return trainings of the chosen cells from seeds that had no part in the choice, as many as the study asks for."""
    seeds = range(MAX_SEEDS, MAX_SEEDS + study.fresh)
    return [choice.spec.model_copy(update={"seed": seed}) for choice in choices for seed in seeds]


@dataclass(frozen=True)
class Refit:
    """A network to fit again on train and validation together, and why."""

    spec: RunSpec
    reason: str


def refits_of(study: StudySpec, chosen: Sequence[RunSpec]) -> list[Refit]:
    """Return the refits: the chosen cells and those that the study names, one per seed each."""
    seeds = f"{study.seeds} seed" + ("s" if study.seeds > 1 else "")
    reasons = dict.fromkeys(chosen, f"selected on validation over {seeds}")
    for number, where in enumerate(study.also_refit):
        for spec in matching_cells(study, where, f"also_refit[{number}]"):
            reasons.setdefault(spec, "named in the study file (also_refit)")
    return [
        Refit(spec.model_copy(update={"stage": "refit", "refit": study.refit, "seed": seed}), reason)
        for spec, reason in reasons.items()
        for seed in range(study.seeds)
    ]


def open_test_parts(
    refits: Sequence[Refit], folder: Path, store: Store, datasets: dict[str, Dataset], on_event: OnEvent
) -> None:
    """Evaluate each refitted run on the held-out test set, once ever.

    The opening is entered into the ledger before anything is seen, and its numbers filled in afterwards. Test
    predictions that were lost are made again from the run's weights, which is no new opening.
    """
    ledger = {record.run_id: record for record in store.ledger()}
    for refit in refits:
        spec, dataset = refit.spec, datasets[refit.spec.data.name]
        identity = run_id(spec, dataset.digest)
        record, place = ledger.get(identity), run_folder(folder, identity)
        if record is not None and not math.isnan(record.test_accuracy) and has_test_predictions(place, record):
            continue
        model = load_model(place)
        record = record or _begun(refit, place, store, dataset, on_event)
        parts = split(len(dataset.labels), spec.parts)
        with pinned_torch():
            feed = Feed(dataset, pixel_scaling(dataset, spec.data, parts.fitted(spec.stage)))
            scored = evaluate(model, build_regularizer(spec.regularizer), feed, parts.test)
        if math.isnan(record.test_accuracy):  # just begun, or cut short before its numbers were stored
            save_predictions(place / TEST_PREDICTIONS, scored.probabilities, parts.test, dataset)
            record = record.model_copy(update={"test_loss": scored.loss, "test_accuracy": scored.accuracy})
            store.finish_opening(record)
            on_event(Opened(spec, record))
            continue
        if scored.accuracy == record.test_accuracy:
            save_predictions(place / TEST_PREDICTIONS, scored.probabilities, parts.test, dataset)
        on_event(Note(_made_again(spec, record, scored)))


def _begun(refit: Refit, place: Path, store: Store, dataset: Dataset, on_event: OnEvent) -> Opening:
    """Enter an opening into the ledger; where there was one that the ledger has lost, that is noted as a deviation."""
    identity, reason = place.name, refit.reason
    if (place / TEST_PREDICTIONS).exists():
        text = (
            f"run {identity} was evaluated on the test set before, which is missing from the test-set access log: it "
            "is entered again"
        )
        store.save_deviation(Deviation(noted_at=now(), text=text))
        on_event(Note(text))
        reason += "; evaluated before, the ledger has lost when"
    record = Opening(
        run_id=identity,
        opened_at=now(),
        reason=reason,
        test_images=len(split(len(dataset.labels), refit.spec.parts).test),
        test_loss=math.nan,
        test_accuracy=math.nan,
    )
    store.begin_opening(record)
    return record


def _made_again(spec: RunSpec, record: Opening, scored: Evaluation) -> str:
    run = f"run {record.run_id} (seed {spec.seed}, refit)"
    if scored.accuracy == record.test_accuracy:
        return f"{run}: its test predictions were lost and are made again: no new evaluation, the ledger's accuracy"
    return (
        f"{run}: its test predictions are lost: its weights give {scored.accuracy:.4f} here, and the ledger says "
        f"{record.test_accuracy:.4f}, which stands"
    )


def _note_slow_kernels(device: str, on_event: OnEvent) -> None:
    if why_not_native and os.environ.get("REGULENS_KERNELS") != REFERENCE and find_device(device).type == "cpu":
        on_event(Note("there are no native kernels in this installation: several times slower (regulens doctor)"))


@contextmanager
def shared_datasets(datasets: dict[str, Dataset], folder: Path) -> Iterator[dict[str, SharedDataset]]:
    """Lay the data sets out for the workers inside the study folder; what a crash left there is swept first."""
    place = folder / ".shared"
    shutil.rmtree(place, ignore_errors=True)
    try:
        yield {name: share(dataset, place) for name, dataset in datasets.items()}
    finally:
        shutil.rmtree(place, ignore_errors=True)  # where a worker still maps a file, the next run sweeps


def _record(selection: Selection, store: Store, on_event: OnEvent) -> None:
    """Keep a selection unless the one in force says the same of as many seeds."""
    held = {each.among: (each.cell_id, each.seeds) for each in selections_in_force(store)}
    if held.get(selection.among) != (selection.cell_id, selection.seeds):
        store.save_selection(selection)
    on_event(Selected(selection))
