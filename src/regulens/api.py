"""The Python interface, which the command line itself uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regulens.data.catalog import dataset_info, load_dataset
from regulens.errors import RegulensError, UserError
from regulens.executors.base import Executor
from regulens.executors.local import LocalExecutor, available_cores
from regulens.interpret.kernels import Scaling
from regulens.models.cnn import LayerRow, build_model, layer_table
from regulens.models.regularizers import build_regularizer
from regulens.report.pictures import KernelPicture, kernels_of_runs, shown_refits
from regulens.report.render import write_report
from regulens.spec import RunSpec, StudySpec, feature_sizes
from regulens.study.grid import cell_label, cells
from regulens.study.protocol import planned, run_protocol
from regulens.study.runner import OnEvent, ignore
from regulens.study.store import Selection, open_store
from regulens.study.study_file import STUDY_FILE, read_study
from regulens.study.table import result_rows
from regulens.training.loop import Trained, train
from regulens.training.timing import estimate_seconds

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Study",
    "Trained",
    "available_cores",
    "build_model",
    "build_regularizer",
    "load_dataset",
    "load_study",
    "run_study",
    "train",
]


@dataclass(frozen=True)
class PlannedCell:
    """One network of a plan: parameters, layers, and what one run of it would take on one core."""

    label: str
    spec: RunSpec
    parameters_total: int
    parameters_trainable: int
    layers: tuple[LayerRow, ...]
    seconds_per_run: float | None


@dataclass(frozen=True)
class Progress:
    """How far a study is: runs finished, failed and planned, what is selected, how often the test was opened."""

    planned: int
    finished: int
    failures: tuple[str, ...]
    refits_finished: int
    selection: Selection | None
    test_openings: int
    report: Path | None


@dataclass(frozen=True)
class Study:
    """A study and the folder where its runs are, or will be."""

    spec: StudySpec
    folder: Path

    def plan(self, estimate: bool = True) -> list[PlannedCell]:
        """Return the networks that would be run; with ``estimate``, a few steps of each are timed.

        Raises:
            UserError: if a network is too deep for its images.
        """
        return [_planned_cell(self.spec, cell, estimate) for cell in cells(self.spec)]

    def with_seeds(self, seeds: int | None) -> Study:
        """Return the study with so many seeds; ``None`` leaves it as it is.

        Raises:
            UserError: if there are fewer than one.
        """
        if seeds is None:
            return self
        if seeds < 1:
            raise UserError(f"seeds must be at least 1, got {seeds}")
        return replace(self, spec=self.spec.model_copy(update={"seeds": seeds}))

    def runs(self) -> list[RunSpec]:
        """Return every run of the first stage."""
        return planned(self.spec)

    def results(self) -> pd.DataFrame:
        """Return one row per recorded run; the columns are those of ``regulens results``.

        Raises:
            UserError: if the study has not been run.
        """
        import pandas as pd

        return pd.DataFrame(self.result_rows())

    def result_rows(self) -> list[dict[str, Any]]:
        """Return the rows of ``results`` as plain dictionaries; what does not exist is ``None``.

        Raises:
            UserError: if the study has not been run.
        """
        return result_rows(self.spec, open_store(self.folder))

    def progress(self) -> Progress:
        """Return how far the study is.

        Raises:
            UserError: if the study has not been run.
        """
        store = open_store(self.folder)
        stages = [result.spec.stage for result in store.results()]
        report = self.folder / "report.html"
        selections = store.selections()
        return Progress(
            planned=len(self.runs()),
            finished=stages.count("train"),
            failures=tuple(f"{failure.run_id}: {failure.error}" for failure in store.failures()),
            refits_finished=stages.count("refit"),
            selection=selections[-1] if selections else None,
            test_openings=len(store.ledger()),
            report=report if report.is_file() else None,
        )

    def kernels(
        self, run: str | None = None, layer: str | None = None, scaling: Scaling = "kernel"
    ) -> list[KernelPicture]:
        """Draw the kernels of one run, or of each refitted network (lowest seed), into ``figures/``.

        Raises:
            UserError: if there is no such run or layer, or no refit yet.
        """
        results = open_store(self.folder).results()
        if run is None:
            chosen = shown_refits(results)
            if not chosen:
                raise UserError(f"{self.folder}: no network is refitted yet; name a trained one with --run RUN_ID")
        else:
            chosen = [result for result in results if result.run_id.startswith(run)]
            if len(chosen) != 1:
                found = "several runs begin" if chosen else "no run begins"
                raise UserError(f'{found} with "{run}"; see `regulens results {self.folder}` for the run_ids')
        return kernels_of_runs(self.spec, self.folder, chosen, layer, scaling)

    def report(self) -> Path:
        """Rebuild the figures and ``report.html``, and return its path.

        Raises:
            UserError: if no run of the study is finished.
        """
        path = write_report(self.folder)
        if path is None:
            raise UserError(f"{self.folder}: no run is finished yet, there is nothing to report")
        return path


def load_study(source: str | Path, out: str | Path | None = None) -> Study:
    """Load a study: a preset by name, a study file, or the folder of a study that was run.

    Args:
        source: ``"lab"``, ``"my.toml"`` or ``"studies/lab"``.
        out: the study's folder; by default ``studies/NAME``, or the folder itself.

    Raises:
        UserError: if there is none, or naming what is wrong in the file.
    """
    path = Path(source)
    if path.is_dir():
        open_store(path)
        return Study(read_study(path / STUDY_FILE), path)
    spec = read_study(source)
    return Study(spec, Path(out) if out is not None else Path("studies") / spec.name)


def run_study(
    study: Study | str | Path,
    *,
    seeds: int | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    on_event: OnEvent = ignore,
) -> Study:
    """Run a study to its end and write its report; what is finished in its folder is not repeated.

    Args:
        study: from ``load_study``, or what that takes.
        seeds: trainings per network; by default those of the study file.
        out: the study's folder; by default ``studies/NAME``.
        workers: processes at work at once; by default one per core.
        executor: runs the trainings instead of local processes; the caller closes it.
        on_event: called with each event of ``regulens.study.runner``.

    Raises:
        UserError: if the study or its folder is not as it should be.
        RegulensError: if a run failed; the finished ones are kept and the report tells of them.
    """
    if workers is not None and workers < 1:
        raise UserError(f"workers must be at least 1, got {workers}")
    study = (study if isinstance(study, Study) else load_study(study)).with_seeds(seeds)
    if out is not None:
        study = replace(study, folder=Path(out))
    ours = LocalExecutor(workers)
    try:
        spec = run_protocol(study.spec, study.folder, executor or ours, on_event)
    except RegulensError as error:
        if not isinstance(error, UserError):
            write_report(study.folder)
        raise
    finally:
        ours.close()
    write_report(study.folder)
    return Study(spec, study.folder)


def plan_minutes(study: Study, plan: Sequence[PlannedCell], workers: int) -> float:
    """Return the estimated minutes of all trainings and of the refits of the slowest network."""
    seconds = [cell.seconds_per_run or 0.0 for cell in plan]
    refits = (1 + len(study.spec.also_refit)) * max(seconds)
    return study.spec.seeds * (sum(seconds) + refits) / workers / 60


def _planned_cell(study: StudySpec, spec: RunSpec, estimate: bool) -> PlannedCell:
    info = dataset_info(spec.data.name)
    list(feature_sizes(spec.model, info.image_shape))
    classes = len(info.class_names)
    model = build_model(spec.model, info.image_shape, classes, build_regularizer(spec.regularizer))
    rows = layer_table(model)
    used = min(info.images, spec.data.limit or info.images)
    train_images = round(used * (1 - spec.data.validation - spec.data.test))
    val_images = round(used * spec.data.validation)
    seconds = estimate_seconds(spec, info.image_shape, classes, train_images, val_images) if estimate else None
    return PlannedCell(
        label=cell_label(spec, study),
        spec=spec,
        parameters_total=sum(row.parameters for row in rows),
        parameters_trainable=sum(row.trainable for row in rows),
        layers=tuple(rows),
        seconds_per_run=seconds,
    )
