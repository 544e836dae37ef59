"""One battery that every regularizer passes, and what each of them is by definition."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from typing_extensions import override

from regulens.data.batches import Feed, PixelScaling
from regulens.data.dataset import Dataset
from regulens.data.split import split
from regulens.models.cnn import CNN, build_model
from regulens.models.regularizers import (
    L2,
    REGULARIZERS,
    BatchNormLayer,
    Combined,
    DropoutLayer,
    ParameterGroups,
    Regularizer,
    build_regularizer,
)
from regulens.notation import ARGUMENTS, Argument, parse_regularizer
from regulens.spec import DataSpec, ModelSpec, RunSpec, TrainSpec
from regulens.training.environment import pinned_torch
from regulens.training.evaluate import evaluate
from regulens.training.loop import build_optimizer, build_run_model, train, train_step

IMAGE_SHAPE = (14, 14, 2)
CLASSES = 4
NOISE = DataSpec(name="own:noise")
SPEC = RunSpec(model=ModelSpec(depth=2, filters=5, dense=12), train=TrainSpec(learning_rate=0.1))


class Blank(Regularizer):
    """Shows the network black images only, and decays its convolution kernels: the two hooks none of ours uses."""

    def __init__(self, decay: float) -> None:
        self.decay = decay

    @override
    def batch(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(images), labels

    def parameter_groups(self, groups: ParameterGroups) -> ParameterGroups:
        return [
            part
            for group in groups
            for part in (
                {**group, "params": [p for p in group["params"] if p.ndim == 4], "weight_decay": self.decay},
                {**group, "params": [p for p in group["params"] if p.ndim != 4]},
            )
        ]


REGULARIZER_BY_NAME = {
    text: build_regularizer(text)
    for text in ("none", "l2(0.01)", "dropout(0.1)", "batchnorm", "batchnorm + dropout(0.1)")
} | {"neutral": Regularizer(), "custom": Blank(0.5), "combined custom": Combined([Blank(0.5), L2(0.01)])}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with pinned_torch():
        yield


@pytest.fixture(params=REGULARIZER_BY_NAME)
def regularizer(request: pytest.FixtureRequest) -> Regularizer:
    return REGULARIZER_BY_NAME[request.param]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model_with(regularizer: Regularizer, seed: int = 0) -> CNN:
    return build_model(SPEC.model, IMAGE_SHAPE, CLASSES, regularizer, seed)


def batch(images: int = 12) -> tuple[Tensor, Tensor]:
    stream = generator(99)
    pixels = torch.rand(images, *IMAGE_SHAPE, generator=stream)
    return pixels, torch.randint(0, CLASSES, (images,), generator=stream)


def activations(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=generator(5), dtype=dtype) * 2 + 1


def kernels(model: nn.Module) -> list[Tensor]:
    return [module.weight for module in model.modules() if isinstance(module, nn.Conv2d)]


def take_step(regularizer: Regularizer, model: CNN) -> float:
    optimizer = build_optimizer(SPEC, model, regularizer)
    images, labels = regularizer.batch(*batch(), generator(7))
    return train_step(model, optimizer, regularizer, images, labels)[0].item()


class TestBattery:
    """What the loop relies on, of every regularizer."""

    @pytest.mark.parametrize("shape", [(6, 3, 4, 8), (6, 8)], ids=["maps", "dense"])
    def test_layer_keeps_shape_and_type(self, regularizer: Regularizer, shape: tuple[int, ...]) -> None:
        layer = regularizer.layer(8, generator()) or nn.Identity()
        for training in (True, False):
            y = layer.train(training)(activations(shape))
            assert (y.shape, y.dtype) == (shape, torch.float32)
            assert y.isfinite().all()

    def test_layers_are_not_shared_between_places(self, regularizer: Regularizer) -> None:
        first, second = regularizer.layer(8, generator()), regularizer.layer(8, generator())
        assert first is None or first is not second

    def test_layer_leaves_its_input_unchanged(self, regularizer: Regularizer) -> None:
        layer = regularizer.layer(8, generator()) or nn.Identity()
        for training in (True, False):
            x = activations((6, 3, 4, 8))
            layer.train(training)(x)
            assert torch.equal(x, activations((6, 3, 4, 8)))

    def test_batch_leaves_the_callers_tensors_unchanged(self, regularizer: Regularizer) -> None:
        images, labels = batch()
        seen, targets = regularizer.batch(images, labels, generator())
        assert torch.equal(images, batch()[0])
        assert torch.equal(labels, batch()[1])
        assert (seen.shape, seen.dtype, targets.shape) == (images.shape, torch.float32, labels.shape)

    def test_penalty_is_a_finite_differentiable_scalar_or_none(self, regularizer: Regularizer) -> None:
        model = model_with(regularizer)
        before = copy.deepcopy(model.state_dict())
        penalty = regularizer.penalty(model)
        if penalty is not None:
            assert penalty.shape == ()
            assert penalty.isfinite()
            assert penalty >= 0
            assert penalty.requires_grad
            assert torch.equal(regularizer.penalty(model.eval()), penalty)  # the same in evaluation
        assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())

    def test_parameter_groups_hold_every_parameter_once(self, regularizer: Regularizer) -> None:
        model = model_with(regularizer)
        parameters = list(model.parameters())
        given_groups: ParameterGroups = [{"params": list(parameters)}]
        groups = regularizer.parameter_groups(given_groups)
        assert sorted(id(p) for group in groups for p in group["params"]) == sorted(map(id, parameters))
        assert [list(map(id, group["params"])) for group in given_groups] == [list(map(id, parameters))]

    def test_eval_mode_is_deterministic_and_keeps_the_state(self, regularizer: Regularizer) -> None:
        model = model_with(regularizer)
        take_step(regularizer, model)
        model.eval()
        before = copy.deepcopy(model.state_dict())
        assert torch.equal(model(batch()[0]), model(batch()[0]))
        assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())

    def test_eval_mode_judges_each_image_alone(self, regularizer: Regularizer) -> None:
        model = model_with(regularizer)
        take_step(regularizer, model)
        images = batch()[0]
        torch.testing.assert_close(model.eval()(images)[3:5], model(images[3:5]))

    def test_step_changes_the_parameters_and_not_the_images(self, regularizer: Regularizer) -> None:
        model = model_with(regularizer)
        before = copy.deepcopy(model.state_dict())
        images, labels = batch()
        train_step(model, build_optimizer(SPEC, model, regularizer), regularizer, images, labels)
        assert torch.equal(images, batch()[0])
        assert torch.equal(labels, batch()[1])
        for name, parameter in model.named_parameters():
            assert not torch.equal(parameter, before[name]), name

    def test_penalise_adds_the_gradient_of_the_penalty(self, regularizer: Regularizer) -> None:
        model = model_with(regularizer)
        parameters = list(model.parameters())
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, 0.5)
        penalty = regularizer.penalty(model)
        wanted = [0.5] * len(parameters)
        if penalty is not None:
            by = torch.autograd.grad(penalty, parameters, allow_unused=True)
            wanted = [0.5 if gradient is None else 0.5 + gradient for gradient in by]
        value = regularizer.penalise(model)
        assert (value is None) == (penalty is None)
        if value is not None and penalty is not None:
            assert value.item() == penalty.item()
            assert not value.requires_grad
        for parameter, expected in zip(parameters, wanted, strict=True):
            torch.testing.assert_close(parameter.grad, torch.as_tensor(expected).expand_as(parameter))

    def test_step_reports_the_loss_before_it_with_the_penalty(self, regularizer: Regularizer) -> None:
        model, twin = model_with(regularizer), model_with(regularizer)
        images, labels = batch()
        penalty = regularizer.penalty(twin)
        expected = nn.functional.cross_entropy(twin(images), labels) + (0 if penalty is None else penalty)
        loss, _ = train_step(model, build_optimizer(SPEC, model, regularizer), regularizer, images, labels)
        torch.testing.assert_close(loss, expected.detach())

    def test_same_seeds_give_the_same_steps(self, regularizer: Regularizer) -> None:
        model, twin = model_with(regularizer), model_with(regularizer)
        assert [take_step(regularizer, model) for _ in range(3)] == [take_step(regularizer, twin) for _ in range(3)]
        assert all(torch.equal(tensor, twin.state_dict()[name]) for name, tensor in model.state_dict().items())

    def test_training_leaves_torchs_global_generator_alone(self, regularizer: Regularizer) -> None:
        before = torch.get_rng_state()
        take_step(regularizer, model_with(regularizer))
        assert torch.equal(torch.get_rng_state(), before)

    def test_evaluation_reports_the_penalty_in_the_objective_and_not_in_the_loss(
        self, regularizer: Regularizer
    ) -> None:
        model, dataset = model_with(regularizer), tiny_dataset()
        judged = evaluate(model, regularizer, Feed(dataset, PixelScaling(1 / 255)), np.arange(20))
        wrong = -np.log(judged.probabilities[np.arange(20), dataset.labels[:20]]).mean()
        penalty = regularizer.penalty(model)
        assert judged.loss == pytest.approx(wrong, rel=1e-5)
        assert judged.objective == pytest.approx(wrong + (0 if penalty is None else penalty.item()), rel=1e-5)
        assert model.training


class TestNeutral:
    @pytest.mark.parametrize("neutral", [Regularizer(), build_regularizer("none")], ids=["base class", "none"])
    def test_neutral_hooks_do_nothing(self, neutral: Regularizer) -> None:
        images, labels = batch()
        groups: ParameterGroups = [{"params": []}]
        stream = generator()
        state = stream.get_state()
        seen, targets = neutral.batch(images, labels, stream)
        assert seen is images
        assert targets is labels
        assert neutral.layer(8, stream) is None
        assert neutral.penalty(model_with(neutral)) is None
        assert neutral.parameter_groups(groups) is groups
        assert torch.equal(stream.get_state(), state)

    def test_notation_and_table_know_the_same_kinds(self) -> None:
        assert REGULARIZERS.keys() == ARGUMENTS.keys()

    @pytest.mark.parametrize(("kind", "argument"), ARGUMENTS.items())
    def test_every_kind_is_built_from_its_example(self, kind: str, argument: Argument | None) -> None:
        made = build_regularizer(kind if argument is None else f"{kind}({argument.example})")
        assert isinstance(made, Combined)
        assert [type(part) for part in made.parts] == [REGULARIZERS[kind]]
        if argument is not None:
            assert getattr(made.parts[0], argument.name) == float(argument.example)


class TestL2:
    def test_penalty_is_strength_times_the_sum_of_squared_kernels(self) -> None:
        model = model_with(L2(0.25))
        with torch.no_grad():
            model.blocks[0].conv.weight.fill_(2.0)  # 5 filters of 3x3x2: 90 weights
            model.blocks[1].conv.weight.fill_(-1.0)  # 5 filters of 3x3x5: 225 weights
            model.dense.weight.fill_(100.0)
            model.dense.bias.fill_(100.0)
            model.blocks[0].conv.bias.fill_(100.0)
        assert L2(0.25).penalty(model).item() == 0.25 * (90 * 4 + 225 * 1)

    def test_gradient_is_twice_the_strength_times_the_kernel_and_nothing_else(self) -> None:
        model = model_with(L2(0.3)).double()
        L2(0.3).penalty(model).backward()
        for kernel in kernels(model):
            torch.testing.assert_close(kernel.grad, 2 * 0.3 * kernel.detach())
        others = [parameter for parameter in model.parameters() if parameter.ndim != 4]
        assert len(others) == 6
        assert all(parameter.grad is None for parameter in others)

    def test_strength_zero_trains_as_none(self) -> None:
        model, plain = model_with(L2(0.0)), model_with(Regularizer())
        assert take_step(L2(0.0), model) == take_step(Regularizer(), plain)
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))

    def test_step_differs_from_the_plain_one_by_the_penaltys_gradient(self) -> None:
        model, plain = model_with(L2(0.5)), model_with(Regularizer())
        initial = [kernel.detach().clone() for kernel in kernels(model)]
        take_step(L2(0.5), model)
        take_step(Regularizer(), plain)
        for start, shrunk, free in zip(initial, kernels(model), kernels(plain), strict=True):
            torch.testing.assert_close(free - shrunk, SPEC.train.learning_rate * 2 * 0.5 * start)


def masks(rate: float, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return which of the activations a dropout layer keeps, as 0 and 1."""
    return (DropoutLayer(rate, generator(seed))(torch.ones(shape)) != 0).double()


def correlation(a: Tensor, b: Tensor) -> float:
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()


class TestDropout:
    @pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
    def test_zeroes_its_share_of_the_activations(self, rate: float) -> None:
        kept = masks(rate, (50, 13, 13, 16))
        deviation = (rate * (1 - rate) * kept.numel()) ** 0.5
        assert abs(kept.sum().item() - (1 - rate) * kept.numel()) < 5 * deviation

    @given(rate=st.floats(0, 0.95), seed=st.integers(0, 1000))
    @settings(max_examples=30, deadline=None)
    def test_keeps_the_rest_scaled_up(self, rate: float, seed: int) -> None:
        x = activations((7, 11))
        y = DropoutLayer(rate, generator(seed))(x)
        drawn = round(rate * 65536) / 65536  # the nearest that 16 random bits can tell
        torch.testing.assert_close(y[y != 0], x[y != 0] / (1 - drawn))

    def test_keeps_the_mean_in_expectation(self) -> None:
        ones = torch.ones(100_000)
        deviation = (0.3 / 0.7 / len(ones)) ** 0.5
        assert abs(DropoutLayer(0.3, generator())(ones).mean().item() - 1) < 5 * deviation

    def test_gradient_flows_through_the_kept_activations_only(self) -> None:
        x = activations((8, 9)).requires_grad_()
        y = DropoutLayer(0.4, generator())(x)
        y.sum().backward()
        assert x.grad is not None
        torch.testing.assert_close(x.grad, (y.detach() != 0) / 0.6, rtol=2e-5, atol=0)

    def test_elements_are_dropped_independently(self) -> None:
        kept = masks(0.3, (100, 13, 13, 16))
        pairs = {
            "images": (kept[:-1], kept[1:]),
            "rows": (kept[:, :-1], kept[:, 1:]),
            "columns": (kept[:, :, :-1], kept[:, :, 1:]),
            "channels": (kept[..., :-1], kept[..., 1:]),
        }
        for axis, (one, next_one) in pairs.items():
            assert abs(correlation(one, next_one)) < 5 / one.numel() ** 0.5, axis

    def test_the_share_varies_between_maps_as_that_of_independent_elements(self) -> None:
        kept_by_map = masks(0.3, (200, 13, 13, 16)).sum((1, 2))
        binomial = 0.3 * 0.7 * 169
        # the sample variance of n nearly normal values has a standard deviation of variance * sqrt(2 / n)
        assert abs(kept_by_map.var().item() / binomial - 1) < 5 * (2 / kept_by_map.numel()) ** 0.5

    def test_steps_draw_independent_masks(self) -> None:
        layer = DropoutLayer(0.3, generator())
        first, second = ((layer(torch.ones(100, 500)) != 0).double() for _ in range(2))
        assert abs(correlation(first, second)) < 5 / first.numel() ** 0.5

    def test_layers_of_one_run_draw_independent_masks(self) -> None:
        stream, regularizer = generator(), build_regularizer("dropout(0.3)")
        layers = [regularizer.layer(500, stream) for _ in range(2)]
        first, second = ((layer(torch.ones(100, 500)) != 0).double() for layer in layers if layer is not None)
        assert abs(correlation(first, second)) < 5 / first.numel() ** 0.5

    def test_masks_follow_from_the_generators_seed(self) -> None:
        assert torch.equal(masks(0.5, (20, 20), seed=1), masks(0.5, (20, 20), seed=1))
        assert not torch.equal(masks(0.5, (20, 20), seed=1), masks(0.5, (20, 20), seed=2))

    def test_masks_come_from_its_own_generator_only(self) -> None:
        stream = generator()
        global_before, own_before = torch.get_rng_state(), stream.get_state()
        DropoutLayer(0.5, stream)(torch.ones(10))
        assert torch.equal(torch.get_rng_state(), global_before)
        assert not torch.equal(stream.get_state(), own_before)

    def test_is_off_in_eval_mode_and_draws_nothing(self) -> None:
        layer, x = DropoutLayer(0.9, generator()).eval(), activations((5, 6))
        assert torch.equal(layer(x), x)
        layer(x)
        assert torch.equal(layer.train()(x), DropoutLayer(0.9, generator())(x))


@dataclass(frozen=True)
class Moments:
    """Mean, biased variance and normalised values over all but the last axis, by the closed form in float64."""

    mean: Tensor
    variance: Tensor
    normalised: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Moments:
        rows = x.double().reshape(-1, x.shape[-1])
        mean = rows.sum(0) / len(rows)
        variance = ((rows - mean) ** 2).sum(0) / len(rows)
        return cls(mean, variance, ((rows - mean) / (variance + 1e-3) ** 0.5).reshape(x.shape))


class TestBatchNorm:
    @given(shape=st.lists(st.integers(1, 6), min_size=2, max_size=4), seed=st.integers(0, 1000))
    @settings(max_examples=40, deadline=None)
    def test_normalises_over_all_but_the_last_axis(self, shape: list[int], seed: int) -> None:
        stream = generator(seed)
        x, scale, shift = (torch.randn(s, generator=stream, dtype=torch.float64) for s in (shape, shape[-1], shape[-1]))
        layer = BatchNormLayer(shape[-1]).double()
        layer.load_state_dict(layer.state_dict() | {"weight": scale, "bias": shift})
        expected = Moments.of(x).normalised * scale + shift
        torch.testing.assert_close(layer(x).detach(), expected, rtol=1e-9, atol=1e-9)

    def test_float32_is_normalised_to_float32_accuracy(self) -> None:
        x = activations((100, 13, 13, 16)).relu()  # a batch behind the lab's first pooling
        layer, exact = BatchNormLayer(16), Moments.of(x)
        y = layer(x).detach().double()
        torch.testing.assert_close(y, exact.normalised, rtol=0, atol=1e-5)
        torch.testing.assert_close(layer.running_mean.double(), 0.01 * exact.mean, rtol=1e-5, atol=0)
        torch.testing.assert_close(layer.running_var.double(), 0.99 + 0.01 * exact.variance, rtol=1e-6, atol=0)

    def test_float32_gradients_have_float32_accuracy(self) -> None:
        inputs, upstream = activations((100, 13, 13, 16)), torch.randn(100, 13, 13, 16, generator=generator(6))
        gradients = []
        for dtype in (torch.float32, torch.float64):
            layer, x = BatchNormLayer(16).to(dtype), inputs.detach().to(dtype).requires_grad_()
            (layer(x) * upstream.to(dtype)).sum().backward()
            gradients.append([tensor.grad.double() for tensor in (x, layer.weight, layer.bias)])
        for single, double in zip(*gradients, strict=True):
            torch.testing.assert_close(single, double, rtol=0, atol=1e-5 * double.abs().max().item())

    def test_a_large_mean_does_not_cancel_the_variance(self) -> None:
        x = 250 + 0.1 * activations((5000, 4))  # E[x^2] - E[x]^2 in float32 would be off by half of it
        torch.testing.assert_close(BatchNormLayer(4)(x).double(), Moments.of(x).normalised, rtol=0, atol=0.01)

    def test_moving_statistics_keep_99_percent_each_step(self) -> None:
        layer = BatchNormLayer(3).double()
        mean, variance = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
        for step in range(4):
            x = activations((5, 2, 2, 3), torch.float64) * (step + 1)
            layer(x)
            mean = 0.99 * mean + 0.01 * Moments.of(x).mean
            variance = 0.99 * variance + 0.01 * Moments.of(x).variance
        torch.testing.assert_close(layer.running_mean, mean)
        torch.testing.assert_close(layer.running_var, variance)

    def test_eval_mode_uses_the_moving_statistics(self) -> None:
        layer = BatchNormLayer(2).double().eval()
        values = {"weight": [2.0, 3.0], "bias": [0.5, -0.5], "running_mean": [1.0, -1.0], "running_var": [4.0, 0.25]}
        layer.load_state_dict({name: torch.tensor(v, dtype=torch.float64) for name, v in values.items()})
        y = layer(torch.tensor([[3.0, 1.0], [1.0, -1.0]], dtype=torch.float64))
        expected = [[2 * 2 / 4.001**0.5 + 0.5, 3 * 2 / 0.251**0.5 - 0.5], [0.5, -0.5]]
        torch.testing.assert_close(y, torch.tensor(expected, dtype=torch.float64))

    def test_gradient_is_that_of_finite_differences(self) -> None:
        layer = BatchNormLayer(3).double()
        x = activations((4, 2, 1, 3), torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(layer, (x,))

    def test_one_row_is_normalised_to_the_shift(self) -> None:
        layer = BatchNormLayer(4)
        y = layer(activations((1, 4)))
        torch.testing.assert_close(y, torch.zeros(1, 4))
        torch.testing.assert_close(layer.running_var, torch.full((4,), 0.99))

    def test_a_constant_channel_stays_finite(self) -> None:
        layer = BatchNormLayer(2)
        y = layer(torch.full((10, 2), 250.0).requires_grad_())
        torch.testing.assert_close(y, torch.zeros(10, 2), rtol=0, atol=1e-2)
        assert (layer.running_var >= 0.99 - 1e-6).all()


class Named(Regularizer):
    """Notes in a shared list when its hooks are called."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self.name, self.calls = name, calls

    @override
    def batch(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        self.calls.append(f"batch {self.name}")
        return images, labels

    def parameter_groups(self, groups: ParameterGroups) -> ParameterGroups:
        self.calls.append(f"groups {self.name}")
        return groups


class TestCombined:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("batchnorm + dropout(0.1)", [BatchNormLayer, DropoutLayer]),
            ("dropout(0.1) + l2(0.01) + batchnorm", [DropoutLayer, BatchNormLayer]),
        ],
    )
    def test_layers_stand_in_the_order_written(self, text: str, expected: list[type[nn.Module]]) -> None:
        layer = build_regularizer(text).layer(8, generator())
        assert isinstance(layer, nn.Sequential)
        assert [type(part) for part in layer] == expected

    def test_penalties_add_up(self) -> None:
        model = model_with(Regularizer())
        total = Combined([L2(0.1), Regularizer(), L2(0.2)]).penalty(model)
        torch.testing.assert_close(total, L2(0.3).penalty(model))

    def test_hooks_are_called_in_the_order_written(self) -> None:
        calls: list[str] = []
        both = Combined([Named("first", calls), Named("second", calls)])
        both.batch(*batch(), generator())
        both.parameter_groups([{"params": []}])
        assert calls == ["batch first", "batch second", "groups first", "groups second"]


def tiny_dataset() -> Dataset:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 60).astype(np.uint8)
    return Dataset("own:noise", rng.integers(0, 256, (60, *IMAGE_SHAPE), np.uint8), labels, tuple("abcd"))


class TestCustom:
    def test_optimizer_honours_parameter_groups(self) -> None:
        optimizer = build_optimizer(SPEC, model_with(Blank(0.5)), Blank(0.5))
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0]
        assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1]
        assert {parameter.ndim for parameter in optimizer.param_groups[0]["params"]} == {4}

    def test_step_adds_the_decay_to_the_plain_one(self) -> None:
        model, plain = model_with(Blank(0.5)), model_with(Regularizer())
        initial = [kernel.detach().clone() for kernel in kernels(model)]
        images, labels = batch()
        for network, regularizer in ((model, Blank(0.5)), (plain, Regularizer())):
            train_step(network, build_optimizer(SPEC, network, regularizer), regularizer, images, labels)
        for start, decayed, free in zip(initial, kernels(model), kernels(plain), strict=True):
            torch.testing.assert_close(free - decayed, 0.1 * 0.5 * start)
        assert torch.equal(model.dense.weight, plain.dense.weight)

    def test_a_new_regularizer_is_a_class_and_a_line_in_each_table(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(ARGUMENTS, "blank", Argument("decay", "at least 0", "0.5", lambda value: value >= 0))
        monkeypatch.setitem(REGULARIZERS, "blank", Blank)
        assert [str(term) for term in parse_regularizer("blank(0.5)")] == ["blank(0.5)"]
        model = ModelSpec(depth=1, filters=5, dense=12)
        spec = RunSpec(model=model, train=TrainSpec(epochs=2, batch_size=10), data=NOISE, regularizer="blank(0.5)")
        dataset = tiny_dataset()
        steps = 2 * -(-len(split(60, spec.data).train) // 10)
        initial, trained = build_run_model(spec, dataset), train(spec, dataset).model
        # black images give the first kernels no gradient: all that the loop does to them is the decay
        torch.testing.assert_close(kernels(trained)[0], kernels(initial)[0] * (1 - 0.01 * 0.5) ** steps)
        assert not torch.equal(trained.output.bias, initial.output.bias)

    def test_the_loop_hands_each_batch_and_a_stream_of_the_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[tuple[int, int]] = []

        class Watching(Regularizer):
            def batch(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
                draw = torch.randint(0, 2**31, (), generator=generator)
                seen.append((len(images), int(draw)))
                return images, labels

        monkeypatch.setitem(ARGUMENTS, "watching", None)
        monkeypatch.setitem(REGULARIZERS, "watching", Watching)
        spec = RunSpec(
            data=DataSpec(name="own:noise"),
            model=SPEC.model,
            train=TrainSpec(epochs=2, batch_size=16),
            regularizer="watching",
        )
        for seed in (0, 0, 1):
            train(spec.model_copy(update={"seed": seed}), tiny_dataset())
        first, again, other = seen[:6], seen[6:12], seen[12:]
        assert [images for images, _ in first] == [16, 16, 10] * 2  # 42 images
        assert len({draw for _, draw in first}) == len(first)
        assert first == again
        assert first != other


class Shifts(nn.Module):
    """Moves each channel, at first by nothing: zeros are no end of the gradient's way."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.by


class Shifting(Regularizer):
    @override
    def layer(self, features: int, generator: torch.Generator) -> nn.Module:
        return Shifts(features)


@pytest.mark.parametrize(
    ("regularizer", "kept"),
    [
        ("none", True),
        ("l2(0.01)", True),
        ("dropout(0.1)", True),
        ("batchnorm", False),
        ("dropout(0.1) + batchnorm", False),
        (Shifting(), False),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_dense_layer_reads_a_relu_where_no_layer_between_moves_zeros(
    regularizer: Regularizer | str, kept: bool
) -> None:
    assert build_model(SPEC.model, IMAGE_SHAPE, CLASSES, regularizer).rectified == kept


def test_a_layer_behind_dead_filters_that_moves_zeros_gets_its_gradient() -> None:
    model = build_model(SPEC.model, IMAGE_SHAPE, CLASSES, Shifting(), seed=1)
    nn.init.constant_(model.blocks[-1].conv.bias[1:], -100)
    exact = copy.deepcopy(model).double()
    images, labels = torch.rand(6, *IMAGE_SHAPE), torch.arange(6) % CLASSES
    for network in (model, exact):
        nn.functional.cross_entropy(network(images.to(network.dense.weight.dtype)), labels).backward()
    shift, its_exact = (network.blocks[-1].regularizer.by.grad for network in (model, exact))
    assert (shift[1:] != 0).all()
    torch.testing.assert_close(shift.double(), its_exact, rtol=1e-4, atol=1e-6)
