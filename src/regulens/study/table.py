"""The runs of a study as rows: what `regulens results` prints and the Python API gives as a DataFrame."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from regulens.results import RunResult
from regulens.spec import RunSpec, StudySpec
from regulens.stats.chance import chance_bound
from regulens.study.grid import cell_label, cell_levels, cells
from regulens.study.json_numbers import finite
from regulens.study.store import Store

_NUMBERS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


def result_rows(study: StudySpec, store: Store, compared: bool = False) -> list[dict[str, Any]]:
    """Return one flat row per recorded run, finished or failed; numbers that do not exist are ``None``.

    The trainings come first, then the refits, each in the order of the study's cells and then by seed;
    with ``compared`` only the finished runs that are compared.
    """
    tested = {record.run_id: record for record in store.ledger()}
    rows = []
    order = {spec: place for place, spec in enumerate(cells(study))}

    def place(result: RunResult) -> tuple[bool, int, int]:
        return result.spec.stage == "refit", order[result.spec.cell], result.spec.seed

    for result in sorted(store.results(), key=place):
        if compared and not result.spec.compared:
            continue
        record = tested.get(result.run_id)
        row = _identity(result.run_id, result.spec, study) | {
            "parameters_total": result.parameters_total,
            "parameters_trainable": result.parameters_trainable,
            **{name: finite(getattr(result, name)) for name in _NUMBERS},
            "test_loss": finite(record.test_loss) if record else None,
            "test_accuracy": finite(record.test_accuracy) if record else None,
            "train_seconds": result.train_seconds,
            "workers": result.workers,
            "status": "finished",
            "collapsed": is_collapsed(result),
            "error": None,
            "epochs": [{name: finite(value) for name, value in epoch.model_dump().items()} for epoch in result.epochs],
        }
        rows.append(row)
    if compared:
        return rows
    return rows + [_failed_row(failure.run_id, failure.spec, study, failure.error) for failure in store.failures()]


def result_columns(study: StudySpec) -> list[str]:
    """Return the keys of ``result_rows``, in their order."""
    return list(_failed_row("", cells(study)[0], study, ""))


def is_collapsed(result: RunResult) -> bool | None:
    """Tell whether a run is no better on validation than guessing the largest class, or what its study says instead.

    ``None`` in a refit.
    """
    return None if result.val_images == 0 else result.val_accuracy <= collapse_bound(result)


def collapse_bound(result: RunResult) -> float:
    """Return the validation accuracy above which a run counts as trained."""
    return _bound_of_guessing(result.val_class_counts) if result.trained_above is None else result.trained_above


@lru_cache
def _bound_of_guessing(class_counts: tuple[int, ...]) -> float:
    return chance_bound(class_counts)


def _identity(identity: str, spec: RunSpec, study: StudySpec) -> dict[str, Any]:
    return {
        "run_id": identity,
        "stage": spec.stage,
        "network": cell_label(spec, study),
        "depth": spec.model.depth,
        "filters": spec.model.filters,
        "regularizer": spec.regularizer,
        "seed": spec.seed,
    } | {path: level for path, level in cell_levels(spec, study).items() if path in _further_factors(study)}


def _further_factors(study: StudySpec) -> set[str]:
    """Return the factors that have no column of their own."""
    return set(study.factors) - {"model.depth", "model.filters", "regularizer"}


def _failed_row(identity: str, spec: RunSpec, study: StudySpec, error: str) -> dict[str, Any]:
    unknown = (
        *("parameters_total", "parameters_trainable", *_NUMBERS, "test_loss", "test_accuracy"),
        *("train_seconds", "workers"),
    )
    return (
        _identity(identity, spec, study)
        | dict.fromkeys(unknown)
        | {"status": "failed", "collapsed": None, "error": error, "epochs": []}
    )
