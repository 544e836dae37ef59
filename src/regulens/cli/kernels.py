"""The command that draws kernels: of a study's networks, or of any network's weights file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regulens.cli import completing
from regulens.cli.opening import open_study
from regulens.cli.options import Cells, Figures, KernelScale, Runs
from regulens.cli.terminal import console, steps_shown
from regulens.errors import UserError

if TYPE_CHECKING:
    from regulens.interpret.kernels import Scaling
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
    layer: Annotated[str | None, typer.Option(help="One convolution, e.g. conv2 (default: all).")] = None,
    scale: Annotated[
        KernelScale, typer.Option(help="Spread black to white per kernel or per layer; signed: blue to red.")
    ] = KernelScale.kernel,
    rgb: Annotated[bool, typer.Option("--rgb", help="Filters that see colours as pictures in colours.")] = False,
    page: Annotated[int, typer.Option(help="Of a layer with more filters than a picture holds.")] = 1,
    sample: Annotated[bool, typer.Option("--sample", help="Filters evenly spaced over a large layer.")] = False,
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", help="The networks beside each other, one run for each.")
    ] = False,
    match: Annotated[
        bool, typer.Option("--match", help="Filters of a network's seeds matched, beside chance; with --cell.")
    ] = False,
    cell: Cells = None,
    out: Figures = None,
) -> None:
    """Draw convolution kernels; print shapes and biases. By default those of a study's refits.

    Files: safetensors, PyTorch state dicts, ONNX, Keras .keras, .weights.h5 and .h5, TensorFlow Lite; no code is run.
    """
    from regulens.study.study_file import names_preset
    from regulens.weights.foreign import refuse_foreign_folder

    path = Path(source)
    scaling: Scaling = scale.value
    if path.is_file():
        _check_alone(path, {"--run": run, "--cell": cell, "--match": match, "--side-by-side": side_by_side})
        _print_file(path, layer, scaling, rgb=rgb, page=page, sample=sample, out=out)
        return
    if not path.exists() and not names_preset(source):
        raise UserError(f"{source}: is neither a study's folder nor a weights file")
    if path.is_dir():
        refuse_foreign_folder(path)
    if sum(map(bool, (match, side_by_side, run))) > 1:
        raise UserError("--match, --side-by-side and --run are three pictures; ask for one of them")
    if (match or side_by_side) and (rgb or sample or page != 1):
        raise UserError("--rgb, --page and --sample are of single networks; leave them away")
    study = open_study(source)
    if match:
        with steps_shown() as on_step:
            found = study.matched_kernels(cell, layer, scaling, out=out, on_step=on_step)
        _print_matched(found)
    elif cell and not side_by_side:
        raise UserError("--cell is of use with --match; name a run with --run RUN_ID")
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


def _check_alone(source: Path, options: dict[str, object]) -> None:
    for name, value in options.items():
        if value:
            raise UserError(f"{source}: {name} is of a study's folder; leave it away")


def _print_file(
    path: Path, layer: str | None, scaling: Scaling, *, rgb: bool, page: int, sample: bool, out: Path | None
) -> None:
    from regulens.report.inside.kernel_pictures import kernels_of_file

    found = kernels_of_file(path, layer, scaling, rgb=rgb, page=page, sample=sample, out=out)
    console.print(f"{path}: {found.kind}", soft_wrap=True)
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
