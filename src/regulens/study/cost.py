"""What the networks of a study cost to train: seconds, parameters, updates and epochs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from regulens.results import RunResult
from regulens.spec import RunSpec, StudySpec
from regulens.stats.cost import Cost, cell_cost
from regulens.study.grid import cell_levels

_COSTS: dict[str, Callable[[RunResult], float | None]] = {
    "seconds": lambda run: run.train_seconds,
    "parameters": lambda run: run.parameters_trainable,
    "updates": lambda run: run.updates,
    "epochs": lambda run: len(run.epochs),
}


def study_costs(study: StudySpec, results: Sequence[RunResult]) -> tuple[Cost, ...]:
    """Return what a training of each network costs, of the runs that are compared.

    ``seconds`` are those of the fit with its per-epoch validation, ``parameters`` those that are trained. What was not
    recorded of every run, by an older version, is left out.
    """
    runs: dict[RunSpec, list[RunResult]] = {}
    for result in results:
        if result.spec.compared:
            runs.setdefault(result.spec.cell, []).append(result)
    found = []
    for name, read in _COSTS.items():
        values = {
            frozenset(cell_levels(spec, study).items()): [value for run in each if (value := read(run)) is not None]
            for spec, each in runs.items()
        }
        if sum(map(len, values.values())) < sum(map(len, runs.values())):
            continue
        caution = shared_cores(results) if name == "seconds" else ""
        found.append(Cost(name, {key: cell_cost(each) for key, each in values.items()}, caution))
    return tuple(found)


def shared_cores(results: Sequence[RunResult]) -> str:
    """Say why the seconds of a study's trainings cannot be compared; empty if they can.

    They can where every run was made by itself, all on one kind of processor and device.
    """
    compared = [result for result in results if result.spec.compared]
    workers = [result.workers for result in compared]
    if any(count is None for count in workers):
        return "how many runs were made at once was not recorded"
    most = max(count for count in workers if count is not None)
    if most > 1:
        return f"up to {most} runs were made at once and shared the cores"
    machines = {(result.environment.cpu, result.environment.device) for result in compared}
    return f"the runs were made on {len(machines)} machines or devices" if len(machines) > 1 else ""
