"""All networks side by side, every seed a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from regulens.figures.parts import INK, lines_of, wrapped
from regulens.figures.style import MUTED, PUBLISHED, VALIDATION, house_style, new_figure


@dataclass(frozen=True, eq=False)
class CellPoints:
    """One network's validation accuracies and which of them count as collapsed, both (seeds,).

    ``chance_bound`` is the accuracy above which a run of it has trained, ``published`` the figure that others
    printed for it, if any. ``mean`` is the mean of all runs with the ends of its interval (NaN for none),
    ``trained_mean`` that of the non-collapsed runs.
    """

    label: str
    accuracies: NDArray[np.float64]
    chance_bound: float
    published: float | None = None
    mean: tuple[float, float, float] | None = None
    trained_mean: tuple[float, float, float] | None = None

    @property
    def trained(self) -> NDArray[np.float64]:
        """The accuracies of the runs that did not collapse."""
        return self.accuracies[self.accuracies > self.chance_bound]


@dataclass(frozen=True, eq=False)
class ComparisonInfo:
    """The networks in the order of the table, and the panels to draw: their titles and accuracy ranges.

    ``level`` is that of the intervals of the means.
    """

    cells: tuple[CellPoints, ...]
    panels: tuple[tuple[str, tuple[float, float]], ...]
    bound: float | None
    level: float = 0.95


def comparison_info(cells: Sequence[CellPoints], level: float = 0.95) -> ComparisonInfo:
    """Where runs collapsed, take the full range and beside it, enlarged, that of the non-collapsed runs."""
    everything = np.concatenate([cell.accuracies for cell in cells])
    trained = np.concatenate([cell.trained for cell in cells])
    published = [cell.published for cell in cells if cell.published is not None]
    bounds = {cell.chance_bound for cell in cells}
    bound = bounds.pop() if len(bounds) == 1 and len(trained) < len(everything) else None
    if len(trained) == len(everything):
        limits = _around([*everything, *published], [cell.mean for cell in cells])
        return ComparisonInfo(tuple(cells), (("", limits),), bound, level)
    panels = [("all runs", (0.0, 1.0))]
    if len(trained):
        limits = _around([*trained, *published], [cell.trained_mean for cell in cells])
        panels.append(("enlarged: non-collapsed runs", limits))
    return ComparisonInfo(tuple(cells), tuple(panels), bound, level)


def draw_comparison(info: ComparisonInfo) -> Figure:
    """Draw a row per network, every run a point, in one panel or two."""
    count = len(info.panels)
    with house_style():
        labels = [wrapped(cell.label, 40) for cell in info.cells]
        row = max(0.42, 0.17 * max(map(lines_of, labels)) + 0.05)
        figure = new_figure(6.6 if count == 1 else 8.4, (1.3 if _has_means(info) else 1.1) + row * len(labels))
        grid = figure.subplots(1, count, sharey=True, squeeze=False, width_ratios=[1, 1.6][-count:])
        for place, (axes, (title, limits)) in enumerate(zip(grid[0], info.panels, strict=True)):
            _draw_rows(axes, info)
            axes.set(title=title, xlim=limits, xlabel="validation accuracy")
            _draw_means(axes, [cell.trained_mean if place else cell.mean for cell in info.cells], info)
        first = grid[0][0]
        if info.bound is not None:
            first.axvline(info.bound, color=MUTED, ls=":", lw=1.2, label="bound of guessing")
        first.set_yticks(range(len(labels)), labels)
        first.set_ylim(len(info.cells) - 0.4, -0.6)
        handles, names = first.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=_legend_columns(info, len(names)))
    return figure


def _draw_rows(axes: Axes, info: ComparisonInfo) -> None:
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)
    reach, centre = (0.2, -0.1) if _has_means(info) else (0.26, 0.0)  # leaves room for the means below
    for row, cell in enumerate(info.cells):
        seeds = len(cell.accuracies)
        offsets = centre + (np.linspace(-reach, reach, seeds) if seeds > 1 else np.zeros(1))
        label = "one run (seeds from top to bottom)" if row == 0 else None
        axes.scatter(cell.accuracies, row + offsets, s=20, color=VALIDATION, alpha=0.75, lw=0, label=label)
        median = float(np.median(cell.accuracies))
        label = "median of all runs" if row == 0 else None
        ends = [row + centre - reach - 0.08, row + centre + reach + 0.08]
        axes.plot([median, median], ends, color="#333", lw=1.8, label=label)
    published = [(cell.published, row + centre) for row, cell in enumerate(info.cells) if cell.published is not None]
    if published:
        x, y = zip(*published, strict=True)
        axes.scatter(x, y, s=46, marker="D", facecolor="none", edgecolor=PUBLISHED, lw=1.2, label="published run")


def _has_means(info: ComparisonInfo) -> bool:
    return any(cell.mean or cell.trained_mean for cell in info.cells)


def _legend_columns(info: ComparisonInfo, entries: int) -> int:
    if not _has_means(info):
        return 4
    return 2 if entries == 4 else 3


def _draw_means(axes: Axes, means: Sequence[tuple[float, float, float] | None], info: ComparisonInfo) -> None:
    """Draw means below the points, with whiskers for the intervals and an arrow where one exceeds the axis."""
    left, right = axes.get_xlim()
    known = any(mean is not None and np.isfinite(mean).all() for mean in means)
    whose = "mean of the panel's runs" if len(info.panels) > 1 else "mean"
    label: str | None = f"{whose}, {info.level * 100:g} % interval" if known else whose
    for row, mean in enumerate(means):
        if mean is None:
            continue
        centre, low, high = mean
        y = row + 0.3
        axes.plot([max(low, left), min(high, right)], [y, y], color=INK, lw=1.3, gid="interval")
        axes.plot(centre, y, "o", ms=4.2, color=INK, gid="mean")
        for end, edge, arrow in ((left - low, left, "<"), (high - right, right, ">")):
            if end > 0:
                axes.plot(edge, y, arrow, ms=5, color=INK, mew=0, clip_on=False, gid="beyond")
        if label is not None:
            axes.plot([], [], color=INK, lw=1.3, marker="o", ms=4.2, label=label)
            label = None


def _around(values: Sequence[float], means: Sequence[tuple[float, float, float] | None] = ()) -> tuple[float, float]:
    """Return a range that holds the values, and of the intervals what lies up to its width beyond."""
    low, high = float(min(values)), float(max(values))
    width = high - low
    ends = [end for mean in means if mean is not None for end in mean if np.isfinite(end)]
    low, high = (
        min([low, *(max(end, low - width) for end in ends)]),
        max([high, *(min(end, high + width) for end in ends)]),
    )
    margin = max(0.06 * (high - low), 0.004)
    return max(0.0, low - margin), min(1.0, high + margin)
