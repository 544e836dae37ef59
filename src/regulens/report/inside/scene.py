"""What is looked at: some trained networks of a study, and an image that they may see."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from regulens.data.batches import Feed, PixelScaling, pixel_scaling, scaled
from regulens.data.catalog import is_here, load_dataset
from regulens.data.dataset import Dataset
from regulens.data.novelty import novelties
from regulens.data.picture_file import read_picture
from regulens.data.split import Split, split
from regulens.errors import UserError, check_type, one_line, suggestion
from regulens.figures.feature_maps import true_text
from regulens.figures.parts import chance
from regulens.files import file_slug
from regulens.models.cnn import CNN
from regulens.results import RunResult
from regulens.spec import DataSpec, StudySpec
from regulens.study.grid import cell_label, cells, run_label
from regulens.study.inside.analysis import typical_run
from regulens.study.inside.measuring import BATCH, measurable
from regulens.study.runner import run_folder
from regulens.study.store import Selection
from regulens.study.table import is_collapsed
from regulens.training.checkpoint import WEIGHTS, load_model

Part = Literal["train", "validation", "test", "unused"]
_INDEX = re.compile(r"-?[0-9]{1,18}")
ALL = "all"
"""In the place of a run or a cell: every one."""
_SETS = {"train": "training", "validation": "validation"}


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network of a study, in eval mode, with its name, its pixels' scaling and the parts of its images."""

    run: RunResult
    label: str
    model: CNN
    scaling: PixelScaling
    parts: Split

    @cached_property
    def expanded(self) -> nn.Sequential:
        """The same as named torch modules."""
        return self.model.expanded()

    def part_of(self, index: int) -> Part:
        """Say in which part of the network's own split an image is."""
        parts: tuple[Part, ...] = ("train", "validation", "test")
        return next((part for part in parts if index in getattr(self.parts, part)), "unused")

    def input(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Return pixels (..., H, W, C) as the network takes them, float32."""
        return scaled(torch.from_numpy(np.array(pixels, np.float32)), self.scaling)

    def predict(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the classes (N,) that the network predicts for pixels (N, H, W, C), and their probabilities (N,)."""
        with torch.no_grad():
            chances, classes = self.model(self.input(pixels)).double().softmax(1).max(1)
        return classes.numpy(), chances.numpy()

    def prediction(self, pixels: NDArray[np.uint8], class_names: Sequence[str]) -> str:
        """Write the class predicted for pixels (H, W, C), with its probability."""
        [predicted], [probability] = self.predict(pixels[None])
        return f"predicted: {class_names[predicted]} ({chance(float(probability))})"


@dataclass(frozen=True, eq=False)
class Subject:
    """An image that is looked at.

    Attributes:
        label: what it is called in figures.
        stem: what it is called in file names.
        pixels: (H, W, C) uint8.
        index: in the data set; ``None`` for a picture from elsewhere.
        truth: its class; ``None`` where no one knows.
        notes: where it comes from, a line each.
    """

    label: str
    stem: str
    pixels: NDArray[np.uint8]
    index: int | None
    truth: int | None
    notes: tuple[str, ...]

    def true_class(self, class_names: Sequence[str]) -> str:
        """Write its class."""
        return true_text(class_names, self.truth)


def named_runs(
    study: StudySpec,
    folder: Path,
    results: Sequence[RunResult],
    selections: Sequence[Selection],
    *,
    runs: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> list[RunResult]:
    """Return the runs that are asked for by run_id or by cell; by default the one that stands for the selected cell.

    Args:
        study: as declared.
        folder: where its runs lie.
        results: of its runs.
        selections: those in force.
        runs: run_ids or their beginnings, or ``all`` for every compared run.
        labels: of cells, of each of which ``typical_run`` is meant, or ``all`` for every cell.

    Raises:
        UserError: if there is no such run or cell, or nothing is selected yet and nothing is named.
    """
    groups = runs_by_cell(study, folder, results)
    found: list[RunResult] = []
    for name in runs:
        found += (
            [run for group in groups.values() for run in group] if name == ALL else [run_named(name, results, folder)]
        )
    for label in labels:
        names = list(groups) if label == ALL else [label_of(label, study, groups)]
        found += [typical_run(groups[name]) for name in names]
    if not runs and not labels:
        found = [typical_run(selected_runs(study, folder, results, selections))]
    return list({run.run_id: run for run in found}.values())


def run_named(name: str, results: Sequence[RunResult], folder: Path) -> RunResult:
    """Return the run whose run_id begins so.

    Raises:
        UserError: if there is none, or several.
    """
    check_type(name, str, "run", "the beginning of a run_id, a text")
    found = [result for result in results if result.run_id.startswith(name)]
    if len(found) != 1:
        how_many = "several runs begin" if found else "no run begins"
        raise UserError(f'{how_many} with "{name}"; see `regulens results {folder}` for the run_ids')
    return found[0]


def runs_by_cell(study: StudySpec, folder: Path, results: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Return the compared runs whose weights are there, by the label of their cell, in the study's order."""
    groups: dict[str, list[RunResult]] = {cell_label(spec, study): [] for spec in cells(study)}
    for run in sorted(measurable(results, folder), key=lambda run: run.spec.seed):
        groups[cell_label(run.spec.cell, study)].append(run)
    return {label: runs for label, runs in groups.items() if runs}


def label_of(text: str, study: StudySpec, groups: dict[str, list[RunResult]]) -> str:
    """Return the label of the cell that is meant, whatever its spaces and capitals.

    Raises:
        UserError: if there is no such cell, or it has no runs with weights.
    """
    plain = {_plain(cell_label(spec, study)): cell_label(spec, study) for spec in cells(study)}
    label = plain.get(_plain(text))
    if label is None:
        raise UserError(f'no network is named "{text}"{suggestion(text, plain.values())}')
    if label not in groups:
        raise UserError(f"{label}: has no run with weights yet; run the study, or name another network")
    return label


def selected_runs(
    study: StudySpec, folder: Path, results: Sequence[RunResult], selections: Sequence[Selection]
) -> list[RunResult]:
    """Return the compared runs of the selected cell, the first where there are several.

    Raises:
        UserError: if nothing is selected, or its weights are lost.
    """
    if not selections:
        raise UserError(f"{folder}: no network is selected yet; name one with --run RUN_ID or --cell LABEL")
    groups = runs_by_cell(study, folder, results)
    if selections[0].label not in groups:
        raise UserError(f"{folder}: the weights of {selections[0].label} are lost; run the study again")
    return groups[selections[0].label]


def matchable(study: StudySpec, folder: Path, results: Sequence[RunResult]) -> tuple[str, ...]:
    """Return the labels of the cells of which at least two runs trained.

    Raises:
        UserError: if there is none.
    """
    groups = runs_by_cell(study, folder, results)
    labels = tuple(label for label, runs in groups.items() if sum(not is_collapsed(run) for run in runs) > 1)
    if not labels:
        raise UserError(f"{folder}: seeds are compared where two runs of a network trained, and nowhere did two")
    return labels


def siblings(run: RunResult, results: Sequence[RunResult], folder: Path) -> list[RunResult]:
    """Return the runs that differ from this one in their seed only, itself included, and trained; by seed."""
    alike = [each for each in results if each.spec.model_copy(update={"seed": run.spec.seed}) == run.spec]
    trained = [each for each in alike if not is_collapsed(each) and each.spec.fresh == run.spec.fresh]
    there = [each for each in trained if (run_folder(folder, each.run_id) / WEIGHTS).is_file()]
    return sorted(there, key=lambda each: each.spec.seed)


def networks_of(
    study: StudySpec, folder: Path, runs: Sequence[RunResult], dataset: Dataset | None = None
) -> list[Network]:
    """Load networks whose runs share a data set.

    Raises:
        UserError: if the runs are of several data sets.
        DataError: if the weights of one, or the data set, are damaged or absent.
    """
    names = sorted({run.spec.data.name for run in runs})
    if len(names) > 1:
        raise UserError(f"one image is not of several data sets ({', '.join(names)}); name networks of one of them")
    dataset = dataset or load_dataset(names[0])
    parts: dict[DataSpec, Split] = {}
    scalings: dict[tuple[DataSpec, DataSpec, str], PixelScaling] = {}
    found = []
    for run in runs:
        spec = run.spec
        if spec.parts not in parts:
            parts[spec.parts] = split(len(dataset.labels), spec.parts)
        key = spec.parts, spec.data, spec.stage
        if key not in scalings:
            scalings[key] = pixel_scaling(dataset, spec.data, parts[spec.parts].fitted(spec.stage))
        model = load_model(run_folder(folder, run.run_id))
        found.append(Network(run, run_label(spec, study), model, scalings[key], parts[spec.parts]))
    return found


def subject_of(source: int | str | Path, dataset: Dataset, networks: Sequence[Network]) -> Subject:
    """Return the image that is asked for, by its index in the data set or as a picture file.

    Raises:
        UserError: if there is no such image, or it is in the held-out test set of one of the networks.
        DataError: if the file cannot be read.
    """
    text = str(source)
    if not _INDEX.fullmatch(text):
        path = Path(text)
        pixels, changes = read_picture(path, dataset.image_shape)
        [found] = novelties(pixels[None], dataset, networks[0].parts)
        notes = ("a picture from outside the data set", "true class unknown", *changes, *found.notes)
        stem = file_slug(path)
        stem = f"file-{stem}" if stem.startswith("image-") else stem  # image-7 is that of the data set
        return Subject(one_line(path.name), stem, pixels, None, None, notes)
    index, count = int(text), len(dataset.labels)
    if not 0 <= index < count:
        raise UserError(f"image {index}: {dataset.name} has images 0 to {count - 1}")
    sealed = [network for network in networks if network.part_of(index) == "test"]
    if sealed:
        example = int(np.sort(sealed[0].parts.validation)[0])
        raise UserError(
            f"image {index} belongs to the held-out test set of {sealed[0].label} and cannot be inspected; choose a "
            f"validation image, e.g. {example}"
        )
    return dataset_subject(index, dataset, networks)


def unsealed(networks: Sequence[Network], subject: Subject) -> list[Network]:
    """Return the networks of whose sealed part an image is not."""
    return [each for each in networks if subject.index is None or each.part_of(subject.index) != "test"]


def dataset_subject(index: int, dataset: Dataset, networks: Sequence[Network]) -> Subject:
    """Return an image of the data set that is in no sealed part."""
    truth = int(dataset.labels[index])
    name = dataset.class_names[truth]
    notes = (f"true class: {name}", *_part_notes(networks, index))
    return Subject(f"image {index}", f"image-{index}", dataset.images[index], index, truth, notes)


def validation_batches(network: Network, dataset: Dataset) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the validation images of a network's split in batches as ``Feed`` does, scaled, with labels."""
    return Feed(dataset, network.scaling).batches(network.parts.validation, BATCH)


def dataset_here(name: str) -> Dataset | None:
    """Return a data set that is on this machine; ``None`` if it would have to be fetched."""
    return load_dataset(name) if is_here(name) else None


def _part_notes(networks: Sequence[Network], index: int) -> list[str]:
    """Say which part of the data the image is in, and of how many networks where they have several splits."""
    counts = Counter(_part_note(network, index) for network in networks)
    if len(counts) == 1:
        return list(counts)
    return [f"{note} ({count} of {len(networks)} networks)" for note, count in counts.items()]


def _part_note(network: Network, index: int) -> str:
    part = network.part_of(index)
    refit = network.run.spec.stage == "refit"
    if part == "unused":
        return "not among the images that the study uses"
    if part == "train" or refit:
        return f"in the {_SETS.get(part, part)} set" + (" of a refit" if refit else "") + ": trained on"
    return "in the validation set: not trained on"


def _plain(text: str) -> str:
    return "".join(text.lower().split())
