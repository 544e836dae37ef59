"""Linear probes find what is linearly there, the same each time, and leave the network alone."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from regulens.data.batches import Feed, PixelScaling
from regulens.data.dataset import Dataset
from regulens.errors import UserError
from regulens.interpret.probes import linear_probe, pooled, probe_accuracies
from regulens.models.cnn import build_model
from regulens.spec import ModelSpec


@pytest.fixture
def clouds() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 4
    centres = rng.normal(0, 2, (4, 6))
    return centres[labels] + rng.standard_normal((400, 6)), labels


def test_probe_is_scikit_learns_pipeline(clouds: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
    x, y = clouds
    scaler = StandardScaler().fit(x[:200])
    model = LogisticRegression(C=0.01, max_iter=500, tol=1e-8).fit(scaler.transform(x[:200]), y[:200])
    assert linear_probe(x[:200], y[:200], x[200:], y[200:]) == pytest.approx(
        model.score(scaler.transform(x[200:]), y[200:]), abs=0.005
    )


def test_separable_classes_are_read_off_and_unrelated_labels_are_not(
    clouds: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> None:
    x, y = clouds
    assert linear_probe(x[:200], y[:200], x[200:], y[200:]) > 0.9
    shuffled = np.random.default_rng(1).permutation(y)
    assert abs(linear_probe(x[:200], shuffled[:200], x[200:], shuffled[200:]) - 0.25) < 0.1


def test_a_parity_that_no_linear_classifier_sees_is_at_chance() -> None:
    signs = np.random.default_rng(2).choice([-1.0, 1.0], (2000, 2))
    labels = (signs.prod(axis=1) > 0).astype(int)
    assert linear_probe(signs[:1000], labels[:1000], signs[1000:], labels[1000:]) < 0.6
    both = np.column_stack([signs, signs.prod(axis=1)])
    assert linear_probe(both[:1000], labels[:1000], both[1000:], labels[1000:]) == 1.0


def test_probe_does_not_depend_on_shift_and_scale_of_features(
    clouds: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> None:
    x, y = clouds
    moved = x * np.logspace(-3, 3, 6) + 100 * np.logspace(-3, 3, 6)
    assert linear_probe(moved[:200], y[:200], moved[200:], y[200:]) == linear_probe(x[:200], y[:200], x[200:], y[200:])


def test_features_constant_in_the_fitted_images_are_left_out(
    clouds: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> None:
    x, y = clouds
    dead = np.column_stack([x, np.where(np.arange(400) < 200, 0.3, 1e6)])
    assert linear_probe(dead[:200], y[:200], dead[200:], y[200:]) == linear_probe(x[:200], y[:200], x[200:], y[200:])


def test_a_dead_layer_says_the_commonest_class() -> None:
    y = np.array([2, 2, 2, 0, 1])
    assert linear_probe(np.ones((5, 3)), y, np.ones((4, 3)), np.array([2, 0, 2, 1])) == 0.5
    assert linear_probe(np.arange(5.0)[:, None], np.full(5, 3), np.zeros((4, 1)), np.array([3, 0, 3, 3])) == 0.75


def test_a_class_that_was_not_fitted_counts_as_an_error(
    clouds: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> None:
    x, y = clouds
    known = y[:200] != 3
    accuracy = linear_probe(x[:200][known], y[:200][known], x[200:], y[200:])
    assert 0.6 < accuracy <= 0.75


def test_features_of_a_diverged_network_have_no_accuracy() -> None:
    x = np.ones((6, 2))
    x[0, 0] = np.nan
    assert np.isnan(linear_probe(x, np.arange(6), np.ones((2, 2)), np.arange(2)))


@pytest.mark.parametrize(
    ("train", "validation"), [((3, 2), (3, 3)), ((3,), (3, 2)), ((0, 2), (3, 2)), ((3, 2), (0, 2))]
)
def test_shapes_that_do_not_match_are_refused(train: tuple[int, ...], validation: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"features and labels do not match|needs images"):
        linear_probe(np.ones(train), np.zeros(train[0]), np.ones(validation), np.zeros(validation[0]))


def test_probes_say_nothing_to_the_terminal(clouds: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
    x, y = clouds
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        linear_probe(x[:200], y[:200], x[200:], y[200:])


@pytest.mark.parametrize(
    ("shape", "most", "expected"),
    [
        ((13, 13, 16), 1024, (8, 8, 16)),
        ((28, 28, 1), 1024, (28, 28, 1)),
        ((224, 224, 3), 1024, (18, 18, 3)),
        ((8, 32, 4), 256, (4, 16, 4)),
        ((3, 3, 2000), 1024, (1, 1, 2000)),
        ((1, 64, 1), 16, (1, 16, 1)),
    ],
)
def test_maps_are_averaged_to_a_grid_as_square_as_they_are(
    shape: tuple[int, int, int], most: int, expected: tuple[int, int, int]
) -> None:
    assert pooled(torch.rand(2, *shape), most).shape[1:] == expected


def test_pooled_values_are_means_of_areas() -> None:
    maps = torch.arange(16.0).reshape(1, 4, 4, 1)
    assert pooled(maps, 4).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_probes_of_a_network_are_the_same_each_time_and_leave_it_as_it_was(digits: Dataset) -> None:
    model = build_model(ModelSpec(depth=1, filters=3, dense=5), digits.image_shape, 10, "batchnorm", seed=2).train()
    feed = Feed(digits, PixelScaling(1 / 255))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def measured() -> dict[str, float]:
        train, validation = (feed.batches(part, 64) for part in np.split(np.arange(400), 2))
        return probe_accuracies(model.expanded(), train, validation, most_features=100)

    state = torch.random.get_rng_state()
    first = measured()
    assert list(first) == ["input", "block1", "dense"]
    assert first["input"] > 0.6
    assert measured() == first
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())
    with pytest.raises(UserError, match='named "conv9"'):
        probe_accuracies(model.expanded(), [], [], ["conv9"])
