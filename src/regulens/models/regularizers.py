"""The regularizers: one class each, and the table that the notation of study files is looked up in.

A regularizer has five hooks with neutral defaults. The training loop calls the hooks and never names a
regularizer; a new one is a class and a line in ``REGULARIZERS`` (and, to be written in files, in
``notation.ARGUMENTS``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from regulens.errors import UserError, check_type
from regulens.kernels.bound import Bound, BoundBatchNorm, BoundDropout
from regulens.kernels.ops import batch_norm, dropout
from regulens.notation import Term, parse_regularizer

ParameterGroups = list[dict[str, Any]]
"""Parameter groups as torch's optimisers take them."""


class Regularizer:
    """Does nothing: the neutral default of every hook."""

    def layer(self, features: int, generator: torch.Generator) -> nn.Module | None:
        """Return a layer to place after each pooling and after the dense layer, or ``None``.

        Training is faster where the layer is a ``kernels.bound.Bindable``, and where it ``keeps_zeros``.

        Args:
            features: size of the last axis of the (..., features) activations it is given.
            generator: the run's own stream for any randomness of the layer.
        """
        return None

    def batch(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the training batch to use: images (B, H, W, C) float, labels (B,) int64."""
        return images, labels

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return a scalar to add to the loss, in training and in evaluation, or ``None``."""
        return None

    def penalise(self, model: nn.Module) -> Tensor | None:
        """Add the gradients of the penalty to those that the parameters have; return its value.

        By default by autograd; a regularizer that knows them may be faster.
        """
        penalty = self.penalty(model)
        if penalty is None:
            return None
        torch.autograd.backward(penalty)
        return penalty.detach()

    def parameter_groups(self, groups: ParameterGroups) -> ParameterGroups:
        """Return the optimiser's parameter groups, changed where this regularizer needs it."""
        return groups


class L2(Regularizer):
    """Adds ``strength * sum(kernel ** 2)`` over all convolution kernels to the loss (Keras' ``l2``).

    Biases and dense layers are left alone, as in the lab.
    """

    def __init__(self, strength: float) -> None:
        self.strength = strength

    @override
    def penalty(self, model: nn.Module) -> Tensor | None:
        return self._penalty_of(_kernels(model))

    @override
    @torch.no_grad()
    def penalise(self, model: nn.Module) -> Tensor | None:
        kernels = _kernels(model)
        for kernel in kernels:
            assert kernel.grad is not None
            kernel.grad.add_(kernel, alpha=2 * self.strength)
        return self._penalty_of(kernels)

    def _penalty_of(self, kernels: list[Tensor]) -> Tensor:
        flat = [kernel.flatten() for kernel in kernels]
        return self.strength * _sum_of([kernel.dot(kernel) for kernel in flat])


def _kernels(model: nn.Module) -> list[Tensor]:
    return [module.weight for module in model.modules() if isinstance(module, nn.Conv2d)]


def _sum_of(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum() if len(terms) > 1 else terms[0]


class Dropout(Regularizer):
    """Inverted dropout (Srivastava et al. 2014): activations are zeroed with probability ``rate``."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    @override
    def layer(self, features: int, generator: torch.Generator) -> nn.Module:
        return DropoutLayer(self.rate, generator)


class DropoutLayer(nn.Module):
    """Element-wise dropout; its masks are a stream of its own, drawn from the run's generator."""

    title = "dropout"
    keeps_zeros = True
    step: Tensor

    def __init__(self, rate: float, generator: torch.Generator) -> None:
        super().__init__()
        self.rate = rate
        self.key = int(torch.randint(2**63 - 1, (), generator=generator))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (any shape), while training with some of it zeroed and the rest scaled up."""
        if not self.training or self.rate == 0:
            return x
        return dropout(x, self.rate, self.key, self._advance())

    def bound(self, x: Tensor) -> Bound:
        """Return what ``forward`` does while training, on the same memory in each step."""
        return BoundDropout(x, self.rate, self.key, self._advance)

    def _advance(self) -> Tensor:
        """Go on to the next mask; return its number."""
        self.step.add_(1)
        return self.step


def keeps_zeros(layer: nn.Module | None) -> bool:
    """Say whether a regularizer's layer acts on each element alone and leaves zeros where they are.

    Behind a ReLU, whatever comes back to such a zero goes no further. Layers of which that is true have an attribute
    ``keeps_zeros``; training is faster for it.
    """
    if isinstance(layer, nn.Sequential):
        return all(keeps_zeros(part) for part in layer)
    return layer is None or getattr(layer, "keeps_zeros", False)


class BatchNorm(Regularizer):
    """Batch normalisation (Ioffe and Szegedy 2015) with Keras' defaults and Keras' moving statistics."""

    @override
    def layer(self, features: int, generator: torch.Generator) -> nn.Module:
        return BatchNormLayer(features)


class BatchNormLayer(nn.Module):
    """Normalises the last axis over all others, as Keras' ``BatchNormalization``.

    It differs from torch's in three ways: the moving variance is the biased one; ``momentum`` is the share
    kept of the old value; a batch of one image is normalised like any other.
    """

    title = "batch norm"
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, momentum: float = 0.99, epsilon: float = 1e-3) -> None:
        super().__init__()
        self.momentum = momentum
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., features) normalised; while training by the batch, whose statistics are then kept."""
        if not self.training:
            moving = self.running_mean, self.running_var
            channels_second = F.batch_norm(x.movedim(-1, 1), *moving, self.weight, self.bias, eps=self.epsilon)
            return channels_second.movedim(1, -1)
        normalised, mean, variance = batch_norm(x, self.weight, self.bias, self.epsilon)
        self._keep(mean, variance)
        return normalised

    def bound(self, x: Tensor) -> Bound:
        """Return what ``forward`` does while training, on the same memory in each step."""
        return BoundBatchNorm(x, self.weight, self.bias, self.epsilon, self._keep)

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        torch._foreach_lerp_([self.running_mean, self.running_var], [mean, variance], 1 - self.momentum)


REGULARIZERS: dict[str, Callable[..., Regularizer]] = {"l2": L2, "dropout": Dropout, "batchnorm": BatchNorm}
"""The regularizer of each kind of term in the notation, made from the term's number."""


class Combined(Regularizer):
    """Several regularizers applied one after the other, in the order written."""

    def __init__(self, parts: list[Regularizer]) -> None:
        self.parts = parts

    @override
    def layer(self, features: int, generator: torch.Generator) -> nn.Module | None:
        layers = [layer for part in self.parts if (layer := part.layer(features, generator)) is not None]
        return nn.Sequential(*layers) if len(layers) > 1 else next(iter(layers), None)

    @override
    def batch(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        for part in self.parts:
            images, labels = part.batch(images, labels, generator)
        return images, labels

    @override
    def penalty(self, model: nn.Module) -> Tensor | None:
        penalties = [term for part in self.parts if (term := part.penalty(model)) is not None]
        return _sum_of(penalties) if penalties else None

    @override
    def penalise(self, model: nn.Module) -> Tensor | None:
        penalties = [term for part in self.parts if (term := part.penalise(model)) is not None]
        return _sum_of(penalties) if penalties else None

    @override
    def parameter_groups(self, groups: ParameterGroups) -> ParameterGroups:
        for part in self.parts:
            groups = part.parameter_groups(groups)
        return groups


def build_regularizer(text: str) -> Regularizer:
    """Return the regularizer written as ``text``, e.g. ``batchnorm + dropout(0.1)``.

    Raises:
        UserError: if the notation is not readable.
    """
    check_type(text, str, "regularizer", 'a text such as "batchnorm + dropout(0.1)"')
    try:
        terms = parse_regularizer(text)
    except UserError as error:
        raise UserError(f'regularizer "{text}": {error}') from None
    return Combined([_from_term(term) for term in terms])


def _from_term(term: Term) -> Regularizer:
    make = REGULARIZERS[term.kind]
    return make() if term.value is None else make(term.value)
