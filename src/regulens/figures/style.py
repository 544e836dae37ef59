"""How every figure looks, and how it is saved."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.text import Text

from regulens.files import write_atomically
from regulens.text import printable

TRAIN = "#1f5fbf"
VALIDATION = "#c8102e"
PUBLISHED = "#111111"
MUTED = "#8a8f98"
GAP_COLOUR = "#b9d3ee"
BETWEEN = "#b8bcc4"
"""What lies between maps, and what is no number."""
DIVERGING = matplotlib.colormaps["RdBu_r"].with_extremes(bad=BETWEEN)
"""Of maps with a sign: blue below zero, red above, and zero the same near-white in every figure."""
SEQUENTIAL = ListedColormap(DIVERGING(np.linspace(0.5, 1, 256)), "RdBu_r from zero").with_extremes(bad=BETWEEN)
"""Of maps that are never negative: the upper half of ``DIVERGING``, so that zero and red mean the same."""

_STYLE: Any = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.grid": False,
    "grid.color": "#e3e6ea",
    "grid.linewidth": 0.7,
    "xtick.color": "#444a54",
    "ytick.color": "#444a54",
    "legend.frameon": False,
    "svg.hashsalt": "regulens",
    "text.parse_math": False,  # a dollar in a user's label is a dollar
}
_FORMATS: dict[str, tuple[int, Any]] = {"png": (160, {}), "svg": (72, {"metadata": {"Date": None}})}
"""The resolution and options of each format; an SVG without its date is the same file each time."""


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house's style; the caller's settings are restored."""
    with matplotlib.rc_context(_STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, outside pyplot's registry."""
    return Figure(figsize=(width, height), layout="constrained")


def bare(axes: Axes) -> None:
    """Take away ticks and frame, for pictures."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def save_figure(figure: Figure, folder: Path, name: str) -> Path:
    """Write ``name.svg`` and ``name.png`` (160 dpi) and return the path of the SVG.

    Characters that no font draws and no SVG may hold are replaced; letters that the font lacks are boxes in the PNG.
    """
    for text in figure.findobj(Text):
        text.set_text(printable(text.get_text()))
    with house_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        _save(figure, folder, name)
    return folder / f"{name}.svg"


def _save(figure: Figure, folder: Path, name: str) -> None:
    with settled(figure):
        for suffix, (resolution, options) in _FORMATS.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, dpi=resolution, **options)
            write_atomically(folder / f"{name}.{suffix}", buffer.getvalue())


@contextmanager
def settled(figure: Figure) -> Iterator[None]:
    """Hold the figure's layout, its places rounded: a layout's last bits are not the same each time."""
    engine, before = figure.get_layout_engine(), figure.dpi
    figure.set_dpi(max(resolution for resolution, _ in _FORMATS.values()))  # where text is least rounded to pixels
    if engine is not None and figure.axes:
        for _ in range(2):  # a constrained layout comes to rest in two passes
            engine.execute(figure)
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, bottom, width, height = (round(side, 6) for side in axes.get_position().bounds)
        axes.set_position((left, bottom, width, height))
    try:
        yield
    finally:
        figure.set_dpi(before)
        figure.set_layout_engine(engine)
