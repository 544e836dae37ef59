"""NumPy's archives of arrays, read within bounds: what one announces is known before it takes memory; no pickles."""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

_CHUNK = 2**20


@dataclass(frozen=True, eq=False)
class PackedArray:
    """An array that is still in its archive: what its header says, and how to read it while the archive is open.

    ``pieces`` are the bytes of its numbers, in the ``order`` of C or of Fortran.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]
    pieces: Callable[[], Iterator[bytes]]

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> NDArray[Any]:
        """Return it in memory."""
        numbers = np.empty(math.prod(self.shape), self.dtype)
        content, place = numbers.view(np.uint8).data, 0
        for piece in self.pieces():
            content[place : place + len(piece)] = piece
            place += len(piece)
        return numbers.reshape(self.shape, order=self.order)


@contextmanager
def packed_arrays(path: Path) -> Iterator[dict[str, PackedArray]]:
    """Open an ``.npz`` and yield its arrays by name, in the order of the file; only their headers are read.

    Raises:
        OSError, ValueError: if it is damaged, or a header announces another size than is stored.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
            yield {entry.filename.removesuffix(".npy"): _packed(archive, entry) for entry in entries}
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
        raise ValueError(str(error) or type(error).__name__) from None


def _packed(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> PackedArray:
    with archive.open(entry) as stream:
        if npy.read_magic(stream) != (1, 0):  # of 64 kB at the most; others are for arrays of records
            raise ValueError(f"{entry.filename!r} has a header of a version that is not read")
        shape, fortran, dtype = npy.read_array_header_1_0(stream)
        begin = stream.tell()
    if not dtype.hasobject and begin + math.prod(shape) * dtype.itemsize != entry.file_size:
        raise ValueError(f"{entry.filename!r} announces another size than is stored")

    def pieces() -> Iterator[bytes]:
        if dtype.hasobject:
            raise ValueError(f"{entry.filename!r} holds objects, not numbers")
        left = math.prod(shape) * dtype.itemsize
        with archive.open(entry) as stream:
            stream.read(begin)
            while left:
                piece = stream.read(min(_CHUNK, left))
                if not piece:
                    raise ValueError(f"{entry.filename!r} is cut off")
                left -= len(piece)
                yield piece

    return PackedArray(shape, dtype, "F" if fortran else "C", pieces)
