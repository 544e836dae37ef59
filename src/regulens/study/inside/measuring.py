"""The look inside each run of a study: measured once per run, in parallel, and kept in the study's database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from regulens.data.batches import Feed, PixelScaling, pixel_scaling, scaled
from regulens.data.catalog import load_dataset
from regulens.data.dataset import Dataset, SharedDataset
from regulens.data.split import Split, split
from regulens.errors import RegulensError
from regulens.executors.base import Done, Executor, Failed, Report
from regulens.interpret.activations import INPUT, filter_responses
from regulens.interpret.corruptions import CORRUPTIONS, Predict, corrupted_accuracies
from regulens.interpret.importance import filter_importance
from regulens.interpret.kernels import conv_kernels
from regulens.interpret.measures import layer_measures
from regulens.interpret.probes import TRAIN_IMAGES, VALIDATION_IMAGES, linear_probe, probe_accuracies
from regulens.interpret.representations import stages
from regulens.models.cnn import CNN
from regulens.results import Number, Record, RunResult
from regulens.spec import DataSpec, RunSpec
from regulens.study.protocol import shared_datasets
from regulens.study.runner import opened, run_folder
from regulens.study.store import Store, sole_writer
from regulens.training.checkpoint import WEIGHTS, load_model
from regulens.training.environment import pinned_torch

VERSION = 1
"""Kept with each record: raised when what is measured changes, so that it is measured anew."""
BATCH = 500
CORRUPTED_IMAGES = 3000
CORRUPTION_SEED = 0

OnMeasured = Callable[[int, int], None]
"""Is told how many runs are measured, and of how many."""


def quietly(measured: int, of: int) -> None:
    """An ``on_measured`` that does nothing."""


class LayerRecord(Record):
    """One convolution of a run.

    Attributes:
        layer: its name.
        shape: (filters, input channels, height, width) of its kernels.
        measures: of the layer, by the names of ``interpret.measures.MEASURES``.
        dead: of each filter, whether it is zero on every validation image.
        importance: of each filter, the validation accuracy lost without it.
    """

    layer: str
    shape: tuple[int, int, int, int]
    measures: dict[str, Number]
    dead: tuple[bool, ...]
    importance: tuple[Number, ...]


class InsideRecord(Record):
    """What is measured of one run, all of it on images that it was not trained on.

    Attributes:
        run_id: of the run.
        version: of the measuring.
        images: validation images that the filters were measured on.
        layers: its convolutions.
        probes: validation accuracy of a linear probe by stage of the network.
        probe_images: how many the probes were fitted and scored on.
        corrupted: validation accuracy by corruption, at severities 0 (none) to 5.
        corrupted_images: how many these were measured on.
    """

    run_id: str
    version: int
    images: int
    layers: tuple[LayerRecord, ...]
    probes: dict[str, Number]
    probe_images: tuple[int, int]
    corrupted: dict[str, tuple[float, ...]]
    corrupted_images: int


@dataclass(frozen=True)
class InsideJob:
    """All that a worker needs to measure one run."""

    run_id: str
    spec: RunSpec
    data: SharedDataset
    folder: Path


def measurable(results: Sequence[RunResult], folder: Path) -> list[RunResult]:
    """Return the compared runs whose weights are there."""
    return [
        result for result in results if result.spec.compared and (run_folder(folder, result.run_id) / WEIGHTS).is_file()
    ]


def inside_records(store: Store) -> dict[str, InsideRecord]:
    """Return what is measured already, in this version's way, by run_id."""
    return {record.run_id: record for record in store.inside(InsideRecord, VERSION)}


def measure_inside(folder: Path, executor: Executor, on_measured: OnMeasured) -> dict[str, InsideRecord]:
    """Measure every compared run of the study in ``folder`` that is not measured yet, and return all, by run_id.

    Raises:
        UserError: if another process is at work in the folder.
        DataError: if a data set or a run's weights are damaged.
        RegulensError: if a run could not be measured; the others are kept.
    """
    with sole_writer(folder):
        store = Store(folder)
        found = inside_records(store)
        runs = measurable(store.results(), folder)
        pending = [run for run in runs if run.run_id not in found]
        datasets = {name: load_dataset(name) for name in sorted({run.spec.data.name for run in pending})}
        with shared_datasets(datasets, folder) as data:
            jobs = [
                InsideJob(run.run_id, run.spec, data[run.spec.data.name], run_folder(folder, run.run_id))
                for run in pending
            ]
            measured, failures = len(runs) - len(jobs), []
            on_measured(measured, len(runs))
            for event in executor.run(measure_run, jobs):
                match event:
                    case Done(_, record):
                        store.save_inside(record.run_id, record)
                        found[record.run_id] = record
                        measured += 1
                        on_measured(measured, len(runs))
                    case Failed(index, error, _):
                        failures.append(f"run {jobs[index].run_id}: {error}")
    if failures:
        raise RegulensError(f"{len(failures)} of {len(jobs)} runs could not be measured, the first: {failures[0]}")
    return {run.run_id: found[run.run_id] for run in runs}


def measure_run(job: InsideJob, _report: Report) -> InsideRecord:
    """Measure one run in a worker."""
    with pinned_torch():
        pixels = _pixel_probe(job.data, job.spec.parts)
        return inside_of(job.run_id, job.spec, load_model(job.folder), opened(job.data), {INPUT: pixels})


@lru_cache(maxsize=8)
def _pixel_probe(data: SharedDataset, parts: DataSpec) -> float:
    """Return the accuracy of a linear probe on the pixels: the same for all networks that have the same split."""
    dataset = opened(data)
    images = [dataset.images[indices].reshape(len(indices), -1) for indices in _probed(dataset, parts)]
    labels = [dataset.labels[indices] for indices in _probed(dataset, parts)]
    return linear_probe(images[0], labels[0], images[1], labels[1])


def _probed(dataset: Dataset, parts: DataSpec) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the images that probes are fitted on, and those that they are scored on."""
    parted = split(len(dataset.labels), parts)
    return parted.train[:TRAIN_IMAGES], parted.validation[:VALIDATION_IMAGES]


def inside_of(
    run_id: str, spec: RunSpec, model: CNN, dataset: Dataset, known_probes: Mapping[str, float]
) -> InsideRecord:
    """Measure one network on the validation images of its split; probes that are known are not fitted again."""
    parts = split(len(dataset.labels), spec.parts)
    scaling = pixel_scaling(dataset, spec.data, parts.fitted(spec.stage))
    feed = Feed(dataset, scaling)
    probed = _probed(dataset, spec.parts)
    corrupted = parts.validation[:CORRUPTED_IMAGES]
    accuracies = corrupted_accuracies(
        [predictor(model, scaling)], dataset.images[corrupted], dataset.labels[corrupted], CORRUPTION_SEED
    )[0]
    network = model.expanded()
    learned = [stage for stage in stages(network) if stage not in {*known_probes, "output"}]
    fitted_on, scored_on = (feed.batches(indices, BATCH) for indices in probed)
    probes = probe_accuracies(network, fitted_on, scored_on, learned)
    return InsideRecord(
        run_id=run_id,
        version=VERSION,
        images=len(parts.validation),
        layers=_layers(model, feed, parts, len(dataset.class_names)),
        probes={**known_probes, **probes},
        probe_images=(len(probed[0]), len(probed[1])),
        corrupted={kind: tuple(row) for kind, row in zip(CORRUPTIONS, accuracies.tolist(), strict=True)},
        corrupted_images=len(corrupted),
    )


def predictor(model: CNN, scaling: PixelScaling) -> Predict:
    """Return what predicts the classes (B,) of images (B, H, W, C) uint8."""

    def predict(images: NDArray[np.uint8]) -> NDArray[np.int64]:
        with torch.no_grad():
            pieces = torch.split(torch.from_numpy(np.ascontiguousarray(images)), BATCH)
            classes = [model(scaled(piece.float(), scaling)).argmax(1) for piece in pieces]
            return np.asarray(torch.cat(classes).numpy())

    return predict


def _layers(model: CNN, feed: Feed, parts: Split, classes: int) -> tuple[LayerRecord, ...]:
    responses = filter_responses(model.expanded(), feed.batches(parts.validation, BATCH), classes, keep=1)
    means = {layer: each.mean for layer, each in responses.items()}
    importance = filter_importance(model, feed.batches(parts.validation, BATCH), means)
    return tuple(
        LayerRecord(
            layer=kernels.layer,
            shape=kernels.weight.shape,
            measures=layer_measures(kernels.weight, responses[kernels.layer], importance[kernels.layer]),
            dead=tuple(responses[kernels.layer].dead.tolist()),
            importance=tuple(importance[kernels.layer].lost.tolist()),
        )
        for kernels in conv_kernels(model)
    )
