"""Accuracy against the strength of a regularizer: every run a point, their centre a line with its band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from regulens.figures.parts import INK, Look, dodges, look, range_with_margin, spaced, text_width, wrapped
from regulens.figures.style import MUTED, VALIDATION, house_style, new_figure

_LOG_FROM = 30.0
"""Strengths that span more than this factor are drawn on a logarithmic axis."""
_TICK = 8.5


@dataclass(frozen=True, eq=False)
class StrengthCurve:
    """The runs of one network over the grid of strengths; strengths (k,) ascend, 0 stands for no regularizer.

    ``accuracies`` and ``collapsed`` hold an array of runs per strength; ``centre``, ``low`` and ``high`` are (k,),
    NaN for none. ``best`` is the place in the grid of the best one, ``at_edge`` whether a better one may lie beyond.
    """

    label: str
    strengths: NDArray[np.float64]
    accuracies: tuple[NDArray[np.float64], ...]
    collapsed: tuple[NDArray[np.bool_], ...]
    centre: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    best: int | None = None
    at_edge: bool = False


@dataclass(frozen=True, eq=False)
class StrengthPanel:
    """One regularizer: its curves, the name of its strength and what strength 0 is called."""

    title: str
    strength: str
    curves: tuple[StrengthCurve, ...]
    zero: str = "none"


@dataclass(frozen=True, eq=False)
class StrengthInfo:
    """The panels side by side, to one scale; ``centre`` and ``band`` say what line and band are."""

    panels: tuple[StrengthPanel, ...]
    response: str
    centre: str
    band: str


@dataclass(frozen=True, eq=False)
class StrengthAxis:
    """Where the strengths of a panel stand: on a logarithmic axis 0 has its own place left of a break."""

    strengths: NDArray[np.float64]
    places: NDArray[np.float64]
    logarithmic: bool

    def of(self, strengths: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the places of these strengths."""
        return self.places[np.searchsorted(self.strengths, strengths)]

    @property
    def broken(self) -> bool:
        """Whether the place of 0 is not to scale."""
        return self.logarithmic and self.strengths[0] == 0

    @property
    def width(self) -> float:
        """From the first place to the last, at least 1 of 1."""
        return float(self.places[-1] - self.places[0]) or 1.0


def strength_axis(panel: StrengthPanel) -> StrengthAxis:
    """Place the strengths linearly, or by their logarithm where the positive ones span more than 30 times."""
    strengths = np.unique(np.concatenate([curve.strengths for curve in panel.curves]))
    positive = strengths[strengths > 0]
    if not len(positive) or positive[-1] / positive[0] <= _LOG_FROM:
        return StrengthAxis(strengths, strengths, False)
    places = np.log10(positive)
    zero = [places[0] - max(0.12 * (places[-1] - places[0]), 0.5)] if strengths[0] == 0 else []
    return StrengthAxis(strengths, np.concatenate([zero, places]), True)


def draw_strengths(info: StrengthInfo) -> Figure:
    """Draw the panels, below them the collapsed runs where there are any, and one legend for all."""
    count = len(info.panels)
    curves = [curve for panel in info.panels for curve in panel.curves]
    names = list(dict.fromkeys(curve.label for curve in curves if any(runs.any() for runs in curve.collapsed)))
    runs = _one_size(curves)
    strip = 0.12 + 0.2 * len(names) if names else 0.0
    with house_style():
        figure = new_figure(5.6 if count == 1 else 8.4, 3.9 + strip)
        ratios = [3.0, strip] if names else [3.0]
        grid = figure.subplots(len(ratios), count, sharex="col", sharey="row", squeeze=False, height_ratios=ratios)
        looks = _looks(curves)
        for panel, column in zip(info.panels, grid.T, strict=True):
            axis = strength_axis(panel)
            _draw_panel(column[0], panel, axis, looks)
            if names:
                _draw_collapsed(column[1], panel, names, looks, runs)
            _finish_x(column[-1], panel, axis, (6.9 if count > 1 else 4.6) / count)
        grid[0, 0].set_ylabel(info.response)
        grid[0, 0].set_ylim(*_limits(curves))
        if names:
            collapsed = f"collapsed of {runs}" if runs else "collapsed"
            lost = [wrapped(f"{collapsed}, {name}" if len(looks) > 1 else collapsed, 24) for name in names]
            grid[1, 0].set_yticks(range(len(names)), lost, fontsize=8)
            grid[1, 0].set_ylim(len(names) - 0.4, -0.6)
        figure.legend(handles=_legend(info, looks), loc="outside lower center", ncols=3, fontsize=8.5)
    return figure


def _looks(curves: Sequence[StrengthCurve]) -> dict[str, Look]:
    labels = list(dict.fromkeys(curve.label for curve in curves))
    return (
        {labels[0]: Look(VALIDATION, "o", "-")}
        if len(labels) == 1
        else {label: look(place) for place, label in enumerate(labels)}
    )


def _limits(curves: Sequence[StrengthCurve]) -> tuple[float, float]:
    drawn = [part for curve in curves for part in (curve.centre, curve.low, curve.high)]
    drawn += [values[~lost] for curve in curves for values, lost in zip(curve.accuracies, curve.collapsed, strict=True)]
    return range_with_margin(np.concatenate(drawn), 0.08)


def _draw_panel(axes: Axes, panel: StrengthPanel, axis: StrengthAxis, looks: dict[str, Look]) -> None:
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)
    axes.set_title(panel.title)
    shifts = dodges(len(panel.curves), 0.016 * axis.width, 0.1 * axis.width)
    for curve, shift in zip(panel.curves, shifts, strict=True):
        style = looks[curve.label]
        x = axis.of(curve.strengths)
        for place, values, lost in zip(x, curve.accuracies, curve.collapsed, strict=True):
            spot = place + shift + dodges(len(values), 0.0012 * axis.width, 0.016 * axis.width)
            axes.scatter(spot[~lost], values[~lost], s=11, color=style.colour, alpha=0.35, lw=0, gid="runs")
        _draw_centre(axes, curve, x, axis, style)
        if curve.best is not None:
            _mark_best(axes, float(x[curve.best]), float(curve.centre[curve.best]), curve.at_edge)


def _draw_centre(axes: Axes, curve: StrengthCurve, x: NDArray[np.float64], axis: StrengthAxis, style: Look) -> None:
    """Draw line and band; a value at a zero that is not to scale stands alone, its level a line across."""
    alone = axis.broken and len(x) > 0 and curve.strengths[0] == 0
    joined = slice(1, None) if alone else slice(None)
    axes.fill_between(x[joined], curve.low[joined], curve.high[joined], color=style.colour, alpha=0.16, lw=0)
    marks: dict[str, Any] = {"marker": style.marker, "ms": 5.5, "mec": "white", "mew": 0.6, "color": style.colour}
    axes.plot(x[joined], curve.centre[joined], lw=2, ls=style.line, zorder=3, gid="centre", **marks)
    if alone:
        axes.plot(x[0], curve.centre[0], ls="", zorder=3, gid="zero", **marks)
        axes.vlines(x[0], curve.low[0], curve.high[0], color=style.colour, lw=3, alpha=0.3)
    if curve.strengths[0] == 0:
        axes.axhline(curve.centre[0], color=style.colour, lw=0.9, ls=(0, (1, 2)), zorder=1, gid="level of zero")


def _mark_best(axes: Axes, x: float, y: float, at_edge: bool) -> None:
    axes.plot(x, y, "o", ms=12, mfc="none", mec=INK, mew=1.3, zorder=4, gid="best")
    if at_edge:
        axes.annotate(
            "!", (x, y), (0, 9), textcoords="offset points", ha="center", va="bottom", fontsize=12,
            fontweight="bold", color=INK,
        )  # fmt: skip


def _draw_collapsed(axes: Axes, panel: StrengthPanel, names: Sequence[str], looks: dict[str, Look], runs: int) -> None:
    """Draw a cross and the number of collapsed runs for each strength, a line per curve.

    ``runs`` is the number of runs if it is the same everywhere; else (0) it is written beside each.
    """
    axis = strength_axis(panel)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    for curve in panel.curves:
        for x, lost in zip(axis.of(curve.strengths), curve.collapsed, strict=True):
            if not lost.any():
                continue
            y = names.index(curve.label)
            text = f"{int(lost.sum())}" if runs else f"{int(lost.sum())}/{len(lost)}"
            axes.plot(x, y, "x", ms=5, mew=1.5, color=looks[curve.label].colour, gid="collapsed")
            axes.annotate(
                text, (x, y), (5, 0), textcoords="offset points", va="center_baseline", fontsize=7.5, color=INK
            )


def _one_size(curves: Sequence[StrengthCurve]) -> int:
    """Return the number of runs of every strength if it is one and the same, else 0."""
    sizes = {len(lost) for curve in curves for lost in curve.collapsed}
    return sizes.pop() if len(sizes) == 1 else 0


def _finish_x(axes: Axes, panel: StrengthPanel, axis: StrengthAxis, inches: float) -> None:
    labels = [panel.zero if strength == 0 else f"{strength:g}" for strength in axis.strengths]
    unit = 1.12 * axis.width / inches
    widths = unit * np.array([text_width(label, _TICK) + 0.08 for label in labels])
    decades = np.isclose(np.log10(np.where(axis.strengths > 0, axis.strengths, 1)) % 1, 0)
    shown = spaced(axis.places, widths, decades)
    axes.set_xticks(axis.places, [label if show else "" for label, show in zip(labels, shown, strict=True)])
    axes.tick_params(axis="x", labelsize=_TICK)
    axes.set_xlabel(panel.strength)
    axes.set_xlim(axis.places[0] - 0.06 * axis.width, axis.places[-1] + 0.06 * axis.width)
    if axis.broken:
        gap = (axis.places[0] + axis.places[1]) / 2
        axes.plot(gap, 0, marker=[(-1, -2), (1, 2)], ms=9, color=MUTED, mew=1, clip_on=False, zorder=5,
                  transform=axes.get_xaxis_transform(), gid="break")  # fmt: skip


def _legend(info: StrengthInfo, looks: dict[str, Look]) -> list[Artist]:
    curves = [curve for panel in info.panels for curve in panel.curves]
    handles: list[Artist] = [
        Line2D([], [], color=style.colour, marker=style.marker, ls=style.line, lw=2, ms=5.5, label=label)
        for label, style in looks.items()
    ]
    neutral = MUTED if len(looks) > 1 else VALIDATION
    if len(looks) > 1:
        handles.append(Line2D([], [], color=neutral, lw=2, label=info.centre))
    else:
        handles[0].set_label(info.centre)
    if any(np.isfinite(curve.low).any() for curve in curves):
        handles.append(Patch(color=neutral, alpha=0.25, lw=0, label=info.band))
    handles.append(Line2D([], [], ls="", marker="o", ms=3.5, color=neutral, alpha=0.6, label="one run"))
    if any(curve.strengths[0] == 0 for curve in curves):
        handles.append(Line2D([], [], ls=(0, (1, 2)), lw=0.9, color=neutral, label=f"level of {info.panels[0].zero}"))
    if any(curve.best is not None for curve in curves):
        handles.append(Line2D([], [], ls="", marker="o", ms=10, mfc="none", mec=INK, mew=1.3, label="best"))
    if any(curve.best is not None and curve.at_edge for curve in curves):
        handles.append(Line2D([], [], ls="", label="! best at the edge of the grid"))
    return handles
