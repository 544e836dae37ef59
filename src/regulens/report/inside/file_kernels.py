"""The kernels of any trained network's weights file: every layer in numbers, and the pictures that are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from regulens.errors import check_type
from regulens.files import file_name, file_slug
from regulens.interpret.kernel_summary import KernelSummary, summarize
from regulens.interpret.kernels import Scaling
from regulens.report.inside.kernel_layers import KernelView, Layers, named_layers, visible
from regulens.report.inside.kernel_pictures import KernelPicture, drawn
from regulens.weights.files import read_kernels

FEW = 10
"""Layers that are all drawn unless some are named; of a larger network the first is."""


@dataclass(frozen=True, eq=False)
class FileKernels:
    """What a weights file holds, and what was drawn of it.

    Attributes:
        kind: the file's format.
        layers: all its convolutions in numbers, in the order of the network.
        pictures: those drawn.
        notes: what was left out, a line each.
        only_first: whether the first of many layers was drawn, as none were named.
    """

    kind: str
    layers: tuple[KernelSummary, ...]
    pictures: tuple[KernelPicture, ...]
    notes: tuple[str, ...]
    only_first: bool = False


def kernels_of_file(
    path: str | Path,
    layer: Layers = None,
    scaling: Scaling = "kernel",
    *,
    rgb: bool = False,
    page: int = 1,
    sample: bool = False,
    out: str | Path | None = None,
) -> FileKernels:
    """Read the convolutions of any trained network's weights file and draw them, or some of them.

    Args:
        path: of the file, in a format of ``weights.files.read_kernels``.
        layer: a convolution's name in the file, a pattern such as ``layer1.*``, or several; ``*`` is all. By default
            all of up to ten layers that can be drawn so, of more the first.
        scaling: as in ``KernelView``, like ``rgb``, ``page`` and ``sample``.
        rgb: filters that see colours in colours.
        page: of a layer with more filters or input channels than a picture holds.
        sample: filters and channels evenly spaced instead.
        out: where the figures go; by default ``kernels-NAME`` in the working folder.

    Raises:
        UserError: if there is no such layer or page, or none can be drawn in this view.
        DataError: if the file cannot be read.
    """
    check_type(path, (str, Path), "path", "that of a weights file")
    path, view = Path(path), KernelView(scaling, rgb, page, sample)
    found = read_kernels(path)
    names = named_layers(layer, [kernels.layer for kernels in found.kernels])
    numbered = [(number, each) for number, each in enumerate(found.kernels, 1) if each.layer in names]
    chosen = visible(numbered, view)
    only_first = layer is None and len(chosen) > FEW
    digits = len(str(len(found.kernels)))
    place = Path(file_name("kernels", file_slug(path))) if out is None else Path(out)
    pictures = [
        drawn("", path.name, kernels, view, (place, f"{number:0{digits}}-{file_name(kernels.layer)}{view.suffix}"))
        for number, kernels in (chosen[:1] if only_first else chosen)
    ]
    return FileKernels(found.kind, tuple(map(summarize, found.kernels)), tuple(pictures), found.notes, only_first)
