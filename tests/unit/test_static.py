"""Passes over memory laid once: the bits of autograd, and where they are of no use."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from regulens.data.dataset import Dataset
from regulens.kernels import bound, ops
from regulens.kernels.paths import native_levels, using_kernels
from regulens.models.cnn import CNN, build_model
from regulens.models.regularizers import Regularizer, build_regularizer
from regulens.spec import ModelSpec, RunSpec
from regulens.training.loop import build_optimizer, train, train_step
from regulens.training.static import StaticNetwork, by_autograd, differentiation_of

pytestmark = pytest.mark.skipif(not native_levels(), reason="this installation has no native kernels")
Make = Callable[..., RunSpec]
REGULARIZERS = ("none", "l2(0.01)", "dropout(0.3)", "batchnorm", "batchnorm + dropout(0.1) + l2(0.001)", "dropout(0)")
SHAPE, CLASSES = (12, 11, 3), 5


def model_of(regularizer: str = "none", **sizes: object) -> CNN:
    return build_model(ModelSpec(filters=6, dense=7, **sizes), SHAPE, CLASSES, regularizer, seed=3).train()


def batches(*counts: int) -> list[tuple[Tensor, Tensor]]:
    stream = torch.Generator().manual_seed(1)
    return [
        (torch.rand(count, *SHAPE, generator=stream), torch.randint(CLASSES, (count,), generator=stream))
        for count in counts
    ]


@pytest.mark.parametrize("dead", [0, 4, 6], ids="{} dead".format)
@pytest.mark.parametrize("isa", native_levels())
@pytest.mark.parametrize("sizes", [{"depth": 1}, {"depth": 2, "padding": "same"}, {"depth": 2, "kernel_size": 2}])
@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_steps_are_autograds_bit_for_bit(regularizer: str, sizes: dict[str, object], isa: str, dead: int) -> None:
    spec = RunSpec(data={"name": "digits"}, regularizer=regularizer, train={"momentum": 0.5, "learning_rate": 0.1})
    with using_kernels("native", isa):
        one, other = model_of(regularizer, **sizes), model_of(regularizer, **sizes)
        for block in (*one.blocks, *other.blocks):
            nn.init.constant_(block.conv.bias[:dead], -100)  # filters that no image makes positive
        hooks = build_regularizer(regularizer)
        optimizers = [build_optimizer(spec, model, hooks) for model in (one, other)]
        static = differentiation_of(other)
        assert isinstance(static, StaticNetwork)
        for images, labels in batches(9, 9, 4, 9, 1):
            before = images.clone()
            loss, hits = train_step(
                one, optimizers[0], hooks, images, labels,
                differentiate=lambda x, y: by_autograd(one, x, y),
            )  # fmt: skip
            its_loss, its_hits = train_step(other, optimizers[1], hooks, images, labels, differentiate=static)
            assert (loss.item(), hits.item()) == (its_loss.item(), its_hits.item())
            assert torch.equal(images, before)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_gradients_are_those_of_the_reference_but_for_rounding() -> None:
    """By autograd through torch's own operations in float64, no native code among them."""
    [(images, labels)] = batches(8)
    model = model_of(depth=2)
    StaticNetwork(model)(images, labels)
    exact = model_of(depth=2).double()
    with using_kernels("reference"):
        by_autograd(exact, images.double(), labels)
    for mine, theirs in zip(model.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-4, atol=1e-6)


def test_a_run_has_the_bits_that_it_has_by_autograd(
    tiny_spec: Make, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny_spec("batchnorm + dropout(0.1)", depth=2, epochs=2)
    static = train(spec, digits)
    monkeypatch.setattr(StaticNetwork, "fits", lambda _: False)
    plain = train(spec, digits)
    assert static.result.epochs[-1].objective == plain.result.epochs[-1].objective
    np.testing.assert_array_equal(static.probabilities, plain.probabilities)


def test_images_in_any_layout_are_taken() -> None:
    [(images, labels)] = batches(6)
    model = model_of()
    static = StaticNetwork(model)
    expected = [loss.item() for loss in static(images, labels)]
    turned = images.transpose(1, 2).contiguous().transpose(1, 2)
    assert [loss.item() for loss in static(turned, labels.repeat_interleave(2)[::2])] == expected


class Plain(nn.Module):
    """A layer that autograd alone can follow."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x)


class Squashing(Regularizer):
    @override
    def layer(self, features: int, generator: torch.Generator) -> nn.Module:
        return Plain()


def test_what_is_not_native_goes_through_autograd() -> None:
    assert StaticNetwork.fits(model_of("batchnorm"))
    with using_kernels("reference"):
        assert not StaticNetwork.fits(model_of())
    assert not StaticNetwork.fits(model_of().double())
    assert not StaticNetwork.fits(model_of(pool=3))
    assert not StaticNetwork.fits(model_of(kernel_size=8))
    squashing = build_model(ModelSpec(filters=6, dense=7), SHAPE, CLASSES, Squashing(), seed=3)
    assert not StaticNetwork.fits(squashing)
    [(images, labels)] = batches(4)
    differentiation_of(squashing)(images, labels)
    assert all(parameter.grad is not None for parameter in squashing.parameters())


def test_kernels_may_change_from_step_to_step() -> None:
    [(images, labels)] = batches(4)
    model = model_of("batchnorm")
    static = differentiation_of(model)
    losses = [static(images, labels)[0].item()]
    with using_kernels("reference"):
        losses.append(static(images, labels)[0].item())
    losses.append(static(images, labels)[0].item())
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_wrong_images_and_labels_are_named() -> None:
    static = StaticNetwork(model_of())
    [(images, labels)] = batches(4)
    for images_, labels_, error, words in (
        (images.double(), labels, ValueError, r"x must be contiguous float32 \(4, 12, 11, 3\) .* got .*float64"),
        (images[:, :5], labels, ValueError, r"got \(4, 5, 11, 3\)"),
        (images, labels.int(), ValueError, r"labels must be \(4,\) int64, got \(4,\) torch.int32"),
        (images, labels[:2], ValueError, r"got \(2,\)"),
        (images, labels + CLASSES, IndexError, r"label \d+ is not in \[0, 5\)"),
    ):
        with pytest.raises(error, match=words):
            static(images_, labels_)


class TestBound:
    def test_operations_are_those_of_ops(self) -> None:
        stream = torch.Generator().manual_seed(5)
        x, weight, bias = (torch.randn(size, generator=stream) for size in ((3, 9, 8, 4), (5, 4, 3, 3), (5,)))
        upstream = torch.randn(3, 3, 3, 5, generator=stream)
        operation = bound.BoundConvReluPool(x, weight, bias, "valid", 2)
        operation.forward()
        leaves = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
        pooled = ops.conv_relu_pool(*leaves)
        expected = torch.autograd.grad(pooled, leaves, upstream)
        assert torch.equal(operation.out, pooled)
        by_input = operation.backward(upstream)
        for mine, theirs in zip((by_input, *(by for _, by in operation.gradients)), expected, strict=True):
            assert torch.equal(mine, theirs)

    def test_what_does_not_fit_is_named(self) -> None:
        x, weight, bias = torch.zeros(2, 6, 6, 3), torch.zeros(4, 3, 3, 3), torch.zeros(4)
        for arguments, words in (
            ((x.transpose(1, 2), weight, bias, "valid", 2), "must be contiguous float32 on the CPU"),
            ((x.double(), weight.double(), bias.double(), "valid", 2), "must be contiguous float32 on the CPU"),
            ((x, weight, bias, "valid", 3), "no native kernel for weight"),
            ((x, weight[:, :2], bias, "valid", 2), "do not fit"),
        ):
            with pytest.raises(ValueError, match=words):
                bound.BoundConvReluPool(*arguments)
        operation = bound.BoundConvReluPool(x, weight, bias, "valid", 2)
        for grad in (torch.zeros(2, 2, 2, 3), torch.zeros(2, 2, 4, 2).transpose(2, 3)):
            with pytest.raises(ValueError, match=r"gradient must be contiguous \(2, 2, 2, 4\)"):
                operation.backward(grad)
        with using_kernels("reference"), pytest.raises(ValueError, match="the native kernels are not in use"):
            bound.BoundDropout(x, 0.5, 1, lambda: torch.tensor(1))
