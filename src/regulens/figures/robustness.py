"""Accuracy by severity of a corruption: a panel per corruption, a line per regularizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from regulens.figures.parts import dodges, look, range_with_margin, wrapped
from regulens.figures.style import bare, house_style, new_figure


@dataclass(frozen=True, eq=False)
class RobustnessLine:
    """One network's mean accuracy at severities 0, 1, ... (severities,) with its interval's ends, NaN for none."""

    label: str
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RobustnessPanel:
    """One corruption: its lines, and what it does to one image, (severities, H, W, C) uint8 from severity 0, if any.

    ``strongest`` says what the last severity comes to.
    """

    title: str
    lines: tuple[RobustnessLine, ...]
    examples: NDArray[np.uint8] | None = None
    strongest: str = ""


@dataclass(frozen=True, eq=False)
class RobustnessInfo:
    """Panels to one scale; ``interval`` says what the intervals are, ``chance`` is the accuracy of guessing."""

    panels: tuple[RobustnessPanel, ...]
    limits: tuple[float, float]
    interval: str
    chance: float | None = None


def robustness_info(panels: Sequence[RobustnessPanel], interval: str, chance: float | None = None) -> RobustnessInfo:
    """Gather the panels and choose the range of accuracy, which stays within 0 to 1.

    Raises:
        ValueError: if there is no line, or one has no severity.
    """
    lines = [line for panel in panels for line in panel.lines]
    if not lines or any(not line.mean.size for line in lines):
        raise ValueError("needs the accuracies of at least one network at one severity, got none")
    values = np.concatenate([part for line in lines for part in (line.mean, line.low, line.high)])
    low, high = range_with_margin([*np.clip(values, 0, 1), *([] if chance is None else [chance])], 0.05)
    return RobustnessInfo(tuple(panels), (max(low, -0.02), min(high, 1.02)), interval, chance)


def draw_robustness(info: RobustnessInfo) -> Figure:
    """Draw the panels two in a row, below each the example at every severity; lines are set side by side."""
    labels = list(dict.fromkeys(line.label for panel in info.panels for line in panel.lines))
    across = min(2, len(info.panels))
    down = -(-len(info.panels) // across)
    pictures = any(panel.examples is not None for panel in info.panels)
    with house_style():
        figure = new_figure(4.2 * across, (3.2 if pictures else 2.5) * down + 0.6)
        parts = figure.subfigures(down, across, squeeze=False).ravel()
        for place, (part, panel) in enumerate(zip(parts, info.panels, strict=False)):
            axes = _axes(part, panel)
            _draw_panel(axes, panel, labels, info)
            if place % across == 0:
                axes.set_ylabel("accuracy")
        handles = {
            text: line for axes in figure.axes for line, text in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside lower center",
            ncols=5,
            fontsize=8.5,
            title=f"mean and {info.interval}",
            title_fontsize=8.5,
        )
    return figure


def _axes(part: SubFigure, panel: RobustnessPanel) -> Axes:
    """Return the axes of the lines, the examples drawn below them, each at its severity."""
    if panel.examples is None:
        return part.subplots()
    count = len(panel.examples)
    grid = part.add_gridspec(2, count, height_ratios=[3.6, 1])
    for severity, example in enumerate(panel.examples):
        axes = part.add_subplot(grid[1, severity])
        axes.imshow(example[..., 0] if example.shape[2] == 1 else example, cmap="gray", vmin=0, vmax=255)
        bare(axes)
    return part.add_subplot(grid[0, :])


def _draw_panel(axes: Axes, panel: RobustnessPanel, labels: Sequence[str], info: RobustnessInfo) -> None:
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)
    count = max((len(line.mean) for line in panel.lines), default=1)
    shifts = dodges(len(labels), 0.1, 0.5)
    for line in panel.lines:
        place = labels.index(line.label)
        style, x = look(place), np.arange(len(line.mean)) + shifts[place]
        axes.vlines(x, line.low, line.high, color=style.colour, lw=1.2, alpha=0.8)
        marks: dict[str, Any] = {"marker": style.marker, "ms": 4.5, "mec": "white", "mew": 0.5, "color": style.colour}
        axes.plot(x, line.mean, lw=1.5, ls=style.line, label=wrapped(line.label, 40), **marks)
    if info.chance is not None:
        axes.axhline(info.chance, color="#5c6470", lw=0.9, ls=(0, (1, 2)), zorder=1, label="guessing")
    axes.set(xlim=(-0.5, count - 0.5), ylim=info.limits, title=panel.title)
    ticks = ["as it is", *map(str, range(1, count))]
    if panel.strongest and count > 1:
        ticks[-1] += f"\n{panel.strongest}"
    axes.set_xticks(range(count), ticks, fontsize=8)
    axes.set_xlabel("severity", labelpad=1)
