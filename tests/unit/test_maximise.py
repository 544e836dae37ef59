"""Inputs made by gradient ascent: a planted filter is found, seeded, within the range of pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from regulens.data.batches import Feed, PixelScaling
from regulens.data.dataset import Dataset
from regulens.errors import UserError
from regulens.interpret.activations import feature_maps
from regulens.interpret.maximise import Maximised, Prior, maximise, most_exciting, scaled
from regulens.interpret.receptive import receptive_fields
from regulens.models.cnn import CNN, build_model
from regulens.spec import ModelSpec

EDGE = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
RAW = PixelScaling(1.0)


def planted(kernel: Tensor, shape: tuple[int, int, int] = (28, 28, 1)) -> CNN:
    """A network whose first filter is this kernel in every input channel; its second is dead."""
    model = build_model(ModelSpec(filters=2, dense=4), shape, 3, "batchnorm").eval()
    with torch.no_grad():
        model.blocks[0].conv.weight[0] = kernel
        model.blocks[0].conv.weight[1] = -1.0
    return model


def climb(model: CNN, layer: str, units: list[int], seed: int = 0, **options: Any) -> list[Maximised]:
    generator = torch.Generator().manual_seed(seed)
    scaling = options.pop("scaling", RAW)
    return maximise(model.expanded(), layer, units, scaling, generator, image_shape=model.image_shape, **options)


def peak_patch(model: CNN, found: Maximised, scaling: PixelScaling = RAW) -> NDArray[np.float32]:
    """What the filter sees at its map's peak."""
    network = model.expanded()
    x = scaled(torch.tensor(found.image, dtype=torch.float32), scaling)
    maps = {each.layer: each.maps for each in feature_maps(network, x).maps}["relu1"][found.unit]
    y, x_at = np.unravel_index(maps.argmax(), maps.shape)
    return receptive_fields(network)["relu1"].cut(found.image, int(y), int(x_at))


@pytest.mark.parametrize("reading", ["mean", "peak"])
@pytest.mark.parametrize("turns", [0, 1, 2])
def test_a_planted_edge_detector_is_found(reading: Any, turns: int) -> None:
    kernel = torch.rot90(EDGE, turns)
    model = planted(kernel)
    [found] = climb(model, "conv1", [0], reading=reading, prior=Prior(steps=100))
    patch = peak_patch(model, found)[..., 0]
    alike = np.corrcoef(patch.ravel(), kernel.numpy().ravel())[0, 1]
    assert alike > (0.9 if reading == "peak" else 0.75)  # with the mean in view the middle belongs to other edges too
    assert (found.layer, found.unit, found.reading) == ("conv1", 0, reading)


def test_it_works_in_colour_standardized_and_in_other_sizes() -> None:
    scaling = PixelScaling(1 / 255, (0.2, 0.5, 0.4), (0.3, 0.2, 0.1))
    model = planted(EDGE, (8, 17, 3))
    [found] = climb(model, "conv1", [0], reading="peak", scaling=scaling, prior=Prior(blur=0.3))
    assert found.image.shape == (8, 17, 3)
    assert found.image.dtype == np.uint8
    patch = peak_patch(model, found, scaling)
    for channel in range(3):
        assert np.corrcoef(patch[..., channel].ravel(), EDGE.numpy().ravel())[0, 1] > 0.8


def test_the_activation_is_that_of_the_very_image_and_of_the_real_one() -> None:
    model = planted(EDGE)
    real = 255 * torch.rand(1, 28, 28, 1, generator=torch.Generator().manual_seed(1))
    [found] = climb(model, "conv1", [0], real=real, prior=Prior(steps=20))
    network = model.expanded()
    for image, value in ((torch.tensor(found.image).float(), found.activation), (real[0], found.real)):
        maps = {each.layer: each.maps for each in feature_maps(network, image).maps}["relu1"]
        assert value == pytest.approx(float(maps[0].mean()), rel=1e-4)
    assert found.activation > found.real


def test_a_class_is_raised_above_every_noise_image() -> None:
    model = planted(EDGE)
    found = climb(model, "output", [0, 1, 2], prior=Prior(steps=100))
    noise = 255 * torch.rand(50, 28, 28, 1, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = model(noise)
    assert all(each.activation > logits[:, each.unit].max() for each in found)
    with torch.no_grad():
        reached = model(torch.tensor(np.stack([each.image for each in found])).float())
    np.testing.assert_allclose([each.activation for each in found], reached.diagonal(), rtol=1e-4)
    assert found[0].real is None


def test_a_dead_filter_keeps_its_gray() -> None:
    model = planted(EDGE)
    with torch.no_grad():
        model.blocks[0].conv.bias[1] = -1.0
    [found] = climb(model, "conv1", [1], prior=Prior(steps=10))
    assert (found.image == 128).all()
    assert found.activation == 0


def test_one_seed_gives_one_image_whatever_else_is_asked_for() -> None:
    model = planted(EDGE)
    prior = Prior(steps=40)
    alone = climb(model, "output", [2], prior=prior)[0].image.astype(int)
    before = torch.random.get_rng_state()
    beside = climb(model, "output", [0, 2], prior=prior)[1].image.astype(int)
    other = climb(model, "output", [2], seed=1, prior=prior)[0].image.astype(int)
    assert np.abs(alone - beside).max() <= 1
    assert np.abs(alone - other).max() > 30
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_prior_smooths() -> None:
    model = planted(EDGE)

    def roughness(prior: Prior) -> float:
        image = climb(model, "output", [0], prior=prior)[0].image.astype(float)
        return float(np.abs(np.diff(image, axis=0)).mean() + np.abs(np.diff(image, axis=1)).mean())

    free = roughness(Prior(variation=0, jitter=0, steps=40))
    assert roughness(Prior(variation=0.5, jitter=0, steps=40)) < 0.8 * free
    assert roughness(Prior(variation=0, jitter=0, blur=0.6, steps=40)) < 0.8 * free


def test_a_diverged_network_is_no_crash() -> None:
    model = planted(torch.full((3, 3), float("nan")))
    [found] = climb(model, "output", [0], prior=Prior(steps=2))
    assert np.isnan(found.activation)
    assert (found.image == 128).all()


def test_pixels_are_scaled_as_the_feed_scales_them(digits: Dataset) -> None:
    scaling = PixelScaling(1 / 255, (0.3,), (0.25,))
    images, _ = Feed(digits, scaling).batch(torch.arange(3))
    torch.testing.assert_close(scaled(torch.tensor(digits.images[:3]).float(), scaling), images)


@pytest.mark.parametrize(
    ("layer", "unit", "message"),
    [
        ("conv9", 0, 'no convolution and not the output is named "conv9"'),
        ("conv1", 2, "conv1 has units 0 to 1, got 2"),
        ("output", -1, "output has units 0 to 2, got -1"),
    ],
)
def test_an_unknown_layer_or_unit_is_named(layer: str, unit: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        climb(planted(EDGE), layer, [unit])


@pytest.mark.parametrize("reading", ["mean", "peak"])
def test_the_most_exciting_image_is_that_of_the_greatest_value_read_alike(reading: Any) -> None:
    model = build_model(ModelSpec(filters=5, dense=4, depth=2), (12, 12, 1), 3, "batchnorm", seed=2).eval()
    images = torch.rand(40, 12, 12, 1)
    batches = [(part, torch.zeros(len(part), dtype=torch.int64)) for part in torch.split(images, 7)]
    network = model.expanded()
    with torch.no_grad():
        maps = [feature_maps(network, image) for image in images]
    by_name = [{each.layer: each.maps for each in found.maps}["relu2"] for found in maps]
    values = np.stack([each.mean((1, 2)) if reading == "mean" else each.max((1, 2)) for each in by_name])
    found = most_exciting(network, "conv2", [4, 0, 2], batches, reading)
    np.testing.assert_array_equal(found, values.argmax(axis=0)[[4, 0, 2]])
    logits = np.stack([each.logits for each in maps])
    np.testing.assert_array_equal(most_exciting(network, "output", range(3), batches), logits.argmax(axis=0))


def test_of_a_dead_filter_the_first_image_is_the_most_exciting() -> None:
    batches = [(torch.rand(3, 28, 28, 1), torch.zeros(3, dtype=torch.int64))]
    assert most_exciting(planted(EDGE).expanded(), "conv1", [1], batches) == 0
