"""What a network's layers answer: to one image, layer by layer, and to many, filter by filter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from regulens.errors import UserError, suggestion
from regulens.interpret.receptive import ReceptiveField, receptive_fields
from regulens.models.cnn import Permute, evaluating

Batches = Iterable[tuple[Tensor, Tensor]]
"""Images (B, H, W, C) float32, scaled, with labels (B,) int64; buffers may be used again from batch to batch."""

INPUT = "input"
_KINDS: dict[type[nn.Module], str] = {nn.Conv2d: "convolution", nn.ReLU: "ReLU", nn.MaxPool2d: "max pooling"}


@contextmanager
def capture(network: nn.Module, layers: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Keep what the named layers put out: a dictionary filled anew by each forward pass, hooks removed at the end.

    The tensors are the layers' own outputs, part of the graph if there is one.

    Args:
        network: whose submodules are named, as in ``named_modules``.
        layers: their names.

    Raises:
        UserError: if a name is not one of the network's.
    """
    modules = dict(network.named_modules())
    wanted = list(layers)
    for name in wanted:
        if not name or name not in modules:
            known = [each for each in modules if each]
            raise UserError(f'no layer is named "{name}"{suggestion(name, known)}')
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda _module, _inputs, output: outputs.__setitem__(name, output)

    handles = []
    try:
        for name in wanted:
            handles.append(modules[name].register_forward_hook(keep(name)))
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def read_at(network: nn.Sequential) -> dict[str, str]:
    """Return, for each convolution, the layer that its filters are read at: the ReLU right behind it.

    Raises:
        ValueError: if a convolution has no ReLU right behind it.
    """
    children = list(network.named_children())
    pairs: dict[str, str] = {}
    for (name, layer), (following, behind) in pairwise(children):
        if isinstance(layer, nn.Conv2d):
            if not isinstance(behind, nn.ReLU):
                raise ValueError(f"{name} must have a ReLU right behind it, got {type(behind).__name__}")
            pairs[name] = following
    return pairs


@dataclass(frozen=True, eq=False)
class LayerMaps:
    """What one layer makes of an image: its maps (C, H, W) float32; the first "layer" is the image as it goes in."""

    layer: str
    kind: str
    maps: NDArray[np.float32]

    @property
    def shape(self) -> str:
        """Height x width x maps, the order in which Keras prints it."""
        channels, height, width = self.maps.shape
        return f"{height}x{width}x{channels}"


@dataclass(frozen=True, eq=False)
class ImageActivations:
    """One image on its way through a network.

    Attributes:
        maps: of the input and of every layer that puts out maps, in the network's order.
        vectors: (units,) float32 of every layer behind the flattening but the last, by name.
        logits: (classes,) float32.
        probabilities: (classes,) float32, their softmax.
    """

    maps: tuple[LayerMaps, ...]
    vectors: dict[str, NDArray[np.float32]]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]


def feature_maps(network: nn.Sequential, image: Tensor) -> ImageActivations:
    """Follow one image (H, W, C), scaled and of the size the network takes, through every layer, in eval mode."""
    named = [(name, layer) for name, layer in network.named_children() if not isinstance(layer, Permute | nn.Flatten)]
    with evaluating(network), torch.no_grad(), capture(network, [name for name, _ in named]) as outputs:
        logits = network(image[None])[0]
    first = _channels_first(network)
    maps = [LayerMaps(INPUT, "image", _array(image.permute(2, 0, 1)))]
    for name, layer in named:
        if outputs[name].dim() == 4:
            output = outputs[name][0] if first[name] else outputs[name][0].permute(2, 0, 1)
            maps.append(LayerMaps(name, _kind(layer), _array(output)))
    vectors = {name: _array(outputs[name][0]) for name, _ in named[:-1] if outputs[name].dim() == 2}
    return ImageActivations(tuple(maps), vectors, _array(logits), _array(logits.softmax(0)))


@dataclass(frozen=True, eq=False)
class FilterResponses:
    """What the filters of one convolution answer to many images: their maps behind the ReLU, before pooling.

    Attributes:
        layer: the convolution.
        images: how many there were.
        peak: (filters,) float64, the greatest value over images and positions.
        mean: (filters,) float64, the mean over images and positions.
        active: (filters,) float64, the share of images that excite the filter anywhere; NaN where a map is NaN.
        class_means: (classes, filters) float64, the mean over positions and the images of a class; NaN for a class
            without images.
        exciting: (filters, k) int64, the images of the highest peaks in the order they were fed in, the highest
            first and of equals the earlier; -1 where there is no further image that excites the filter.
        values: (filters, k) float64, their peaks; 0 where there is none.
        positions: (filters, k, 2) int64, where on the map (row, column) the peak is, the first of equals.
        field: which input pixels a position of the map sees.
    """

    layer: str
    images: int
    peak: NDArray[np.float64]
    mean: NDArray[np.float64]
    active: NDArray[np.float64]
    class_means: NDArray[np.float64]
    exciting: NDArray[np.int64]
    values: NDArray[np.float64]
    positions: NDArray[np.int64]
    field: ReceptiveField

    @property
    def dead(self) -> NDArray[np.bool_]:
        """Which filters (filters,) are zero at every position of every image."""
        return np.asarray(self.active == 0)


def filter_responses(
    network: nn.Sequential, batches: Batches, classes: int, keep: int = 9
) -> dict[str, FilterResponses]:
    """Return what every filter of every convolution answers, by convolution, in one pass over the images.

    Args:
        network: the expanded form of a network; it is run in eval mode and left as it was.
        batches: at least one image.
        classes: how many there are; labels are below it.
        keep: how many of the most exciting images to name for each filter.

    Raises:
        ValueError: if there are no images.
    """
    read = read_at(network)
    names = [name for name, _ in network.named_children()]
    trunk = network[: names.index(list(read.values())[-1]) + 1]
    tallies = {name: _Tally(classes, keep) for name in read}
    with evaluating(network), torch.no_grad(), capture(trunk, read.values()) as maps:
        for images, labels in batches:
            trunk(images)
            for name, layer in read.items():
                tallies[name].add(maps[layer], labels)
    fields = receptive_fields(network)
    return {name: tally.responses(name, fields[name]) for name, tally in tallies.items()}


class _Tally:
    """Sums and highest peaks of one convolution's maps, kept up from batch to batch."""

    def __init__(self, classes: int, keep: int) -> None:
        self.classes, self.keep = classes, keep
        self.images = 0
        self.width = 1
        self.sums = self.counts = self.active = self.values = self.indices = self.places = torch.empty(0)

    def add(self, maps: Tensor, labels: Tensor) -> None:
        """Take in maps (B, filters, H, W) of images with these labels (B,)."""
        flat = maps.flatten(2)
        peaks, places = flat.max(2)
        if not self.images:
            self._start(maps)
        self.sums.index_add_(0, labels, flat.mean(2).double())  # double from here on: each image's own sum is short
        self.counts += torch.bincount(labels, minlength=self.classes)
        self.active += (peaks != 0).sum(0)
        fed = torch.arange(self.images, self.images + len(labels), device=maps.device)
        self._keep_highest(peaks, fed[:, None].expand_as(peaks), places)
        self.images += len(labels)

    def _start(self, maps: Tensor) -> None:
        filters, self.width = maps.shape[1], maps.shape[3]
        self.sums = maps.new_zeros(self.classes, filters, dtype=torch.float64)
        self.counts = maps.new_zeros(self.classes, dtype=torch.int64)
        self.active = maps.new_zeros(filters, dtype=torch.int64)
        self.values = maps.new_zeros(0, filters)
        self.indices = self.places = maps.new_zeros(0, filters, dtype=torch.int64)

    def _keep_highest(self, *new: Tensor) -> None:
        values, indices, places = (
            torch.cat([old, more]) for old, more in zip((self.values, self.indices, self.places), new, strict=True)
        )
        self.values, order = (each[: self.keep] for each in torch.sort(values, dim=0, descending=True, stable=True))
        self.indices, self.places = indices.gather(0, order), places.gather(0, order)

    def responses(self, layer: str, field: ReceptiveField) -> FilterResponses:
        """Return what has been gathered."""
        if not self.images:
            raise ValueError("the responses of filters need at least one image, got none")
        sums, counts, values, indices, places = (
            each.cpu().numpy() for each in (self.sums, self.counts, self.values.T, self.indices.T, self.places.T)
        )
        mean = sums.sum(0) / self.images
        class_means = np.full(sums.shape, np.nan)
        np.divide(sums, counts[:, None], out=class_means, where=counts[:, None] > 0)
        return FilterResponses(
            layer=layer,
            images=self.images,
            peak=values[:, 0].astype(np.float64),
            mean=mean,
            active=np.where(np.isnan(mean), np.nan, self.active.cpu().numpy() / self.images),
            class_means=class_means,
            exciting=np.where(values > 0, indices, -1),
            values=values.astype(np.float64),
            positions=np.stack([places // self.width, places % self.width], axis=-1),
            field=field,
        )


def _channels_first(network: nn.Sequential) -> dict[str, bool]:
    """Say of each layer whether maps behind it are (N, C, H, W)."""
    first, inside = {}, False
    for name, layer in network.named_children():
        if isinstance(layer, Permute):
            inside = layer.axes == (0, 3, 1, 2)
        first[name] = inside
    return first


def _kind(layer: nn.Module) -> str:
    return _KINDS.get(type(layer)) or str(getattr(layer, "title", type(layer).__name__.lower()))


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.array(tensor.detach().cpu().numpy(), np.float32)
