"""Reliability diagrams: accuracy by confidence, a panel per network, its runs thin lines, all to one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from regulens.figures.parts import lines_of, wrapped
from regulens.figures.style import MUTED, VALIDATION, house_style, new_figure
from regulens.stats.calibration import Reliability

FEW_IMAGES = 30
"""Bins with fewer images of a run say little of it: they are not drawn for it."""
_BARS = 0.3
"""Height of the bars of confidence, of the axis."""


@dataclass(frozen=True, eq=False)
class ReliabilityPanel:
    """One network: for each run confidence and accuracy by bin (runs, bins), NaN where a run has few images.

    ``shares`` (bins,) is the mean share of images between the ``edges`` (bins + 1,), ``pooled`` (2, bins) confidence
    and accuracy of all runs' images together; ``text`` is printed in the panel.
    """

    title: str
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    pooled: NDArray[np.float64]
    shares: NDArray[np.float64]
    edges: NDArray[np.float64]
    text: str = ""


def reliability_panel(title: str, runs: Sequence[Reliability], text: str = "") -> ReliabilityPanel:
    """Gather the tables of a network's runs, made with the same bins of equal width.

    Raises:
        ValueError: if there is no run, or the bins differ.
    """
    if not runs or any(not np.array_equal(run.edges, runs[0].edges) for run in runs):
        raise ValueError(f"{title}: needs at least one run, and the same bins for all")
    images = np.array([run.images for run in runs])
    sums = [np.nansum(images * values, axis=0) for values in _columns(runs)]
    together = images.sum(axis=0)
    pooled = np.where(together >= FEW_IMAGES, sums / np.maximum(together, 1), np.nan)
    confidence, accuracy = (np.where(images >= FEW_IMAGES, values, np.nan) for values in _columns(runs))
    shares = (images / images.sum(axis=1, keepdims=True)).mean(axis=0)
    return ReliabilityPanel(title, confidence, accuracy, pooled, shares, runs[0].edges, text)


def _columns(runs: Sequence[Reliability]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array([run.confidence for run in runs]), np.array([run.accuracy for run in runs])


def draw_reliability(panels: Sequence[ReliabilityPanel]) -> Figure:
    """Draw the panels, four in a row; bars at the foot show how many images have which confidence.

    Raises:
        ValueError: if there is no panel.
    """
    if not panels:
        raise ValueError("needs the reliability of at least one network, got none")
    across = min(4, len(panels))
    down = math.ceil(len(panels) / across)
    highest = max(float(panel.shares.max()) for panel in panels)
    more = 0.15 * (max(lines_of(wrapped(panel.title, 26)) for panel in panels) - 1)
    with house_style():
        figure = new_figure(max(3.4, 2.1 * across), (2.25 + more) * down + 0.7)
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _draw_panel(axes, panel, highest)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        for place in range(across):
            lowest = grid[(len(panels) - 1 - place) // across, place]
            lowest.tick_params(labelbottom=True)
            lowest.set_xlabel("confidence", fontsize=9)
        for row in grid:
            row[0].set_ylabel("accuracy", fontsize=9)
        figure.legend(handles=_handles(panels, highest), loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _draw_panel(axes: Axes, panel: ReliabilityPanel, highest: float) -> None:
    axes.bar(
        panel.edges[:-1],
        _BARS * panel.shares / highest,
        np.diff(panel.edges),
        align="edge",
        color="#cfd6df",
        lw=0.4,
        edgecolor="white",
        zorder=1,
    )
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--", zorder=2)
    for x, y in zip(panel.confidence, panel.accuracy, strict=True):
        kept = ~np.isnan(y)
        mark = "o" if kept.sum() == 1 else ""
        axes.plot(x[kept], y[kept], color=VALIDATION, lw=0.7, alpha=0.4, marker=mark, ms=3, zorder=3, gid="run")
    if len(panel.confidence) > 1:
        kept = ~np.isnan(panel.pooled[1])
        axes.plot(*panel.pooled[:, kept], color=VALIDATION, lw=2, marker="o", ms=3, zorder=4, gid="pooled")
    axes.set_title(wrapped(panel.title, 26), fontsize=9)
    axes.text(0.04, 0.96, panel.text, transform=axes.transAxes, va="top", fontsize=7.5, zorder=5)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])


def _handles(panels: Sequence[ReliabilityPanel], highest: float) -> list[Line2D | Patch]:
    run = Line2D([], [], color=VALIDATION, lw=0.8, alpha=0.6, label=f"one run (bins of {FEW_IMAGES} images or more)")
    pooled = Line2D([], [], color=VALIDATION, lw=2, marker="o", ms=3, label="all runs together")
    ideal = Line2D([], [], color=MUTED, lw=1, ls="--", label="calibrated")
    bars = Patch(color="#cfd6df", label=f"fraction of images, the highest bar {100 * highest:.0f} %")
    several = any(len(panel.confidence) > 1 for panel in panels)
    return [run, pooled, ideal, bars] if several else [run, ideal, bars]
