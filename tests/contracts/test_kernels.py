"""What every kernel path owes its callers: the reference's meaning, at each instruction set of this processor."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from regulens.kernels import ops, reference
from regulens.kernels.paths import native_levels, using_kernels, why_not_native
from regulens.training.environment import pinned_torch

EPS = torch.finfo(torch.float32).eps
EPSILON = 1e-3
NAN, INF = float("nan"), float("inf")
COMPILED = ["baseline", "avx2", "avx512"] if platform.machine().lower() in {"x86_64", "amd64"} else ["baseline"]
LEVELS = native_levels()
PATHS = ["reference", *LEVELS]
on_every_path = pytest.mark.parametrize("path", PATHS)
on_every_level = pytest.mark.parametrize("path", LEVELS)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with pinned_torch():
        yield


def using(path: str) -> AbstractContextManager[None]:
    return using_kernels("reference") if path == "reference" else using_kernels("native", path)


def test_levels_that_this_processor_lacks_are_named(record_property: Callable[[str, object], None]) -> None:
    record_property("native levels tested", ", ".join(LEVELS) or "none")
    lacking = [level for level in COMPILED if level not in LEVELS]
    if lacking:
        reason = f" ({why_not_native})" if why_not_native else ""
        warnings.warn(f"compile-checked only: {', '.join(lacking)}{reason}", stacklevel=1)
    assert [level for level in COMPILED if level in LEVELS] == LEVELS  # known to this test, and the lowest first
    assert LEVELS or why_not_native


# ---- inputs -------------------------------------------------------------------------------------------------------


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def whole(*shape: int, most: int, seed: int = 0) -> Tensor:
    """Return whole numbers: their sums of products have no rounding, and many of them tie."""
    return torch.randint(-most, most + 1, shape, generator=torch.Generator().manual_seed(seed)).float()


def reversed_axes(values: Tensor) -> Tensor:
    axes = tuple(reversed(range(values.dim())))
    return values.permute(axes).contiguous().permute(axes)


def gaps(values: Tensor) -> Tensor:
    wide = torch.full([2 * size + 1 for size in values.shape], NAN)
    view = wide[tuple(slice(1, None, 2) for _ in values.shape)]
    return view.copy_(values)


def offset(values: Tensor) -> Tensor:
    room = torch.full((values.numel() + 6,), NAN)
    return room[3:-3].view(values.shape).copy_(values)


def repeated(values: Tensor) -> Tensor:
    return values[:1].expand(values.shape)


def constant(values: Tensor) -> Tensor:
    return values.flatten()[0].expand(values.shape)


Layout = Callable[[Tensor], Tensor]
KEEPING: list[Layout] = [Tensor.contiguous, reversed_axes, gaps, offset]  # ways to hold the same values in memory
LAYOUTS: list[Layout] = [*KEEPING, repeated, constant]  # and with a stride of 0, which makes values equal
layouts = st.sampled_from(LAYOUTS)
keeping_layouts = st.sampled_from(KEEPING)
seeds = st.integers(0, 10_000)


@dataclass(frozen=True)
class Sizes:
    """The sizes of a convolution block."""

    images: int
    height: int
    width: int
    channels: int
    filters: int
    kernel: int
    padding: str

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        return (
            (self.images, self.height, self.width, self.channels),
            (self.filters, self.channels, self.kernel, self.kernel),
            (self.filters,),
        )

    @property
    def pooled(self) -> tuple[int, ...]:
        lost = 0 if self.padding == "same" else self.kernel - 1
        return self.images, (self.height - lost) // 2, (self.width - lost) // 2, self.filters


@st.composite
def sizes(draw: st.DrawFn) -> Sizes:
    kernel, padding = draw(st.integers(1, 7)), draw(st.sampled_from(["valid", "same"]))
    least = 2 if padding == "same" else kernel + 1
    return Sizes(
        images=draw(st.integers(1, 3)),
        height=draw(st.integers(least, least + 8)),
        width=draw(st.integers(least, least + 8)),
        channels=draw(st.integers(1, 5) | st.sampled_from([8, 16, 17, 32, 70])),
        filters=draw(st.integers(1, 9) | st.sampled_from([15, 16, 17, 24, 31, 32, 33, 40])),
        kernel=kernel,
        padding=padding,
    )


# What the native code treats in ways of its own: one channel, rows of whole vectors, many channels, the usual blocks.
SPECIAL = [
    Sizes(2, 9, 8, 1, 32, 3, "valid"),
    Sizes(2, 8, 9, 1, 16, 3, "same"),
    Sizes(2, 8, 9, 1, 8, 3, "valid"),
    Sizes(2, 8, 9, 1, 33, 3, "same"),
    Sizes(2, 7, 8, 16, 16, 3, "valid"),
    Sizes(2, 8, 7, 32, 32, 3, "same"),
    Sizes(1, 11, 10, 70, 37, 5, "valid"),
    Sizes(1, 9, 9, 70, 3, 7, "same"),
    Sizes(1, 8, 8, 48, 5, 6, "same"),
    Sizes(3, 2, 2, 3, 5, 1, "valid"),
    Sizes(3, 2, 3, 3, 5, 7, "same"),
]


Gradients = list[Tensor]


def differentiate(op: Callable[..., Any], inputs: Sequence[Tensor], upstream: Tensor, *rest: Any) -> Gradients:
    """Return the op's result and its gradients by those inputs that want one."""
    result = op(*inputs, *rest)
    result = result[0] if isinstance(result, tuple) else result
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    return [result.detach(), *torch.autograd.grad(result, wanted, upstream)]


def wanting(inputs: Sequence[Tensor], wanted: Sequence[bool]) -> list[Tensor]:
    return [tensor.detach().requires_grad_(wants) for tensor, wants in zip(inputs, wanted, strict=True)]


def doubled(inputs: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().double().requires_grad_(tensor.requires_grad) for tensor in inputs]


some = st.tuples(st.booleans(), st.booleans(), st.booleans()).filter(any)


# ---- convolution, ReLU and pooling --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Magnitudes:
    """What rounding errors of a block are measured by: the sums of the absolute values of the terms."""

    out: Tensor
    by_input: Gradients
    decided: Tensor  # 1 where no rounding can change which value of the window is the largest, else 0


def rounding(terms: float) -> float:
    """Return the share of the terms' magnitude that rounding each partial sum amounts to, errors of either sign.

    Many equal terms, whose errors are all of one sign, may be further off: those are compared as whole numbers.
    """
    return EPS * (2 + terms**0.5)


def magnitudes(inputs: Sequence[Tensor], block: Sizes, upstream: Tensor) -> Magnitudes:
    _, rows, columns, _ = block.pooled
    x, weight, bias = (tensor.detach().double() for tensor in inputs)

    def maps(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=block.padding)

    sums = maps(x, weight, bias).requires_grad_()
    absolute = [tensor.abs().requires_grad_() for tensor in (x, weight, bias)]
    errors = maps(*absolute)
    windows = sums.detach()[..., : 2 * rows, : 2 * columns].unflatten(-1, (columns, 2)).unflatten(-3, (rows, 2))
    candidates = windows.movedim(-3, -2).flatten(-2)
    first, second = torch.cat([candidates, torch.zeros_like(candidates[..., :1])], -1).topk(2).values.unbind(-1)
    out = F.max_pool2d(errors, 2).detach()
    decided = first - second > 2 * rounding(block.channels * block.kernel**2 + 1) * out
    decided = decided.permute(0, 2, 3, 1)
    pooled = F.max_pool2d(F.relu(sums), 2).permute(0, 2, 3, 1)
    (at_maps,) = torch.autograd.grad(pooled, sums, upstream.double().abs())
    return Magnitudes(out.permute(0, 2, 3, 1), list(torch.autograd.grad(errors, absolute, at_maps)), decided.float())


def within(got: Tensor, expected: Tensor, allowed: Tensor) -> None:
    """Assert that each element is as near to the expected one as it is allowed to be."""
    assert got.shape == expected.shape
    excess = (got.double() - expected).abs() - allowed
    assert (excess <= 0).all(), f"{(excess > 0).sum()} of {excess.numel()} too far, by up to {excess.max()}"


def examples(test: Callable[..., None]) -> Callable[..., None]:
    """Add the special blocks, with all gradients and with those of the parameters alone, to what is drawn."""
    for block in SPECIAL:
        for wanted in ((True, True, True), (False, True, True)):
            plain = {"held": [Tensor.contiguous] * 3, "held_upstream": Tensor.contiguous}
            test = example(block=block, wanted=wanted, seed=1, **plain)(test)
    return test


class TestConvReluPool:
    @on_every_path
    @examples
    @given(
        block=sizes(),
        held=st.tuples(keeping_layouts, keeping_layouts, keeping_layouts),
        held_upstream=keeping_layouts,
        wanted=some,
        seed=seeds,
    )
    @settings(max_examples=50, deadline=None)
    def test_result_and_gradients_are_the_references_but_for_rounding(
        self,
        path: str,
        block: Sizes,
        held: Sequence[Layout],
        held_upstream: Layout,
        wanted: Sequence[bool],
        seed: int,
    ) -> None:
        drawn = [randn(*shape, seed=seed + i) for i, shape in enumerate(block.shapes)]
        inputs = wanting([hold(tensor) for hold, tensor in zip(held, drawn, strict=True)], wanted)
        upstream = randn(*block.pooled, seed=seed + 3)
        decided = magnitudes(inputs, block, upstream).decided
        upstream = held_upstream(upstream * decided)  # no gradient flows where rounding may choose where to
        sizes_of_terms = magnitudes(inputs, block, upstream)
        expected = differentiate(reference.conv_relu_pool, doubled(inputs), upstream.double(), block.padding, 2)
        with using(path):
            got = differentiate(ops.conv_relu_pool, inputs, upstream, block.padding)
        images, rows, columns, filters = block.pooled
        patch, places = block.channels * block.kernel**2, images * rows * columns
        within(got[0], expected[0], rounding(patch + 1) * sizes_of_terms.out)
        terms = [filters * block.kernel**2, places, places]
        allowed = [
            rounding(count) * magnitude
            for count, magnitude, wants in zip(terms, sizes_of_terms.by_input, wanted, strict=True)
            if wants
        ]
        for gradient, exact, bound in zip(got[1:], expected[1:], allowed, strict=True):
            assert gradient.dtype == torch.float32
            within(gradient, exact, bound)

    @on_every_path
    @examples
    @given(
        block=sizes(),
        held=st.tuples(layouts, layouts, layouts),
        held_upstream=layouts,
        wanted=some,
        seed=seeds,
    )
    @settings(max_examples=50, deadline=None)
    def test_whole_numbers_give_the_references_result_and_gradients_exactly(
        self,
        path: str,
        block: Sizes,
        held: Sequence[Layout],
        held_upstream: Layout,
        wanted: Sequence[bool],
        seed: int,
    ) -> None:
        drawn = [
            whole(*shape, most=most, seed=seed + most) for shape, most in zip(block.shapes, (3, 1, 2), strict=True)
        ]
        inputs = wanting([hold(tensor) for hold, tensor in zip(held, drawn, strict=True)], wanted)
        upstream = held_upstream(whole(*block.pooled, most=3, seed=seed + 3))
        expected = differentiate(reference.conv_relu_pool, doubled(inputs), upstream.double(), block.padding, 2)
        with using(path):
            got = differentiate(ops.conv_relu_pool, inputs, upstream, block.padding)
        for mine, exact in zip(got, expected, strict=True):
            assert torch.equal(mine.double(), exact)

    @on_every_path
    def test_the_first_of_equal_values_takes_the_gradient(self, path: str) -> None:
        x = torch.ones(1, 4, 4, 3, requires_grad=True)
        weight, bias = torch.ones(5, 3, 1, 1), torch.zeros(5)
        with using(path):
            (gradient,) = torch.autograd.grad(ops.conv_relu_pool(x, weight, bias).sum(), x)
        expected = torch.zeros(1, 4, 4, 3)
        expected[:, ::2, ::2] = 5
        assert torch.equal(gradient, expected)

    @on_every_path
    @pytest.mark.parametrize("padding", ["valid", "same"])
    @pytest.mark.parametrize("bias", [-0.5, 0.0])
    def test_windows_without_a_positive_value_are_zero_and_get_no_gradient(
        self, path: str, padding: str, bias: float
    ) -> None:
        x = randn(2, 7, 8, 3).abs().requires_grad_()
        weight = (-randn(18, 3, 3, 3).abs()).requires_grad_()
        biases = torch.full((18,), bias, requires_grad=True)
        with using(path):
            pooled = ops.conv_relu_pool(x, weight, biases, padding)
        assert torch.equal(pooled, torch.zeros_like(pooled))
        for gradient in torch.autograd.grad(pooled, (x, weight, biases), torch.ones_like(pooled)):
            assert torch.equal(gradient, torch.zeros_like(gradient))

    @on_every_level
    @pytest.mark.parametrize(
        "block", [Sizes(16, 28, 28, 1, 32, 3, "valid"), Sizes(16, 13, 13, 32, 48, 3, "same")], ids=["first", "second"]
    )
    def test_errors_are_of_the_order_of_the_float32_references(self, path: str, block: Sizes) -> None:
        inputs = wanting([randn(*shape, seed=i) for i, shape in enumerate(block.shapes)], [True] * 3)
        upstream = randn(*block.pooled, seed=3)
        decided = magnitudes(inputs, block, upstream).decided
        assert decided.mean() > 0.99
        upstream = upstream * decided
        exact = differentiate(reference.conv_relu_pool, doubled(inputs), upstream.double(), block.padding, 2)
        usual = differentiate(reference.conv_relu_pool, inputs, upstream, block.padding, 2)
        with using(path):
            got = differentiate(ops.conv_relu_pool, inputs, upstream, block.padding)
        for mine, theirs, truth in zip(got, usual, exact, strict=True):
            floor = EPS * rms(truth)  # a sum rounded once
            assert rms(mine - truth) < 4 * max(rms(theirs - truth), floor)

    @on_every_level
    @given(block=sizes(), seed=seeds)
    @settings(max_examples=20, deadline=None)
    def test_the_result_is_the_same_with_gradients_and_without(self, path: str, block: Sizes, seed: int) -> None:
        inputs = [randn(*shape, seed=seed + i) for i, shape in enumerate(block.shapes)]
        with using(path):
            plain = ops.conv_relu_pool(*inputs, block.padding)
            recorded = ops.conv_relu_pool(*wanting(inputs, [True] * 3), block.padding)
            with torch.no_grad():
                unrecorded = ops.conv_relu_pool(*wanting(inputs, [True] * 3), block.padding)
        assert torch.equal(recorded, plain)
        assert torch.equal(unrecorded, plain)
        assert recorded.requires_grad
        assert not unrecorded.requires_grad

    @on_every_level
    @given(block=sizes(), seed=seeds)
    @settings(max_examples=20, deadline=None)
    @example(block=Sizes(3, 8, 9, 1, 32, 3, "valid"), seed=0)
    @example(block=Sizes(3, 7, 7, 16, 17, 3, "same"), seed=0)
    def test_a_result_does_not_depend_on_its_place_in_the_batch(self, path: str, block: Sizes, seed: int) -> None:
        x, weight, bias = (randn(*shape, seed=seed + i) for i, shape in enumerate(block.shapes))
        others = torch.cat([randn(4, *x.shape[1:], seed=seed + 9), torch.full_like(x[:1], NAN)])
        upstream, upstream_of_others = (randn(count, *block.pooled[1:], seed=seed + 5) for count in (len(x), 5))
        with using(path):
            for i in range(len(x)):
                image, at_image = x[i : i + 1], upstream[i : i + 1]
                alone = differentiate(
                    ops.conv_relu_pool, wanting([image, weight, bias], [True, False, False]), at_image, block.padding
                )
                for place in range(6):
                    images = torch.cat([others[:place], image, others[place:]])
                    grads = torch.cat([upstream_of_others[:place], at_image, upstream_of_others[place:]])
                    among = differentiate(
                        ops.conv_relu_pool, wanting([images, weight, bias], [True, False, False]), grads, block.padding
                    )
                    assert torch.equal(among[0][place : place + 1], alone[0])
                    assert torch.equal(among[1][place : place + 1], alone[1])

    @on_every_path
    @given(
        block=sizes(),
        places=st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from([NAN, INF, -INF])), min_size=1, max_size=4),
        at=st.sampled_from([0, 0, 0, 1, 2]),
        seed=seeds,
    )
    @settings(max_examples=50, deadline=None)
    def test_nan_and_infinity_reach_the_result_as_in_torch(
        self, path: str, block: Sizes, places: list[tuple[int, float]], at: int, seed: int
    ) -> None:
        inputs = [randn(*shape, seed=seed + i) for i, shape in enumerate(block.shapes)]
        if block.padding == "same" and at == 1:
            at = 0  # whether a padding zero times a NaN counts differs between torch's own operators
        for place, value in places:
            inputs[at].view(-1)[place % inputs[at].numel()] = value
        expected = reference.conv_relu_pool(*doubled(inputs), block.padding, 2)
        magnitude = reference.conv_relu_pool(*(tensor.abs().double() for tensor in inputs), block.padding, 2)
        with using(path):
            plain = ops.conv_relu_pool(*inputs, block.padding)
            recorded = ops.conv_relu_pool(*wanting(inputs, [True] * 3), block.padding).detach()
        finite = expected.isfinite()
        for got in (plain, recorded):
            assert torch.equal(got[~finite].double().nan_to_num(1.5), expected[~finite].nan_to_num(1.5))
            allowed = rounding(block.channels * block.kernel**2 + 1) * magnitude
            within(got[finite], expected[finite], torch.where(magnitude.isfinite(), allowed, EPS * INF)[finite])

    @on_every_path
    @pytest.mark.parametrize("at", ["x", "weight", "bias"])
    def test_a_nan_reaches_the_loss(self, path: str, at: str) -> None:
        inputs = {"x": randn(2, 8, 8, 3), "weight": randn(17, 3, 3, 3), "bias": randn(17)}
        inputs[at].view(-1)[-1 if at != "x" else 77] = NAN
        with using(path):
            pooled = ops.conv_relu_pool(**inputs)
            loss = F.cross_entropy(pooled.flatten(1), torch.tensor([0, 1]))
        assert loss.isnan()
        assert not pooled.isnan().all()

    @on_every_path
    def test_no_images_give_no_result_and_zero_gradients(self, path: str) -> None:
        inputs = [tensor.requires_grad_() for tensor in (torch.empty(0, 6, 7, 2), randn(5, 2, 3, 3), randn(5))]
        with using(path):
            pooled = ops.conv_relu_pool(*inputs)
            gradients = torch.autograd.grad(pooled.sum(), inputs)
        assert pooled.shape == (0, 2, 2, 5)
        for tensor, gradient in zip(inputs, gradients, strict=True):
            assert torch.equal(gradient, torch.zeros_like(tensor))

    @on_every_level
    @pytest.mark.parametrize(
        ("dtype", "kernel", "pool"),
        [(torch.float64, 3, 2), (torch.float32, 3, 3), (torch.float32, 3, 1), (torch.float32, 8, 2)],
        ids=["float64", "pool 3", "pool 1", "kernel 8"],
    )
    def test_what_has_no_native_kernel_goes_to_the_reference(
        self, path: str, dtype: torch.dtype, kernel: int, pool: int
    ) -> None:
        inputs = [t.to(dtype).requires_grad_() for t in (randn(2, 13, 12, 3), randn(5, 3, kernel, kernel), randn(5))]
        for padding in ("valid", "same"):
            result = reference.conv_relu_pool(*inputs, padding, pool)
            upstream = torch.ones_like(result)
            expected = [result.detach(), *torch.autograd.grad(result, inputs, upstream)]
            with using(path):
                got = differentiate(ops.conv_relu_pool, inputs, upstream, padding, pool)
            for mine, theirs in zip(got, expected, strict=True):
                assert mine.dtype == dtype
                assert torch.equal(mine, theirs)

    @on_every_path
    def test_another_device_goes_to_the_reference(self, path: str) -> None:
        inputs = [tensor.to("meta") for tensor in (randn(2, 8, 8, 3), randn(5, 3, 3, 3), randn(5))]
        with using(path):
            pooled = ops.conv_relu_pool(*inputs)
        assert (pooled.shape, pooled.device.type) == ((2, 3, 3, 5), "meta")


def rms(x: Tensor) -> float:
    return x.double().square().mean().sqrt().item()


# ---- batch norm ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bounds:
    """How far float32 may be from the exact results where mean and variance are found in two passes."""

    mean: Tensor
    variance: Tensor
    out: Tensor
    by_input: Gradients

    @classmethod
    def of(cls, x: Tensor, weight: Tensor, bias: Tensor, upstream: Tensor) -> Bounds:
        x, weight, bias, upstream = (t.detach().double() for t in (x, weight, bias, upstream))
        shape = x.shape
        x, g = x.reshape(-1, shape[-1]), upstream.reshape(-1, shape[-1]).abs()
        share = rounding(min(len(x), 128)) + EPS * 2
        # The values are summed or their distances from the first; the rounded mean is subtracted from every one.
        mean = share * torch.maximum(x.abs().mean(0), (x - x[0]).abs().mean(0))
        d, variance = (x - x.mean(0)).abs(), x.var(0, correction=0)
        s, weight = (variance + EPSILON).rsqrt(), weight.abs()
        of_variance = share * variance + mean**2
        of_s = share + of_variance / (variance + EPSILON)  # relative
        d_and_error = d + mean
        mean_g, mean_gd = g.mean(0), (g * d_and_error).mean(0)
        by_x = (share + 4 * of_s) * (g + mean_g + d_and_error * s**2 * mean_gd)
        by_x = weight * s * (by_x + s**2 * mean * (mean_gd + d_and_error * mean_g))
        by_weight = len(x) * s * ((share + of_s) * mean_gd + mean * mean_g)
        out = weight * s * (mean + (share + of_s) * d_and_error) + share * bias.abs()
        return cls(mean, of_variance, out.view(shape), [by_x.view(shape), by_weight, share * g.sum(0)])


def check_batch_norm(path: str, inputs: Sequence[Tensor], upstream: Tensor) -> None:
    bounds = Bounds.of(*inputs, upstream)
    _, mean, variance = reference.batch_norm(*doubled(inputs), EPSILON)
    expected = differentiate(reference.batch_norm, doubled(inputs), upstream.double(), EPSILON)
    wanted = [tensor.requires_grad for tensor in inputs]
    with using(path):
        _, got_mean, got_variance = ops.batch_norm(*inputs, EPSILON)
        got = differentiate(ops.batch_norm, inputs, upstream, EPSILON)
    assert not got_mean.requires_grad
    assert not got_variance.requires_grad
    within(got_mean, mean, bounds.mean)
    within(got_variance, variance, bounds.variance)
    allowed = [bounds.out, *(bound for bound, wants in zip(bounds.by_input, wanted, strict=True) if wants)]
    for mine, exact, bound in zip(got, expected, allowed, strict=True):
        within(mine, exact, bound)


class TestBatchNorm:
    @on_every_path
    @given(
        rows=st.lists(st.integers(1, 7), min_size=1, max_size=3) | st.sampled_from([[1], [128], [129], [300]]),
        channels=st.integers(1, 9) | st.sampled_from([15, 16, 17, 31, 32, 33, 40]),
        offset_and_spread=st.sampled_from([(0, 1), (1000, 1), (-1000, 1), (3, 1e-3), (0, 100)]),
        held=st.tuples(keeping_layouts, layouts, layouts, keeping_layouts),
        wanted=some,
        seed=seeds,
    )
    @settings(max_examples=100, deadline=None)
    def test_result_and_gradients_are_the_references_but_for_rounding(
        self,
        path: str,
        rows: list[int],
        channels: int,
        offset_and_spread: tuple[float, float],
        held: Sequence[Layout],
        wanted: Sequence[bool],
        seed: int,
    ) -> None:
        shape, (middle, spread) = (*rows, channels), offset_and_spread
        drawn = [randn(*shape, seed=seed) * spread + middle, randn(channels, seed=seed + 1)]
        drawn += [randn(channels, seed=seed + 2), randn(*shape, seed=seed + 3)]
        *inputs, upstream = (hold(tensor) for hold, tensor in zip(held, drawn, strict=True))
        check_batch_norm(path, wanting(inputs, wanted), upstream)

    @on_every_path
    def test_one_row_is_normalised_to_the_shift_with_no_gradient(self, path: str) -> None:
        x, weight, bias = (randn(*shape, seed=i) for i, shape in enumerate([(1, 19), (19,), (19,)]))
        x = (x * 1000).requires_grad_()
        with using(path):
            out, mean, variance = ops.batch_norm(x, weight, bias, EPSILON)
            (gradient,) = torch.autograd.grad(out, x, torch.ones_like(x))
        assert torch.equal(out, bias[None])
        assert torch.equal(mean, x[0])
        assert torch.equal(variance, torch.zeros(19))
        assert gradient.abs().max() <= 4 * EPS * (weight.abs().max() / EPSILON**0.5)

    @on_every_level
    def test_a_large_mean_costs_no_more_than_two_passes_lose(self, path: str) -> None:
        x, weight, bias = randn(100, 13, 13, 19) + 1000, randn(19, seed=1), randn(19, seed=2)
        inputs, upstream = wanting([x, weight, bias], [True] * 3), randn(*x.shape, seed=3)
        check_batch_norm(path, inputs, upstream)
        exact, usual = [
            [*op(*tensors, EPSILON)[1:], *differentiate(op, tensors, upstream.to(tensors[0].dtype), EPSILON)]
            for op, tensors in ((reference.batch_norm, doubled(inputs)), (reference.batch_norm, inputs))
        ]
        with using(path):
            got = [*ops.batch_norm(*inputs, EPSILON)[1:], *differentiate(ops.batch_norm, inputs, upstream, EPSILON)]
        for mine, theirs, truth in zip(got, usual, exact, strict=True):
            assert rms(mine - truth) < 4 * max(rms(theirs - truth), EPS * rms(truth))
        one_pass = x.square().mean((0, 1, 2)) - x.mean((0, 1, 2)).square()
        assert rms(got[1] - exact[1]) < rms(one_pass - exact[1]) / 100

    @on_every_level
    @pytest.mark.parametrize("rows", [128, 1600])
    def test_constant_channels_are_as_constant_as_the_references(self, path: str, rows: int) -> None:
        x, weight, bias = (randn(64) + 1000).expand(rows, 64).contiguous(), torch.ones(64), torch.zeros(64)
        usual = reference.batch_norm(x, weight, bias, EPSILON)
        with using(path):
            got = ops.batch_norm(x, weight, bias, EPSILON)
        out, mean, variance = ((mine - truth).abs().max() for mine, truth in zip(got, (0, x[0], 0), strict=True))
        usual_out, usual_mean, _ = (
            (their - truth).abs().max() for their, truth in zip(usual, (0, x[0], 0), strict=True)
        )
        assert out < 8 * usual_out
        assert mean < 8 * usual_mean
        assert variance <= (1 + 4 * EPS) * mean**2  # what the rounded mean leaves, and nothing else

    @on_every_path
    def test_a_nan_stays_in_its_channel_and_reaches_the_loss(self, path: str) -> None:
        x = randn(40, 19)
        x[7, 3], x[8, 18] = NAN, INF
        with using(path):
            out, mean, variance = ops.batch_norm(x, torch.ones(19), torch.zeros(19), EPSILON)
        spoilt = torch.zeros(19, dtype=torch.bool)
        spoilt[[3, 18]] = True
        assert torch.equal(out.isnan().all(0), spoilt)
        assert torch.equal(out.isnan().any(0), spoilt)
        assert torch.equal(~mean.isfinite(), spoilt)
        assert torch.equal(~variance.isfinite(), spoilt)
        assert out.square().mean().isnan()

    @on_every_level
    def test_float64_goes_to_the_reference(self, path: str) -> None:
        inputs = wanting(doubled([randn(30, 5) + 7, randn(5, seed=1), randn(5, seed=2)]), [True] * 3)
        upstream = randn(30, 5, seed=3).double()
        expected = differentiate(reference.batch_norm, inputs, upstream, EPSILON)
        with using(path):
            got = differentiate(ops.batch_norm, inputs, upstream, EPSILON)
        for mine, theirs in zip(got, expected, strict=True):
            assert torch.equal(mine, theirs)


# ---- dropout ------------------------------------------------------------------------------------------------------

rates = st.sampled_from([0.0, 1e-9, 1 / 65536, 0.1, 0.5, 0.9999, 1 - 1 / 65536]) | st.floats(0, 0.9999)
keys = st.sampled_from([0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)
steps = st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**32 + 5, 2**62, -1]) | st.integers(0, 2**31 - 1)


def numbered(step: int) -> Tensor:
    return torch.tensor(step, dtype=torch.int64)


def kept(rate: float, count: int, key: int = 1, step: int = 0) -> Tensor:
    """Return which of the elements are kept, as 0 and 1."""
    return (ops.dropout(torch.ones(count), rate, key, numbered(step)) != 0).double()


def correlation(a: Tensor, b: Tensor) -> float:
    return torch.corrcoef(torch.stack([a, b]))[0, 1].item()


class TestDropout:
    @pytest.mark.parametrize(
        ("counter", "key", "expected"),
        [
            ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
            ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
            ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
        ],
    )
    def test_threefry_gives_the_known_answers_of_random123(
        self, counter: tuple[int, int], key: tuple[int, int], expected: tuple[int, int]
    ) -> None:
        words = torch.from_numpy(np.array(counter, np.uint32).view(np.int32).copy())
        first, second = reference.threefry(words[:1], words[1:], key[0] | key[1] << 32)
        assert (first.item() % 2**32, second.item() % 2**32) == expected

    @on_every_path
    def test_an_element_is_dropped_by_its_piece_of_its_block(self, path: str) -> None:
        pieces = {0: 0x0159, 16: 0x6B20, 32: 0x4EFE, 48: 0x99BA}  # of the known answer to counter and key zero
        with using(path):
            for element, piece in pieces.items():
                assert kept(piece / 65536, 64, key=0)[element] == 1
                assert kept((piece + 1) / 65536, 64, key=0)[element] == 0

    @on_every_level
    @given(size=st.integers(0, 300), rate=rates, key=keys, step=steps, hold=layouts, hold_upstream=layouts, seed=seeds)
    @settings(max_examples=100, deadline=None)
    def test_result_and_gradient_are_the_references_to_the_bit(
        self, path: str, size: int, rate: float, key: int, step: int, hold: Layout, hold_upstream: Layout, seed: int
    ) -> None:
        shape = (size,) if size % 3 or not size else (3, size // 3)
        hold, hold_upstream = (hold, hold_upstream) if size else (gaps, gaps)
        x = hold(randn(*shape, seed=seed)).detach().requires_grad_()
        upstream = hold_upstream(randn(*shape, seed=seed + 1))
        expected = differentiate(reference.dropout, [x], upstream, rate, key, numbered(step))
        with using(path):
            got = differentiate(ops.dropout, [x], upstream, rate, key, numbered(step))
        for mine, theirs in zip(got, expected, strict=True):
            assert torch.equal(mine, theirs)

    @on_every_path
    def test_masks_are_the_same_in_float64(self, path: str) -> None:
        x = randn(1000)
        with using(path):
            single, double = (ops.dropout(values, 0.3, 5, numbered(2)) for values in (x, x.double()))
        assert double.dtype == torch.float64
        assert torch.equal(single != 0, double != 0)
        assert torch.equal(double, reference.dropout(x.double(), 0.3, 5, numbered(2)))

    @on_every_path
    @pytest.mark.parametrize("rate", [0.25, 0.9])
    def test_the_gradient_passes_through_the_mask_of_its_forward_pass(self, path: str, rate: float) -> None:
        x, step = randn(7, 33).requires_grad_(), numbered(3)
        with using(path):
            out = ops.dropout(x, rate, 9, step)
            step += 1  # the layer has gone on when the gradient comes back
            (gradient,) = torch.autograd.grad(out, x, torch.ones_like(out))
            mask = ops.dropout(torch.ones(7, 33), rate, 9, numbered(3))
        assert torch.equal(gradient, mask)
        assert torch.equal(out, x * mask)

    @on_every_path
    @pytest.mark.parametrize("rate", [1e-3, 0.1, 0.5, 0.9, 0.999])
    def test_drops_its_share_and_keeps_the_expected_value(self, path: str, rate: float) -> None:
        count = 2**18
        with using(path):
            out = ops.dropout(torch.ones(count), rate, 123, numbered(0))
        dropped = (out == 0).sum().item()
        deviation = (rate * (1 - rate) * count) ** 0.5
        assert abs(dropped - round(rate * 65536) / 65536 * count) < 5 * deviation
        assert abs(out.double().sum().item() - count) < 5 * deviation / (1 - rate)

    @on_every_path
    def test_rates_next_to_zero_and_one_are_honoured(self, path: str) -> None:
        x = randn(2**18)
        with using(path):
            for rate in (0.0, 1e-9):
                assert torch.equal(ops.dropout(x, rate, 1, numbered(0)), x)
            almost_none, almost_all = (ops.dropout(x, rate, 1, numbered(0)) for rate in (2**-16, 1 - 2**-16))
        # 4 of 2^18 elements on average: 0, or more than 20, would come up once in 50, or in 10^8, keys
        assert 0 < (almost_none != x * (65536 / 65535)).sum() <= 20
        assert 0 < (almost_all != 0).sum() <= 20
        assert torch.equal(almost_all[almost_all != 0], x[almost_all != 0] * 65536)

    @on_every_path
    def test_masks_of_other_steps_and_keys_are_independent(self, path: str) -> None:
        count = 2**17
        with using(path):
            masks = [
                kept(0.5, count, key, step)
                for key, step in [(7, 0), (7, 1), (7, 2), (6, 0), (7 + 2**32, 0), (7 << 32, 0), (0, 7)]
            ]
        for i, first in enumerate(masks):
            for second in masks[:i]:
                assert abs(correlation(first, second)) < 5 / count**0.5

    @on_every_path
    def test_elements_of_a_mask_are_independent(self, path: str) -> None:
        with using(path):
            mask = kept(0.3, 2**18)
        for lag in (1, 4, 8, 15, 16, 32, 48, 64, 169):
            assert abs(correlation(mask[lag:], mask[:-lag])) < 5 / len(mask) ** 0.5, lag

    @on_every_path
    def test_nan_and_infinity_come_through_as_in_torch(self, path: str) -> None:
        x = randn(100)
        x[::3], x[1::3] = NAN, INF
        with using(path):
            out = ops.dropout(x, 0.5, 1, numbered(0))
        expected = reference.dropout(x, 0.5, 1, numbered(0))
        assert torch.equal(out.nan_to_num(1.5, 2.5), expected.nan_to_num(1.5, 2.5))
        assert out[::3].isnan().all()

    @on_every_path
    def test_another_device_goes_to_the_reference(self, path: str) -> None:
        with using(path):
            out = ops.dropout(randn(3, 5).to("meta"), 0.5, 1, numbered(0).to("meta"))
        assert (out.shape, out.device.type) == ((3, 5), "meta")


# ---- dense layer on maps ------------------------------------------------------------------------------------------

RECTIFIED = {"rectified": True}


def mostly_dead(*shape: int, live: int | None = None, seed: int = 0) -> Tensor:
    """Return maps of which ``live`` channels, by default a third, are not zero throughout; nothing is negative."""
    order = torch.randperm(shape[-1], generator=torch.Generator().manual_seed(seed))
    x = randn(*shape, seed=seed).clamp(min=0)
    x[..., order[(shape[-1] // 3 if live is None else live) :]] = 0
    return x


class TestDense:
    @on_every_path
    @pytest.mark.parametrize("live", [0, 1, 3, 9, 10, 18])
    @given(
        shape=st.tuples(*[st.integers(1, 5)] * 3), units=st.integers(1, 20), held=st.tuples(*[keeping_layouts] * 3),
        wanted=some, seed=seeds,
    )  # fmt: skip
    @settings(max_examples=15, deadline=None)
    def test_result_and_gradients_behind_a_relu_are_the_references(
        self,
        path: str,
        live: int,
        shape: tuple[int, int, int],
        units: int,
        held: Sequence[Layout],
        wanted: Sequence[bool],
        seed: int,
    ) -> None:
        x = mostly_dead(*shape, 18, live=live, seed=seed) - 1e-3  # what is dead behind the ReLU is negative before it
        inputs = [x, randn(units, x[0].numel(), seed=seed + 1), randn(units, seed=seed + 2)]
        inputs = wanting([hold(tensor) for hold, tensor in zip(held, inputs, strict=True)], wanted)
        upstream = randn(shape[0], units, seed=seed + 3)
        with using(path):
            got = differentiate(lambda x, *rest: ops.dense(F.relu(x), *rest, **RECTIFIED), inputs, upstream)
        exact = differentiate(lambda x, *rest: reference.dense(F.relu(x), *rest), doubled(inputs), upstream.double())
        terms = differentiate(
            lambda x, *rest: reference.dense(F.relu(x), *rest),
            wanting([x.clamp(min=0).double(), *(tensor.abs().double() for tensor in inputs[1:])], wanted),
            upstream.double().abs(),
        )
        for mine, theirs, magnitude in zip(got, exact, terms, strict=True):
            within(mine, theirs, rounding(x[0].numel() + units + shape[0]) * magnitude)

    @on_every_path
    def test_the_gradient_by_dead_channels_is_whole_where_no_relu_is_promised(self, path: str) -> None:
        inputs = wanting([mostly_dead(3, 2, 2, 18), randn(5, 72), randn(5)], [True] * 3)
        with using(path):
            got = differentiate(ops.dense, inputs, randn(3, 5, seed=4))
        expected = differentiate(reference.dense, doubled(inputs), randn(3, 5, seed=4).double())
        for mine, theirs in zip(got, expected, strict=True):
            torch.testing.assert_close(mine.double(), theirs, rtol=1e-4, atol=1e-5)
        assert (got[1] != 0).all()

    @on_every_level
    @pytest.mark.parametrize(("live", "columns"), [(0, 0), (6, 24), (9, 36), (10, 72), (18, 72)])
    def test_half_the_columns_or_fewer_are_multiplied_alone(
        self, path: str, live: int, columns: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        multiplied = []
        linear = F.linear
        monkeypatch.setattr(F, "linear", lambda x, *rest: multiplied.append(x.shape) or linear(x, *rest))
        with using(path):
            ops.dense(mostly_dead(40, 2, 2, 18, live=live), randn(5, 72), randn(5))
        assert multiplied == [(40, columns)]

    @on_every_path
    @pytest.mark.parametrize("bad", [NAN, INF, -INF])
    def test_weights_that_are_not_finite_meet_zeros_as_well(self, path: str, bad: float) -> None:
        x, weight, bias = mostly_dead(3, 2, 2, 18, live=1), randn(5, 72), randn(5)
        dead = int((x[0, 0, 0] == 0).nonzero()[0])
        weight[2, dead] = bad
        with using(path):
            out = ops.dense(x, weight, bias, rectified=True)
        assert out[:, 2].isnan().all()
        assert out[:, [0, 1, 3, 4]].isfinite().all()

    @on_every_path
    def test_no_images_give_no_result_and_zero_gradients(self, path: str) -> None:
        inputs = [tensor.requires_grad_() for tensor in (torch.empty(0, 2, 2, 6), randn(5, 24), randn(5))]
        with using(path):
            out = ops.dense(*inputs, rectified=True)
            gradients = torch.autograd.grad(out.sum(), inputs)
        assert out.shape == (0, 5)
        for tensor, gradient in zip(inputs, gradients, strict=True):
            assert torch.equal(gradient, torch.zeros_like(tensor))

    @on_every_path
    def test_another_type_or_device_goes_to_the_reference(self, path: str) -> None:
        inputs = [mostly_dead(3, 2, 2, 18), randn(5, 72), randn(5)]
        with using(path):
            assert torch.equal(ops.dense(*doubled(inputs)), reference.dense(*doubled(inputs)))
            assert ops.dense(*(tensor.to("meta") for tensor in inputs)).shape == (3, 5)


# ---- all of them --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Op:
    """An operation with inputs it can do."""

    name: str
    inputs: dict[str, Tensor]
    rest: tuple[Any, ...] = ()
    of_ops_alone: dict[str, Any] = field(default_factory=dict)

    def __call__(self, *inputs: Tensor, module: Any = ops) -> Tensor:
        more = self.of_ops_alone if module is ops else {}
        result = getattr(module, self.name)(*inputs, *self.rest, **more)
        return result[0] if isinstance(result, tuple) else result


OPS = [
    Op("conv_relu_pool", {"x": randn(2, 7, 8, 3), "weight": randn(18, 3, 3, 3), "bias": randn(18)}, ("same", 2)),
    Op("batch_norm", {"x": randn(9, 18), "weight": randn(18, seed=1), "bias": randn(18, seed=2)}, (EPSILON,)),
    Op("dropout", {"x": randn(9, 18)}, (0.3, 5, numbered(1))),
    Op("dense", {"x": mostly_dead(3, 2, 4, 18), "weight": randn(7, 144), "bias": randn(7)}, of_ops_alone=RECTIFIED),
]
of_every_op = pytest.mark.parametrize("op", OPS, ids=[op.name for op in OPS])


class TestEveryOperation:
    @of_every_op
    def test_the_references_gradient_is_that_of_finite_differences(self, op: Op) -> None:
        inputs = wanting([tensor.double() for tensor in op.inputs.values()], [True] * len(op.inputs))
        assert torch.autograd.gradcheck(lambda *tensors: op(*tensors, module=reference), inputs)

    @of_every_op
    @on_every_level
    def test_native_kernels_do_it_where_they_can(self, path: str, op: Op, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> Tensor:
            raise AssertionError("the reference was asked")

        monkeypatch.setattr(reference, op.name, refuse)
        with using(path):
            out = op(*wanting(list(op.inputs.values()), [True] * len(op.inputs)))
        out.sum().backward()
        with pytest.raises(AssertionError, match="the reference was asked"), using("reference"):
            op(*op.inputs.values())

    @of_every_op
    @on_every_level
    def test_strides_change_no_bit(self, path: str, op: Op) -> None:
        with using(path):
            shape = op(*op.inputs.values()).shape
            for turn in range(len(LAYOUTS)):
                holds = [LAYOUTS[(turn + i) % len(LAYOUTS)] for i in range(4)]
                held = [hold(tensor) for hold, tensor in zip(holds, op.inputs.values(), strict=False)]
                upstream = holds[3](randn(*shape, seed=4))
                got = differentiate(op, wanting(held, [True] * len(held)), upstream)
                copies = [tensor.detach().clone(memory_format=torch.contiguous_format) for tensor in (*held, upstream)]
                expected = differentiate(op, wanting(copies[:-1], [True] * len(held)), copies[-1])
                for mine, theirs in zip(got, expected, strict=True):
                    assert torch.equal(mine, theirs)

    @of_every_op
    @on_every_path
    def test_the_callers_tensors_are_left_unchanged(self, path: str, op: Op) -> None:
        for hold in KEEPING:
            inputs = [hold(tensor).detach().requires_grad_() for tensor in op.inputs.values()]
            with using(path):
                out = op(*inputs)
                upstream = hold(randn(*out.shape, seed=4))
                before = out.detach().clone()
                torch.autograd.grad(out, inputs, upstream)
            for tensor, original in zip(inputs, op.inputs.values(), strict=True):
                assert torch.equal(tensor, original)
            assert torch.equal(upstream, randn(*out.shape, seed=4))
            assert torch.equal(out, before)

    @of_every_op
    @on_every_path
    def test_the_result_shares_no_memory_with_the_input(self, path: str, op: Op) -> None:
        inputs = [tensor.clone() for tensor in op.inputs.values()]
        with using(path):
            op(*inputs).fill_(7)
        for tensor, original in zip(inputs, op.inputs.values(), strict=True):
            assert torch.equal(tensor, original)

    @of_every_op
    @pytest.mark.parametrize("backward", PATHS)
    @pytest.mark.parametrize("forward", PATHS)
    def test_kernels_may_change_between_forward_and_backward(self, forward: str, backward: str, op: Op) -> None:
        inputs = wanting(list(op.inputs.values()), [True] * len(op.inputs))
        with using(forward):
            out = op(*inputs)
            upstream = whole(*out.shape, most=2, seed=6)
            stayed = torch.autograd.grad(out, inputs, upstream, retain_graph=True)
        with using(backward):
            switched = torch.autograd.grad(out, inputs, upstream)
        for mine, theirs in zip(switched, stayed, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("op", OPS[:2], ids=[op.name for op in OPS[:2]])
    @on_every_level
    def test_a_gradient_that_is_to_be_differentiated_is_refused(self, path: str, op: Op) -> None:
        inputs = wanting(list(op.inputs.values()), [True] * len(op.inputs))
        with using(path):
            out = op(*inputs)
            with pytest.raises(RuntimeError, match=f"{op.name}: the native kernel gives first derivatives only"):
                torch.autograd.grad(out.square().sum(), inputs[0], create_graph=True)

    @on_every_path
    def test_dropout_is_differentiable_twice(self, path: str) -> None:
        x = randn(50, seed=3).requires_grad_()
        with using(path):
            out = ops.dropout(x, 0.3, 5, torch.tensor(1))
            (first,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
            (second,) = torch.autograd.grad(first.sum(), x)
        scale = (out.detach() != 0) * reference.dropout_threshold(0.3)[1]
        torch.testing.assert_close(second, 2 * scale.square())

    @pytest.mark.parametrize("op", OPS[:2], ids=[op.name for op in OPS[:2]])
    @on_every_level
    def test_a_penalty_on_the_gradient_is_not_silently_left_out(self, path: str, op: Op) -> None:
        inputs = wanting(list(op.inputs.values()), [True] * len(op.inputs))
        scale = randn(*op(*inputs).shape, seed=8)  # a gradient from above that wants none itself

        def penalised() -> Gradients:
            out = op(*inputs)
            first = torch.autograd.grad((out * scale).sum(), inputs[0], create_graph=True)[0]
            return list(torch.autograd.grad((out * scale).sum() + first.square().sum(), inputs))

        with using("reference"):
            expected = penalised()
        with using(path):
            try:
                got = penalised()
            except RuntimeError:
                return  # refused is well; the wrong number is not
        for mine, theirs in zip(got, expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("op", OPS[:2], ids=[op.name for op in OPS[:2]])
    @on_every_path
    def test_weights_changed_before_the_backward_pass_are_noticed(self, path: str, op: Op) -> None:
        inputs = wanting(list(op.inputs.values()), [True] * 3)
        with using(path):
            out = op(*inputs)
            with torch.no_grad():
                inputs[1].mul_(2)
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                out.sum().backward()


def conv(**changed: Any) -> Callable[[], object]:
    sound = {"x": randn(2, 8, 8, 3), "weight": randn(5, 3, 3, 3), "bias": randn(5)}
    return lambda: ops.conv_relu_pool(**(sound | changed))


def norm(**changed: Any) -> Callable[[], object]:
    sound = {"x": randn(6, 5), "weight": randn(5), "bias": randn(5), "epsilon": EPSILON}
    return lambda: ops.batch_norm(**(sound | changed))


def drop(**changed: Any) -> Callable[[], object]:
    return lambda: ops.dropout(**({"x": randn(6, 5), "rate": 0.5, "key": 1, "step": numbered(0)} | changed))


def full(**changed: Any) -> Callable[[], object]:
    sound = {"x": randn(2, 3, 2, 4), "weight": randn(5, 24), "bias": randn(5)}
    return lambda: ops.dense(**(sound | changed))


X, WEIGHT, BIAS = randn(2, 8, 8, 3), randn(5, 3, 3, 3), randn(5)
REFUSED: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "conv: whole numbers": (conv(x=X.int()), TypeError, "conv_relu_pool: x "),
    "conv: bytes": (conv(x=X.byte()), TypeError, "conv_relu_pool: x "),
    "conv: half": (conv(x=X.half()), TypeError, "conv_relu_pool: x "),
    "conv: bfloat16": (conv(x=X.bfloat16()), TypeError, "conv_relu_pool: x "),
    "conv: complex": (conv(x=X.to(torch.complex64)), TypeError, "conv_relu_pool: x "),
    "conv: x of float64 alone": (conv(x=X.double()), TypeError, "conv_relu_pool: weight "),
    "conv: weight of another type": (conv(weight=WEIGHT.double()), TypeError, "conv_relu_pool: weight "),
    "conv: bias of another type": (conv(bias=BIAS.double()), TypeError, "conv_relu_pool: bias "),
    "conv: weight of half": (conv(weight=WEIGHT.half()), TypeError, "conv_relu_pool: weight "),
    "conv: sparse x": (conv(x=X.to_sparse()), TypeError, "conv_relu_pool: x "),
    "conv: sparse weight": (conv(weight=WEIGHT.to_sparse()), TypeError, "conv_relu_pool: weight "),
    "conv: sparse bias": (conv(bias=BIAS.to_sparse()), TypeError, "conv_relu_pool: bias "),
    "conv: an array": (conv(x=X.numpy()), TypeError, "conv_relu_pool: x "),
    "conv: no bias": (conv(bias=None), TypeError, "conv_relu_pool: bias "),
    "conv: x on another device": (conv(x=X.to("meta")), ValueError, "conv_relu_pool: weight .*meta"),
    "conv: weight on another device": (conv(weight=WEIGHT.to("meta")), ValueError, "conv_relu_pool: weight .*meta"),
    "conv: bias on another device": (conv(bias=BIAS.to("meta")), ValueError, "conv_relu_pool: bias .*meta"),
    "conv: one image without a batch": (conv(x=X[0]), ValueError, "conv_relu_pool: x must have 4 axes"),
    "conv: flat weight": (conv(weight=WEIGHT.flatten(1)), ValueError, "conv_relu_pool: weight must have 4 axes"),
    "conv: bias with two axes": (conv(bias=BIAS[None]), ValueError, "conv_relu_pool: bias must have 1 axes"),
    "conv: other channels": (conv(x=X[..., :2]), ValueError, r"conv_relu_pool: x .*weight .*do not fit"),
    "conv: one channel": (conv(x=X[..., :1]), ValueError, r"conv_relu_pool: x .*weight .*do not fit"),
    "conv: not square": (conv(weight=WEIGHT[..., :2]), ValueError, r"conv_relu_pool: .*weight .*do not fit"),
    "conv: too few biases": (conv(bias=BIAS[:4]), ValueError, r"conv_relu_pool: .*bias .*do not fit"),
    "conv: one bias": (conv(bias=BIAS[:1]), ValueError, r"conv_relu_pool: .*bias .*do not fit"),
    "conv: an unknown padding": (conv(padding="full"), ValueError, "conv_relu_pool: padding .*full"),
    "conv: a padding in capitals": (conv(padding="SAME"), ValueError, "conv_relu_pool: padding .*SAME"),
    "conv: a padding in numbers": (conv(padding=1), ValueError, "conv_relu_pool: padding .*1"),
    "conv: kernel larger than the image": (conv(x=X[:, :2]), ValueError, "conv_relu_pool: .* x .*weight"),
    "conv: one row left to pool": (conv(x=X[:, :3]), ValueError, "conv_relu_pool: .* x .*weight"),
    "conv: one column left to pool": (conv(x=X[:, :, :3]), ValueError, "conv_relu_pool: .* x .*weight"),
    "conv: one row, same": (conv(x=X[:, :1], padding="same"), ValueError, "conv_relu_pool: .* x .*weight"),
    "conv: a pool of 0": (conv(pool=0), ValueError, "conv_relu_pool: .*pool 0"),
    "conv: a pool larger than the maps": (conv(pool=7), ValueError, "conv_relu_pool: .*pool 7"),
    "conv: no filters": (conv(weight=WEIGHT[:0], bias=BIAS[:0]), ValueError, "conv_relu_pool: .*weight"),
    "conv: no channels": (conv(x=X[..., :0], weight=WEIGHT[:, :0]), ValueError, "conv_relu_pool: .*weight"),
    "conv: no kernel": (conv(weight=WEIGHT[..., :0, :0]), ValueError, "conv_relu_pool: .*weight"),
    "norm: whole numbers": (norm(x=randn(6, 5).int()), TypeError, "batch_norm: x "),
    "norm: half": (norm(x=randn(6, 5).half()), TypeError, "batch_norm: x "),
    "norm: weight of another type": (norm(weight=BIAS.double()), TypeError, "batch_norm: weight "),
    "norm: bias of another type": (norm(bias=BIAS.half()), TypeError, "batch_norm: bias "),
    "norm: sparse": (norm(x=randn(6, 5).to_sparse()), TypeError, "batch_norm: x "),
    "norm: no weight": (norm(weight=None), TypeError, "batch_norm: weight "),
    "norm: another device": (norm(bias=BIAS.to("meta")), ValueError, "batch_norm: bias .*meta"),
    "norm: one axis": (norm(x=randn(5)), ValueError, "batch_norm: x "),
    "norm: no rows": (norm(x=randn(0, 5)), ValueError, "batch_norm: x .*at least one row"),
    "norm: no channels": (norm(x=randn(6, 0), weight=BIAS[:0], bias=BIAS[:0]), ValueError, "batch_norm: x "),
    "norm: too few weights": (norm(weight=BIAS[:4]), ValueError, "batch_norm: .*weight .*do not fit"),
    "norm: one weight": (norm(weight=BIAS[:1]), ValueError, "batch_norm: .*weight .*do not fit"),
    "norm: too few biases": (norm(bias=BIAS[:4]), ValueError, "batch_norm: .*bias .*do not fit"),
    "norm: weight with two axes": (norm(weight=BIAS[None]), ValueError, "batch_norm: weight must have 1 axes"),
    "dense: whole numbers": (full(x=randn(2, 3, 2, 4).int()), TypeError, "dense: x "),
    "dense: half": (full(x=randn(2, 3, 2, 4).half()), TypeError, "dense: x "),
    "dense: weight of another type": (full(weight=randn(5, 24).double()), TypeError, "dense: weight "),
    "dense: sparse weight": (full(weight=randn(5, 24).to_sparse()), TypeError, "dense: weight "),
    "dense: no bias": (full(bias=None), TypeError, "dense: bias "),
    "dense: another device": (full(weight=randn(5, 24).to("meta")), ValueError, "dense: weight .*meta"),
    "dense: rows": (full(x=randn(2, 24)), ValueError, "dense: x must have 4 axes"),
    "dense: too few columns": (full(weight=randn(5, 23)), ValueError, "dense: x .*weight .*do not fit"),
    "dense: too few biases": (full(bias=BIAS[:4]), ValueError, "dense: .*bias .*do not fit"),
    "dense: no units": (full(weight=randn(0, 24), bias=BIAS[:0]), ValueError, "dense: .*weight .*do not fit"),
    "dense: no channels": (full(x=randn(2, 3, 2, 0), weight=randn(5, 0)), ValueError, "dense: .*weight .*do not fit"),
    "drop: whole numbers": (drop(x=randn(6, 5).int()), TypeError, "dropout: x "),
    "drop: half": (drop(x=randn(6, 5).half()), TypeError, "dropout: x "),
    "drop: sparse": (drop(x=randn(6, 5).to_sparse()), TypeError, "dropout: x "),
    "drop: an array": (drop(x=randn(6, 5).numpy()), TypeError, "dropout: x "),
    "drop: a negative rate": (drop(rate=-0.1), ValueError, "dropout: rate .*-0.1"),
    "drop: a rate below zero by a hair": (drop(rate=-1e-9), ValueError, "dropout: rate .*-1e-09"),
    "drop: a rate of 1": (drop(rate=1.0), ValueError, "dropout: rate .*1"),
    "drop: a rate above 1": (drop(rate=1.5), ValueError, "dropout: rate .*1.5"),
    "drop: a rate of nan": (drop(rate=NAN), ValueError, "dropout: rate .*nan"),
    "drop: an infinite rate": (drop(rate=INF), ValueError, "dropout: rate .*inf"),
    "drop: a negative key": (drop(key=-1), ValueError, "dropout: key .*-1"),
    "drop: a key of 65 bits": (drop(key=2**64), ValueError, "dropout: key .*18446744073709551616"),
    "drop: a step of int32": (drop(step=numbered(0).int()), TypeError, "dropout: step .*int32"),
    "drop: a step of float32": (drop(step=torch.tensor(0.0)), TypeError, "dropout: step .*float32"),
    "drop: a step that is no tensor": (drop(step=3), TypeError, "dropout: step .*int"),
    "drop: steps": (drop(step=torch.zeros(3, dtype=torch.int64)), ValueError, "dropout: step .*3"),
    "drop: a step on another device": (drop(step=numbered(0).to("meta")), ValueError, "dropout: step .*meta"),
}


class TestRefused:
    @on_every_path
    @pytest.mark.parametrize(("call", "error", "message"), REFUSED.values(), ids=REFUSED)
    def test_what_an_operation_cannot_take_is_refused_by_its_name(
        self, path: str, call: Callable[[], object], error: type[Exception], message: str
    ) -> None:
        with using(path), pytest.raises(error, match=f"^{message}"):
            call()

    @on_every_path
    @pytest.mark.parametrize("sound", [conv(), norm(), drop(), full()], ids=["conv", "norm", "drop", "dense"])
    def test_the_rest_of_these_arguments_is_sound(self, path: str, sound: Callable[[], Any]) -> None:
        with using(path):
            result = sound()
        assert (result[0] if isinstance(result, tuple) else result).isfinite().all()


class TestCrossEntropy:
    @given(rows=st.integers(1, 40), classes=st.integers(1, 12), spread=st.floats(0.01, 80), seed=st.integers(0, 999))
    @settings(max_examples=60, deadline=None)
    def test_loss_hits_and_gradient_are_the_references(self, rows: int, classes: int, spread: float, seed: int) -> None:
        logits = (randn(rows, classes, seed=seed) * spread).requires_grad_()
        labels = torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(seed))
        exact = logits.detach().double().requires_grad_()
        loss, hits = ops.cross_entropy(logits, labels)
        expected, expected_hits = reference.cross_entropy(exact, labels)
        torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=1e-7)
        assert hits == expected_hits
        (3 * loss).backward()
        (3 * expected).backward()
        torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=2e-6, atol=1e-7)

    @pytest.mark.parametrize("path", ["native", "reference"])
    def test_the_first_of_equal_logits_is_the_top(self, path: str) -> None:
        with using_kernels(path):
            _, hits = ops.cross_entropy(torch.zeros(3, 4), torch.tensor([0, 1, 0]))
        assert hits == 2

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    @pytest.mark.parametrize("at", [0, 2])
    def test_what_is_not_finite_reaches_the_loss_as_in_torch(self, bad: float, at: int) -> None:
        logits = torch.tensor([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]])
        logits[1, at] = bad
        for label in range(3):
            labels = torch.tensor([2, label])
            loss, hits = ops.cross_entropy(logits, labels)
            expected, expected_hits = reference.cross_entropy(logits, labels)
            assert torch.equal(loss.isnan(), expected.isnan())
            assert hits == expected_hits

    def test_what_does_not_fit_is_named(self) -> None:
        logits = torch.zeros(2, 3)
        with pytest.raises(TypeError, match=r"cross_entropy: labels must be an int64 tensor, got torch\.int32"):
            ops.cross_entropy(logits, torch.zeros(2, dtype=torch.int32))
        with pytest.raises(ValueError, match=r"cross_entropy: logits .* and labels .* do not fit"):
            ops.cross_entropy(logits, torch.zeros(3, dtype=torch.int64))
        for label in (3, -1):
            with pytest.raises(IndexError, match=f"cross_entropy: label {label} is not in \\[0, 3\\)"):
                ops.cross_entropy(logits, torch.tensor([0, label]))


class TestGather:
    @given(n=st.integers(1, 9), shape=st.tuples(st.integers(1, 9), st.integers(1, 9)), scale=st.floats(1e-3, 10))
    @settings(max_examples=40, deadline=None)
    def test_batches_are_the_references_bit_for_bit(self, n: int, shape: tuple[int, int], scale: float) -> None:
        generator = torch.Generator().manual_seed(n)
        images = torch.randint(256, (n, *shape, 1), dtype=torch.uint8, generator=generator)
        chosen = torch.randint(n, (7,), generator=generator)
        buffers = torch.full((2, 7, *shape, 1), float("nan"))
        ops.gather(images, chosen, scale, out=buffers[0])
        reference.gather(images, chosen, scale, out=buffers[1])
        assert torch.equal(buffers[0], buffers[1])

    def test_what_does_not_fit_is_named(self) -> None:
        images, out = torch.zeros(4, 2, 2, 1, dtype=torch.uint8), torch.zeros(3, 2, 2, 1)
        for index in (4, -1):
            with pytest.raises(IndexError, match=f"gather: index {index} is not in \\[0, 4\\)"):
                ops.gather(images, torch.tensor([0, 1, index]), 1.0, out)
        with pytest.raises(ValueError, match=r"gather: images .* do not fit"):
            ops.gather(images, torch.tensor([0, 1]), 1.0, out)
        with pytest.raises(ValueError, match="must be contiguous"):
            ops.gather(images, torch.tensor([0, 1, 2]), 1.0, torch.zeros(3, 2, 2, 2)[..., :1])
        with pytest.raises(TypeError, match="must be uint8, int64 and float32"):
            ops.gather(images.float(), torch.tensor([0, 1, 2]), 1.0, out)
