"""Looking inside a study's networks: an image through their layers, and what excites their filters and classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regulens.data.catalog import load_dataset
from regulens.data.dataset import Dataset
from regulens.errors import UserError
from regulens.figures.exciting import draw_exciting, draw_maximised, exciting_info, maximised_info
from regulens.figures.feature_maps import across_info, draw_across, draw_through, through_info
from regulens.figures.style import save_figure
from regulens.interpret.activations import FilterResponses, ImageActivations, feature_maps, filter_responses
from regulens.interpret.kernels import conv_kernels
from regulens.interpret.maximise import OUTPUT, Maximised, maximise
from regulens.report.inside.scene import Network, Subject, subject_of, validation_batches
from regulens.report.pictures import Picture, slug

ROWS = 12
"""Networks in one picture of a layer."""
MOST_UNITS = 32
"""Filters or classes that inputs are made for, the first of a layer."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What one network makes of an image: the activations of its layers, and the class it says."""

    run_id: str
    network: str
    activations: ImageActivations
    predicted: str

    @property
    def probability(self) -> float:
        """Of the predicted class, NaN in a network that diverged."""
        return float(self.activations.probabilities.max())


@dataclass(frozen=True, eq=False)
class Look:
    """An image on its way through networks, in their order; the pictures; notes, a line each."""

    subject: Subject
    seen: tuple[Seen, ...]
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ExcitingPicture:
    """The validation images that excite each filter of one layer most."""

    run_id: str
    network: str
    responses: FilterResponses
    picture: Picture


@dataclass(frozen=True, eq=False)
class MaximisedPicture:
    """Inputs made to excite the filters of one layer, or the classes."""

    run_id: str
    network: str
    layer: str
    found: tuple[Maximised, ...]
    picture: Picture


def look_at(
    networks: Sequence[Network],
    image: int | str | Path,
    out: Path,
    *,
    layer: str | None = None,
    scaling: Literal["shared", "own"] = "shared",
    dataset: Dataset | None = None,
) -> Look:
    """Follow an image through every layer of each network, or compare one layer of them all.

    Args:
        networks: of one data set.
        image: its index in the data set, or a picture file.
        out: where the figures go.
        layer: as ``relu1``, ``pool1`` or ``batchnorm1``: this one alone, the networks side by side.
        scaling: with ``layer``, one scale for all networks or each network's own.
        dataset: theirs, if it is loaded already.

    Raises:
        UserError: if the image is sealed or absent, or no network has such a layer.
        DataError: if a file is damaged.
    """
    dataset = dataset or dataset_of(networks)
    subject = subject_of(image, dataset, networks)
    seen = [_see(network, subject, dataset.class_names) for network in networks]
    if layer is None:
        pictures = [_through(each, subject, dataset.class_names, out) for each in seen]
        return Look(subject, tuple(seen), tuple(pictures), subject.notes)
    having = [each for each in seen if layer in {maps.layer for maps in each.activations.maps}] or seen[-1:]
    lacking = (
        [f"{len(seen) - len(having)} of {len(seen)} networks have no layer {layer}"] if len(having) < len(seen) else []
    )
    pictures = _across(having, layer, scaling, subject, out)
    return Look(subject, tuple(seen), tuple(pictures), (*subject.notes, *lacking))


def exciting_images(
    networks: Sequence[Network], out: Path, layer: str | None = None, dataset: Dataset | None = None
) -> list[ExcitingPicture]:
    """Draw, for each filter, the validation images that excite it most, with what it sees of them.

    Raises:
        UserError: if no network has such a convolution.
        DataError: if a data set or weights are damaged.
    """
    dataset = dataset or dataset_of(networks)
    _check_layer(layer, networks)
    return [picture for network in networks for picture in _exciting(network, dataset, layer, out)]


def maximised_inputs(
    networks: Sequence[Network], out: Path, layer: str | None = None, seed: int = 0, dataset: Dataset | None = None
) -> list[MaximisedPicture]:
    """Make inputs that excite the filters of each convolution and the classes, beside the most exciting real image.

    Args:
        networks: of one data set.
        out: where the figures go.
        layer: a convolution, or ``output`` for the classes; by default all of them.
        seed: of the noise that they begin at; the same for every layer.
        dataset: theirs, if it is loaded already.

    Raises:
        UserError: if no network has such a layer.
        DataError: if a data set or weights are damaged.
    """
    dataset = dataset or dataset_of(networks)
    _check_layer(layer, networks, (OUTPUT,))
    drawn = []
    for network in networks:
        responses = _responses(network, dataset)
        for name in (*responses, OUTPUT):
            if layer in {None, name}:
                drawn.append(_maximised(network, dataset, name, responses, seed=seed, out=out))
    return drawn


def dataset_of(networks: Sequence[Network]) -> Dataset:
    """Return the data set that networks share."""
    return load_dataset(networks[0].run.spec.data.name)


def _see(network: Network, subject: Subject, class_names: Sequence[str]) -> Seen:
    found = feature_maps(network.expanded, network.input(subject.pixels))
    finite = np.isfinite(found.probabilities).all()
    predicted = class_names[int(found.probabilities.argmax())] if finite else "nothing: not a number"
    return Seen(network.run.run_id, network.label, found, predicted)


def _through(seen: Seen, subject: Subject, class_names: Sequence[str], out: Path) -> Picture:
    title = f"{seen.network}: {subject.label}"
    info = through_info(seen.activations, subject.pixels, title, class_names, subject.truth)
    name = f"look-{slug(subject.stem)}-{slug(seen.network)}"
    caption = f"{subject.label} through every layer of {seen.network}, before and after pooling."
    return Picture(save_figure(draw_through(info), out, name), caption)


def _across(
    seen: Sequence[Seen], layer: str, scaling: Literal["shared", "own"], subject: Subject, out: Path
) -> list[Picture]:
    """Draw one layer of several networks, so many to a page; a shared scale is that of all pages."""
    info = across_info([(each.network, each.activations) for each in seen], layer, subject.pixels, scaling)
    pages = [info.rows[start : start + ROWS] for start in range(0, len(info.rows), ROWS)]
    drawn = []
    for number, rows in enumerate(pages, 1):
        page = f", page {number} of {len(pages)}" if len(pages) > 1 else ""
        figure = draw_across(replace(info, title=info.title + page, rows=rows))
        name = f"look-{slug(subject.stem)}-{slug(layer)}" + (f"-page-{number}" if page else "")
        caption = f"{subject.label} in {layer} of {len(rows)} networks{page}."
        drawn.append(Picture(save_figure(figure, out, name), caption))
    return drawn


def _responses(network: Network, dataset: Dataset) -> dict[str, FilterResponses]:
    return filter_responses(network.expanded, validation_batches(network, dataset), len(dataset.class_names))


def _exciting(network: Network, dataset: Dataset, layer: str | None, out: Path) -> list[ExcitingPicture]:
    images = dataset.images[network.parts.validation]
    responses = _responses(network, dataset)
    drawn = []
    for kernels in conv_kernels(network.model):
        if layer in {None, kernels.layer}:
            found = responses[kernels.layer]
            figure = draw_exciting(exciting_info(kernels.weight, found, images, network.label))
            path = save_figure(figure, out, f"exciting-{slug(network.label)}-{kernels.layer}")
            caption = (
                f"{kernels.layer} of {network.label}: of {found.images:,} validation images those that excite each "
                "filter most, and what it sees of them."
            )
            drawn.append(ExcitingPicture(network.run.run_id, network.label, found, Picture(path, caption)))
    return drawn


def _maximised(
    network: Network, dataset: Dataset, layer: str, responses: dict[str, FilterResponses], *, seed: int, out: Path
) -> MaximisedPicture:
    best = _best_images(network, dataset, responses.get(layer))
    units = range(min(len(best), MOST_UNITS))
    real = network.input(dataset.images[network.parts.validation[best[: len(units)]]])
    generator = torch.Generator().manual_seed(seed)
    found = maximise(
        network.expanded, layer, units, network.scaling, generator, image_shape=dataset.image_shape, real=real
    )
    figure = draw_maximised(maximised_info(found, network.label, dataset.class_names))
    what = "classes" if layer == OUTPUT else f"filters of {layer}"
    few = f"the first {len(units)} of {len(best)} " if len(units) < len(best) else "the "
    name = f"maximised-{slug(network.label)}-{layer}"
    caption = f"Inputs made to excite {few}{what} of {network.label}, by gradient ascent from noise of seed {seed}."
    return MaximisedPicture(
        network.run.run_id, network.label, layer, tuple(found), Picture(save_figure(figure, out, name), caption)
    )


def _best_images(network: Network, dataset: Dataset, responses: FilterResponses | None) -> NDArray[np.int64]:
    """Return for each filter the place of the validation image that excites it most; without one, for each class."""
    if responses is not None:
        return np.maximum(responses.exciting[:, 0], 0)  # a dead filter is 0 on every image, also on the first
    with torch.no_grad():
        logits: list[Tensor] = [network.model(images) for images, _ in validation_batches(network, dataset)]
    return np.asarray(torch.cat(logits).argmax(0).numpy())


def _check_layer(layer: str | None, networks: Sequence[Network], others: Sequence[str] = ()) -> None:
    names = dict.fromkeys(each.layer for network in networks for each in conv_kernels(network.model))
    if layer is not None and layer not in {*names, *others}:
        raise UserError(f'no convolution is named "{layer}"; there are {", ".join([*names, *others])}')
