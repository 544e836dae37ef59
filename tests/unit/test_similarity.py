"""Debiased linear CKA is what its definition says, and means over pairs take runs as the replicates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from regulens.errors import UserError
from regulens.interpret.representations import layer_features, stages
from regulens.interpret.similarity import centred_gram, cka_matrix, correspondence, layer_cka
from regulens.models.cnn import CNN, build_model
from regulens.spec import ModelSpec
from regulens.stats.pairs import between_mean, within_less_between, within_mean

Array = NDArray[np.float64]


def hsic(k: Array, l: Array) -> float:  # noqa: E741  # as in the paper
    """Equation 5 of Song et al. 2012, term by term."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    one = np.ones(n)
    middle = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return float((np.trace(k @ l) + middle - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3)))


def cka(x: Array, y: Array) -> float:
    return float(cka_matrix([centred_gram(x), centred_gram(y)])[0, 1])


@pytest.fixture
def features(rng: np.random.Generator) -> Array:
    return rng.standard_normal((60, 20)) * rng.uniform(0.2, 3, 20)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_cka_is_the_ratio_of_unbiased_hsics_of_song(rng: np.random.Generator, features: Array) -> None:
    other = features[:, :7] + rng.standard_normal((60, 7)) + 30
    k, l = features @ features.T, other @ other.T  # noqa: E741
    assert cka(features, other) == pytest.approx(hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l)), abs=2e-6)


def test_cka_of_a_rotated_scaled_shifted_representation_is_1(rng: np.random.Generator, features: Array) -> None:
    rotation = np.linalg.qr(rng.standard_normal((20, 20)))[0]
    assert cka(features, 7 * features @ rotation + 3) == pytest.approx(1, abs=1e-6)
    assert cka(features, features[:, ::-1]) == pytest.approx(1, abs=1e-6)


def test_cka_depends_on_the_scale_of_single_features(features: Array) -> None:
    assert cka(features, features * np.linspace(0.1, 5, 20)) < 0.95


def test_cka_of_unrelated_wide_representations_is_about_0_where_the_biased_one_is_not(rng: np.random.Generator) -> None:
    n, p = 50, 500
    pairs = [(rng.standard_normal((n, p)), rng.standard_normal((n, p))) for _ in range(100)]
    debiased = np.array([cka(x, y) for x, y in pairs])
    assert abs(debiased.mean()) < 3 * debiased.std() / 10
    x, y = (each - each.mean(axis=0) for each in pairs[0])
    biased = np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert biased > 0.8
    assert debiased[0] < 0.1


def test_cka_does_not_lose_its_digits_to_a_large_mean(features: Array) -> None:
    assert cka(features.astype(np.float32), features + 1e4) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("dead", ["constant", "one image", "no features", "nan", "rounding"])
def test_a_dead_layer_is_nan_and_leaves_the_others_as_they_are(features: Array, dead: str) -> None:
    layer = {
        "constant": np.full((60, 5), 3.7, np.float32),
        "one image": np.eye(60)[:, :1] * 4,
        "no features": np.empty((60, 0)),
        "nan": np.where(np.arange(60)[:, None] == 3, np.nan, features),
        "rounding": np.float32(2.3) * (1 + np.random.default_rng(0).integers(-1, 2, (60, 3)) * np.float32(1.2e-7)),
    }[dead]
    matrix = cka_matrix([centred_gram(features), centred_gram(layer), centred_gram(features**3)])
    assert np.isnan(matrix[1]).all()
    assert np.isnan(matrix[:, 1]).all()
    assert matrix[0, 0] == matrix[2, 2] == 1
    assert matrix[0, 2] == matrix[2, 0] == pytest.approx(cka(features, features**3))


def test_columns_taken_in_pieces_give_the_same_gram(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    x = rng.standard_normal((12, 30))
    whole = centred_gram(x)
    monkeypatch.setattr("regulens.interpret.similarity._COLUMNS", 7)
    np.testing.assert_allclose(centred_gram(x), whole, atol=1e-6)


def test_three_images_are_too_few() -> None:
    with pytest.raises(UserError, match="at least 4 images, got 3"):
        centred_gram(np.zeros((3, 2)))


@pytest.mark.parametrize("shape", [(6,), (6, 2, 2)])
def test_features_that_are_no_matrix_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be"):
        centred_gram(np.zeros(shape))


def test_layer_cka_is_the_cka_of_each_two_layers(rng: np.random.Generator) -> None:
    runs = [[rng.standard_normal((20, p)) for p in (3, 8, 5)] for _ in range(2)]
    found = layer_cka([[centred_gram(layer) for layer in run] for run in runs])
    assert found.shape == (2, 3, 2, 3)
    for i, a, j, b in ((0, 0, 1, 2), (1, 2, 0, 0), (1, 1, 1, 0), (0, 1, 1, 1)):
        assert found[i, a, j, b] == pytest.approx(cka(runs[i][a], runs[j][b]), abs=1e-6)
    with pytest.raises(ValueError, match="runs, layers"):
        layer_cka([centred_gram(runs[0][0])])


def test_correspondence_is_one_where_the_same_layer_is_the_most_similar() -> None:
    similarity = np.full((2, 3, 2, 3), 0.1)
    similarity[0, 0, 1] = [0.9, 0.2, 0.3]  # found
    similarity[0, 1, 1] = [0.2, 0.4, 0.5]  # taken for layer 2
    similarity[0, 2, 1] = [0.2, np.nan, 0.4]  # layer 1 of the other is dead: no partner
    similarity[1, 0, 0] = [0.3, np.nan, 0.2]
    similarity[1, 1, 0] = np.nan  # dead
    similarity[1, 2, 0] = [-0.3, np.nan, -0.2]
    found = correspondence(similarity)
    np.testing.assert_array_equal(found[0, 1], [1, 0, 1])
    np.testing.assert_array_equal(found[1, 0], [1, np.nan, 1])
    with pytest.raises(ValueError, match="runs, layers, runs, layers"):
        correspondence(similarity[:, :, :1])


def test_correspondence_of_unrelated_layers_is_chance(rng: np.random.Generator) -> None:
    x = rng.standard_normal((40, 5, 40, 5))
    between = correspondence(x)[~np.eye(40, dtype=bool)]
    assert between.mean() == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / between.size))


def network(regularizer: str = "none", **spec: int) -> CNN:
    shape = (12, 10, 3)
    return build_model(ModelSpec(**{"depth": 2, "filters": 4, "dense": 6} | spec), shape, 5, regularizer, seed=1)


def batches(images: int = 7) -> list[tuple[torch.Tensor, torch.Tensor]]:
    x = torch.rand(images, 12, 10, 3, generator=torch.Generator().manual_seed(0))
    return [(x[:4], torch.arange(4)), (x[4:], torch.arange(4, images))]


@pytest.mark.parametrize("regularizer", ["none", "batchnorm", "dropout(0.5)", "batchnorm+dropout(0.5)"])
def test_features_are_what_the_next_layer_reads(regularizer: str) -> None:
    model = network(regularizer)
    for module in model.modules():
        if hasattr(module, "running_mean"):
            module.running_mean.fill_(0.3)
    features, labels = layer_features(model.expanded(), batches())
    assert list(features) == ["input", "block1", "block2", "dense", "output"]
    assert labels.tolist() == list(range(7))
    model.eval()
    x = torch.cat([images for images, _ in batches()])
    np.testing.assert_array_equal(features["input"], x.flatten(1).numpy())
    with torch.no_grad():
        for number, block in enumerate(model.blocks, start=1):
            x = block(x)
            np.testing.assert_allclose(features[f"block{number}"], x.flatten(1).numpy(), atol=1e-6)
        x = model.dense(x.flatten(1)).relu()
        x = x if model.regularizer is None else model.regularizer(x)
        np.testing.assert_allclose(features["dense"], x.numpy(), atol=1e-6)
        np.testing.assert_allclose(features["output"], model.output(x).numpy(), atol=1e-6)


def test_features_without_pooling_and_of_one_filter() -> None:
    features, _ = layer_features(network(pool=1, filters=1, depth=1).expanded(), batches(), ["block1"])
    assert {name: part.shape for name, part in features.items()} == {"block1": (7, 10 * 8)}


def test_maps_are_made_smaller_before_they_are_kept_and_vectors_are_not() -> None:
    features, _ = layer_features(network().expanded(), batches(), None, lambda maps: maps.mean(dim=(1, 2)))
    assert [part.shape[1] for part in features.values()] == [3, 4, 4, 6, 5]


def test_reading_features_leaves_the_network_as_it_was_also_after_an_error() -> None:
    model = network("batchnorm+dropout(0.2)").train()
    model.blocks[0].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    sequence = model.expanded()

    def broken() -> list[tuple[torch.Tensor, torch.Tensor]]:
        yield batches()[0]
        raise OSError("disk")

    layer_features(sequence, batches())
    with pytest.raises(OSError, match="disk"):
        layer_features(sequence, broken())
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(module._forward_hooks for module in sequence.modules())


def test_a_stage_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(UserError, match='named "block3"; known: input, block1'):
        layer_features(network().expanded(), batches(), ["block3"])
    with pytest.raises(UserError, match="no images"):
        layer_features(network().expanded(), [])


def test_stages_end_behind_the_regularizers_layers() -> None:
    assert stages(network("batchnorm+dropout(0.1)", depth=1).expanded()) == {
        "input": "",
        "block1": "dropout1",
        "dense": "dropout",
        "output": "output",
    }
    assert isinstance(network().expanded(), nn.Sequential)


def matrix(n: int, rng: np.random.Generator) -> Array:
    x = rng.uniform(size=(n, n))
    return (x + x.T) / 2


def test_within_mean_is_the_mean_of_the_pairs_with_the_jackknife_over_runs(rng: np.random.Generator) -> None:
    s = matrix(6, rng)
    result = within_mean(s)
    pairs = s[np.triu_indices(6, 1)]
    left_out = np.array([np.delete(np.delete(s, i, 0), i, 1)[np.triu_indices(5, 1)].mean() for i in range(6)])
    error = np.sqrt(5 / 6 * np.sum((left_out - left_out.mean()) ** 2))
    assert result.mean.estimate == pytest.approx(pairs.mean())
    assert result.mean.high == pytest.approx(min(1, pairs.mean() + 2.570582 * error))  # t of 5 degrees of freedom
    assert (result.runs, result.left_out) == ((6, 6), (0, 0))


def test_between_mean_has_the_jackknife_over_the_runs_of_both(rng: np.random.Generator) -> None:
    s = 0.3 + 0.1 * rng.uniform(size=(5, 5))
    result = between_mean(s)
    parts = s.mean(axis=1).var(ddof=1) / 5, s.mean(axis=0).var(ddof=1) / 5
    assert result.mean.estimate == pytest.approx(s.mean())
    half = result.mean.high - s.mean()
    assert 2.306 * np.sqrt(sum(parts)) <= half <= 2.7765 * np.sqrt(sum(parts))  # between t of 8 and of 4


def test_within_less_between_is_half_the_squared_mean_discrepancy(rng: np.random.Generator) -> None:
    s, cells = matrix(9, rng), np.array(list("ababababa"))
    a, b = np.flatnonzero(cells == "a"), np.flatnonzero(cells == "b")

    def gap(without: int | None) -> float:
        left, right = (np.array([i for i in each if i != without]) for each in (a, b))
        means = [s[np.ix_(each, each)][np.triu_indices(len(each), 1)].mean() for each in (left, right)]
        return float(np.mean(means) - s[np.ix_(left, right)].mean())

    result = within_less_between(s, cells).mean
    assert result.estimate == pytest.approx(gap(None))
    variances = [(len(e) - 1) / len(e) * np.sum((np.array(v := [gap(i) for i in e]) - np.mean(v)) ** 2) for e in (a, b)]
    half = result.high - result.estimate
    assert 2.3646 * np.sqrt(sum(variances)) - 1e-6 <= half <= 3.1825 * np.sqrt(sum(variances))  # t of 7 to 3


def test_runs_without_similarities_are_left_out_and_counted(rng: np.random.Generator) -> None:
    s = matrix(5, rng)
    lost = s.copy()
    lost[2] = lost[:, 2] = np.nan
    kept = np.delete(np.delete(s, 2, 0), 2, 1)
    result = within_mean(lost)
    assert result.mean == within_mean(kept).mean
    assert (result.runs, result.left_out) == ((4, 4), (1, 1))
    assert between_mean(lost[:, :3]).runs == (4, 2)
    assert between_mean(lost[:, :3]).left_out == (1, 1)


def test_no_pair_has_no_mean_and_few_runs_no_interval(rng: np.random.Generator) -> None:
    s = matrix(4, rng)
    assert np.isnan(within_mean(s[:1, :1]).mean.estimate)
    two = within_mean(s[:2, :2]).mean
    assert two.estimate == pytest.approx(s[0, 1])
    assert np.isnan([two.low, two.high]).all()
    assert np.isnan(between_mean(s[:1]).mean.low)
    assert np.isnan(between_mean(np.full((2, 2), np.nan)).mean.estimate)
    assert np.isnan(within_less_between(s, [0, 0, 1, 1]).mean.low)
    assert np.isnan(within_less_between(s, [0, 0, 0, 1]).mean.estimate)


def test_the_one_run_that_is_not_dead_is_counted(rng: np.random.Generator) -> None:
    s = np.full((3, 3), np.nan)
    s[1, 1] = 1
    result = within_mean(s)
    assert np.isnan(result.mean.estimate)
    assert (result.runs, result.left_out) == ((1, 1), (2, 2))
    gap = within_less_between(s, [0, 0, 1])
    assert (gap.runs, gap.left_out) == ((1, 0), (1, 1))


def test_a_single_nan_between_two_good_runs_is_refused(rng: np.random.Generator) -> None:
    s = matrix(4, rng)
    s[0, 2] = s[2, 0] = np.nan
    for call in (lambda: within_mean(s), lambda: between_mean(s), lambda: within_less_between(s, [0, 0, 1, 1])):
        with pytest.raises(ValueError, match="NaN"):
            call()
    with pytest.raises(ValueError, match="symmetric"):
        within_mean(np.triu(np.ones((3, 3))))
    with pytest.raises(ValueError, match="two cells"):
        within_less_between(np.ones((3, 3)), [0, 0, 0])


def test_intervals_over_runs_cover_and_those_over_pairs_would_not() -> None:
    rng = np.random.default_rng(11)
    truth, runs, covered, naive = 0.25, 8, 0, 0
    for _ in range(400):  # the similarity of two runs is the product of their qualities, and noise
        quality = rng.uniform(0, 1, runs)
        s = np.outer(quality, quality) + np.triu(rng.normal(0, 0.02, (runs, runs)), 1)
        s = np.triu(s, 1) + np.triu(s, 1).T
        interval, pairs = within_mean(s).mean, s[np.triu_indices(runs, 1)]
        covered += interval.low <= truth <= interval.high
        naive += abs(pairs.mean() - truth) <= 2.05 * pairs.std(ddof=1) / np.sqrt(len(pairs))
    assert covered / 400 > 0.92
    assert naive / 400 < 0.8
