"""Calls of a few milliseconds, timed in alternation: what blocks.py and step.py share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from regulens.kernels.paths import using_kernels
from regulens.training.timing import alternate

Call = Callable[[], object]


def repeated(call: Call, repeats: int, kernels: str | None = None, isa: str | None = None) -> Call:
    """Return ``call`` done so often, with these kernels (by default those in use)."""

    def calls() -> None:
        with using_kernels(kernels, isa) if kernels else nullcontext():
            for _ in range(repeats):
                call()

    return calls


def milliseconds(calls: Mapping[str, Call], rounds: int, repeats: int) -> list[dict[str, float]]:
    """Return each round's milliseconds of calls that do their work ``repeats`` times; a first one is not counted."""
    rounds_taken = [alternate(calls, rounds=1, repeats=1) for _ in range(rounds)]
    return [{name: 1e3 * seconds / repeats for name, seconds in taken.items()} for taken in rounds_taken]


def forward_backward(function: Callable[[Tensor], Tensor], x: Tensor, parameters: Sequence[Tensor]) -> Call:
    """Return a call of ``function`` and of its gradients by ``x`` (if it asks for one) and the parameters."""
    grad = torch.rand_like(function(x))
    wanted = [tensor for tensor in (x, *parameters) if tensor.requires_grad]
    return lambda: torch.autograd.grad(function(x), wanted, grad)
