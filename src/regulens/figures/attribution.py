"""Attribution maps beside their image, and a network's most confident mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from regulens.figures.overlay import Cell, Scale, as_picture, draw_grid, overlay, strength
from regulens.figures.parts import chance, signed
from regulens.interpret.attribution import PARTS, STEPS, TOLERANCE
from regulens.interpret.faithfulness import SANITY_THRESHOLD, Faithfulness, Sanity

_FOOTER = (
    "Red supports the class, blue opposes it (gradients: red where a brighter pixel would support it). Each map is "
    "drawn to its own 99th percentile; the image is faint below, with a dark edge as its negative."
)
_PAIRED = (
    "Red supports the class named above, blue opposes it; both maps of an image are drawn to one scale, over the "
    "image in faint gray, with a dark edge as its negative."
)
_AREAS = (
    "Deletion (low is good) and insertion (high is good): AUC, means over random orders of pixels of equal importance "
    "with their range where it shows; random: mean and range over random orders of all pixels."
)
_COMPLETE = (
    "Sum: its deviation from the difference of logits between image and black, as a fraction of it; (!): more than "
    f"{100 * TOLERANCE:g} %, in spite of {STEPS * PARTS[-1]} steps."
)
_SANITY = (
    f"Random weights: rank correlation with the maps of networks with random weights; (!): {SANITY_THRESHOLD:g} or "
    "more, nearly unchanged with random weights."
)
_PER_ROW = 2


@dataclass(frozen=True, eq=False)
class AttributionMap:
    """A map (H, W), what stands above it (the method, or whose it is), and its small print (``map_notes``).

    ``unit`` is that of its values; ``signed`` says whether they may be negative.
    """

    title: str
    values: NDArray[np.float32]
    notes: tuple[str, ...] = ()
    unit: str = "no unit"
    signed: bool = True


@dataclass(frozen=True, eq=False)
class AttributionRow:
    """An image (H, W, C) uint8 before scaling, what it is in words, its maps, and its classes, a line each."""

    label: str
    image: NDArray[np.uint8]
    maps: tuple[AttributionMap, ...]
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class AttributionInfo:
    """Rows with a map in each column: images of one network, or networks that look at one image."""

    title: str
    rows: tuple[AttributionRow, ...]


@dataclass(frozen=True, eq=False)
class Mistake:
    """A misclassified image (H, W, C) uint8 with its two classes, their probabilities and maps (H, W)."""

    label: str
    image: NDArray[np.uint8]
    predicted: str
    true: str
    predicted_probability: float
    true_probability: float
    predicted_map: NDArray[np.float32]
    true_map: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MistakesInfo:
    """The mistakes in the order shown, whose they are and by which method, in which unit, they are explained."""

    title: str
    method: str
    mistakes: tuple[Mistake, ...]
    unit: str


def map_notes(
    method: str,
    place: int,
    faithfulness: Faithfulness,
    sanity: Sanity | None = None,
    completeness: float | None = None,
) -> tuple[str, ...]:
    """Write a map's faithfulness beside the random orders', and its likeness to random weights, as small print.

    Args:
        method: a name in ``faithfulness.methods``.
        place: which of the images.
        faithfulness: of that network and these images.
        sanity: of that method and network, for this image alone or for all.
        completeness: of integrated gradients, the error of the map's sum.
    """
    curves = faithfulness.methods[method]
    notes = [
        f"deletion {area_text(curves.deletion_areas[:, place])}",
        _random(faithfulness.random_deletion_areas[:, place]),
        f"insertion {area_text(curves.insertion_areas[:, place])}",
        _random(faithfulness.random_insertion_areas[:, place]),
    ]
    if sanity is not None:
        mean = signed(sanity.mean, 2) if sanity.usable.size else "none"
        notes.append(f"random weights {mean}" + ("" if sanity.passed or not sanity.usable.size else " (!)"))
    if completeness is not None:
        notes.append(f"sum off by {error_text(completeness)}" + ("" if completeness <= TOLERANCE else " (!)"))
    return tuple(notes)


def area_text(areas: NDArray[np.float64]) -> str:
    """Write the mean of areas (orders,) with their range, where two decimals tell its ends apart."""
    mean, low, high = (f"{value:.2f}" for value in (areas.mean(), areas.min(), areas.max()))
    return mean if low == high else f"{mean} ({low}–{high})"


def error_text(error: float) -> str:
    """Write the error of a map's sum, a share, in percent with two significant figures."""
    return f"{100 * error:.2g} %" if np.isfinite(error) else "undefined: the logits are equal"


def _random(areas: NDArray[np.float64]) -> str:
    return f"random {area_text(areas)}" if len(areas) else "no random order"


def attribution_info(title: str, rows: Sequence[AttributionRow]) -> AttributionInfo:
    """Gather the rows.

    Raises:
        ValueError: if there is none, they have different numbers of maps, or a map does not fit its image.
    """
    if not rows or len({len(row.maps) for row in rows}) != 1:
        raise ValueError(f"rows need equally many maps, got {[len(row.maps) for row in rows]}")
    for row in rows:
        for each in row.maps:
            check_map(each.values, row.image)
    return AttributionInfo(title, tuple(rows))


def draw_attribution(info: AttributionInfo) -> Figure:
    """Draw a row of pictures per image or network: the image, then its maps."""
    notes = [note for row in info.rows for each in row.maps for note in each.notes]
    explained = {"deletion": _AREAS, "random weights": _SANITY, "sum off": _COMPLETE}
    sentences = [text for word, text in explained.items() if any(note.startswith(word) for note in notes)]
    return draw_grid(info.title, [_row(row) for row in info.rows], " ".join([_FOOTER, *sentences]))


def mistakes_info(title: str, method: str, mistakes: Sequence[Mistake], unit: str = "no unit") -> MistakesInfo:
    """Gather mistakes, the most confident first; ``method`` is the title of the maps' method, ``unit`` theirs.

    Raises:
        ValueError: if there is none, or a map does not fit its image.
    """
    if not mistakes:
        raise ValueError("a gallery of mistakes needs at least one")
    for mistake in mistakes:
        check_map(mistake.predicted_map, mistake.image)
        check_map(mistake.true_map, mistake.image)
    return MistakesInfo(title, method, tuple(mistakes), unit)


def draw_mistakes(info: MistakesInfo) -> Figure:
    """Draw each mistake as three pictures, two mistakes in a row: the image, and the maps of its two classes."""
    per_row = min(_PER_ROW, len(info.mistakes))
    cells: list[Cell | None] = [cell for mistake in info.mistakes for cell in _mistake_cells(mistake, info.unit)]
    cells += [None] * (-len(cells) % (3 * per_row))
    rows = [cells[start : start + 3 * per_row] for start in range(0, len(cells), 3 * per_row)]
    return draw_grid(info.title, rows, f"{info.method}. {_PAIRED}")


def check_map(values: NDArray[np.float32], image: NDArray[np.uint8]) -> None:
    """Check that a map is (H, W) for its image (H, W, C).

    Raises:
        ValueError: if it is not.
    """
    if image.ndim != 3 or values.shape != image.shape[:2]:
        raise ValueError(f"a map must be (H, W) for an image (H, W, C), got {values.shape} for {image.shape}")


def map_cell(image: NDArray[np.uint8], shown: AttributionMap) -> Cell:
    """Return a map over its image, to a scale of its own; in the place of one that says nothing, the image alone."""
    finite = bool(np.isfinite(shown.values).all())
    if not finite or np.ptp(shown.values) == 0:
        why = "constant: no map" if finite else "not finite: no map"
        return Cell(overlay(image, np.zeros_like(shown.values), 1), shown.title, (why,))
    limit = strength(shown.values)
    return Cell(overlay(image, shown.values, limit), shown.title, shown.notes, Scale(limit, shown.unit, shown.signed))


def _row(row: AttributionRow) -> list[Cell | None]:
    return [
        Cell(as_picture(row.image), "image", (row.label, *row.classes)),
        *(map_cell(row.image, each) for each in row.maps),
    ]


def _mistake_cells(mistake: Mistake, unit: str) -> list[Cell]:
    limit = strength(mistake.predicted_map, mistake.true_map)
    scale = Scale(limit, unit) if limit else None
    predicted, true = (overlay(mistake.image, each, limit) for each in (mistake.predicted_map, mistake.true_map))
    return [
        Cell(as_picture(mistake.image), mistake.label, (f"predicted: {mistake.predicted}", f"true: {mistake.true}")),
        Cell(predicted, f"predicted: {mistake.predicted}", (chance(mistake.predicted_probability),), scale),
        Cell(true, f"true: {mistake.true}", (chance(mistake.true_probability),), scale),
    ]
