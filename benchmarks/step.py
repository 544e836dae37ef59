"""What a training step of each of the lab's networks consists of; one thread, batches of 100, random pixels.

In alternation: the step with the kernels in use; the same by autograd; its floor, the matrix products of the dense
layers alone; the operations of its blocks alone (convolution blocks, batch norm, dropout: forward and backward, at the
shapes that occur); a step on a batch of one image, which is what Python and dispatch cost; the step with the reference
kernels.
Milliseconds are medians over the rounds; ratios are taken within a round, over the step.

    python benchmarks/step.py
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor

from calls import Call, forward_backward, milliseconds, repeated
from common import command, lab, machine, parser, print_table, spread
from regulens.data.catalog import dataset_info
from regulens.kernels.ops import conv_relu_pool
from regulens.kernels.paths import REFERENCE
from regulens.models.cnn import ConvBlock, build_model
from regulens.models.regularizers import build_regularizer
from regulens.spec import RunSpec
from regulens.study.grid import cell_label, cells
from regulens.training.environment import pinned_torch
from regulens.training.loop import build_optimizer, train_step
from regulens.training.timing import pieces_of

STEP, AUTOGRAD, FLOOR, OPERATIONS, ONE, PLAIN = (
    "step",
    "by autograd",
    "matrix products",
    "blocks alone",
    "batch of 1",
    "reference kernels",
)


def convolve(block: ConvBlock, x: Tensor) -> Tensor:
    """Return what the block's convolution, ReLU and pooling make of ``x``."""
    conv = block.conv
    assert conv.bias is not None
    return conv_relu_pool(x, conv.weight, conv.bias, block.padding, block.pool)


def operations_of(spec: RunSpec, image_shape: tuple[int, int, int], classes: int) -> Call:
    """Return a call of all blocks' operations of a step, each forward and backward on its own input."""
    model = build_model(spec.model, image_shape, classes, spec.regularizer).train()
    calls: list[Call] = []

    def add(operation: Callable[[Tensor], Tensor], x: Tensor, parameters: list[Tensor]) -> Tensor:
        calls.append(forward_backward(operation, x, parameters))
        return operation(x).detach().requires_grad_()

    x = torch.rand(spec.train.batch_size, *image_shape)  # images: no gradient of them is asked for
    for block in model.blocks:
        assert isinstance(block, ConvBlock)
        x = add(partial(convolve, block), x, list(block.conv.parameters()))
        if block.regularizer is not None:
            x = add(block.regularizer, x, list(block.regularizer.parameters()))
    if model.regularizer is not None:
        x = torch.rand(spec.train.batch_size, spec.model.dense).requires_grad_()
        add(model.regularizer, x, list(model.regularizer.parameters()))
    return lambda: [call() for call in calls]


def step_by_autograd(spec: RunSpec, image_shape: tuple[int, int, int], classes: int) -> Call:
    """Return a call of a training step that goes by autograd, on one batch of random pixels."""
    regularizer = build_regularizer(spec.regularizer)
    model = build_model(spec.model, image_shape, classes, regularizer).train()
    optimizer = build_optimizer(spec, model, regularizer)
    images = torch.rand(spec.train.batch_size, *image_shape)
    labels = torch.randint(classes, (len(images),))
    return lambda: train_step(model, optimizer, regularizer, images, labels)


def calls_of(spec: RunSpec, repeats: int) -> dict[str, Call]:
    """Return the timed calls of a network by name."""
    info = dataset_info(spec.data.name)
    shape, classes = info.image_shape, len(info.class_names)
    single = spec.model_copy(update={"train": spec.train.model_copy(update={"batch_size": 1})})
    pieces = pieces_of(spec, shape, classes)
    return {
        STEP: repeated(pieces.step, repeats),
        AUTOGRAD: repeated(step_by_autograd(spec, shape, classes), repeats),
        FLOOR: repeated(pieces.products, repeats),
        OPERATIONS: repeated(operations_of(spec, shape, classes), repeats),
        ONE: repeated(pieces_of(single, shape, classes).step, repeats),
        PLAIN: repeated(pieces_of(spec, shape, classes).step, repeats, REFERENCE),
    }


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=15)
    options.add_argument("--repeats", type=int, default=30, help="of each call in a round (default: 30)")
    given = options.parse_args()
    study = lab(1, scaled=True)
    names = (STEP, AUTOGRAD, FLOOR, OPERATIONS, ONE, PLAIN)
    rows = []
    with pinned_torch():
        for spec in cells(study):
            rounds = milliseconds(calls_of(spec, given.repeats), given.rounds, given.repeats)
            times = [f"{median(sample[name] for sample in rounds):.3f}" for name in names]
            floor = spread([sample[STEP] / sample[FLOOR] for sample in rounds])
            ratios = [spread([sample[name] / sample[STEP] for sample in rounds]) for name in (AUTOGRAD, *names[3:])]
            rows.append([cell_label(spec, study), *times, floor, *ratios])
    print(f"`{command()}` on {machine()}")
    headers = [f"{name}, ms" for name in names]
    print_table(
        ["", *headers, "step / products", "autograd / step", "blocks / step", "batch of 1 / step", "reference / step"],
        rows,
    )


if __name__ == "__main__":
    main()
