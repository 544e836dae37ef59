"""The figures of a study, drawn from its runs and saved below ``figures/``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regulens.data.catalog import is_here, load_dataset
from regulens.data.split import split
from regulens.figures.comparison import CellPoints, comparison_info, draw_comparison
from regulens.figures.curves import common_limits, curves_info, draw_curves
from regulens.figures.gallery import draw_gallery, gallery_info
from regulens.figures.style import save_figure
from regulens.files import file_name, slug
from regulens.results import RunResult
from regulens.spec import DataSpec, StudySpec
from regulens.study.grid import cells

FIGURES = "figures"


@dataclass(frozen=True)
class Picture:
    """A saved figure: the path of its SVG (a PNG lies beside it) and what it shows, in words."""

    path: Path
    caption: str


def galleries(study: StudySpec, folder: Path) -> list[Picture]:
    """Draw the classes of each data set of the study; one that has left the machine keeps its old picture."""
    drawn = []
    data_by_name: dict[str, DataSpec] = {}
    for spec in cells(study):
        data_by_name.setdefault(spec.data.name, spec.data)
    for name, data in data_by_name.items():
        path = folder / FIGURES / f"classes-{slug(name)}.svg"
        if is_here(name):
            dataset = load_dataset(name)
            info = gallery_info(dataset, np.sort(split(len(dataset.labels), data).train))
            save_figure(draw_gallery(info), path.parent, path.stem)
        if path.is_file():
            drawn.append(Picture(path, f"The classes of {name}: for each the first ten images of the training set."))
    return drawn


def curves(groups: Sequence[tuple[str, Sequence[RunResult]]], folder: Path, kind: str) -> list[Picture]:
    """Draw accuracy by epoch of each group of runs, all to one scale."""
    infos = [curves_info(label, runs) for label, runs in groups]
    drawn = []
    for info in infos:
        figure = draw_curves(info, common_limits(infos))
        path = save_figure(figure, folder / FIGURES, file_name(kind, info.title))
        drawn.append(Picture(path, f"Accuracy by epoch of {info.title}."))
    return drawn


def comparison(points: Sequence[CellPoints], folder: Path) -> Picture:
    """Draw all networks side by side."""
    path = save_figure(draw_comparison(comparison_info(points)), folder / FIGURES, "comparison")
    return Picture(path, "Validation accuracy of every network; each point is one seed.")
