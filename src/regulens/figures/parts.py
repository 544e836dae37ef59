"""What several figures share: the looks of series, labels that wrap, texts that keep apart."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

INK = "#1d2330"
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
VERMILLION, SKY, BLACK = "#D55E00", "#56B4E9", "#000000"
"""The colours of Okabe and Ito (2008), told apart with any colour vision; their yellow is too pale for lines."""

_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, BLACK, SKY, VERMILLION)
_MARKERS = "osD^vPX"
_DASHES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Look:
    """How a series is drawn, in matplotlib's words."""

    colour: str
    marker: str
    line: str


def look(place: int) -> Look:
    """Return the look of the series at this place (from 0); no two of the first 28 are the same."""
    turn, index = divmod(place, len(_COLOURS))
    return Look(_COLOURS[index], _MARKERS[(index + turn) % len(_MARKERS)], _DASHES[turn % len(_DASHES)])


def wrapped(label: str, width: int = 30) -> str:
    """Break a label after spaces into lines of at most ``width`` characters; a longer word stays whole."""
    return "\n".join(textwrap.wrap(label, width, break_long_words=False, break_on_hyphens=False)) or label


def in_lines(text: str, width: int, most: int = 8) -> str:
    """Break a text from outside into at most so many lines, also within words; what is too long loses its middle."""
    room = width * (most - 2)
    if len(text) > room:
        text = f"{text[: room // 2]} … {text[-room // 2 :]}"
    return "\n".join(textwrap.wrap(text, width, break_on_hyphens=False)) or text


def lines_of(label: str) -> int:
    """Return the number of lines of a label."""
    return label.count("\n") + 1


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Return the width in inches of the widest line of a text of this size in points."""
    font = FontProperties(weight="bold" if bold else "normal")
    lines = [line for line in text.replace("$", "S").split("\n") if line]  # dollars would be read as mathematics
    widths = [TextPath((0, 0), line, size=size, prop=font).get_extents().width for line in lines]
    return max(widths, default=0.0) / 72


def spread(places: ArrayLike, sizes: ArrayLike, limits: tuple[float, float]) -> NDArray[np.float64]:
    """Move (n,) labels of these sizes as little as possible (least squares) so that none overlap.

    Their order is kept, and they stay between the limits where their sizes allow it.
    """
    wanted, size = np.asarray(places, np.float64), np.asarray(sizes, np.float64)
    if not len(wanted):
        return wanted
    order = np.argsort(wanted, kind="stable")
    half = size[order] / 2
    steps = np.concatenate([[0.0], np.cumsum(half[:-1] + half[1:])])
    low, high = limits[0] + half[0], limits[1] - half[-1] - steps[-1]
    moved = np.empty_like(wanted)
    moved[order] = np.clip(isotonic_regression(wanted[order] - steps).x, low, max(low, high)) + steps
    return moved


def dodges(count: int, step: float, widest: float) -> NDArray[np.float64]:
    """Return (count,) offsets about zero, ``step`` apart or as far as ``widest`` between the outermost allows."""
    reach = min(step * (count - 1), widest)
    return np.linspace(-reach / 2, reach / 2, count) if count > 1 else np.zeros(count)


def signed(value: float, decimals: int) -> str:
    """Write a number with its sign, a true minus, and no sign where it rounds to zero."""
    text = f"{value:+.{decimals}f}".replace("-", "−").replace("inf", "∞")
    return text if any(sign in text for sign in "123456789∞") else text[1:]


def percent(share: float) -> str:
    """Write a share in percent with one decimal; 0 and 100 only where they are exact."""
    value = 100 * share
    if 99.95 <= value < 100:
        return "over 99.9 %"
    return "under 0.1 %" if 0 < value < 0.05 else f"{value:.1f} %"


def chance(probability: float) -> str:
    """Write a probability with three decimals, as ``p = 0.999``; 0 and 1 only where they are exact."""
    if np.isnan(probability):
        return "not a number"
    if 0.9995 <= probability < 1:
        return "p > 0.999"
    return "p < 0.001" if 0 < probability < 0.0005 else f"p = {probability:.3f}"


def range_with_margin(values: ArrayLike, share: float = 0.05) -> tuple[float, float]:
    """Return the range of the finite values widened on both sides by a share of it, at least by 0.5 % of a value."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    margin = max(share * (high - low), 0.005 * abs(low), 0.005 * abs(high)) or 0.5
    return low - margin, high + margin


def spaced(places: NDArray[np.float64], widths: NDArray[np.float64], first: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say which of (n,) labels, centred at ``places`` and this wide, can be printed without touching.

    Those of ``first`` are taken before the others; within each, from left to right.
    """
    kept: list[int] = []
    for index in [*np.flatnonzero(first), *np.flatnonzero(~first)]:
        row = sorted([*kept, int(index)], key=lambda i: float(places[i]))
        if all(places[b] - places[a] >= (widths[a] + widths[b]) / 2 for a, b in pairwise(row)):
            kept = row
    return np.isin(np.arange(len(places)), kept)
