"""The runs of each cell as samples of one response, and which images they have right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.stats import entropy

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
    """Return the runs of each cell that has some, in the order of the study's cells.

    A run whose response is not finite diverged: it failed to train, and has no value.
    """
    found: dict[RunSpec, list[RunResult]] = {spec: [] for spec in cells(study)}
    for result in sorted(trained, key=lambda result: result.spec.seed):
        found[result.spec.cell].append(result)
    samples = {
        spec: Sample(
            np.array([response_of(run, response) if _has(run, response) else math.nan for run in runs]),
            np.array([failed_to_train(run, response) for run in runs]),
            np.array([run.spec.seed for run in runs], np.int64),
        )
        for spec, runs in found.items()
        if runs
    }
    return dict(zip(samples, joined_samples(list(samples.values())), strict=True))


def failed_to_train(run: RunResult, response: Response) -> bool:
    """Tell whether a run collapsed or diverged; of seconds, neither matters."""
    return response != "train_seconds" and (bool(is_collapsed(run)) or not _has(run, response))


def _has(run: RunResult, response: Response) -> bool:
    return math.isfinite(response_of(run, response))


def of_guessing(response: Response, class_counts: Sequence[int]) -> float | None:
    """Return what a network that learned nothing comes to on images of such classes, None where nothing tells.

    It guesses: the largest class, or probabilities that are the classes' shares, whose loss is their entropy in nats.
    """
    shares = np.array(class_counts, np.float64) / sum(class_counts)
    if response in {"val_accuracy", "train_accuracy"}:
        return float(shares.max())
    if response in {"val_loss", "train_loss"}:
        return float(entropy(shares))
    return 0.0 if response == "gap" else None


def right_images(paths: Sequence[Path]) -> NDArray[np.bool_] | None:
    """Return which images some runs have right, (runs, images), by their predictions; ``None`` where one is missing."""
    if not paths or not all(path.is_file() for path in paths):
        return None
    predictions = [load_predictions(path) for path in paths]
    return np.array([each.probabilities.argmax(1) == each.labels for each in predictions])


def image_scores(paths: Sequence[Path], response: Response) -> NDArray[np.float64] | None:
    """Return what some runs scored on each image, (runs, images), by their predictions; None where one is missing.

    Right or wrong of an accuracy, the negative log-likelihood of a loss.
    """
    right = right_images(paths) if response == "val_accuracy" else None
    return None if right is None else right.astype(np.float64)
