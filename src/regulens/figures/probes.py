"""Accuracy of linear probes by layer: a panel per depth, a line per regularizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from regulens.figures.parts import dodges, look, range_with_margin, wrapped
from regulens.figures.style import house_style, new_figure


@dataclass(frozen=True, eq=False)
class ProbeLine:
    """One network's mean probe accuracy at each layer (layers,) with the ends of its interval, NaN for none."""

    label: str
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ProbePanel:
    """Networks with the same layers, in the order in which images pass them."""

    title: str
    layers: tuple[str, ...]
    lines: tuple[ProbeLine, ...]


@dataclass(frozen=True, eq=False)
class ProbesInfo:
    """Panels to one scale; ``level`` is that of the intervals, which ``over`` says what they are over."""

    panels: tuple[ProbePanel, ...]
    limits: tuple[float, float]
    level: float
    over: str


def probes_info(panels: Sequence[ProbePanel], level: float = 0.95, over: str = "runs") -> ProbesInfo:
    """Gather the panels and choose the range of accuracy, which stays within 0 to 1.

    Raises:
        ValueError: if there is no line, or one does not have a value per layer.
    """
    lines = [(panel, line) for panel in panels for line in panel.lines]
    if not lines:
        raise ValueError("needs the probes of at least one network, got none")
    for panel, line in lines:
        if not line.mean.shape == line.low.shape == line.high.shape == (len(panel.layers),):
            raise ValueError(f"{line.label}: needs a value for each of {panel.layers}, got shape {line.mean.shape}")
    values = np.concatenate([part for _, line in lines for part in (line.mean, line.low, line.high)])
    low, high = range_with_margin(np.clip(values, 0, 1), 0.05)
    return ProbesInfo(tuple(panels), (max(low, -0.02), min(high, 1.02)), level, over)


def draw_probes(info: ProbesInfo) -> Figure:
    """Draw mean and interval of each line at each layer; lines are set side by side so that none hides another."""
    labels = list(dict.fromkeys(line.label for panel in info.panels for line in panel.lines))
    stops = [len(panel.layers) for panel in info.panels]
    with house_style():
        figure = new_figure(5.2 if len(stops) == 1 else 8.4, 3.6)
        grid = figure.subplots(1, len(stops), sharey=True, squeeze=False, width_ratios=stops)[0]
        for axes, panel in zip(grid, info.panels, strict=True):
            _draw_panel(axes, panel, labels)
        grid[0].set_ylim(*info.limits)
        grid[0].set_ylabel("validation accuracy of the probe")
        handles = {text: line for axes in grid for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
        title = f"mean and {info.level * 100:g} % interval over {info.over}"
        figure.legend(
            [handles[wrapped(label, 40)] for label in labels],
            [wrapped(label, 40) for label in labels],
            loc="outside lower center",
            ncols=4,
            fontsize=8.5,
            title=title,
            title_fontsize=8.5,
        )
    return figure


def _draw_panel(axes: Axes, panel: ProbePanel, labels: Sequence[str]) -> None:
    shifts = dodges(len(labels), 0.07, 0.42)
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)
    for line in panel.lines:
        place = labels.index(line.label)
        style, x = look(place), np.arange(len(panel.layers)) + shifts[place]
        axes.vlines(x, line.low, line.high, color=style.colour, lw=1.3, zorder=2)
        marks: dict[str, Any] = {"marker": style.marker, "ms": 5.5, "mec": "white", "mew": 0.6, "color": style.colour}
        axes.plot(x, line.mean, lw=1.4, ls=style.line, zorder=3, label=wrapped(line.label, 40), **marks)
    axes.set_xticks(range(len(panel.layers)), panel.layers)
    axes.set_xlim(-0.5, len(panel.layers) - 0.5)
    axes.set_title(wrapped(panel.title, 40))
