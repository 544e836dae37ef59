"""Pareto plot: how good each network is against what it costs, on a logarithmic axis, the non-dominated ones marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from regulens.figures.parts import INK, Look, in_lines, lines_of, look, range_with_margin, spread, wrapped
from regulens.figures.style import MUTED, house_style, new_figure

_MOST_NAMED = 20
"""Networks with a name in the legend: of more, the non-dominated ones alone."""
_TYPICAL = 4.0
"""An interval is drawn to this many typical half-widths from its estimate, the rest cut off at the axis' edge."""
_FRONT = "#5c6470"
_APART = 0.018
"""Of the width of the axis: what is nearer is set side by side."""
_SIZE = 8.5
_LABEL = 28
"""Characters in a line of the legend."""
_LINES = 80
"""Of the legend, at most."""
_TICKS: tuple[tuple[float, tuple[float, ...]], ...] = (
    *((4, ()), (30, (1, 1.5, 2, 3, 5, 7)), (1000, (1, 2, 5)), (1e5, (1, 3)), (math.inf, (1,))),
)
"""Below this ratio of the ends of the axis, the multiples of powers of ten that have a tick; none: equal steps."""


@dataclass(frozen=True)
class ParetoPoint:
    """A network: its estimate with the ends of its interval (NaN for none), and the median cost with its range."""

    label: str
    estimate: float
    low: float
    high: float
    cost: float
    cost_low: float
    cost_high: float
    non_dominated: bool


@dataclass(frozen=True)
class ParetoInfo:
    """The points, the names of the axes, and the range of the response.

    ``named`` are the places of the points that the legend names, the best first.
    """

    points: tuple[ParetoPoint, ...]
    named: tuple[int, ...]
    response: str
    cost: str
    limits: tuple[float, float]
    direction: Literal["higher", "lower"] = "higher"

    @property
    def costs(self) -> NDArray[np.float64]:
        """The median costs, (points,)."""
        return np.array([point.cost for point in self.points])


def pareto_info(
    points: Sequence[ParetoPoint], response: str, cost: str, direction: Literal["higher", "lower"] = "higher"
) -> ParetoInfo:
    """Choose which points are named and the range of the axis; a network looks the same in figures of one order.

    Raises:
        ValueError: if there is no point, or a cost is not above 0.
    """
    if not points:
        raise ValueError("a Pareto plot needs at least one network, got none")
    for point in points:
        if not (math.isfinite(point.cost_high) and point.cost_low > 0):
            raise ValueError(f"the cost of {point.label} must be above 0, got {point.cost_low}")
    sign = 1 if direction == "higher" else -1
    named = [place for place, each in enumerate(points) if len(points) <= _MOST_NAMED or each.non_dominated]
    named.sort(key=lambda place: -sign * points[place].estimate)
    return ParetoInfo(tuple(points), tuple(named[:_MOST_NAMED]), response, cost, _limits(points), direction)


def _limits(points: Sequence[ParetoPoint]) -> tuple[float, float]:
    numbers = np.array([[point.estimate, point.low, point.high] for point in points])
    known = numbers[np.isfinite(numbers).all(axis=1)]
    reach = _TYPICAL * float(np.median((known[:, 2] - known[:, 1]) / 2)) if len(known) else 0.0
    low, high = (np.clip(known[:, side], known[:, 0] - reach, known[:, 0] + reach) for side in (1, 2))
    return range_with_margin(np.concatenate([numbers[:, 0], low, high]))


def draw_pareto(info: ParetoInfo) -> Figure:
    """Draw every network with its interval, those that no other dominates filled and joined by steps."""
    places = _places(info)
    with house_style():
        figure = new_figure(8.0, max(3.6, _legend_height(info)))
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.grid(True, axis="y")
        axes.set_axisbelow(True)
        low, high = _cost_limits(info)
        _draw_front(axes, info, places, high)
        looks = {place: look(number) for number, place in enumerate(sorted(info.named))}
        for place, x in enumerate(places):
            _draw_point(axes, info, place, float(x), looks.get(place))
        axes.set(xlim=(low, high), ylim=info.limits, xlabel=f"{info.cost} (logarithmic)")
        axes.set_ylabel(f"{wrapped(info.response, 36)}\n({info.direction} is better)")
        _set_ticks(axes, low, high)
        _write_legend(figure, info, looks)
    return figure


def _legend_height(info: ParetoInfo) -> float:
    """Return the height of the legend in inches."""
    lines = [lines_of(_label(info, place)) for place in info.named]
    return 0.3 + _SIZE / 72 * (1.25 * sum(lines, 3) + 0.55 * (len(lines) + 3))


def _label(info: ParetoInfo, place: int) -> str:
    """Return the name of a point in the legend: the more are named, the fewer lines each has."""
    return in_lines(info.points[place].label, _LABEL, min(8, max(4, _LINES // len(info.named))))


def _cost_limits(info: ParetoInfo) -> tuple[float, float]:
    """Return the range of the costs with a margin, at least by a fifth to each side."""
    low, high = min(each.cost_low for each in info.points), max(each.cost_high for each in info.points)
    factor = max((high / low) ** 0.08, 1.02 if high > low else 1.25)
    return low / factor, high * factor


def _places(info: ParetoInfo) -> NDArray[np.float64]:
    """Return where on the cost axis each point is drawn: those of nearly one cost side by side."""
    low, high = np.log(_cost_limits(info))
    wanted = (np.log(info.costs) - low) / (high - low)
    if len(wanted) * _APART > 0.8:
        return info.costs
    moved: NDArray[np.float64] = np.exp(low + spread(wanted, np.full(len(wanted), _APART), (0.0, 1.0)) * (high - low))
    return moved


def _draw_front(axes: Axes, info: ParetoInfo, places: NDArray[np.float64], end: float) -> None:
    kept = [int(place) for place in np.argsort(places, kind="stable") if info.points[place].non_dominated]
    x = [float(places[place]) for place in kept] + [end]
    y = [info.points[place].estimate for place in kept]
    axes.step(x, [*y, y[-1]] if y else [math.nan], where="post", color=_FRONT, lw=1.0, ls="--", zorder=1, gid="front")


def _draw_point(axes: Axes, info: ParetoInfo, place: int, x: float, found: Look | None) -> None:
    point = info.points[place]
    colour, marker = (found.colour, found.marker) if found else (MUTED, "o")
    face = colour if point.non_dominated else "white"
    if not (math.isnan(point.low) or math.isnan(point.high)):
        low, high = info.limits
        width = 1.6 if point.non_dominated else 1.1
        ends = [max(point.low, low), min(point.high, high)]
        axes.plot([x, x], ends, color=colour, lw=width, zorder=2, gid="interval")
        for end, true, arrow in zip(ends, (point.low, point.high), "v^", strict=True):
            if end != true:
                axes.plot(x, end, arrow, ms=6, color=colour, mew=0, clip_on=False, zorder=5, gid="beyond")
    if point.cost_low < point.cost_high:
        span = [point.cost_low, point.cost_high]
        axes.plot(span, [point.estimate] * 2, color=colour, lw=0.8, zorder=2, gid="range")
    size = 7.0 if found else 4.0
    axes.plot(x, point.estimate, marker, ms=size, mfc=face, mec=colour, mew=1.2, zorder=4, gid="estimate")


def _set_ticks(axes: Axes, low: float, high: float) -> None:
    """Write costs in plain numbers, also where they span less than a power of ten."""
    subs = next(subs for most, subs in _TICKS if high / low < most)
    axes.xaxis.set_major_locator(LogLocator(subs=subs) if subs else MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain_cost(value)))


def plain_cost(value: float) -> str:
    """Write a cost in short: 0.5, 12, 3.2 k, 218 k, 1.5 M."""
    for factor, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.4g} {unit}"
    return f"{value:.4g}"


def _write_legend(figure: Figure, info: ParetoInfo, looks: dict[int, Look]) -> None:
    handles = []
    for place in info.named:
        point, found = info.points[place], looks[place]
        face = found.colour if point.non_dominated else "white"
        style: dict[str, Any] = {
            "marker": found.marker,
            "ms": 7,
            "mfc": face,
            "mec": found.colour,
            "mew": 1.2,
            "ls": "",
        }
        handles.append(Line2D([], [], label=_label(info, place), **style))
    others = len(info.points) - len(info.named)
    if others:
        label = f"{others} more networks"
        handles.append(Line2D([], [], marker="o", ms=4, mfc="white", mec=MUTED, ls="", label=label))
    if any(each.low < info.limits[0] or each.high > info.limits[1] for each in info.points):
        label = "interval goes on beyond the axis"
        handles.append(Line2D([], [], color=_FRONT, marker="^", ms=6, lw=1.1, label=label))
    handles.append(Line2D([], [], color=_FRONT, lw=1.0, ls="--", label="filled, bold: not dominated"))
    legend = figure.legend(handles=handles, loc="outside right upper", fontsize=_SIZE, labelcolor=INK)
    for text, place in zip(legend.get_texts(), info.named, strict=False):
        text.set_fontweight("bold" if info.points[place].non_dominated else "normal")
