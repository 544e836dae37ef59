"""What is read from a weights file: the kernels of its convolutions, counted before they take memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regulens.errors import DataError, one_line, shortened
from regulens.weights.lazy import Lazy, Numbers, Spill, blocks

EXPANSION = 20
SLACK = 64 * 2**20
"""What is read of a file may take this many times its own size and this many bytes more, whatever it announces."""
_LONGEST_NAME = 120
_NAMED = 3


@dataclass(frozen=True, eq=False)
class ConvKernels:
    """One convolution's numbers: weight (filters, input channels, height, width), bias (filters,), float32.

    ``numbers`` are the weight, in memory or still in their file, of which indexing reads what is asked for.
    A layer without a bias has one of no elements, (0,). In a grouped convolution each filter has the input channels
    of its group only, one in a depthwise convolution. A 1D convolution's kernels are strips of height 1; ``spatial``,
    the number of dimensions that the kernel moves along, tells it from a 2D convolution of such kernels.
    """

    layer: str
    numbers: Numbers
    bias: NDArray[np.float32]
    spatial: int = 2

    @property
    def weight(self) -> NDArray[np.float32]:
        """The whole weight, which is read anew each time where it is in a file.

        Raises:
            DataError: if that file has changed or vanished.
        """
        if not isinstance(self.numbers, Lazy):
            return self.numbers
        weight = np.empty(self.numbers.shape, np.float32)
        for where, part in blocks(self.numbers):
            weight[where] = part
        return weight

    @property
    def shape(self) -> str:
        """Height x width x input channels x filters, the order in which Keras prints it; no height in 1D."""
        filters, channels, height, width = self.numbers.shape
        return "x".join(map(str, [*(height, width)[2 - self.spatial :], channels, filters]))


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """The convolutions of a file in the order of its network, and what was left out and why, a line each."""

    kind: str
    kernels: tuple[ConvKernels, ...]
    notes: tuple[str, ...]


def allowance(size: int) -> int:
    """Return how many bytes may come out of a file of ``size`` bytes."""
    return EXPANSION * size + SLACK


class Gathering:
    """Collects the layers of one file; what they would take in all is bounded by the file's own size."""

    def __init__(self, path: Path, kind: str, spill: Spill | None = None) -> None:
        self.path = path
        self.kind = kind
        self.spill = spill or Spill()
        self._size = path.stat().st_size
        self._left = allowance(self._size)
        self._kernels: list[ConvKernels] = []
        self._left_out: dict[str, list[str]] = {}
        self._times: Counter[str] = Counter()

    def reserve(self, name: str, shape: Sequence[int]) -> None:
        """Count an array of this shape, before it is read.

        Raises:
            DataError: if the arrays of the file would take far more than the file itself.
        """
        shown = " x ".join(f"{side:,}" for side in shape)
        self.spend(4 * math.prod(shape), f"announces {shown} numbers for {readable(name)!r}")

    def spend(self, taken: int, what: str = "holds so many objects") -> None:
        """Count bytes that something read of the file takes.

        Raises:
            DataError: if it is far more than the file itself.
        """
        self._left -= taken
        if self._left < 0:
            raise DataError(
                f"{self.path}: {what}, far more than its {self._size:,} bytes can hold; the file is damaged or forged, "
                f"fetch it again"
            )

    def add(self, layer: str, weight: Numbers, bias: ArrayLike = (), spatial: int = 2) -> None:
        """Take a layer: weight (filters, channels, height, width) and bias (filters,), or none."""
        kept = weight if isinstance(weight, Lazy) else self.spill.keep(weight)
        name = readable(layer)
        self._times[name] += 1
        if self._times[name] > 1:
            name += f" ({self._times[name]})"
        self._kernels.append(ConvKernels(name, kept, np.array(bias, np.float32), spatial))

    def leave_out(self, name: str, reason: str) -> None:
        """Remember a layer that is not shown."""
        self._left_out.setdefault(reason, []).append(readable(name))

    def result(self) -> WeightsFile:
        """Return what was gathered.

        Raises:
            DataError: if it is nothing.
        """
        notes = tuple(f"left out, {reason}: {_listed(names)}" for reason, names in self._left_out.items())
        if not self._kernels:
            because = f" ({notes[0]})" if notes else ""
            raise DataError(f"{self.path}: holds no 1D or 2D convolution{because}; there are no kernels to show")
        return WeightsFile(self.kind, tuple(self._kernels), notes)


def readable(name: str) -> str:
    """Return a file's own name for something, without what cannot be printed and not endlessly long."""
    return shortened(one_line(name[: 10 * _LONGEST_NAME]), _LONGEST_NAME)


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
