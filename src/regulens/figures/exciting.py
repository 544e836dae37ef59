"""What excites filters and classes: the real images that do most, and inputs made to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from regulens.figures.feature_maps import show_image, tile
from regulens.figures.parts import VERMILLION, lines_of, wrapped
from regulens.figures.style import DIVERGING, MUTED, bare, house_style, new_figure
from regulens.interpret.activations import FilterResponses
from regulens.interpret.maximise import OUTPUT, Maximised

MOST = 16
"""Filters in one picture of what excites them."""
_SIDE = 0.62
"""Inches of a small picture."""
_CHANNELS = 16
"""Input channels of a kernel that are shown."""
_IN_A_ROW = 8
_NARROW = 20
"""Characters of a line below a small picture."""
_NOTE = (
    "patches: one per image; the frame in the image is the first\n"
    "kernels: negative weights blue, positive red, each up to its own largest magnitude |w|"
)
_HIGH = 0.78
"""Inches of a row, for its six lines of text."""


@dataclass(frozen=True, eq=False)
class ExcitingRow:
    """One filter: its kernel's input channels tiled (NaN between), what it sees of the images that excite it most.

    ``reach`` is the kernel's greatest magnitude, the end of its colours, which are symmetric about 0. ``patches`` are
    (h, w, C) in 0 to 255, NaN outside the image, the most exciting first; ``image`` is the first's (H, W, C) with the
    patch at ``box`` (top, left, bottom, right).
    """

    name: str
    kernel: NDArray[np.float32]
    reach: float
    patches: tuple[NDArray[np.float32], ...]
    image: NDArray[np.uint8] | None
    box: tuple[int, int, int, int]
    note: str


@dataclass(frozen=True, eq=False)
class ExcitingInfo:
    """The filters of one layer, and how many patches a row has room for."""

    title: str
    subtitle: str
    rows: tuple[ExcitingRow, ...]
    columns: int


def shown_filters(filters: Sequence[int], count: int) -> str:
    """Say which filters, from 0 and ascending, of how many are shown: ``filters 1-16, 40 of 64``; if all, nothing."""
    if len(filters) == count:
        return ""
    runs = [[number + 1 for _, number in run] for _, run in groupby(enumerate(filters), lambda each: each[1] - each[0])]
    spans = [f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    return f"filter{'' if len(filters) == 1 else 's'} {', '.join(spans)} of {count}"


def exciting_info(
    weight: NDArray[np.float32],
    responses: FilterResponses,
    images: Any,
    network: str,
    shown: Sequence[int] | None = None,
    *,
    described: Mapping[int, str] | None = None,
) -> ExcitingInfo:
    """Cut out what filters see where they are excited most, one patch per image.

    Args:
        weight: (filters, channels, h, w), the kernels; the first channels are shown.
        responses: of the same layer.
        images: (N, H, W, C) uint8 in the order they were fed in, indexable by one number.
        network: whose they are.
        shown: which filters, from 0 and ascending; by default the first 16.
        described: what to say of the most exciting image of a filter, by the image's number.
    """
    filters, channels, height, width = weight.shape
    shown = range(min(filters, MOST)) if shown is None else shown
    notes = [f"{responses.layer}: kernel {height}x{width}x{channels}, sees {_by(responses.field.size)} pixels"]
    if channels > _CHANNELS:
        notes.append(f"the first {_CHANNELS} input channels shown")
    if len(shown) < filters:
        notes.append(shown_filters(shown, filters))
    rows = tuple(_row(weight[number], responses, number, images, described or {}) for number in shown)
    return ExcitingInfo(network, "; ".join(notes), rows, responses.exciting.shape[1])


def _row(
    kernel: NDArray[np.float32], responses: FilterResponses, number: int, images: Any, described: Mapping[int, str]
) -> ExcitingRow:
    channels = min(len(kernel), _CHANNELS)
    tiles = tile(list(kernel[:channels]), math.ceil(math.sqrt(channels)))
    found = responses.exciting[number] >= 0
    places = list(zip(responses.exciting[number][found], responses.positions[number][found], strict=True))
    patches = tuple(responses.field.cut(images[index], *position) for index, position in places)
    finite = np.abs(kernel[np.isfinite(kernel)])
    reach = float(finite.max()) if finite.any() else 1.0
    peak, active = responses.peak[number], responses.active[number]
    silent = "dead: zero on\nevery image" if responses.dead[number] else "its map is\nnot a number"
    note = f"peak {peak:.3g}\nactive on {_share(active)}" if places else silent
    note = f"|w| up to {reach:.2g}\n{note}"
    if not places:
        return ExcitingRow(str(number + 1), tiles, reach, (), None, (0, 0, 0, 0), note)
    index, position = places[0]
    note = "\n".join([note, *([described[index]] if index in described else [])])
    return ExcitingRow(str(number + 1), tiles, reach, patches, images[index], responses.field.box(*position), note)


def draw_exciting(info: ExcitingInfo) -> Figure:
    """Draw a row per filter: kernel, the most exciting image with the patch framed, then the patches."""
    count = len(info.rows)
    with house_style():
        width = _SIDE * 1.12 * (info.columns + 2) + 1.8
        title = "\n".join(wrapped(line, int(12 * width)) for line in (info.title, info.subtitle))
        figure = new_figure(width, _HIGH * count + 1.0 + 0.16 * lines_of(title))
        widths, heights = [1, 1, 1.08 * info.columns, 2.2], [*[1.0] * count, 0.1]
        grid = figure.subplots(count + 1, 4, squeeze=False, width_ratios=widths, height_ratios=heights)
        for axes, row in zip(grid, info.rows, strict=False):
            _draw_row(axes, row, info.columns)
        _draw_bar(grid[-1])
        for axes, head in zip(grid[0], ("kernel", "image", "patches, largest activation first"), strict=False):
            axes.set_title(head, fontsize=8)
        figure.suptitle(title, fontsize=9.5, fontweight="bold")
        figure.supxlabel(_NOTE, fontsize=7.5)
    return figure


def _draw_row(row_axes: NDArray[Any], row: ExcitingRow, columns: int) -> None:
    kernel, image, patches, note = row_axes
    for axes in row_axes:
        bare(axes)
    tiles = np.ma.masked_invalid(row.kernel)
    kernel.imshow(tiles, cmap=DIVERGING, vmin=-row.reach, vmax=row.reach, interpolation="nearest")
    kernel.set_ylabel(row.name, rotation=0, ha="right", va="center", fontsize=8)
    _frame(kernel, (0, 0), row.kernel.shape, MUTED)
    if row.image is not None:
        top, left, bottom, right = row.box
        show_image(image, row.image)
        _frame(image, (top, left), (bottom - top, right - left), VERMILLION)
        _draw_patches(patches, row.patches, columns)
    note.text(0, 0.5, row.note, va="center", fontsize=7, transform=note.transAxes)


def _draw_bar(row_axes: NDArray[Any]) -> None:
    """Draw the kernels' scale below them: of each to its own greatest magnitude."""
    bar, *others = row_axes
    for axes in others:
        axes.axis("off")
    colors = ScalarMappable(Normalize(-1, 1), DIVERGING)
    drawn = bar.figure.colorbar(colors, cax=bar, orientation="horizontal", ticks=[-1, 0, 1])
    bar.set_xticklabels(["−|w|", "0", "|w|"])
    bar.tick_params(length=0, labelsize=6.5, pad=1)
    bar.set_xlabel("weight", fontsize=6.5, labelpad=1)
    drawn.outline.set_visible(False)


def _draw_patches(axes: Axes, patches: Sequence[NDArray[np.float32]], columns: int) -> None:
    """Draw (h, w, C) patches side by side, with room for as many as there are columns."""
    height, width, channels = patches[0].shape
    slots = [*patches, *[np.full_like(patches[0], np.nan)] * (columns - len(patches))]
    strip = np.stack([tile([slot[..., channel] for slot in slots], columns) for channel in range(channels)], axis=2)
    show_image(axes, strip)
    bare(axes)
    step = (strip.shape[1] - width) // (columns - 1) if columns > 1 else 0
    for number in range(len(patches)):
        _frame(axes, (0, number * step), (height, width), MUTED)


def _frame(axes: Axes, corner: tuple[int, int], size: tuple[int, ...], colour: str) -> None:
    """Draw a frame round the pixels from ``corner`` (row, column) on, ``size`` (rows, columns) of them."""
    at, weight = (corner[1] - 0.5, corner[0] - 0.5), 1.0 if colour == VERMILLION else 0.6
    axes.add_patch(Rectangle(at, size[1], size[0], fill=False, ec=colour, lw=weight, clip_on=False))


@dataclass(frozen=True, eq=False)
class Shown:
    """An image (H, W, C) uint8 and the lines below it."""

    image: NDArray[np.uint8]
    lines: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class MaximisedInfo:
    """Images made to excite, by the unit's name, each with the real image that excites it most, and a note on both."""

    title: str
    note: str
    names: tuple[str, ...]
    made: tuple[Shown, ...]
    real: tuple[Shown | None, ...]


def maximised_info(
    found: Sequence[Maximised],
    network: str,
    class_names: Sequence[str] = (),
    filters: int = 0,
    *,
    predicted: Sequence[str] = (),
    real: Sequence[Shown] = (),
) -> MaximisedInfo:
    """Name the images: filters by number, classes by ``class_names``.

    Args:
        found: of one layer, at least one.
        network: whose they are.
        class_names: in the order of the logits, needed for classes.
        filters: how many the layer has, so that it is said which of them are shown.
        predicted: what the network takes each made image for, in words.
        real: the very images that ``found`` compares with, one for each, and what is said of them; or none.

    Raises:
        ValueError: if there are real images, but not one for each.
    """
    if real and len(real) != len(found):
        raise ValueError(f"needs a real image for each, got {len(real)} for {len(found)}")
    layer, reading = found[0].layer, found[0].reading
    names = tuple(class_names[each.unit] if layer == OUTPUT else f"filter {each.unit + 1}" for each in found)
    made = [
        Shown(each.image, (f"made: {_number(each.activation)}", *says))
        for each, says in zip(found, [[text] for text in predicted] or [[]] * len(found), strict=True)
    ]
    beside = (
        [
            Shown(other.image, (f"real: {_number(each.real)}", *other.lines)) if each.real is not None else None
            for each, other in zip(found, real, strict=True)
        ]
        if real
        else [None] * len(found)
    )
    what = "logit" if layer == OUTPUT else f"{reading} of the map behind the ReLU"
    shown = shown_filters([each.unit for each in found], filters) if filters else ""
    where = "classes" if layer == OUTPUT else f"{shown} in {layer}" if shown else f"filters of {layer}"
    other = "; at its right the validation image that reaches most, read alike" if real else ""
    note = f"below each: the {what} that it reaches{other}"
    title = f"{network}\nactivation maximization: inputs by gradient ascent for {where}"
    return MaximisedInfo(title, note, names, tuple(made), tuple(beside))


def draw_maximised(info: MaximisedInfo) -> Figure:
    """Draw the images in rows of up to eight, each made one beside its real one."""
    apiece = 2 if any(info.real) else 1
    most = _IN_A_ROW // apiece
    rows = math.ceil(len(info.made) / most)
    columns = apiece * math.ceil(len(info.made) / rows)
    texts = [each.lines for each in (*info.made, *info.real) if each]
    below = max(sum(lines_of(wrapped(line, _NARROW)) for line in lines) for lines in texts)
    with house_style():
        width = max(1.05 * columns, 6.0)
        title = "\n".join(wrapped(line, int(12 * width)) for line in info.title.split("\n"))
        note = wrapped(info.note, int(17 * width))
        figure = new_figure(width, (1.2 + 0.12 * below) * rows + 0.6 + 0.16 * lines_of(title))
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            bare(axes)
        places = iter(grid.flat)
        for name, made, real in zip(info.names, info.made, info.real, strict=True):
            _draw_shown(next(places), made, wrapped(name, _NARROW))
            if apiece > 1:
                _draw_shown(next(places), real, "")
        figure.suptitle(title, fontsize=9.5, fontweight="bold")
        figure.supxlabel(note, fontsize=7.5)
    return figure


def _draw_shown(axes: Axes, shown: Shown | None, title: str) -> None:
    if shown is None:
        return
    show_image(axes, shown.image)
    axes.set_anchor("N")
    axes.set_title(title, fontsize=8)
    axes.set_xlabel("\n".join(wrapped(line, _NARROW) for line in shown.lines), fontsize=7)


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _share(value: float) -> str:
    """Write a share in percent; 0 and 100 only where they are exact."""
    if 0 < value < 0.005:
        return "under 1 %"
    return "over 99 %" if 0.995 <= value < 1 else f"{100 * value:.0f} %"


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
