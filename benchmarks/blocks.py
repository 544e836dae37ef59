"""One block at a time, forward and backward, one thread, batches of 100: Regulens' kernels beside torch.

Each native level and the reference kernels against torch as it is usually written, (N, C, H, W) contiguous, and
against torch with channels-last maps and weights. A convolution block is convolution 3x3, bias, ReLU and max pooling;
the first block of a network needs no gradient of its images. Dropout is at 0.1; batch norm updates its moving
statistics. Milliseconds are medians over the rounds; ratios are taken within a round, over the highest native level.

    python benchmarks/blocks.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from calls import Call, forward_backward, milliseconds, repeated
from common import command, machine, parser, print_table, spread
from regulens.kernels.ops import conv_relu_pool
from regulens.kernels.paths import NATIVE, REFERENCE, native_levels
from regulens.models.regularizers import BatchNormLayer, DropoutLayer
from regulens.training.environment import pinned_torch

Function = Callable[[Tensor], Tensor]
BATCH, RATE, EPSILON = 100, 0.1, 1e-3
USUAL, CHANNELS_LAST = "torch", "torch channels-last"


@dataclass(frozen=True)
class Block:
    """The same block for maps (N, H, W, C) and, as a function of its memory format, for torch's (N, C, H, W)."""

    label: str
    x: Tensor
    ours: tuple[Function, list[Tensor]]
    torchs: Callable[[torch.memory_format], tuple[Function, list[Tensor]]]
    random: bool = False


def convolution(side: int, channels: int, filters: int, first: bool) -> Block:
    """Return a convolution block; the ``first`` of a network takes images."""
    weight = torch.rand(filters, channels, 3, 3).sub(0.5).requires_grad_()
    bias = torch.rand(filters).sub(0.5).requires_grad_()

    def of_torch(layout: torch.memory_format) -> tuple[Function, list[Tensor]]:
        laid = weight.detach().clone(memory_format=layout).requires_grad_()
        return lambda x: F.max_pool2d(F.relu(F.conv2d(x, laid, bias)), 2), [laid, bias]

    ours = lambda x: conv_relu_pool(x, weight, bias)  # noqa: E731  # as the others
    x = torch.rand(BATCH, side, side, channels).requires_grad_(not first)
    note = ", no input gradient" if first else ""
    return Block(f"conv block {side}x{side}x{channels} to {filters}{note}", x, (ours, [weight, bias]), of_torch)


def normalisation(side: int, channels: int) -> Block:
    """Return batch norm in training."""
    ours = BatchNormLayer(channels, epsilon=EPSILON)

    def of_torch(_: torch.memory_format) -> tuple[Function, list[Tensor]]:
        layer = nn.BatchNorm2d(channels, eps=EPSILON, momentum=0.01)
        return layer, list(layer.parameters())

    x = torch.rand(BATCH, side, side, channels).requires_grad_()
    return Block(f"batch norm {side}x{side}x{channels}", x, (ours, list(ours.parameters())), of_torch)


def dropping(side: int, channels: int) -> Block:
    """Return dropout in training."""
    ours = DropoutLayer(RATE, torch.Generator().manual_seed(0))
    x = torch.rand(BATCH, side, side, channels).requires_grad_()
    label = f"dropout {side}x{side}x{channels}"
    return Block(label, x, (ours, []), lambda _: (lambda x: F.dropout(x, RATE), []), random=True)


def sides_of(block: Block, repeats: int) -> dict[str, Call]:
    """Return the timed calls of a block by name, after a check that ours and torch's compute the same."""
    sides: dict[str, Call] = {}
    function, parameters = block.ours
    ours = forward_backward(function, block.x, parameters)
    for level in native_levels():
        sides[f"{NATIVE} {level}"] = repeated(ours, repeats, NATIVE, level)
    sides[REFERENCE] = repeated(ours, repeats, REFERENCE)
    expected = function(block.x).detach()
    layouts = {USUAL: torch.contiguous_format, CHANNELS_LAST: torch.channels_last}
    for name, layout in layouts.items():
        x = block.x.detach().permute(0, 3, 1, 2).contiguous(memory_format=layout)
        x.requires_grad_(block.x.requires_grad)
        function, parameters = block.torchs(layout)
        if not block.random:
            torch.testing.assert_close(function(x).detach().permute(0, 2, 3, 1), expected, rtol=1e-3, atol=1e-3)
        sides[name] = repeated(forward_backward(function, x, parameters), repeats)
    return sides


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=15)
    options.add_argument("--repeats", type=int, default=30, help="of each call in a round (default: 30)")
    given = options.parse_args()
    if not native_levels():
        sys.exit("error: this installation has no native kernels; see regulens doctor")
    best = f"{NATIVE} {native_levels()[-1]}"
    rows, names = [], []
    with pinned_torch():
        torch.manual_seed(0)
        for block in (
            convolution(28, 1, 16, first=True),
            convolution(13, 16, 16, first=False),
            convolution(32, 3, 32, first=True),
            convolution(14, 32, 64, first=False),
            normalisation(13, 16),
            dropping(13, 16),
        ):
            sides = sides_of(block, given.repeats)
            rounds = milliseconds(sides, given.rounds, given.repeats)
            names = list(sides)
            times = [f"{median(sample[name] for sample in rounds):.3f}" for name in names]
            compared = (REFERENCE, USUAL, CHANNELS_LAST)
            ratios = [spread([sample[name] / sample[best] for sample in rounds], 1) for name in compared]
            rows.append([block.label, *times, *ratios])
    print(f"`{command()}` on {machine()}")
    headers = [f"{name}, ms" for name in names]
    print_table(["", *headers, "reference / native", "torch / native", "channels-last / native"], rows)


if __name__ == "__main__":
    main()
