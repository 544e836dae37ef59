import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from regulens.data.batches import Feed
from regulens.data.dataset import Dataset

IMAGES = 23


def numbered_set() -> Dataset:
    """Twenty-three images of 3x2 pixels; the number of each is its first pixel and its label."""
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 3, 2, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(IMAGES)
    return Dataset("numbers", images, np.arange(IMAGES, dtype=np.uint8), tuple(map(str, range(IMAGES))))


def all_batches(order: list[int], size: int, scale: float = 1) -> list[tuple[Tensor, Tensor]]:
    fed = Feed(numbered_set(), scale).batches(np.array(order, np.int64), size)
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
    for images, labels in Feed(dataset, 1 / 255).batches(np.arange(IMAGES), 5):
        images.add_(1)
        labels.add_(1)
    np.testing.assert_array_equal(dataset.images, numbered_set().images)
    np.testing.assert_array_equal(dataset.labels, numbered_set().labels)


def test_images_may_lie_in_memory_in_any_order() -> None:
    dataset = numbered_set()
    backwards = Dataset("backwards", dataset.images[::-2], dataset.labels[::-2], dataset.class_names)
    ((images, labels),) = Feed(backwards, 1).batches(np.arange(len(backwards.labels)), IMAGES)
    np.testing.assert_array_equal(images.numpy(), dataset.images[::-2])
    np.testing.assert_array_equal(labels.numpy(), dataset.labels[::-2])
