"""Attribution maps: how much each pixel of an image speaks for a class. A network and images in, arrays out.

The score explained is the class's logit, before the softmax. Maps are in the network's own input: a gradient is in
logits per unit of a *scaled* pixel, so that networks of different pixel scalings are not to be compared by its size;
the other maps are in logits. All are computed by Captum (Kokhlikyan et al. 2020, arXiv 2009.07896), one image at a
time: the map of an image does not depend on the images beside it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates
from torch import Tensor, nn

from regulens.errors import UserError, suggestion
from regulens.interpret.inputs import blurred, check_images, images_at_once
from regulens.interpret.receptive import ReceptiveField, receptive_fields
from regulens.models.cnn import evaluating

TOLERANCE = 0.01
"""How far the sum of integrated gradients may be from the logit's difference, as a share of it."""
STEPS = 50
"""Steps of integrated gradients (Gauss-Legendre) on each part of the way from the baseline."""
PARTS = (1, 2, 4, 8, 16)
"""Into how many equal parts the way is divided: more and more, until the sum is exact enough."""


@dataclass(frozen=True)
class Method:
    """A way to attribute.

    Attributes:
        title: what it is called in figures.
        source: the paper.
        signed: whether a map may be negative, which speaks against the class.
        ranks: what ranks pixels by importance: the map's value, or its magnitude, where the sign only says whether
            the pixel should be brighter or darker.
        channels: how a map (N, H, W, C) becomes (N, H, W): by the ``sum`` of shares that add up, or by the value of
            the ``strongest`` channel, its sign kept; ``None`` where it has no channels.
        defaults: the options with their defaults.
        unit: of the map's values.
        compute: one image (1, H, W, C), its class (1,) and the options in, the map (H, W, C) or (H, W) out.
    """

    title: str
    source: str
    signed: bool
    ranks: Literal["value", "magnitude"]
    channels: Literal["sum", "strongest"] | None
    unit: str
    compute: Callable[..., Tensor] = field(repr=False)
    defaults: Mapping[str, Any] = field(default_factory=dict)


def attribute(
    network: nn.Sequential, images: Tensor, targets: Tensor, method: str, *, seed: int = 0, **options: Any
) -> NDArray[np.float32]:
    """Return the map of each image for its class, in eval mode; the network is left exactly as it was.

    Args:
        network: a network's ``expanded()``, on the CPU.
        images: (N, H, W, C) float32 scaled pixels.
        targets: (N,) int64, the class to explain for each image.
        method: a key of ``METHODS``.
        seed: of the noise, where a method adds any; the same for every image. torch's own stream is left alone.
        **options: in place of the method's ``defaults``.

    Returns:
        (N, H, W, C) for gradient, smoothgrad and integrated_gradients, (N, H, W) for grad_cam and occlusion.

    Raises:
        UserError: if method, an option or a class is not known, Captum is not installed, or a layer is too small.
        ValueError: if the arrays do not have these shapes.
    """
    if method not in METHODS:
        raise UserError(f'no method of attribution is named "{method}"{suggestion(method, METHODS)}')
    chosen = METHODS[method]
    for option in options:
        if option not in chosen.defaults:
            raise UserError(f'{method}: has no option "{option}"{suggestion(option, chosen.defaults)}')
    check_images(network, images, targets)
    _captum()
    maps = []
    with evaluating(network), torch.random.fork_rng(devices=[]):
        for image, target in zip(torch.split(images.detach(), 1), torch.split(targets, 1), strict=True):
            torch.default_generator.manual_seed(seed)
            own = image.clone().requires_grad_()
            maps.append(chosen.compute(network, own, target, **{**chosen.defaults, **options}).detach())
    return torch.stack(maps).numpy().astype(np.float32)


def flat_maps(method: str, maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a method's maps (N, H, W[, C]) as (N, H, W), its channels joined by the method's rule."""
    channels = METHODS[method].channels
    if channels is None:
        return maps
    if channels == "sum":
        return np.asarray(maps.sum(axis=3), np.float32)
    strongest = np.abs(maps).argmax(axis=3, keepdims=True)
    return np.take_along_axis(maps, strongest, axis=3)[..., 0]


def importances(method: str, maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a method's maps (N, H, W[, C]) as (N, H, W) whose higher values stand for more important pixels."""
    flat = flat_maps(method, maps)
    return np.abs(flat) if METHODS[method].ranks == "magnitude" else flat


@dataclass(frozen=True, eq=False)
class Completeness:
    """Sums of maps (N,) and the logit's difference between images and baseline (N,): equal if the sums are exact."""

    total: NDArray[np.float64]
    difference: NDArray[np.float64]

    @property
    def error(self) -> NDArray[np.float64]:
        """How far each sum is from the difference, as a share of the difference; (N,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            share: NDArray[np.float64] = np.abs(self.total - self.difference) / np.abs(self.difference)
        return share


def completeness(
    network: nn.Sequential, images: Tensor, targets: Tensor, maps: NDArray[np.float32], baseline: ArrayLike = 0.0
) -> Completeness:
    """Check integrated gradients (N, H, W, C) by their axiom of completeness (Sundararajan et al. 2017)."""
    check_images(network, images, targets)
    with evaluating(network):
        difference = _differences(network, images, _like(images, baseline), targets)
    return Completeness(maps.sum(axis=(1, 2, 3), dtype=np.float64), difference.numpy())


def cam_layers(network: nn.Sequential) -> list[str]:
    """Return the layers that Grad-CAM can look at: convolutions, their ReLUs and poolings, first to last."""
    names: list[str] = []
    for name, layer in network.named_children():
        if isinstance(layer, nn.Flatten):
            break
        if isinstance(layer, nn.Conv2d) or (names and isinstance(layer, nn.ReLU | nn.MaxPool2d)):
            names.append(name)
    return names


def _captum() -> Any:
    try:
        return importlib.import_module("captum.attr")
    except ImportError as error:
        raise UserError(
            "attribution maps need captum, which is not installed: pip install 'regulens[explain]'"
        ) from error


def _gradient(network: nn.Sequential, image: Tensor, target: Tensor) -> Tensor:
    maps: Tensor = _captum().Saliency(network).attribute(image, target=target, abs=False)
    return maps[0]


def _smoothgrad(network: nn.Sequential, image: Tensor, target: Tensor, *, noise: float, samples: int) -> Tensor:
    maps: Tensor = (
        _captum()
        .NoiseTunnel(_captum().Saliency(network))
        .attribute(
            image,
            target=target,
            abs=False,
            stdevs=noise * float(image.detach().max() - image.detach().min()),
            nt_samples=samples,
            nt_samples_batch_size=images_at_once(network, image.shape[1:]),
        )
    )
    return maps[0]


def _integrated_gradients(
    network: nn.Sequential, image: Tensor, target: Tensor, *, steps: int | None, baseline: ArrayLike
) -> Tensor:
    empty = _like(image, baseline)
    difference = float(_differences(network, image, empty, target))
    for parts in PARTS if steps is None else (1,):
        way = [torch.lerp(empty, image, share) for share in torch.linspace(0, 1, parts + 1).tolist()]
        maps = torch.stack([_integrated(network, pair, target, steps or STEPS) for pair in pairwise(way)]).sum(0)
        if not abs(float(maps.double().sum()) - difference) > TOLERANCE * abs(difference):  # nor where it is NaN
            break
    return maps[0]


def _integrated(network: nn.Sequential, way: tuple[Tensor, Tensor], target: Tensor, steps: int) -> Tensor:
    start, end = way
    maps: Tensor = (
        _captum()
        .IntegratedGradients(network)
        .attribute(
            end,
            start,
            target=target,
            n_steps=steps,
            internal_batch_size=images_at_once(network, end.shape[1:]),
        )
    )
    return maps.detach()


def _differences(network: nn.Sequential, images: Tensor, baselines: Tensor, targets: Tensor) -> Tensor:
    """Return (N,) float64: how much higher the target's logit is for images (N, H, W, C) than for their baselines."""
    at_once = images_at_once(network, images.shape[1:])
    with torch.no_grad():
        own, empty = (
            torch.cat([network(part).double() for part in torch.split(each, at_once)]) for each in (images, baselines)
        )
    return (own - empty).gather(1, targets[:, None])[:, 0]


def _occlusion(
    network: nn.Sequential,
    image: Tensor,
    target: Tensor,
    *,
    window: tuple[int, int] | None,
    stride: tuple[int, int] | None,
    baseline: ArrayLike | None,
) -> Tensor:
    height, width, channels = image.shape[1:]
    window = window or (_window(height), _window(width))
    stride = stride or (max(window[0] // 2, 1), max(window[1] // 2, 1))
    if not (0 < stride[0] <= window[0] <= height and 0 < stride[1] <= window[1] <= width):
        raise UserError(f"occlusion: a window {window} moved by {stride} does not cover an image {height}x{width}")
    with torch.no_grad():
        maps: Tensor = (
            _captum()
            .Occlusion(network)
            .attribute(
                image.detach(),
                sliding_window_shapes=(*window, channels),
                strides=(*stride, channels),
                baselines=blurred(image) if baseline is None else _like(image, baseline),
                target=target,
                perturbations_per_eval=images_at_once(network, image.shape[1:]),
            )
        )
    return maps[0, ..., 0]  # all channels are hidden together: each is given the same


def _window(side: int) -> int:
    return min(max(-(-side // 7), 2), side)


def _grad_cam(network: nn.Sequential, image: Tensor, target: Tensor, *, layer: str | None) -> Tensor:
    name = _cam_layer(network, layer)
    chosen = network.get_submodule(name)
    found = _captum().LayerGradCam(network, chosen).attribute(image, target=target, relu_attributions=True)[0, 0]
    if found.numel() == 1:
        raise UserError(
            f"grad_cam: {name} has a map of 1x1, which says nothing of where; name an earlier layer or take occlusion"
        )
    return _laid_out(found.detach(), receptive_fields(network)[name], image.shape[1:3])


def _laid_out(found: Tensor, field: ReceptiveField, sides: Sequence[int]) -> Tensor:
    """Interpolate a map (h, w) to the image's (H, W): linear between the centres of what its units see.

    Stretched over the image instead, the map of a network without padding would lie some pixels off at the edges.
    """
    axes = zip(sides, field.start, field.size, field.jump, strict=True)
    grids = [(np.arange(side) - (start + (size - 1) / 2)) / jump for side, start, size, jump in axes]
    places = np.meshgrid(*grids, indexing="ij")
    return torch.from_numpy(map_coordinates(found.numpy(), places, order=1, mode="nearest"))


def _cam_layer(network: nn.Sequential, layer: str | None) -> str:
    """Return the layer asked for, or the ReLU behind the last convolution, or that convolution if it has none."""
    names = cam_layers(network)
    if not names:
        raise UserError("grad_cam: needs a convolution, and this network has none; choose another method")
    if layer is None:
        last = max(names.index(name) for name in names if isinstance(network.get_submodule(name), nn.Conv2d))
        behind = names[last + 1 : last + 2]
        return behind[0] if behind and isinstance(network.get_submodule(behind[0]), nn.ReLU) else names[last]
    if layer not in names:
        raise UserError(f'grad_cam: cannot look at a layer "{layer}"; known: {", ".join(names)}')
    return layer


def _like(images: Tensor, baseline: ArrayLike) -> Tensor:
    return torch.as_tensor(np.asarray(baseline, np.float32)).expand_as(images)


_PER_PIXEL = "logits per unit of input"
METHODS: dict[str, Method] = {
    "gradient": Method(
        "Gradient",
        "Simonyan, Vedaldi and Zisserman 2014 (arXiv 1312.6034)",
        True,
        "magnitude",
        "strongest",
        _PER_PIXEL,
        _gradient,
    ),
    "smoothgrad": Method(
        "SmoothGrad",
        "Smilkov et al. 2017 (arXiv 1706.03825)",
        True,
        "magnitude",
        "strongest",
        _PER_PIXEL,
        _smoothgrad,
        {"noise": 0.15, "samples": 50},
    ),
    "integrated_gradients": Method(
        "Integrated gradients",
        "Sundararajan, Taly and Yan 2017 (arXiv 1703.01365)",
        True,
        "value",
        "sum",
        "logits",
        _integrated_gradients,
        {"steps": None, "baseline": 0.0},
    ),
    "grad_cam": Method(
        "Grad-CAM",
        "Selvaraju et al. 2017 (arXiv 1610.02391)",
        False,
        "value",
        None,
        "logits",
        _grad_cam,
        {"layer": None},
    ),
    "occlusion": Method(
        "Occlusion",
        "Zeiler and Fergus 2014 (arXiv 1311.2901)",
        True,
        "value",
        None,
        "logits",
        _occlusion,
        {"window": None, "stride": None, "baseline": None},
    ),
}
"""The methods of attribution. Their options:

- smoothgrad: ``noise``, the standard deviation of the noise as a share of the image's own range of values (the paper:
  0.1 to 0.2), and the number of ``samples`` averaged;
- integrated_gradients: ``steps`` of the Gauss-Legendre rule, by default ``STEPS`` on each of the first of ``PARTS`` by
  which the map's sum is within ``TOLERANCE`` of what it should be, or of the last; and the ``baseline`` in scaled
  pixels, broadcast to (H, W, C): zero, which is black unless pixels are standardized (see ``black_pixel``); pixels
  like it get nothing;
- grad_cam: the ``layer``, by default the ReLU behind the last convolution;
- occlusion: ``window`` and ``stride`` as (height, width), by default a seventh of each side (rounded up, at least 2)
  moved by half of that (rounded down), and the ``baseline`` in its place, in scaled pixels, by default the blurred
  image, as black hides nothing on a black background. A pixel's value is the mean loss of the windows that cover it.
"""
