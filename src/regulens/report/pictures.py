"""The figures of a study, drawn from its runs and saved below ``figures/``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regulens.data.catalog import dataset_info, load_dataset, locate
from regulens.data.split import split
from regulens.errors import UserError
from regulens.figures.comparison import CellPoints, comparison_info, draw_comparison
from regulens.figures.curves import common_limits, curves_info, draw_curves
from regulens.figures.gallery import draw_gallery, gallery_info
from regulens.figures.kernels import draw_kernels, kernels_info
from regulens.figures.style import save_figure
from regulens.interpret.kernels import ConvKernels, Scaling, conv_kernels
from regulens.results import RunResult
from regulens.spec import DataSpec, StudySpec
from regulens.study.grid import cells, run_label
from regulens.study.runner import run_folder
from regulens.training.checkpoint import WEIGHTS, load_model

FIGURES = "figures"


@dataclass(frozen=True)
class Picture:
    """A saved figure: the path of its SVG (a PNG lies beside it) and what it shows, in words."""

    path: Path
    caption: str


@dataclass(frozen=True, eq=False)
class KernelPicture:
    """The kernels of one layer of one run, as numbers and as a figure."""

    run_id: str
    network: str
    kernels: ConvKernels
    picture: Picture


def galleries(study: StudySpec, folder: Path) -> list[Picture]:
    """Draw the classes of each data set of the study; one that has left the machine keeps its old picture."""
    drawn = []
    data_by_name: dict[str, DataSpec] = {}
    for spec in cells(study):
        data_by_name.setdefault(spec.data.name, spec.data)
    for name, data in data_by_name.items():
        path = folder / FIGURES / f"classes-{slug(name)}.svg"
        if locate(dataset_info(name)) is not None:
            dataset = load_dataset(name)
            info = gallery_info(dataset, np.sort(split(len(dataset.labels), data).train))
            save_figure(draw_gallery(info), path.parent, path.stem)
        if path.is_file():
            drawn.append(Picture(path, f"The classes of {name}: for each the first ten images of the train part."))
    return drawn


def curves(groups: Sequence[tuple[str, Sequence[RunResult]]], folder: Path, kind: str) -> list[Picture]:
    """Draw accuracy by epoch of each group of runs, all to one scale."""
    infos = [curves_info(label, runs) for label, runs in groups]
    drawn = []
    for info in infos:
        figure = draw_curves(info, common_limits(infos))
        path = save_figure(figure, folder / FIGURES, f"{kind}-{slug(info.title)}")
        drawn.append(Picture(path, f"Accuracy by epoch of {info.title}."))
    return drawn


def comparison(points: Sequence[CellPoints], folder: Path) -> Picture:
    """Draw all networks side by side."""
    path = save_figure(draw_comparison(comparison_info(points)), folder / FIGURES, "comparison")
    return Picture(path, "Validation accuracy of every network; each point is one seed.")


def shown_refits(results: Sequence[RunResult], folder: Path) -> list[RunResult]:
    """Return the refitted run with the lowest seed of each refitted cell: those whose kernels are shown.

    Refits of an earlier selection are not made anew: one whose weights were lost is passed over.
    """
    by_cell: dict[str, RunResult] = {}
    for run in sorted(results, key=lambda run: run.spec.seed):
        if run.spec.stage == "refit" and (run_folder(folder, run.run_id) / WEIGHTS).is_file():
            by_cell.setdefault(run.cell_id, run)
    return list(by_cell.values())


def kernels_of_runs(
    study: StudySpec,
    folder: Path,
    runs: Sequence[RunResult],
    layer: str | None = None,
    scaling: Scaling = "kernel",
) -> list[KernelPicture]:
    """Draw the kernels of the convolutions of these runs, or of the one named in each run that has it.

    Raises:
        UserError: if ``layer`` is not a convolution of any of the runs.
        DataError: if a run's weights are damaged.
    """
    drawn = []
    layers: dict[str, None] = {}
    for run in runs:
        network = run_label(run.spec, study)
        for kernels in conv_kernels(load_model(run_folder(folder, run.run_id))):
            layers[kernels.layer] = None
            if layer not in {None, kernels.layer}:
                continue
            name = f"kernels-{slug(network)}-{kernels.layer}" + ("-layer-scale" if scaling == "layer" else "")
            path = save_figure(draw_kernels(kernels_info(kernels, scaling, network)), folder / FIGURES, name)
            caption = f"{kernels.layer} of {network}: {kernels.shape} (height x width x input channels x filters)."
            drawn.append(KernelPicture(run.run_id, network, kernels, Picture(path, caption)))
    if layer is not None and not drawn:
        raise UserError(f'no convolution is named "{layer}"; there are {", ".join(layers)}')
    return drawn


def slug(text: str) -> str:
    """Turn a label into a file name: lower case, digits, dots, dashes, and plus, which tells 1e+05 from 1e-05."""
    return re.sub(r"[^a-z0-9.+]+", "-", text.lower()).strip("-.")
