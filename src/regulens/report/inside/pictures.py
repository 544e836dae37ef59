"""The pictures of a report's second part, each chosen by a rule, with the sentences that their numbers support."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from regulens.data.dataset import Dataset
from regulens.errors import UserError
from regulens.interpret.activations import ImageActivations
from regulens.interpret.matching import MatchedLayer
from regulens.interpret.maximise import OUTPUT
from regulens.report.document import Block, Figure, Heading, Paragraph, Table
from regulens.report.inside.kernel_pictures import Match, draw_match, kernels_by_cell, match_of
from regulens.report.inside.looking import Look, exciting_images, look_at, maximised_inputs
from regulens.report.inside.scene import (
    Network,
    dataset_here,
    networks_of,
    runs_by_cell,
    selected_runs,
    validation_batches,
)
from regulens.report.pictures import FIGURES
from regulens.report.wording import DASH, counted, minus
from regulens.results import RunResult
from regulens.spec import StudySpec
from regulens.study.inside.analysis import TYPICAL, typical_run
from regulens.study.store import Selection
from regulens.study.table import is_collapsed

IMAGE_RULE = "the validation image that it gets right with the median confidence (of an even number the lower one)"


@dataclass(frozen=True, eq=False)
class Scene:
    """What is looked at: the network that stands for the selected cell, and its images.

    Attributes:
        cell: the selected cell's label.
        network: which network.
        dataset: its data set.
        index: of the image chosen by ``IMAGE_RULE``.
        by_class: the same among the images of each class; a class of which none is right is left out.
    """

    cell: str
    network: Network
    dataset: Dataset
    index: int
    by_class: tuple[int, ...]


def kernel_blocks(
    study: StudySpec,
    folder: Path,
    results: Sequence[RunResult],
    selections: Sequence[Selection],
) -> list[Block]:
    """Show the regularizers' kernels side by side, and whether seeds learn the same filters."""
    return [Heading("Kernels of every network", 2), *_kernels(study, folder, results, selections)]


def answer_blocks(
    study: StudySpec,
    folder: Path,
    results: Sequence[RunResult],
    selections: Sequence[Selection],
) -> list[Block]:
    """Show an image on its way through the networks, and what excites filters and classes."""
    head = Heading("Activations", 2)
    scene = scene_of(study, folder, results, selections)
    if isinstance(scene, str):
        return [head, Paragraph(scene)]
    return [head, *_through(study, folder, results, scene), *_excited(scene, folder / FIGURES)]


def scene_of(
    study: StudySpec, folder: Path, results: Sequence[RunResult], selections: Sequence[Selection]
) -> Scene | str:
    """Choose network and images by the rules, or say in a sentence why none can be shown."""
    try:
        run = typical_run(selected_runs(study, folder, results, selections))
    except UserError:
        return "No network is selected, or its weights are lost: no image is shown."
    dataset = dataset_here(run.spec.data.name)
    if dataset is None:
        name = run.spec.data.name
        return f"The data set {name} is not on this machine (`regulens data get {name}`): no image is shown."
    [network] = networks_of(study, folder, [run], dataset)
    right, confidence = _right_images(network, dataset)
    if not len(right):
        return f"{network.label} gets no validation image right: there is none to show."
    classes = dataset.labels[right]
    by_class = [_median(right[classes == each], confidence[classes == each]) for each in np.unique(classes)]
    return Scene(selections[0].label, network, dataset, _median(right, confidence), tuple(by_class))


def chosen_text(scene: Scene) -> str:
    """Say which network and image are shown, and why."""
    run = scene.network.run
    name = scene.dataset.class_names[scene.dataset.labels[scene.index]]
    collapsed = " It did not train, as no run of its network did." if is_collapsed(run) else ""
    return (
        f"Shown is {scene.network.label}: the selected network, represented by {TYPICAL}.{collapsed} The image is "
        "number "
        f"{scene.index} ({name}): {IMAGE_RULE}."
    )


def _kernels(
    study: StudySpec, folder: Path, results: Sequence[RunResult], selections: Sequence[Selection]
) -> Iterator[Block]:
    groups = runs_by_cell(study, folder, results)
    if not groups:
        yield Paragraph("No run's weights are in the study's folder: there are no kernels to show.")
        return
    yield Paragraph(
        f"Each network is represented by {TYPICAL}. Each kernel is drawn from its smallest weight (black) to its "
        "largest (white), so that patterns can be compared; their magnitudes are given below. The order of filters is "
        "arbitrary."
    )
    for picture in kernels_by_cell(study, folder, results):
        yield Figure(picture.picture)
    matches = [match for label in groups if (match := _match(study, folder, results, label)) is not None]
    if not matches:
        yield Paragraph("No network has two non-collapsed runs: filters cannot be compared across seeds.")
        return
    yield Paragraph(_alike_text(matches))
    yield _alike_table(matches)
    selected = {selection.label for selection in selections}
    for match in matches:
        if match.cell in selected:
            yield from (Figure(each.picture) for each in draw_match(match, folder / FIGURES))


def _match(study: StudySpec, folder: Path, results: Sequence[RunResult], label: str) -> Match | None:
    try:
        return match_of(study, folder, results, label)
    except UserError:  # fewer than two of its runs trained
        return None


def _alike_text(matches: Sequence[Match]) -> str:
    layers = [(match.cell, layer.layer, each) for match in matches for layer, each in _similarities(match)]
    above = [(cell, layer) for cell, layer, (mean, _, high) in layers if mean > high]
    text = (
        "The filters of a network's seeds are matched to those of the seed that is most similar to all, one to one. "
        "Similarity is the correlation of their weights; even random kernels have some after matching, which is given "
        f"for comparison. It lies above the central 95 % of those in {len(above)} of "
        f"{counted(len(layers), 'layer')}; by chance alone it would in one of 40"
    )
    named = "; ".join(f"{layer} of {cell}" for cell, layer in above)
    return text + (f" ({named})." if above and len(above) < len(layers) else ".")


def _similarities(match: Match) -> Iterator[tuple[MatchedLayer, tuple[float, float, float]]]:
    for layer, random in zip(match.layers, match.random, strict=True):
        yield layer, (float(layer.filter_similarity.mean()), random.low, random.high)


def _alike_table(matches: Sequence[Match]) -> Table:
    rows = [
        (
            match.cell,
            layer.layer,
            str(len(match.runs)),
            f"{mean:.3f}",
            f"{random.mean:.3f} ({low:.3f} to {high:.3f})",
        )
        for match in matches
        for (layer, (mean, low, high)), random in zip(_similarities(match), match.random, strict=True)
    ]
    return Table(
        caption="Similarity of filters across seeds",
        columns=("network", "layer", "non-collapsed seeds", "similarity", "of random kernels (95 %)"),
        rows=tuple(rows),
        note="Mean over filters and seeds of the similarity to the matched filter of the reference seed.",
        left=(1,),
        name="matched-filters",
    )


def _through(study: StudySpec, folder: Path, results: Sequence[RunResult], scene: Scene) -> Iterator[Block]:
    out = folder / FIGURES
    seen = look_at([scene.network], scene.index, out, dataset=scene.dataset)
    yield Paragraph(f"{chosen_text(scene)} {_zero_text(seen)}")
    yield from map(Figure, seen.pictures)
    others = _comparable(study, folder, results, scene)
    if len(others) < 2:
        return
    layer = "relu1"
    across = look_at(others, scene.index, out, layer=layer, scaling="own", dataset=scene.dataset)
    zero = [(each.network, _zeros(each.activations, layer)) for each in across.seen]
    yield Paragraph(
        "The first layer of each network's representative run, each on a scale of its own, given at its right. Dead "
        f"filters (zero on this image): {'; '.join(f'{name}: {text}' for name, text in zero)}."
    )
    yield from map(Figure, across.pictures)


def _comparable(study: StudySpec, folder: Path, results: Sequence[RunResult], scene: Scene) -> list[Network]:
    """Return the networks that stand for cells of the same data set, for which the image is not sealed."""
    name = scene.network.run.spec.data.name
    runs = [typical_run(runs) for runs in runs_by_cell(study, folder, results).values()]
    same = networks_of(study, folder, [run for run in runs if run.spec.data.name == name], scene.dataset)
    return [network for network in same if network.part_of(scene.index) == "validation"]


def _excited(scene: Scene, out: Path) -> Iterator[Block]:
    layer = f"conv{scene.network.run.spec.model.depth}"
    [exciting] = exciting_images([scene.network], out, layer, dataset=scene.dataset)
    dead = int(exciting.responses.dead.sum())
    filters = len(exciting.responses.dead)
    yield Paragraph(
        f"Maximally activating images of its last convolution, of whose {counted(filters, 'filter')} {dead} "
        f"{'is' if dead == 1 else 'are'} dead (zero on all {exciting.responses.images:,} validation images). "
        "Activation maximization, gradient ascent from noise, finds inputs that a filter or a class responds to most; "
        "they need not resemble real images."
    )
    yield Figure(exciting.picture)
    for name in (layer, OUTPUT):
        yield from (
            Figure(made.picture) for made in maximised_inputs([scene.network], out, name, dataset=scene.dataset)
        )


def _zero_text(seen: Look) -> str:
    found = seen.seen[0].activations
    layers = [maps.layer for maps in found.maps if maps.kind == "ReLU"]
    parts = [f"{_zeros(found, layer)} of {layer.replace('relu', 'conv')}" for layer in layers]
    return f"Dead filters (zero on this image): {', '.join(parts)}."


def _zeros(activations: ImageActivations, layer: str) -> str:
    [maps] = [each.maps for each in activations.maps if each.layer == layer]
    return f"{int((maps == 0).all(axis=(1, 2)).sum())} of {len(maps)}"


def _right_images(network: Network, dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the indices (n,) of the validation images that a network gets right, lowest first, and its confidence."""
    with torch.no_grad():
        chances = torch.cat(
            [network.model(each).double().softmax(1) for each, _ in validation_batches(network, dataset)]
        )
    indices = network.parts.validation
    confidence, predicted = (each.numpy() for each in chances.max(1))
    right = (predicted == dataset.labels[indices]) & np.isfinite(confidence)
    order = np.argsort(indices[right])
    return indices[right][order], confidence[right][order]


def _median(indices: NDArray[np.int64], confidence: NDArray[np.float64]) -> int:
    """Return the image of median confidence, the lower one of two, of equals the one of lowest index."""
    order = np.argsort(confidence, kind="stable")
    middle = confidence[order[(len(order) - 1) // 2]]
    return int(indices[np.flatnonzero(confidence == middle)[0]])


def two(value: float) -> str:
    """Write a value with two decimals; a dash where there is none."""
    return minus(f"{value:.2f}") if math.isfinite(value) else DASH
