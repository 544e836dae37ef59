"""Pictures that are unlike the training images are named as such, and real images are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from regulens.data.dataset import Dataset
from regulens.data.novelty import Novelty, borders, nearest_distances, novelties
from regulens.data.split import Split, split
from regulens.spec import DataSpec


def parts_of(dataset: Dataset) -> Split:
    return split(len(dataset.labels), DataSpec(name=dataset.name, scale=1 / 255))


def made(images: Any) -> Dataset:
    """Return a data set of these images (N, H, W, C), the first half of which is for training."""
    return Dataset("made", np.asarray(images, np.uint8), np.zeros(len(images), np.uint8), ("one",))


def halves(dataset: Dataset) -> Split:
    places = np.arange(len(dataset.labels))
    return Split(places[: len(places) // 2], places[len(places) // 2 :], places[:0])


def of(picture: Any, dataset: Dataset, parts: Split) -> Novelty:
    [found] = novelties(np.asarray(picture, np.uint8)[None], dataset, parts)
    return found


def photographs(count: int = 400, channels: int = 3) -> Any:
    """Images whose borders are of every brightness."""
    rng = np.random.default_rng(0)
    return rng.normal(rng.uniform(0, 255, (count, 1, 1, channels)), 20, (count, 9, 9, channels)).clip(0, 255)


def test_distances_are_those_written_out(digits: Dataset) -> None:
    indices = np.arange(0, 500, 2)
    pictures = digits.images[100:150]
    flat = (each.reshape(len(each), -1).astype(float) for each in (pictures, digits.images[indices]))
    expected = cdist(*flat).min(axis=1) / np.sqrt(784)
    np.testing.assert_allclose(nearest_distances(pictures, digits, indices), expected, atol=0.1)


def test_the_border_is_the_median_of_the_outermost_pixels() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 5, 7, 3), dtype=np.uint8)
    outermost = np.ones((5, 7), bool)
    outermost[1:-1, 1:-1] = False
    np.testing.assert_allclose(borders(images), np.median(images[:, outermost].mean(axis=2), axis=1))


def test_real_images_are_not_said_to_be_unlike(digits: Dataset) -> None:
    parts = parts_of(digits)
    alarms = [bool(each.notes) for each in novelties(digits.images[parts.validation], digits, parts)]
    assert np.mean(alarms) <= 0.01
    assert not any(each.notes for each in novelties(digits.images[parts.train], digits, parts))


@pytest.mark.parametrize("quarter", [1, 2])
def test_turned_noisy_blank_and_inverted_digits_are_unlike_the_training_images(quarter: int, digits: Dataset) -> None:
    parts = parts_of(digits)
    images = digits.images[parts.validation[:40]]
    rng = np.random.default_rng(0)
    for strange in (
        np.rot90(images, quarter, (1, 2)),
        rng.permuted(images.reshape(len(images), -1), axis=1).reshape(images.shape),
        np.zeros_like(images[:1]),
        np.full_like(images[:1], 255),
        images // 6,
        255 - images,
    ):
        found = [bool(each.notes) for each in novelties(strange, digits, parts)]
        assert np.mean(found) > 0.6


@pytest.mark.parametrize("background", [255, 240, 180])
def test_a_bright_background_on_dark_data_is_a_question_and_the_other_way_round(
    background: int, digits: Dataset
) -> None:
    bright = made(255 - digits.images)
    picture = np.where(digits.images[3] > 128, 0, background)
    assert of(picture, digits, parts_of(digits)).notes[0] == (
        f"its border is bright ({background}), that of the data set dark (0): inverted?"
    )
    assert of(255 - picture, bright, halves(bright)).notes[0] == (
        f"its border is dark ({255 - background}), that of the data set bright (255): inverted?"
    )
    assert not of(255 - picture, digits, parts_of(digits)).inverted
    assert not of(picture, bright, halves(bright)).inverted


@pytest.mark.parametrize("channels", [1, 3])
def test_no_border_is_a_question_where_the_data_have_all_kinds(channels: int) -> None:
    dataset = made(photographs(channels=channels))
    for level in (3, 128, 252):
        assert not of(np.full(dataset.image_shape, level), dataset, halves(dataset)).inverted


def test_a_data_set_of_equal_images_has_no_range_and_only_their_like_is_usual() -> None:
    dataset = made(np.full((6, 4, 4, 1), 7))
    assert of(dataset.images[0], dataset, halves(dataset)).notes == ()
    assert len(of(dataset.images[0] + 50, dataset, halves(dataset)).notes) == 2  # distance, brightness
