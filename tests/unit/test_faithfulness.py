"""Deletion, insertion and the check against random weights, on networks of which the answer is known."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from regulens.errors import UserError
from regulens.interpret import faithfulness as module
from regulens.interpret.faithfulness import SANITY_THRESHOLD, Curves, Sanity, faithfulness, randomised, sanity_check
from regulens.interpret.inputs import blurred
from regulens.models.cnn import build_model
from regulens.spec import ModelSpec

SIDE = 5
PIXEL = (1, 3)


def reads_one_pixel(channels: int = 1) -> nn.Sequential:
    """Class 1 is likely where one pixel is bright: its logit is 8 times the pixel, less 4."""
    output = nn.Linear(SIDE * SIDE * channels, 2)
    with torch.no_grad():
        output.weight.zero_()
        output.bias.copy_(torch.tensor([0.0, -4.0]))
        output.weight[1].reshape(SIDE, SIDE, channels)[PIXEL] = 8.0 / channels
    return nn.Sequential(OrderedDict(flatten=nn.Flatten(), output=output))


def bright_pixel(channels: int = 1, images: int = 1) -> Tensor:
    image = torch.zeros(images, SIDE, SIDE, channels)
    image[:, PIXEL[0], PIXEL[1]] = 1
    return image


def points_at_it(images: int = 1) -> np.ndarray:
    maps = np.random.default_rng(0).random((images, SIDE, SIDE)).astype(np.float32)
    maps[:, PIXEL[0], PIXEL[1]] = 2
    return maps


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


CLASS_1 = torch.tensor([1])
PIXELS = SIDE * SIDE


@pytest.mark.parametrize("channels", [1, 3])
def test_deleting_the_true_pixel_drops_the_probability_at_once(channels: int) -> None:
    image = bright_pixel(channels)
    found = faithfulness(reads_one_pixel(channels), image, CLASS_1, {"true": points_at_it()}, 0, steps=PIXELS)
    seen, hidden = (1 / (1 + math.exp(4 - 8 * value)) for value in (1, float(blurred(image)[0, *PIXEL, 0])))
    curves = found.methods["true"]
    np.testing.assert_allclose(curves.deletion[0], [seen] + [hidden] * PIXELS, rtol=1e-5)
    np.testing.assert_allclose(curves.insertion[0], [hidden] + [seen] * PIXELS, rtol=1e-5)
    step = (seen - hidden) / 2 / PIXELS
    assert curves.deletion_area == pytest.approx(hidden + step)
    assert curves.insertion_area == pytest.approx(seen - step)


def test_a_map_that_points_elsewhere_deletes_it_last() -> None:
    found = faithfulness(
        reads_one_pixel(), bright_pixel(), CLASS_1, {"false": -points_at_it()}, 0, steps=PIXELS
    ).methods["false"]
    assert np.ptp(found.deletion[0, :-1]) == 0
    assert found.deletion[0, -1] < 0.5 < found.deletion[0, -2]


def test_random_orders_lie_between_and_come_upon_the_pixel_halfway() -> None:
    maps = {"true": points_at_it(), "false": -points_at_it()}
    found = faithfulness(reads_one_pixel(), bright_pixel(), CLASS_1, maps, 0, steps=PIXELS, random_orders=200)
    best, worst = (found.methods[name].deletion_area for name in maps)
    assert found.random_deletion_areas.shape == (200, 1)
    assert (found.random_deletion_areas >= best - 1e-9).all()
    assert (found.random_deletion_areas <= worst + 1e-9).all()
    assert found.random_deletion_areas.mean() == pytest.approx((best + worst)[0] / 2, abs=0.06)
    ends = [found.methods[name].insertion_area[0] for name in maps]
    assert found.random_insertion_areas.mean() == pytest.approx(np.mean(ends), abs=0.06)


def test_curves_start_and_end_at_the_image_and_its_blur() -> None:
    network = build_model(ModelSpec(filters=3, dense=5), (9, 9, 3), 4, "batchnorm", seed=1).expanded().eval()
    images, targets = torch.rand(3, 9, 9, 3), torch.tensor([0, 3, 1])
    found = faithfulness(network, images, targets, {"any": images.mean(3).numpy()}, 0, steps=7, random_orders=2)
    with torch.no_grad():
        seen, hidden = (network(each).softmax(1)[range(3), targets].numpy() for each in (images, blurred(images)))
    for curves in (found.methods["any"], *found.random):
        np.testing.assert_allclose(curves.fractions, np.round(81 * np.arange(8) / 7) / 81)
        assert curves.deletion.shape == curves.insertion.shape == (3, 8)
        for name, first, last in (("deletion", seen, hidden), ("insertion", hidden, seen)):
            np.testing.assert_allclose(getattr(curves, name)[:, 0], first, rtol=1e-5)
            np.testing.assert_allclose(getattr(curves, name)[:, -1], last, rtol=1e-5)


def test_area_is_that_of_the_trapezoids() -> None:
    curves = Curves(np.array([0, 0.25, 1]), np.array([[[1.0, 0.5, 0.5]]]), np.array([[[0.0, 1.0, 0.0]]]))
    assert curves.deletion_area == pytest.approx(0.25 * 0.75 + 0.75 * 0.5)
    assert curves.insertion_area == pytest.approx(0.5)


def test_the_area_of_several_orders_is_the_mean_of_theirs_and_of_the_mean_curve() -> None:
    deletions, insertions = rng().random((2, 4, 3, 6))
    curves = Curves(np.linspace(0, 1, 6), deletions, insertions)
    assert curves.deletion_areas.shape == (4, 3)
    np.testing.assert_allclose(curves.deletion_area, np.trapezoid(deletions.mean(0), curves.fractions))
    np.testing.assert_allclose(curves.insertion_area, curves.insertion_areas.mean(0))


def areas_of_every_order(values: np.ndarray, image: Tensor, network: nn.Sequential) -> np.ndarray:
    """Return deletion and insertion areas (2, orders) for every way to break the ties of a map (H, W)."""
    blocks = [np.flatnonzero(values.ravel() == each) for each in sorted(set(values.ravel()), reverse=True)]
    found = []
    for parts in itertools.product(*(itertools.permutations(block) for block in blocks)):
        order = np.concatenate(parts)
        pair = []
        for first, second in ((image, blurred(image, 1)), (blurred(image, 1), image)):
            steps = first.repeat(values.size + 1, 1, 1, 1).reshape(values.size + 1, -1)
            for count in range(values.size + 1):
                steps[count, order[:count]] = second.ravel()[order[:count]]
            with torch.no_grad():
                chances = network(steps.reshape(-1, *image.shape[1:])).double().softmax(1)[:, 1].numpy()
            pair.append(np.trapezoid(chances, dx=1 / values.size))
        found.append(pair)
    return np.array(found).T


def test_areas_over_random_tie_breaks_are_those_over_all_orders() -> None:
    output = nn.Linear(6, 2)
    with torch.no_grad():
        output.weight.copy_(torch.tensor([[0.0] * 6, [3.0, -2.0, 2.0, -3.0, 1.0, 4.0]]))
        output.bias.copy_(torch.tensor([6.0, 0.0]))
    network = nn.Sequential(OrderedDict(flatten=nn.Flatten(), output=output))
    image = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.5, 1.0]).reshape(1, 2, 3, 1)
    values = np.array([[[0, 3, 0], [0, 1, 0]]], np.float32)  # 24 orders of the zeros
    exact = areas_of_every_order(values[0], image, network)
    found = faithfulness(network, image, CLASS_1, {"m": values}, steps=6, tie_breaks=500, blur=1).methods["m"]
    for areas, every in zip((found.deletion_areas, found.insertion_areas), exact, strict=True):
        assert areas.mean() == pytest.approx(every.mean(), abs=4 * every.std() / 500**0.5)
        assert (areas.min(), areas.max()) == pytest.approx((every.min(), every.max()))
        assert every.max() - every.min() > 0.02


def test_a_map_without_ties_has_one_area() -> None:
    found = faithfulness(reads_one_pixel(), bright_pixel(), CLASS_1, {"true": points_at_it()}).methods["true"]
    assert np.ptp(found.deletion_areas) == np.ptp(found.insertion_areas) == 0


def test_a_maps_numbers_do_not_depend_on_what_else_is_asked_for() -> None:
    network = build_model(ModelSpec(filters=3, dense=5), (9, 9, 1), 4, seed=1).expanded().eval()
    images, targets = torch.rand(3, 9, 9, 1), torch.tensor([0, 3, 1])
    flat = {name: (images[..., 0] > level).float().numpy() for name, level in (("a", 0.3), ("b", 0.5), ("c", 0.7))}
    whole = faithfulness(network, images, targets, flat, 5)
    for name, values in flat.items():
        alone = faithfulness(network, images, targets, {name: values}, 5)
        np.testing.assert_array_equal(alone.methods[name].deletions, whole.methods[name].deletions)
        np.testing.assert_array_equal(alone.random_deletion_areas, whole.random_deletion_areas)
    turned = {name: flat[name][::-1].copy() for name in reversed(flat)}
    other = faithfulness(network, images.flip(0), targets.flip(0), turned, 5)
    for name in flat:
        np.testing.assert_allclose(other.methods[name].insertions[:, ::-1], whole.methods[name].insertions, rtol=1e-6)
    same = faithfulness(
        network,
        images[[0, 0]] + torch.tensor([0.0, 1e-3])[:, None, None, None],
        targets[[0, 0]],
        {"a": flat["a"][[0, 0]]},
        5,
    )
    assert (same.random_deletion_areas[:, 0] - same.random_deletion_areas[:, 1]).std() > 1e-4  # each image its own


def test_equally_important_pixels_come_in_random_order() -> None:
    flat = {"flat": np.zeros((1, SIDE, SIDE), np.float32)}
    arguments = reads_one_pixel(), bright_pixel(), CLASS_1, flat
    areas = {faithfulness(*arguments, seed).methods["flat"].deletion_area[0] for seed in range(8)}
    assert len(areas) > 1
    first, again = (faithfulness(*arguments, 3).methods["flat"].deletion for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_bounded_batches_give_the_same_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = reads_one_pixel(), bright_pixel(), CLASS_1, {"true": points_at_it()}
    at_once = faithfulness(*arguments, 0).methods["true"]
    monkeypatch.setattr(module, "images_at_once", lambda *_: 2)
    np.testing.assert_allclose(faithfulness(*arguments, 0).methods["true"].deletion, at_once.deletion, rtol=1e-6)


def test_the_network_is_left_as_it_was_also_when_it_fails() -> None:
    class Fails(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            raise RuntimeError("as planned")

    network = reads_one_pixel().train()
    network.flatten.eval()
    stream = torch.get_rng_state()
    arguments = network, bright_pixel(), CLASS_1, {"true": points_at_it()}
    faithfulness(*arguments, 0)
    modes = [network.training, network.flatten.training]
    network.append(Fails())
    with pytest.raises(RuntimeError, match="as planned"):
        faithfulness(*arguments, 0)
    assert modes == [network.training, network.flatten.training] == [True, False]
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(stream, torch.get_rng_state())


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"maps of true must be \(1, 5, 5\), got \(2, 5, 5\)"):
        faithfulness(reads_one_pixel(), bright_pixel(), CLASS_1, {"true": points_at_it(2)}, 0)
    with pytest.raises(UserError, match="classes 0 to 1, got 2"):
        faithfulness(reads_one_pixel(), bright_pixel(), CLASS_1 + 1, {"true": points_at_it()}, 0)


# random weights


def trained() -> nn.Sequential:
    network = build_model(ModelSpec(filters=3, dense=5), (9, 9, 1), 4, "batchnorm", seed=1).expanded()
    with torch.no_grad():
        for number, tensor in enumerate(network.state_dict().values(), start=1):
            tensor.fill_(number)
    return network


def test_random_weights_are_those_before_training_and_the_network_is_not_touched() -> None:
    network = trained()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fresh = randomised(network, torch.Generator().manual_seed(0))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert tensor.data_ptr() != fresh.state_dict()[name].data_ptr()
    initial = build_model(ModelSpec(filters=3, dense=5), (9, 9, 1), 4, "batchnorm", seed=7).expanded().state_dict()
    for name, tensor in fresh.state_dict().items():
        if tensor.ndim == 1:  # biases and normalisation
            assert torch.equal(tensor, initial[name])
        else:  # Glorot uniform: the same bound, reached by some
            bound = math.sqrt(6 / sum(nn.init._calculate_fan_in_and_fan_out(tensor)))
            assert 0.7 * bound < float(tensor.abs().max()) <= bound


def test_random_weights_come_from_the_generator_alone() -> None:
    stream = torch.get_rng_state()
    first, again, other = (randomised(trained(), torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
    assert torch.equal(stream, torch.get_rng_state())


def test_parameters_of_an_unknown_kind_are_refused() -> None:
    network = nn.Sequential(OrderedDict(own=nn.MultiheadAttention(4, 1)))
    with pytest.raises(ValueError, match="layer own: how in_proj_weight, in_proj_bias starts"):
        randomised(network, torch.Generator())


def test_maps_that_do_not_change_fail_the_check_whatever_their_sign() -> None:
    maps = rng().normal(size=(2, 9, 9))
    check = sanity_check(maps, np.stack([maps, -maps, 3 * maps]))
    np.testing.assert_allclose(check.correlations, 1)
    assert check.mean == pytest.approx(1)
    assert not check.passed
    assert check.verdict == (
        "is nearly unchanged with random weights: rank correlation with random weights 1.00, not below 0.5"
    )


def test_maps_that_change_pass_it() -> None:
    maps = rng().normal(size=(2, 28, 28))
    check = sanity_check(maps, rng(1).normal(size=(5, 2, 28, 28)))
    assert abs(check.mean) < 0.05
    assert check.passed
    assert check.verdict.startswith("depends on the learned weights: rank correlation with random weights ")
    assert check.verdict.endswith(f", below {SANITY_THRESHOLD:g}")


def test_the_threshold_itself_does_not_pass() -> None:
    assert not Sanity(np.array([[SANITY_THRESHOLD]])).passed
    assert Sanity(np.array([[SANITY_THRESHOLD - 0.01]])).passed


def test_constant_maps_are_left_out_and_counted() -> None:
    maps = rng().normal(size=(2, 9, 9))
    others = rng(1).normal(size=(3, 2, 9, 9))
    others[1, 0] = 0
    check = sanity_check(maps, others)
    assert check.left_out == 1
    assert check.mean == pytest.approx(
        np.mean([check.correlations[place] for place in np.ndindex(3, 2) if place != (1, 0)])
    )
    none = sanity_check(np.zeros((1, 9, 9)), others[:, :1])
    assert math.isnan(none.mean)
    assert not none.passed
    assert none.verdict == "cannot be checked: the maps are constant"


def test_shapes_of_the_check_are_checked() -> None:
    with pytest.raises(ValueError, match=r"got \(2, 9, 9\) and \(2, 9, 9\)"):
        sanity_check(np.zeros((2, 9, 9)), np.zeros((2, 9, 9)))
