"""Maps over the images they explain, and grids of such pictures with small print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation, blended_transform_factory
from numpy.typing import ArrayLike, NDArray

from regulens.figures.parts import INK, lines_of, wrapped
from regulens.figures.style import DIVERGING, SEQUENTIAL, bare, house_style, new_figure

WIDTH = 8.2
"""Inches of a grid that fills the report's width."""
_WIDEST = 1.9
_FAINT = 0.3
_QUIET = "#5c6470"
_CLIPPED = 99.0
_BAR = 0.36
"""Inches below a picture that its scale takes."""


@dataclass(frozen=True)
class Scale:
    """The color scale of a map: full color at ``limit``, and at minus it if the map has a sign; in what unit."""

    limit: float
    unit: str
    signed: bool = True


@dataclass(frozen=True, eq=False)
class Cell:
    """A picture (H, W, 3) of a grid in [0, 1], what stands above it, the lines of small print below, a map's scale."""

    picture: NDArray[np.float32]
    title: str
    notes: tuple[str, ...] = ()
    scale: Scale | None = None


def strength(*maps: ArrayLike) -> float:
    """Return what is drawn in full colour: the 99th percentile of the finite magnitudes, else the largest; or 0."""
    magnitudes = np.abs(np.concatenate([np.ravel(np.asarray(each, np.float64)) for each in maps]))
    finite = magnitudes[np.isfinite(magnitudes)]
    if not len(finite):
        return 0.0
    return float(np.percentile(finite, _CLIPPED)) or float(finite.max())


def as_picture(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return an image (H, W, C) uint8 as (H, W, 3) in [0, 1]; with other than three channels, their mean in gray."""
    values = np.asarray(image, np.float32) / np.float32(255)
    return values if image.shape[2] == 3 else np.repeat(values.mean(axis=2, keepdims=True), 3, axis=2)


def overlay(image: NDArray[np.uint8], values: ArrayLike, limit: float) -> NDArray[np.float32]:
    """Lay a map (H, W) over its image (H, W, C), which is seen faintly in gray; returns (H, W, 3) in [0, 1].

    Blue is ``-limit``, white zero, red ``limit``, and what goes beyond is drawn like it. An image with a dark edge
    is drawn as its negative: the map is read on a light ground.
    """
    gray = image.astype(np.float32).mean(axis=2) / 255
    edge = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    light = gray if np.median(edge) >= 0.5 else 1 - gray
    share = np.nan_to_num(np.asarray(values, np.float64)) / (limit or 1.0)
    colours = DIVERGING(0.5 + 0.5 * np.clip(share, -1, 1))[..., :3]
    return np.asarray(colours * (1 - _FAINT * (1 - light))[..., None], np.float32)


def draw_grid(title: str, rows: Sequence[Sequence[Cell | None]], footer: str) -> Figure:
    """Draw rows of equally many pictures; ``None`` leaves a place empty."""
    columns = len(rows[0])
    side = min(WIDTH / columns, _WIDEST)
    heights = [_picture_height(row, side) for row in rows]
    width = max(side * columns, 5.0)
    foot = wrapped(footer, int(width * 17))
    inches = sum(heights) + sum(_text_height(row, side) for row in rows) + 0.5 + 0.14 * lines_of(foot)
    with house_style():
        figure = new_figure(width, inches)
        grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
        for axes_row, row in zip(grid, rows, strict=True):
            for axes, cell in zip(axes_row, row, strict=True):
                _draw_cell(axes, cell, side)
        figure.suptitle(wrapped(title, int(width * 12)), fontsize=11, fontweight="bold")
        figure.supxlabel(foot, fontsize=7.5, color=_QUIET)
    return figure


def _draw_cell(axes: Axes, cell: Cell | None, side: float) -> None:
    bare(axes)
    if cell is None:
        return
    axes.imshow(cell.picture, interpolation="nearest")
    axes.set_title(_title(cell, side), fontsize=8, color=INK)
    pad = 2 + (72 * _BAR if cell.scale else 0)
    axes.set_xlabel(_small_print(cell, side) or " ", fontsize=7, color=_QUIET, labelpad=pad)
    if cell.scale:
        _draw_scale(axes, cell.scale)


def _draw_scale(axes: Axes, scale: Scale) -> None:
    """Draw a bar of the colors below a picture: zero is the same in all, the unit stands below the ends."""
    low = -scale.limit if scale.signed else 0.0
    foot: Any = axes.transAxes  # of the picture, from where inches are counted
    inches = axes.figure.dpi_scale_trans + ScaledTranslation(0, 0, foot)
    place = blended_transform_factory(axes.transAxes, inches)
    bar = axes.inset_axes((0.08, -0.12, 0.84, 0.06), transform=place)
    colors = ScalarMappable(Normalize(low, scale.limit), DIVERGING if scale.signed else SEQUENTIAL)
    ticks = [low, 0.0, scale.limit] if scale.signed else [0.0, scale.limit]
    drawn = axes.figure.colorbar(colors, cax=bar, orientation="horizontal", ticks=ticks)
    bar.set_xticklabels([f"{tick:.2g}".replace("-", "−") for tick in ticks])
    bar.tick_params(length=0, labelsize=6, pad=1)
    bar.set_xlabel(scale.unit, fontsize=6, color=_QUIET, labelpad=1)
    drawn.outline.set_visible(False)


def _title(cell: Cell, side: float) -> str:
    return wrapped(cell.title, int(side * 16))


def _small_print(cell: Cell, side: float) -> str:
    whole = (note.replace("p = ", "p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}") for note in cell.notes)
    return "\n".join(wrapped(note, int(side * 18)) for note in whole)


def _picture_height(row: Sequence[Cell | None], side: float) -> float:
    ratios: list[float] = [cell.picture.shape[0] / cell.picture.shape[1] for cell in row if cell]
    return 0.93 * side * max(ratios)


def _text_height(row: Sequence[Cell | None], side: float) -> float:
    """Inches above and below the pictures of a row."""
    above = max(lines_of(_title(cell, side)) for cell in row if cell)
    below = max(lines_of(_small_print(cell, side)) for cell in row if cell)
    bar = _BAR + 0.1 if any(cell.scale for cell in row if cell) else 0.0
    return 0.14 * above + 0.12 * below + bar + 0.1
