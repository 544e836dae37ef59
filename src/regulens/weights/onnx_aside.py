"""An ONNX file without its large tensors, which protobuf would copy: they stay in the file, and a mark says where.

Wire format: https://protobuf.dev/programming-guides/encoding; the numbers of fields: onnx.proto in
https://github.com/onnx/onnx.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regulens.weights.lazy import mapped

_LARGE = 4096
_MOST_FIELDS = 1_000_000
"""What lies behind so many fields is left as it is."""
_RAW_DATA: dict[int, Any] = {9: {}}
_WAYS: dict[int, Any] = {7: {5: _RAW_DATA, 1: {5: {5: _RAW_DATA}}}}
"""Model, graph, initializer, raw data; and graph, node, attribute, tensor, raw data: of a Constant."""
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_MARK_BYTES = 32


class Aside:
    """A model's file, and its large tensors, of which each mark within the model stands for one."""

    def __init__(self, path: Path) -> None:
        self._content = memoryview(mapped(path))
        self._mark = secrets.token_bytes(_MARK_BYTES)  # which no file can foresee
        self._left = _MOST_FIELDS

    def model(self) -> bytes:
        """Return the model with a mark instead of each large tensor's bytes; what is damaged is as it is."""
        return b"".join(self._rewritten(0, len(self._content), _WAYS))

    def find(self, raw: bytes) -> memoryview | None:
        """Return the bytes that a mark stands for, None if it is none."""
        if not raw.startswith(self._mark):
            return None
        first, last = (int.from_bytes(raw[_MARK_BYTES + at : _MARK_BYTES + at + 8], "little") for at in (0, 8))
        return self._content[first:last]

    def _rewritten(self, place: int, end: int, ways: dict[int, Any]) -> Iterator[bytes | memoryview]:
        while place < end:
            self._left -= 1
            field = self._field(place, end) if self._left > 0 else None
            if field is None:  # damaged, or too much
                yield self._content[place:end]
                return
            number, first, last = field
            if first is None or number not in ways or last - first <= _LARGE:
                yield self._content[place:last]
            else:
                inner = (
                    b"".join(self._rewritten(first, last, ways[number])) if ways[number] else self._marked(first, last)
                )
                yield _varint(number << 3 | _BYTES) + _varint(len(inner)) + inner
            place = last

    def _marked(self, first: int, last: int) -> bytes:
        return self._mark + first.to_bytes(8, "little") + last.to_bytes(8, "little")

    def _field(self, place: int, end: int) -> tuple[int, int | None, int] | None:
        """Return a field's number, where its bytes begin if it is of bytes, and its end; None if it is damaged."""
        key, place = self._number(place)
        first, kind = None, key & 7
        if kind == _VARINT:
            _, place = self._number(place)
        elif kind == _BYTES:
            length, first = self._number(place)
            place = first + length
        elif kind in {_FIXED_64, _FIXED_32}:
            place += 8 if kind == _FIXED_64 else 4
        else:
            return None
        return (key >> 3, first, place) if place <= end else None

    def _number(self, place: int) -> tuple[int, int]:
        """Return a varint, and the place behind it; it has ten bytes at most."""
        value = 0
        for shift, byte in enumerate(self._content[place : place + 10]):
            value |= (byte & 127) << 7 * shift
            if byte < 128:
                return value, place + shift + 1
        return value, len(self._content) + 1  # cut off


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
