"""How fast this machine trains a study's networks, beside plain torch and the floor of its matrix products."""

from __future__ import annotations

from dataclasses import dataclass

from regulens.data.catalog import dataset_info
from regulens.data.split import split
from regulens.kernels.paths import REFERENCE, kernels_in_use, using_kernels
from regulens.spec import RunSpec, StudySpec
from regulens.study.grid import cell_label, cells
from regulens.study.plan import PlannedCell, estimate_minutes, layers_of
from regulens.training.environment import pinned_torch
from regulens.training.timing import alternate, pieces_of, seconds_of_run

ROUNDS, REPEATS = 7, 10


@dataclass(frozen=True)
class BenchRow:
    """One network: milliseconds of a step with the kernels in use, of its matrix products alone, on plain torch."""

    label: str
    step_ms: float
    floor_ms: float
    reference_ms: float
    seconds_per_run: float


@dataclass(frozen=True)
class Benchmark:
    """What was timed, with which kernels, and the minutes that ``runs`` trainings and their refits will take."""

    rows: tuple[BenchRow, ...]
    kernels: str
    runs: int
    workers: int
    minutes: float


def bench(study: StudySpec, workers: int) -> Benchmark:
    """Time every network of a study on random pixels, one thread, native and plain kernels in alternation."""
    rows = {spec: _row(spec, cell_label(spec, study)) for spec in cells(study)}
    plan = [
        PlannedCell(row.label, spec, layers_of(spec), study.seeds, row.seconds_per_run) for spec, row in rows.items()
    ]
    minutes = estimate_minutes(study, plan, workers)
    return Benchmark(tuple(rows.values()), kernels_in_use(), len(plan) * study.seeds, workers, minutes)


def _row(spec: RunSpec, label: str) -> BenchRow:
    info = dataset_info(spec.data.name)
    parts = split(info.images, spec.parts)
    with pinned_torch():
        pieces = pieces_of(spec, info.image_shape, len(info.class_names))
        plain = pieces_of(spec, info.image_shape, len(info.class_names))

        def plain_step() -> None:
            with using_kernels(REFERENCE):
                plain.step()

        calls = {"step": pieces.step, "floor": pieces.products, "reference": plain_step}
        took = alternate(calls, ROUNDS, REPEATS)
        evaluation = alternate({"evaluation": pieces.evaluation}, 3, 1)["evaluation"] / pieces.evaluated
    seconds = seconds_of_run(spec, took["step"], evaluation, len(parts.train), len(parts.validation))
    return BenchRow(label, took["step"] * 1e3, took["floor"] * 1e3, took["reference"] * 1e3, seconds)
