"""The lean optimiser: the numbers of torch's, without what it does around a step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from regulens.training.optimizer import SGD

SHAPES = ((3, 4), (4,), (2, 3, 3, 3))


def parameters() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def loss_of(weights: list[torch.nn.Parameter], step: int) -> Tensor:
    return torch.stack([(weight.sin() * (step + 1)).square().sum() for weight in weights]).sum()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_ten_steps_equal_those_of_torch(momentum: float, decay: float) -> None:
    ours, theirs = parameters(), parameters()
    optimizer = SGD([{"params": ours[:1], "weight_decay": decay}, {"params": ours[1:], "lr": 0.02}], 0.01, momentum)
    torchs = torch.optim.SGD(
        [{"params": theirs[:1], "weight_decay": decay}, {"params": theirs[1:], "lr": 0.02}], 0.01, momentum
    )
    for step in range(10):
        loss_of(ours, step).backward()
        optimizer.step()
        torchs.zero_grad()
        loss_of(theirs, step).backward()
        torchs.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_a_step_drops_the_gradients() -> None:
    weights = parameters()
    optimizer = SGD([{"params": weights}], 0.01, 0.0)
    loss_of(weights, 0).backward()
    optimizer.step()
    assert all(weight.grad is None for weight in weights)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_parameter_without_gradient_is_left_alone(momentum: float) -> None:
    weights = parameters()
    before = [weight.detach().clone() for weight in weights]
    optimizer = SGD([{"params": weights}], 0.01, momentum)
    for _ in range(2):
        loss_of(weights[:2], 0).backward()
        optimizer.step()
    assert [torch.equal(weight, start) for weight, start in zip(weights, before, strict=True)] == [False, False, True]


def test_an_unknown_key_of_a_group_is_named() -> None:
    with pytest.raises(ValueError, match="unknown nesterov; known: lr, momentum, weight_decay"):
        SGD([{"params": parameters(), "nesterov": True}], 0.01, 0.9)
