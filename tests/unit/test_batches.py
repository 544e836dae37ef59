import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from regulens.data.batches import Feed, PixelScaling, pixel_scaling
from regulens.data.dataset import Dataset
from regulens.errors import UserError
from regulens.kernels.paths import native_levels, using_kernels
from regulens.spec import DataSpec

IMAGES = 23


def numbered_set() -> Dataset:
    """Twenty-three images of 3x2 pixels; the number of each is its first pixel and its label."""
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 3, 2, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(IMAGES)
    return Dataset("numbers", images, np.arange(IMAGES, dtype=np.uint8), tuple(map(str, range(IMAGES))))


def all_batches(order: list[int], size: int, scale: float = 1) -> list[tuple[Tensor, Tensor]]:
    fed = Feed(numbered_set(), PixelScaling(scale)).batches(np.array(order, np.int64), size)
    return [(images.clone(), labels) for images, labels in fed]


ORDERS = st.lists(st.integers(0, IMAGES - 1), max_size=40)


@given(ORDERS, st.integers(1, 50))
@settings(deadline=None, max_examples=50)
def test_every_index_is_fed_once_and_in_order(order: list[int], size: int) -> None:
    found = all_batches(order, size)
    assert [int(image[0, 0, 0]) for images, _ in found for image in images] == order
    assert [int(label) for _, labels in found for label in labels] == order


@given(ORDERS, st.integers(1, 50))
@settings(deadline=None, max_examples=50)
def test_batches_are_full_and_a_last_smaller_one_is_kept(order: list[int], size: int) -> None:
    sizes = [len(labels) for _, labels in all_batches(order, size)]
    full, rest = divmod(len(order), size)
    assert sizes == [size] * full + [rest] * (rest > 0)


def test_batches_are_float_images_channels_last_and_integer_labels() -> None:
    (images, labels), *_ = all_batches(list(range(IMAGES)), 10)
    assert (images.shape, images.dtype) == ((10, 3, 2, 1), torch.float32)
    assert (labels.shape, labels.dtype) == ((10,), torch.int64)


@given(st.floats(1e-6, 1e3))
@settings(deadline=None, max_examples=25)
def test_pixels_are_multiplied_by_the_scale(scale: float) -> None:
    ((images, _),) = all_batches(list(range(IMAGES)), IMAGES, scale)
    expected = numbered_set().images.astype(np.float64) * scale
    np.testing.assert_allclose(images.numpy(), expected, rtol=1e-6)


def test_raw_pixels_come_through_exactly() -> None:
    ((images, _),) = all_batches(list(range(IMAGES)), IMAGES, scale=1)
    np.testing.assert_array_equal(images.numpy(), numbered_set().images)


def test_the_source_is_unchanged_by_what_is_done_to_a_batch() -> None:
    dataset = numbered_set()
    dataset.images.flags.writeable = False
    for images, labels in Feed(dataset, PixelScaling(1 / 255)).batches(np.arange(IMAGES), 5):
        images.add_(1)
        labels.add_(1)
    np.testing.assert_array_equal(dataset.images, numbered_set().images)
    np.testing.assert_array_equal(dataset.labels, numbered_set().labels)


def test_images_may_lie_in_memory_in_any_order() -> None:
    dataset = numbered_set()
    backwards = Dataset("backwards", dataset.images[::-2], dataset.labels[::-2], dataset.class_names)
    ((images, labels),) = Feed(backwards, PixelScaling(1)).batches(np.arange(len(backwards.labels)), IMAGES)
    np.testing.assert_array_equal(images.numpy(), dataset.images[::-2])
    np.testing.assert_array_equal(labels.numpy(), dataset.labels[::-2])


def colourful_set() -> Dataset:
    """Sixty images of 4x3 pixels and three channels that differ in level and spread."""
    random = np.random.default_rng(1)
    channels = [random.integers(low, high, (60, 4, 3)) for low, high in ((0, 30), (100, 256), (7, 9))]
    return Dataset("colours", np.stack(channels, -1).astype(np.uint8), np.zeros(60, np.uint8), ("one",))


FITTED = st.lists(st.integers(0, 59), min_size=5, max_size=60, unique=True).map(lambda drawn: np.array(drawn, np.int64))


@given(FITTED, st.floats(1e-3, 10))
@settings(deadline=None, max_examples=40)
def test_standardized_pixels_have_mean_zero_and_deviation_one_per_channel(
    fitted: NDArray[np.int64], scale: float
) -> None:
    dataset = colourful_set()
    scaling = pixel_scaling(dataset, DataSpec(scale=scale, standardize=True), fitted)
    pixels = dataset.images[fitted].astype(np.float64) * scale
    np.testing.assert_allclose(scaling.mean, pixels.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(scaling.sd, pixels.std((0, 1, 2)), rtol=1e-9)
    ((images, _),) = Feed(dataset, scaling).batches(fitted, len(fitted))
    np.testing.assert_allclose(images.double().mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(images.double().std((0, 1, 2), correction=0), 1, rtol=1e-4)


@given(FITTED)
@settings(deadline=None, max_examples=20)
def test_other_images_are_scaled_by_those_fitted_on(fitted: NDArray[np.int64]) -> None:
    dataset, spec = colourful_set(), DataSpec(standardize=True)
    feed = Feed(dataset, pixel_scaling(dataset, spec, fitted))
    ((images, _),) = feed.batches(np.arange(60), 60)
    pixels = dataset.images.astype(np.float64)
    seen = pixels[fitted]
    expected = (pixels - seen.mean((0, 1, 2))) / seen.std((0, 1, 2))
    np.testing.assert_allclose(images.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert pixel_scaling(dataset, spec, fitted[::-1]) == feed.scaling


def test_more_images_than_are_counted_at_once_are_all_counted() -> None:
    images = np.random.default_rng(2).integers(0, 256, (2345, 2, 2, 1), np.uint8)
    dataset = Dataset("many", images, np.zeros(2345, np.uint8), ("one",))
    scaling = pixel_scaling(dataset, DataSpec(standardize=True), np.arange(2345))
    assert (scaling.mean, scaling.sd) == (pytest.approx((images.mean(),)), pytest.approx((images.std(),)))


def test_pixels_not_to_be_standardized_are_not_looked_at() -> None:
    assert pixel_scaling(numbered_set(), DataSpec(scale=0.5), np.array([10**9])) == PixelScaling(0.5)


@pytest.mark.skipif(not native_levels(), reason="this installation has one path only")
@pytest.mark.parametrize("scale", [1.0, 1 / 255, 0.37])
def test_standardized_batches_are_the_same_bits_on_both_kernel_paths(scale: float) -> None:
    dataset, batches = colourful_set(), []
    scaling = pixel_scaling(dataset, DataSpec(scale=scale, standardize=True), np.arange(40))
    for path in ("native", "reference"):
        with using_kernels(path):
            ((images, _),) = Feed(dataset, scaling).batches(np.arange(60), 60)
            batches.append(images)
    assert torch.equal(*batches)


def test_a_channel_that_is_the_same_everywhere_cannot_be_standardized() -> None:
    dataset = colourful_set()
    images = dataset.images.copy()
    images[:10, ..., 1] = 4
    flat = Dataset("flat", images, dataset.labels, dataset.class_names)
    assert pixel_scaling(flat, DataSpec(standardize=True), np.arange(11)).sd[1] > 0
    with pytest.raises(UserError, match=r"data\.standardize = true: channel 1 of flat .* set it to false"):
        pixel_scaling(flat, DataSpec(standardize=True), np.arange(10))
