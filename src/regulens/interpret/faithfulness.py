"""Does a map tell what the network uses? Deletion and insertion curves, and the check against random weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
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
SANITY_THRESHOLD = 0.5
"""From this mean rank correlation on a map is said not to depend on what was learned.

The authors name no number. At 0.5, Cohen's (1988) large correlation, a quarter of the variance of the pixels' ranks is
shared with maps of networks that learned nothing, and so comes from the image and the architecture alone; what depends
on the image alone, as an edge detector's map, has 1.
"""


@dataclass(frozen=True, eq=False)
class Curves:
    """The target's probability while pixels are replaced in an order, (N, steps + 1) each.

    Attributes:
        fractions: (steps + 1,), the share of pixels replaced, from 0 to 1.
        deletion: the image's pixels blurred, the most important first: low is good.
        insertion: the blurred image's pixels restored, the most important first: high is good.
    """

    fractions: NDArray[np.float64]
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]

    @property
    def deletion_area(self) -> NDArray[np.float64]:
        """(N,) areas under the deletion curves, in [0, 1]."""
        return _areas(self.deletion, self.fractions)

    @property
    def insertion_area(self) -> NDArray[np.float64]:
        """(N,) areas under the insertion curves, in [0, 1]."""
        return _areas(self.insertion, self.fractions)


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """The curves of each map's order, and of random orders of the same images: the control."""

    methods: Mapping[str, Curves]
    random: tuple[Curves, ...]

    @property
    def random_deletion_areas(self) -> NDArray[np.float64]:
        """(orders, N) areas under the random orders' deletion curves."""
        return np.stack([curves.deletion_area for curves in self.random])

    @property
    def random_insertion_areas(self) -> NDArray[np.float64]:
        """(orders, N) areas under the random orders' insertion curves."""
        return np.stack([curves.insertion_area for curves in self.random])


def faithfulness(
    network: nn.Sequential,
    images: Tensor,
    targets: Tensor,
    maps: Mapping[str, NDArray[np.float32]],
    rng: np.random.Generator,
    *,
    steps: int = STEPS,
    random_orders: int = RANDOM_ORDERS,
    blur: float = BLUR,
) -> Faithfulness:
    """Delete and insert pixels in the order of each map (Petsiuk, Das and Saenko 2018, arXiv 1806.07421).

    Pixels are replaced by those of the blurred image, all channels together: black ones would remove nothing from a
    black background. The network is used in eval mode and left as it was.

    Args:
        network: a network's ``expanded()``, on the CPU.
        images: (N, H, W, C) float32 scaled pixels.
        targets: (N,) int64 classes, whose probability is followed.
        maps: by name, (N, H, W) of which higher values are more important (``attribution.importances``).
        rng: draws the order of pixels of equal importance, and the random orders.
        steps: into how many equal parts the pixels are divided.
        random_orders: how many of them.
        blur: standard deviation of the Gaussian as a share of the image's sides.

    Raises:
        ValueError: if the arrays do not have these shapes.
        UserError: if a target is no class of the network.
    """
    check_images(network, images, targets)
    for name, each in maps.items():
        if each.shape != images.shape[:3]:
            raise ValueError(f"the maps of {name} must be {tuple(images.shape[:3])}, got {each.shape}")
    parts = (images.detach(), blurred(images, blur)), targets
    with evaluating(network), torch.no_grad():
        methods = {name: _curves(network, *parts, _ranks(each, rng), steps) for name, each in maps.items()}
        constant = np.zeros(images.shape[:3], np.float32)
        random = tuple(_curves(network, *parts, _ranks(constant, rng), steps) for _ in range(random_orders))
    return Faithfulness(methods, random)


def _ranks(maps: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the place of each pixel (N, H, W), 0 for the most important; those equally important in random order."""
    flat = -maps.reshape(len(maps), -1)
    order = np.lexsort((rng.random(flat.shape), flat))
    return np.argsort(order, axis=1).reshape(maps.shape)


def _curves(
    network: nn.Sequential, pairs: tuple[Tensor, Tensor], targets: Tensor, ranks: NDArray[np.int64], steps: int
) -> Curves:
    pixels = ranks[0].size
    counts = np.round(np.linspace(0, pixels, steps + 1)).astype(np.int64)
    curves = np.empty((2, len(ranks), steps + 1))
    for place, (image, baseline, target) in enumerate(zip(*pairs, targets.tolist(), strict=True)):
        changed = torch.from_numpy(ranks[place] < counts[:, None, None])[..., None]
        for row, (inside, outside) in zip(curves, ((baseline, image), (image, baseline)), strict=True):
            row[place] = _probability(network, torch.where(changed, inside, outside), target)
    return Curves(counts / pixels, *curves)


def _probability(network: nn.Sequential, images: Tensor, target: int) -> NDArray[np.float64]:
    batches = torch.split(images, images_at_once(network, images.shape[1:]))
    return torch.cat([network(batch).double().softmax(1)[:, target] for batch in batches]).numpy()


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
        what = "depends on the learned weights" if self.passed else "is much the same without learning"
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
