"""The kernels of a study's networks: drawn, side by side, and matched between seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from regulens.errors import UserError
from regulens.figures.kernels import draw_kernels, greatest, kernels_info, rgb_info
from regulens.figures.matched import draw_matched, draw_panels, matched_info, panel_pages, panels_info
from regulens.figures.style import save_figure
from regulens.files import file_name
from regulens.interpret.kernels import Scaling, Shown, conv_kernels
from regulens.interpret.matching import DRAWS, MatchedLayer, RandomSimilarity, match_all, random_similarity
from regulens.report.inside.kernel_layers import KernelView, Layers, named_layers, scale_suffix, visible
from regulens.report.inside.scene import label_of, runs_by_cell
from regulens.report.pictures import FIGURES, Picture
from regulens.results import RunResult
from regulens.spec import StudySpec
from regulens.study.grid import cell_label, run_label
from regulens.study.inside.analysis import typical_run
from regulens.study.runner import run_folder
from regulens.study.table import is_collapsed
from regulens.training.checkpoint import WEIGHTS, load_model
from regulens.weights.kernels import ConvKernels

SEED = 0
"""Of the random kernels that matched ones are compared with."""
_FEW = 15
"""Networks to a draw: the pairs that it matches grow with the square."""
_DRAWS_OF_MANY = 199
"""Of random networks, where there are more than a few to a draw: one below a multiple of 40, as ``DRAWS`` is."""
_AXES = "(height x width x input channels x filters)"


@dataclass(frozen=True, eq=False)
class KernelPicture:
    """The kernels of one layer of one run, or of a file (its run_id is empty), as numbers and as a figure."""

    run_id: str
    network: str
    kernels: ConvKernels
    shown: Shown
    picture: Picture


@dataclass(frozen=True, eq=False)
class PanelsPicture:
    """The same layer of the runs that stand for several cells, as numbers and as a figure: one page of them."""

    layer: str
    runs: tuple[RunResult, ...]
    kernels: tuple[ConvKernels, ...]
    picture: Picture


@dataclass(frozen=True, eq=False)
class Match:
    """The filters of a cell's non-collapsed runs, matched layer by layer, and what random kernels give."""

    cell: str
    runs: tuple[RunResult, ...]
    layers: tuple[MatchedLayer, ...]
    random: tuple[RandomSimilarity, ...]


@dataclass(frozen=True, eq=False)
class MatchedPicture:
    """A layer of a cell's runs, its filters matched between seeds, beside what random kernels give."""

    cell: str
    runs: tuple[RunResult, ...]
    matched: MatchedLayer
    random: RandomSimilarity
    picture: Picture


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
    *,
    layer: Layers = None,
    view: KernelView | None = None,
    out: Path | None = None,
) -> list[KernelPicture]:
    """Draw the kernels of the convolutions of these runs, or of those named in each run that has them.

    Args:
        study: as declared.
        folder: where its runs lie.
        runs: whose kernels.
        layer: a convolution's name or a pattern such as ``conv*``, or several; by default all.
        view: how they are drawn.
        out: where the figures go; by default the study's ``figures/``.

    Raises:
        UserError: if ``layer`` is not a convolution of any of the runs, or none can be drawn in this view.
        DataError: if a run's weights are damaged.
    """
    view = view or KernelView()
    found = [(run, kernels) for run in runs for kernels in conv_kernels(load_model(run_folder(folder, run.run_id)))]
    names = named_layers(layer, [kernels.layer for _, kernels in found])
    pictures = []
    for run, kernels in visible([each for each in found if each[1].layer in names], view):
        network = run_label(run.spec, study)
        name = file_name("kernels", network, kernels.layer) + view.suffix
        pictures.append(drawn(run.run_id, network, kernels, view, (out or folder / FIGURES, name)))
    return pictures


def kernels_by_cell(
    study: StudySpec,
    folder: Path,
    results: Sequence[RunResult],
    *,
    layer: Layers = None,
    scaling: Scaling = "kernel",
    out: Path | None = None,
) -> list[PanelsPicture]:
    """Draw the regularizers side by side: each layer of the runs that stand for the cells, one shape together.

    Raises:
        UserError: if there is no such layer, or no run has weights.
        DataError: if a run's weights are damaged.
    """
    shapes: dict[tuple[tuple[int, ...], ...], list[tuple[RunResult, list[ConvKernels]]]] = {}
    for runs in runs_by_cell(study, folder, results).values():
        run = typical_run(runs)
        kernels = conv_kernels(load_model(run_folder(folder, run.run_id)))
        shapes.setdefault(tuple(each.weight.shape for each in kernels), []).append((run, kernels))
    if not shapes:
        raise UserError(f"{folder}: no run with weights is there yet; run the study")
    layers = [each.layer for members in shapes.values() for _, kernels in members for each in kernels]
    names = named_layers(layer, layers)
    return [
        page
        for members in shapes.values()
        for place, each in enumerate(members[0][1])
        if each.layer in names
        for page in _panels(study, members, place, scaling, out or folder / FIGURES)
    ]


def matched_kernels(
    study: StudySpec,
    folder: Path,
    results: Sequence[RunResult],
    cell: str,
    *,
    layer: Layers = None,
    scaling: Scaling = "kernel",
    out: Path | None = None,
) -> list[MatchedPicture]:
    """Match the filters of a cell's non-collapsed runs, layer by layer, and draw them beside their similarity.

    Args:
        study: as declared.
        folder: where its runs lie.
        results: of its runs.
        cell: its label.
        layer: a convolution's name or a pattern such as ``conv*``, or several; by default all.
        scaling: how kernels are drawn.
        out: where the figures go; by default the study's ``figures/``.

    Raises:
        UserError: if there is no such cell or layer, or fewer than two of its runs trained.
        DataError: if a run's weights are damaged.
    """
    found = match_of(study, folder, results, cell)
    return draw_match(found, out or folder / FIGURES, layer, scaling)


def match_of(study: StudySpec, folder: Path, results: Sequence[RunResult], cell: str) -> Match:
    """Match the filters of a cell's non-collapsed runs; nothing is drawn.

    Raises:
        UserError: if there is no such cell, or fewer than two of its runs trained.
        DataError: if a run's weights are damaged.
    """
    groups = runs_by_cell(study, folder, results)
    label = label_of(cell, study, groups)
    runs = tuple(run for run in groups[label] if not is_collapsed(run))
    if len(runs) < 2:
        trained = "1 of its runs" if len(runs) == 1 else "none of its runs"
        raise UserError(f"{label}: filters are matched between seeds, and {trained} trained; two are needed")
    networks = [conv_kernels(load_model(run_folder(folder, run.run_id))) for run in runs]
    random = _random(tuple(each.weight.shape for each in networks[0]), len(networks))
    return Match(label, runs, tuple(match_all(networks)), random)


def draw_match(found: Match, out: Path, layer: Layers = None, scaling: Scaling = "kernel") -> list[MatchedPicture]:
    """Draw what was matched, each layer or those named.

    Raises:
        UserError: if there is no such layer.
    """
    names = named_layers(layer, [each.layer for each in found.layers])
    return [
        _matched(found, matched, chance, scaling, out)
        for matched, chance in zip(found.layers, found.random, strict=True)
        if matched.layer in names
    ]


def _panels(
    study: StudySpec,
    members: Sequence[tuple[RunResult, Sequence[ConvKernels]]],
    place: int,
    scaling: Scaling,
    out: Path,
) -> Iterator[PanelsPicture]:
    """Draw one layer of networks of one shape, on as many pages as they need."""
    names = [run_label(run.spec, study) + (" (collapsed)" if is_collapsed(run) else "") for run, _ in members]
    layers = [kernels[place] for _, kernels in members]
    pages = panel_pages(panels_info(list(zip(names, layers, strict=True)), scaling))
    label = cell_label(members[0][0].spec.cell, study)
    stem = file_name("side-by-side", layers[0].layer, label) + scale_suffix(scaling)
    start = 0
    for number, info in enumerate(pages, 1):
        part = slice(start, start + len(info.names))
        runs, kernels = tuple(run for run, _ in members[part]), tuple(layers[part])
        path = save_figure(draw_panels(info), out, stem + (f"-page-{number}" if number > 1 else ""))
        strengths = ", ".join(f"{greatest(each.weight):.2g}" for each in kernels)
        caption = (
            f"{kernels[0].layer}, {kernels[0].shape} {_AXES}, of each network's representative run; their weights "
            f"reach magnitudes of {strengths}, in this order."
        )
        yield PanelsPicture(kernels[0].layer, runs, kernels, Picture(path, caption))
        start += len(runs)


def _matched(
    found: Match, matched: MatchedLayer, random: RandomSimilarity, scaling: Scaling, out: Path
) -> MatchedPicture:
    names = [f"seed {run.spec.seed}" for run in found.runs]
    figure = draw_matched(matched_info(matched, names, random, found.cell, scaling))
    name = file_name("matched", found.cell, matched.layer) + scale_suffix(scaling)
    caption = (
        f"{matched.layer} of {found.cell}: the filters of {len(found.runs)} seeds matched to those of "
        f"{names[matched.reference]}, a row per filter, beside the similarity that the same matching gives random ones."
    )
    picture = Picture(save_figure(figure, out, name), caption)
    return MatchedPicture(found.cell, found.runs, matched, random, picture)


@lru_cache(maxsize=64)
def _random(shapes: tuple[tuple[int, ...], ...], networks: int) -> tuple[RandomSimilarity, ...]:
    """Return the similarity of random kernels, in fewer draws where a draw matches many pairs."""
    draws = DRAWS if networks <= _FEW else _DRAWS_OF_MANY
    return tuple(random_similarity(shapes, networks, np.random.default_rng(SEED), draws))


def drawn(run_id: str, network: str, kernels: ConvKernels, view: KernelView, place: tuple[Path, str]) -> KernelPicture:
    """Draw one layer into a folder, under a name."""
    make = rgb_info if view.rgb else kernels_info
    shown = view.shown(kernels)
    figure = draw_kernels(make(kernels, view.scaling, network, shown))
    part = f" ({shown.words})" if shown.words else ""
    caption = f"{kernels.layer} of {network}: {kernels.shape} {_AXES}{part}."
    return KernelPicture(run_id, network, kernels, shown, Picture(save_figure(figure, *place), caption))
