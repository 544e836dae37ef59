"""Checked against exact sums and numpy."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regulens.stats.estimates import chance_bound, summarize


def tail(images: int, largest: int, above: int) -> Fraction:
    """P(more than ``above`` right guesses), by exact summation."""
    p = Fraction(largest, images)
    return sum(
        (math.comb(images, k) * p**k * (1 - p) ** (images - k) for k in range(above + 1, images + 1)), start=Fraction(0)
    )


@given(st.lists(st.integers(0, 12), min_size=2, max_size=4).filter(any))
def test_guessing_exceeds_the_bound_with_at_most_a_thousandth(counts: list[int]) -> None:
    images, bound = sum(counts), chance_bound(counts)
    right = round(bound * images)
    assert tail(images, max(counts), right) <= Fraction(1, 1000) + Fraction(1, 10**12)
    if right > 0:
        assert tail(images, max(counts), right - 1) > Fraction(1, 1000) - Fraction(1, 10**12)


def test_bound_of_nine_thousand_images_in_ten_equal_classes() -> None:
    normal_approximation = 0.1 + 3.0902 * math.sqrt(0.1 * 0.9 / 9000)
    assert chance_bound([900] * 10) == pytest.approx(normal_approximation, abs=2 / 9000)


def test_bound_needs_images() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        chance_bound([0, 0])


def test_summary_is_numpys() -> None:
    values = np.random.default_rng(1).normal(size=9)
    summary = summarize(values)
    assert summary.n == 9
    assert summary.median == np.median(values)
    assert summary.mean == pytest.approx(values.mean())
    assert summary.sd == pytest.approx(values.std(ddof=1))
    assert (summary.low, summary.high) == (values.min(), values.max())


def test_one_value_has_no_standard_deviation() -> None:
    assert math.isnan(summarize([0.5]).sd)


def test_no_values_cannot_be_summarized() -> None:
    with pytest.raises(ValueError, match="non-empty"):
        summarize([])
