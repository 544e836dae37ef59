"""Effects on data sets: a row for each set, below them the mean over sets and the prediction for a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from regulens.figures.parts import BLUE, INK, VERMILLION, lines_of, range_with_margin, text_width, wrapped
from regulens.figures.style import MUTED, house_style, new_figure
from regulens.stats.intervals import Interval

PANELS = 3
"""Comparisons side by side in one figure."""
_SIZE = 8.8
_ROW = 0.25
"""Inches from row to row."""
_TYPICAL = 4.0
"""An interval is drawn to this many typical half-widths from its estimate, the rest cut off at the axis' edge."""
_MEAN, _RANDOM, _NEW = "mean, equal weights", "mean, random effects", "new set"


@dataclass(frozen=True, eq=False)
class SetsForestPanel:
    """One comparison: the differences on its sets, each (sets,), NaN where there is none, and what is made of them.

    ``mean`` counts each set the same, and ``new`` is its prediction; ``weighted`` and ``weighted_new`` are those of the
    random-effects model, ``None`` where it cannot be made.
    """

    title: str
    estimates: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: Interval
    new: Interval
    weighted: Interval | None = None
    weighted_new: Interval | None = None


@dataclass(frozen=True, eq=False)
class SetsForestInfo:
    """The panels over one list of ``sets``; numbers are those printed, in ``unit``, ``limits`` the axis of all."""

    sets: tuple[str, ...]
    panels: tuple[SetsForestPanel, ...]
    response: str
    unit: str
    limits: tuple[float, float]


def sets_forest_info(
    sets: Sequence[str], panels: Sequence[SetsForestPanel], response: str, unit: str = ""
) -> SetsForestInfo:
    """Choose one axis for all panels: it holds zero, every estimate, and intervals up to four typical half-widths.

    Raises:
        ValueError: if there is no panel, or more than fit side by side.
    """
    if not 1 <= len(panels) <= PANELS:
        raise ValueError(f"a figure holds 1 to {PANELS} comparisons, got {len(panels)}")
    rows = np.concatenate([_rows(panel) for panel in panels])
    half = (rows[:, 2] - rows[:, 1]) / 2
    reach = _TYPICAL * float(np.nanmedian(half)) if np.isfinite(half).any() else 0.0
    ends = [np.maximum(rows[:, 1], rows[:, 0] - reach), np.minimum(rows[:, 2], rows[:, 0] + reach)]
    limits = range_with_margin(np.concatenate([[0.0], rows[:, 0], *ends]), 0.05)
    return SetsForestInfo(tuple(sets), tuple(panels), response, unit, limits)


def _rows(panel: SetsForestPanel) -> NDArray[np.float64]:
    """Return estimate, low and high of each row, (rows, 3)."""
    of_sets = np.stack([panel.estimates, panel.low, panel.high], axis=1)
    pooled = [each for each in (panel.mean, panel.new, panel.weighted, panel.weighted_new) if each is not None]
    return np.concatenate([of_sets, [[each.estimate, each.low, each.high] for each in pooled]])


def draw_sets_forest(info: SetsForestInfo) -> Figure:
    """Draw the panels side by side, to one scale; an arrow marks an interval that goes on beyond the axis."""
    names = [wrapped(name, 28) for name in info.sets]
    summary = [_MEAN, _RANDOM, _NEW] if any(panel.weighted for panel in info.panels) else [_MEAN, _NEW]
    labels = [*names, *summary]
    places = _places(labels, len(names))
    titles = [wrapped(panel.title, 26) for panel in info.panels]
    margin = max(text_width(label, _SIZE) for label in labels) + 0.3
    width = max(4.8, min(8.4, margin + 2.4 * len(info.panels) + 0.4))
    handles, columns = _legend(info), 2 if width > 6.4 else 1
    below = 0.18 * -(-len(handles) // columns)
    with house_style():
        figure = new_figure(width, 1.1 + below + 0.17 * max(map(lines_of, titles)) + _ROW * (places[-1] + 1))
        grid = figure.subplots(1, len(info.panels), sharey=True, squeeze=False)
        for axes, panel, title in zip(grid[0], info.panels, titles, strict=True):
            _draw_panel(axes, info, panel, places, summary)
            axes.set_title(title)
            axes.set_xlabel(
                "\n".join([wrapped(f"difference in {info.response}", 34), *([info.unit] if info.unit else [])])
            )
        first: Axes = grid[0][0]
        first.set_yticks(places, labels, fontsize=_SIZE)
        first.set_ylim(places[-1] + 0.7, -0.7)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8)
    return figure


def _places(labels: Sequence[str], sets: int) -> list[float]:
    """Return where the rows are, in rows; the pooled ones stand apart."""
    places, end = [], 0.0
    for number, label in enumerate(labels):
        extra = 0.55 * (lines_of(label) - 1)
        end += 0.6 if number == sets else 0.0
        places.append(end + extra / 2)
        end += 1 + extra
    return places


def _draw_panel(
    axes: Axes, info: SetsForestInfo, panel: SetsForestPanel, places: Sequence[float], summary: Sequence[str]
) -> None:
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)
    axes.axvline(0, color=INK, lw=0.9, zorder=1)
    axes.set_xlim(*info.limits)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", left=False)
    for y, row in zip(places, np.stack([panel.estimates, panel.low, panel.high], axis=1), strict=False):
        _draw_interval(axes, info, row, y, color=MUTED, marker="s", gid="set")
    pooled = dict(zip(summary, places[len(info.sets) :], strict=True))
    for name, interval, style in (
        (_MEAN, panel.mean, {"color": BLUE, "marker": "D", "gid": "mean"}),
        (_RANDOM, panel.weighted, {"color": VERMILLION, "marker": "D", "gid": "weighted", "face": "white"}),
    ):
        if interval is not None:
            row = np.array([interval.estimate, interval.low, interval.high])
            _draw_interval(axes, info, row, pooled[name], width=2.2, size=7, **style)
    for interval, shift, color, gid in (
        (panel.new, -0.14, BLUE, "new"),
        (panel.weighted_new, 0.14, VERMILLION, "weighted-new"),
    ):
        if interval is not None:
            row = np.array([np.nan, interval.low, interval.high])
            _draw_interval(axes, info, row, pooled[_NEW] + (shift if panel.weighted else 0), color=color, gid=gid)


def _draw_interval(
    axes: Axes, info: SetsForestInfo, row: NDArray[np.float64], y: float, *, color: str, gid: str,
    marker: str = "o", face: str | None = None, width: float = 1.4, size: float = 5.0,
) -> None:  # fmt: skip
    estimate, low, high = row
    left, right = info.limits
    if np.isfinite([low, high]).all() and high > left and low < right:
        shown = [max(low, left), min(high, right)]
        axes.plot(shown, [y, y], color=color, lw=width, solid_capstyle="butt", zorder=3, gid=gid)
        for end, drawn, arrow in zip((low, high), shown, "<>", strict=True):
            cut: dict[str, Any] = {"ms": 5.5, "mew": 0} if end != drawn else {"ms": 5.0, "mew": 1.2}
            axes.plot(drawn, y, arrow if end != drawn else "|", color=color, clip_on=False, zorder=4, **cut)
    if np.isfinite(estimate):
        axes.plot(estimate, y, marker, ms=size, mfc=face or color, mec=color, mew=1.2, zorder=5, gid=f"{gid}-estimate")


def _legend(info: SetsForestInfo) -> list[Line2D]:
    level = f"{100 * info.panels[0].mean.level:g} %"
    handles = [
        Line2D([], [], color=MUTED, lw=1.4, marker="s", ms=5, label=f"one set, {level} interval over runs"),
        Line2D([], [], color=BLUE, lw=2.2, marker="D", ms=6, label=f"equal weights, {level}"),
    ]
    if any(panel.weighted for panel in info.panels):
        label = f"random effects (Hartung-Knapp), {level}"
        handles.append(Line2D([], [], color=VERMILLION, lw=2.2, marker="D", ms=6, mfc="white", label=label))
    rows = np.concatenate([_rows(panel) for panel in info.panels])
    if (rows[:, 1] < info.limits[0]).any() or (rows[:, 2] > info.limits[1]).any():
        handles.append(Line2D([], [], color=INK, lw=1.4, marker=">", ms=6, label="goes on beyond the axis"))
    return handles
