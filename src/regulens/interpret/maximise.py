"""What a filter or a class wants to see: an input found by gradient ascent. Network in, images out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from regulens.data.batches import PixelScaling, scaled
from regulens.errors import UserError, suggestion
from regulens.interpret.activations import Batches, read_at
from regulens.models.cnn import evaluating

Reading = Literal["mean", "peak"]
"""How a filter's map is read as one number; a class has a single number, its logit."""

OUTPUT = "output"
_STARTS = 48
_AT_ONCE = 8
_TINY = 1e-12
_BETAS = (0.9, 0.999)
_SLACK = 1e-3
"""Gradients have a root mean square of 1: Adam does not blow up those far below it, which are rounding."""


@dataclass(frozen=True)
class Prior:
    """What keeps the image an image, and the ascent's length.

    The ascent's direction is scaled to a root mean square of 1 before the prior is taken off, so that the same numbers
    fit networks whose activations differ by orders.

    Attributes:
        variation: weight of the total variation of the image in the range 0 to 1 (Mahendran and Vedaldi 2015), 0 for
            none.
        jitter: the image is shifted by up to this many pixels along each side before each step, its edge continued
            (Olah et al. 2017); ``None`` for a 14th of the side, 2 pixels of 28.
        blur: standard deviation in pixels of a Gaussian blur after every fourth step (Yosinski et al. 2015),
            0 for none.
        steps: how many steps of Adam.
        rate: its step size in pixel values.
    """

    variation: float = 0.05
    jitter: int | None = None
    blur: float = 0.0
    steps: int = 256
    rate: float = 8.0


@dataclass(frozen=True, eq=False)
class Maximised:
    """An input made to excite a filter or a class.

    Attributes:
        layer: the convolution, or ``output``.
        unit: the filter or class, from 0.
        reading: how the filter's map behind the ReLU is read.
        image: (H, W, C) uint8, pixels.
        activation: what this very image reaches.
        real: what the real image given beside it reaches, read alike; ``None`` if there was none.
    """

    layer: str
    unit: int
    reading: Reading
    image: NDArray[np.uint8]
    activation: float
    real: float | None


def maximise(
    network: nn.Sequential,
    layer: str,
    units: Sequence[int],
    scaling: PixelScaling,
    generator: torch.Generator,
    *,
    image_shape: tuple[int, int, int],
    reading: Reading = "mean",
    prior: Prior | None = None,
    real: Tensor | None = None,
) -> list[Maximised]:
    """Find, for each unit, an image that excites it, by gradient ascent on pixels kept within 0 to 255.

    Erhan et al. 2009, "Visualizing higher-layer features of a deep network", Université de Montréal; for classes
    Simonyan, Vedaldi and Zisserman 2014, ICLR workshop; the prior after Olah, Mordvintsev and Schubert 2017, "Feature
    visualization", Distill. A silent unit has no gradient to climb, so each begins at one of 48 images, flat gray and
    noise of several grains and brightnesses: at the most exciting of those where it has a gradient, the first of
    equals. A unit that has none anywhere, a dead filter for instance, keeps the gray. All units have the same 48: an
    image does not depend on the others asked for.

    Args:
        network: the expanded form of a network; run in eval mode and left as it was.
        layer: a convolution, or ``output`` for classes (their logits).
        units: filters or classes, from 0.
        scaling: what becomes of pixels on their way in.
        generator: of the start and the jitter, on the CPU.
        image_shape: (H, W, C) that the network takes.
        reading: of a filter's map; its mean fills the image with what the filter likes, its peak one place.
        prior: by default ``Prior()`` for filters, with a blur of 0.4 pixels for classes, whose images are else grainy.
        real: (len(units), H, W, C) float32 scaled images to compare with, one for each unit, such as the most
            exciting of a data set.

    Raises:
        UserError: if there is no such layer or unit.
    """
    goal = _goal(network, layer, units, reading)
    prior = prior or Prior(blur=0.4 if layer == OUTPUT else 0.0)
    starts = _starts(image_shape, generator).to(next(network.parameters()).device)
    with evaluating(network):
        pixels = _ascend(goal, _best(goal, starts, scaling), scaling, generator, prior)
        with torch.no_grad():
            reached = goal.read(scaled(pixels, scaling)).tolist()
            beside = [None] * len(units) if real is None else goal.read(real).tolist()
    images = pixels.to(torch.uint8).cpu().numpy()
    return [
        Maximised(layer, unit, reading, image, value, other)
        for unit, image, value, other in zip(units, images, reached, beside, strict=True)
    ]


def most_exciting(
    network: nn.Sequential, layer: str, units: Sequence[int], batches: Batches, reading: Reading = "mean"
) -> NDArray[np.int64]:
    """Return for each unit the place (units,) of the image that excites it most, read as ``maximise`` reads it.

    Places count the images in the order they are fed in; of equals, as with a dead filter, the first is meant.

    Raises:
        UserError: if there is no such layer or unit.
    """
    goal = _goal(network, layer, units, reading)
    with evaluating(network), torch.no_grad():
        values = torch.cat([goal.read_all(images) for images, _ in batches])
    return np.asarray(values.nan_to_num(-torch.inf).numpy().argmax(axis=0), np.int64)


@dataclass(frozen=True, eq=False)
class _Goal:
    """The network up to the units' layer, the unit that each image shall excite, how its map is read, if it has one."""

    network: nn.Sequential
    units: list[int]
    reading: Reading | None

    def read(self, images: Tensor) -> Tensor:
        """Return (units,): how each image (units, H, W, C) excites its own unit."""
        return self._reading(self._output(images)[range(len(self.units)), self.units])

    def read_all(self, images: Tensor) -> Tensor:
        """Return (N, units): how each image (N, H, W, C) excites every unit."""
        return self._reading(self._output(images)[:, self.units])

    def _output(self, images: Tensor) -> Tensor:
        output: Tensor = self.network(images)
        return output

    def _reading(self, output: Tensor) -> Tensor:
        if self.reading is None:
            return output
        return output.mean((-2, -1)) if self.reading == "mean" else output.amax((-2, -1))


def _goal(network: nn.Sequential, layer: str, units: Sequence[int], reading: Reading) -> _Goal:
    ends = read_at(network) | {OUTPUT: OUTPUT}
    if layer not in ends:
        raise UserError(f'no convolution and not the output is named "{layer}"{suggestion(layer, ends)}')
    count = len(network.state_dict()[f"{layer}.weight"])
    for unit in units:
        if not 0 <= unit < count:
            raise UserError(f"{layer} has units 0 to {count - 1}, got {unit}: name one of them")
    at = [name for name, _ in network.named_children()].index(ends[layer])
    return _Goal(nn.Sequential(*list(network)[: at + 1]), list(units), None if layer == OUTPUT else reading)


def _starts(image_shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Return (N, H, W, C) float32 images to begin at: gray first, then noise of grains from a pixel to a 7th."""
    height, width, _ = image_shape
    coarsest = max(1.0, min(height, width) / 7)
    images = [torch.full(image_shape, 128.0)]
    for number in range(1, _STARTS):
        noise = _blurred(torch.randn((1, *image_shape), generator=generator), coarsest ** (number % 4 / 3) / 2)
        offset = 255 * torch.rand((), generator=generator)
        images.append((offset + 128 * noise[0] / noise.std()).clamp(0, 255))
    return torch.stack(images)


def _best(goal: _Goal, starts: Tensor, scaling: PixelScaling) -> Tensor:
    """Return (units, H, W, C): the start that excites each unit most among those that it has a gradient at."""
    heights = []
    for part in torch.split(starts, _AT_ONCE):
        with torch.enable_grad():
            shown = part.detach().requires_grad_()
            values = goal.read_all(scaled(shown, scaling))
            slopes = [torch.autograd.grad(each.sum(), shown, retain_graph=True)[0] for each in values.T]
        climbs = torch.stack([slope.abs().amax((1, 2, 3)) > 0 for slope in slopes], dim=1)
        heights.append(values.detach().where(climbs, -torch.inf))
    return starts[torch.cat(heights).argmax(0)]


def _ascend(goal: _Goal, start: Tensor, scaling: PixelScaling, generator: torch.Generator, prior: Prior) -> Tensor:
    """Return (units, H, W, C) float32 whole pixels, climbed to from ``start`` by Adam (Kingma and Ba 2015).

    Adam is written out: torch's own imports torch's compiler, which takes longer than the ascent.
    """
    pixels = start.clamp(0, 255)
    mean, square = torch.zeros_like(pixels), torch.zeros_like(pixels)
    for step in range(1, prior.steps + 1):
        gradient = _uphill(goal, pixels, scaling, generator, prior)
        mean.lerp_(gradient, 1 - _BETAS[0])
        square.lerp_(gradient.square(), 1 - _BETAS[1])
        spread = (square / (1 - _BETAS[1] ** step)).sqrt() + _SLACK
        pixels += prior.rate / (1 - _BETAS[0] ** step) * mean / spread
        if prior.blur and step % 4 == 0:
            pixels = _blurred(pixels, prior.blur)
        pixels.clamp_(0, 255)
    return pixels.round()


def _uphill(goal: _Goal, pixels: Tensor, scaling: PixelScaling, generator: torch.Generator, prior: Prior) -> Tensor:
    """Return the way up (units, H, W, C): the gradient, scaled to a root mean square of 1, less the prior's."""
    with torch.enable_grad():
        pixels = pixels.detach().requires_grad_()
        values = goal.read(scaled(_shifted(pixels, prior.jitter, generator), scaling))
        [gradient] = torch.autograd.grad(values.sum(), pixels)
    gradient = gradient.nan_to_num(0, 0, 0)  # a network that diverged points nowhere
    size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
    return gradient / (size + _TINY) - prior.variation * _roughness(pixels)


def _shifted(images: Tensor, jitter: int | None, generator: torch.Generator) -> Tensor:
    """Return images (N, H, W, C) moved together by a few pixels, their edges continued."""
    height, width = images.shape[1:3]
    down, across = (side // 14 if jitter is None else jitter for side in (height, width))
    wide = F.pad(images.permute(0, 3, 1, 2), (across, across, down, down), mode="replicate").permute(0, 2, 3, 1)
    top, left = (int(torch.randint(2 * reach + 1, (), generator=generator)) for reach in (down, across))
    return wide[:, top : top + height, left : left + width]


def _roughness(pixels: Tensor) -> Tensor:
    """Return the gradient of the total variation of images (N, H, W, C) taken from 0 to 1, rounded off at zero."""
    levels = (pixels.detach() / 255).requires_grad_()
    with torch.enable_grad():
        wide = F.pad(levels.permute(0, 3, 1, 2), (0, 1, 0, 1), mode="replicate")
        here = wide[..., :-1, :-1]
        down, across = wide[..., 1:, :-1] - here, wide[..., :-1, 1:] - here
        [gradient] = torch.autograd.grad((down.square() + across.square() + 1e-4).sqrt().sum(), levels)
    return gradient


def _blurred(images: Tensor, sigma: float) -> Tensor:
    """Return images (N, H, W, C) under a Gaussian of this many pixels, edges continued."""
    reach = max(1, round(3 * sigma))
    bell = torch.exp(-(torch.arange(-reach, reach + 1, device=images.device) ** 2) / (2 * sigma**2))
    bell /= bell.sum()
    x = images.permute(0, 3, 1, 2)
    for kernel, pad in ((bell[:, None], (0, 0, reach, reach)), (bell[None], (reach, reach, 0, 0))):
        wide = F.pad(x, pad, mode="replicate")
        x = F.conv2d(wide, kernel.expand(x.shape[1], 1, *kernel.shape), groups=x.shape[1])
    return x.permute(0, 2, 3, 1)
