"""Where a training computes. What is asked of a GPU is tested on every device that this machine has."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from regulens.data.batches import Feed, pixel_scaling
from regulens.data.dataset import Dataset
from regulens.errors import UserError
from regulens.spec import DataSpec, RunSpec
from regulens.training import loop
from regulens.training.device import find_device, recorded
from regulens.training.loop import Trained, train

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()
Make = Callable[..., RunSpec]


def same_bits(one: Trained, other: Trained) -> bool:
    return all(
        torch.equal(a, b)
        for a, b in zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:0", "cuda:-1", ""])
def test_another_word_is_no_device(name: str) -> None:
    with pytest.raises(UserError, match=f'device "{name}": must be cpu, cuda or cuda:N'):
        find_device(name)


def test_a_gpu_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r'device "cuda": torch .* finds no CUDA device \(.*\); use --device cpu$'):
        find_device("cuda")


def test_a_gpu_beyond_the_last_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(UserError, match='device "cuda:2": there are 2, the first is cuda:0'):
        find_device("cuda:2")


def test_on_the_cpu_nothing_is_recorded() -> None:
    def step(chosen: Tensor) -> None:
        raise AssertionError("a recorded step is run; this one must not be")

    assert recorded(step, 4, [], torch.Generator()) is step


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("regularizer", ["none", "l2(0.01)", "dropout(0.3)", "batchnorm + dropout(0.1)"])
def test_a_replayed_step_is_the_step_itself(
    regularizer: str, device: str, tiny_spec: Make, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny_spec(regularizer, epochs=3)
    replayed = train(spec, digits, device=device)
    monkeypatch.setattr(loop, "recorded", lambda step, *_: step)
    assert same_bits(replayed, train(spec, digits, device=device))


@pytest.mark.parametrize("device", DEVICES)
def test_a_run_repeats_its_bits_and_comes_back_to_the_cpu(device: str, tiny_spec: Make, digits: Dataset) -> None:
    spec = tiny_spec("batchnorm + dropout(0.1)", depth=2, epochs=2)
    first, second = (train(spec, digits, device=device) for _ in range(2))
    assert same_bits(first, second)
    assert {tensor.device.type for tensor in first.model.state_dict().values()} == {"cpu"}
    assert first.result.environment.device == ("cpu" if device == "cpu" else torch.cuda.get_device_name())


@pytest.mark.parametrize("device", DEVICES)
def test_every_device_standardizes_to_the_same_bits(device: str, digits: Dataset) -> None:
    scaling = pixel_scaling(digits, DataSpec(name="digits", scale=1 / 255, standardize=True), np.arange(100))
    there, here = (next(Feed(digits, scaling, place).batches(np.arange(30), 30))[0] for place in (device, "cpu"))
    assert torch.equal(there.cpu(), here)


@pytest.mark.parametrize("device", DEVICES)
def test_a_standardized_training_is_replayed_as_it_is(device: str, tiny_spec: Make, digits: Dataset) -> None:
    plain = tiny_spec("batchnorm", epochs=2)
    spec = plain.model_copy(update={"data": plain.data.model_copy(update={"standardize": True})})
    there, on_cpu = train(spec, digits, device=device).result, train(spec, digits).result
    assert there.train_loss == pytest.approx(on_cpu.train_loss, rel=1e-3)
    assert there.train_loss != pytest.approx(train(plain, digits).result.train_loss, rel=1e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_every_device_trains_to_about_the_same_loss(device: str, tiny_spec: Make, digits: Dataset) -> None:
    spec = tiny_spec("dropout(0.1)", epochs=3)
    here, on_cpu = train(spec, digits, device=device).result, train(spec, digits).result
    assert here.train_loss == pytest.approx(on_cpu.train_loss, rel=1e-3)
