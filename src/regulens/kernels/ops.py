"""The operations as networks call them: checked, differentiable, native where that is in use and can do it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from regulens.kernels import reference
from regulens.kernels.live import live_columns
from regulens.kernels.paths import native

_FLOATS = (torch.float32, torch.float64)
_WIDEST_NATIVE = 7


def conv_relu_pool(x: Tensor, weight: Tensor, bias: Tensor, padding: str = "valid", pool: int = 2) -> Tensor:
    """Convolution, bias, ReLU and max pooling in one: see ``reference.conv_relu_pool``.

    Args:
        x: (N, H, W, C), float32 or float64, any strides.
        weight: (O, C, K, K), of the same type and device.
        bias: (O,).
        padding: ``valid`` or ``same``.
        pool: width of the pooling windows.

    Raises:
        TypeError: for anything but dense float tensors of one type.
        ValueError: for shapes, devices or a padding that do not fit, or if nothing is left to pool.
    """
    check_conv_relu_pool(x, weight, bias, padding, pool)
    module = _native_for(x)
    if module is None or not has_native_conv(weight, pool):
        return reference.conv_relu_pool(x, weight, bias, padding, pool)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad or bias.requires_grad):
        pooled: Tensor = _ConvReluPool.apply(module, x, weight, bias, padding == "same")  # type: ignore[no-untyped-call]  # torch's
        return pooled
    return _conv_relu_pool(module, x, weight, bias, padding == "same", keep_winners=False)[0]


def batch_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise over all axes but the last: see ``reference.batch_norm``.

    Args:
        x: (..., C), float32 or float64, any strides, at least one row.
        weight: (C,), the scale.
        bias: (C,), the shift.
        epsilon: added to the variance.

    Returns:
        The result, shaped as ``x``, and the mean and biased variance (C,), which carry no gradient.

    Raises:
        TypeError: for anything but dense float tensors of one type.
        ValueError: for shapes or devices that do not fit, or no rows.
    """
    check_batch_norm(x, weight, bias)
    module = _native_for(x)
    if module is None:
        return reference.batch_norm(x, weight, bias, epsilon)
    result: tuple[Tensor, Tensor, Tensor] = _BatchNorm.apply(module, x, weight, bias, epsilon)  # type: ignore[no-untyped-call]  # torch's
    return result


def dense(x: Tensor, weight: Tensor, bias: Tensor, *, rectified: bool = False) -> Tensor:
    """A dense layer on maps: see ``reference.dense``. What a whole batch leaves at zero costs next to nothing.

    Args:
        x: (N, H, W, C), float32 or float64, any strides.
        weight: (O, H * W * C), of the same type and device.
        bias: (O,).
        rectified: whether ``x`` comes from a ReLU, which lets no gradient through where it is zero: by what is zero in
            the whole batch it is then not computed, but given as zero.

    Returns:
        (N, O).

    Raises:
        TypeError: for anything but dense float tensors of one type.
        ValueError: for shapes or devices that do not fit.
    """
    check_dense(x, weight, bias)
    module = _native_for(x)
    if module is None:
        return reference.dense(x, weight, bias)
    rows, weight = x.contiguous().flatten(1), weight.contiguous()
    all_wanted = torch.is_grad_enabled() and x.requires_grad and not rectified
    live = None if all_wanted else live_columns(module, rows, weight)
    if live is not None:
        rows, weight = rows.index_select(1, live), weight.index_select(1, live)
    return F.linear(rows, weight, bias)


def dropout(x: Tensor, rate: float, key: int, step: Tensor) -> Tensor:
    """Zero elements at random and scale the rest up: see ``reference.dropout``.

    Args:
        x: any shape, float32 or float64.
        rate: the probability of being zeroed, in [0, 1).
        key: of the stream of masks, 64 bits.
        step: 0-dimensional int64 on the device of ``x``: which mask of the stream.

    Raises:
        TypeError: for anything but a dense float tensor, or a step that is no int64.
        ValueError: for a rate or key out of range, a step with axes or on another device.
    """
    _check_tensors("dropout", x=(x, None))
    if not isinstance(step, Tensor) or step.dtype != torch.int64:
        kind = step.dtype if isinstance(step, Tensor) else type(step).__name__
        raise TypeError(f"dropout: step must be an int64 tensor, got {kind}")
    if step.dim() != 0 or step.device != x.device:
        raise ValueError(f"dropout: step must be 0-dimensional on {x.device}, got {_shape(step)} on {step.device}")
    if not 0 <= key < 2**64:
        raise ValueError(f"dropout: key must have 64 bits, got {key}")
    threshold, scale = reference.dropout_threshold(rate)
    module = _native_for(x)
    if module is None:
        return reference.dropout(x, rate, key, step)
    dropped: Tensor = _Dropout.apply(module, x, (key, int(step) % 2**32, threshold, scale))  # type: ignore[no-untyped-call]  # torch's
    return dropped


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy and the number of right predictions: see ``reference.cross_entropy``.

    Args:
        logits: (N, classes), float32 or float64, at least one row.
        labels: (N,) int64 on the same device, each below the number of classes.

    Returns:
        The loss, 0-dimensional, in nats; the hits, 0-dimensional int64, which carry no gradient.

    Raises:
        TypeError: for anything but dense tensors of these types.
        ValueError: for shapes or devices that do not fit.
        IndexError: for a label out of range (on the CPU).
    """
    _check_tensors("cross_entropy", logits=(logits, 2))
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        raise TypeError(f"cross_entropy: labels must be an int64 tensor, got {getattr(labels, 'dtype', type(labels))}")
    if labels.shape != logits.shape[:1] or logits.numel() == 0 or labels.device != logits.device:
        raise ValueError(
            f"cross_entropy: logits {_shape(logits)} on {logits.device} and labels {_shape(labels)} on {labels.device} "
            "do not fit; they must be (N, classes) and (N,) with N at least 1"
        )
    module = _native_for(logits)
    if module is None:
        return reference.cross_entropy(logits, labels)
    result: tuple[Tensor, Tensor] = _CrossEntropy.apply(module, logits, labels)  # type: ignore[no-untyped-call]  # torch's
    return result


def gather(images: Tensor, chosen: Tensor, scale: float, out: Tensor) -> Tensor:
    """Fill a buffer with some images, as float32 and scaled: see ``reference.gather``.

    Args:
        images: (N, ...) uint8, contiguous.
        chosen: (B,) int64, each below N.
        scale: what pixels are multiplied by.
        out: (B, ...) float32, contiguous, on the same device.

    Raises:
        TypeError: for tensors of other types.
        ValueError: for shapes or strides that do not fit.
        IndexError: for an index out of range.
    """
    if (images.dtype, chosen.dtype, out.dtype) != (torch.uint8, torch.int64, torch.float32):
        raise TypeError(
            "gather: images, chosen and out must be uint8, int64 and float32, "
            f"got {images.dtype}, {chosen.dtype} and {out.dtype}"
        )
    if out.shape != (*chosen.shape, *images.shape[1:]) or chosen.dim() != 1 or not images.dim():
        raise ValueError(f"gather: images {_shape(images)}, chosen {_shape(chosen)} and out {_shape(out)} do not fit")
    if not (images.is_contiguous() and out.is_contiguous()):
        raise ValueError("gather: images and out must be contiguous")
    module = _native_for(out)
    if module is None or images.device != out.device or chosen.device != out.device:
        return reference.gather(images, chosen, scale, out)
    chosen = chosen.contiguous()
    size = images[0].numel() if len(images) else 0
    module.gather(len(chosen), len(images), size, images.data_ptr(), chosen.data_ptr(), scale, out.data_ptr())
    return out


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, module: Any, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits, labels = logits.contiguous(), labels.contiguous()
        loss, hits, grad = logits.new_empty(()), labels.new_empty(()), torch.empty_like(logits)
        module.cross_entropy(
            *logits.shape, logits.data_ptr(), labels.data_ptr(), loss.data_ptr(), hits.data_ptr(), grad.data_ptr()
        )
        ctx.save_for_backward(grad)
        ctx.mark_non_differentiable(hits)
        return loss, hits

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        _check_once("cross_entropy")
        (by_logits,) = ctx.saved_tensors
        return None, by_logits * grad, None


class _ConvReluPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, module: Any, x: Tensor, weight: Tensor, bias: Tensor, same: bool) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        pooled, winner, ctx.block = _conv_relu_pool(module, x, weight, bias, same, keep_winners=True)
        ctx.module = module
        ctx.save_for_backward(x, weight, winner)
        return pooled

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        _check_once("conv_relu_pool")
        x, weight, winner = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[1] else None
        grad_weight, grad_bias = torch.empty_like(weight), weight.new_empty(weight.shape[0])
        ctx.module.conv_relu_pool_backward(
            ctx.block,
            x.data_ptr(),
            weight.data_ptr(),
            winner.data_ptr(),
            grad.data_ptr(),
            0 if grad_x is None else grad_x.data_ptr(),
            grad_weight.data_ptr(),
            grad_bias.data_ptr(),
        )
        return None, grad_x, grad_weight, grad_bias, None


def _conv_relu_pool(
    module: Any, x: Tensor, weight: Tensor, bias: Tensor, same: bool, *, keep_winners: bool
) -> tuple[Tensor, Tensor | None, Any]:
    """Return the pooled maps, which value of each window won, and the sizes, as the backward pass wants them."""
    x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
    block = module.Block(*x.shape, weight.shape[0], weight.shape[2], same)
    pooled = x.new_empty(x.shape[0], block.pooled_h, block.pooled_w, weight.shape[0])
    winner = torch.empty_like(pooled, dtype=torch.uint8) if keep_winners else None
    module.conv_relu_pool(
        block,
        x.data_ptr(),
        weight.data_ptr(),
        bias.data_ptr(),
        pooled.data_ptr(),
        0 if winner is None else winner.data_ptr(),
    )
    return pooled, winner, block


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, module: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
        normalised, mean, variance = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        module.batch_norm(
            x.numel() // len(weight),
            len(weight),
            x.data_ptr(),
            weight.data_ptr(),
            bias.data_ptr(),
            epsilon,
            normalised.data_ptr(),
            mean.data_ptr(),
            variance.data_ptr(),
        )
        ctx.module, ctx.epsilon = module, epsilon
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.mark_non_differentiable(mean, variance)
        return normalised, mean, variance

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        _check_once("batch_norm")
        x, weight, mean, variance = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x, grad_weight, grad_bias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        ctx.module.batch_norm_backward(
            x.numel() // len(weight),
            len(weight),
            grad.data_ptr(),
            x.data_ptr(),
            weight.data_ptr(),
            mean.data_ptr(),
            variance.data_ptr(),
            ctx.epsilon,
            grad_x.data_ptr(),
            grad_weight.data_ptr(),
            grad_bias.data_ptr(),
        )
        return None, grad_x, grad_weight, grad_bias, None


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, module: Any, x: Tensor, mask: tuple[int, int, int, float]) -> Tensor:
        ctx.module, ctx.mask = module, mask
        return _masked(module, x, mask)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        dropped: Tensor = _Dropout.apply(ctx.module, grad, ctx.mask)  # type: ignore[no-untyped-call]  # torch's
        return None, dropped, None  # linear, and the mask is drawn again


def _masked(module: Any, x: Tensor, mask: tuple[int, int, int, float]) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    module.dropout(x.numel(), x.data_ptr(), *mask, out.data_ptr())
    return out


def _check_once(op: str) -> None:
    """Raise where a gradient is to be differentiated again (``create_graph=True``): it would be silently wrong."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            f'{op}: the native kernel gives first derivatives only; use using_kernels("reference") for higher ones'
        )


def has_native_conv(weight: Tensor, pool: int) -> bool:
    """Say whether there is a native kernel for convolutions by ``weight`` (O, C, K, K) with windows so wide."""
    return pool == 2 and weight.shape[2] <= _WIDEST_NATIVE


def check_conv_relu_pool(x: Tensor, weight: Tensor, bias: Tensor, padding: str, pool: int) -> None:
    """Raise what ``conv_relu_pool`` does."""
    _check_tensors("conv_relu_pool", x=(x, 4), weight=(weight, 4), bias=(bias, 1))
    filters, channels, height, width = weight.shape
    if height != width or channels != x.shape[3] or bias.shape[0] != filters:
        raise ValueError(
            f"conv_relu_pool: x {_shape(x)}, weight {_shape(weight)} and bias {_shape(bias)} do not fit; "
            "they must be (N, H, W, C), (O, C, K, K) and (O,)"
        )
    if padding not in {"valid", "same"}:
        raise ValueError(f'conv_relu_pool: padding must be valid or same, got "{padding}"')
    lost = 0 if padding == "same" else width - 1
    if pool < 1 or min(x.shape[1:3]) - lost < pool or min(weight.shape) < 1:
        raise ValueError(
            f"conv_relu_pool: nothing is left of x {_shape(x)} after weight {_shape(weight)}, {padding}, pool {pool}"
        )


def check_batch_norm(x: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Raise what ``batch_norm`` does."""
    _check_tensors("batch_norm", x=(x, None), weight=(weight, 1), bias=(bias, 1))
    if x.dim() < 2 or x.numel() == 0 or not x.shape[-1] == weight.shape[0] == bias.shape[0]:
        raise ValueError(
            f"batch_norm: x {_shape(x)}, weight {_shape(weight)} and bias {_shape(bias)} do not fit; they must be "
            "(..., C) with at least one row, (C,) and (C,)"
        )


def check_dense(x: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Raise what ``dense`` does."""
    _check_tensors("dense", x=(x, 4), weight=(weight, 2), bias=(bias, 1))
    if weight.shape != (bias.shape[0], x.shape[1:].numel()) or weight.numel() == 0:
        raise ValueError(
            f"dense: x {_shape(x)}, weight {_shape(weight)} and bias {_shape(bias)} do not fit; they must be "
            "(N, H, W, C), (O, H * W * C) and (O,)"
        )


def _native_for(x: Tensor) -> Any:
    """Return the native module if it is in use and made for such a tensor."""
    return native() if x.dtype == torch.float32 and x.device.type == "cpu" else None


def _shape(x: Tensor) -> tuple[int, ...]:
    return tuple(x.shape)


def _check_tensors(op: str, **named: tuple[Tensor, int | None]) -> None:
    """Raise for a tensor that is sparse, no float, or of another type, device or number of axes than it must be."""
    first_name, (first, _) = next(iter(named.items()))
    for name, (tensor, axes) in named.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            kind = tensor.layout if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"{op}: {name} must be a dense tensor, got {kind}")
        if tensor.dtype not in _FLOATS:
            raise TypeError(f"{op}: {name} must be float32 or float64, got {tensor.dtype}")
        if tensor.dtype != first.dtype:
            raise TypeError(f"{op}: {name} is {tensor.dtype}, but {first_name} is {first.dtype}")
        if tensor.device != first.device:
            raise ValueError(f"{op}: {name} is on {tensor.device}, but {first_name} is on {first.device}")
        if axes is not None and tensor.dim() != axes:
            raise ValueError(f"{op}: {name} must have {axes} axes, got {_shape(tensor)}")
