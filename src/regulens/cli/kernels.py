"""The command that draws kernels: of a study's networks, or of any network's weights file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regulens.cli import completing
from regulens.cli.opening import open_study
from regulens.cli.options import Cells, Figures, KernelScale, Runs
from regulens.cli.tables import layers_table
from regulens.cli.terminal import console, print_wide, steps_shown
from regulens.errors import UserError

if TYPE_CHECKING:
    from regulens.interpret.kernels import Scaling, Shown
    from regulens.report.inside.kernel_pictures import KernelPicture, MatchedPicture
    from regulens.report.pictures import Picture

_MOST_BIASES = 64


def kernels(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DIR|FILE",
            help="A study's folder, or the weights file of any trained network.",
            autocompletion=completing.folders,
        ),
    ],
    *,
    run: Runs = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A convolution, or several by a pattern, e.g. conv2 or 'layer1.*'; may be repeated."
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Draw all layers of a file; by default only the first of more than 10.")
    ] = False,
    scale: Annotated[
        KernelScale, typer.Option(help="Spread black to white per kernel or per layer; signed: blue to red.")
    ] = KernelScale.kernel,
    rgb: Annotated[bool, typer.Option("--rgb", help="Draw filters that see RGB as pictures in color.")] = False,
    page: Annotated[int, typer.Option(help="Page of a layer with more filters or channels than a picture holds.")] = 1,
    sample: Annotated[
        bool, typer.Option("--sample", help="Draw filters and channels evenly spaced over a large layer.")
    ] = False,
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", help="Draw the networks side by side, one run for each.")
    ] = False,
    match: Annotated[
        bool, typer.Option("--match", help="Match the filters of a network's seeds and compare with chance.")
    ] = False,
    cell: Cells = None,
    out: Figures = None,
) -> None:
    """Draw convolution kernels; print shapes and biases. By default those of a study's refits.

    Of a file with more than 10 convolutions all are listed and the first is drawn.

    Files: safetensors, PyTorch, pickles of tensors, NumPy .npz, ONNX, TensorFlow Lite, Keras .keras, .weights.h5 and
    .h5; no code in them is run.
    """
    from regulens.study.study_file import names_preset

    path = Path(source)
    scaling: Scaling = scale.value
    if path.is_file():
        _check_alone(path, {"--run": run, "--cell": cell, "--match": match, "--side-by-side": side_by_side})
        if every and layer:
            raise UserError("--all and --layer contradict each other; give one of them")
        _print_file(path, ["*"] if every else layer, scaling, rgb=rgb, page=page, sample=sample, out=out)
        return
    if not path.exists() and not names_preset(source):
        raise UserError(f"{source}: no such file or folder; give a study's folder or a weights file")
    if path.is_dir():
        _check_folder(source)
    if every:
        raise UserError("--all is for a weights file; of a study's networks all layers are drawn, omit it")
    if sum(map(bool, (match, side_by_side, run))) > 1:
        raise UserError("--match, --side-by-side and --run are three pictures; ask for one of them")
    if (match or side_by_side) and (rgb or sample or page != 1):
        raise UserError("--rgb, --page and --sample are of single networks; omit them")
    study = open_study(source)
    if match:
        with steps_shown() as on_step:
            found = study.matched_kernels(cell, layer, scaling, out=out, on_step=on_step)
        _print_matched(found)
    elif cell and not side_by_side:
        raise UserError("--cell requires --match; name a run with --run RUN_ID instead")
    elif side_by_side:
        _check_alone(Path("--side-by-side"), {"--cell": cell})
        for panels in study.kernels_side_by_side(layer, scaling, out=out):
            console.print(panels.picture.caption, soft_wrap=True)
            print_path(panels.picture)
    else:
        _print_kernels(study.kernels(run, layer, scaling, rgb=rgb, page=page, sample=sample, out=out))


def print_path(picture: Picture) -> None:
    """Say where a picture is."""
    console.print(f"  {picture.path} and .png", soft_wrap=True)


def _check_folder(source: str) -> None:
    """Refuse a folder that is no study's: it may be a network in another form, or hold a weights file."""
    from regulens.study.store import DATABASE, refuse_lost_database
    from regulens.study.study_file import names_preset
    from regulens.weights.foreign import refuse_foreign_folder

    folder = Path(source)
    refuse_foreign_folder(folder)
    if names_preset(source):
        return
    refuse_lost_database(folder)
    if not os.path.lexists(folder / DATABASE):
        raise UserError(
            f"{folder}: holds no study (no {DATABASE}); name the folder that `regulens run` printed, or a weights file "
            "in this one"
        )


def _check_alone(source: Path, options: dict[str, object]) -> None:
    for name, value in options.items():
        if value:
            raise UserError(f"{source}: {name} applies to study folders only; omit it")


def _print_file(
    path: Path, layer: list[str] | None, scaling: Scaling, *, rgb: bool, page: int, sample: bool, out: Path | None
) -> None:
    from regulens.report.inside.file_kernels import kernels_of_file

    found = kernels_of_file(path, layer, scaling, rgb=rgb, page=page, sample=sample, out=out)
    console.print(f"{path}: {found.kind}", soft_wrap=True)
    if layer is None and found.only_first:
        print_wide(layers_table(found.layers))
        drawn = found.pictures[0].kernels.layer
        which = "the first" if drawn == found.layers[0].layer else f"only {drawn}"
        more = "--layer NAME (may be repeated; a pattern such as 'layer1.*') or --all draws more"
        console.print(f"{len(found.layers)} layers; drawn: {which}; {more}", soft_wrap=True)
    _print_kernels(found.pictures)
    for note in found.notes:
        console.print(note, soft_wrap=True)


def _print_kernels(pictures: Iterable[KernelPicture]) -> None:
    for item in pictures:
        if item.run_id:
            console.print(f"{item.network} (run {item.run_id})", soft_wrap=True)
        shape = f"{item.kernels.shape} (height x width x input channels x filters)"
        console.print(f"  {item.kernels.layer}: {shape}", soft_wrap=True)
        bias = item.kernels.bias
        if 0 < len(bias) <= _MOST_BIASES:
            console.print("  biases: " + " ".join(f"{value:.4f}" for value in bias), soft_wrap=True)
        elif len(bias):
            console.print(f"  biases: {len(bias)} from {bias.min():.4f} to {bias.max():.4f}", soft_wrap=True)
        print_path(item.picture)
        if item.shown.words:
            console.print(f"  drawn: {item.shown.words}{_next_page(item.shown)}", soft_wrap=True)


def _next_page(shown: Shown) -> str:
    return f"; --page {shown.page + 1} draws the next" if shown.page < shown.pages else ""


def _print_matched(pictures: Iterable[MatchedPicture]) -> None:
    for item in pictures:
        random = item.random
        console.print(
            f"{item.cell}, {item.matched.layer}: similarity of {len(item.runs)} seeds "
            f"{item.matched.filter_similarity.mean():.3f}; of random kernels {random.mean:.3f} (95 %: {random.low:.3f} "
            f"to {random.high:.3f})",
            soft_wrap=True,
            markup=False,
        )
        print_path(item.picture)
