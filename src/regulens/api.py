"""The Python interface, which the command line itself uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from regulens.data.catalog import load_dataset
from regulens.data.dataset import Dataset
from regulens.errors import RegulensError, UserError, check_type
from regulens.executors.base import Executor
from regulens.executors.local import LocalExecutor
from regulens.models.cnn import CNN, build_model
from regulens.models.regularizers import build_regularizer
from regulens.report.answer import answer_lines
from regulens.report.audit import write_audit
from regulens.report.formats import Format
from regulens.report.inside.methods import InsideMethods
from regulens.report.inside.scene import run_named
from regulens.report.pareto import draw_costs
from regulens.report.render import write_report
from regulens.results import RunResult
from regulens.spec import RunSpec, StudySpec
from regulens.study.analysis import StudyAnalysis, analyse_study
from regulens.study.audit import run_variations
from regulens.study.audited import Audit
from regulens.study.bench import Benchmark, bench
from regulens.study.cost import study_costs
from regulens.study.cost_text import costs_frame
from regulens.study.finding import StudyProgress, check_auditable, find_study, pending_runs, progress_of, with_seeds
from regulens.study.folder import note_deviations, own_store
from regulens.study.grid import planned
from regulens.study.limits import check_size
from regulens.study.looks import StudyLooks, levels, looks_of, note_look
from regulens.study.own_numbers import OwnAnalysis, analyze
from regulens.study.plan import PlannedCell, plan_study
from regulens.study.power_plan import PowerRow, few_seeds_note, power_notes, power_rows
from regulens.study.protocol import run_protocol
from regulens.study.runner import Answered, OnEvent, check_run_files, ignore, run_folder
from regulens.study.store import DATABASE, selections_in_force
from regulens.study.table import result_columns, result_rows
from regulens.study.until_decided import run_until_decided
from regulens.study.workers import check_workers
from regulens.training.checkpoint import load_model
from regulens.training.loop import Trained, train
from regulens.training.predictions import PREDICTIONS, TEST_PREDICTIONS, Predictions, load_predictions

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Audit",
    "Benchmark",
    "Dataset",
    "OwnAnalysis",
    "Study",
    "Trained",
    "UserError",
    "analyze",
    "audit_study",
    "bench_study",
    "build_model",
    "build_regularizer",
    "draw_costs",
    "load_dataset",
    "load_study",
    "run_study",
    "train",
]


@dataclass(frozen=True)
class Study(InsideMethods):
    """A study and the folder where its runs are, or will be."""

    spec: StudySpec
    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))

    def plan(self, estimate: bool = True) -> list[PlannedCell]:
        """Return the networks and how many runs of each are to do; with ``estimate``, a few steps are timed.

        Raises:
            UserError: if a network is too deep for its images.
        """
        return plan_study(self.spec, self.pending(), estimate)

    def with_seeds(self, seeds: int | None) -> Study:
        """Return the study with so many seeds; ``None`` leaves it as it is.

        Raises:
            UserError: if there are fewer than one, or absurdly many.
        """
        return replace(self, spec=with_seeds(self.spec, seeds))

    def runs(self) -> list[RunSpec]:
        """Return every run of the first stage."""
        return planned(self.spec)

    def pending(self) -> list[RunSpec]:
        """Return the runs of the first stage that are not finished in the study's folder."""
        return pending_runs(self.spec, self.folder)

    def results(self, compared: bool = False) -> pd.DataFrame:
        """Return one row per recorded run; the columns are those of ``regulens results``.

        Args:
            compared: only those that are compared: no refits, no runs from fresh seeds, none that failed.

        Raises:
            UserError: if the study has not been run.
        """
        import pandas as pd

        return pd.DataFrame(self.result_rows(compared), columns=result_columns(self.spec))

    def result_rows(self, compared: bool = False) -> list[dict[str, Any]]:
        """Return the rows of ``results`` as plain dictionaries; what does not exist is ``None``.

        Raises:
            UserError: if the study has not been run.
        """
        return result_rows(self.spec, own_store(self.spec, self.folder), compared)

    def progress(self) -> StudyProgress:
        """Return how far the study is.

        Raises:
            UserError: if the study has not been run.
        """
        return progress_of(self.spec, self.folder)

    def model(self, run: str) -> CNN:
        """Return the trained network of a run, in eval mode; ``run`` is its run_id or the beginning of it.

        Raises:
            UserError: if there is no such run.
            DataError: if its weights are damaged.
        """
        return load_model(run_folder(self.folder, self._result(run).run_id))

    def predictions(self, run: str) -> Predictions:
        """Return a run's class probabilities on validation, or of a refit on the test part, once that is opened.

        Raises:
            UserError: if there is no such run.
            DataError: if there are no predictions of it, or they are damaged.
        """
        result = self._result(run)
        name = TEST_PREDICTIONS if result.spec.stage == "refit" else PREDICTIONS
        return load_predictions(run_folder(self.folder, result.run_id) / name)

    def analysis(self) -> StudyAnalysis:
        """Return what the study's results say by the rules that it declared: the numbers behind its report.

        Raises:
            UserError: if the study has not been run, or no run is finished.
        """
        store = own_store(self.spec, self.folder)
        results = store.results()
        if not any(result.spec.compared for result in results):
            raise UserError(f"{self.folder}: no run is finished yet, there is nothing to analyze")
        note_deviations(self.spec, store)
        check_run_files(self.folder, store)
        note_look(store, self.spec)
        return analyse_study(self.spec, results, self.folder, *levels(store, self.spec))

    def costs(self) -> pd.DataFrame:
        """Return what a training of each network costs, one row per network: described, never judged.

        Columns: the factors' levels, n, the estimate of the response, ``seconds``, ``parameters``, ``updates`` and
        ``epochs`` (medians over runs), each with its ``_low``, ``_high`` and ``_non_dominated``, and ``caution``: why
        the seconds cannot be compared, if so.

        Raises:
            UserError: if the study has not been run, or no run is finished.
        """
        found = self.analysis()
        costs = study_costs(self.spec, own_store(self.spec, self.folder).results())
        return costs_frame(found.analysis, costs).assign(caution=next((cost.caution for cost in costs), ""))

    def answer(self) -> list[str]:
        """Return what the study comes to in about ten lines, those that ``regulens run`` ends with.

        Raises:
            UserError: if the study has not been run, or no run is finished.
        """
        store = own_store(self.spec, self.folder)
        return answer_lines(self.spec, self.analysis(), store.results(), selections_in_force(store), store.ledger())

    def power(self, effect: float, sd: float | None = None, collapse_rate: float = 0.0) -> list[PowerRow]:
        """Return the seeds that each declared comparison needs to decide an effect with 80 % probability.

        They are those to which the study's folder is to be extended, after what its looks have spent of the error, and
        beside them those of a study begun anew. Only the spread and the collapses of the runs are used: to plan is
        not to look.

        Args:
            effect: the difference to be decided, in the response's unit: 0.01 is a point of accuracy.
            sd: the spread of runs that train; by default that of the runs in the study's folder, the pilot.
            collapse_rate: with an ``sd``, the share of runs that collapse.

        Raises:
            UserError: if there is neither a pilot nor an sd, or an argument is out of range.
        """
        _check_power(effect, sd)
        check_type(collapse_rate, Real, "collapse_rate", "a number")
        return power_rows(
            self.spec,
            self._finished(),
            effect=effect,
            sd=sd,
            collapse_rate=collapse_rate,
            looks=self.looks(),
            folder=self.folder,
        )

    def looks(self) -> StudyLooks:
        """Return the looks taken at the study, with the level of its intervals at any seeds, and the error spent."""
        store = own_store(self.spec, self.folder) if (self.folder / DATABASE).is_file() else None
        return looks_of(store, self.spec)

    def power_notes(self, effect: float, sd: float | None = None) -> list[str]:
        """Say that an effect or an sd is very large, or the effect larger than the runs in the folder differ by."""
        _check_power(effect, sd)
        return power_notes(self.spec, self._finished(), effect, sd)

    def few_seeds(self) -> str:
        """Say what so few seeds as the study has cannot decide, whatever comes out; empty where they are enough.

        Seeds that are finished in the study's folder count, if they are more.
        """
        finished = max((result.spec.seed + 1 for result in self._finished() if result.spec.compared), default=0)
        return few_seeds_note(self.with_seeds(max(self.spec.seeds, finished)).spec)

    def _finished(self) -> list[RunResult]:
        return list(own_store(self.spec, self.folder).results()) if (self.folder / DATABASE).is_file() else []

    def _result(self, run: str) -> RunResult:
        return run_named(run, own_store(self.spec, self.folder).results(), self.folder)

    def report(self, format: Format = "html") -> Path:
        """Rebuild the figures and ``report.html``, or ``.md``, ``.tex``, ``.pdf``, ``.json``, and return its path.

        Raises:
            UserError: if no run of the study is finished, or the format is not known or needs what is not installed.
        """
        written = write_report(self.folder, format)
        if written is None:
            raise UserError(f"{self.folder}: no run is finished yet, there is nothing to report")
        return written.path


def load_study(source: str | Path, out: str | Path | None = None, max_cells: int | None = None) -> Study:
    """Load a study: a preset by name, a study file, or the folder of a study that was run.

    Args:
        source: ``"lab"``, ``"my.toml"`` or ``"studies/lab"``; ``"./lab"`` is the folder, never the preset.
        out: the study's folder; by default ``studies/NAME``, or the folder itself.
        max_cells: how many networks a study file may have, those of its variations included; by default 10,000.

    Raises:
        UserError: if there is none, or naming what is wrong in the file.
    """
    return Study(*find_study(source, out, max_cells))


def _check_power(effect: float, sd: float | None) -> None:
    check_type(effect, Real, "effect", "a number")
    check_type(sd, (Real, NoneType), "sd", "a number")


def _checked(study: Study | str | Path, max_cells: int | None) -> Study:
    """Return a study, loaded where it is named, that has no more networks than allowed."""
    study = study if isinstance(study, Study) else load_study(study, max_cells=max_cells)
    check_size(study.spec, max_cells)
    return study


def _placed(study: Study, out: str | Path | None) -> Study:
    """Return a study in the folder that is asked for, its own if none is."""
    check_type(out, (str, Path, NoneType), "out", "the path of a folder")
    return study if out is None else replace(study, folder=Path(out))


def _check_helpers(executor: Executor | None, on_event: OnEvent) -> None:
    if executor is not None and not (hasattr(executor, "run") and hasattr(executor, "workers")):
        check_type(executor, NoneType, "executor", "an object with workers, run and close")
    if not callable(on_event):
        raise UserError(f"on_event must be a function of one event, got {type(on_event).__name__}")


def run_study(
    study: Study | str | Path,
    *,
    seeds: int | None = None,
    looks: Sequence[int] | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    device: str = "cpu",
    executor: Executor | None = None,
    on_event: OnEvent = ignore,
    max_cells: int | None = None,
    pilot: bool = False,
) -> Study:
    """Run a study to its end and write its report; what is finished in its folder is not repeated.

    Args:
        study: from ``load_study``, or what that takes.
        seeds: trainings per network; by default those of the study file.
        looks: numbers of seeds to stop and judge at, instead of ``seeds``: the study grows from one to the next until
            its comparisons and claims are decided; stored before the first, the error is divided among them.
        out: the study's folder; by default ``studies/NAME``.
        workers: processes at work at once; by default one per core, and on a GPU a few.
        device: ``cpu``, ``cuda`` or ``cuda:N``: where every network is trained.
        executor: runs the trainings instead of local processes; the caller closes it.
        on_event: called with each event of ``regulens.study.runner``.
        max_cells: how many networks the study may have, those of its variations included; by default 10,000.
        pilot: only train: nothing is compared, selected or tested, and no report written, so that planning more seeds
            by the spread of the runs costs nothing of the error.

    Raises:
        UserError: if the study or its folder is not as it should be, or a pilot is asked for with looks.
        RegulensError: if a run failed; the finished ones are kept and the report tells of them.
    """
    workers = check_workers(workers, device)
    study = _placed(_checked(study, max_cells).with_seeds(seeds), out)
    _check_helpers(executor, on_event)
    if pilot and looks is not None:
        raise UserError("a pilot is not looked at; give looks to the run that follows it")
    ours = LocalExecutor(workers)
    at_work = executor or ours
    try:
        if pilot:
            spec = run_protocol(study.spec, study.folder, at_work, on_event, device, only_train=True)
            return Study(spec, study.folder)
        if looks is None:
            spec = run_protocol(study.spec, study.folder, at_work, on_event, device)
        else:
            spec = run_until_decided(
                study.spec, study.folder, looks, executor=at_work, on_event=on_event, device=device
            )
    except RegulensError as error:
        if not isinstance(error, UserError):
            write_report(study.folder)
        raise
    finally:
        ours.close()
    written = write_report(study.folder)
    if written is not None:
        on_event(Answered(written.answer, written.path))
    return Study(spec, study.folder)


def audit_study(
    study: Study | str | Path,
    *,
    seeds: int | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    device: str = "cpu",
    executor: Executor | None = None,
    on_event: OnEvent = ignore,
    max_cells: int | None = None,
) -> Audit:
    """Train a study under each of its variations and judge its claims anew; writes ``audit.html`` into its folder.

    The study itself is trained first, where it is not yet; nothing is selected, refitted or tested by an audit.

    Args:
        study: from ``load_study``, or what that takes; it must declare variations.
        seeds: trainings per network, of the study and of each variation; by default those of the study file.
        out: the study's folder; by default ``studies/NAME``.
        workers: processes at work at once; by default one per core.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        executor: runs the trainings instead of local processes; the caller closes it.
        on_event: called with each event of ``regulens.study.runner``.
        max_cells: how many networks the study may have, those of its variations included; by default 10,000.

    Raises:
        UserError: if the study declares no variations or claims, or is not as it should be.
        RegulensError: if a run failed; the finished ones are kept.
    """
    workers = check_workers(workers, device)
    study = _placed(_checked(study, max_cells).with_seeds(seeds), out)
    _check_helpers(executor, on_event)
    check_auditable(study.spec)
    ours = LocalExecutor(workers)
    at_work = executor or ours
    try:
        spec = run_protocol(study.spec, study.folder, at_work, on_event, device, only_train=True)
        run_variations(spec, study.folder, at_work, on_event, device)
    finally:
        ours.close()
    return write_audit(Study(spec, study.folder).folder)


def bench_study(
    study: Study | str | Path, *, seeds: int | None = None, workers: int | None = None, max_cells: int | None = None
) -> Benchmark:
    """Time a study's networks on this machine; nothing is trained, and no data are needed.

    Args:
        study: from ``load_study``, or what that takes.
        seeds: of the study whose time is estimated; by default those of the study file.
        workers: processes at work at once; by default one per core.
        max_cells: how many networks the study may have, those of its variations included; by default 10,000.

    Raises:
        UserError: if there is no such study, or seeds or workers are below one.
    """
    study = _checked(study, max_cells).with_seeds(seeds)
    return bench(study.spec, check_workers(workers))
