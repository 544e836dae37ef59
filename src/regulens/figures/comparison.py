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
    """One network's validation accuracies and which of them count as collapsed, both (seeds,).

    ``chance_bound`` is the accuracy above which a run of it has trained, ``published`` the figure that others
    printed for it, if any.
    """

    label: str
    accuracies: NDArray[np.float64]
    chance_bound: float
    published: float | None = None

    @property
    def trained(self) -> NDArray[np.float64]:
        """The accuracies of the runs that did not collapse."""
        return self.accuracies[self.accuracies > self.chance_bound]


@dataclass(frozen=True, eq=False)
class ComparisonInfo:
    """The networks in the order of the table, and the panels to draw: their titles and accuracy ranges."""

    cells: tuple[CellPoints, ...]
    panels: tuple[tuple[str, tuple[float, float]], ...]
    bound: float | None


def comparison_info(cells: Sequence[CellPoints]) -> ComparisonInfo:
    """Where runs collapsed, take the full range and beside it, enlarged, that of the runs that trained."""
    everything = np.concatenate([cell.accuracies for cell in cells])
    trained = np.concatenate([cell.trained for cell in cells])
    published = [cell.published for cell in cells if cell.published is not None]
    bounds = {cell.chance_bound for cell in cells}
    bound = bounds.pop() if len(bounds) == 1 and len(trained) < len(everything) else None
    if len(trained) == len(everything):
        return ComparisonInfo(tuple(cells), (("", _around([*everything, *published])),), bound)
    panels = [("all runs", (0.0, 1.0))]
    if len(trained):
        panels.append(("enlarged: runs that trained", _around([*trained, *published])))
    return ComparisonInfo(tuple(cells), tuple(panels), bound)


def draw_comparison(info: ComparisonInfo) -> Figure:
    """Draw a row per network, every run a point, in one panel or two."""
    count = len(info.panels)
    with house_style():
        figure = new_figure(6.6 if count == 1 else 8.4, 1.1 + 0.42 * len(info.cells))
        grid = figure.subplots(1, count, sharey=True, squeeze=False, width_ratios=[1, 1.6][-count:])
        for axes, (title, limits) in zip(grid[0], info.panels, strict=True):
            _draw_rows(axes, info)
            axes.set(title=title, xlim=limits, xlabel="validation accuracy")
        first = grid[0][0]
        if info.bound is not None:
            first.axvline(info.bound, color=MUTED, ls=":", lw=1.2, label="bound of guessing")
        first.set_yticks(range(len(info.cells)), [cell.label for cell in info.cells])
        first.set_ylim(len(info.cells) - 0.4, -0.6)
        figure.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _draw_rows(axes: Axes, info: ComparisonInfo) -> None:
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)
    for row, cell in enumerate(info.cells):
        seeds = len(cell.accuracies)
        offsets = np.linspace(-0.26, 0.26, seeds) if seeds > 1 else np.zeros(1)
        label = "one run (seeds from top to bottom)" if row == 0 else None
        axes.scatter(cell.accuracies, row + offsets, s=20, color=VALIDATION, alpha=0.75, lw=0, label=label)
        median = float(np.median(cell.accuracies))
        label = "median of all runs" if row == 0 else None
        axes.plot([median, median], [row - 0.34, row + 0.34], color="#333", lw=1.8, label=label)
    published = [(cell.published, row) for row, cell in enumerate(info.cells) if cell.published is not None]
    if published:
        x, y = zip(*published, strict=True)
        axes.scatter(x, y, s=46, marker="D", facecolor="none", edgecolor=PUBLISHED, lw=1.2, label="published run")


def _around(values: Sequence[float]) -> tuple[float, float]:
    low, high = float(min(values)), float(max(values))
    margin = max(0.06 * (high - low), 0.004)
    return max(0.0, low - margin), min(1.0, high + margin)
