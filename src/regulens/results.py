"""What a training returns, and how it is written as JSON (NaN is null there)."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from regulens.spec import RunSpec


def _finite_or_nan(value: object) -> object:
    return math.nan if value is None or value in {math.inf, -math.inf} else value


Number = Annotated[float, BeforeValidator(_finite_or_nan)]
"""A float, NaN where it would not be finite; written as JSON null and read back as NaN."""


class Record(BaseModel):
    """Base of all records: immutable, complete, JSON both ways."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EpochRecord(Record):
    """One epoch: running means over its training batches (weighted by images), then the validation part.

    Losses are in nats and include the regularizer's penalty, as Keras reports them; accuracies are
    shares in [0, 1]; seconds are wall-clock, the validation included. Validation is NaN in a refit.
    """

    epoch: int
    loss: Number
    accuracy: Number
    val_loss: Number
    val_accuracy: Number
    seconds: float


class Environment(Record):
    """What a result may depend on in its last bits: recorded with each run, outside its identity."""

    regulens: str
    python: str
    torch: str
    numpy: str
    platform: str
    cpu: str
    device: str
    kernels: str


class RunResult(Record):
    """One finished training. ``train_*`` and ``val_*`` are evaluated after it, as Keras' ``evaluate``.

    ``workers`` is how many runs were made at once, itself included: seconds are to be trusted only where it is 1. It
    is ``None`` in results of versions that did not record it. So is ``updates``, the number of steps taken: where it
    is no multiple of the batches of an epoch, as in a refit with ``refit = "updates"``, the last epoch was cut short.
    """

    run_id: str
    cell_id: str
    dataset_digest: str
    spec: RunSpec
    parameters_total: int
    parameters_trainable: int
    train_images: int
    val_class_counts: tuple[int, ...]
    train_loss: Number
    train_accuracy: Number
    val_loss: Number
    val_accuracy: Number
    train_seconds: float
    workers: int | None = None
    updates: int | None = None
    epochs: tuple[EpochRecord, ...]
    environment: Environment

    @property
    def gap(self) -> float:
        """Train minus validation accuracy: how far it overfits; NaN in a refit."""
        return self.train_accuracy - self.val_accuracy

    @property
    def val_images(self) -> int:
        """Number of images in the validation part; 0 in a refit, which has none."""
        return sum(self.val_class_counts)


class Opening(Record):
    """One opening of the held-out test set for one refitted run."""

    run_id: str
    opened_at: str
    reason: str
    test_images: int
    test_loss: Number
    test_accuracy: Number
