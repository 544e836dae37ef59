"""Calibration by hand, and the interval of the expected calibration error by simulation with a known truth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from regulens.stats.calibration import Binning, calibration, calibration_error, reliability

Array = NDArray[np.float64]


def two_classes(confidence: Array, hit: NDArray[np.bool_]) -> tuple[Array, NDArray[np.int64]]:
    """Probabilities whose predicted class is 0, and labels that make it right where it is to be."""
    return np.column_stack([confidence, 1 - confidence]), np.where(hit, 0, 1)


def drawn(rng: np.random.Generator, images: int, accuracy: Callable[[Array], Array]) -> tuple[Array, NDArray[np.int64]]:
    confidence = 1 - 0.5 * rng.beta(0.6, 2, images)
    return two_classes(confidence, rng.random(images) < accuracy(confidence))


def test_a_table_by_hand() -> None:
    confidence = np.array([0.55, 0.58, 0.95, 0.95, 0.95, 0.97])
    p, labels = two_classes(confidence, np.array([True, False, True, True, True, False]))
    table = reliability(p, labels, bins=10)
    assert table.images.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 0, 4]
    assert table.confidence[[5, 9]] == pytest.approx([0.565, 0.955])
    assert table.accuracy[[5, 9]] == pytest.approx([0.5, 0.75])
    assert np.isnan(table.accuracy[table.images == 0]).all()
    assert table.plug_in_error == pytest.approx((2 * 0.065 + 4 * 0.205) / 6)
    result = calibration(p, labels, np.random.default_rng(0), bins=10)
    assert (result.images, result.accuracy) == (6, pytest.approx(4 / 6))
    assert result.confidence == pytest.approx(confidence.mean())
    assert result.overconfidence.estimate == pytest.approx(confidence.mean() - 4 / 6)
    residuals = np.where(labels == 0, 1 - confidence, confidence)
    assert result.brier == pytest.approx(2 * np.mean(residuals**2))
    assert result.log_loss == pytest.approx(-np.mean(np.log(1 - residuals)))


def test_bins_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    p, labels = drawn(rng, 500, lambda c: c**2)
    table = reliability(p, labels)
    accuracy, confidence = calibration_curve(labels == 0, p.max(axis=1), n_bins=15)
    assert table.accuracy[table.images > 0] == pytest.approx(accuracy)
    assert table.confidence[table.images > 0] == pytest.approx(confidence)


def test_scores_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    p, labels = rng.dirichlet(np.ones(5), 200), rng.integers(5, size=200)
    result = calibration(p, labels, rng)
    assert result.log_loss == pytest.approx(log_loss(labels, p, labels=range(5)))
    by_class = [brier_score_loss(labels == k, p[:, k]) for k in range(5)]
    assert result.brier == pytest.approx(sum(by_class))


def test_bins_of_equal_mass_hold_the_same_number_of_images() -> None:
    p, labels = drawn(np.random.default_rng(2), 3000, lambda c: c)
    table = reliability(p, labels, binning="mass")
    assert len(table.images) == 15
    assert table.images.min() >= 199
    assert table.images.max() <= 201
    assert (np.diff(table.edges) > 0).all()


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_a_network_that_says_the_same_of_every_image_has_one_bin(binning: Binning) -> None:
    labels = np.arange(1000) % 10
    result = calibration(np.full((1000, 10), 0.1), labels, np.random.default_rng(0), binning=binning)
    table = reliability(np.full((1000, 10), 0.1), labels, binning=binning)
    assert np.count_nonzero(table.images) == 1
    assert result.accuracy == 0.1
    assert result.error.estimate == result.error.low == 0
    assert 0 < result.error.high < 0.03
    assert result.log_loss == pytest.approx(np.log(10))
    assert result.brier == pytest.approx(0.9)


def test_certainty_that_is_right_is_calibrated_and_certainty_that_is_wrong_is_not() -> None:
    labels = np.arange(500) % 3
    right = calibration(np.eye(3)[labels], labels, np.random.default_rng(0))
    assert (right.error.estimate, right.error.low, right.log_loss, right.brier) == (0, 0, 0, 0)
    assert 0 < right.error.high < 0.02
    wrong = calibration(np.eye(3)[(labels + 1) % 3], labels, np.random.default_rng(0))
    assert wrong.error.estimate == pytest.approx(1, abs=0.02)
    assert wrong.error.high <= 1
    assert wrong.overconfidence.estimate == 1
    assert wrong.brier == 2
    assert wrong.log_loss == pytest.approx(87.336, abs=0.001)  # -log of the smallest normal float32


def test_one_image_and_one_class() -> None:
    one = calibration([[0.7, 0.3]], [0], np.random.default_rng(0))
    assert np.isnan(one.overconfidence.low)
    assert one.error.low == 0
    assert 0 <= one.error.estimate <= one.error.high <= 1
    single = calibration(np.ones((50, 1)), np.zeros(50), np.random.default_rng(0))
    assert (single.accuracy, single.error.estimate) == (1, 0)


def test_rounding_of_float32_probabilities_is_no_error() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 30, (300, 10)).astype(np.float32)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    calibration(p / p.sum(axis=1, keepdims=True), rng.integers(10, size=300), rng)


@pytest.mark.parametrize(
    ("p", "labels", "message"),
    [
        ([[0.5, 0.5], [np.nan, 0.5]], [0, 1], "image 1 are not finite"),
        ([[0.5, 0.6]], [0], "image 0"),
        ([[1.2, -0.2]], [0], "image 0"),
        ([[0.5, 0.5]], [2], "labels must be 0 to 1"),
        ([[0.5, 0.5]], [0, 1], "probabilities must be"),
        (np.empty((0, 3)), [], "probabilities must be"),
    ],
)
def test_what_are_no_probabilities_is_refused(p: list[list[float]], labels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibration(p, labels, np.random.default_rng(0))


def test_no_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        reliability([[0.5, 0.5]], [0], bins=0)


TRUTHS: dict[str, Callable[[Array], Array]] = {
    "calibrated": lambda c: c,
    "overconfident": lambda c: c - 0.08,
    "underconfident": lambda c: c + 0.3 * (1 - c),
    "slightly off": lambda c: c - 0.02 * (c > 0.9),
}


@pytest.mark.parametrize("images", [400, 4000])
@pytest.mark.parametrize("name", TRUTHS)
def test_the_interval_covers_the_true_error_of_the_bins(name: str, images: int) -> None:
    truth, rng = TRUTHS[name], np.random.default_rng(17)
    many = 1 - 0.5 * rng.beta(0.6, 2, 1_000_000)
    place = np.ceil(many * 15).astype(int)
    error = np.abs(np.bincount(place, truth(many) - many)).sum() / len(many)
    intervals = [calibration_error(reliability(*drawn(rng, images, truth)), rng, draws=500) for _ in range(150)]
    assert np.mean([each.low <= error <= each.high for each in intervals]) > 0.89
    assert all(each.low <= each.estimate <= each.high for each in intervals)


def test_the_plug_in_error_of_a_calibrated_network_is_too_large_and_the_corrected_one_is_near_0() -> None:
    rng = np.random.default_rng(23)
    results = [calibration(*drawn(rng, 2000, TRUTHS["calibrated"]), rng) for _ in range(60)]
    plug_in = np.mean([each.plug_in_error for each in results])
    assert plug_in > 0.012
    assert np.mean([each.error.estimate for each in results]) < plug_in / 2
    assert np.mean([each.error.low == 0 for each in results]) > 0.9
    assert max(each.error.high for each in results) < 0.05


def test_where_noise_is_small_the_corrected_error_is_the_plug_in_error() -> None:
    result = calibration(*drawn(np.random.default_rng(5), 50_000, TRUTHS["overconfident"]), np.random.default_rng(0))
    assert result.error.estimate == pytest.approx(result.plug_in_error, abs=5e-4)
    assert result.error.high - result.error.low < 0.01


def test_the_same_seed_gives_the_same_interval() -> None:
    p, labels = drawn(np.random.default_rng(5), 300, TRUTHS["calibrated"])
    assert calibration(p, labels, np.random.default_rng(1)) == calibration(p, labels, np.random.default_rng(1))
