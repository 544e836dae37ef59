import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regulens.data.dataset import Dataset, SharedDataset, share
from regulens.errors import DataError, UserError

NAMES = ("cat", "dog", "owl")


def small_set() -> Dataset:
    images = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6, 1)
    return Dataset("pets", images, np.array([0, 2, 1, 2], np.uint8), NAMES)


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        ({"images": np.zeros((4, 5, 6), np.uint8)}, ["(N, H, W, C) uint8", "(4, 5, 6) uint8"]),
        ({"images": np.zeros((4, 5, 6, 1), np.float32)}, ["(N, H, W, C) uint8", "float32"]),
        ({"labels": np.zeros(3, np.uint8)}, ["labels must be (4,) uint8", "(3,) uint8"]),
        ({"labels": np.zeros((4, 1), np.uint8)}, ["labels must be (4,) uint8", "(4, 1) uint8"]),
        ({"labels": np.zeros(4, np.int64)}, ["labels must be (4,) uint8", "int64"]),
        ({"labels": np.array([0, 1, 2, 3], np.uint8)}, ["label 3 has no name", "3 classes"]),
        ({"class_names": ()}, ["label 2 has no name", "0 classes"]),
        ({"images": np.zeros((0, 5, 6, 1), np.uint8), "labels": np.zeros(0, np.uint8)}, ["holds no images"]),
    ],
)
def test_arrays_that_are_no_data_set_are_refused(change: dict[str, Any], fragments: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        replace(small_set(), **change)
    message = str(caught.value)
    assert message.startswith("pets: ")
    assert [fragment for fragment in fragments if fragment not in message] == []
    assert "\n" not in message


def test_the_image_shape_is_height_width_channels() -> None:
    assert small_set().image_shape == (5, 6, 1)


def test_a_data_set_cannot_be_given_other_images() -> None:
    dataset = small_set()
    with pytest.raises(FrozenInstanceError):
        dataset.images = np.zeros((4, 5, 6, 1), np.uint8)
    assert dataset.images.any()


def test_the_digest_stays_what_it_was() -> None:
    assert small_set().digest == "35c3ed198f8dccda196cf3c81058512724e8b8c5cb17674efe62f0c26b7f90c9"


def test_the_digest_changes_with_every_pixel() -> None:
    dataset = small_set()
    digests = {dataset.digest}
    for place in range(dataset.images.size):
        images = dataset.images.copy()
        images.flat[place] ^= 1
        digests.add(replace(dataset, images=images).digest)
    assert len(digests) == dataset.images.size + 1


@pytest.mark.parametrize(
    "change",
    [
        {"labels": np.array([0, 2, 1, 1], np.uint8)},
        {"labels": np.array([2, 0, 1, 2], np.uint8)},
        {"class_names": ("cat", "owl", "dog")},
        {"class_names": ("cat", "dog", "owl", "fox")},
        {"class_names": ("ca", "tdog", "owl")},
        {"images": small_set().images.reshape(4, 6, 5, 1)},
        {"images": small_set().images.reshape(4, 5, 3, 2)},
    ],
)
def test_the_digest_changes_with_labels_names_and_shape(change: dict[str, Any]) -> None:
    assert replace(small_set(), **change).digest != small_set().digest


def test_the_digest_depends_on_the_pixels_not_on_their_layout_in_memory() -> None:
    dataset = small_set()
    spaced = np.repeat(dataset.images, 2, axis=2)[:, :, ::2]
    for images in (np.asfortranarray(dataset.images), spaced):
        assert not images.flags.c_contiguous
        assert replace(dataset, images=images).digest == dataset.digest


def test_the_digest_does_not_depend_on_what_the_data_set_is_called() -> None:
    assert replace(small_set(), name="animals").digest == small_set().digest


@pytest.fixture
def handle(tmp_path: Path) -> SharedDataset:
    return share(small_set(), tmp_path)


def test_a_shared_data_set_opens_equal(handle: SharedDataset) -> None:
    opened, original = handle.open(), small_set()
    np.testing.assert_array_equal(opened.images, original.images, strict=True)
    np.testing.assert_array_equal(opened.labels, original.labels, strict=True)
    assert (opened.name, opened.class_names) == (original.name, original.class_names)


def test_a_shared_data_set_has_the_digest_of_its_arrays(handle: SharedDataset) -> None:
    opened = handle.open()
    assert opened.digest == handle.digest == small_set().digest
    assert Dataset(opened.name, opened.images, opened.labels, opened.class_names).digest == opened.digest


def test_a_shared_data_set_is_mapped_read_only(handle: SharedDataset) -> None:
    opened = handle.open()
    for array in (opened.images, opened.labels):
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_the_handle_of_a_shared_data_set_is_small_and_travels(handle: SharedDataset) -> None:
    content = pickle.dumps(handle)
    assert len(content) < 1000
    assert pickle.loads(content).open().digest == small_set().digest


def test_different_data_sets_share_one_folder(tmp_path: Path) -> None:
    other = replace(small_set(), labels=np.array([1, 1, 1, 1], np.uint8))
    first, second = share(small_set(), tmp_path), share(other, tmp_path)
    assert first.open().labels.tolist() == [0, 2, 1, 2]
    assert second.open().labels.tolist() == [1, 1, 1, 1]


def test_sharing_below_a_missing_folder_makes_it(tmp_path: Path) -> None:
    assert share(small_set(), tmp_path / "a" / "b").open().digest == small_set().digest


def test_images_that_do_not_fit_on_the_disk_are_refused_in_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError("1408848 requested and 249728 written")

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(UserError, match=r"cannot hold the images for the workers .*free some space"):
        share(small_set(), tmp_path)
