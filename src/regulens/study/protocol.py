"""The order of a study: train every cell, select on validation, refit, open the sealed test part once per refit."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from regulens.data.catalog import load_dataset
from regulens.data.dataset import Dataset, share
from regulens.data.split import split
from regulens.errors import RegulensError, UserError
from regulens.executors.base import Executor
from regulens.models.regularizers import build_regularizer
from regulens.results import Opening, RunResult
from regulens.spec import RunSpec, StudySpec, cell_id, feature_sizes, run_id
from regulens.study.grid import cell_label, cells, matching_cells
from regulens.study.runner import OnEvent, Opened, Selected, run_folder, run_pending
from regulens.study.store import Selection, Store, now, sole_writer
from regulens.study.study_file import STUDY_FILE, read_study, write_study
from regulens.training.checkpoint import TEST_PREDICTIONS, load_model, save_probabilities
from regulens.training.environment import pinned_torch
from regulens.training.evaluate import evaluate

SELECTION_RULE = (
    "the cell with the highest mean validation accuracy after the last epoch, over all its seeds, collapsed runs "
    "included; of equals, the one with fewer parameters"
)


def run_protocol(study: StudySpec, folder: Path, executor: Executor, on_event: OnEvent) -> StudySpec:
    """Bring the study in ``folder`` to its end; what is finished there already is not repeated.

    Returns:
        The study as run: never with fewer seeds than the folder holds already.

    Raises:
        UserError: if the folder holds another study, or a network does not fit its images.
        DataError: if a data set is absent or damaged.
        RegulensError: if a run failed; all others are stored, and the next call tries it again.
    """
    with sole_writer(folder):
        study = reconcile(study, folder)
        datasets = {name: load_dataset(name) for name in sorted({spec.data.name for spec in cells(study)})}
        check_fit(study, datasets)
        write_study(folder, study)
        store = Store(folder)
        with tempfile.TemporaryDirectory(prefix="regulens-") as shared_folder:
            data = {name: share(dataset, Path(shared_folder)) for name, dataset in datasets.items()}
            run_stage = partial(
                run_pending, folder=folder, store=store, executor=executor, data=data, on_event=on_event
            )
            trained = run_stage(planned(study), "train")
            _stop_at_failures(store)
            choice = select(study, trained)
            _record(choice.selection, store, on_event)
            refits = refits_of(study, choice.spec)
            run_stage([refit.spec for refit in refits], "refit")
            _stop_at_failures(store)
        open_test_parts(refits, folder, store, datasets, on_event)
    return study


def planned(study: StudySpec) -> list[RunSpec]:
    """Return the runs of the first stage: seed by seed, so that an unfinished study is an even one."""
    grid = cells(study)
    return [spec.model_copy(update={"seed": seed}) for seed in range(study.seeds) for spec in grid]


def reconcile(study: StudySpec, folder: Path) -> StudySpec:
    """Return the study to run in a folder that may hold it already, with the larger number of seeds.

    Raises:
        UserError: if the folder holds a study that differs in more than its seeds and texts.
    """
    if not (folder / STUDY_FILE).is_file():
        return study
    held = read_study(folder / STUDY_FILE)
    free = ("seeds", "title", "published")
    ours, theirs = (spec.model_dump(exclude=set(free)) for spec in (study, held))
    for key in ours:
        if ours[key] != theirs[key]:
            raise UserError(
                f"{folder}: holds a study with other {_first_difference(key, theirs[key], ours[key])}; "
                f"choose another --out or name"
            )
    return study.model_copy(update={"seeds": max(study.seeds, held.seeds)})


def check_fit(study: StudySpec, datasets: dict[str, Dataset]) -> None:
    """Check before anything is trained that every network fits its images and every part has some."""
    for spec in cells(study):
        dataset = datasets[spec.data.name]
        list(feature_sizes(spec.model, dataset.image_shape))
        split(len(dataset.labels), spec.data)


@dataclass(frozen=True)
class Choice:
    """The selected cell: its spec (seed 0) and the record of how it was chosen."""

    spec: RunSpec
    selection: Selection


def select(study: StudySpec, trained: Sequence[RunResult]) -> Choice:
    """Choose a cell by ``SELECTION_RULE``."""
    by_cell: dict[str, list[RunResult]] = {}
    for result in trained:
        by_cell.setdefault(result.cell_id, []).append(result)

    def merit(runs: list[RunResult]) -> tuple[float, int]:
        return float(np.mean([run.val_accuracy for run in runs])), -runs[0].parameters_total

    best = max(by_cell.values(), key=merit)
    selection = Selection(
        selected_at=now(),
        cell_id=best[0].cell_id,
        label=cell_label(best[0].spec, study),
        seeds=study.seeds,
        rule=SELECTION_RULE,
        mean_val_accuracy=merit(best)[0],
    )
    return Choice(best[0].spec.model_copy(update={"seed": 0}), selection)


@dataclass(frozen=True)
class Refit:
    """A network to fit again on train and validation together, and why."""

    spec: RunSpec
    reason: str


def refits_of(study: StudySpec, chosen: RunSpec) -> list[Refit]:
    """Return the refits: the chosen cell and those that the study names, one per seed each."""
    reasons = {chosen: f"selected on validation over {study.seeds} seed{'s' if study.seeds > 1 else ''}"}
    for number, where in enumerate(study.also_refit):
        for spec in matching_cells(study, where, f"also_refit[{number}]"):
            reasons.setdefault(spec, "named in the study file (also_refit)")
    return [
        Refit(spec.model_copy(update={"stage": "refit", "seed": seed}), reason)
        for spec, reason in reasons.items()
        for seed in range(study.seeds)
    ]


def open_test_parts(
    refits: Sequence[Refit], folder: Path, store: Store, datasets: dict[str, Dataset], on_event: OnEvent
) -> None:
    """Evaluate each refitted run on the sealed test part, once ever, and enter it into the ledger."""
    opened = {record.run_id for record in store.ledger()}
    for refit in refits:
        spec, dataset = refit.spec, datasets[refit.spec.data.name]
        identity = run_id(spec, dataset.digest)
        if identity in opened:
            continue
        indices = split(len(dataset.labels), spec.data).test
        run = run_folder(folder, identity)
        with pinned_torch():
            scored = evaluate(load_model(run), build_regularizer(spec.regularizer), dataset, indices, spec.data.scale)
        record = Opening(
            run_id=identity,
            opened_at=now(),
            reason=refit.reason,
            test_images=len(indices),
            test_loss=scored.loss,
            test_accuracy=scored.accuracy,
        )
        save_probabilities(run / TEST_PREDICTIONS, scored.probabilities)
        store.save_opening(record)
        on_event(Opened(spec, record))


def selected_cell(store: Store) -> Selection | None:
    """Return the selection in force: the latest."""
    return next(reversed(store.selections()), None)


def is_of_cell(result: RunResult, spec: RunSpec) -> bool:
    """Tell whether a run, trained or refitted, belongs to the cell of this spec."""
    return cell_id(result.spec.model_copy(update={"stage": spec.stage}), result.dataset_digest) == cell_id(
        spec, result.dataset_digest
    )


def _record(selection: Selection, store: Store, on_event: OnEvent) -> None:
    """Keep a selection unless the one in force says the same of as many seeds."""
    held = selected_cell(store)
    if held is None or (held.cell_id, held.seeds) != (selection.cell_id, selection.seeds):
        store.save_selection(selection)
    on_event(Selected(selection))


def _stop_at_failures(store: Store) -> None:
    failures = store.failures()
    if failures:
        raise RegulensError(
            f"{len(failures)} run(s) failed, the first: {failures[0].spec.regularizer}, depth "
            f"{failures[0].spec.model.depth}, seed {failures[0].spec.seed}: {failures[0].error}; "
            f"all finished runs are kept, the same command tries again"
        )


def _first_difference(key: str, held: object, asked: object) -> str:
    if isinstance(held, dict) and isinstance(asked, dict):
        for name in sorted(held.keys() | asked.keys()):
            if held.get(name) != asked.get(name):
                return f"{key}.{name} ({held.get(name)!r}, not {asked.get(name)!r})"
    return f"{key} ({held!r}, not {asked!r})"
