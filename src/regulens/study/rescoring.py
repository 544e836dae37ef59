"""Losses of version 0.1, stored with the L2 penalty inside, as what they are now: negative log-likelihoods.

Nothing is written: a row of the database says by its version which of the two it holds, and is read anew each time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from regulens.errors import DataError
from regulens.notation import parse_regularizer
from regulens.results import Opening, RunResult
from regulens.spec import RunSpec

_WHY = "stored with the L2 penalty inside, and there are no predictions on validation that tell the likelihood"


def rescored_result(result: RunResult, place: Path) -> RunResult:
    """Return a run's result with losses of this version; a loss that is not known is NaN, and ``unknown`` says why.

    The likelihood on validation is that of the predictions. What was stored of validation exceeds it by the penalty,
    which is the same in the loss on the training part.

    Args:
        result: of any version.
        place: the run's folder.
    """
    if result.version == 2:
        return result
    if not _is_penalized(result.spec):
        return result.model_copy(update={"version": 2})
    likelihood = _likelihood(place, "validation", result.val_images, result.val_accuracy)
    losses = {"val_loss": likelihood, "train_loss": result.train_loss - (result.val_loss - likelihood)}
    lost = any(math.isnan(loss) and math.isfinite(getattr(result, name)) for name, loss in losses.items())
    return result.model_copy(update=losses | {"version": 2, "unknown": _WHY if lost else ""})


def unknown_losses(results: Iterable[RunResult]) -> list[str]:
    """Say of how many runs a loss is not known, and why."""
    counts = Counter(result.unknown for result in results if result.unknown)
    return [f"losses of {count} run{'s' if count > 1 else ''} are not known: {why}" for why, count in counts.items()]


def rescored_opening(record: Opening, spec: RunSpec | None, place: Path) -> Opening:
    """Return an opening of the test set with the loss of this version; NaN where its predictions are lost.

    Args:
        record: of any version.
        spec: of its run, ``None`` where that is lost.
        place: the run's folder.
    """
    if record.version == 2:
        return record
    if spec is not None and not _is_penalized(spec):
        return record.model_copy(update={"version": 2})
    loss = _likelihood(place, "test", record.test_images, record.test_accuracy)
    return record.model_copy(update={"version": 2, "test_loss": loss})


def _is_penalized(spec: RunSpec) -> bool:
    return any(term.kind == "l2" for term in parse_regularizer(spec.regularizer))


def _likelihood(place: Path, part: str, images: int, accuracy: float) -> float:
    """Return the mean negative log-likelihood of a run's predictions; NaN where they are lost or of another run."""
    from regulens.training.predictions import PREDICTIONS, TEST_PREDICTIONS

    path = place / (PREDICTIONS if part == "validation" else TEST_PREDICTIONS)
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return math.nan
    return _likelihood_in(path, changed, images, accuracy)


@lru_cache(maxsize=10_000)
def _likelihood_in(path: Path, _changed: int, images: int, accuracy: float) -> float:
    """Return what ``_likelihood`` does; a command reads the same results several times."""
    from regulens.stats.likelihood import LEAST, negative_log_likelihood
    from regulens.training.predictions import agrees, load_predictions

    try:
        predictions = load_predictions(path)
    except DataError:
        return math.nan
    if not agrees(predictions, images, accuracy):
        return math.nan
    each = negative_log_likelihood(predictions.probabilities, predictions.labels)
    return float(each.mean()) if each.max() < -math.log(LEAST) else math.nan  # what is cut off has no mean
