"""The runs of each cell as samples of one response, and which images they have right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from regulens.results import RunResult
from regulens.spec import Response, RunSpec, StudySpec
from regulens.stats.samples import Sample, joined_samples
from regulens.study.grid import cells
from regulens.study.table import is_collapsed
from regulens.training.checkpoint import load_predictions

Samples = Mapping[RunSpec, Sample]


def response_of(result: RunResult, response: Response) -> float:
    """Return a run's response; the gap is training minus validation accuracy."""
    return cast("float", getattr(result, response))


def samples_of(study: StudySpec, trained: Sequence[RunResult], response: Response) -> dict[RunSpec, Sample]:
    """Return the runs of each cell that has some, in the order of the study's cells; values that are finite only."""
    found: dict[RunSpec, list[RunResult]] = {spec: [] for spec in cells(study)}
    for result in sorted(trained, key=lambda result: result.spec.seed):
        if math.isfinite(response_of(result, response)):
            found[result.spec.cell].append(result)
    samples = {
        spec: Sample(
            np.array([response_of(run, response) for run in runs]),
            np.array([response != "train_seconds" and bool(is_collapsed(run)) for run in runs]),
            np.array([run.spec.seed for run in runs], np.int64),
        )
        for spec, runs in found.items()
        if runs
    }
    return dict(zip(samples, joined_samples(list(samples.values())), strict=True))


def right_images(paths: Sequence[Path]) -> NDArray[np.bool_] | None:
    """Return which images some runs have right, (runs, images), by their predictions; ``None`` where one is missing."""
    if not paths or not all(path.is_file() for path in paths):
        return None
    predictions = [load_predictions(path) for path in paths]
    return np.array([each.probabilities.argmax(1) == each.labels for each in predictions])


def trained_above(samples: Sequence[Sample]) -> bool:
    """Tell whether non-collapsed runs lie above those that collapsed, as accuracies do."""
    trained, collapsed = (
        np.concatenate([sample.values[sample.collapsed == state] for sample in samples]) for state in (False, True)
    )
    return not (len(trained) and len(collapsed)) or bool(trained.mean() >= collapsed.mean())
