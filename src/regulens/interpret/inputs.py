"""What an explanation puts in place of pixels, and how many images go through a network at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from regulens.data.batches import PixelScaling
from regulens.errors import UserError

BLUR = 1 / 7
"""Standard deviation of the Gaussian that blurs, as a share of each side: 4 pixels of 28, 32 of 224."""
_VALUES_AT_ONCE = 2**24
_IMAGES_AT_ONCE = 128


def black_pixel(scaling: PixelScaling) -> NDArray[np.float32]:
    """Return what a black pixel is in a network's input: (C,) if channels are standardized, else (1,) zero."""
    if not scaling.mean:
        return np.zeros(1, np.float32)
    return -np.divide(scaling.mean, scaling.sd).astype(np.float32)


def blurred(images: Tensor, share: float = BLUR) -> Tensor:
    """Return (N, H, W, C) images without their details: a Gaussian of ``share`` of each side, edges continued."""
    height, width = images.shape[1:3]
    sigma = (0, share * height, share * width, 0)
    return torch.from_numpy(gaussian_filter(images.detach().numpy(), sigma, mode="nearest"))


def images_at_once(network: nn.Sequential, image_shape: Sequence[int]) -> int:
    """Return how many (H, W, C) images to hand to a network together: its widest maps stay below 64 MB."""
    height, width, channels = image_shape
    filters = [layer.out_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    at_once = _VALUES_AT_ONCE // (height * width * max([channels, *filters]))
    return min(max(at_once, 1), _IMAGES_AT_ONCE)


def check_images(network: nn.Sequential, images: Tensor, targets: Tensor) -> None:
    """Check that images are (N, H, W, C) and targets (N,) classes that the network tells apart.

    Raises:
        ValueError: if they do not have these shapes.
        UserError: if a target is no class of the network.
    """
    if images.ndim != 4 or targets.shape != images.shape[:1] or not len(images):
        shapes = f"{tuple(images.shape)} and {tuple(targets.shape)}"
        raise ValueError(f"images must be (N, H, W, C) and targets (N,) with N >= 1, got {shapes}")
    classes = [layer.out_features for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    for target in targets.tolist():
        if not 0 <= target < classes:
            raise UserError(f"the network has classes 0 to {classes - 1}, got {target}: name one of them")
