"""What layers answer: hooks that leave, maps before and after pooling, responses derived by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regulens.data.batches import PixelScaling
from regulens.errors import UserError
from regulens.interpret.activations import capture, feature_maps, filter_responses
from regulens.interpret.importance import filter_importance
from regulens.interpret.maximise import Prior, maximise
from regulens.interpret.receptive import ReceptiveField, receptive_fields
from regulens.models.cnn import CNN, build_model
from regulens.spec import ModelSpec


def tiny(shape: tuple[int, int, int] = (6, 6, 1), regularizer: str = "none", classes: int = 3, **spec: object) -> CNN:
    fields = {"filters": 2, "dense": 4, "pool": 2} | spec
    return build_model(ModelSpec.model_validate(fields), shape, classes, regularizer).eval()


def planted(kernels: list[Tensor], shape: tuple[int, int, int] = (6, 6, 1), **spec: object) -> CNN:
    """A network whose only convolution has these kernels (channels, 3, 3) and no bias."""
    model = tiny(shape, filters=len(kernels), **spec)
    with torch.no_grad():
        model.blocks[0].conv.weight.copy_(torch.stack(kernels))
    return model


def centre(value: float) -> Tensor:
    kernel = torch.zeros(1, 3, 3)
    kernel[0, 1, 1] = value
    return kernel


def positive(count: int, shape: tuple[int, int, int] = (6, 6, 1), seed: int = 0) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)) + 0.1


def test_captured_outputs_are_the_layers_own_and_the_hooks_leave() -> None:
    model = tiny()
    network = model.expanded()
    images = positive(2)
    with capture(network, ["relu1", "output"]) as outputs:
        logits = network(images)
    assert outputs["output"] is logits
    conv = model.blocks[0].conv
    torch.testing.assert_close(outputs["relu1"], F.relu(conv(images.permute(0, 3, 1, 2))))
    network(positive(2, seed=1))
    assert outputs["output"] is logits
    assert not any(module._forward_hooks for module in network.modules())


def test_hooks_leave_when_the_network_fails() -> None:
    network = tiny().expanded()
    with pytest.raises(RuntimeError), capture(network, ["conv1", "relu1"]):
        network(positive(1, (7, 7, 2)))
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("name", ["relu9", ""])
def test_unknown_layer_is_named_and_nothing_is_hooked(name: str) -> None:
    network = tiny().expanded()
    with pytest.raises(UserError, match=f'no layer is named "{name}"'), capture(network, ["relu1", name]):
        pass
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((8, 8, 1), {"depth": 1, "pool": 1, "filters": 1}),
        ((28, 20, 3), {"depth": 3, "padding": "same"}),
        ((224, 224, 3), {"depth": 1, "pool": 4}),
    ],
)
@pytest.mark.parametrize("regularizer", ["none", "batchnorm + dropout(0.5)"])
def test_feature_maps_follow_an_image_to_its_probabilities(
    shape: tuple[int, int, int], spec: dict[str, object], regularizer: str
) -> None:
    model = tiny(shape, regularizer, **spec).train()
    image = positive(1, shape)[0]
    seen = feature_maps(model.expanded(), image)
    by_name = {maps.layer: maps.maps for maps in seen.maps}
    np.testing.assert_array_equal(by_name["input"], image.permute(2, 0, 1))
    for number, block in enumerate(model.blocks, start=1):
        relu, pool = by_name[f"relu{number}"], by_name[f"pool{number}"]
        np.testing.assert_array_equal(relu, np.maximum(by_name[f"conv{number}"], 0))
        np.testing.assert_array_equal(pool, F.max_pool2d(torch.tensor(relu), block.pool))
        assert pool.shape[0] == block.conv.out_channels
        if regularizer != "none":
            scale = 1 / np.sqrt(1 + 1e-3)  # what a fresh batch norm divides by
            np.testing.assert_allclose(by_name[f"batchnorm{number}"], pool * scale, rtol=1e-5)
            np.testing.assert_array_equal(by_name[f"dropout{number}"], by_name[f"batchnorm{number}"])
    assert seen.maps[1].kind == "convolution"
    with torch.no_grad():
        logits = model.eval()(image[None])[0]
    np.testing.assert_allclose(seen.logits, logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(seen.probabilities, logits.softmax(0), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(seen.vectors["relu"], np.maximum(seen.vectors["dense"], 0))
    assert list(seen.vectors)[:2] == ["dense", "relu"]


def test_responses_of_copying_filters_are_those_of_the_pixels() -> None:
    network = planted([centre(2.0), centre(-1.0)]).expanded()  # twice the pixel behind the border; never above zero
    images = torch.zeros(3, 6, 6, 1)
    images[0, 2, 3] = 5.0
    images[2, 4, 1], images[2, 1, 1] = 8.0, 1.0
    found = filter_responses(network, [(images, torch.tensor([0, 0, 2]))], classes=4)["conv1"]
    assert found.images == 3
    np.testing.assert_array_equal(found.peak, [16.0, 0.0])
    np.testing.assert_allclose(found.mean, [(10 + 16 + 2) / 16 / 3, 0.0])
    np.testing.assert_allclose(found.active, [2 / 3, 0.0])
    np.testing.assert_array_equal(found.dead, [False, True])
    np.testing.assert_allclose(found.class_means[[0, 2]], [[10 / 16 / 2, 0], [18 / 16, 0]])
    assert np.isnan(found.class_means[[1, 3]]).all()
    np.testing.assert_array_equal(found.exciting, [[2, 0, -1], [-1, -1, -1]])
    np.testing.assert_array_equal(found.values, [[16.0, 10.0, 0.0], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(found.positions[0, :2], [[3, 0], [1, 2]])
    assert found.field.box(3, 0) == (3, 0, 6, 3)
    patch = found.field.cut(images[2].numpy(), 3, 0)
    assert patch.shape == (3, 3, 1)
    assert patch[1, 1, 0] == 8.0


def reused(images: Tensor, labels: Tensor, sizes: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches in one buffer that is overwritten."""
    buffer = torch.empty_like(images)
    at = 0
    for size in sizes:
        buffer[:size] = images[at : at + size]
        yield buffer[:size], labels[at : at + size]
        at += size


def test_responses_do_not_depend_on_the_batches() -> None:
    model = tiny((9, 8, 3), depth=2, filters=3, padding="same")
    images, labels = positive(10, (9, 8, 3)), torch.arange(10) % 3
    whole = filter_responses(model.expanded(), [(images, labels)], 3, keep=4)
    pieces = filter_responses(model.expanded(), reused(images, labels, [1, 6, 3]), 3, keep=4)
    assert list(whole) == ["conv1", "conv2"]
    for name, one in whole.items():
        many = pieces[name]
        np.testing.assert_array_equal(one.exciting, many.exciting)
        np.testing.assert_array_equal(one.positions, many.positions)
        np.testing.assert_allclose(one.class_means, many.class_means, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(one.values, many.values, rtol=1e-5)
        assert one.exciting.shape == (3, 4)


def test_responses_agree_with_numpy_in_double_precision() -> None:
    model = tiny((30, 30, 1), filters=4)
    images = 255 * positive(50, (30, 30, 1))
    found = filter_responses(model.expanded(), [(images, torch.arange(50) % 3)], 3)["conv1"]
    with torch.no_grad():
        maps = F.relu(model.blocks[0].conv(images.permute(0, 3, 1, 2))).numpy().astype(np.float64)
    np.testing.assert_allclose(found.mean, maps.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(found.peak, maps.max((0, 2, 3)), rtol=1e-5)
    np.testing.assert_array_equal(found.active, (maps > 0).any((2, 3)).mean(0))
    order = np.argsort(-maps.max((2, 3)), axis=0, kind="stable")[:9].T
    np.testing.assert_array_equal(found.exciting[~found.dead], order[~found.dead])


def test_of_equally_exciting_images_the_earlier_comes_first() -> None:
    network = planted([centre(1.0)]).expanded()
    images = torch.ones(5, 6, 6, 1)
    batches = [(images[:2], torch.zeros(2, dtype=torch.int64)), (images[2:], torch.zeros(3, dtype=torch.int64))]
    found = filter_responses(network, batches, 1, keep=3)["conv1"]
    np.testing.assert_array_equal(found.exciting, [[0, 1, 2]])
    np.testing.assert_array_equal(found.positions, np.zeros((1, 3, 2)))


def test_a_diverged_filter_is_not_dead_and_excites_by_nothing() -> None:
    network = planted([centre(float("nan")), centre(1.0)]).expanded()
    found = filter_responses(network, [(positive(4), torch.zeros(4, dtype=torch.int64))], 1)["conv1"]
    assert np.isnan(found.active[0])
    assert not found.dead.any()
    assert (found.exciting[0] == -1).all()
    assert (found.exciting[1] >= 0).all()


def test_responses_of_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        filter_responses(tiny().expanded(), [], 3)


@pytest.mark.parametrize(
    "spec",
    [
        {"depth": 1},
        {"depth": 2, "kernel_size": 2, "pool": 2},
        {"depth": 2, "kernel_size": 3, "pool": 2, "padding": "same"},
        pytest.param(
            {"depth": 2, "kernel_size": 4, "pool": 1, "padding": "same"},
            marks=pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel"),
        ),
        {"depth": 3, "kernel_size": 2, "pool": 1},
    ],
)
def test_a_position_sees_the_pixels_of_its_receptive_field_and_no_others(spec: dict[str, object]) -> None:
    """Every pixel is raised in turn; with positive kernels a map rises if and only if it sees the pixel."""
    side = 12
    model = tiny((side, side, 1), filters=1, **spec)
    with torch.no_grad():
        for block in model.blocks:
            block.conv.weight.abs_().add_(0.1)
    network = model.expanded()
    raised = torch.zeros(side * side + 1, side, side, 1)
    raised[:-1].view(-1, side * side).fill_diagonal_(1000.0)
    raised += 1.0
    fields = receptive_fields(network)
    names = [f"relu{number}" for number in range(1, len(model.blocks) + 1)]
    with torch.no_grad(), capture(network, names) as maps:
        network(raised)
    for name in names:
        for y, x in [(0, 0), (1, 2)]:
            column = maps[name][:, 0, y, x]
            seen = (column[:-1] > column[-1] * (1 + 1e-4)).view(side, side)
            expected = torch.zeros(side, side, dtype=torch.bool)
            top, left, bottom, right = fields[name].box(y, x)
            expected[max(top, 0) : bottom, max(left, 0) : right] = True
            assert torch.equal(seen, expected), (name, y, x)


def test_what_lies_outside_an_image_is_cut_as_nan() -> None:
    field = ReceptiveField(start=(-1, -1), size=(3, 3))
    patch = field.cut(np.arange(12, dtype=np.uint8).reshape(3, 4, 1), 2, 3)
    np.testing.assert_array_equal(patch[..., 0], [[6, 7, np.nan], [10, 11, np.nan], [np.nan] * 3])


def everything(model: CNN) -> list[object]:
    """All of a model that a method might leave changed."""
    return [
        [module.training for module in model.modules()],
        [(parameter.grad, parameter.requires_grad) for parameter in model.parameters()],
        [tensor.clone() for tensor in [*model.state_dict().values(), *model.buffers()]],
        [len(module._forward_hooks) for module in model.modules()],
        torch.random.get_rng_state(),
    ]


def respond(model: CNN, images: Callable[[], Tensor]) -> object:
    return filter_responses(model.expanded(), ((images(), torch.tensor([0, 1])) for _ in range(2)), 3)


def silence(model: CNN, images: Callable[[], Tensor]) -> object:
    means = {"conv1": np.ones(2), "conv2": np.ones(2)}
    return filter_importance(model, ((images(), torch.tensor([0, 1])) for _ in range(2)), means)


def follow(model: CNN, images: Callable[[], Tensor]) -> object:
    return feature_maps(model.expanded(), images()[0])


def ascend(model: CNN, images: Callable[[], Tensor]) -> object:
    return maximise(
        model.expanded(),
        "conv2",
        [0, 1],
        PixelScaling(1.0),
        torch.Generator().manual_seed(0),
        image_shape=(12, 12, 1),
        prior=Prior(steps=3),
        real=images(),
    )


@pytest.mark.parametrize("method", [respond, silence, follow, ascend])
@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_as_it_was(method: Callable[..., object], fails: bool) -> None:
    model = tiny((12, 12, 1), "batchnorm + dropout(0.3)", depth=2).train()
    model.blocks[0].eval()
    model.dense.weight.requires_grad_(False)
    model.output.bias.grad = torch.ones(3)
    before = copy.deepcopy(everything(model))
    left = iter([True, False, False] if method in {respond, silence} else [not fails])

    def images() -> Tensor:
        """Two good batches, or, where it fails, a good one, if there is a second, and one the network cannot take."""
        batch = positive(2, (12, 12, 1))
        return batch if next(left) or not fails else batch[:, :5, :5]

    if fails:
        with pytest.raises((RuntimeError, ValueError)):
            method(model, images)
    else:
        method(model, images)
    torch.testing.assert_close(everything(model), before, rtol=0, atol=0)


def test_a_convolution_without_a_relu_behind_it_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten())
    with pytest.raises(ValueError, match="must have a ReLU right behind it, got Flatten"):
        filter_responses(network, [], 3)
