"""What is put in place of pixels, and how many images are handed over at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from regulens.data.batches import Feed, PixelScaling
from regulens.data.dataset import Dataset
from regulens.errors import UserError
from regulens.interpret.inputs import black_pixel, blurred, check_images, images_at_once


@pytest.mark.parametrize(
    "scaling", [PixelScaling(1.0), PixelScaling(1 / 255), PixelScaling(1 / 255, (0.25, 0.5), (0.5, 2.0))]
)
def test_black_pixel_is_what_the_feed_makes_of_zero(scaling: PixelScaling) -> None:
    black = Dataset("black", np.zeros((1, 3, 3, 2), np.uint8), np.zeros(1, np.uint8), ("only",))
    fed, _ = Feed(black, scaling).batch(torch.tensor([0]))
    np.testing.assert_allclose(fed[0, 1, 1].numpy(), np.broadcast_to(black_pixel(scaling), 2))


def test_blurring_keeps_an_even_image_and_spreads_a_point_by_a_share_of_each_side() -> None:
    even = torch.full((1, 8, 8, 3), 7.0)
    torch.testing.assert_close(blurred(even), even)
    point = torch.zeros(1, 41, 81, 1)
    point[0, 20, 40, 0] = 1
    spread = blurred(point, 0.05)[0, :, :, 0].numpy()
    rows, columns = spread.sum(axis=1), spread.sum(axis=0)
    assert np.sqrt(rows @ (np.arange(41) - 20) ** 2) == pytest.approx(0.05 * 41, rel=0.05)
    assert np.sqrt(columns @ (np.arange(81) - 40) ** 2) == pytest.approx(0.05 * 81, rel=0.05)


def test_blurring_does_not_mix_images_or_channels() -> None:
    images = torch.zeros(2, 9, 9, 2)
    images[0, 4, 4, 0] = 1
    result = blurred(images)
    assert result[0, :, :, 0].min() > 0
    assert not result[1].any()
    assert not result[0, :, :, 1].any()


def test_fewer_images_go_together_the_wider_the_maps() -> None:
    narrow, wide = (nn.Sequential(nn.Conv2d(1, filters, 3), nn.Linear(1, 1)) for filters in (16, 4096))
    assert images_at_once(narrow, (28, 28, 1)) == 128
    assert images_at_once(narrow, (224, 224, 3)) == 2**24 // (224 * 224 * 16)
    assert images_at_once(wide, (224, 224, 3)) == 1


def test_shapes_and_classes_are_checked() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    images = torch.zeros(2, 2, 2, 1)
    check_images(network, images, torch.tensor([0, 2]))
    with pytest.raises(ValueError, match=r"\(N, H, W, C\).*\(2, 2, 1\)"):
        check_images(network, images[0], torch.tensor([0, 2]))
    with pytest.raises(ValueError, match=r"targets \(N,\)"):
        check_images(network, images, torch.tensor([0]))
    with pytest.raises(ValueError, match="N >= 1"):
        check_images(network, images[:0], torch.tensor([], dtype=torch.int64))
    for wrong in (-1, 3):
        with pytest.raises(UserError, match=f"classes 0 to 2, got {wrong}"):
            check_images(network, images, torch.tensor([0, wrong]))
