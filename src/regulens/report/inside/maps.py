"""Attribution maps of a study's networks: computed, put to the test, and compared between seeds. Numbers only."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from regulens.errors import UserError, suggestion
from regulens.interpret.agreement import Agreement, seed_agreement
from regulens.interpret.attribution import (
    METHODS,
    STEPS,
    Completeness,
    attribute,
    completeness,
    flat_maps,
    importances,
)
from regulens.interpret.faithfulness import Faithfulness, Sanity, faithfulness, randomised, sanity_check
from regulens.interpret.inputs import black_pixel
from regulens.report.inside.scene import Network
from regulens.report.inside.steps import OnStep, stepped, unwatched

RANDOMISED = 5
"""Networks with random weights that a map is compared with at the least: as many as there are seeds, if more."""

_COMPLETE = "integrated_gradients"
"""The method whose maps add up to the logit's difference."""

Maps = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of a network: for each image (N, H, W, C) uint8, what speaks for its class (N,), by these methods.

    ``seed`` is that of the noise, the random orders and the random weights.
    """

    pixels: NDArray[np.uint8]
    targets: NDArray[np.int64]
    methods: tuple[str, ...]
    seed: int = 0

    @property
    def classes(self) -> Tensor:
        """The classes as a tensor."""
        return torch.from_numpy(self.targets)


@dataclass(frozen=True, eq=False)
class Explained:
    """What speaks for a class in N images, in one network.

    Attributes:
        network: which.
        probabilities: (N,) of the classes that are explained.
        maps: by method, (N, H, W), channels joined.
        faithfulness: of the maps' orders of pixels, beside random orders; without methods whose maps are all constant.
        sanity: by method, how alike the maps are to those of networks that learned nothing.
        completeness: of integrated gradients, whether they add up; ``None`` where they were not asked for.
        predicted: (N,) the classes that the network predicts, and ``confidence`` (N,) their probabilities.
    """

    network: Network
    probabilities: NDArray[np.float64]
    maps: Mapping[str, Maps]
    faithfulness: Faithfulness
    sanity: Mapping[str, Sanity]
    completeness: Completeness | None
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]

    def completeness_error(self, method: str, place: int = 0) -> float | None:
        """Return how far the sum of an image's map is from what it should be; ``None`` where maps need not add up."""
        if self.completeness is None or method != _COMPLETE:
            return None
        return float(self.completeness.error[place])


@dataclass(frozen=True, eq=False)
class SeedAgreement:
    """Maps (S, H, W) of one image by S seeds, how alike they are, and how alike networks with random weights are."""

    maps: Maps
    seeds: Agreement
    randomised: Agreement


def has_captum() -> bool:
    """Tell whether attribution maps can be made here."""
    return importlib.util.find_spec("captum") is not None


def check_methods(methods: Sequence[str]) -> None:
    """Check names of methods.

    Raises:
        UserError: naming one that is not known.
    """
    for method in methods:
        if method not in METHODS:
            raise UserError(f'no method of attribution is named "{method}"{suggestion(method, METHODS)}')


def usable_methods(networks: Sequence[Network], methods: Sequence[str] = ()) -> tuple[tuple[str, ...], list[str]]:
    """Return the methods that these networks are large enough for, and a line for each that was left out.

    Raises:
        UserError: if a method that was asked for is among those, or Captum is not installed.
    """
    usable, notes = [], []
    for method in methods or METHODS:
        try:
            for network in networks:
                blank = torch.zeros(1, *network.model.image_shape)
                attribute(network.expanded, blank, torch.zeros(1, dtype=torch.int64), method, **_QUICK.get(method, {}))
        except UserError as error:
            if methods or not has_captum():
                raise
            notes.append(f"left out: {error}")
        else:
            usable.append(method)
    return tuple(usable), notes


_QUICK: dict[str, dict[str, int]] = {"smoothgrad": {"samples": 1}, "integrated_gradients": {"steps": 1}}


def maps_of(network: Network, question: Question, blank: nn.Sequential | None = None) -> dict[str, Maps]:
    """Return the maps (N, H, W[, C]) of a network, or of a ``blank`` copy of it, by method, as ``attribute`` does.

    The baseline of integrated gradients is black, whatever the scaling of pixels makes of it; those of a ``blank`` copy
    are only ranked, for which the fewest steps are enough.
    """
    images, module = network.input(question.pixels), blank or network.expanded
    black: dict[str, Any] = {"baseline": black_pixel(network.scaling)} | ({"steps": STEPS} if blank else {})
    options = {method: black if method == _COMPLETE else {} for method in question.methods}
    return {
        method: attribute(module, images, question.classes, method, seed=question.seed, **options[method])
        for method in question.methods
    }


def random_maps(network: Network, question: Question, count: int) -> dict[str, Maps]:
    """Return the maps (count, N, H, W[, C]) of copies of a network that have learned nothing, by method."""
    generator = torch.Generator().manual_seed(question.seed)
    found = [maps_of(network, question, randomised(network.expanded, generator)) for _ in range(count)]
    return {method: np.stack([maps[method] for maps in found]) for method in question.methods}


def explain(network: Network, question: Question, random: Mapping[str, Maps] | None = None) -> Explained:
    """Compute the maps of images for their classes, and how far they are to be trusted.

    Args:
        network: whose.
        question: images, classes, methods.
        random: ``random_maps`` of it, if they are there already.

    Raises:
        UserError: if Captum is not installed, or a class or method is not known.
    """
    random = random or random_maps(network, question, RANDOMISED)
    images = network.input(question.pixels)
    raw = maps_of(network, question)
    maps = {method: flat_maps(method, each) for method, each in raw.items()}
    ranked = {method: importances(method, each) for method, each in raw.items() if np.ptp(each) > 0}
    blank = {method: np.stack([flat_maps(method, each) for each in random[method]]) for method in maps}
    with torch.no_grad():
        chances = network.model(images).double().softmax(1)
    return Explained(
        network,
        chances.gather(1, question.classes[:, None])[:, 0].numpy(),
        maps,
        faithfulness(network.expanded, images, question.classes, ranked, question.seed),
        {method: sanity_check(maps[method], blank[method]) for method in maps},
        _completeness(network, question, raw),
        chances.argmax(1).numpy(),
        chances.max(1).values.numpy(),
    )


def _completeness(network: Network, question: Question, raw: Mapping[str, Maps]) -> Completeness | None:
    if _COMPLETE not in raw:
        return None
    images, baseline = network.input(question.pixels), black_pixel(network.scaling)
    return completeness(network.expanded, images, question.classes, raw[_COMPLETE], baseline)


def agreements(
    networks: Sequence[Network],
    question: Question,
    random: Mapping[str, Maps] | None = None,
    on_step: OnStep = unwatched,
) -> dict[str, list[SeedAgreement]]:
    """Return by method, for each image, how far networks that differ only in their seed point at the same pixels.

    Pixels are ranked by ``importances``. As many networks with random weights are compared likewise: ``random`` are
    their maps, if they are there already. ``on_step`` is told of each network.

    Raises:
        UserError: if Captum is not installed, or a class or method is not known.
    """
    random = random or random_maps(networks[0], question, len(networks))
    trained = [maps_of(each, question) for each in stepped(networks, "comparing seeds", on_step)]
    found: dict[str, list[SeedAgreement]] = {}
    for method in question.methods:
        ranked = np.stack([importances(method, maps[method]) for maps in trained])
        blank = np.stack([importances(method, maps) for maps in random[method][: len(networks)]])
        shown = np.stack([flat_maps(method, maps[method]) for maps in trained])
        found[method] = [
            SeedAgreement(shown[:, place], seed_agreement(ranked[:, place]), seed_agreement(blank[:, place]))
            for place in range(len(question.pixels))
        ]
    return found
