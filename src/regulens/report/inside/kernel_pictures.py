"""The kernels of a study's networks, or of any weights file: drawn, side by side, and matched between seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from regulens.errors import UserError, check_type, suggestion
from regulens.figures.kernels import draw_kernels, greatest, kernels_info, rgb_info
from regulens.figures.matched import draw_matched, draw_panels, matched_info, panels_info
from regulens.figures.style import save_figure
from regulens.interpret.kernels import MOST, Scaling, Shown, choose_kernels, conv_kernels
from regulens.interpret.matching import DRAWS, MatchedLayer, RandomSimilarity, match_all, random_similarity
from regulens.report.inside.scene import label_of, runs_by_cell
from regulens.report.pictures import FIGURES, Picture, slug
from regulens.results import RunResult
from regulens.spec import StudySpec
from regulens.study.grid import cell_label, run_label
from regulens.study.inside.analysis import typical_run
from regulens.study.runner import run_folder
from regulens.study.table import is_collapsed
from regulens.training.checkpoint import WEIGHTS, load_model
from regulens.weights.files import read_kernels
from regulens.weights.kernels import ConvKernels

SEED = 0
"""Of the random kernels that matched ones are compared with."""
_FEW = 15
"""Networks to a draw: the pairs that it matches grow with the square."""
_DRAWS_OF_MANY = 199
"""Of random networks, where there are more than a few to a draw: one below a multiple of 40, as ``DRAWS`` is."""
Of = TypeVar("Of")
_AXES = "(height x width x input channels x filters)"


@dataclass(frozen=True)
class KernelView:
    """How kernels are drawn.

    Attributes:
        scaling: ``kernel``, ``layer`` or ``signed``, as in ``interpret.kernels.scale_kernels``.
        rgb: filters with three input channels as pictures in colours; no others are drawn.
        page: of a layer with more filters than a picture holds, which page of them, from 1.
        sample: filters and channels evenly spaced over the layer instead of a page.
    """

    scaling: Scaling = "kernel"
    rgb: bool = False
    page: int = 1
    sample: bool = False

    @property
    def suffix(self) -> str:
        """What tells the files of this view from those of the plain one."""
        parts = [_scale_suffix(self.scaling), "-rgb" if self.rgb else ""]
        return "".join([*parts, "-sample" if self.sample else f"-page-{self.page}" if self.page > 1 else ""])


@dataclass(frozen=True, eq=False)
class KernelPicture:
    """The kernels of one layer of one run, or of a file (its run_id is empty), as numbers and as a figure."""

    run_id: str
    network: str
    kernels: ConvKernels
    picture: Picture


@dataclass(frozen=True, eq=False)
class FileKernels:
    """The kernels drawn from a weights file, of which kind it is, and what was left out, a line each."""

    kind: str
    pictures: tuple[KernelPicture, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class PanelsPicture:
    """The same layer of the runs that stand for several cells, as numbers and as a figure."""

    layer: str
    runs: tuple[RunResult, ...]
    kernels: tuple[ConvKernels, ...]
    picture: Picture


@dataclass(frozen=True, eq=False)
class Match:
    """The filters of a cell's runs that trained, matched layer by layer, and what random kernels give."""

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
    layer: str | None = None,
    view: KernelView | None = None,
    out: Path | None = None,
) -> list[KernelPicture]:
    """Draw the kernels of the convolutions of these runs, or of the one named in each run that has it.

    Args:
        study: as declared.
        folder: where its runs lie.
        runs: whose kernels.
        layer: a convolution's name; by default all.
        view: how they are drawn.
        out: where the figures go; by default the study's ``figures/``.

    Raises:
        UserError: if ``layer`` is not a convolution of any of the runs, or none can be drawn in this view.
        DataError: if a run's weights are damaged.
    """
    view = view or KernelView()
    names: dict[str, None] = {}
    chosen: list[tuple[RunResult, ConvKernels]] = []
    for run in runs:
        for kernels in conv_kernels(load_model(run_folder(folder, run.run_id))):
            names[kernels.layer] = None
            if layer in {None, kernels.layer}:
                chosen.append((run, kernels))
    _check_layer(layer, names)
    drawn = []
    for run, kernels in _visible(chosen, view):
        network = run_label(run.spec, study)
        name = f"kernels-{slug(network)}-{kernels.layer}{view.suffix}"
        drawn.append(_drawn(run.run_id, network, kernels, view, (out or folder / FIGURES, name)))
    return drawn


def kernels_of_file(
    path: str | Path,
    layer: str | None = None,
    scaling: Scaling = "kernel",
    *,
    rgb: bool = False,
    page: int = 1,
    sample: bool = False,
    out: str | Path | None = None,
) -> FileKernels:
    """Draw the kernels of any trained network's weights file.

    Args:
        path: of the file, in a format of ``weights.files.read_kernels``.
        layer: a convolution's name in the file; by default all.
        scaling: as in ``KernelView``, like ``rgb``, ``page`` and ``sample``.
        rgb: filters that see colours in colours.
        page: of a layer with more filters than a picture holds.
        sample: filters evenly spaced instead.
        out: where the figures go; by default ``kernels-NAME`` in the working folder.

    Raises:
        UserError: if there is no such layer or page, or none can be drawn in this view.
        DataError: if the file cannot be read.
    """
    check_type(path, (str, Path), "path", "that of a weights file")
    path, view = Path(path), KernelView(scaling, rgb, page, sample)
    found = read_kernels(path)
    _check_layer(layer, dict.fromkeys(kernels.layer for kernels in found.kernels))
    numbered = [(number, each) for number, each in enumerate(found.kernels, 1) if layer in {None, each.layer}]
    digits = len(str(len(found.kernels)))
    place = Path(f"kernels-{slug(path.stem)}") if out is None else Path(out)
    drawn = [
        _drawn("", path.name, kernels, view, (place, f"{number:0{digits}}-{slug(kernels.layer)[:80]}{view.suffix}"))
        for number, kernels in _visible(numbered, view)
    ]
    return FileKernels(found.kind, tuple(drawn), found.notes)


def kernels_by_cell(
    study: StudySpec,
    folder: Path,
    results: Sequence[RunResult],
    *,
    layer: str | None = None,
    scaling: Scaling = "kernel",
    out: Path | None = None,
) -> list[PanelsPicture]:
    """Draw the regularizers side by side: each layer of the runs that stand for the cells, one shape together.

    Raises:
        UserError: if there is no such layer, or no run has weights.
        DataError: if a run's weights are damaged.
    """
    shapes: dict[tuple[tuple[int, ...], ...], list[tuple[RunResult, list[ConvKernels]]]] = {}
    names: dict[str, None] = {}
    for runs in runs_by_cell(study, folder, results).values():
        run = typical_run(runs)
        kernels = conv_kernels(load_model(run_folder(folder, run.run_id)))
        names |= dict.fromkeys(each.layer for each in kernels)
        shapes.setdefault(tuple(each.weight.shape for each in kernels), []).append((run, kernels))
    if not shapes:
        raise UserError(f"{folder}: no run with weights is there yet; run the study")
    _check_layer(layer, names)
    return [
        _panels(study, members, place, scaling, out or folder / FIGURES)
        for members in shapes.values()
        for place, each in enumerate(members[0][1])
        if layer in {None, each.layer}
    ]


def matched_kernels(
    study: StudySpec,
    folder: Path,
    results: Sequence[RunResult],
    cell: str,
    *,
    layer: str | None = None,
    scaling: Scaling = "kernel",
    out: Path | None = None,
) -> list[MatchedPicture]:
    """Match the filters of a cell's runs that trained, layer by layer, and draw them beside their similarity.

    Args:
        study: as declared.
        folder: where its runs lie.
        results: of its runs.
        cell: its label.
        layer: a convolution's name; by default all.
        scaling: how kernels are drawn.
        out: where the figures go; by default the study's ``figures/``.

    Raises:
        UserError: if there is no such cell or layer, or fewer than two of its runs trained.
        DataError: if a run's weights are damaged.
    """
    found = match_of(study, folder, results, cell)
    return draw_match(found, out or folder / FIGURES, layer, scaling)


def match_of(study: StudySpec, folder: Path, results: Sequence[RunResult], cell: str) -> Match:
    """Match the filters of a cell's runs that trained; nothing is drawn.

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


def draw_match(found: Match, out: Path, layer: str | None = None, scaling: Scaling = "kernel") -> list[MatchedPicture]:
    """Draw what was matched, each layer or the one named.

    Raises:
        UserError: if there is no such layer.
    """
    _check_layer(layer, dict.fromkeys(each.layer for each in found.layers))
    return [
        _matched(found, matched, chance, scaling, out)
        for matched, chance in zip(found.layers, found.random, strict=True)
        if layer in {None, matched.layer}
    ]


def _panels(
    study: StudySpec,
    members: Sequence[tuple[RunResult, Sequence[ConvKernels]]],
    place: int,
    scaling: Scaling,
    out: Path,
) -> PanelsPicture:
    runs = tuple(run for run, _ in members)
    kernels = tuple(layers[place] for _, layers in members)
    names = [run_label(run.spec, study) + (" (collapsed)" if is_collapsed(run) else "") for run in runs]
    first = kernels[0]
    figure = draw_panels(panels_info(list(zip(names, kernels, strict=True)), scaling))
    stem = f"side-by-side-{first.layer}-{slug(cell_label(runs[0].spec.cell, study))}" + _scale_suffix(scaling)
    strengths = ", ".join(f"{greatest(each.weight):.2g}" for each in kernels)
    caption = (
        f"{first.layer}, {first.shape} {_AXES}, of the runs that stand for their networks; their weights reach "
        f"magnitudes of {strengths}, in this order."
    )
    return PanelsPicture(first.layer, runs, kernels, Picture(save_figure(figure, out, stem), caption))


def _matched(
    found: Match, matched: MatchedLayer, random: RandomSimilarity, scaling: Scaling, out: Path
) -> MatchedPicture:
    names = [f"seed {run.spec.seed}" for run in found.runs]
    figure = draw_matched(matched_info(matched, names, random, found.cell, scaling))
    name = f"matched-{slug(found.cell)}-{matched.layer}" + _scale_suffix(scaling)
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


def _scale_suffix(scaling: Scaling) -> str:
    return "" if scaling == "kernel" else f"-{scaling}-scale"


def _visible(layers: Sequence[tuple[Of, ConvKernels]], view: KernelView) -> list[tuple[Of, ConvKernels]]:
    """Return the layers that can be drawn in this view: with three input channels, with such a page.

    Raises:
        UserError: if there are layers, and none of them can.
    """
    if not layers:
        return []
    coloured = [each for each in layers if not view.rgb or each[1].weight.shape[1] == 3]
    if not coloured:
        shapes = ", ".join(dict.fromkeys(f"{each.layer} has {each.weight.shape[1]}" for _, each in layers[:3]))
        raise UserError(f"only a layer with 3 input channels can be drawn in colours; {shapes}")
    pages = [1 if view.sample else -(-len(each.weight) // MOST) for _, each in coloured]
    if not 1 <= view.page <= max(pages):
        raise UserError(f"page must be from 1 to {max(pages)}, got {view.page}")
    return [each for each, count in zip(coloured, pages, strict=True) if view.page <= count]


def _drawn(run_id: str, network: str, kernels: ConvKernels, view: KernelView, place: tuple[Path, str]) -> KernelPicture:
    make = rgb_info if view.rgb else kernels_info
    figure = draw_kernels(make(kernels, view.scaling, network, _shown(kernels, view)))
    caption = f"{kernels.layer} of {network}: {kernels.shape} {_AXES}."
    return KernelPicture(run_id, network, kernels, Picture(save_figure(figure, *place), caption))


def _shown(kernels: ConvKernels, view: KernelView) -> Shown:
    filters, channels = kernels.weight.shape[:2]
    return choose_kernels(filters, channels, "even" if view.sample else "first", view.page)


def _check_layer(layer: str | None, names: dict[str, None]) -> None:
    if layer is not None and layer not in names:
        known = list(names)
        listed = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
        near = suggestion(layer, known) if len(known) > 20 else ""
        raise UserError(f'no convolution is named "{layer}"; there are {listed}{near}')
