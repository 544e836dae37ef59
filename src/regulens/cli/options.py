"""The options and arguments that commands share, and the words that an option may take."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from regulens.cli import completing
from regulens.errors import UserError


class ResultsFormat(enum.StrEnum):
    """How `results` prints."""

    table = "table"
    csv = "csv"
    json = "json"


class AnalysisFormat(enum.StrEnum):
    """How `analyze` prints."""

    table = "table"
    json = "json"


class ReportFormat(enum.StrEnum):
    """How `report` writes."""

    html = "html"
    md = "md"
    tex = "tex"
    pdf = "pdf"
    json = "json"


class Primary(enum.StrEnum):
    """What decides: the mean of the runs that trained, of all runs, or the median of all."""

    trained = "trained"
    mean = "mean"
    median = "median"


class Comparisons(enum.StrEnum):
    """Which levels are compared."""

    control = "control"
    all = "all"


class Part(enum.StrEnum):
    """Which part of what is measured inside networks `measures` shows."""

    filters = "filters"
    probes = "probes"
    similarity = "similarity"
    robustness = "robustness"
    calibration = "calibration"


class KernelScale(enum.StrEnum):
    """Over what a picture's black to white is spread."""

    kernel = "kernel"
    layer = "layer"
    signed = "signed"


class Method(enum.StrEnum):
    """Ways to say which pixels decide."""

    gradient = "gradient"
    smoothgrad = "smoothgrad"
    integrated_gradients = "integrated_gradients"
    grad_cam = "grad_cam"
    occlusion = "occlusion"


def existing_folder(name: str) -> str:
    """Return the name if it may be that of a study's folder.

    Raises:
        UserError: saying what it is instead.
    """
    from regulens.study.study_file import names_preset

    path = Path(name)
    if path.is_dir() or names_preset(name):
        return name
    if not path.exists():
        raise UserError(f"{path}: no such folder; name one that `regulens run` made, such as studies/quickstart")
    if path.name == "study.db":
        raise UserError(f"{path}: is a study's database; name its folder, {path.parent}")
    if path.suffix == ".toml":
        raise UserError(f"{path}: is a study file, not the folder of a study; `regulens run {path}` makes one")
    raise UserError(f"{path}: is not a study folder; own models: only `regulens kernels {path}`")


Source = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="A preset (quickstart, lab, lab-64 ...), a study file, or a study's folder.",
        autocompletion=completing.studies,
    ),
]
Folder = Annotated[
    str,
    typer.Argument(
        metavar="DIR",
        help="A study's folder, e.g. studies/lab.",
        callback=existing_folder,
        autocompletion=completing.folders,
    ),
]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The study's folder (default: studies/NAME).")]
Seeds = Annotated[int | None, typer.Option(help="Trainings per network, a seed each (default: as the study says).")]
MaxCells = Annotated[
    int | None, typer.Option("--max-cells", metavar="N", help="Allow a study of more than 10,000 networks.")
]
Workers = Annotated[int | None, typer.Option(help="Number of worker processes (default: one per core).")]
Device = Annotated[str, typer.Option(help="Where to train: cpu, cuda or cuda:N.")]
Runs = Annotated[
    list[str] | None,
    typer.Option("--run", metavar="RUN_ID", help='A run by the beginning of its run_id, or "all"; may be repeated.'),
]
Cells = Annotated[
    list[str] | None,
    typer.Option(
        "--cell",
        metavar="LABEL",
        help='A network by its label, e.g. "depth 2, none", or "all"; uses its representative (median) run.',
    ),
]
Filters = Annotated[
    list[int] | None,
    typer.Option(
        "--filter",
        metavar="N",
        help="With --exciting and --maximize: a filter, numbered from 1 as in the pictures; may be repeated.",
    ),
]
Seed = Annotated[int, typer.Option(help="Random seed for noise and random weights.")]
Image = Annotated[
    str | None,
    typer.Option("--image", metavar="N|PATH", help="An image by its index in the data set, or a picture file."),
]
Figures = Annotated[
    Path | None,
    typer.Option("--out", metavar="FOLDER", help="Folder for the PNG and SVG files (default: the study's figures/)."),
]
