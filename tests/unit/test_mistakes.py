"""The most confident errors are those of the highest wrong probability."""

from __future__ import annotations

import numpy as np
import pytest

from regulens.interpret.mistakes import most_confident_errors


def test_errors_are_ordered_by_the_probability_of_the_wrong_class() -> None:
    probabilities = [[0.6, 0.4], [0.1, 0.9], [0.3, 0.7], [0.99, 0.01]]
    assert most_confident_errors(probabilities, [1, 0, 0, 0], 9).tolist() == [1, 2, 0]
    assert most_confident_errors(probabilities, [1, 0, 0, 0], 2).tolist() == [1, 2]


def test_equally_sure_errors_are_ordered_by_the_true_class_and_then_by_index() -> None:
    probabilities = [[0.5, 0.3, 0.2], [0.5, 0.2, 0.3], [0.5, 0.2, 0.3]]
    assert most_confident_errors(probabilities, [1, 1, 1], 3).tolist() == [1, 2, 0]


def test_a_perfect_network_makes_no_errors_and_a_diverged_one_none_to_show() -> None:
    assert most_confident_errors(np.eye(3), [0, 1, 2], 5).tolist() == []
    assert most_confident_errors([[np.nan, np.nan], [0.2, 0.8]], [1, 0], 5).tolist() == [1]


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"\(N, classes\)"):
        most_confident_errors([0.5, 0.5], [0, 1], 1)
