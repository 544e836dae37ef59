"""Planned runs minus finished ones, handed to an executor; each is stored as soon as it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from regulens.data.dataset import Dataset, SharedDataset
from regulens.errors import RegulensError
from regulens.executors.base import Done, Event, Executor, Failed, Progress, Report, Started
from regulens.results import Environment, EpochRecord, Opening, RunResult
from regulens.spec import RunSpec, Stage, StudySpec, arithmetic, run_id
from regulens.study.grid import run_label
from regulens.study.run_files import PredictJob, check_files, has_predictions, has_weights, predict_again
from regulens.study.store import Failure, Selection, Store
from regulens.training.checkpoint import save_run
from regulens.training.environment import environment
from regulens.training.loop import train


@dataclass(frozen=True)
class StageStarted:
    """A stage begins: ``pending`` are the runs to do, ``finished`` the number done before."""

    stage: Stage
    pending: tuple[RunSpec, ...]
    finished: int


@dataclass(frozen=True)
class RunStarted:
    """A worker has taken up this run."""

    spec: RunSpec


@dataclass(frozen=True)
class EpochEnded:
    """An epoch of this run is over."""

    spec: RunSpec
    record: EpochRecord


@dataclass(frozen=True)
class RunEnded:
    """This run is finished and stored."""

    spec: RunSpec
    result: RunResult


@dataclass(frozen=True)
class RunFailed:
    """This run raised, or its process died; it is tried again by the next `run`."""

    spec: RunSpec
    error: str


@dataclass(frozen=True)
class Selected:
    """A cell was chosen on validation."""

    selection: Selection


@dataclass(frozen=True)
class Opened:
    """The sealed part was opened for one refitted run."""

    spec: RunSpec
    record: Opening


@dataclass(frozen=True)
class StudyStarted:
    """All checks are passed and the folder is held: this is the study that runs."""

    study: StudySpec


@dataclass(frozen=True)
class Note:
    """Something the user should know, in a sentence."""

    text: str


@dataclass(frozen=True)
class Answered:
    """The report is written: what the study comes to, line by line, and where the report is."""

    lines: tuple[str, ...]
    report: Path


StudyEvent = (
    StudyStarted | Note | StageStarted | RunStarted | EpochEnded | RunEnded | RunFailed | Selected | Opened | Answered
)
OnEvent = Callable[[StudyEvent], None]


@dataclass(frozen=True)
class Job:
    """All that a worker needs for one run; small, so that it travels between processes.

    ``at_once`` is how many runs are made at the same time, this one included.
    """

    spec: RunSpec
    data: SharedDataset
    folder: Path
    device: str = "cpu"
    at_once: int = 1


def run_folder(folder: Path, identity: str) -> Path:
    """Return where a run's weights and predictions lie."""
    return folder / "runs" / identity


def check_run_files(folder: Path, store: Store) -> None:
    """Check that what is in the folders of a study's finished runs is their own; what is lost is no mistake.

    Raises:
        DataError: naming the file that is damaged, or of another run.
    """
    ledger = {record.run_id: record for record in store.ledger()}
    for result in store.results():
        check_files(run_folder(folder, result.run_id), result, ledger.get(result.run_id))


def run_pending(
    specs: Sequence[RunSpec],
    stage: Stage,
    *,
    study: StudySpec,
    folder: Path,
    store: Store,
    executor: Executor,
    data: Mapping[str, SharedDataset],
    on_event: OnEvent,
    device: str = "cpu",
) -> list[RunResult]:
    """Run what is not finished yet and return the results of all ``specs``, in their order.

    A run is finished when its row is stored and its weights are there; if they were lost, it is run again. If its
    predictions were lost, they are made again from its weights.

    Raises:
        DataError: if a run's weights are of another run.
        RegulensError: after all others are done and stored, if a run failed.
    """
    identities = {run_id(spec, data[spec.data.name].digest): spec for spec in specs}
    results = _finished(store, folder, identities)
    _predict_again(_without_predictions(results.values(), folder, data, device), executor, study, on_event)
    pending = {identity: spec for identity, spec in identities.items() if identity not in results}
    at_once = min(executor.workers, len(pending))
    jobs = [
        Job(spec, data[spec.data.name], run_folder(folder, identity), device, at_once)
        for identity, spec in pending.items()
    ]
    jobs = even_then_longest_first(jobs, executor.workers)
    differences = environment_differences([result.environment for result in results.values()] + [environment(device)])
    if jobs and differences:
        on_event(Note(f"the study goes on under other conditions than some finished runs: {differences}"))
    on_event(StageStarted(stage, tuple(job.spec for job in jobs), len(results)))
    failures: list[Failure] = []
    for event in executor.run(execute, jobs):
        match _recorded(event, jobs[event.index], store, on_event):
            case RunResult() as result:
                results[result.run_id] = result
            case Failure() as failure:
                failures.append(failure)
    if failures:
        first = f"{run_label(failures[0].spec, study)}: {failures[0].error}"
        raise RegulensError(
            f"{len(failures)} of {len(jobs)} runs failed, the first: {first}; the others are kept, the same command "
            f"tries again (regulens status --traceback shows where)"
        )
    return [results[identity] for identity in identities]


def _recorded(event: Event, job: Job, store: Store, on_event: OnEvent) -> RunResult | Failure | None:
    """Store what an executor says of a job and pass it on; return how the run ended, if it has."""
    match event:
        case Started():
            on_event(RunStarted(job.spec))
        case Progress(_, record):
            on_event(EpochEnded(job.spec, record))
        case Done():
            result: RunResult = event.value
            store.save_result(result)
            on_event(RunEnded(job.spec, result))
            return result
        case Failed(_, error, details):
            failure = Failure(job.folder.name, job.spec, error, details)
            store.save_failure(failure)
            on_event(RunFailed(job.spec, error))
            return failure
    return None


def even_then_longest_first(jobs: Sequence[Job], workers: int) -> list[Job]:
    """Return the jobs in the order to start them in, by the arithmetic of each.

    Seed by seed, so that an unfinished study is an even one; but the last of them together, longest first, so that
    no worker waits long for another at the end. The last are the fewest seeds whose jobs keep all workers busy for
    twice as long as the longest job takes.
    """
    costs = {job: arithmetic(job.spec, job.data.image_shape, job.data.images) for job in jobs}
    seeds = sorted({job.spec.seed for job in jobs})
    longest = max(costs.values(), default=0)
    last, left = len(seeds), 0
    while last > 0 and left < 2 * longest * workers:
        last -= 1
        left += sum(cost for job, cost in costs.items() if job.spec.seed == seeds[last])
    late = set(seeds[last:])
    return sorted(jobs, key=lambda job: (seeds[last] if job.spec.seed in late else job.spec.seed, -costs[job]))


def _finished(store: Store, folder: Path, identities: Mapping[str, RunSpec]) -> dict[str, RunResult]:
    return {
        result.run_id: result
        for result in store.results()
        if result.run_id in identities and has_weights(run_folder(folder, result.run_id), result)
    }


def _without_predictions(
    results: Iterable[RunResult], folder: Path, data: Mapping[str, SharedDataset], device: str
) -> list[PredictJob]:
    """Return what is to be done where predictions are lost; on the CPU if the run was trained there."""
    return [
        PredictJob(result, data[result.spec.data.name], place, "cpu" if result.environment.device == "cpu" else device)
        for result in results
        if not has_predictions(place := run_folder(folder, result.run_id), result)
    ]


def _predict_again(jobs: Sequence[PredictJob], executor: Executor, study: StudySpec, on_event: OnEvent) -> None:
    """Make lost predictions again; where the weights do not give the recorded accuracy here, say so."""
    if not jobs:
        return
    on_event(Note(f"predictions of {len(jobs)} runs are lost or damaged: made again from the weights"))
    for event in executor.run(predict_again, jobs):
        match event:
            case Done(index, accuracy) if accuracy != jobs[index].result.val_accuracy:
                why = f"its weights give {accuracy:.4f} here, and {jobs[index].result.val_accuracy:.4f} is recorded"
            case Failed(index, error, _):
                why = error
            case _:
                continue
        label, place = run_label(jobs[index].spec, study), jobs[index].folder
        on_event(Note(f"{label}: has no predictions ({why}); move {place} away to run it again"))


def environment_differences(environments: Sequence[Environment]) -> str:
    """Say in what the environments differ, e.g. ``torch 2.12.0 and 2.13.0``; empty if in nothing."""
    values = {
        field: sorted({str(getattr(environment, field)) for environment in environments})
        for field in Environment.model_fields
    }
    return "; ".join(f"{field} {' and '.join(found)}" for field, found in values.items() if len(found) > 1)


def execute(job: Job, report: Report) -> RunResult:
    """Do one run in a worker: train, write its files, return its numbers."""
    dataset = opened(job.data)
    trained = train(job.spec, dataset, on_epoch=report, device=job.device)
    save_run(job.folder, trained, dataset)
    return trained.result.model_copy(update={"workers": job.at_once})


@lru_cache(maxsize=8)
def opened(data: SharedDataset) -> Dataset:
    """Return a shared data set, mapped once in each worker."""
    return data.open()


def ignore(event: Any) -> None:
    """An ``on_event`` that does nothing."""
