"""How long a run would take here: a few steps on random pixels, timed, nothing of the study trained."""

from __future__ import annotations

import time

import numpy as np

from regulens.data.batches import batches
from regulens.data.dataset import Dataset
from regulens.models.regularizers import build_regularizer
from regulens.spec import RunSpec
from regulens.training.environment import pinned_torch
from regulens.training.evaluate import evaluate
from regulens.training.loop import build_optimizer, build_run_model, train_step

WARM_UP_STEPS = 2
TIMED_STEPS = 4


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
    size = min(spec.train.batch_size, train_images)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (size, *image_shape), np.uint8)
    labels = random.integers(0, classes, size).astype(np.uint8)
    dataset = Dataset(spec.data.name, pixels, labels, tuple(map(str, range(classes))))
    everything = np.arange(size)
    with pinned_torch():
        regularizer = build_regularizer(spec.regularizer)
        model = build_run_model(spec, dataset)
        optimizer = build_optimizer(spec, model, regularizer)
        durations = []
        for _ in range(WARM_UP_STEPS + TIMED_STEPS):
            started = time.perf_counter()
            for images, targets in batches(dataset, everything, size, spec.data.scale):
                train_step(model, optimizer, regularizer, images, targets)
            durations.append(time.perf_counter() - started)
        started = time.perf_counter()
        evaluate(model, regularizer, dataset, everything, spec.data.scale)
        evaluation = (time.perf_counter() - started) / size
    step = float(np.median(durations[WARM_UP_STEPS:]))
    steps = -(-train_images // size)
    return spec.train.epochs * (steps * step + val_images * evaluation) + train_images * evaluation
