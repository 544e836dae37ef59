"""Which layers of a network are drawn, and how: names, patterns of names, pages, views."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar

from regulens.errors import UserError
from regulens.figures.kernel_layout import room
from regulens.figures.kernels import rgb_room
from regulens.interpret.kernels import Scaling, Shown, choose_kernels, page_count
from regulens.weights.kernels import ConvKernels

Layers = str | Sequence[str] | None
"""A convolution's name or a pattern of names (``layer1.*``), several of them, or all."""
Of = TypeVar("Of")
_NAMED = 10
"""Names in a message at most."""


@dataclass(frozen=True)
class KernelView:
    """How kernels are drawn.

    Attributes:
        scaling: ``kernel``, ``layer`` or ``signed``, as in ``interpret.kernels.scale_kernels``.
        rgb: filters with three input channels as pictures in colours; no others are drawn.
        page: of a layer with more filters or input channels than a picture holds, which page of them, from 1: all
            filters with the first channels, then all with the next.
        sample: filters and channels evenly spaced over the layer instead of a page.
    """

    scaling: Scaling = "kernel"
    rgb: bool = False
    page: int = 1
    sample: bool = False

    @property
    def suffix(self) -> str:
        """What tells the files of this view from those of the plain one."""
        parts = [scale_suffix(self.scaling), "-rgb" if self.rgb else ""]
        return "".join([*parts, "-sample" if self.sample else f"-page-{self.page}" if self.page > 1 else ""])

    def most(self, kernels: ConvKernels) -> tuple[int, int]:
        """Return how many filters and input channels of a layer a picture holds."""
        _, channels, height, width = kernels.numbers.shape
        return rgb_room(height, width) if self.rgb else room(channels, height, width)

    def pages(self, kernels: ConvKernels) -> int:
        """Return on how many pages a layer stands."""
        filters, channels = kernels.numbers.shape[:2]
        return 1 if self.sample else page_count(filters, channels, self.most(kernels))

    def shown(self, kernels: ConvKernels) -> Shown:
        """Return what of a layer is drawn."""
        filters, channels = kernels.numbers.shape[:2]
        return choose_kernels(filters, channels, "even" if self.sample else "first", self.page, self.most(kernels))


def scale_suffix(scaling: Scaling) -> str:
    """Return what tells the files of this scale from those of the usual one."""
    return "" if scaling == "kernel" else f"-{scaling}-scale"


def named_layers(wanted: Layers, names: Iterable[str]) -> set[str]:
    """Return which of the names are meant: all by default, those given, or those that match ``*`` and ``?``.

    Raises:
        UserError: if a name or pattern is that of no layer.
    """
    known = list(dict.fromkeys(names))
    if wanted is None:
        return set(known)
    found: set[str] = set()
    for each in (wanted,) if isinstance(wanted, str) else wanted:
        matching = [each] if each in known else _matching(each, known)
        if not matching:
            raise UserError(f'no convolution is named "{each}"; {_listed(each, known)}')
        found.update(matching)
    return found


def visible(layers: Sequence[tuple[Of, ConvKernels]], view: KernelView) -> list[tuple[Of, ConvKernels]]:
    """Return the layers that can be drawn in this view: with three input channels, with such a page.

    Raises:
        UserError: if there are layers, and none of them can.
    """
    if not layers:
        return []
    coloured = [each for each in layers if not view.rgb or each[1].numbers.shape[1] == 3]
    if not coloured:
        shapes = ", ".join(dict.fromkeys(f"{each.layer} has {each.numbers.shape[1]}" for _, each in layers[:3]))
        raise UserError(f"only a layer with 3 input channels can be drawn in colors; {shapes}")
    pages = [view.pages(kernels) for _, kernels in coloured]
    if not 1 <= view.page <= max(pages):
        raise UserError(f"page must be from 1 to {max(pages)}, got {view.page}")
    return [each for each, count in zip(coloured, pages, strict=True) if view.page <= count]


def _matching(pattern: str, names: Sequence[str]) -> list[str]:
    """Return the names that match, brackets standing for themselves."""
    if not set(pattern) & set("*?"):
        return []
    return [name for name in names if fnmatchcase(name, pattern.replace("[", "[[]"))]


def _listed(wanted: str, names: Sequence[str]) -> str:
    """List the names in quotes; of many the first, and the one that is nearest to what was wanted."""
    shown = ", ".join(f'"{name}"' for name in names[:_NAMED])
    verb = "is" if len(names) == 1 else "are"
    if len(names) <= _NAMED:
        return f"there {verb} {shown}" if names else "there is none"
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
    near = f'; did you mean "{close[0]}"?' if close else ""
    return f"there are {shown} and {len(names) - _NAMED} more{near}"
