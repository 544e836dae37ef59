"""How long a run takes here: steps on random pixels, timed; nothing of a study is trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from regulens.data.batches import Feed, pixel_scaling
from regulens.data.dataset import Dataset
from regulens.models.regularizers import build_regularizer
from regulens.spec import RunSpec
from regulens.training.environment import pinned_torch
from regulens.training.evaluate import EVALUATION_BATCH, evaluate
from regulens.training.loop import build_optimizer, build_run_model, train_step
from regulens.training.static import differentiation_of


@dataclass(frozen=True)
class Pieces:
    """What a run is made of, ready to be called and timed.

    Attributes:
        step: one training step on a full batch, the gathering of its images included.
        evaluation: the evaluation of ``evaluated`` images.
        evaluated: how many that are.
        products: the matrix products of a step's dense layers alone, as one call each: a step's floor.
    """

    step: Callable[[], object]
    evaluation: Callable[[], object]
    evaluated: int
    products: Callable[[], object]


def pieces_of(spec: RunSpec, image_shape: tuple[int, int, int], classes: int) -> Pieces:
    """Return a run's pieces, on random pixels of shape (H, W, C)."""
    size, evaluated = spec.train.batch_size, max(EVALUATION_BATCH, spec.train.batch_size)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (evaluated, *image_shape), np.uint8)
    labels = random.integers(0, classes, evaluated).astype(np.uint8)
    dataset = Dataset(spec.data.name, pixels, labels, tuple(map(str, range(classes))))
    everything = np.arange(evaluated)
    feed = Feed(dataset, pixel_scaling(dataset, spec.data, everything))
    regularizer = build_regularizer(spec.regularizer)
    model = build_run_model(spec, dataset)
    optimizer = build_optimizer(spec, model, regularizer)
    chosen, differentiate = torch.arange(size), differentiation_of(model)
    operands = [
        (torch.rand(size, layer.in_features), layer.weight.detach().clone(), torch.rand(size, layer.out_features))
        for layer in (model.dense, model.output)
    ]

    def products() -> None:
        for x, weight, grad in operands:
            x @ weight.T, grad @ weight, grad.T @ x

    return Pieces(
        step=lambda: train_step(model, optimizer, regularizer, *feed.batch(chosen), differentiate=differentiate),
        evaluation=lambda: evaluate(model, regularizer, feed, everything),
        evaluated=evaluated,
        products=products,
    )


def alternate(calls: Mapping[str, Callable[[], object]], rounds: int, repeats: int) -> dict[str, float]:
    """Time several calls in turn, so that whatever else the machine does falls on all of them.

    Returns:
        For each call its median over ``rounds`` of the mean seconds of ``repeats`` calls, a first one not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            started = time.perf_counter()
            for _ in range(repeats):
                call()
            seconds[name].append((time.perf_counter() - started) / repeats)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def estimate_seconds(
    spec: RunSpec, image_shape: tuple[int, int, int], classes: int, train_images: int, val_images: int
) -> float:
    """Return the seconds that one run would take on one core of this machine (a rough estimate).

    Args:
        spec: the run.
        image_shape: (H, W, C).
        classes: number of classes.
        train_images: how many images an epoch has.
        val_images: how many images are evaluated after each epoch.
    """
    with pinned_torch():
        pieces = pieces_of(spec, image_shape, classes)
        took = alternate({"step": pieces.step, "evaluation": pieces.evaluation}, rounds=3, repeats=2)
    return seconds_of_run(spec, took["step"], took["evaluation"] / pieces.evaluated, train_images, val_images)


def seconds_of_run(spec: RunSpec, step: float, per_image: float, train_images: int, val_images: int) -> float:
    """Return the seconds of a run whose step and whose evaluation of an image take so long."""
    steps = train_images / min(spec.train.batch_size, train_images)
    return spec.train.epochs * (steps * step + val_images * per_image) + train_images * per_image
