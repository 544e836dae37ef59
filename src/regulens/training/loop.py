"""The training of one network: one visible loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regulens.data.batches import Feed, PixelScaling, pixel_scaling
from regulens.data.dataset import Dataset
from regulens.data.split import Split, split
from regulens.errors import UserError, check_type
from regulens.models.cnn import CNN, build_model, parameter_counts
from regulens.models.regularizers import Regularizer, build_regularizer
from regulens.results import Environment, EpochRecord, RunResult
from regulens.spec import RunSpec, cell_id, random_state, run_id
from regulens.training.device import find_device, recorded
from regulens.training.environment import environment, pinned_torch
from regulens.training.evaluate import Evaluation, evaluate
from regulens.training.optimizer import SGD
from regulens.training.static import Differentiate, by_autograd, differentiation_of


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished training: its numbers, the network, and what it says of the validation part.

    ``probabilities`` are (N, classes) float32, ``val_indices`` (N,) int64 indices of their images in the data set;
    ``scaling`` is what the network's input must have gone through.
    """

    result: RunResult
    model: CNN
    scaling: PixelScaling
    probabilities: NDArray[np.float32]
    val_indices: NDArray[np.int64]


def train(
    spec: RunSpec, dataset: Dataset, on_epoch: Callable[[EpochRecord], None] | None = None, *, device: str = "cpu"
) -> Trained:
    """Train one network and evaluate it; the same spec and data give the same bits on the same machine.

    It is taken to be the one run made at this time; who makes several at once records how many.

    Args:
        spec: the complete description of the run.
        dataset: the images named by ``spec.data.name``.
        on_epoch: called with each epoch's record as it ends.
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UserError: if the network does not fit the images, a part of the split would be empty, the data set is
            another than the spec names, or there is no such device.
    """
    check_type(spec, RunSpec, "spec", "a RunSpec")
    check_type(dataset, Dataset, "dataset", 'a Dataset, such as load_dataset("digits")')
    if spec.data.name != dataset.name:
        raise UserError(f'data.name = "{spec.data.name}": the images given are of "{dataset.name}"; name these')
    place = find_device(device)
    parts = split(len(dataset.labels), spec.parts)
    fitted_on, judged_on = parts.fitted(spec.stage), parts.judged(spec.stage)
    scaling = pixel_scaling(dataset, spec.data, fitted_on)
    with pinned_torch():
        feed = Feed(dataset, scaling, place)
        regularizer = build_regularizer(spec.regularizer)
        model = build_run_model(spec, dataset).to(place)
        optimizer = build_optimizer(spec, model, regularizer)
        differentiate = differentiation_of(model)
        shuffle = np.random.default_rng(random_state(spec, dataset.digest, "shuffle"))
        augment = torch.Generator(place).manual_seed(random_state(spec, dataset.digest, "batch"))
        objective_sum = torch.zeros((), dtype=torch.float64, device=place)
        hits_sum = torch.zeros((), dtype=torch.int64, device=place)

        def step(chosen: Tensor) -> None:
            images, labels = regularizer.batch(*feed.batch(chosen), augment)
            objective, hits = train_step(model, optimizer, regularizer, images, labels, differentiate=differentiate)
            objective_sum.add_(objective, alpha=len(labels))
            hits_sum.add_(hits)

        state = [*model.parameters(), *model.buffers(), *optimizer.velocities, objective_sum, hits_sum]
        take_step = recorded(step, min(spec.train.batch_size, len(fitted_on)), state, augment)
        epochs: list[EpochRecord] = []
        updates = left = updates_of(spec, parts)
        started = time.perf_counter()
        while left:
            epoch_started = time.perf_counter()
            objective_sum.zero_()
            hits_sum.zero_()
            batches = feed.orders(shuffle.permutation(fitted_on), spec.train.batch_size)[:left]
            for chosen in batches:
                take_step(chosen)
            left, seen = left - len(batches), sum(map(len, batches))
            judged = evaluate(model, regularizer, feed, judged_on)
            record = EpochRecord(
                epoch=len(epochs) + 1,
                objective=objective_sum.item() / seen,
                accuracy=hits_sum.item() / seen,
                val_objective=judged.objective,
                val_accuracy=judged.accuracy,
                seconds=time.perf_counter() - epoch_started,
            )
            epochs.append(record)
            if on_epoch is not None:
                on_epoch(record)
        seconds = time.perf_counter() - started
        fitted = evaluate(model, regularizer, feed, fitted_on)
    class_counts = np.bincount(dataset.labels[judged_on], minlength=len(dataset.class_names))
    result = _result(
        spec,
        dataset,
        model,
        fitted=fitted,
        judged=judged,
        epochs=tuple(epochs),
        seconds=seconds,
        updates=updates,
        train_images=len(fitted_on),
        val_class_counts=class_counts,
        environment=environment(device),
    )
    return Trained(result, model.cpu().eval(), scaling, judged.probabilities, judged_on)


def _result(
    spec: RunSpec,
    dataset: Dataset,
    model: CNN,
    *,
    fitted: Evaluation,
    judged: Evaluation,
    epochs: tuple[EpochRecord, ...],
    seconds: float,
    updates: int,
    train_images: int,
    val_class_counts: NDArray[np.int64],
    environment: Environment,
) -> RunResult:
    total, trainable = parameter_counts(model)
    return RunResult(
        run_id=run_id(spec, dataset.digest),
        cell_id=cell_id(spec, dataset.digest),
        dataset_digest=dataset.digest,
        spec=spec,
        parameters_total=total,
        parameters_trainable=trainable,
        train_images=train_images,
        val_class_counts=tuple(val_class_counts.tolist()),
        train_loss=fitted.loss,
        train_accuracy=fitted.accuracy,
        val_loss=judged.loss,
        val_accuracy=judged.accuracy,
        train_seconds=seconds,
        workers=1,
        updates=updates,
        epochs=epochs,
        environment=environment,
    )


def updates_of(spec: RunSpec, parts: Split) -> int:
    """Return how many steps a run takes; a refit by updates as many as its training, its last epoch cut short."""
    by_updates = spec.stage == "refit" and spec.refit == "updates"
    images = len(parts.train if by_updates else parts.fitted(spec.stage))
    return spec.train.epochs * math.ceil(images / spec.train.batch_size)


def train_step(
    model: CNN,
    optimizer: SGD,
    regularizer: Regularizer,
    images: Tensor,
    labels: Tensor,
    *,
    differentiate: Differentiate | None = None,
) -> tuple[Tensor, Tensor]:
    """Take one step; return the objective before it and the number of right predictions.

    ``differentiate`` is ``differentiation_of(model)``, where it is at hand.
    """
    loss, hits = (differentiate or partial(by_autograd, model))(images, labels)
    penalty = regularizer.penalise(model)
    optimizer.step()
    return loss if penalty is None else loss + penalty, hits


def build_run_model(spec: RunSpec, dataset: Dataset) -> CNN:
    """Return the untrained network of a run, in training mode, drawn from the run's own streams."""
    return build_model(
        spec.model,
        dataset.image_shape,
        len(dataset.class_names),
        build_regularizer(spec.regularizer),
        seed=random_state(spec, dataset.digest, "init"),
        dropout_seed=random_state(spec, dataset.digest, "dropout"),
    )


def build_optimizer(spec: RunSpec, model: CNN, regularizer: Regularizer) -> SGD:
    """Return plain SGD over the parameter groups that the regularizer asks for."""
    groups = regularizer.parameter_groups([{"params": list(model.parameters())}])
    return SGD(groups, spec.train.learning_rate, spec.train.momentum)
