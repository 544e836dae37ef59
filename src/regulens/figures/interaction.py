"""Interaction plot: the means of every cell against the levels of one factor, a line for each level of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from regulens.figures.parts import Look, dodges, lines_of, look, range_with_margin, spread, text_width, wrapped
from regulens.figures.style import MUTED, house_style, new_figure

_SIZE = 8.8
_LINE = _SIZE * 1.28 / 72
"""Inches from line to line of a label."""


@dataclass(frozen=True, eq=False)
class InteractionLine:
    """One level of the other factor: estimates and the ends of their intervals, each (levels,), NaN for none."""

    label: str
    estimates: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class InteractionInfo:
    """The lines, labelled at their ends, over the ``levels`` of ``factor``; ``other`` is the factor of the lines."""

    title: str
    factor: str
    levels: tuple[str, ...]
    other: str
    lines: tuple[InteractionLine, ...]
    response: str


def draw_interaction(info: InteractionInfo) -> Figure:
    """Draw the lines with whiskers, side by side within a level; parallel lines mean no interaction."""
    labels = [wrapped(line.label, 24) for line in info.lines]
    other = wrapped(info.other, 24)
    margin = 0.5 + max(text_width(text, _SIZE) for text in (*labels, other))
    step = max(0.55, 0.14 * len(labels), *(text_width(level, 9.5) + 0.2 for level in info.levels))
    crowded = 1.0 + step * len(info.levels) + margin > 8.4
    width = min(max(1.0 + step * len(info.levels) + margin, 4.2), 8.4)
    inner = max(2.1, _LINE * (1 + sum(map(lines_of, labels))))
    levels = [wrapped(level, 27) for level in info.levels] if crowded else list(info.levels)
    below = 0.7 * max(text_width(level, 9.5) for level in levels) if crowded else 0.0
    with house_style():
        figure = new_figure(width, inner + below + 1.0 + 0.15 * (lines_of(other) - 1))
        axes = figure.subplots()
        axes.grid(True, axis="y")
        axes.set_axisbelow(True)
        ends = _draw_lines(axes, info)
        limits = range_with_margin([[line.estimates, line.low, line.high] for line in info.lines])
        slanted: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
        axes.set_xticks(range(len(levels)), levels, **slanted)
        axes.set(title=info.title, xlabel=info.factor, ylabel=info.response, ylim=limits)
        axes.set_xlim(-0.45, len(levels) - 0.55)
        _label_lines(axes, other, labels, ends, _LINE / inner)
    return figure


def _draw_lines(axes: Axes, info: InteractionInfo) -> list[tuple[float, float]]:
    """Draw each line with its whiskers and return where it ends."""
    ends = []
    for place, (line, offset) in enumerate(zip(info.lines, dodges(len(info.lines), 0.06, 0.5), strict=True)):
        style = look(place)
        x = np.arange(len(info.levels)) + offset
        whiskers = np.isfinite(line.low) & np.isfinite(line.high)
        axes.vlines(x[whiskers], line.low[whiskers], line.high[whiskers], color=style.colour, lw=1.3)
        marks: dict[str, Any] = {"marker": style.marker, "ms": 5.5, "mec": "white", "mew": 0.6}
        axes.plot(x, line.estimates, color=style.colour, ls=style.line, lw=1.6, label=line.label, **marks)
        known = np.flatnonzero(np.isfinite(line.estimates))
        ends.append((float(x[known[-1]]), float(line.estimates[known[-1]])) if len(known) else (np.nan, np.nan))
    return ends


def _label_lines(axes: Axes, other: str, labels: list[str], ends: list[tuple[float, float]], line: float) -> None:
    """Name each line at the right, tied to its last mean; ``line`` is the height of a line, a share of the axis."""
    right, (low, high) = axes.get_xlim()[1], axes.get_ylim()
    shown = [place for place, end in enumerate(ends) if np.isfinite(end).all()]
    sizes = [line * (high - low) * lines_of(labels[place]) for place in shown]
    heights = spread([ends[place][1] for place in shown], sizes, (low, high))
    for place, y in zip(shown, heights, strict=True):
        style: Look = look(place)
        x, end = ends[place]
        axes.plot([x, right], [end, y], color=style.colour, lw=0.6, alpha=0.7, clip_on=False, gid="leader")
        axes.annotate(
            labels[place], (right, y), (11, 0), textcoords="offset points", va="center", fontsize=_SIZE,
            color="#1d2330", annotation_clip=False,
        )  # fmt: skip
        axes.plot(right, y, style.marker, ms=4.5, color=style.colour, clip_on=False, gid="key")
    if other:
        axes.annotate(
            other, (1, 1), (11, 5), xycoords="axes fraction", textcoords="offset points", fontsize=8, color=MUTED
        )
