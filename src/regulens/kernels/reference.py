"""What each operation means, in plain torch: any device, float32 or float64, differentiable by autograd."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor

# torch says so of each even kernel; its result is Keras' (tests/parity), and a display is no place for it.
warnings.filterwarnings("ignore", message="Using padding='same' with even kernel lengths")

_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = 0x1BD11BDA


def conv_relu_pool(x: Tensor, weight: Tensor, bias: Tensor, padding: str, pool: int) -> Tensor:
    """Return the maxima over ``pool`` x ``pool`` windows of ``relu(conv(x) + bias)``.

    Args:
        x: (N, H, W, C).
        weight: (O, C, K, K), as torch stores it.
        bias: (O,).
        padding: ``valid`` or ``same``, as in Keras.
        pool: width and stride of the windows; rows and columns that fill none are left out.

    Returns:
        (N, H', W', O).
    """
    maps = F.relu(F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=padding))  # a view: nothing is copied
    return F.max_pool2d(maps, pool).permute(0, 2, 3, 1)


def dense(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the maps ``x`` (N, H, W, C) as rows, times ``weight`` (O, H * W * C) transposed, plus ``bias`` (O,)."""
    return F.linear(x.flatten(1), weight, bias)


def batch_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``x`` (..., C) normalised over all axes but the last, and the mean and biased variance (C,) used.

    Two passes in plain operators (Ioffe and Szegedy 2015, algorithm 1): torch's own fused operator sums
    channels-last rows naively, a hundred times less accurately in float32, and refuses a batch of one row.
    """
    rows = x.reshape(-1, x.shape[-1])
    mean = rows.mean(0)
    centred = rows - mean
    variance = centred.square().mean(0)
    normalised = centred * (torch.rsqrt(variance + epsilon) * weight) + bias
    return normalised.reshape(x.shape), mean.detach(), variance.detach()


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy of (N, classes) logits in nats, and how many of the (N,) labels are on top.

    Labels are int64; the top is the first of equal logits.
    """
    return F.cross_entropy(logits, labels), (logits.detach().argmax(1) == labels).sum()


def gather(images: Tensor, chosen: Tensor, scale: float, out: Tensor) -> Tensor:
    """Fill ``out`` (B, ...) float32 with the uint8 ``images`` (N, ...) at ``chosen`` (B,) int64, times ``scale``."""
    out.copy_(images.index_select(0, chosen))
    return out.mul_(scale) if scale != 1 else out


def dropout(x: Tensor, rate: float, key: int, step: Tensor) -> Tensor:
    """Return ``x`` with elements zeroed with probability ``rate`` (to the nearest 1/65536), the rest scaled up.

    Args:
        x: any shape.
        rate: in [0, 1).
        key: names the stream, 64 bits.
        step: 0-dimensional int64 on the device of ``x``, which numbers the masks of the stream. A mask is a function
            of key, step, element and rate alone: the same on every device and kernel path.
    """
    threshold, scale = dropout_threshold(rate)
    kept = random_bits(x.numel(), key, step) >= threshold
    return x * (kept.to(x.dtype) * scale).view(x.shape)


def dropout_threshold(rate: float) -> tuple[int, float]:
    """Return the 16-bit number below which an element is dropped, and what the others are multiplied by."""
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: rate must be in [0, 1), got {rate}")
    threshold = min(round(rate * 65536), 65535)
    return threshold, 65536 / (65536 - threshold)


def random_bits(count: int, key: int, step: Tensor) -> Tensor:
    """Return (count,) int32 in [0, 65536): the 16-bit pieces of Threefry-2x32-20 blocks.

    Element ``64 b + 16 k + j`` is the k-th piece, the lowest first, of the block with counter ``(16 b + j, step)``.
    """
    blocks = -(-count // 64)
    counters = torch.arange(16 * blocks, dtype=torch.int32, device=step.device)
    first, second = threefry(counters, step.to(torch.int32).expand(16 * blocks), key)
    pieces = torch.stack([first & 0xFFFF, (first >> 16) & 0xFFFF, second & 0xFFFF, (second >> 16) & 0xFFFF])
    return pieces.view(4, blocks, 16).transpose(0, 1).reshape(-1)[:count]


def threefry(first: Tensor, second: Tensor, key: int) -> tuple[Tensor, Tensor]:
    """Return Threefry-2x32-20 of the counters ``(first, second)`` (Salmon et al. 2011), 32 bits each as int32."""
    low, high = key & 0xFFFFFFFF, key >> 32
    keys = [_signed(low), _signed(high), _signed(_PARITY ^ low ^ high)]
    first, second = first + keys[0], second + keys[1]
    for turn in range(20):
        first += second
        by = _ROTATIONS[turn % 8]
        second = (second << by) | ((second >> (32 - by)) & ((1 << by) - 1))
        second ^= first
        if turn % 4 == 3:
            injection = turn // 4 + 1
            first += keys[injection % 3]
            second += _signed(keys[(injection + 1) % 3] + injection)
    return first, second


def _signed(value: int) -> int:
    """Return the int32 with the same lowest 32 bits."""
    return (value + 2**31) % 2**32 - 2**31
