"""Accuracy by epoch of one network: train in blue, validation in red, every seed a thin line or all a band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from regulens.figures.parts import lines_of, wrapped
from regulens.figures.style import MUTED, TRAIN, VALIDATION, house_style, new_figure
from regulens.results import RunResult

_TITLE = 44
"""Letters in a line of the title."""
BANDS_FROM = 6
"""From so many seeds on bands tell more than single curves."""


@dataclass(frozen=True, eq=False)
class CurvesInfo:
    """Accuracies (seeds, epochs), the running means of training and those on validation (NaN in refits).

    ``collapsed`` (seeds,) names the runs that bands leave out; they are drawn singly.
    """

    title: str
    train: NDArray[np.float64]
    validation: NDArray[np.float64]
    collapsed: NDArray[np.bool_] | None = None


def curves_info(title: str, runs: Sequence[RunResult]) -> CurvesInfo:
    """Gather the epoch records of one cell's runs."""
    train = np.array([[epoch.accuracy for epoch in run.epochs] for run in runs])
    validation = np.array([[epoch.val_accuracy for epoch in run.epochs] for run in runs])
    return CurvesInfo(title, train, validation)


def common_limits(infos: Sequence[CurvesInfo]) -> tuple[float, float]:
    """Return one accuracy range for several figures, so that they can be compared."""
    low = min(float(np.nanmin([info.train, info.validation])) for info in infos)
    return max(0.0, np.floor(low * 20 - 0.2) / 20), 1.0


def draw_curves(info: CurvesInfo, limits: tuple[float, float]) -> Figure:
    """Draw the curves of one network within these limits of accuracy, every seed thin, the median thick."""
    seeds, count = info.train.shape
    epochs = np.arange(1, count + 1)
    with house_style():
        figure = new_figure(4.2, 2.8 + 0.2 * lines_of(wrapped(info.title, _TITLE)))
        axes = figure.subplots()
        for colour, name, curves in _parts(info):
            axes.plot(epochs, curves.T, color=colour, lw=0.7, alpha=0.45)
            _draw_median(axes, colour, f"{name}, median of {seeds}" if seeds > 1 else name, curves)
        _finish(axes, info, limits)
        axes.legend(loc="lower right")
    return figure


def draw_banded_curves(info: CurvesInfo, limits: tuple[float, float]) -> Figure:
    """Draw medians over seeds, the middle half of the seeds as a band, least and greatest faint.

    Bands are of each epoch by itself: no single run need follow their edges. Collapsed runs are not part of them
    unless all collapsed; each is a dotted curve.
    """
    seeds, count = info.train.shape
    epochs = np.arange(1, count + 1)
    lost = np.zeros(seeds, np.bool_) if info.collapsed is None or info.collapsed.all() else info.collapsed
    with house_style():
        figure = new_figure(4.2, 3.2 + 0.2 * lines_of(wrapped(info.title, _TITLE)))
        axes = figure.subplots()
        for colour, name, curves in _parts(info):
            least, low, high, greatest = np.quantile(curves[~lost], [0, 0.25, 0.75, 1], axis=0)
            axes.fill_between(epochs, least, greatest, color=colour, alpha=0.09, lw=0)
            axes.plot(epochs, np.transpose([least, greatest]), color=colour, lw=0.6, alpha=0.5)
            axes.fill_between(epochs, low, high, color=colour, alpha=0.28, lw=0)
            axes.plot(epochs, curves[lost].T, color=colour, lw=1.0, ls=":", gid="collapsed")
            _draw_median(axes, colour, name, curves[~lost])
        _finish(axes, info, limits)
        _explain_bands(figure, axes, seeds, int(lost.sum()))
    return figure


def _explain_bands(figure: Figure, axes: Axes, seeds: int, lost: int) -> None:
    handles = axes.get_legend_handles_labels()[0]
    handles.append(Patch(color=MUTED, alpha=0.6, lw=0, label="middle half"))
    handles.append(Patch(facecolor=MUTED, alpha=0.2, label="smallest to largest"))
    runs = f"{seeds - lost} non-collapsed runs; {lost} collapsed, dotted" if lost else f"{seeds} runs"
    title = f"lines and bands: {runs}"
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8, title=title, title_fontsize=8)


def _parts(info: CurvesInfo) -> list[tuple[str, str, NDArray[np.float64]]]:
    """Colour, name and curves of train and validation, without those that are not there."""
    parts = [(TRAIN, "train", info.train), (VALIDATION, "validation", info.validation)]
    return [part for part in parts if not np.isnan(part[2]).all()]


def _draw_median(axes: Axes, colour: str, label: str, curves: NDArray[np.float64]) -> None:
    count = curves.shape[1]
    marker = "o" if count <= 12 else ""
    median = np.median(curves, axis=0)
    axes.plot(np.arange(1, count + 1), median, color=colour, lw=2.4, marker=marker, ms=4, label=label)


def _finish(axes: Axes, info: CurvesInfo, limits: tuple[float, float]) -> None:
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)
    axes.set(
        title=wrapped(info.title, _TITLE),
        xlabel="epoch",
        ylabel="accuracy",
        xlim=(0.5, info.train.shape[1] + 0.5),
        ylim=limits,
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
