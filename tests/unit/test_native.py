"""The native module by itself, in buffers of exactly its sizes: what an address sanitizer watches (.ci/sanitize).

Needs numpy alone. REGULENS_NATIVE_MODULE names a module file to test instead of the installed one.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[np.float64]
Buffer = NDArray[np.float32]
EPS = float(np.finfo(np.float32).eps)
EPSILON = 1e-3
COMPILED = ["baseline", "avx2", "avx512"] if platform.machine().lower() in {"x86_64", "amd64"} else ["baseline"]


def load() -> ModuleType:
    path = os.environ.get("REGULENS_NATIVE_MODULE")
    if not path:
        return importlib.import_module("regulens.kernels._native")
    spec = importlib.util.spec_from_file_location("_native", Path(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


try:
    native = load()
except ImportError as error:
    if os.environ.get("REGULENS_NATIVE_MODULE"):
        raise
    warnings.warn(f"the native kernels are not tested: {error}", stacklevel=1)
    pytest.skip(f"no native kernels: {error}", allow_module_level=True)

LEVELS: list[str] = native.levels()


@pytest.fixture(params=LEVELS)
def _level(request: pytest.FixtureRequest) -> Iterator[None]:
    before = native.isa()
    native.use(request.param)
    assert native.isa() == request.param
    yield
    native.use(before)


at_every_level = pytest.mark.usefixtures("_level")


def buffer(values: Array | Buffer | tuple[int, ...]) -> Buffer:
    """Return a copy, or NaNs of a shape, in memory that ends with the last value and is aligned to a float only."""
    shape = values if isinstance(values, tuple) else values.shape
    room = np.empty(int(np.prod(shape)) + 1, np.float32)
    view = room[1:].reshape(shape)
    view[...] = np.nan if isinstance(values, tuple) else values
    return view


def at(array: np.ndarray | None) -> int:
    return 0 if array is None else array.ctypes.data


def within(got: np.ndarray, expected: Array, allowed: Array | float) -> None:
    """Assert that each element is as near to the expected one as it is allowed to be."""
    assert got.shape == expected.shape
    excess = np.abs(got.astype(np.float64) - expected) - allowed
    assert (excess <= 0).all(), f"{(excess > 0).sum()} of {excess.size} too far, by up to {excess.max()}"


def rounding(terms: float) -> float:
    """Return the share of the terms' magnitude that rounding each partial sum amounts to, errors of either sign."""
    return EPS * (2 + terms**0.5)


# ---- convolution, ReLU and pooling --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    n: int
    h: int
    w: int
    c: int
    o: int
    k: int
    same: bool

    @property
    def block(self) -> object:
        return native.Block(self.n, self.h, self.w, self.c, self.o, self.k, self.same)

    @property
    def pooled(self) -> tuple[int, int]:
        lost = 0 if self.same else self.k - 1
        return (self.h - lost) // 2, (self.w - lost) // 2

    def padded(self, x: Array) -> Array:
        before, after = (self.k - 1) // 2, self.k // 2
        return np.pad(x, ((0, 0), (before, after), (before, after), (0, 0))) if self.same else x

    def unpadded(self, x: Array) -> Array:
        before = (self.k - 1) // 2 if self.same else 0
        return x[:, before : before + self.h, before : before + self.w]

    def candidates(self, x: Array, weight: Array, bias: Array) -> Array:
        """Return the four values of each pooling window, row by row: (N, PH, PW, O, 4)."""
        padded, (ph, pw) = self.padded(x), self.pooled
        maps = np.zeros((self.n, 2 * ph, 2 * pw, self.o)) + bias
        for ky in range(self.k):
            for kx in range(self.k):
                maps += padded[:, ky : ky + 2 * ph, kx : kx + 2 * pw] @ weight[:, :, ky, kx].T
        return np.stack([maps[:, y::2, x::2] for y in (0, 1) for x in (0, 1)], -1)

    def gradients(self, x: Array, weight: Array, winner: np.ndarray, grad: Array) -> tuple[Array, Array, Array]:
        """Return the gradients by x, weight and bias, window by window."""
        padded = self.padded(x)
        by_x, by_weight, by_bias = np.zeros_like(padded), np.zeros_like(weight), np.zeros(self.o)
        for n, py, px, o in zip(*np.nonzero(winner < 4), strict=True):
            g, won = grad[n, py, px, o], winner[n, py, px, o]
            y, z = 2 * py + won // 2, 2 * px + won % 2
            patch = (n, slice(y, y + self.k), slice(z, z + self.k))
            by_bias[o] += g
            by_weight[o] += g * padded[patch].transpose(2, 0, 1)
            by_x[patch] += g * weight[o].transpose(1, 2, 0)
        return self.unpadded(by_x), by_weight, by_bias


def drawn(seed: int, count: int) -> list[Sizes]:
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        k, same = int(rng.integers(1, 8)), bool(rng.integers(2))
        h, w = (int(rng.integers(0, 7)) + (2 if same else k + 1) for _ in range(2))
        c = int(rng.choice([1, 2, 3, 4, 5, 8, 16, 17, 32, 70]))
        o = int(rng.choice([1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33]))
        found.append(Sizes(int(rng.integers(1, 4)), h, w, c, o, k, same))
    return found


# What the code treats in ways of its own: one channel, rows of whole vectors, the smallest images, no images.
SIZES = [
    Sizes(2, 9, 8, 1, 16, 3, same=False),
    Sizes(2, 8, 9, 1, 32, 3, same=True),
    Sizes(2, 8, 9, 1, 8, 3, same=False),
    Sizes(2, 7, 8, 16, 16, 3, same=False),
    Sizes(1, 8, 7, 32, 33, 3, same=True),
    Sizes(1, 8, 8, 48, 5, 6, same=False),
    Sizes(2, 2, 2, 16, 3, 1, same=False),
    Sizes(2, 2, 3, 3, 5, 7, same=True),
    Sizes(1, 8, 8, 70, 17, 7, same=False),
    Sizes(0, 6, 6, 2, 3, 3, same=True),
    *drawn(seed=1, count=60),
]
of_every_size = pytest.mark.parametrize("sizes", SIZES, ids=str)


def whole(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(-2, 3, shape).astype(np.float64)


def single(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32).astype(np.float64)


def mostly_dead(rng: np.random.Generator, *shape: int) -> Array:
    """Whole numbers; of maps with several channels, few channels that are not zero throughout."""
    values = whole(rng, *shape)
    if len(shape) == 4:
        values[..., rng.permutation(shape[-1])[(shape[-1] + 2) // 3 :]] = 0
    return values


@at_every_level
@of_every_size
@pytest.mark.parametrize("draw", [whole, single, mostly_dead])
def test_forward_pass_is_that_of_plain_loops(sizes: Sizes, draw: Callable[..., Array]) -> None:
    rng = np.random.default_rng(0)
    x, bias = draw(rng, sizes.n, sizes.h, sizes.w, sizes.c), draw(rng, sizes.o)
    weight = draw(rng, sizes.o, sizes.c, sizes.k, sizes.k)
    candidates = sizes.candidates(x, weight, bias)
    expected = candidates.max(-1).clip(0)
    shape = (sizes.n, *sizes.pooled, sizes.o)
    allowed = rounding(sizes.c * sizes.k**2 + 1) * sizes.candidates(abs(x), abs(weight), abs(bias)).max(-1)
    allowed = allowed if draw is single else np.zeros(shape)  # whole numbers are exact, and tie
    given = [buffer(x), buffer(weight), buffer(bias)]
    winner = np.full(shape, 77, np.uint8)
    for winners in (winner, None):
        out = buffer(shape)
        native.conv_relu_pool(sizes.block, *map(at, given), at(out), at(winners))
        within(out, expected, allowed)
    won = np.concatenate([candidates, np.zeros((*shape, 1))], -1)
    assert (winner <= 4).all()
    within(np.take_along_axis(won, winner[..., None], -1)[..., 0], expected, 2 * allowed)
    if draw is not single:
        assert np.array_equal(winner, np.where(expected > 0, candidates.argmax(-1), 4))  # the first among equals
    for mine, theirs in zip(given, (x, weight, bias), strict=True):
        assert np.array_equal(mine, theirs)


@at_every_level
@of_every_size
@pytest.mark.parametrize("draw", [whole, single])
@pytest.mark.parametrize("with_x", [True, False], ids=["by all", "by parameters"])
def test_backward_pass_is_that_of_plain_loops(sizes: Sizes, draw: Callable[..., Array], with_x: bool) -> None:
    rng = np.random.default_rng(1)
    shape = (sizes.n, *sizes.pooled, sizes.o)
    x, grad = draw(rng, sizes.n, sizes.h, sizes.w, sizes.c), draw(rng, *shape)
    weight = draw(rng, sizes.o, sizes.c, sizes.k, sizes.k)
    winner = rng.integers(0, 5, shape).astype(np.uint8)
    expected = sizes.gradients(x, weight, winner, grad)
    magnitude = sizes.gradients(abs(x), abs(weight), winner, abs(grad))
    places = max(1, shape[0] * shape[1] * shape[2])
    terms = (sizes.o * sizes.k**2, places, places)
    given = [buffer(x), buffer(weight), winner, buffer(grad)]
    got = [buffer(x.shape) if with_x else None, buffer(weight.shape), buffer((sizes.o,))]
    native.conv_relu_pool_backward(sizes.block, *map(at, given), *map(at, got))
    for mine, exact, size, count in zip(got, expected, magnitude, terms, strict=True):
        if mine is not None:
            within(mine, exact, 0.0 if draw is whole else rounding(count) * size)
    for mine, theirs in zip(given, (x, weight, winner, grad), strict=True):
        assert np.array_equal(mine, theirs)


@at_every_level
@of_every_size
def test_a_dead_channel_changes_no_bit_of_the_result(sizes: Sizes) -> None:
    """Once it is left out; and once it is not, for an image more in which it lives."""
    rng = np.random.default_rng(2)
    x, bias = single(rng, sizes.n + 1, sizes.h, sizes.w, sizes.c), single(rng, sizes.o)
    x[:-1, ..., : -(-sizes.c // 2)] = 0
    parameters = [buffer(single(rng, sizes.o, sizes.c, sizes.k, sizes.k)), buffer(bias)]
    outs = []
    for images in (sizes.n, sizes.n + 1):
        given, out = buffer(x[:images]), buffer((images, *sizes.pooled, sizes.o))
        block = native.Block(images, sizes.h, sizes.w, sizes.c, sizes.o, sizes.k, sizes.same)
        native.conv_relu_pool(block, *map(at, (given, *parameters, out)), 0)
        outs.append(out[: sizes.n])
    assert np.array_equal(*outs)


@at_every_level
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channel", [0, 5])
def test_a_weight_that_is_not_finite_meets_zeros_as_well(value: float, channel: int) -> None:
    x, weight, bias, out = buffer((2, 6, 6, 8)), buffer((3, 8, 3, 3)), buffer((3,)), buffer((2, 2, 2, 3))
    x[...], weight[...], bias[...] = 0, 1, 1
    x[..., 5] = 1
    weight[1, channel] = value
    native.conv_relu_pool(native.Block(2, 6, 6, 8, 3, 3, False), *map(at, (x, weight, bias, out)), 0)
    with np.errstate(invalid="ignore"):
        assert np.array_equal(out[..., 1], np.full((2, 2, 2), max(9 * value, 0) if channel == 5 else 0 * value), True)
    assert np.array_equal(out[..., [0, 2]], np.full((2, 2, 2, 2), 10.0))


@at_every_level
@pytest.mark.parametrize("keep", [True, False], ids=["winners", "no winners"])
def test_sums_that_pass_the_largest_float_are_those_of_ieee(keep: bool) -> None:
    x, weight, bias, out = buffer((1, 4, 4, 1)), buffer((2, 1, 3, 3)), buffer((2,)), buffer((1, 1, 1, 2))
    x[...], weight[...], bias[...] = 3e38, 1, 0
    weight[1, 0, 0, 0] = -5
    winner = np.full(out.shape, 77, np.uint8)
    native.conv_relu_pool(
        native.Block(1, 4, 4, 1, 2, 3, False), *map(at, (x, weight, bias, out)), at(winner) if keep else 0
    )
    assert np.array_equal(out.ravel(), [np.inf, 0])  # 3e38 + 3e38 + ...; -1.5e39 + 3e38 + ...
    assert not keep or winner.ravel().tolist() == [0, 4]


# ---- live columns -------------------------------------------------------------------------------------------------


@at_every_level
@pytest.mark.parametrize("rows", [0, 1, 5, 15, 16, 17, 100])
@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 8, 16, 17, 24, 32, 40, 300])
def test_live_columns_are_found_and_spread(rows: int, columns: int) -> None:
    rng = np.random.default_rng(rows * 1000 + columns)
    for share in (0.0, 0.3, 1.0):
        x = np.zeros((rows, columns))
        for column in np.flatnonzero(rng.random(columns) < share) if rows else []:
            x[rng.integers(rows), column] = rng.choice([1.0, -1.0, np.nan, np.inf, 1e-45])
        expected = np.flatnonzero((x != 0).any(0))
        given, live = buffer(x), np.full(columns, 77, np.int32)
        if len(expected):
            assert native.live_columns(rows, columns, at(given), len(expected) - 1, at(live)) == -1
        count = native.live_columns(rows, columns, at(given), len(expected), at(live))
        assert np.array_equal(live[:count], expected)
        picked, spread = buffer(given[:, expected]), buffer((rows, columns))
        native.spread_columns(rows, columns, count, at(live), at(picked), at(spread))
        assert np.array_equal(spread, given, equal_nan=True)
        assert native.all_finite(x.size, at(given)) == np.isfinite(x).all()


@pytest.mark.parametrize("column", [-1, 3, 2**31 - 1])
def test_a_column_out_of_range_is_refused_before_anything_is_written(column: int) -> None:
    live, x, out = np.array([0, column], np.int32), buffer((2, 3)), buffer((2, 3))
    with pytest.raises(IndexError, match=rf"column {column} is not in \[0, 3\)"):
        native.spread_columns(2, 3, 2, at(live), at(x), at(out))
    assert np.isnan(out).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": -1},
        {"h": 0},
        {"w": 0},
        {"c": 0},
        {"o": 0},
        {"k": 0},
        {"k": 8},
        {"k": -3},
        {"h": -8},
        {"h": 3},  # one row is left, and none to pool
        {"w": 3},
        {"h": 2},
        {"h": 1, "same": True},
        {"h": 2**15, "w": 2**15, "c": 2**3},
        {"h": 2**33, "w": 2**33},
        {"h": 2**63 - 1},
        {"c": 2**62},
    ],
    ids=str,
)
def test_sizes_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    sound = {"n": 1, "h": 8, "w": 8, "c": 1, "o": 1, "k": 3, "same": False}
    assert native.Block(*sound.values()).pooled_h == 3
    with pytest.raises(ValueError, match=r"sizes|image"):
        native.Block(*(sound | wrong).values())


def test_a_block_knows_its_pooled_sizes() -> None:
    for sizes in SIZES:
        assert (sizes.block.pooled_h, sizes.block.pooled_w) == sizes.pooled


# ---- batch norm ---------------------------------------------------------------------------------------------------

ROWS_AND_CHANNELS = [(1, 1), (1, 33), (2, 16), (3, 7), (127, 9), (128, 17), (129, 4), (300, 31), (40, 48)]


@at_every_level
@pytest.mark.parametrize(("rows", "c"), ROWS_AND_CHANNELS)
@pytest.mark.parametrize("middle", [0, 1000])
def test_batch_norm_is_that_of_the_definition(rows: int, c: int, middle: float) -> None:
    rng = np.random.default_rng(2)
    x, grad = single(rng, rows, c) + middle, single(rng, rows, c)
    x = x.astype(np.float32).astype(np.float64)
    gamma, beta = single(rng, c), single(rng, c)
    mean, variance = x.mean(0), x.var(0)
    d, s = x - mean, 1 / np.sqrt(variance + EPSILON)
    given = [buffer(x), buffer(gamma), buffer(beta)]
    out, got_mean, got_variance = buffer(x.shape), buffer((c,)), buffer((c,))
    native.batch_norm(rows, c, *map(at, given), EPSILON, at(out), at(got_mean), at(got_variance))
    share = rounding(min(rows, 128))
    of_mean = share * abs(x).mean(0)  # the rounded mean is subtracted from every value
    of_s = share + (share * variance + of_mean**2) / (variance + EPSILON)  # relative
    within(got_mean, mean, of_mean)
    within(got_variance, variance, share * variance + of_mean**2)
    reach = abs(d) + of_mean
    within(out, gamma * d * s + beta, abs(gamma) * s * (of_mean + 2 * of_s * reach) + 2 * EPS * abs(beta))

    by_gamma, by_beta = (grad * d * s).sum(0), grad.sum(0)
    by_x = gamma * s * (grad - grad.mean(0) - d * s**2 * (grad * d).mean(0))
    got = [buffer(x.shape), buffer((c,)), buffer((c,))]
    saved = [buffer(grad), given[0], given[1], got_mean, got_variance]
    native.batch_norm_backward(rows, c, *map(at, saved), EPSILON, *map(at, got))
    g, mean_g, mean_gd = abs(grad), abs(grad).mean(0), (abs(grad) * reach).mean(0)
    allowed = (share + 4 * of_s) * (g + mean_g + reach * s**2 * mean_gd)
    allowed = abs(gamma) * s * (allowed + s**2 * of_mean * (mean_gd + reach * mean_g))
    within(got[0], by_x, allowed)
    within(got[1], by_gamma, rows * s * ((share + of_s) * mean_gd + of_mean * mean_g))
    within(got[2], by_beta, rows * share * mean_g)
    for mine, theirs in zip([*given, saved[0]], (x, gamma, beta, grad), strict=True):
        assert np.array_equal(mine, theirs)
    native.batch_norm_backward(rows, c, *map(at, saved), EPSILON, at(saved[0]), *map(at, got[1:]))
    assert np.array_equal(saved[0], got[0])  # in place


# ---- dropout ------------------------------------------------------------------------------------------------------


def threefry(first: int, second: int, key: int) -> tuple[int, int]:
    """Return Threefry-2x32-20 of two counters, in whole numbers of Python."""
    low, high = key % 2**32, key >> 32
    keys = (low, high, 0x1BD11BDA ^ low ^ high)
    a, b = (first + low) % 2**32, (second + high) % 2**32
    for turn in range(20):
        a = (a + b) % 2**32
        by = (13, 15, 26, 6, 17, 29, 16, 24)[turn % 8]
        b = (b << by | b >> (32 - by)) % 2**32 ^ a
        if turn % 4 == 3:
            injection = turn // 4 + 1
            a = (a + keys[injection % 3]) % 2**32
            b = (b + keys[(injection + 1) % 3] + injection) % 2**32
    return a, b


def bits(element: int, key: int, step: int) -> int:
    words = threefry(16 * (element // 64) + element % 16, step, key)
    piece = element % 64 // 16
    return words[piece // 2] >> 16 * (piece % 2) & 0xFFFF


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1, 2**32 - 1), (2**32 - 1, 2**32 - 1), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_the_tests_own_threefry_gives_the_known_answers(
    counter: tuple[int, int], key: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert threefry(*counter, key[0] | key[1] << 32) == expected


@at_every_level
@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 15, 16, 17, 31, 33, 47, 48, 49, 63, 64, 65, 100, 127, 128, 200])
@pytest.mark.parametrize(("key", "step"), [(0, 0), (2**64 - 1, 2**32 - 1), (0x0370734413198A2E, 77)])
def test_dropout_keeps_what_its_bits_say(size: int, key: int, step: int) -> None:
    x = single(np.random.default_rng(3), size)
    pieces = np.array([bits(element, key, step) for element in range(size)])
    for threshold in (0, 1, 20_000, 65_535):
        given, out = buffer(x), buffer(x.shape)
        native.dropout(size, at(given), key, step, threshold, 1.5, at(out))
        assert np.array_equal(out, given * np.where(pieces >= threshold, np.float32(1.5), np.float32(0)))
        assert np.array_equal(given, x)
        native.dropout(size, at(given), key, step, threshold, 1.5, at(given))
        assert np.array_equal(given, out)  # in place


@at_every_level
def test_dropout_has_the_threshold_in_the_right_place() -> None:
    for element, piece in {0: 0x0159, 16: 0x6B20, 32: 0x4EFE, 48: 0x99BA}.items():  # of the first known answer
        ones = np.ones(64, np.float32)
        for threshold, kept in ((piece, 1), (piece + 1, 0)):
            out = buffer((64,))
            native.dropout(64, at(ones), 0, 0, threshold, 1.0, at(out))
            assert out[element] == kept


# ---- levels -------------------------------------------------------------------------------------------------------


def test_levels_that_this_processor_lacks_are_named(record_property: Callable[[str, object], None]) -> None:
    record_property("native levels tested", ", ".join(LEVELS))
    lacking = [level for level in COMPILED if level not in LEVELS]
    if lacking:
        warnings.warn(f"compile-checked only: {', '.join(lacking)}", stacklevel=1)
    assert LEVELS
    assert [level for level in COMPILED if level in LEVELS] == LEVELS  # known to this test, and the lowest first


def test_an_unknown_level_is_refused_and_changes_nothing() -> None:
    before = native.isa()
    with pytest.raises(ValueError, match="instruction set sse9"):
        native.use("sse9")
    assert native.isa() == before


# ---- loss and batches ---------------------------------------------------------------------------------------------


@at_every_level
@pytest.mark.parametrize(("rows", "classes"), [(1, 1), (1, 10), (7, 2), (100, 10), (33, 17), (3, 101)])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_cross_entropy_is_that_of_its_formula(rows: int, classes: int, scale: float) -> None:
    rng = np.random.default_rng(rows)
    logits, labels = scale * single(rng, rows, classes), rng.integers(0, classes, rows)
    logits = logits.astype(np.float32).astype(np.float64)
    shifted = logits - logits.max(1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    each = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(rows), labels]
    onehot = np.eye(classes)[labels]
    given, loss, grad = buffer(logits), buffer((1,)), buffer((rows, classes))
    hits = np.full(1, -7, np.int64)
    native.cross_entropy(rows, classes, at(given), at(labels), at(loss), at(hits), at(grad))
    within(loss, each.mean(keepdims=True), rounding(classes) * (1 + each.mean()))
    within(grad, (probabilities - onehot) / rows, 4 * rounding(classes) / rows)
    assert hits[0] == (logits.argmax(1) == labels).sum()
    assert np.array_equal(given, logits)


@at_every_level
@pytest.mark.parametrize("label", [-1, 4, 2**40])
def test_a_label_out_of_range_is_refused_before_anything_is_written(label: int) -> None:
    logits, grad, loss, hits = buffer(np.zeros((2, 4))), buffer((2, 4)), buffer((1,)), np.full(1, -7, np.int64)
    with pytest.raises(IndexError, match=f"label {label} is not in"):
        native.cross_entropy(2, 4, at(logits), at(np.array([0, label])), at(loss), at(hits), at(grad))
    assert np.isnan(grad).all()
    assert np.isnan(loss).all()


@at_every_level
@pytest.mark.parametrize("size", [1, 3, 15, 16, 17, 64, 784])
@pytest.mark.parametrize("scale", [1.0, 1 / 255])
def test_gather_takes_the_chosen_images_and_scales_them(size: int, scale: float) -> None:
    rng = np.random.default_rng(size)
    images = rng.integers(0, 256, (9, size), np.uint8)
    chosen = np.array([8, 0, 0, 5, 3])
    out = buffer((5, size))
    native.gather(5, 9, size, at(images), at(chosen), scale, at(out))
    assert np.array_equal(out, images[chosen].astype(np.float32) * np.float32(scale))
    with pytest.raises(IndexError, match="index 9 is not in"):
        native.gather(5, 9, size, at(images), at(np.array([0, 1, 2, 3, 9])), scale, at(out))


@at_every_level
def test_gather_of_no_images_does_nothing() -> None:
    native.gather(0, 9, 4, at(np.zeros((9, 4), np.uint8)), 0, 1.0, 0)
