"""Forest plot: every comparison a row, its interval against zero and the region of practical equivalence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from regulens.figures.parts import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    VERMILLION,
    lines_of,
    range_with_margin,
    signed,
    text_width,
    wrapped,
)
from regulens.figures.style import MUTED, house_style, new_figure

Verdict = Literal[
    "better", "worse", "equivalent", "better (size open)", "worse (size open)", "undecided", "too few runs", "mixed"
]

VERDICTS: dict[Verdict | None, tuple[str, str, bool]] = {
    "better": (GREEN, "^", True),
    "worse": (VERMILLION, "v", True),
    "equivalent": (BLUE, "s", True),
    "better (size open)": (GREEN, "^", False),
    "worse (size open)": (VERMILLION, "v", False),
    "undecided": ("#5c6470", "o", False),
    "too few runs": ("#5c6470", "X", False),
    "mixed": (ORANGE, "P", True),
    None: (MUTED, "D", False),
}
"""Colour, marker and whether it is filled: open where the size, or all, is open; ``None`` allows no interval."""

ROPE_COLOUR = "#e4eef7"
_TYPICAL = 4.0
"""An interval is drawn to this many typical half-widths from its estimate, the rest cut off at the axis' edge."""
_SIZE = 8.8
_SLOT = 0.255
"""Inches from row to row."""


@dataclass(frozen=True)
class ForestRow:
    """A comparison a - b in the response's unit, positive where a is the higher.

    ``low, high`` is the simultaneous interval, ``low95, high95`` the unadjusted one; NaN where there is none, and then
    ``note`` is printed in its place. ``bounds`` are the one-sided bounds that decide about the region of equivalence,
    NaN where none does. ``word`` is printed for the verdict, by default it itself. Rows of one ``group`` stand together
    under its name, in the order given.
    """

    label: str
    group: str
    estimate: float
    low: float
    high: float
    low95: float
    high95: float
    verdict: Verdict | None
    note: str = "no interval"
    bounds: tuple[float, float] = (math.nan, math.nan)
    word: str = ""


@dataclass(frozen=True)
class ForestInfo:
    """The rows in order of their groups, and how they are printed: times ``scale``, in ``unit``.

    ``rope`` is the half-width of the region of practical equivalence (0: none) and ``limits`` the range of the
    axis, both in the response's unit; ``direction`` says which response is the better one.
    """

    rows: tuple[ForestRow, ...]
    response: str
    rope: float
    limits: tuple[float, float]
    direction: Literal["higher", "lower"] = "higher"
    scale: float = 1.0
    unit: str = ""
    decimals: int = 1
    level: float = 0.95


@dataclass(frozen=True)
class _Slot:
    """One line of the figure: a row or, if it is ``None``, the name of a group; y and height in lines."""

    y: float
    height: float
    label: str
    row: ForestRow | None


def forest_info(
    rows: Sequence[ForestRow],
    response: str,
    rope: float,
    *,
    direction: Literal["higher", "lower"] = "higher",
    scale: float = 1.0,
    unit: str = "",
    decimals: int = 1,
    level: float = 0.95,
) -> ForestInfo:
    """Gather the rows by group and choose the range of the axis.

    It holds zero, the region of equivalence, every estimate, and every interval up to four times the median
    half-width from its estimate: one very wide interval shall not make the others unreadable.

    Raises:
        ValueError: if there is no row.
    """
    if not rows:
        raise ValueError("a forest plot needs at least one comparison, got none")
    groups = list(dict.fromkeys(row.group for row in rows))
    ordered = tuple(sorted(rows, key=lambda row: groups.index(row.group)))
    limits = _limits(ordered, rope)
    return ForestInfo(ordered, response, rope, limits, direction, scale, unit, decimals, level)


def _limits(rows: Sequence[ForestRow], rope: float) -> tuple[float, float]:
    numbers = np.array([[row.estimate, row.low, row.high] for row in rows])
    estimates, low, high = numbers[np.isfinite(numbers).all(axis=1)].T
    reach = _TYPICAL * float(np.median((high - low) / 2)) if len(low) else 0.0
    ends = [np.maximum(low, estimates - reach), np.minimum(high, estimates + reach)]
    return range_with_margin(np.concatenate([[0.0, -1.3 * rope, 1.3 * rope], numbers[:, 0], *ends]), 0.04)


def draw_forest(info: ForestInfo) -> Figure:
    """Draw the labels, the intervals, and beside them estimate, interval and verdict in figures and words."""
    info = _in_unit(info)
    slots = _slots(info.rows)
    lines = slots[-1].y + slots[-1].height
    labels = max(text_width(slot.label, _SIZE, bold=slot.row is None) for slot in slots) + 0.2
    columns = _column_widths(info)
    with house_style():
        figure = new_figure(8.4, 1.3 + _SLOT * lines)
        ratios = [labels, max(8.0 - labels - sum(columns), 2.4), sum(columns)]
        names, axes, texts = figure.subplots(1, 3, width_ratios=ratios, sharey=True)
        for side in (names, texts):
            side.axis("off")
            side.set_xlim(0, 1)
        axes.set_ylim(lines, -0.15)
        _write_labels(names, slots, labels)
        for slot in slots:
            if slot.row is not None:
                _draw_row(axes, info, slot.row, slot.y)
        _finish_axes(axes, info)
        _write_columns(texts, info, slots, columns)
        handles = _legend(info)
        figure.legend(handles=handles, loc="outside lower center", ncols=2 if len(handles) > 3 else 3, fontsize=8)
    return figure


def _in_unit(info: ForestInfo) -> ForestInfo:
    """Return the same in the unit that is printed."""

    def scaled(row: ForestRow) -> ForestRow:
        names = ("estimate", "low", "high", "low95", "high95")
        bounds = (row.bounds[0] * info.scale, row.bounds[1] * info.scale)
        return replace(row, bounds=bounds, **{name: getattr(row, name) * info.scale for name in names})

    low, high = info.limits
    limits = (low * info.scale, high * info.scale)
    rows = tuple(map(scaled, info.rows))
    return replace(info, rows=rows, rope=info.rope * info.scale, limits=limits, scale=1.0)


def clipped(info: ForestInfo, row: ForestRow) -> tuple[bool, bool]:
    """Say whether the row's simultaneous interval goes on beyond the left and the right end of the axis."""
    return row.low < info.limits[0], row.high > info.limits[1]


def _has_interval(row: ForestRow) -> bool:
    return not (math.isnan(row.low) or math.isnan(row.high))


def _slots(rows: Sequence[ForestRow]) -> list[_Slot]:
    slots: list[_Slot] = []
    end, group = 0.5, ""
    for row in rows:
        if row.group != group:
            group = row.group
            end += 0.25 if slots else 0.0
            end = _append(slots, end, wrapped(group, 36), None)
        end = _append(slots, end, wrapped(row.label, 32), row)
    return slots


def _append(slots: list[_Slot], end: float, label: str, row: ForestRow | None) -> float:
    """Set a label of one or more lines below the last, and return where it ends."""
    height = 0.5 + 0.275 * (lines_of(label) - 1)
    slots.append(_Slot(end - 0.5 + height, height, label, row))
    return end + 2 * height


def _write_labels(names: Axes, slots: Sequence[_Slot], width: float) -> None:
    grouped = any(slot.row is None for slot in slots)
    for slot in slots:
        header = slot.row is None
        x = 0.14 / width if grouped and not header else 0.0
        weight, va = "bold" if header else "normal", "center_baseline" if lines_of(slot.label) == 1 else "center"
        names.text(x, slot.y, slot.label, ha="left", va=va, fontsize=_SIZE, fontweight=weight, color=INK)


def _draw_row(axes: Axes, info: ForestInfo, row: ForestRow, y: float) -> None:
    colour, marker, filled = VERDICTS[row.verdict]
    left, right = info.limits
    if _has_interval(row):
        shown = [min(max(end, left), right) for end in (row.low, row.high)]
        axes.plot(shown, [y, y], color=colour, lw=1.4, solid_capstyle="butt", zorder=3, gid="simultaneous")
        for end, drawn, arrow in zip((row.low, row.high), shown, "<>", strict=True):
            cut = end != drawn
            mark, size = (arrow, 6.0) if cut else ("|", 7.0)
            axes.plot(drawn, y, mark, ms=size, color=colour, mew=0 if cut else 1.4, clip_on=False, zorder=4, gid="end")
    if not (math.isnan(row.low95) or math.isnan(row.high95)):
        inner = [min(max(end, left), right) for end in (row.low95, row.high95)]
        axes.plot(inner, [y, y], color=colour, lw=4.2, solid_capstyle="butt", zorder=3, gid="unadjusted")
    for bound in filter(math.isfinite, row.bounds):
        if left <= bound <= right:
            axes.plot(bound, y, "|", ms=13, color=INK, mew=1.2, zorder=4, gid="bound")
    if math.isfinite(row.estimate):
        face, edge = (colour, "white") if filled else ("white", colour)
        size = 10 if marker in "^vPX" else 7.5
        axes.plot(row.estimate, y, marker, ms=size, mfc=face, mec=edge, mew=1.1, zorder=5, gid="estimate")


def _finish_axes(axes: Axes, info: ForestInfo) -> None:
    if info.rope > 0:
        axes.axvspan(-info.rope, info.rope, color=ROPE_COLOUR, lw=0, zorder=0)
    axes.axvline(0, color=INK, lw=0.9, zorder=1)
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)
    axes.set_xlim(*info.limits)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", left=False, labelleft=False)
    axes.set_xlabel(f"difference in {info.response}" + (f" ({info.unit})" if info.unit else ""))
    _write_sides(axes, info)


def _write_sides(axes: Axes, info: ForestInfo) -> None:
    """Name the sides of zero above the rows, where there is room for the name."""
    left, right = info.limits
    zero = -left / (right - left)
    names = ("← worse", "better →") if info.direction == "higher" else ("← better", "worse →")
    for name, x, ha, room in ((names[0], zero - 0.015, "right", zero), (names[1], zero + 0.015, "left", 1 - zero)):
        if room > 0.25:
            axes.text(x, 1.0, name, ha=ha, va="bottom", fontsize=8, color="#5c6470", transform=axes.transAxes)


def _interval_text(info: ForestInfo, row: ForestRow) -> str:
    if not _has_interval(row):
        return row.note
    low, high = (signed(end, info.decimals) for end in (row.low, row.high))
    return f"{low} to {high}"


def _estimate_text(info: ForestInfo, row: ForestRow) -> str:
    return signed(row.estimate, info.decimals) if math.isfinite(row.estimate) else "–"


def _heads(info: ForestInfo) -> tuple[str, str, str]:
    return info.unit or "estimate", f"{info.level * 100:.4g} % interval", "verdict"


def _column_widths(info: ForestInfo) -> tuple[float, float, float]:
    """Inches of the columns of estimate, interval and verdict, with the space before each."""
    heads = _heads(info)
    estimate, interval = (
        max(text_width(text, _SIZE) for text in (head, *(write(info, row) for row in info.rows)))
        for head, write in zip(heads, (_estimate_text, _interval_text), strict=False)
    )
    words = max(text_width(_word(row), _SIZE) for row in info.rows)
    return estimate + 0.12, interval + 0.2, max(words, text_width("undecided", _SIZE)) + 0.42


def _word(row: ForestRow) -> str:
    return row.word or row.verdict or "–"


def _write_columns(texts: Axes, info: ForestInfo, slots: Sequence[_Slot], widths: tuple[float, float, float]) -> None:
    total = sum(widths)
    right, middle, mark = widths[0] / total, (widths[0] + 0.2) / total, (widths[0] + widths[1] + 0.28) / total
    word = mark + 0.12 / total
    for x, head, ha in zip((right, middle, mark - 0.06 / total), _heads(info), ("right", "left", "left"), strict=True):
        texts.text(x, 1.0, head, ha=ha, va="bottom", fontsize=8, color="#5c6470", transform=texts.transAxes)
    for slot in slots:
        if slot.row is None:
            continue
        colour, marker, filled = VERDICTS[slot.row.verdict]
        style: dict[str, Any] = {"va": "center_baseline", "fontsize": _SIZE, "color": INK}
        texts.text(right, slot.y, _estimate_text(info, slot.row), ha="right", **style)
        texts.text(middle, slot.y, _interval_text(info, slot.row), ha="left", **style)
        texts.text(word, slot.y, _word(slot.row), ha="left", **style)
        texts.plot(mark, slot.y, marker, ms=6, mfc=colour if filled else "white", mec=colour, mew=1.3)


def _legend(info: ForestInfo) -> list[Artist]:
    handles: list[Artist] = []
    if any(map(_has_interval, info.rows)):
        label = f"simultaneous {info.level * 100:.4g} % interval"
        handles.append(Line2D([], [], color=INK, lw=1.4, marker="|", ms=7, label=label))
        handles.append(Line2D([], [], color=INK, lw=4.2, solid_capstyle="butt", label="unadjusted 95 % interval"))
    if any(math.isfinite(bound) for row in info.rows for bound in row.bounds):
        label = "one-sided bound that decides"
        handles.append(Line2D([], [], color=INK, lw=0, marker="|", ms=13, mew=1.2, label=label))
    if info.rope > 0:
        unit = f" {info.unit}" if info.unit else ""
        label = f"equivalence: within ±{info.rope:g}{unit}"
        handles.append(Patch(color=ROPE_COLOUR, label=label))
    if any(any(clipped(info, row)) for row in info.rows):
        handles.append(Line2D([], [], color=INK, lw=1.4, marker=">", ms=6, label="interval goes on beyond the axis"))
    return handles
