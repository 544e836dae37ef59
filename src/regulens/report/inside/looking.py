"""Looking inside a study's networks: an image through their layers, and what excites their filters and classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

import numpy as np
import torch

from regulens.data.catalog import load_dataset
from regulens.data.dataset import Dataset
from regulens.errors import UserError
from regulens.figures.exciting import (
    MOST,
    Shown,
    draw_exciting,
    draw_maximised,
    exciting_info,
    maximised_info,
    shown_filters,
)
from regulens.figures.feature_maps import (
    AcrossInfo,
    MapGrid,
    across_info,
    draw_across,
    draw_through,
    predicted_text,
    through_info,
    true_text,
)
from regulens.figures.style import save_figure
from regulens.files import file_name, slug
from regulens.interpret.activations import FilterResponses, ImageActivations, feature_maps, filter_responses
from regulens.interpret.kernels import conv_kernels
from regulens.interpret.maximise import OUTPUT, Maximised, maximise, most_exciting
from regulens.report.inside.kernel_layers import named_layers
from regulens.report.inside.scene import Network, Subject, subject_of, validation_batches
from regulens.report.inside.steps import OnStep, stepped, unwatched
from regulens.report.pictures import Picture
from regulens.report.wording import counted

ROWS = 12
"""Networks in one picture of a layer, or of attribution maps."""
MOST_UNITS = 32
"""Filters or classes in one picture of the inputs made for them."""
Item = TypeVar("Item")
_LONG = 60
"""Characters of a file's name up to which its filters are all named in it."""


@dataclass(frozen=True)
class Page(Generic[Item]):
    """As many items as one picture holds: page ``number``, from 1, of ``count``."""

    items: tuple[Item, ...]
    number: int
    count: int

    @property
    def words(self) -> str:
        """What a title says of it; of a single page nothing."""
        return f", page {self.number} of {self.count}" if self.count > 1 else ""

    @property
    def suffix(self) -> str:
        """What tells its file from those of the other pages."""
        return f"-page-{self.number}" if self.count > 1 else ""


def pages(items: Sequence[Item], most: int) -> list[Page[Item]]:
    """Divide items into pages of at most so many."""
    parts = [tuple(items[start : start + most]) for start in range(0, len(items), most)]
    return [Page(part, number, len(parts)) for number, part in enumerate(parts, 1)]


@dataclass(frozen=True, eq=False)
class Seen:
    """What one network makes of an image: the activations of its layers, and the class it predicts.

    ``said`` is that class with its probability, in words.
    """

    run_id: str
    network: str
    activations: ImageActivations
    predicted: str
    said: str

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
    """The validation images that excite filters of one layer most; ``responses`` are those of all its filters."""

    run_id: str
    network: str
    responses: FilterResponses
    picture: Picture


@dataclass(frozen=True, eq=False)
class MaximisedPicture:
    """Inputs made to excite filters of one layer, or classes; ``real`` are the images shown beside, by their index."""

    run_id: str
    network: str
    layer: str
    found: tuple[Maximised, ...]
    real: tuple[int, ...]
    picture: Picture


def look_at(
    networks: Sequence[Network],
    image: int | str | Path,
    out: Path,
    *,
    layer: str | None = None,
    scaling: Literal["shared", "own"] = "shared",
    dataset: Dataset | None = None,
    on_step: OnStep = unwatched,
) -> Look:
    """Follow an image through every layer of each network, or compare one layer of them all.

    Args:
        networks: of one data set.
        image: its index in the data set, or a picture file.
        out: where the figures go.
        layer: as ``relu1``, ``pool1`` or ``batchnorm1``: this one alone, the networks side by side.
        scaling: with ``layer``, one scale for all networks or each network's own.
        dataset: theirs, if it is loaded already.
        on_step: told of each network followed and each picture drawn.

    Raises:
        UserError: if the image is of the test set or absent, or no network has such a layer.
        DataError: if a file is damaged.
    """
    dataset = dataset or dataset_of(networks)
    subject = subject_of(image, dataset, networks)
    seen = [_see(each, subject, dataset.class_names) for each in stepped(networks, "following the image", on_step)]
    if layer is None:
        drawn = stepped(seen, "drawing", on_step)
        pictures = [_through(each, subject, dataset.class_names, out) for each in drawn]
        return Look(subject, tuple(seen), tuple(pictures), subject.notes)
    having = [each for each in seen if layer in {maps.layer for maps in each.activations.maps}] or seen[-1:]
    lacking = (
        [f"{len(seen) - len(having)} of {len(seen)} networks have no layer {layer}"] if len(having) < len(seen) else []
    )
    info = across_info(
        [(each.network, each.activations) for each in having],
        layer,
        subject.pixels,
        scaling,
        image=subject.label,
        class_names=dataset.class_names,
        truth=subject.truth,
    )
    drawn_pages = stepped(pages(info.rows, ROWS), "drawing", on_step)
    pictures = [_across(info, page, layer, subject, out) for page in drawn_pages]
    return Look(subject, tuple(seen), tuple(pictures), (*subject.notes, *lacking))


def exciting_images(
    networks: Sequence[Network],
    out: Path,
    layer: str | None = None,
    *,
    filters: Sequence[int] = (),
    dataset: Dataset | None = None,
    on_step: OnStep = unwatched,
) -> list[ExcitingPicture]:
    """Draw, for each filter, the validation images that excite it most, with what it sees of them.

    Args:
        networks: of one data set.
        out: where the figures go.
        layer: a convolution or a pattern such as ``conv*``; by default all of them.
        filters: which, numbered from 1 as in the pictures, 16 to a picture; by default the first 16 of a layer.
        dataset: theirs, if it is loaded already.
        on_step: told of each network.

    Raises:
        UserError: if no network has such a convolution, or one has no such filter.
        DataError: if a data set or weights are damaged.
    """
    dataset = dataset or dataset_of(networks)
    names = _named(layer, networks)
    _check_filters(filters, names, networks)
    return [
        picture
        for network in stepped(networks, "maximally activating images", on_step)
        for picture in _exciting(network, dataset, names, filters, out)
    ]


def maximised_inputs(
    networks: Sequence[Network],
    out: Path,
    layer: str | None = None,
    seed: int = 0,
    *,
    filters: Sequence[int] = (),
    dataset: Dataset | None = None,
    on_step: OnStep = unwatched,
) -> list[MaximisedPicture]:
    """Make inputs that excite the filters of each convolution and the classes, beside the most exciting real image.

    Args:
        networks: of one data set.
        out: where the figures go.
        layer: a convolution, a pattern such as ``conv*``, or ``output`` for the classes; by default all of them.
        seed: of the noise that they begin at, from 0 to 2^64 - 1; the same for every layer.
        filters: which, numbered from 1 as in the pictures, and no classes then; by default the first 32 of a layer,
            and every class. A picture holds 32.
        dataset: theirs, if it is loaded already.
        on_step: told of each picture.

    Raises:
        UserError: if no network has such a layer, one has no such filter, or filters of ``output`` are asked for.
        DataError: if a data set or weights are damaged.
    """
    dataset = dataset or dataset_of(networks)
    names = _named(layer, networks, (OUTPUT,))
    if filters and names == {OUTPUT}:
        raise UserError(f"the units of {OUTPUT} are classes, not filters, and all are made; omit the filters")
    _check_filters(filters, names, networks)
    work = [
        (network, name, page)
        for network in networks
        for name, units in _units(network, filters, dataset).items()
        if name in names
        for page in pages(units, MOST_UNITS)
    ]
    return [
        _maximised(network, dataset, name, page, named=bool(filters), seed=seed, out=out)
        for network, name, page in stepped(work, "making inputs", on_step)
    ]


def dataset_of(networks: Sequence[Network]) -> Dataset:
    """Return the data set that networks share."""
    return load_dataset(networks[0].run.spec.data.name)


def _see(network: Network, subject: Subject, class_names: Sequence[str]) -> Seen:
    found = feature_maps(network.expanded, network.input(subject.pixels))
    finite = np.isfinite(found.probabilities).all()
    predicted = class_names[int(found.probabilities.argmax())] if finite else "nothing: not a number"
    return Seen(network.run.run_id, network.label, found, predicted, predicted_text(found, class_names))


def _through(seen: Seen, subject: Subject, class_names: Sequence[str], out: Path) -> Picture:
    title = f"{seen.network}: {subject.label}"
    info = through_info(seen.activations, subject.pixels, title, class_names, subject.truth)
    name = file_name("look", subject.stem, seen.network)
    caption = f"{subject.label} through every layer of {seen.network}, before and after pooling."
    return Picture(save_figure(draw_through(info), out, name), caption)


def _across(info: AcrossInfo, page: Page[tuple[str, MapGrid]], layer: str, subject: Subject, out: Path) -> Picture:
    """Draw a page of one layer of several networks; a shared scale is that of all pages."""
    figure = draw_across(replace(info, title=info.title + page.words, rows=page.items))
    name = file_name("look", subject.stem, layer) + page.suffix
    caption = f"{subject.label} in {layer} of {counted(len(page.items), 'network')}{page.words}."
    return Picture(save_figure(figure, out, name), caption)


def _responses(network: Network, dataset: Dataset) -> dict[str, FilterResponses]:
    return filter_responses(network.expanded, validation_batches(network, dataset), len(dataset.class_names))


def _exciting(
    network: Network, dataset: Dataset, layers: set[str], filters: Sequence[int], out: Path
) -> Iterator[ExcitingPicture]:
    images = dataset.images[network.parts.validation]
    responses = _responses(network, dataset)
    for kernels in conv_kernels(network.model):
        if kernels.layer in layers:
            found, count = responses[kernels.layer], len(kernels.weight)
            for page in pages(_chosen(filters, count, MOST), MOST):
                best = [int(each) for each in found.exciting[list(page.items), 0] if each >= 0]
                described = dict(zip(best, _described(network, dataset, best), strict=True))
                info = exciting_info(kernels.weight, found, images, network.label, page.items, described=described)
                figure = draw_exciting(info)
                name = file_name("exciting", network.label, kernels.layer) + _suffix(page.items, count, bool(filters))
                shown = shown_filters(page.items, count)
                caption = (
                    f"{kernels.layer} of {network.label}{shown and f' ({shown})'}: the maximally activating of "
                    f"{found.images:,} validation images for each filter, and the patches that it sees."
                )
                picture = Picture(save_figure(figure, out, name), caption)
                yield ExcitingPicture(network.run.run_id, network.label, found, picture)


def _described(network: Network, dataset: Dataset, places: Sequence[int]) -> list[str]:
    """Say which validation images these are, by their places, with their true and their predicted classes."""
    indices = network.parts.validation[list(places)]
    if not len(indices):
        return []
    names, (predicted, _) = dataset.class_names, network.predict(dataset.images[indices])
    return [
        f"image {index}\n{true_text(names, label).replace(' class', '')}\npredicted: {names[said]}"
        for index, label, said in zip(
            indices.tolist(), dataset.labels[indices].tolist(), predicted.tolist(), strict=True
        )
    ]


def _units(network: Network, filters: Sequence[int], dataset: Dataset) -> dict[str, Sequence[int]]:
    """Return by layer the filters, from 0, that inputs are made for, and the classes where no filters are named."""
    units = {each.layer: _chosen(filters, len(each.weight), MOST_UNITS) for each in conv_kernels(network.model)}
    return units if filters else units | {OUTPUT: range(len(dataset.class_names))}


def _maximised(
    network: Network,
    dataset: Dataset,
    layer: str,
    page: Page[int],
    *,
    named: bool,
    seed: int,
    out: Path,
) -> MaximisedPicture:
    units = page.items
    best = most_exciting(network.expanded, layer, units, validation_batches(network, dataset))
    indices = network.parts.validation[best]
    real = dataset.images[indices]
    found = maximise(
        network.expanded,
        layer,
        units,
        network.scaling,
        torch.Generator().manual_seed(seed),
        image_shape=dataset.image_shape,
        real=network.input(real),
    )
    count = 0 if layer == OUTPUT else len(network.expanded.get_parameter(f"{layer}.weight"))
    title = network.label + ("" if count else page.words)
    said = network.predict(np.stack([each.image for each in found]))[0].tolist()
    beside = [
        Shown(image, tuple(text.split("\n")))
        for image, text in zip(real, _described(network, dataset, best.tolist()), strict=True)
    ]
    predicted = [f"predicted: {dataset.class_names[each]}" for each in said]
    info = maximised_info(found, title, dataset.class_names, count, predicted=predicted, real=beside)
    figure = draw_maximised(info)
    name = file_name("maximised", network.label, layer) + (_suffix(units, count, named) if count else page.suffix)
    what = f"{shown_filters(units, count) or 'the filters'} in {layer}" if count else f"the classes{page.words}"
    caption = (
        f"Activation maximization: inputs for {what} of {network.label}, by gradient ascent from noise of seed {seed}."
    )
    picture = Picture(save_figure(figure, out, name), caption)
    return MaximisedPicture(network.run.run_id, network.label, layer, tuple(found), tuple(indices.tolist()), picture)


def _chosen(filters: Sequence[int], count: int, most: int) -> Sequence[int]:
    """Return filters numbered from 1 as numbers from 0, ascending and each once; by default the first."""
    return [number - 1 for number in sorted(set(filters))] or range(min(count, most))


def _suffix(units: Sequence[int], count: int, named: bool) -> str:
    """Return what tells the file of these filters, where they are named, from those of others."""
    text = shown_filters(units, count).partition(" of ")[0] if named else ""
    if len(text) > _LONG:
        text = f"{len(units)} filters from {units[0] + 1} to {units[-1] + 1}"
    return f"-{slug(text.replace('-', ' to '))}" if text else ""


def _named(layer: str | None, networks: Sequence[Network], others: Sequence[str] = ()) -> set[str]:
    """Return the layers that are meant: convolutions, or ``others``."""
    convolutions = [each.layer for network in networks for each in conv_kernels(network.model)]
    return named_layers(layer, [*convolutions, *others])


def _check_filters(filters: Sequence[int], layers: set[str], networks: Sequence[Network]) -> None:
    for network in networks:
        for kernels in conv_kernels(network.model):
            for number in filters:
                if kernels.layer in layers and not 1 <= number <= len(kernels.weight):
                    where = f"{kernels.layer} of {network.label}"
                    raise UserError(f"filter {number}: {where} has filters 1 to {len(kernels.weight)}")
