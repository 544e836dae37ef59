"""Maps of networks that differ only in their seed, where they agree, and how much random weights would."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from regulens.figures.attribution import AttributionMap, check_map, map_cell
from regulens.figures.overlay import Cell, Scale, as_picture, draw_grid, overlay, strength
from regulens.figures.parts import signed
from regulens.interpret.agreement import Agreement

MOST_MAPS = 5


@dataclass(frozen=True, eq=False)
class AgreementRow:
    """One image (H, W, C) uint8 in one cell of a study, in words; maps of some of its seeds; the agreement of all.

    ``randomised`` is the agreement of as many networks with random weights; ``classes`` are those of the image, a line
    each.
    """

    label: str
    image: NDArray[np.uint8]
    maps: tuple[AttributionMap, ...]
    agreement: Agreement
    randomised: Agreement
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class AgreementInfo:
    """The rows, and the one scale of all agreement maps: full colour at plus or minus ``limit``."""

    title: str
    method: str
    rows: tuple[AgreementRow, ...]
    limit: float


def agreement_info(title: str, method: str, rows: Sequence[AgreementRow]) -> AgreementInfo:
    """Gather the rows; ``method`` is the title of the maps' method.

    Raises:
        ValueError: if there is none, they have different numbers of maps or more than ``MOST_MAPS``, or a map does
            not fit its image.
    """
    counts = [len(row.maps) for row in rows]
    if len(set(counts)) != 1 or counts[0] > MOST_MAPS:
        raise ValueError(f"rows need equally many maps, at most {MOST_MAPS}, got {counts}")
    for row in rows:
        for values in (*(each.values for each in row.maps), row.agreement.map, row.randomised.map):
            check_map(np.asarray(values, np.float32), row.image)
    limit = strength(*(each.map for row in rows for each in (row.agreement, row.randomised)))
    return AgreementInfo(title, method, tuple(rows), limit)


def draw_agreement(info: AgreementInfo) -> Figure:
    """Draw a row per image or cell: the image, some seeds' maps, the agreement map and that of random weights."""
    footer = (
        f"{info.method}; the seeds' maps each to their own 99th percentile. Agreement: mean rank correlation of the "
        "pairs (and their range, which is no confidence interval), and each pixel's contribution to it, the mean "
        "product of standardized ranks: blue where ranked high by some and low by others, red where ranked alike, one "
        "scale for all. Random weights: the same for networks with random weights."
    )
    return draw_grid(info.title, [_row(row, info.limit) for row in info.rows], footer)


def _row(row: AgreementRow, limit: float) -> list[Cell | None]:
    return [
        Cell(as_picture(row.image), "image", (row.label, *row.classes)),
        *(map_cell(row.image, each) for each in row.maps),
        _agreement_cell(row.image, "agreement", row.agreement, limit),
        _agreement_cell(row.image, "random weights", row.randomised, limit),
    ]


def _agreement_cell(image: NDArray[np.uint8], title: str, agreement: Agreement, limit: float) -> Cell:
    scale = None if math.isnan(agreement.mean) or not limit else Scale(limit, "product of ranks")
    return Cell(overlay(image, agreement.map, limit), title, agreement_notes(agreement), scale)


def agreement_notes(agreement: Agreement) -> tuple[str, ...]:
    """Write the mean and the range of the pairs, of how many networks, and how many were left out."""
    networks = "1 network" if agreement.networks == 1 else f"{agreement.networks} networks"
    counted = (networks, f"{agreement.left_out} without a map") if agreement.left_out else (networks,)
    if math.isnan(agreement.mean):
        return ("no pair of maps", *counted)
    mean, least, greatest = (signed(each, 2) for each in (agreement.mean, agreement.least, agreement.greatest))
    pairs = (f"({least} to {greatest})",) if agreement.networks > 2 else ()
    return (mean, *pairs, *counted)
