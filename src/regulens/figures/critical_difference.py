"""Critical-difference figure: levels on an axis of average ranks, bars over those that do not differ significantly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regulens.figures.parts import BLUE, INK, lines_of, text_width, wrapped
from regulens.figures.style import MUTED, house_style, new_figure

_SIZE = 9.0
_QUIET = "#5c6470"
_LINE = 0.24
"""Inches from label to label."""


@dataclass(frozen=True)
class CriticalDifferenceInfo:
    """Levels from the best average rank to the worst, and bars: the places (in this order) of the first and last level.

    ``levels`` are labels and average ranks; ``rows`` the height of each bar, from 0, such that none overlap.
    """

    title: str
    levels: tuple[tuple[str, float], ...]
    bars: tuple[tuple[int, int], ...]
    rows: tuple[int, ...]
    sets: int


def critical_difference_info(
    title: str, labels: Sequence[str], average: Sequence[float], cliques: Sequence[Sequence[int]], sets: int
) -> CriticalDifferenceInfo:
    """Put the levels in the order of their average ranks, and the bars of cliques into rows.

    Args:
        title: of the figure, may be empty.
        labels: of the levels.
        average: their average ranks, 1 being the best.
        cliques: places of levels that do not differ significantly, neighbors in that order.
        sets: how many data sets the ranks are averages over.

    Raises:
        ValueError: if there are fewer than two levels, or not as many labels as ranks.
    """
    if len(labels) != len(average) or len(labels) < 2:
        raise ValueError(f"needs a label and a rank of each of at least two levels, got {len(labels)}, {len(average)}")
    order = np.argsort(np.asarray(average), kind="stable").tolist()
    at = {level: place for place, level in enumerate(order)}
    bars = sorted((min(at[level] for level in clique), max(at[level] for level in clique)) for clique in cliques)
    rows: list[int] = []
    for number, (first, _) in enumerate(bars):
        taken = {rows[other] for other in range(number) if bars[other][1] >= first}
        rows.append(next(row for row in range(len(bars)) if row not in taken))
    levels = tuple((labels[level], float(average[level])) for level in order)
    return CriticalDifferenceInfo(title, levels, tuple(bars), tuple(rows), sets)


def draw_critical_difference(info: CriticalDifferenceInfo) -> Figure:
    """Draw the axis, 1 being the best at the left, the labels of the better half there, of the others at the right."""
    labels = [wrapped(label, 24) for label, _ in info.levels]
    count, half = len(labels), (len(labels) + 1) // 2
    margin = max(text_width(label, _SIZE) for label in labels) + 0.6
    bars = max(info.rows, default=-1) + 1
    lines = 0.55 + 0.45 * bars + half * (0.45 + 0.7 * max(map(lines_of, labels)))
    with house_style():
        figure = new_figure(min(8.4, 3.4 + 2 * margin), 0.95 + _LINE * lines + (0.25 if info.title else 0))
        axes = figure.subplots()
        axes.set_xlim(1, count)
        axes.set_ylim(lines, 0)
        axes.spines["bottom"].set_visible(False)
        axes.spines["left"].set_visible(False)
        axes.spines["top"].set_visible(True)
        axes.xaxis.tick_top()
        axes.set_xticks(range(1, count + 1))
        axes.set_yticks([])
        axes.xaxis.set_label_position("top")
        axes.set_xlabel(f"average rank over {info.sets} data sets (1 is the best)")
        if info.title:
            axes.set_title(info.title)
        figure.supxlabel(_foot(info), fontsize=8, color=_QUIET)
        _draw_bars(axes, info)
        _draw_levels(axes, info, labels, (0.55 + 0.45 * bars, lines))
    return figure


def _foot(info: CriticalDifferenceInfo) -> str:
    if not info.bars:
        return "all neighbors differ significantly (Wilcoxon-Holm)"
    return "bar: no two of these levels differ significantly (Wilcoxon-Holm)"


def _draw_bars(axes: Axes, info: CriticalDifferenceInfo) -> None:
    for (first, last), row in zip(info.bars, info.rows, strict=True):
        ends = [info.levels[place][1] for place in (first, last)]
        reach = 0.012 * (len(info.levels) - 1)
        y = 0.55 + 0.45 * row
        axes.plot(
            [ends[0] - reach, ends[1] + reach], [y, y], color=BLUE, lw=4, solid_capstyle="butt", gid="clique",
            clip_on=False,
        )  # fmt: skip


def _draw_levels(axes: Axes, info: CriticalDifferenceInfo, labels: Sequence[str], span: tuple[float, float]) -> None:
    """Lead from each average rank down and outwards to its label."""
    count, half = len(labels), (len(labels) + 1) // 2
    top, bottom = span
    step = (bottom - top) / half
    for place, ((_, rank), label) in enumerate(zip(info.levels, labels, strict=True)):
        left = place < half
        y = top + step * ((place if left else count - 1 - place) + 0.5)
        edge, side = (1.0, "right") if left else (float(count), "left")
        axes.plot([rank, rank, edge], [0, y, y], color=MUTED, lw=1.0, clip_on=False, gid="leader")
        axes.plot(rank, 0, "o", ms=4.5, color=INK, clip_on=False, zorder=5, gid="level")
        axes.annotate(
            f"{label}  {rank:.2f}" if left else f"{rank:.2f}  {label}", (edge, y), (-6 if left else 6, 0),
            textcoords="offset points", ha=side, va="center", fontsize=_SIZE, color=INK, annotation_clip=False,
        )  # fmt: skip
