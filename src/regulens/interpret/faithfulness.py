"""Does a map tell what the network uses? Deletion and insertion curves, and the check against random weights."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import trapezoid
from torch import Tensor, nn

from regulens.interpret.agreement import rank_correlations
from regulens.interpret.inputs import BLUR, blurred, check_images, images_at_once
from regulens.models.cnn import evaluating

STEPS = 20
RANDOM_ORDERS = 10
TIE_BREAKS = 10
"""Random orders of pixels of equal importance, over which areas are averaged."""
SANITY_THRESHOLD = 0.5
"""From this mean rank correlation on a map is said not to depend on what was learned.

The authors name no number. At 0.5, Cohen's (1988) large correlation, a quarter of the variance of the pixels' ranks is
shared with maps of networks that learned nothing, and so comes from the image and the architecture alone; what depends
on the image alone, as an edge detector's map, has 1.
"""


@dataclass(frozen=True, eq=False)
class Curves:
    """The target's probability while pixels are replaced in an order, for each way to break ties in that order.

    Attributes:
        fractions: (steps + 1,), the share of pixels replaced, from 0 to 1.
        deletions: (orders, N, steps + 1), the image's pixels blurred, the most important first: low is good.
        insertions: (orders, N, steps + 1), the blurred image's pixels restored, the most important first: high is good.
    """

    fractions: NDArray[np.float64]
    deletions: NDArray[np.float64]
    insertions: NDArray[np.float64]

    @property
    def deletion(self) -> NDArray[np.float64]:
        """(N, steps + 1) deletion curves, the mean over the orders."""
        return np.asarray(self.deletions.mean(axis=0))

    @property
    def insertion(self) -> NDArray[np.float64]:
        """(N, steps + 1) insertion curves, the mean over the orders."""
        return np.asarray(self.insertions.mean(axis=0))

    @property
    def deletion_areas(self) -> NDArray[np.float64]:
        """(orders, N) areas under the deletion curves, in [0, 1]."""
        return _areas(self.deletions, self.fractions)

    @property
    def insertion_areas(self) -> NDArray[np.float64]:
        """(orders, N) areas under the insertion curves, in [0, 1]."""
        return _areas(self.insertions, self.fractions)

    @property
    def deletion_area(self) -> NDArray[np.float64]:
        """(N,) means of ``deletion_areas`` over the orders."""
        return np.asarray(self.deletion_areas.mean(axis=0))

    @property
    def insertion_area(self) -> NDArray[np.float64]:
        """(N,) means of ``insertion_areas`` over the orders."""
        return np.asarray(self.insertion_areas.mean(axis=0))


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """The curves of each map's order, and of random orders of the same images: the control."""

    methods: Mapping[str, Curves]
    random: tuple[Curves, ...]

    @property
    def random_deletion_areas(self) -> NDArray[np.float64]:
        """(orders, N) areas under the random orders' deletion curves."""
        return np.concatenate([curves.deletion_areas for curves in self.random])

    @property
    def random_insertion_areas(self) -> NDArray[np.float64]:
        """(orders, N) areas under the random orders' insertion curves."""
        return np.concatenate([curves.insertion_areas for curves in self.random])


def faithfulness(
    network: nn.Sequential,
    images: Tensor,
    targets: Tensor,
    maps: Mapping[str, NDArray[np.float32]],
    seed: int = 0,
    *,
    steps: int = STEPS,
    random_orders: int = RANDOM_ORDERS,
    tie_breaks: int = TIE_BREAKS,
    blur: float = BLUR,
) -> Faithfulness:
    """Delete and insert pixels in the order of each map (Petsiuk, Das and Saenko 2018, arXiv 1806.07421).

    Pixels are replaced by those of the blurred image, all channels together: black ones would remove nothing from a
    black background. Pixels of equal importance come in random orders, several, and what is returned holds the curves
    of each. The network is used in eval mode and left as it was.

    Random numbers depend on the seed, the map's name and the image alone: not on the other maps and images.

    Args:
        network: a network's ``expanded()``, on the CPU.
        images: (N, H, W, C) float32 scaled pixels.
        targets: (N,) int64 classes, whose probability is followed.
        maps: by name, (N, H, W) of which higher values are more important (``attribution.importances``).
        seed: of the orders of pixels of equal importance and of the random orders, from 0 to 2^64 - 1.
        steps: into how many equal parts the pixels are divided.
        random_orders: how many of them.
        tie_breaks: how many orders of pixels of equal importance are followed.
        blur: standard deviation of the Gaussian as a share of the image's sides.

    Raises:
        ValueError: if the arrays do not have these shapes.
        UserError: if a target is no class of the network.
    """
    check_images(network, images, targets)
    for name, each in maps.items():
        if each.shape != images.shape[:3]:
            raise ValueError(f"the maps of {name} must be {tuple(images.shape[:3])}, got {each.shape}")
    pairs = images.detach(), blurred(images, blur)
    constant = np.zeros(images.shape[:3], np.float32)

    def curves(values: NDArray[np.float32], name: str, orders: int) -> Curves:
        streams = [_stream(seed, name, image) for image in pairs[0]]
        ranks = [_ranks(each, orders, rng) for each, rng in zip(values, streams, strict=True)]
        return _curves(network, pairs, targets, ranks, steps)

    with evaluating(network), torch.no_grad():
        methods = {name: curves(each, f"ties of {name}", tie_breaks) for name, each in maps.items()}
        control = curves(constant, "random orders", random_orders) if random_orders else None
    return Faithfulness(methods, () if control is None else _each_order(control))


def _stream(seed: int, name: str, image: Tensor) -> np.random.Generator:
    """Return the generator for one map of one image, whatever else is asked for."""
    digest = hashlib.sha256(name.encode() + image.numpy().tobytes()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:16], "big")])


def _ranks(values: NDArray[np.float32], orders: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the place of each pixel (orders, H, W), 0 for the most important; of equals in a random order each."""
    flat = np.broadcast_to(-values.ravel(), (orders, values.size))
    order = np.lexsort((rng.random(flat.shape), flat))
    return np.argsort(order, axis=1).reshape(orders, *values.shape)


def _curves(
    network: nn.Sequential,
    pairs: tuple[Tensor, Tensor],
    targets: Tensor,
    ranks: Sequence[NDArray[np.int64]],
    steps: int,
) -> Curves:
    orders, *sides = ranks[0].shape
    counts = np.round(np.linspace(0, math.prod(sides), steps + 1)).astype(np.int64)
    curves = np.empty((2, orders, len(ranks), steps + 1))
    for place, (image, baseline, target) in enumerate(zip(*pairs, targets.tolist(), strict=True)):
        replaced = (ranks[place][:, None] < counts[:, None, None]).reshape(orders * len(counts), -1)
        unique, which = np.unique(replaced, axis=0, return_inverse=True)  # orders differ where they break ties alone
        changed = torch.from_numpy(unique.reshape(-1, *sides))[..., None]
        for kind, (inside, outside) in zip(curves, ((baseline, image), (image, baseline)), strict=True):
            kind[:, place] = _probability(network, changed, (inside, outside), target)[which.reshape(orders, -1)]
    return Curves(counts / math.prod(sides), *curves)


def _each_order(curves: Curves) -> tuple[Curves, ...]:
    pairs = zip(curves.deletions, curves.insertions, strict=True)
    return tuple(Curves(curves.fractions, deletion[None], insertion[None]) for deletion, insertion in pairs)


def _probability(
    network: nn.Sequential, changed: Tensor, pair: tuple[Tensor, Tensor], target: int
) -> NDArray[np.float64]:
    """Return (M,) probabilities of images: the pair's first where ``changed`` (M, H, W, 1), its second elsewhere."""
    chances = [
        network(torch.where(part, *pair)).double().softmax(1)[:, target]
        for part in torch.split(changed, images_at_once(network, pair[0].shape))
    ]
    return torch.cat(chances).numpy()


def _areas(curves: NDArray[np.float64], fractions: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(trapezoid(curves, fractions, axis=-1))


def randomised(network: nn.Sequential, generator: torch.Generator) -> nn.Sequential:
    """Return a copy of a network that has learned nothing: weights drawn anew, as before training.

    Kernels are Glorot uniform and biases zero, as ``build_model`` has them; normalisation is back at scale 1, shift
    0, mean 0 and variance 1. The network itself is not touched.

    Raises:
        ValueError: if a layer has parameters of another kind.
    """
    fresh = copy.deepcopy(network)
    with torch.no_grad():
        for name, layer in fresh.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight, generator=generator)
                values = {"bias": 0.0}
            else:
                values = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
                unknown = [own for own, _ in layer.named_parameters(recurse=False) if own not in values]
                if unknown:
                    raise ValueError(f"layer {name}: how {', '.join(unknown)} starts before training is not known")
            for own, value in values.items():
                tensor = getattr(layer, own, None)
                if isinstance(tensor, Tensor):
                    tensor.fill_(value)
    return fresh


@dataclass(frozen=True, eq=False)
class Sanity:
    """How alike maps are to those of networks with random weights: rank correlations (networks, N) of magnitudes.

    A correlation is NaN where a map is constant: those are left out, and ``left_out`` counts them.
    """

    correlations: NDArray[np.float64]

    @property
    def usable(self) -> NDArray[np.float64]:
        """The correlations that could be computed."""
        return self.correlations[np.isfinite(self.correlations)]

    @property
    def left_out(self) -> int:
        """How many could not."""
        return self.correlations.size - self.usable.size

    @property
    def mean(self) -> float:
        """The mean of all, NaN if there are none."""
        return float(self.usable.mean()) if self.usable.size else float("nan")

    @property
    def passed(self) -> bool:
        """Whether the mean is below ``SANITY_THRESHOLD``."""
        return self.mean < SANITY_THRESHOLD

    @property
    def verdict(self) -> str:
        """What follows, in words."""
        if not self.usable.size:
            return "cannot be checked: the maps are constant"
        what = "depends on the learned weights" if self.passed else "is nearly unchanged with random weights"
        sign = "below" if self.passed else "not below"
        return f"{what}: rank correlation with random weights {self.mean:.2f}, {sign} {SANITY_THRESHOLD:g}"


def sanity_check(maps: ArrayLike, randomised_maps: ArrayLike) -> Sanity:
    """Compare maps with those of networks with random weights (Adebayo et al. 2018, arXiv 1810.03292).

    Args:
        maps: (N, H, W) of the trained network.
        randomised_maps: (networks, N, H, W) of ``randomised`` copies, for the same images and classes.

    Raises:
        ValueError: if the arrays do not have these shapes.
    """
    own, others = np.asarray(maps), np.asarray(randomised_maps)
    if own.ndim != 3 or others.shape[1:] != own.shape:
        raise ValueError(f"maps must be (N, H, W) and (networks, N, H, W), got {own.shape} and {others.shape}")
    return Sanity(rank_correlations(np.abs(own), np.abs(others)))
