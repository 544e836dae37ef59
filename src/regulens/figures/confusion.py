"""Which classes are taken for which: the mean confusion of a network's runs, its worst pairs and images of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure, FigureBase, SubFigure
from numpy.typing import NDArray

from regulens.figures.parts import INK, lines_of, text_width, wrapped
from regulens.figures.style import VALIDATION, bare, house_style, new_figure

_MOST_CLASSES = 30
"""More classes than these leave no room for legible figures: then only the worst pairs are drawn."""
_BESIDE = 14
"""Up to so many classes pairs and images stand beside the matrix, from there on below it."""
_ERRORS = LinearSegmentedColormap.from_list("errors", ["#ffffff", "#f6b7bd", VALIDATION]).with_extremes(bad="#eceef1")
_QUIET = "#5c6470"
_PAIR = 0.37
_TITLE = 55
"""Letters in a line of the title above the matrix."""
"""Inches from pair to pair in the list."""


@dataclass(frozen=True)
class ConfusedPair:
    """Images of class ``true`` taken for ``predicted``: how many in all runs, of how many, and the mean share."""

    true: int
    predicted: int
    count: int
    images: int
    rate: float


@dataclass(frozen=True, eq=False)
class ConfusedImage:
    """An image of the worst pair, (H, W) or (H, W, 3) uint8, and what to print below it."""

    image: NDArray[np.uint8]
    note: str = ""


@dataclass(frozen=True, eq=False)
class ConfusionInfo:
    """Mean share of each class's images (rows) that is taken for each class (columns); a class without images is NaN.

    ``pairs`` are the worst first, ``examples`` images of the first of them; ``which`` says what runs these are.
    """

    title: str
    class_names: tuple[str, ...]
    rates: NDArray[np.float64]
    runs: int
    pairs: tuple[ConfusedPair, ...]
    examples: tuple[ConfusedImage, ...] = ()
    which: str = "runs"


def worst_pairs(counts: NDArray[np.int64], most: int) -> tuple[ConfusedPair, ...]:
    """Return the pairs most often confused, by the mean share over runs of (runs, true, predicted) counts."""
    rates = mean_rates(counts)
    totals = counts.sum(axis=0)
    errors = np.where(np.eye(len(rates), dtype=bool) | np.isnan(rates), 0.0, rates)
    order = np.argsort(-errors, axis=None, kind="stable")[:most]
    places = [(int(row), int(column)) for row, column in zip(*np.unravel_index(order, errors.shape), strict=True)]
    return tuple(
        ConfusedPair(row, column, int(totals[row, column]), int(totals[row].sum()), float(errors[row, column]))
        for row, column in places
        if errors[row, column] > 0
    )


def mean_rates(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (true, predicted) shares of each row's images, the mean over the runs that have any, else NaN."""
    images = counts.sum(axis=2, keepdims=True)
    shares = counts / np.maximum(images, 1)
    runs = (images > 0).sum(axis=0)
    rates: NDArray[np.float64] = np.where(runs > 0, shares.sum(axis=0) / np.maximum(runs, 1), np.nan)
    return rates


def confusion_info(
    title: str,
    class_names: Sequence[str],
    counts: NDArray[np.int64],
    examples: Sequence[ConfusedImage] = (),
    which: str = "runs",
) -> ConfusionInfo:
    """Average the confusion matrices (runs, true, predicted) of one cell, whose entries are numbers of images.

    A collapsed run takes every image for one class and hides what the others confuse: leave it out and name the
    rest by ``which``, such as "non-collapsed runs".

    Raises:
        ValueError: if there is no run or the matrices do not have a row and a column per class.
    """
    classes = len(class_names)
    if counts.ndim != 3 or not len(counts) or counts.shape[1:] != (classes, classes):
        raise ValueError(f"counts must be (runs, {classes}, {classes}) for {classes} classes, got {counts.shape}")
    most = 6 if classes <= _MOST_CLASSES else 14
    pairs = worst_pairs(counts, most)
    return ConfusionInfo(title, tuple(class_names), mean_rates(counts), len(counts), pairs, tuple(examples), which)


def draw_confusion(info: ConfusionInfo) -> Figure:
    """Draw the matrix with the worst pairs and images of the first; of very many classes the worst pairs only."""
    classes = len(info.class_names)
    with house_style():
        if classes > _MOST_CLASSES:
            return _draw_without_matrix(info)
        return _draw_beside(info) if classes <= _BESIDE else _draw_below(info)


def _draw_beside(info: ConfusionInfo) -> Figure:
    pairs, images = _pairs_height(info), _images_height(info)
    height = max(1.7 + _title_inches(info) + _matrix_inches(info), pairs + images)
    figure = new_figure(8.4, height)
    left, right = _beside(figure, 5.3, 3.1)
    _draw_matrix(left.subplots(), info)
    if info.examples:
        top, bottom = _stacked(right, height - images, images)
        _draw_images(bottom, info)
        _draw_pairs(top.subplots(), info, height - images)
    else:
        _draw_pairs(right.subplots(), info, height)
    return figure


def _draw_below(info: ConfusionInfo) -> Figure:
    matrix = 1.7 + _title_inches(info) + _matrix_inches(info)
    figure = new_figure(8.4, matrix + max(_pairs_height(info), _images_height(info)))
    top, bottom = _stacked(figure, matrix, figure.get_figheight() - matrix)
    _draw_matrix(top.subplots(), info)
    _draw_row(bottom, info, figure.get_figheight() - matrix)
    return figure


def _draw_without_matrix(info: ConfusionInfo) -> Figure:
    height = max(_pairs_height(info), _images_height(info))
    title = wrapped(f"{info.title}: {len(info.class_names)} classes, {_runs(info)}", 90)
    head = 0.2 + 0.2 * lines_of(title)
    figure = new_figure(8.4, height + head)
    top, body = _stacked(figure, head, height)
    top.text(0.005, 0.5, title, va="center", fontweight="bold", fontsize=10.5)
    _draw_row(body, info, height)
    return figure


def _draw_row(part: FigureBase, info: ConfusionInfo, height: float) -> None:
    left, right = _beside(part, 1.0, 1.0)
    _draw_pairs(left.subplots(), info, height)
    if info.examples:
        images = _images_height(info)
        _draw_images(_stacked(right, images, max(height - images, 0.01))[0], info)


def _beside(part: FigureBase, left: float, right: float) -> tuple[SubFigure, SubFigure]:
    grid = part.add_gridspec(1, 2, width_ratios=[left, right])
    return part.add_subfigure(grid[0]), part.add_subfigure(grid[1])


def _stacked(part: FigureBase, top: float, bottom: float) -> tuple[SubFigure, SubFigure]:
    grid = part.add_gridspec(2, 1, height_ratios=[top, bottom])
    return part.add_subfigure(grid[0]), part.add_subfigure(grid[1])


def _matrix_inches(info: ConfusionInfo) -> float:
    """Side of the matrix: wider cells for few classes, narrower ones where the page ends."""
    classes = len(info.class_names)
    return min(max(0.36 * classes, min(0.75 * classes, 2.4)), 6.7)


def _draw_matrix(axes: Axes, info: ConfusionInfo) -> None:
    """Draw the errors in red on white, the diagonal muted; shares that round to zero are left blank."""
    classes = len(info.class_names)
    decimals = 1 if classes <= _BESIDE else 0
    percent = 100 * info.rates
    errors = np.ma.masked_array(percent, mask=np.eye(classes, dtype=bool) | np.isnan(percent))
    most = float(errors.max()) if errors.count() else 0.0
    axes.imshow(errors, cmap=_ERRORS, vmin=0, vmax=max(most, 10.0**-decimals))
    size = float(np.clip(72 / classes, 5.6, 8.5))
    for row, column in zip(*np.nonzero(percent >= 0.5 * 10.0**-decimals), strict=True):
        colour = _QUIET if row == column else ("white" if percent[row, column] > 0.62 * most else INK)
        text = f"{percent[row, column]:.{decimals}f}"
        cell = axes.text(column, row, text, ha="center", va="center_baseline", fontsize=size, color=colour)
        cell.set_in_layout(False)  # it lies within the matrix, and 900 of them take long to measure
    names = [wrapped(name, 16) for name in info.class_names]
    font = 8.8 if classes <= _BESIDE else 7.2
    upright = max(text_width(name, font) for name in names) + 0.08 < _matrix_inches(info) / classes
    axes.set_xticks(range(classes), names, rotation=0 if upright else 90, fontsize=font)
    axes.set_yticks(range(classes), names, fontsize=font)
    axes.set_xticks(np.arange(1, classes) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, classes) - 0.5, minor=True)
    axes.grid(True, which="minor", color="#dfe3e8", lw=0.6)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_anchor("W")
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(f"{wrapped(info.title, _TITLE)}\n\n", loc="left", fontweight="bold")
    axes.text(0, 1.015, _note(info, decimals), transform=axes.transAxes, fontsize=8, color=_QUIET, va="bottom")


def _title_inches(info: ConfusionInfo) -> float:
    """Inches of the lines of the title that are more than one."""
    return 0.2 * (lines_of(wrapped(info.title, _TITLE)) - 1)


def _note(info: ConfusionInfo, decimals: int) -> str:
    return f"percent of each class, {_runs(info)}\nblank: under {0.5 * 10.0**-decimals:g}"


def _runs(info: ConfusionInfo) -> str:
    return "one run" if info.runs == 1 else f"mean of {info.runs} {info.which}"


def _pairs_height(info: ConfusionInfo) -> float:
    return 0.4 + _PAIR * len(info.pairs)


def _images_height(info: ConfusionInfo) -> float:
    """Inches of up to two rows of three images with their notes, below a title."""
    return 0.45 + 1.15 * min(-(-len(info.examples) // 3), 2) if info.examples else 0.0


def _draw_pairs(axes: Axes, info: ConfusionInfo, inches: float) -> None:
    """Write the worst pairs, each above a bar of its mean share, with the number of images."""
    axes.axis("off")
    axes.set(xlim=(0, 1), ylim=(inches / _PAIR - 1.1, -1.1))
    axes.text(0, -0.75, "most confused" if info.pairs else "no image is confused", fontsize=9, fontweight="bold")
    longest = max((pair.rate for pair in info.pairs), default=1.0)
    for place, pair in enumerate(info.pairs):
        name = f"{info.class_names[pair.true]} → {info.class_names[pair.predicted]}"
        axes.text(0, place, name, fontsize=8.5, color=INK, va="center_baseline")
        bar = 0.4 * pair.rate / longest
        axes.barh(place + 0.42, bar, height=0.26, color=VALIDATION, alpha=0.75, lw=0)
        share = f"{100 * pair.rate:.1f} %, {pair.count:,} of {pair.images:,}"
        axes.text(bar + 0.025, place + 0.42, share, fontsize=8, color=_QUIET, va="center_baseline")


def _draw_images(part: FigureBase, info: ConfusionInfo) -> None:
    """Draw up to six images of the worst pair, three in a row."""
    shown = info.examples[:6]
    for axes in (grid := part.subplots(-(-len(shown) // 3), 3, squeeze=False).ravel()):
        bare(axes)
    for axes, example in zip(grid, shown, strict=False):
        axes.imshow(example.image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_xlabel(wrapped(example.note, 17), fontsize=7.5, color=_QUIET)
    if info.pairs:
        true, predicted = (info.class_names[index] for index in (info.pairs[0].true, info.pairs[0].predicted))
        part.suptitle(wrapped(f"{true} predicted as {predicted}", 40), fontsize=9, fontweight="bold")
