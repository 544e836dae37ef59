"""Attribution maps have the values derived by hand, and leave the network as it was."""

from __future__ import annotations

import copy
import sys
from collections import OrderedDict
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import IntegratedGradients
from torch import Tensor, nn

from regulens.errors import UserError
from regulens.interpret import attribution
from regulens.interpret.attribution import METHODS, attribute, cam_layers, completeness, flat_maps, importances
from regulens.models.cnn import Permute, build_model
from regulens.spec import ModelSpec


def linear(weights: Any) -> nn.Sequential:
    """Logit 0 is 0, logit 1 the sum of weights (H, W, C) times pixels."""
    values = torch.as_tensor(weights, dtype=torch.float32)
    output = nn.Linear(values.numel(), 2)
    with torch.no_grad():
        output.weight.copy_(torch.stack([torch.zeros_like(values), values]).flatten(1))
        output.bias.zero_()
    return nn.Sequential(OrderedDict(flatten=nn.Flatten(), output=output))


def planted(kernel: Tensor, readout: Tensor, padding: int = 0, pool: int = 1) -> nn.Sequential:
    """A convolution with kernel (filters, 1, k, k), ReLU and pooling; logit 0 is the readout of the pooled maps."""
    filters, _, height, width = kernel.shape
    conv = nn.Conv2d(1, filters, (height, width), padding=padding)
    output = nn.Linear(readout.numel(), 1)
    with torch.no_grad():
        conv.weight.copy_(kernel)
        conv.bias.zero_()
        output.weight.copy_(readout.flatten()[None])
        output.bias.zero_()
    return nn.Sequential(
        OrderedDict(
            to_nchw1=Permute(0, 3, 1, 2),
            conv1=conv,
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(pool),
            flatten=nn.Flatten(),
            output=output,
        )
    )


def small(regularizer: str = "none", side: int = 9, channels: int = 1, depth: int = 1) -> nn.Sequential:
    shape = (side, side, channels)
    return build_model(ModelSpec(depth=depth, filters=3, dense=5), shape, 4, regularizer, seed=1).expanded()


def some_images(count: int = 2, side: int = 9, channels: int = 1) -> Tensor:
    return torch.rand(count, side, side, channels, generator=torch.Generator().manual_seed(0))


CLASS_1 = torch.tensor([1])


# values by hand


@pytest.mark.parametrize("method", ["gradient", "smoothgrad"])
def test_gradient_of_a_linear_network_is_its_weights(method: str) -> None:
    weights = np.arange(12, dtype=np.float32).reshape(2, 2, 3) - 5
    maps = attribute(linear(weights), some_images(2, 2, 3), torch.tensor([1, 0]), method)
    np.testing.assert_allclose(maps[0], weights, rtol=1e-5)
    np.testing.assert_array_equal(maps[1], 0)


def test_gradient_is_per_unit_of_a_scaled_pixel() -> None:
    weights = np.array([[[2.0]]])
    raw, unit = torch.full((1, 1, 1, 1), 255.0), torch.ones(1, 1, 1, 1)
    same = linear(weights * 255)  # the network that says of pixels / 255 what the other says of pixels
    assert attribute(same, unit, CLASS_1, "gradient") == pytest.approx(
        255 * attribute(linear(weights), raw, CLASS_1, "gradient")
    )
    for method in ("integrated_gradients", "occlusion"):
        options = {"window": (1, 1), "baseline": 0.0} if method == "occlusion" else {}
        assert attribute(same, unit, CLASS_1, method, **options) == pytest.approx(
            attribute(linear(weights), raw, CLASS_1, method, **options)
        )


def test_integrated_gradients_of_a_kink_are_half_of_the_way() -> None:
    # relu(a + b - 1) from (0, 0) to (1, 1): the gradient is (1, 1) on the second half of the path only
    network = linear(np.ones((1, 2, 1)))
    network.output.bias.data[1] = -1
    network = nn.Sequential(OrderedDict(**dict(network.named_children()), relu=nn.ReLU()))
    maps = attribute(network, torch.ones(1, 1, 2, 1), CLASS_1, "integrated_gradients")
    np.testing.assert_allclose(maps[0, 0, :, 0], [0.5, 0.5], rtol=1e-5)


def test_integrated_gradients_start_at_the_baseline_per_channel() -> None:
    weights = np.array([[[1.0, 10.0]]])
    maps = attribute(
        linear(weights), torch.tensor([[[[5.0, 7.0]]]]), CLASS_1, "integrated_gradients", baseline=[-1.0, 2.0]
    )
    np.testing.assert_allclose(maps[0, 0, 0], [6, 50], rtol=1e-5)


@pytest.mark.parametrize("regularizer", ["none", "batchnorm"])
def test_integrated_gradients_sum_to_the_difference_of_the_logits(regularizer: str) -> None:
    network, images, targets = small(regularizer), some_images(3), torch.tensor([0, 3, 1])
    maps = attribute(network, images, targets, "integrated_gradients", steps=200, baseline=0.1)
    found = completeness(network, images, targets, maps, 0.1)
    with torch.no_grad():
        network.eval()
        direct = network(images) - network(torch.full_like(images, 0.1))
    np.testing.assert_allclose(found.difference, direct[range(3), targets], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.total, found.difference, rtol=0.02, atol=1e-4)
    np.testing.assert_allclose(found.error, np.abs(found.total - found.difference) / np.abs(found.difference))


def test_smoothgrad_averages_over_noise_of_a_share_of_the_images_range() -> None:
    # relu(pixel 0): of an image from -1 to 1 the noise reaches over pixel 0's kink at 0 half of the time
    network = linear([[[1.0], [0.0], [0.0]]])
    network = nn.Sequential(OrderedDict(**dict(network.named_children()), relu=nn.ReLU()))
    image = torch.tensor([[[[0.0], [-1.0], [1.0]]]])
    half = attribute(network, image, CLASS_1, "smoothgrad", samples=4000)[0, 0, 0, 0]
    assert half == pytest.approx(0.5, abs=0.03)
    one_sd = torch.tensor([[[[0.2], [-1.0], [1.0]]]])  # sd is 0.1 of 2
    above = attribute(network, one_sd, CLASS_1, "smoothgrad", samples=4000, noise=0.1)[0, 0, 0, 0]
    assert above == pytest.approx(0.841, abs=0.03)


def test_grad_cam_by_hand() -> None:
    # two filters, x and -x; their maps weigh mean(1 2 3 2) = 2 and mean(-1 -1 1 -3) = -1
    network = planted(
        torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1), torch.tensor([[[1.0, 2], [3, 2]], [[-1, -1], [1, -3]]])
    )
    image = torch.tensor([[1.0, -2.0], [3.0, 0.5]])[None, :, :, None]
    found = attribute(network, image, torch.tensor([0]), "grad_cam")
    np.testing.assert_allclose(found[0], [[2, 0], [6, 1]])  # 2 * (1 0 3 0.5) - (0 2 0 0), its negative part cut


def test_grad_cam_lies_where_its_units_look() -> None:
    centre = torch.zeros(1, 1, 3, 3)
    centre[0, 0, 1, 1] = 1
    network = planted(centre, torch.ones(1, 3, 3))  # no padding: unit (i, j) reads pixel (i + 1, j + 1)
    image = torch.zeros(1, 5, 5, 1)
    image[0, 2, 3] = 1
    found = attribute(network, image, torch.tensor([0]), "grad_cam")[0]
    np.testing.assert_allclose(found[1:4, 1:4], image[0, 1:4, 1:4, 0])
    np.testing.assert_allclose(found[:, 4], found[:, 3])  # beyond the outermost units their values go on


def test_grad_cam_of_a_padded_network_is_stretched_as_torch_does_it() -> None:
    generator = torch.Generator().manual_seed(2)
    network = planted(
        torch.rand(3, 1, 3, 3, generator=generator), torch.rand(3, 4, 6, generator=generator), padding=1, pool=2
    )
    image = torch.rand(1, 8, 12, 1, generator=generator)
    found = attribute(network, image, torch.tensor([0]), "grad_cam", layer="pool1")[0]
    pooled = F.max_pool2d(F.conv2d(image.permute(0, 3, 1, 2), network.conv1.weight, padding=1), 2)
    weights = network.output.weight.reshape(3, 4, 6).mean(dim=(1, 2))
    cam = torch.einsum("f,fhw->hw", weights, pooled[0])[None, None]
    expected = F.interpolate(cam, (8, 12), mode="bilinear", align_corners=False)[0, 0]
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-4)


def test_occlusion_finds_the_one_pixel_that_is_read() -> None:
    weights = np.zeros((3, 3, 1))
    weights[0, 0] = 2
    image = torch.full((1, 3, 3, 1), 5.0)
    maps = attribute(linear(weights), image, CLASS_1, "occlusion", window=(1, 1), baseline=1.0)
    np.testing.assert_allclose(maps[0], 8 * weights[..., 0] / 2)  # 2 * (5 - 1)
    wider = attribute(linear(weights), image, CLASS_1, "occlusion", window=(2, 2), stride=(1, 1), baseline=1.0)
    # one window hides the corner; its neighbours are covered by 1, 2, 2 and 4 windows
    np.testing.assert_allclose(wider[0], [[8, 4, 0], [4, 2, 0], [0, 0, 0]])


def test_occlusion_hides_all_channels_together() -> None:
    weights = np.array([[[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]])
    image = torch.ones(1, 1, 2, 3)
    maps = attribute(linear(weights), image, CLASS_1, "occlusion", window=(1, 1), baseline=0.0)
    np.testing.assert_allclose(maps[0], [[6, 0]])


def test_occlusion_puts_the_blurred_image_in_place_by_default() -> None:
    even = torch.full((1, 9, 9, 1), 3.0)
    np.testing.assert_allclose(attribute(small(), even, CLASS_1, "occlusion"), 0, atol=1e-5)


# what is returned


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("side", "channels"), [(5, 1), (9, 3), (40, 1)])
def test_maps_have_the_images_shape(method: str, side: int, channels: int) -> None:
    maps = attribute(small(side=side, channels=channels), some_images(2, side, channels), torch.tensor([0, 3]), method)
    shape = (2, side, side) if METHODS[method].channels is None else (2, side, side, channels)
    assert maps.shape == shape
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()
    assert flat_maps(method, maps).shape == importances(method, maps).shape == (2, side, side)
    if not METHODS[method].signed:
        assert maps.min() >= 0


@pytest.mark.parametrize("method", METHODS)
def test_a_map_does_not_depend_on_the_images_beside_it(method: str) -> None:
    network, images, targets = small(), some_images(3), torch.tensor([0, 3, 1])
    together = attribute(network, images, targets, method, seed=4)
    alone = [attribute(network, images[i : i + 1], targets[i : i + 1], method, seed=4)[0] for i in range(3)]
    np.testing.assert_array_equal(together, np.stack(alone))


def kinked(at: float) -> nn.Sequential:
    """Logit 0 is how far the one pixel is above ``at``: between black and white its gradient jumps from 0 to 1."""
    network = planted(torch.ones(1, 1, 1, 1), torch.ones(1))
    with torch.no_grad():
        network.conv1.bias.fill_(-at)
    return network


@pytest.mark.parametrize("at", [0.2, 0.5, 0.7, 0.9])
def test_integrated_gradients_take_steps_until_they_add_up(at: float) -> None:
    network, image, target = kinked(at), torch.ones(1, 1, 1, 1), torch.tensor([0])
    errors = []
    for options in ({}, {"steps": 50}):
        maps = attribute(network, image, target, "integrated_gradients", **options)
        assert float(maps.sum()) == pytest.approx(1 - at, abs=0.02)
        errors.append(completeness(network, image, target, maps).error[0])
    assert errors[0] <= attribution.TOLERANCE
    assert errors[0] <= errors[1]


def test_some_integrated_gradients_do_not_add_up_in_50_steps() -> None:
    images, target = torch.ones(1, 1, 1, 1), torch.tensor([0])
    errors = {}
    for at in np.linspace(0.3, 0.7, 21):
        maps = attribute(kinked(at), images, target, "integrated_gradients", steps=50)
        errors[at] = completeness(kinked(at), images, target, maps).error[0]
    worst = max(errors, key=lambda at: errors[at])
    assert errors[worst] > attribution.TOLERANCE
    maps = attribute(kinked(worst), images, target, "integrated_gradients")
    assert completeness(kinked(worst), images, target, maps).error[0] <= attribution.TOLERANCE


def test_integrated_gradients_stop_at_the_last_number_of_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribution, "TOLERANCE", 0.0)
    image, target = torch.full((1, 1, 1, 1), 3.0), torch.tensor([0])
    own = attribute(kinked(0.53), image, target, "integrated_gradients", baseline=-1.0)
    parts = attribution.PARTS[-1]
    way = [-1 + 4 * place / parts for place in range(parts + 1)]
    rule = IntegratedGradients(kinked(0.53))
    pairs = [(torch.full((1, 1, 1, 1), end), torch.full((1, 1, 1, 1), start)) for start, end in pairwise(way)]
    expected = sum(float(rule.attribute(end, start, target=0, n_steps=attribution.STEPS)) for end, start in pairs)
    assert own.item() == pytest.approx(expected, rel=1e-5)
    assert own.item() == pytest.approx(3 - 0.53, rel=2e-3)
    assert np.isnan(attribute(kinked(float("nan")), image * float("nan"), target, "integrated_gradients")).all()


@pytest.mark.parametrize("regularizer", ["none", "batchnorm"])
def test_integrated_gradients_are_captums(regularizer: str) -> None:
    network, images = small(regularizer, depth=2, side=12), some_images(2, 12)
    own = attribute(network, images, torch.tensor([1, 3]), "integrated_gradients", steps=64)
    other = IntegratedGradients(network.eval()).attribute(images, target=torch.tensor([1, 3]), n_steps=64)
    np.testing.assert_allclose(own, other.detach().numpy(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_a_bounded_batch_gives_the_same_map(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, images, targets = small(), some_images(), torch.tensor([0, 3])
    at_once = attribute(network, images, targets, method)
    monkeypatch.setattr(attribution, "images_at_once", lambda *_: 1)
    np.testing.assert_allclose(attribute(network, images, targets, method), at_once, rtol=1e-4, atol=1e-6)


def test_the_seed_decides_the_noise() -> None:
    network, images, targets = small(), some_images(), torch.tensor([0, 3])
    first, again, other = (attribute(network, images, targets, "smoothgrad", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_channels_are_joined_by_the_methods_rule() -> None:
    maps = np.array([[[[1.0, -3.0, 2.0]]]], np.float32)
    assert flat_maps("gradient", maps) == -3
    assert importances("gradient", maps) == 3
    assert flat_maps("integrated_gradients", maps) == 0
    assert importances("integrated_gradients", -maps[..., :1]) == -1
    assert flat_maps("occlusion", maps[..., 0]) == 1


# the network is left as it was


class Fails(nn.Module):
    def forward(self, _: Tensor) -> Tensor:
        raise RuntimeError("as planned")


def state(network: nn.Sequential, images: Tensor) -> dict[str, Any]:
    return {
        "training": [module.training for module in network.modules()],
        "tensors": copy.deepcopy(network.state_dict()),
        "buffers": [each.clone() for each in network.buffers()],
        "requires_grad": [parameter.requires_grad for parameter in network.parameters()],
        "grad": [None if each.grad is None else each.grad.clone() for each in network.parameters()],
        "hooks": [
            len(hooks)
            for module in network.modules()
            for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        ],
        "rng": torch.get_rng_state(),
        "images": (images.clone(), images.requires_grad, images.grad),
        "grad_mode": torch.is_grad_enabled(),
    }


def assert_same(before: Any, after: Any) -> None:
    if isinstance(before, Tensor):
        torch.testing.assert_close(after, before, rtol=0, atol=0)
    elif isinstance(before, dict):
        assert list(before) == list(after)
        assert_same(list(before.values()), list(after.values()))
    elif isinstance(before, list | tuple):
        for a, b in zip(before, after, strict=True):
            assert_same(a, b)
    else:
        assert before == after


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fails", [False, True], ids=["finished", "failed"])
def test_network_images_and_random_stream_are_left_as_they_were(method: str, fails: bool) -> None:
    network = small("batchnorm + dropout(0.5)").train()
    network.dense.eval()
    network.conv1.weight.requires_grad_(False)
    network.output.bias.grad = torch.ones(4)
    seen: list[int] = []
    network.relu1.register_forward_hook(lambda *_: seen.append(1))
    if fails:
        network.append(Fails())
    images = some_images()
    before = state(network, images)
    if fails:
        with pytest.raises(RuntimeError, match="as planned"):
            attribute(network, images, torch.tensor([0, 3]), method)
    else:
        attribute(network, images, torch.tensor([0, 3]), method)
    assert seen
    assert_same(before, state(network, images))


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_those_of_eval_mode_whatever_the_mode_around(method: str) -> None:
    network, images, targets = small("batchnorm + dropout(0.5)"), some_images(), torch.tensor([0, 3])
    expected = attribute(network.eval(), images, targets, method)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        np.testing.assert_array_equal(attribute(network.train(), images, targets, method), expected)


# mistakes of the caller


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    network, images, targets = small(), some_images(), torch.tensor([0, 3])
    with pytest.raises(UserError, match=r"smothgrad.*did you mean smoothgrad"):
        attribute(network, images, targets, "smothgrad")
    with pytest.raises(UserError, match='integrated_gradients: has no option "step"; did you mean steps'):
        attribute(network, images, targets, "integrated_gradients", step=3)
    with pytest.raises(UserError, match='layer "dense"; known: conv1, relu1, pool1'):
        attribute(network, images, targets, "grad_cam", layer="dense")
    with pytest.raises(UserError, match="classes 0 to 3, got 4"):
        attribute(network, images, torch.tensor([0, 4]), "gradient")


def test_layers_too_small_or_missing_are_said_so() -> None:
    with pytest.raises(UserError, match="relu1 has a map of 1x1"):
        attribute(planted(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 1)), some_images(1, 3), CLASS_1 - 1, "grad_cam")
    with pytest.raises(UserError, match="needs a convolution"):
        attribute(linear(np.ones((3, 3, 1))), some_images(1, 3), CLASS_1, "grad_cam")
    with pytest.raises(UserError, match=r"window \(9, 9\).*does not cover an image 3x3"):
        attribute(linear(np.ones((3, 3, 1))), some_images(1, 3), CLASS_1, "occlusion", window=(9, 9))


def test_grad_cam_looks_at_the_relu_behind_the_last_convolution() -> None:
    network = small("batchnorm", 12, depth=2)
    assert cam_layers(network) == ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2"]
    images, targets = some_images(2, 12), torch.tensor([0, 3])
    default, named, other = (
        attribute(network, images, targets, "grad_cam", layer=layer) for layer in (None, "relu2", "pool1")
    )
    np.testing.assert_array_equal(default, named)
    assert (default != other).any()


def test_missing_captum_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(UserError, match=r"pip install 'regulens\[explain\]'"):
        attribute(small(), some_images(), torch.tensor([0, 3]), "gradient")
