"""A silenced filter costs what a direct computation says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from regulens.interpret.activations import filter_responses
from regulens.interpret.importance import filter_importance
from regulens.models.cnn import CNN, build_model
from regulens.spec import ModelSpec

SHAPE = (14, 12, 1)


def make(regularizer: str, **spec: Any) -> CNN:
    fields = {"filters": 5, "dense": 16} | spec
    model = build_model(ModelSpec.model_validate(fields), SHAPE, 4, regularizer, seed=3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # a batch norm that has seen something: it shifts, scales and turns signs
        for name, tensor in model.state_dict().items():
            if "running_var" in name:
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            elif "regularizer" in name:
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
        model.output.bias -= model.eval()(images()).mean(0)  # no class is said of all images
    return model


def images(count: int = 150) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(0))


def own_labels(model: CNN, x: Tensor) -> Tensor:
    """Three in four are what the network says, the others are not."""
    with torch.no_grad():
        said = model.eval()(x).argmax(1)
    return torch.where(torch.arange(len(x)) % 4 == 0, (said + 1) % 4, said)


def directly(model: CNN, x: Tensor, labels: Tensor, layer: str) -> NDArray[np.float64]:
    """Accuracy lost per filter by replacing its map behind the ReLU in ordinary torch modules."""
    network = model.expanded().eval()
    relu = network.get_submodule(layer.replace("conv", "relu"))

    def accuracy() -> float:
        with torch.no_grad():
            return float((network(x).argmax(1) == labels).double().mean())

    whole, lost = accuracy(), []
    for number in range(model.blocks[0].conv.out_channels):

        def replaced(_m: nn.Module, _i: Any, maps: Tensor, number: int = number) -> Tensor:
            maps = maps.clone()
            maps[:, number] = maps[:, number].double().mean().float()
            return maps

        handle = relu.register_forward_hook(replaced)
        lost.append(whole - accuracy())
        handle.remove()
    return np.array(lost)


@pytest.mark.parametrize("regularizer", ["none", "batchnorm", "dropout(0.4)", "batchnorm + dropout(0.4)"])
@pytest.mark.parametrize(
    "spec",
    [{"depth": 1}, {"depth": 2}, {"depth": 1, "pool": 1}, {"depth": 3, "padding": "same"}, {"filters": 1}],
    ids=["one", "two", "unpooled", "three", "single"],
)
def test_importance_equals_a_direct_computation(regularizer: str, spec: dict[str, Any]) -> None:
    model = make(regularizer, **spec)
    x = images()
    labels = own_labels(model, x)
    batches = [(x[:100], labels[:100]), (x[100:], labels[100:])]
    means = {name: each.mean for name, each in filter_responses(model.expanded(), batches, 4).items()}
    found = filter_importance(model.train(), batches, means)
    assert list(found) == [f"conv{number + 1}" for number in range(len(model.blocks))]
    for name, importance in found.items():
        assert importance.images == 150
        assert importance.accuracy == pytest.approx(112 / 150)
        np.testing.assert_allclose(importance.lost, directly(model, x, labels, name), atol=1.01 / 150)
        assert np.abs(importance.lost).max() > 0.05


def test_silencing_a_dead_filter_loses_nothing() -> None:
    model = make("none")
    with torch.no_grad():
        model.blocks[0].conv.bias[2] = -1000.0
    x = images()
    labels = own_labels(model, x)
    means = {name: each.mean for name, each in filter_responses(model.expanded(), [(x, labels)], 4).items()}
    assert means["conv1"][2] == 0
    assert filter_importance(model, [(x, labels)], means)["conv1"].lost[2] == 0


def test_a_network_that_rests_on_one_filter_falls_to_chance_without_it() -> None:
    """Bright images are class 1, dark ones class 0; filter 0 copies brightness, filter 1 nothing that is used."""
    model = build_model(ModelSpec(filters=2, kernel_size=1, pool=1, dense=1), (2, 2, 1), 2)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.zero_()
        model.blocks[0].conv.weight[:, 0, 0, 0] = 1.0
        model.dense.weight[0, ::2] = 1.0  # columns in (H, W, C) order: the first channel's
        model.output.weight[1, 0], model.output.bias[0] = 1.0, 2.1
    x = torch.cat([torch.zeros(6, 2, 2, 1), torch.ones(2, 2, 2, 1)])  # mean 1/4: four pixels sum up to 1 < 2.1
    labels = torch.tensor([0] * 6 + [1] * 2)
    means = {"conv1": np.array([0.25, 0.25])}
    found = filter_importance(model, [(x, labels)], means)["conv1"]
    assert found.accuracy == 1
    np.testing.assert_allclose(found.lost, [0.25, 0])


def test_importance_in_a_diverged_network_is_undefined() -> None:
    model = make("none")
    with torch.no_grad():
        model.output.bias[0] = float("nan")
    x = images(10)
    found = filter_importance(model, [(x, torch.zeros(10, dtype=torch.int64))], {"conv1": np.ones(5)})
    assert np.isnan(found["conv1"].lost).all()


def test_importance_on_no_images_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        filter_importance(make("none"), [], {"conv1": np.ones(5)})
