"""All networks side by side, every seed a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from regulens.figures.style import MUTED, PUBLISHED, VALIDATION, house_style, new_figure


@dataclass(frozen=True, eq=False)
class CellPoints:
    """One network's validation accuracies (seeds,) and the figure that others printed for it, if any."""

    label: str
    accuracies: NDArray[np.float64]
    published: float | None = None


@dataclass(frozen=True, eq=False)
class ComparisonInfo:
    """The networks in the order of the table; a run not above ``chance_bound`` counts as collapsed."""

    cells: tuple[CellPoints, ...]
    chance_bound: float


def comparison_info(cells: Sequence[CellPoints], chance_bound: float) -> ComparisonInfo:
    """Gather what is compared."""
    return ComparisonInfo(tuple(cells), chance_bound)


def draw_comparison(info: ComparisonInfo) -> Figure:
    """Draw a row per network; where runs collapsed, a second panel enlarges those that trained."""
    everything = np.concatenate([cell.accuracies for cell in info.cells])
    trained = everything[everything > info.chance_bound]
    enlarge = 0 < len(trained) < len(everything)
    with house_style():
        figure = new_figure(8.4 if enlarge else 6.6, 1.1 + 0.42 * len(info.cells))
        panels = figure.subplots(
            1,
            2 if enlarge else 1,
            sharey=True,
            squeeze=False,
            width_ratios=[1, 1.6] if enlarge else [1],
        )[0]
        for axes in panels:
            _draw_rows(axes, info)
        panels[0].set_yticks(range(len(info.cells)), [cell.label for cell in info.cells])
        panels[0].invert_yaxis()
        if enlarge:
            panels[0].set_title("all runs")
            panels[0].set_xlim(0, 1)
            panels[0].axvline(info.chance_bound, color=MUTED, ls=":", lw=1.2, label="bound of guessing")
            panels[1].set_title("runs that trained, enlarged")
            panels[1].set_xlim(*_around(trained, info))
        else:
            panels[0].set_xlim(*_around(everything, info))
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _draw_rows(axes: Axes, info: ComparisonInfo) -> None:
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)
    for row, cell in enumerate(info.cells):
        first = row == 0
        offsets = np.linspace(-0.26, 0.26, len(cell.accuracies)) if len(cell.accuracies) > 1 else np.zeros(1)
        label = "one run (seeds from top to bottom)" if first else None
        axes.scatter(cell.accuracies, row + offsets, s=20, color=VALIDATION, alpha=0.75, lw=0, label=label)
        median = float(np.median(cell.accuracies))
        axes.plot([median, median], [row - 0.34, row + 0.34], color="#333", lw=1.8, label="median" if first else None)
    published = [(cell.published, row) for row, cell in enumerate(info.cells) if cell.published is not None]
    if published:
        x, y = zip(*published, strict=True)
        axes.scatter(x, y, s=46, marker="D", facecolor="none", edgecolor=PUBLISHED, lw=1.2, label="published run")
    axes.set_xlabel("validation accuracy")
    axes.set_ylim(-0.6, len(info.cells) - 0.4)


def _around(values: NDArray[np.float64], info: ComparisonInfo) -> tuple[float, float]:
    shown = [*values, *(cell.published for cell in info.cells if cell.published is not None)]
    low, high = min(shown), max(shown)
    margin = max(0.06 * (high - low), 0.004)
    return max(0.0, low - margin), min(1.0, high + margin)
