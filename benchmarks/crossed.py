"""Studies whose images, or splits, are a sample too: learners of equal accuracy in the population."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from regulens.stats.cells import Cells
from regulens.stats.comparisons import compare
from regulens.stats.design import Design, Population
from regulens.stats.samples import Sample

Values = NDArray[np.float64]
DIRECTION = ("better", "worse", "better (size open)", "worse (size open)")
IMAGES, TEST = 1797, 450
"""Of the data set that is split anew, and judged in each split."""


def over_images(studies: int) -> list[list[object]]:
    """Return the share of false directions of two cells of seeds by images, by what they are judged over."""
    rows: list[list[object]] = []
    for images, sizes in ((270, (5, 10, 30)), (9000, (5, 10))):
        for n in sizes:
            rng = np.random.default_rng([images, n])
            false = np.zeros(2)
            for _ in range(studies):
                right = _scores(rng, n, images)
                false += [_directed(right, over) for over in (("seeds",), ("seeds", "images"))]
            rows.append([images, n, *(f"{share:.3f}" for share in false / studies)])
    return rows


def _scores(rng: np.random.Generator, n: int, images: int) -> dict[str, Values]:
    """Draw (runs, images) right or wrong of two cells: logit = image + image x cell + run."""
    difficulty = 1.5 + 1.5 * rng.standard_normal(images)
    found = {}
    for cell in "ab":
        logit = difficulty + rng.standard_normal(images) + 0.1 * rng.standard_normal((n, 1))
        found[cell] = (rng.random((n, images)) < expit(logit)).astype(np.float64)
    return found


def _directed(right: dict[str, Values], over: tuple[Population, ...]) -> bool:
    runs = {cell: x.mean(1) for cell, x in right.items()}
    samples = {cell: Sample(x, np.zeros(len(x), np.bool_), np.arange(len(x))) for cell, x in runs.items()}
    (found,) = compare([("a", "b")], Cells(samples, Design(over=over), right))
    return found.verdict in DIRECTION


def over_splits(studies: int) -> list[list[object]]:
    """Return the share of false directions of two cells paired by split, by what they are judged over."""
    rows: list[list[object]] = []
    overs: tuple[tuple[Population, ...], ...] = (("seeds",), ("seeds", "split"))
    for rope in (0.0, 0.5):
        for n in (5, 10, 20, 30):
            rng, false = np.random.default_rng(n), np.zeros(2)
            for _ in range(studies):
                differences = _split_differences(rng, n)
                false += [_directed_of_splits(differences, over, rope) for over in overs]
            rows.append([rope, n, *(f"{share:.3f}" for share in false / studies)])
    return rows


def _split_differences(rng: np.random.Generator, splits: int) -> Values:
    """Return (splits,) differences, in points: of the images that are judged, and of those that were trained on.

    Each image favors one of the learners when it is judged (one of ten is right with one alone), and moves the
    difference a little when it is trained on; both are zero on average in the population, and shared by all splits.
    """
    judged = rng.choice([-100.0, 0.0, 100.0], IMAGES, p=[0.05, 0.9, 0.05])
    trained = 20.0 * rng.standard_normal(IMAGES)
    found = []
    for _ in range(splits):
        order = rng.permutation(IMAGES)
        test, train = order[:TEST], order[TEST:]
        found.append(judged[test].mean() + trained[train].mean() + 0.3 * rng.standard_normal())
    return np.array(found)


def _directed_of_splits(differences: Values, over: tuple[Population, ...], rope: float) -> bool:
    seeds, none = np.arange(len(differences)), np.zeros(len(differences), np.bool_)
    samples = {"a": Sample(88 + differences, none, seeds), "b": Sample(88 + 0 * differences, none, seeds)}
    design = Design(over=over, paired=True, rope=rope, test_ratio=TEST / (IMAGES - TEST))
    (found,) = compare([("a", "b")], Cells(samples, design))
    return found.verdict in (DIRECTION if rope == 0 else ("better", "worse"))
