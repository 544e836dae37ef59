"""The files of runs: whether they are of the runs that the database names, and predictions made again from weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from regulens.data.batches import Feed, pixel_scaling
from regulens.data.dataset import SharedDataset
from regulens.data.split import split
from regulens.errors import DataError
from regulens.executors.base import Report
from regulens.models.regularizers import build_regularizer
from regulens.results import Opening, RunResult
from regulens.spec import RunSpec
from regulens.training.checkpoint import WEIGHTS, load_model, saved_spec
from regulens.training.device import find_device
from regulens.training.environment import pinned_torch
from regulens.training.evaluate import evaluate
from regulens.training.predictions import PREDICTIONS, TEST_PREDICTIONS, agrees, load_predictions, save_predictions


def has_weights(place: Path, result: RunResult) -> bool:
    """Tell whether a run's weights are there and can be read.

    Args:
        place: the run's folder.
        result: of the run.

    Raises:
        DataError: if they are those of another run.
    """
    found = saved_spec(place) if (place / WEIGHTS).is_file() else None
    if found not in {None, result.spec}:
        raise DataError(
            f"{place / WEIGHTS}: holds the weights of another run; put its own back, or move {place.name} away and run "
            "the study again to train this network anew"
        )
    return found is not None


def has_predictions(place: Path, result: RunResult) -> bool:
    """Tell whether a run's predictions on validation are in its folder, sound and of its recorded accuracy."""
    return not result.val_images or _hold(place / PREDICTIONS, result.val_images, result.val_accuracy)


def has_test_predictions(place: Path, record: Opening) -> bool:
    """Tell whether a run's predictions on the test set are in its folder, sound and of its accuracy in the ledger."""
    return _hold(place / TEST_PREDICTIONS, record.test_images, record.test_accuracy)


def check_files(place: Path, result: RunResult, record: Opening | None) -> None:
    """Check that what is in a run's folder is its own; what is lost is no mistake.

    Args:
        place: the run's folder.
        result: of the run.
        record: of its test in the ledger, if it has one.

    Raises:
        DataError: naming the file that is damaged, or of another run.
    """
    has_weights(place, result)
    if (place / PREDICTIONS).is_file() and not has_predictions(place, result):
        raise _other_predictions(place / PREDICTIONS, result.val_accuracy)
    if record and (place / TEST_PREDICTIONS).is_file() and not has_test_predictions(place, record):
        raise _other_predictions(place / TEST_PREDICTIONS, record.test_accuracy)


def _other_predictions(path: Path, accuracy: float) -> DataError:
    return DataError(
        f"{path}: is damaged or not of this run, whose accuracy is {accuracy:.4f}; run the study again: it "
        "is made again from the run's weights"
    )


def _hold(path: Path, images: int, accuracy: float) -> bool:
    try:
        return agrees(load_predictions(path), images, accuracy)
    except DataError:
        return False


@dataclass(frozen=True)
class PredictJob:
    """All that a worker needs to make the predictions of a finished run again."""

    result: RunResult
    data: SharedDataset
    folder: Path
    device: str

    @property
    def spec(self) -> RunSpec:
        """The run's."""
        return self.result.spec


def predict_again(job: PredictJob, _report: Report) -> float:
    """Make a run's predictions on validation again in a worker, and return the accuracy that its weights give here.

    They are written only where that is the recorded one.
    """
    dataset, spec, device = job.data.open(), job.spec, find_device(job.device)
    parts = split(len(dataset.labels), spec.parts)
    with pinned_torch():
        feed = Feed(dataset, pixel_scaling(dataset, spec.data, parts.fitted(spec.stage)), device)
        model = load_model(job.folder).to(device)
        scored = evaluate(model, build_regularizer(spec.regularizer), feed, parts.validation)
    if scored.accuracy == job.result.val_accuracy:
        save_predictions(job.folder / PREDICTIONS, scored.probabilities, parts.validation, dataset)
    return scored.accuracy
