"""Numbers that stay in a file until they are looked at, and then take memory block by block."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from regulens.errors import DataError

BLOCK = 8 * 2**20
"""Bytes of float32 that are looked at together."""
_SEGMENT = 256 * 2**20
_ALIGNED = 64


class Mapped(mmap.mmap):
    """A file's content, of which only what is being looked at takes memory; one without a ``path`` cannot change."""

    path: Path | None = None
    stamp: tuple[int, ...] = ()

    def check(self) -> None:
        """Raise a DataError if the file is another than it was: to read what was cut off would end the process."""
        if self.path is not None and self.stamp != _stamp(self.path):
            raise DataError(f"{self.path}: has changed or vanished while it was read; read it again")

    def release(self) -> None:
        """Give its memory back to the system; what was written stays in the file."""
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            self.madvise(mmap.MADV_DONTNEED)


def mapped(path: Path, own: bool = False) -> Mapped:
    """Return the content of a file, which must stay where and as it is unless it is our ``own``."""
    with path.open("rb") as stream:
        found = Mapped(stream.fileno(), 0, access=mmap.ACCESS_READ)
    if not own:
        found.path, found.stamp = path, _stamp(path)
    return found


@contextmanager
def looked_at(*arrays: NDArray[Any]) -> Iterator[None]:
    """Read or write arrays within, and copy what is to be kept: afterwards no part of a file takes memory.

    Raises:
        DataError: if a file has changed.
    """
    files = [file for file in map(_file, arrays) if file is not None]
    for file in files:
        file.check()
    yield
    for file in files:
        file.release()


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


@dataclass(frozen=True, eq=False)
class Lazy:
    """An array of float32 that is computed, number by number, from arrays of its shape that may lie in a file.

    Indexing it reads and computes what is asked for, the rest are views. ``compute`` returns a new array.
    """

    compute: Callable[..., NDArray[np.float32]]
    operands: tuple[NDArray[Any] | Lazy, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sides."""
        return self.operands[0].shape

    @property
    def strides(self) -> tuple[int, ...]:
        """How far apart neighbours along each axis lie where they are stored."""
        return self.operands[0].strides

    @property
    def ndim(self) -> int:
        """The number of its sides."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        """Return the first side."""
        return self.shape[0]

    def __getitem__(self, where: Any) -> NDArray[np.float32]:
        """Return a copy of a part; ``[...]`` is the whole."""
        with looked_at(*(each for each in self.operands if not isinstance(each, Lazy))):
            return self.compute(*(each[where] for each in self.operands))

    def transpose(self, *axes: int) -> Lazy:
        """Return it with its axes in this order."""
        return Lazy(self.compute, tuple(each.transpose(*axes) for each in self.operands))

    def swapaxes(self, one: int, other: int) -> Lazy:
        """Return it with two axes exchanged."""
        return Lazy(self.compute, tuple(each.swapaxes(one, other) for each in self.operands))

    def reshape(self, *shape: int) -> Lazy:
        """Return it in another shape."""
        return Lazy(self.compute, tuple(each.reshape(*shape) for each in self.operands))


Numbers = NDArray[np.float32] | Lazy
"""Weights in memory, or in their file."""


def _file(array: Any) -> Mapped | None:
    """Return the file that an array is a view of, if it is one."""
    owner = array
    while owner is not None and not isinstance(owner, Mapped):
        owner = owner.obj if isinstance(owner, memoryview) else getattr(owner, "base", None)
    return owner


def rows(numbers: Numbers) -> Iterator[NDArray[np.float32]]:
    """Yield an array part by part along its first axis."""
    for part in slices(len(numbers), BLOCK * len(numbers) // max(1, 4 * numbers.size)):
        yield numbers[part]


def blocks(weight: Numbers) -> Iterator[tuple[tuple[slice, slice], NDArray[np.float32]]]:
    """Yield (filters, channels, height, width) block by block, each with its filters and channels.

    A block holds some filters, or some channels of all filters where those lie further apart in the file.
    """
    far, near = (0, 1) if abs(weight.strides[0]) >= abs(weight.strides[1]) else (1, 0)
    kernel = 4 * max(1, math.prod(weight.shape[2:]))
    step = BLOCK // (kernel * max(1, weight.shape[near]))
    for outer in slices(weight.shape[far], step):
        for inner in slices(weight.shape[near], weight.shape[near] if step else BLOCK // kernel):
            part = (outer, inner) if far == 0 else (inner, outer)
            yield part, weight[part]


def chosen(weight: Numbers, filters: NDArray[np.int64], channels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return some filters' kernels of some channels, which are read one by one: neighbors may lie far apart."""
    return np.concatenate([weight[np.ix_(filters, [channel])] for channel in channels.tolist()], axis=1)


def slices(count: int, step: int) -> Iterator[slice]:
    """Cut a side into parts of ``step`` places, at least one."""
    return (slice(first, first + max(1, step)) for first in range(0, count, max(1, step)))


class Spill:
    """Arrays that lie on disk: in temporary files without a name, or in files 0, 1, ... of a folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._segments: list[Mapped] = []
        self._stream: IO[bytes] | None = None
        self._used = 0

    def empty(self, shape: Sequence[int], dtype: Any = np.float32) -> NDArray[Any]:
        """Return an array to be filled, block by block within ``looked_at``.

        Raises:
            DataError: if the disk is full.
        """
        count, each = math.prod(shape), np.dtype(dtype).itemsize
        if not count:
            return np.empty(shape, dtype)
        try:
            first = self._allocated(count * each)
        except OSError as error:
            place = self._folder or tempfile.gettempdir()
            raise DataError(
                f"{place}: no room for {count * each:,} bytes of weights ({error.strerror}); set TMPDIR to a folder "
                f"with more"
            ) from None
        return np.frombuffer(self._segments[-1], dtype, count, first).reshape(shape)

    def keep(self, numbers: Numbers) -> Lazy:
        """Lay out an array on disk."""
        kept = self.empty(numbers.shape)
        first = 0
        for part in rows(numbers):
            with looked_at(kept, *(() if isinstance(numbers, Lazy) else (numbers,))):
                kept[first : first + len(part)] = part
            first += len(part)
        return stored(kept)

    def place(self, array: NDArray[Any]) -> tuple[int, int]:
        """Return in which of its files a view of one of its arrays begins, and at which byte."""
        owner = _file(array)
        number = next(number for number, segment in enumerate(self._segments) if segment is owner)
        start = np.frombuffer(self._segments[number], np.uint8)
        return number, array.__array_interface__["data"][0] - start.__array_interface__["data"][0]

    def _allocated(self, length: int) -> int:
        """Return where in the last file so many bytes are free, on the disk too: to write to a full one is fatal."""
        first = -(-self._used // _ALIGNED) * _ALIGNED
        if self._stream is None or first + length > len(self._segments[-1]):
            self._open(max(length, _SEGMENT))
            first = 0
        if hasattr(os, "posix_fallocate") and self._stream is not None:
            os.posix_fallocate(self._stream.fileno(), first, length)
        self._used = first + length
        return first

    def _open(self, length: int) -> None:
        if self._stream is not None:
            self._stream.close()
        if self._folder is None:
            self._stream = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as there is room in it
        else:
            self._stream = (self._folder / str(len(self._segments))).open("w+b")
        self._stream.truncate(length)
        self._segments.append(Mapped(self._stream.fileno(), length))


def stored(array: NDArray[Any]) -> Lazy:
    """Return an array of float32 that may lie in a file."""
    return Lazy(lambda part: np.array(part, np.float32), (array,))
