"""The gradients of a network: by autograd, or, faster, in passes over memory that is laid once for each batch size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from regulens.kernels.bound import (
    Bindable,
    Bound,
    BoundConvReluPool,
    BoundCrossEntropy,
    BoundDense,
    BoundLinear,
    BoundRelu,
)
from regulens.kernels.ops import cross_entropy, has_native_conv
from regulens.kernels.paths import native
from regulens.models.cnn import CNN, ConvBlock

Differentiate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Leaves the gradients of the mean cross-entropy of (images, labels) in the parameters; returns it, and the hits."""


def differentiation_of(model: CNN) -> Differentiate:
    """Return the fastest way to a network's gradients: static where all of it is native, else autograd."""
    return StaticNetwork(model) if StaticNetwork.fits(model) else partial(by_autograd, model)


def by_autograd(model: CNN, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Leave the gradients of the mean cross-entropy in the parameters; return it, and the number of hits."""
    loss, hits = cross_entropy(model(images), labels)
    torch.autograd.backward(loss)
    return loss.detach(), hits


class StaticNetwork:
    """The passes of a network in training, a ``StaticPass`` for each size of batch that comes.

    It gives what autograd gives, bit for bit, and the same moving statistics and masks; where native kernels are no
    longer in use, by autograd.
    """

    def __init__(self, model: CNN) -> None:
        self._model = model
        self._passes: dict[int, StaticPass] = {}

    @staticmethod
    def fits(model: CNN) -> bool:
        """Say whether there are native kernels for all of a network, and they are in use."""
        blocks = [block for block in model.blocks if isinstance(block, ConvBlock)]
        regularizers = [*(block.regularizer for block in blocks), model.regularizer]
        layers = [part for regularizer in regularizers for part in _parts(regularizer)]
        return (
            native() is not None
            and all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in model.parameters())
            and all(tensor.is_contiguous() for tensor in model.parameters())
            and all(has_native_conv(block.conv.weight, block.pool) for block in blocks)
            and all(isinstance(layer, Bindable) for layer in layers)
        )

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Put the gradients into the parameters; return loss and hits, valid until the next call.

        Args:
            images: (N, H, W, C).
            labels: (N,) int64.
        """
        if native() is None:
            return by_autograd(self._model, images, labels)
        size = len(images)
        if size not in self._passes:
            self._passes[size] = StaticPass(self._model, size)
        return self._passes[size](images.contiguous(), labels)


class StaticPass:
    """Forward and backward for batches of one size."""

    def __init__(self, model: CNN, size: int) -> None:
        x = torch.empty(size, *model.image_shape)
        self._convolutions: list[Bound] = []
        for number, block in enumerate(model.blocks):
            assert isinstance(block, ConvBlock)
            conv = block.conv
            assert conv.bias is not None
            convolved = BoundConvReluPool(x, conv.weight, conv.bias, block.padding, block.pool, wants_input=number > 0)
            if number == 0:
                self._first = convolved
            self._convolutions += [convolved, *_chain(block.regularizer, convolved.out)]
            x = self._convolutions[-1].out
        weight, bias = model.dense.weight, model.dense.bias
        dense = BoundDense(x, weight, bias) if model.rectified else BoundLinear(x.view(size, -1), weight, bias)
        relu = BoundRelu(dense.out)
        self._dense = [dense, relu, *_chain(model.regularizer, relu.out)]
        self._dense.append(BoundLinear(self._dense[-1].out, model.output.weight, model.output.bias))
        self._loss = BoundCrossEntropy(self._dense[-1].out)
        self._gradients = [pair for layer in (*self._convolutions, *self._dense) for pair in layer.gradients]

    @torch.no_grad()
    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Do what ``StaticNetwork`` does."""
        self._first.take(images)
        for layer in (*self._convolutions, *self._dense):
            layer.forward()
        self._loss(labels)
        grad = self._loss.by_logits
        for layer in reversed(self._dense):
            grad = layer.backward(grad)
        grad = grad.view_as(self._convolutions[-1].out)
        for layer in reversed(self._convolutions):
            grad = layer.backward(grad)
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        return self._loss.loss, self._loss.hits


def _parts(layer: nn.Module | None) -> list[nn.Module]:
    return [] if layer is None else list(layer) if isinstance(layer, nn.Sequential) else [layer]


def _chain(layer: nn.Module | None, x: Tensor) -> Iterator[Bound]:
    """Yield the layers of a regularizer, each bound to what the one before it gives."""
    for part in _parts(layer):
        assert isinstance(part, Bindable)  # as ``fits`` has seen
        bound = part.bound(x)
        yield bound
        x = bound.out
