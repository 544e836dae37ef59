"""Bounded readers of image files: what comes back is whole and as announced, or an error says why not."""

from __future__ import annotations

import bz2
import hashlib
import lzma
import math
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regulens.errors import DataError

MAX_BYTES = 4 * 2**30
"""No file is ever decompressed beyond this, whatever its header announces."""

_DECOMPRESSORS: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b": lambda: zlib.decompressobj(wbits=16 + zlib.MAX_WBITS),  # 16: the gzip format
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\x00": lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY),
}
_XZ_MEMORY = 128 * 2**20
"""More than `xz -9` asks for; a header that asks for more is refused."""
_UBYTE = 0x08
_SLACK = 2**20
"""A compressed file may be this much larger than what it holds."""
_PIECE = 2**14
"""Bytes handed to a decompressor at once: what is left of a piece behind the end of a stream is copied."""
_PADDING = re.compile(rb"\0*")


def read_bounded(path: Path, limit: int) -> bytes:
    """Return the decompressed content of a plain, gzip, bzip2 or xz file of at most ``limit`` bytes.

    The compression is told from the first bytes, not from the name. Several compressed streams, one behind the other,
    are read as one, and zeros behind a stream are padding (RFC 1952; bgzip, pigz, pbzip2 and ``cat`` write such files).

    Raises:
        DataError: if the file cannot be read, is cut off or corrupt, goes on with something else after the end of its
            compressed stream, or holds more than ``limit`` bytes.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(limit + _SLACK + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    content = _decompressed(path, raw, limit)
    if len(content) > limit or len(raw) > limit + _SLACK:
        raise DataError(f"{path}: holds more than the {limit:,} bytes expected; this is not the file it should be")
    return content


def _decompressed(path: Path, raw: bytes, limit: int) -> bytes:
    """Return at most ``limit + 1`` bytes of what ``raw`` holds."""
    magic = next((magic for magic in _DECOMPRESSORS if raw.startswith(magic)), None)
    if magic is None:
        return raw
    content, place = bytearray(), 0
    while place < len(raw) and len(content) <= limit:
        if not raw.startswith(magic, place):
            raise DataError(f"{path}: goes on after the end of its compressed stream; fetch it again")
        stream = _DECOMPRESSORS[magic]()
        while not stream.eof and place < len(raw) and len(content) <= limit:
            place += _take(path, stream, raw[place : place + _PIECE], content, limit)
        if not stream.eof and len(content) <= limit:
            raise DataError(f"{path}: cannot be decompressed (its stream is cut off); remove it and fetch it again")
        place = _end_of_padding(raw, place)
    return bytes(content)


def _take(path: Path, stream: Any, piece: bytes, content: bytearray, limit: int) -> int:
    """Decompress a piece onto ``content``, up to ``limit + 1`` bytes in all; return how much of it was the stream's."""
    try:
        content += stream.decompress(piece, limit + 1 - len(content))
    except (OSError, zlib.error, lzma.LZMAError) as error:
        raise DataError(
            f"{path}: cannot be decompressed ({error}); the file is damaged, remove it and fetch it again"
        ) from None
    return len(piece) - len(stream.unused_data)


def _end_of_padding(raw: bytes, place: int) -> int:
    found = _PADDING.match(raw, place)
    return found.end() if found else place


def read_idx(path: Path, shape: tuple[int, ...], sha256: str | None = None) -> NDArray[np.uint8]:
    """Read an IDX file (LeCun's MNIST format) of unsigned bytes with exactly this shape.

    Args:
        path: plain or compressed file.
        shape: the dimensions that the header must announce.
        sha256: hexadecimal checksum of the decompressed bytes, verified if given.

    Raises:
        DataError: naming the file and what is wrong: magic, type, dimensions, length or checksum.
    """
    header_bytes = 4 + 4 * len(shape)
    expected = header_bytes + math.prod(shape)
    if expected > MAX_BYTES:
        raise DataError(f"{path}: {expected:,} bytes are beyond the {MAX_BYTES:,} that are ever read")
    content = read_bounded(path, expected)
    _check_idx_header(path, content, shape)
    if len(content) != expected:
        raise DataError(f"{path}: is cut off: {len(content):,} of {expected:,} bytes; remove it and fetch it again")
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(
            f"{path}: checksum differs: its decompressed bytes are not the published ones; remove it and fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=header_bytes).reshape(shape)


def _check_idx_header(path: Path, content: bytes, shape: tuple[int, ...]) -> None:
    header_bytes = 4 + 4 * len(shape)
    if len(content) < header_bytes:
        raise DataError(
            f"{path}: is cut off within its header: {len(content)} of {header_bytes} bytes; "
            f"remove it and fetch it again"
        )
    zeros, kind, dimensions = struct.unpack(">HBB", content[:4])
    if zeros != 0:
        raise DataError(f"{path}: wrong magic number {content[:4].hex()}: not an IDX file; fetch it again")
    if kind != _UBYTE:
        raise DataError(f"{path}: holds elements of IDX type 0x{kind:02x}; only unsigned bytes (0x08) are read")
    if dimensions != len(shape):
        raise DataError(f"{path}: has {dimensions} dimensions, expected {len(shape)}")
    announced = struct.unpack(f">{len(shape)}I", content[4:header_bytes])
    if announced != shape:
        raise DataError(f"{path}: announces shape {announced}, expected {shape}")
