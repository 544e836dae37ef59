"""What a study would run: its networks, their layers and parameters, and how long it would take here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from regulens.data.catalog import dataset_info
from regulens.data.split import split
from regulens.models.cnn import LayerRow, build_model, layer_table
from regulens.spec import RunSpec, StudySpec
from regulens.study.grid import cell_label, cells, matching_cells
from regulens.training.timing import estimate_seconds


@dataclass(frozen=True)
class PlannedCell:
    """One network of a plan: its layers, its runs to do, and the seconds of one run on one core, if estimated."""

    label: str
    spec: RunSpec
    layers: tuple[LayerRow, ...]
    pending: int
    seconds_per_run: float | None

    @property
    def parameters_total(self) -> int:
        """Number of parameters, moving statistics included."""
        return sum(row.parameters for row in self.layers)

    @property
    def parameters_trainable(self) -> int:
        """Number of parameters that training changes."""
        return sum(row.trainable for row in self.layers)


def layers_of(spec: RunSpec) -> tuple[LayerRow, ...]:
    """Return the layer table of a run's network.

    Raises:
        UserError: if the network is too deep for its images.
    """
    info = dataset_info(spec.data.name)
    return tuple(layer_table(build_model(spec.model, info.image_shape, len(info.class_names), spec.regularizer)))


def plan_study(study: StudySpec, pending: Sequence[RunSpec], estimate: bool) -> list[PlannedCell]:
    """Return the networks of a study, ``pending`` being its runs to do; with ``estimate`` a few steps are timed.

    Raises:
        UserError: if a network is too deep for its images.
    """
    todo = Counter(spec.cell for spec in pending)
    return [
        PlannedCell(
            label=cell_label(spec, study),
            spec=spec,
            layers=layers_of(spec),
            pending=todo[spec],
            seconds_per_run=_estimate(spec) if estimate else None,
        )
        for spec in cells(study)
    ]


def estimate_minutes(study: StudySpec, plan: Sequence[PlannedCell], workers: int) -> float:
    """Return about how many minutes the runs to do will take, and the refits if there are any runs to do.

    Which cell will be selected is not known: it is taken to be the slowest one.
    """
    seconds = {cell.spec: cell.seconds_per_run or 0.0 for cell in plan}
    also = {spec for where in study.also_refit for spec in matching_cells(study, where, "also_refit")}
    train_share = 1 - study.data.validation - study.data.test
    longer = 1 if study.refit == "updates" else (train_share + study.data.validation) / train_share
    refits = longer * study.seeds * (max(seconds.values()) + sum(seconds[spec] for spec in also))
    trainings = sum(cell.pending * seconds[cell.spec] for cell in plan)
    return (trainings + (refits if trainings else 0.0)) / workers / 60


def _estimate(spec: RunSpec) -> float:
    info = dataset_info(spec.data.name)
    parts = split(info.images, spec.parts)
    return estimate_seconds(spec, info.image_shape, len(info.class_names), len(parts.train), len(parts.validation))
