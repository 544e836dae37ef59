"""Measures of what networks learned, by regularizer and layer: every run a point, a panel per measure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator
from numpy.typing import NDArray

from regulens.figures.parts import INK, lines_of, look, range_with_margin, wrapped
from regulens.figures.style import MUTED, house_style, new_figure

_SLOT = 0.26
"""Inches from row to row."""
_NAME_LINE = 0.14
"""Inches of each further line of a name."""
_SPREAD = 0.3
"""Rows that the points of one row are spread over, to either side."""


@dataclass(frozen=True, eq=False)
class MeasureRow:
    """The runs of one network in one layer: values (runs,), NaN where a run has none, and mean, low, high.

    Rows of one ``group`` (a depth and layer, say) stand together under its name; ``interval`` is ``None`` where
    there is no mean, and its bounds are NaN where there is a mean alone.
    """

    label: str
    group: str
    values: NDArray[np.float64]
    interval: tuple[float, float, float] | None


@dataclass(frozen=True, eq=False)
class MeasurePanel:
    """One measure: its title, its scale in words, its rows; ``reference`` is a value to compare with, e.g. noise's."""

    title: str
    scale: str
    rows: tuple[MeasureRow, ...]
    reference: float | None = None


@dataclass(frozen=True, eq=False)
class MeasuresInfo:
    """The panels, the range of each, the labels of all rows in order with their group, and how the means are given.

    ``logarithmic`` are the axes of panels whose values, all above zero, span more than three decades.
    """

    panels: tuple[MeasurePanel, ...]
    limits: tuple[tuple[float, float], ...]
    logarithmic: tuple[bool, ...]
    lines: tuple[tuple[str, str], ...]
    level: float
    reference: str


def measures_info(panels: Sequence[MeasurePanel], level: float = 0.95, reference: str = "white noise") -> MeasuresInfo:
    """Line up the rows of all panels and choose each panel's range.

    Args:
        panels: at least one.
        level: of the intervals.
        reference: what the panels' reference values are of.

    Raises:
        ValueError: if there is no row.
    """
    lines = dict.fromkeys((row.group, row.label) for panel in panels for row in panel.rows)
    if not lines:
        raise ValueError("a figure of measures needs at least one row, got none")
    groups = list(dict.fromkeys(group for group, _ in lines))
    ordered = tuple(sorted(lines, key=lambda line: groups.index(line[0])))
    logarithmic = tuple(map(_spans_decades, panels))
    limits = tuple(map(_limits, panels, logarithmic))
    return MeasuresInfo(tuple(panels), limits, logarithmic, ordered, level, reference)


def _spans_decades(panel: MeasurePanel) -> bool:
    values = np.concatenate([row.values for row in panel.rows])
    values = values[np.isfinite(values)]
    return bool(len(values) and values.min() > 0 and values.max() > 1000 * values.min())


def _limits(panel: MeasurePanel, logarithmic: bool) -> tuple[float, float]:
    """Return a range that holds all there is; of an interval on a logarithmic axis, what is among the values."""
    values = np.concatenate([row.values for row in panel.rows])
    if logarithmic:
        low, high = range_with_margin(np.log10(values[np.isfinite(values)]), 0.06)
        return 10**low, 10**high
    others = [end for row in panel.rows for end in row.interval or ()]
    reference = [] if panel.reference is None else [panel.reference]
    return range_with_margin([*values, *others, *reference], 0.06)


def draw_measures(info: MeasuresInfo, columns: int = 3) -> Figure:
    """Draw the panels in rows of ``columns``, the rows of all at one height and named at the left."""
    columns = min(columns, len(info.panels))
    rows = math.ceil(len(info.panels) / columns)
    places = _places(info.lines)
    height = max(places.values()) + 1
    with house_style():
        figure = new_figure(1.6 + 2.3 * columns, rows * (_SLOT * height + 0.75) + 0.35)
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes in grid.flat[len(info.panels) :]:
            axes.axis("off")
        for axes, panel, limits, logarithmic in zip(
            grid.flat, info.panels, info.limits, info.logarithmic, strict=False
        ):
            if logarithmic:
                _make_logarithmic(axes)
            _draw_panel(axes, panel, limits, places)
            axes.set_ylim(height - 0.4, -0.6)
        for axes in grid[:, 0]:
            _name_rows(axes, places)
        figure.legend(handles=_legend(info), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _places(lines: Sequence[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """Return the height of each line, and under an empty label that of each group's name."""
    places: dict[tuple[str, str], float] = {}
    end = 0.0
    for group, label in lines:
        if group and (group, "") not in places:
            end = _append(places, (group, ""), end)
        end = _append(places, (group, label), end)
    return places


def _append(places: dict[tuple[str, str], float], line: tuple[str, str], end: float) -> float:
    """Set a line below the last, at the middle of a name of several lines, and return where it ends."""
    more = _NAME_LINE / _SLOT * (lines_of(_row_name(*line)) - 1)
    places[line] = end + more / 2
    return end + 1 + more


def _row_name(group: str, label: str) -> str:
    return wrapped(label or group, 30)


def _name_rows(axes: Axes, places: dict[tuple[str, str], float]) -> None:
    axes.set_yticks(list(places.values()), [_row_name(*line) for line in places])
    for text, (_, label) in zip(axes.get_yticklabels(), places, strict=True):
        text.set(fontweight="normal" if label else "bold", color=INK)
    axes.tick_params(axis="y", length=0, labelsize=8)


def _draw_panel(
    axes: Axes, panel: MeasurePanel, limits: tuple[float, float], places: dict[tuple[str, str], float]
) -> None:
    axes.set_xlim(*limits)
    labels = list(dict.fromkeys(label for _, label in places if label))
    for row in panel.rows:
        _draw_row(axes, row, places[row.group, row.label], look(labels.index(row.label)).colour)
    if panel.reference is not None:
        axes.axvline(panel.reference, color=INK, lw=0.9, ls=":", zorder=1)
    axes.set_title(wrapped(panel.title, 34), fontsize=9)
    scale = panel.scale + ("; logarithmic axis" if axes.get_xscale() == "log" else "")
    axes.set_xlabel(wrapped(scale, 44), fontsize=7.5)
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7.5)


def _make_logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=5))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")  # matplotlib's own is mathematics, which is off
    axes.minorticks_off()


def _draw_row(axes: Axes, row: MeasureRow, y: float, colour: str) -> None:
    defined = row.values[np.isfinite(row.values)]
    offsets = np.linspace(-_SPREAD, _SPREAD, len(defined)) if len(defined) > 1 else np.zeros(len(defined))
    axes.plot(defined, y + offsets, "o", ms=2.6, color=colour, alpha=0.55, mew=0, zorder=2, gid="runs")
    missing = len(row.values) - len(defined)
    if missing:
        of = "all" if not len(defined) else f"{missing} of {len(row.values)}"
        axes.annotate(
            f"{of} undefined",
            (1, y - 0.34),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="center",
            fontsize=6.5,
            color="#5c6470",
            zorder=5,
        )
    if row.interval is None:
        return
    mean, low, high = row.interval
    if math.isfinite(low) and math.isfinite(high):
        low = max(low, axes.get_xlim()[0]) if axes.get_xscale() == "log" else low
        axes.plot([low, high], [y, y], color=INK, lw=1.6, solid_capstyle="butt", zorder=3, gid="interval")
    if math.isfinite(mean):
        axes.plot(mean, y, "D", ms=4.5, mfc=colour, mec=INK, mew=0.9, zorder=4, gid="mean")


def _legend(info: MeasuresInfo) -> list[Line2D]:
    handles = [
        Line2D([], [], ls="", marker="o", ms=4, color=MUTED, mew=0, label="one run"),
        Line2D(
            [], [], color=INK, lw=1.6, marker="D", ms=4.5, mfc=MUTED, label=f"mean, {info.level * 100:g} % interval"
        ),
    ]
    if any(panel.reference is not None for panel in info.panels):
        handles.append(Line2D([], [], color=INK, lw=0.9, ls=":", label=info.reference))
    return handles
