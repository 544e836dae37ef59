"""What a training returns, and how it is written as JSON (NaN is null there)."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from regulens.spec import RunSpec


def _finite_or_nan(value: object) -> object:
    return math.nan if value is None or value in {math.inf, -math.inf} else value


Number = Annotated[float, BeforeValidator(_finite_or_nan)]
"""A float, NaN where it would not be finite; written as JSON null and read back as NaN."""


class Record(BaseModel):
    """Base of all records: immutable, complete, JSON both ways."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Version = Literal[1, 2]
"""Of results and openings: in version 1, whose JSON does not say so, losses are objectives (``study.rescoring``)."""
_FIRST_NAMES = {"loss": "objective", "val_loss": "val_objective"}


def _with_version(content: Any, info: ValidationInfo) -> Any:
    """Say of JSON without a version that it is of the first."""
    return {"version": 1} | content if info.mode == "json" and isinstance(content, dict) else content


class EpochRecord(Record):
    """One epoch: running means over its training batches (weighted by images), then the validation part.

    The objective is what is minimized, in nats: the mean negative log-likelihood and the regularizer's penalty, which
    Keras reports as the loss. Accuracies are shares in [0, 1]; seconds are wall-clock, the validation included.
    Validation is NaN in a refit.
    """

    epoch: int
    objective: Number
    accuracy: Number
    val_objective: Number
    val_accuracy: Number
    seconds: float

    @model_validator(mode="before")
    @classmethod
    def _first_names(cls, content: Any, info: ValidationInfo) -> Any:
        """Read JSON of version 0.1, where objectives are called losses."""
        if info.mode == "json" and isinstance(content, dict):
            return {_FIRST_NAMES.get(name, name): value for name, value in content.items()}
        return content


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

    Losses are the mean negative log-likelihood in nats, without the regularizer's penalty: they mean the same whatever
    was minimized. ``unknown`` says why one is NaN that was a number, which happens to results of version 1 only.

    ``workers`` is how many runs were made at once, itself included: seconds are to be trusted only where it is 1. It
    is ``None`` in results of versions that did not record it. So is ``updates``, the number of steps taken: where it
    is no multiple of the batches of an epoch, as in a refit with ``refit = "updates"``, the last epoch was cut short.

    ``trained_above`` is the validation accuracy above which its study says that a run trained; it is not stored.
    """

    version: Version = 2
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
    unknown: str = ""
    trained_above: float | None = Field(None, exclude=True)
    epochs: tuple[EpochRecord, ...]
    environment: Environment

    _of_version = model_validator(mode="before")(_with_version)

    @property
    def gap(self) -> float:
        """Train minus validation accuracy: how far it overfits; NaN in a refit."""
        return self.train_accuracy - self.val_accuracy

    @property
    def val_images(self) -> int:
        """Number of images in the validation part; 0 in a refit, which has none."""
        return sum(self.val_class_counts)


class Opening(Record):
    """One opening of the held-out test set for one refitted run; its loss is the mean negative log-likelihood."""

    version: Version = 2
    run_id: str
    opened_at: str
    reason: str
    test_images: int
    test_loss: Number
    test_accuracy: Number

    _of_version = model_validator(mode="before")(_with_version)
