"""Corruptions do to pixels what they say, the same for every network, at any image size."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from regulens.errors import UserError
from regulens.interpret.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    corrupt,
    corrupted_accuracies,
    strength_in_words,
)

Images = NDArray[np.uint8]


def pictures(shape: tuple[int, int, int], count: int = 6, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(40, 216, (count, *shape), dtype=np.uint8)


def seeded(images: Images, kind: str, severity: int, seed: int = 3) -> Images:
    return corrupt(images, kind, severity, np.random.default_rng(seed))


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (9, 17, 3), (224, 224, 3), (1, 1, 1)])
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_every_size_and_colour_keeps_its_shape_and_the_original(shape: tuple[int, int, int], kind: str) -> None:
    images = pictures(shape, 2)
    before = images.copy()
    for severity in range(SEVERITIES + 1):
        changed = seeded(images, kind, severity)
        assert changed.shape == images.shape
        assert changed.dtype == np.uint8
    assert np.array_equal(images, before)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_severities_grow_and_0_changes_nothing(kind: str) -> None:
    smooth = ndimage.gaussian_filter(pictures((28, 28, 3), 20).astype(float), (0, 2, 2, 0))
    images = np.clip(128 + 6 * (smooth - smooth.mean()), 0, 255).astype(np.uint8)
    changes = [np.abs(seeded(images, kind, s).astype(float) - images).mean() for s in range(SEVERITIES + 1)]
    assert changes[0] == 0
    assert all(a < b for a, b in pairwise(changes))
    assert np.array_equal(seeded(images, kind, 4), seeded(images, kind, 4))


@pytest.mark.parametrize("severity", range(1, SEVERITIES + 1))
def test_noise_has_the_standard_deviation_that_is_stated(severity: int) -> None:
    gray = np.full((40, 28, 28, 1), 128, np.uint8)
    noise = seeded(gray, "noise", severity).astype(float) - 128
    assert noise.std() == pytest.approx(255 * CORRUPTIONS["noise"][1][severity - 1], rel=0.05)
    assert abs(noise.mean()) < 1


def test_a_severer_noise_is_the_same_noise_larger() -> None:
    gray = np.full((4, 28, 28, 1), 128, np.uint8)
    weak, strong = (seeded(gray, "noise", s).astype(float).ravel() - 128 for s in (1, 3))
    assert np.corrcoef(weak, strong)[0, 1] > 0.99


def test_noise_is_cut_off_at_black_and_white_and_does_not_wrap() -> None:
    black = seeded(np.zeros((2, 28, 28, 1), np.uint8), "noise", 5)
    white = seeded(np.full((2, 28, 28, 1), 255, np.uint8), "noise", 5)
    assert (black == 0).mean() == pytest.approx(0.5, abs=0.05)
    assert (white == 255).mean() == pytest.approx(0.5, abs=0.05)


def test_blur_is_a_gaussian_relative_to_the_shorter_side_and_mixes_neither_images_nor_channels() -> None:
    images = np.zeros((2, 100, 140, 2), np.uint8)
    images[0, 50, 70, 1] = 255
    images[0, 40:60, 60:80, 1] = 255
    blurred = seeded(images, "blur", 2)
    expected = ndimage.gaussian_filter(images[0, ..., 1].astype(float), 2.0)
    np.testing.assert_allclose(blurred[0, ..., 1], expected, atol=0.51)
    assert not blurred[1].any()
    assert not blurred[0, ..., 0].any()


def test_blur_keeps_a_constant_image() -> None:
    images = np.full((1, 8, 8, 3), 77, np.uint8)
    assert np.array_equal(seeded(images, "blur", 5), images)


def test_shift_moves_whole_pixels_to_one_of_four_sides_and_carries_the_edge_on() -> None:
    images = pictures((25, 25, 1), 200)
    shifted = seeded(images, "shift", 3)  # 0.12 of 25: 3 pixels
    candidates = {
        side: np.stack([ndimage.shift(image[..., 0], offset, order=0, mode="nearest") for image in images])
        for side, offset in {"right": (0, 3), "down": (3, 0), "left": (0, -3), "up": (-3, 0)}.items()
    }
    matches = {side: (moved == shifted[..., 0]).all(axis=(1, 2)) for side, moved in candidates.items()}
    assert sum(found.astype(int) for found in matches.values()).tolist() == [1] * 200
    assert all(found.sum() > 25 for found in matches.values())


def test_shift_uses_each_sides_own_length() -> None:
    images = pictures((10, 50, 3), 60)
    shifted = seeded(images, "shift", 5)  # 2 down or up, 10 across
    across = (shifted[:, :, 10:] == images[:, :, :-10]).all(axis=(1, 2, 3))
    down = (shifted[:, 2:] == images[:, :-2]).all(axis=(1, 2, 3))
    assert 0 < across.sum() < 40
    assert 0 < down.sum() < 40
    assert not (across & down).any()


def test_contrast_shrinks_each_channel_towards_its_images_mean() -> None:
    images = pictures((8, 8, 3))
    changed = seeded(images, "contrast", 2)
    mean = images.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(changed, mean + 0.5 * (images - mean), atol=0.51)


def test_images_taken_in_pieces_get_the_same_corruption(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = pictures((9, 9, 3), 23), np.arange(23)
    seen: list[list[Images]] = []
    for size in (10**9, 5 * 243):
        monkeypatch.setattr("regulens.interpret.corruptions._AT_ONCE", size)
        seen.append([])

        def predict(batch: Images) -> NDArray[np.int64]:
            seen[-1].append(batch)
            return np.zeros(len(batch), np.int64)

        corrupted_accuracies([predict], images, labels, seed=4)
    whole, pieces = seen
    assert len(pieces) == 5 * len(whole)
    assert np.array_equal(np.concatenate(whole), np.concatenate(pieces))


def test_accuracies_are_those_of_each_network_on_the_same_images() -> None:
    images = pictures((8, 8, 1), 50)
    images[:25] //= 4
    labels = (np.arange(50) >= 25).astype(np.uint8)
    seen: list[list[bytes]] = [[], []]

    def bright(batch: Images) -> NDArray[np.int64]:
        seen[0].append(batch.tobytes())
        return (batch.mean(axis=(1, 2, 3)) > 80).astype(np.int64)

    def always_1(batch: Images) -> NDArray[np.int64]:
        seen[1].append(batch.tobytes())
        return np.ones(len(batch), np.int64)

    accuracies = corrupted_accuracies([bright, always_1], images, labels, 0, ["contrast", "noise"])
    assert accuracies.shape == (2, 2, 6)
    assert (accuracies[1] == 0.5).all()
    assert (accuracies[0, 0] == 1).all()  # the mean is left as it is
    assert seen[0] == seen[1]
    assert len(seen[0]) == 11  # as they are only once
    again = corrupted_accuracies([bright], images, labels, 0, ["noise"])
    np.testing.assert_array_equal(again[0, 0], accuracies[0, 1])


def test_another_seed_draws_other_noise() -> None:
    images = pictures((8, 8, 1))
    assert not np.array_equal(seeded(images, "noise", 1, 0), seeded(images, "noise", 1, 1))


def test_what_is_not_there_is_refused_in_one_line() -> None:
    images, rng = pictures((8, 8, 1)), np.random.default_rng(0)
    with pytest.raises(UserError, match='"blurr" is not a corruption; did you mean blur'):
        corrupt(images, "blurr", 1, rng)
    with pytest.raises(UserError, match=r"severity must be 0 .* to 5, got 6"):
        corrupt(images, "blur", 6, rng)
    with pytest.raises(ValueError, match="uint8"):
        corrupt(images.astype(float), "blur", 1, rng)
    with pytest.raises(ValueError, match="label"):
        corrupted_accuracies([], images, np.arange(3), 0)


@pytest.mark.parametrize(
    ("kind", "severity", "shape", "words"),
    [
        ("noise", 1, (28, 28, 1), "sd 10 of 255"),
        ("blur", 5, (28, 30, 1), "sd 1.7 pixels"),
        ("contrast", 1, (28, 28, 1), "75 % left"),
        ("shift", 1, (8, 8, 1), "1 pixel"),
        ("shift", 5, (10, 50, 3), "2 down or 10 across pixels"),
        ("shift", 5, (28, 28, 1), "6 pixels"),
    ],
)
def test_strengths_are_said_in_pixels(kind: str, severity: int, shape: tuple[int, int, int], words: str) -> None:
    assert strength_in_words(kind, severity, shape) == words
