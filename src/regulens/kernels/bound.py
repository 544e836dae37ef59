"""Operations bound to memory that is laid once, for batches that all have one size: no autograd, nothing allocated.

What an operation makes of a batch is in its ``out``, which ``forward`` fills; ``backward`` takes the gradient by it,
fills those by the parameters and returns that by its input, where it can in the memory of the one it took. The numbers
are those of ``ops`` and of autograd, bit for bit; what is spared is about a fifth of a small network's step
(docs/performance.md).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from typing_extensions import override

from regulens.kernels import reference
from regulens.kernels.live import live_columns
from regulens.kernels.ops import check_batch_norm, check_conv_relu_pool, check_dense, has_native_conv
from regulens.kernels.paths import native


class Bound(ABC):
    """An operation on one tensor, always the same memory.

    Attributes:
        x: what it is of, contiguous float32 on the CPU.
        out: what ``forward`` makes of it.
        gradients: each parameter with the gradient by it that ``backward`` fills.

    Raises:
        ValueError: if a tensor is not contiguous float32 on the CPU, there is no native kernel for it, or a gradient is
            not one by ``out``.
    """

    def __init__(self, x: Tensor, out: Tensor, parameters: tuple[Tensor, ...] = ()) -> None:
        for tensor in (x, *parameters):
            if (tensor.dtype, tensor.device.type) != (torch.float32, "cpu") or not tensor.is_contiguous():
                raise ValueError(
                    f"{type(self).__name__}: tensors must be contiguous float32 on the CPU, got {tuple(tensor.shape)} "
                    f"{tensor.dtype} on {tensor.device}, strides {tensor.stride()}"
                )
        self.x = x
        self.out = out
        self.parameters = tuple(parameter.detach() for parameter in parameters)  # the same memory
        self.gradients = tuple((parameter, torch.empty_like(parameter.detach())) for parameter in parameters)

    @abstractmethod
    def forward(self) -> None:
        """Fill ``out``."""

    def backward(self, grad: Tensor) -> Tensor:
        """Return the gradient by ``x``, from that by ``out`` (of its shape, contiguous), which may be overwritten."""
        if grad.shape != self.out.shape or not grad.is_contiguous():
            raise ValueError(f"{type(self).__name__}: the gradient must be contiguous {tuple(self.out.shape)}")
        return self._backward(grad)

    @abstractmethod
    def _backward(self, grad: Tensor) -> Tensor:
        """Fill the gradients; return that by ``x``."""


@runtime_checkable
class Bindable(Protocol):
    """A layer that can be bound."""

    def bound(self, x: Tensor) -> Bound:
        """Return what the layer does of ``x`` while training."""


class BoundConvReluPool(Bound):
    """``ops.conv_relu_pool`` by its native kernel, of whatever ``x`` is when it is called (``take``).

    ``wants_input`` is whether the gradient by ``x`` is computed; if not, ``backward`` returns an empty one.
    """

    def __init__(
        self, x: Tensor, weight: Tensor, bias: Tensor, padding: str, pool: int, *, wants_input: bool = True
    ) -> None:
        check_conv_relu_pool(x, weight, bias, padding, pool)
        if not has_native_conv(weight, pool):
            raise ValueError(f"there is no native kernel for weight {tuple(weight.shape)} with pool {pool}")
        self._native = _module()
        self._block = self._native.Block(*x.shape, weight.shape[0], weight.shape[2], padding == "same")
        out = x.new_empty(x.shape[0], self._block.pooled_h, self._block.pooled_w, weight.shape[0])
        super().__init__(x, out, (weight, bias))
        self._winner = torch.empty_like(out, dtype=torch.uint8)
        self._by_input = torch.empty_like(x) if wants_input else x.new_empty(0)
        by_input = self._by_input.data_ptr() if wants_input else 0
        addresses = _addresses(*self.parameters, self.out, self._winner, *(by for _, by in self.gradients))
        self._weight, self._bias, self._out, self._won, *by_parameters = addresses
        self._by = (by_input, *by_parameters)

    def take(self, x: Tensor) -> None:
        """Let ``x`` be another tensor of the same shape, which is only read; it must stay as it is to ``backward``."""
        fits = x.shape == self.x.shape and x.dtype == torch.float32 and x.device.type == "cpu"
        if not fits or not x.is_contiguous():
            raise ValueError(
                f"{type(self).__name__}: x must be contiguous float32 {tuple(self.x.shape)} on the CPU, got "
                f"{tuple(x.shape)} {x.dtype} on {x.device}, strides {x.stride()}"
            )
        self.x = x

    @override
    def forward(self) -> None:
        self._native.conv_relu_pool(self._block, self.x.data_ptr(), self._weight, self._bias, self._out, self._won)

    @override
    def _backward(self, grad: Tensor) -> Tensor:
        self._native.conv_relu_pool_backward(
            self._block, self.x.data_ptr(), self._weight, self._won, grad.data_ptr(), *self._by
        )
        return self._by_input


class BoundBatchNorm(Bound):
    """``ops.batch_norm`` by its native kernel; ``keep`` is called with the mean and biased variance of each batch."""

    def __init__(
        self, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, keep: Callable[[Tensor, Tensor], None]
    ) -> None:
        check_batch_norm(x, weight, bias)
        super().__init__(x, torch.empty_like(x), (weight, bias))
        self._native, self._epsilon, self._keep = _module(), epsilon, keep
        self._rows, self._channels = x.numel() // len(weight), len(weight)
        self._mean, self._variance = (torch.empty_like(parameter) for parameter in self.parameters)
        self._statistics = _addresses(self._mean, self._variance)
        self._known = _addresses(x, self.parameters[0])
        self._shift_and_out = _addresses(self.parameters[1], self.out)
        self._by = _addresses(*(by for _, by in self.gradients))

    @override
    def forward(self) -> None:
        shift, out = self._shift_and_out
        self._native.batch_norm(self._rows, self._channels, *self._known, shift, self._epsilon, out, *self._statistics)
        self._keep(self._mean, self._variance)

    @override
    def _backward(self, grad: Tensor) -> Tensor:
        at = grad.data_ptr()
        sizes, known = (self._rows, self._channels), (*self._known, *self._statistics)
        self._native.batch_norm_backward(*sizes, at, *known, self._epsilon, at, *self._by)
        return grad


class BoundDropout(Bound):
    """``ops.dropout`` by its native kernel; ``advance`` gives the number of each forward pass's mask."""

    def __init__(self, x: Tensor, rate: float, key: int, advance: Callable[[], Tensor]) -> None:
        super().__init__(x, torch.empty_like(x))
        self._native, self._key, self._advance = _module(), key, advance
        self._threshold, self._scale = reference.dropout_threshold(rate)
        self._step = 0

    @override
    def forward(self) -> None:
        self._step = int(self._advance()) % 2**32
        self._masked(self.x, self.out)

    @override
    def _backward(self, grad: Tensor) -> Tensor:
        self._masked(grad, grad)
        return grad

    def _masked(self, values: Tensor, out: Tensor) -> None:
        self._native.dropout(
            values.numel(), values.data_ptr(), self._key, self._step, self._threshold, self._scale, out.data_ptr()
        )


class BoundLinear(Bound):
    """A dense layer by torch's matrix products: ``x`` (N, in), ``weight`` (out, in), ``bias`` (out,)."""

    def __init__(self, x: Tensor, weight: Tensor, bias: Tensor) -> None:
        super().__init__(x, x.new_empty(len(x), len(weight)), (weight, bias))
        self._by_input = torch.empty_like(x)

    @override
    def forward(self) -> None:
        weight, bias = self.parameters
        torch.addmm(bias, self.x, weight.T, out=self.out)

    @override
    def _backward(self, grad: Tensor) -> Tensor:
        (_, by_weight), (_, by_bias) = self.gradients
        torch.mm(grad.T, self.x, out=by_weight)
        torch.sum(grad, 0, out=by_bias)
        return torch.mm(grad, self.parameters[0], out=self._by_input)


class BoundDense(BoundLinear):
    """``ops.dense`` of maps (N, H, W, C) that come from a ReLU; its ``x`` is these as rows."""

    def __init__(self, x: Tensor, weight: Tensor, bias: Tensor) -> None:
        check_dense(x, weight, bias)
        super().__init__(x.view(len(x), -1), weight, bias)
        self._native = _module()
        self._live: Tensor | None = None
        self._room = [torch.empty(of.numel() // 2) for of in (x, weight, weight)]  # for half the columns

    @override
    def forward(self) -> None:
        weight, bias = self.parameters
        self._live = live = live_columns(self._native, self.x, weight)
        if live is None:
            super().forward()
            return
        self._rows, self._kernel, self._by_kernel = (
            room[: len(of) * len(live)].view(len(of), len(live))
            for room, of in zip(self._room, (self.x, weight, weight), strict=True)
        )
        torch.index_select(self.x, 1, live, out=self._rows)
        torch.index_select(weight, 1, live, out=self._kernel)
        torch.addmm(bias, self._rows, self._kernel.T, out=self.out)

    @override
    def _backward(self, grad: Tensor) -> Tensor:
        if self._live is None:
            return super()._backward(grad)
        (_, by_weight), (_, by_bias) = self.gradients
        self._spread(torch.mm(grad.T, self._rows, out=self._by_kernel), self._live, by_weight)
        torch.sum(grad, 0, out=by_bias)
        by_rows = torch.mm(grad, self._kernel, out=self._rows)  # the rows are of no more use
        return self._spread(by_rows, self._live, self._by_input)

    def _spread(self, values: Tensor, live: Tensor, out: Tensor) -> Tensor:
        """Fill ``out`` with values (R, count) in its live columns and zeros elsewhere, in half torch's time."""
        self._native.spread_columns(*out.shape, len(live), live.data_ptr(), values.data_ptr(), out.data_ptr())
        return out


class BoundRelu(Bound):
    """ReLU in place: ``out`` is ``x``."""

    def __init__(self, x: Tensor) -> None:
        super().__init__(x, x)

    @override
    def forward(self) -> None:
        torch.relu_(self.out)

    @override
    def _backward(self, grad: Tensor) -> Tensor:
        result: Tensor = torch.ops.aten.threshold_backward.grad_input(grad, self.out, 0, grad_input=grad)
        return result


class BoundCrossEntropy:
    """``ops.cross_entropy`` of ``logits`` (N, classes), always the same memory, by its native kernel.

    Attributes:
        loss: 0-dimensional, in nats.
        hits: 0-dimensional int64.
        by_logits: the gradient, (N, classes).
    """

    def __init__(self, logits: Tensor) -> None:
        self._native, self._size, self._logits = _module(), tuple(logits.shape), logits
        self.loss, self.hits = logits.new_empty(()), torch.empty((), dtype=torch.int64)
        self.by_logits = torch.empty_like(logits)
        self._results = _addresses(self.loss, self.hits, self.by_logits)

    def __call__(self, labels: Tensor) -> None:
        """Fill the attributes, for labels (N,) int64.

        Raises:
            ValueError: if these are no such labels.
            IndexError: if one is not below the number of classes.
        """
        if labels.dtype != torch.int64 or labels.shape != self._size[:1]:
            raise ValueError(f"labels must be ({self._size[0]},) int64, got {tuple(labels.shape)} {labels.dtype}")
        labels = labels.contiguous()  # held until the kernel has read it
        self._native.cross_entropy(*self._size, *_addresses(self._logits, labels), *self._results)


def _addresses(*tensors: Tensor) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


def _module() -> Any:
    module = native()
    if module is None:
        raise ValueError("the native kernels are not in use")
    return module
