"""The runs of each cell as samples of one response, and that response image by image."""

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
from regulens.stats.likelihood import LEAST, negative_log_likelihood
from regulens.stats.samples import Sample, joined_samples
from regulens.study.grid import cells
from regulens.study.runner import run_folder
from regulens.study.table import is_collapsed
from regulens.training.predictions import PREDICTIONS, Predictions, load_predictions

Samples = Mapping[RunSpec, Sample]


def response_of(result: RunResult, response: Response) -> float:
    """Return a run's response; the gap is training minus validation accuracy."""
    return cast("float", getattr(result, response))


def samples_of(study: StudySpec, trained: Sequence[RunResult], response: Response) -> dict[RunSpec, Sample]:
    """Return the runs of each cell that has some, in the order of the study's cells.

    A run whose response is not finite diverged: it failed to train, and has no value. One whose response was not kept
    is left out.
    """
    found: dict[RunSpec, list[RunResult]] = {spec: [] for spec in cells(study)}
    for result in sorted(trained, key=lambda result: result.spec.seed):
        if _has(result, response) or not result.unknown:
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
    """Return the response of a network that learned nothing on images of such classes, None where it is unknown.

    It guesses: the largest class, or probabilities that are the classes' shares, whose loss is their entropy in nats.
    """
    shares = np.array(class_counts, np.float64) / sum(class_counts)
    if response in {"val_accuracy", "train_accuracy"}:
        return float(shares.max())
    if response in {"val_loss", "train_loss"}:
        return float(entropy(shares))
    return 0.0 if response == "gap" else None


def by_image(runs: Sequence[RunResult], folder: Path, response: Response) -> NDArray[np.float64] | None:
    """Return a response of trainings image by image, whose means over images are the runs' responses.

    For ``val_accuracy`` it is 1 where a run has an image right, else 0; for ``val_loss`` minus the log of the true
    class's probability, in nats. Probabilities below ``LEAST`` are not told apart: such images share what the run's
    loss, computed from logits, leaves for them.

    Args:
        runs: that are judged on the same images.
        folder: of the study.
        response: of any other one single images say nothing.

    Returns:
        (runs, images); ``None`` for other responses, and where a run's predictions are missing.

    Raises:
        DataError: if predictions are damaged.
    """
    paths = [run_folder(folder, run.run_id) / PREDICTIONS for run in runs]
    if response not in {"val_accuracy", "val_loss"} or not paths or not all(path.is_file() for path in paths):
        return None
    predictions = [load_predictions(path) for path in paths]
    if response == "val_loss":
        return np.array([_losses(*each) for each in zip(runs, predictions, strict=True)])
    return np.array([_right(each) for each in predictions], np.float64)


def _losses(run: RunResult, predictions: Predictions) -> NDArray[np.float64]:
    each = negative_log_likelihood(predictions.probabilities, predictions.labels)
    cut_off = each >= -math.log(LEAST)
    if cut_off.any():
        each[cut_off] = (run.val_loss * len(each) - each[~cut_off].sum()) / cut_off.sum()
    return each


def _right(predictions: Predictions) -> NDArray[np.bool_]:
    right: NDArray[np.bool_] = predictions.probabilities.argmax(1) == predictions.labels
    return right


def right_images(paths: Sequence[Path]) -> NDArray[np.bool_] | None:
    """Return which images some runs have right, (runs, images), by their predictions; ``None`` where one is missing."""
    if not paths or not all(path.is_file() for path in paths):
        return None
    return np.array([_right(load_predictions(path)) for path in paths])
