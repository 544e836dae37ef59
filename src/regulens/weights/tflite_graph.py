"""The tables of a TensorFlow Lite file, by their numbers in its schema.

Schema: https://github.com/google-ai-edge/LiteRT, ``tflite/converter/schema/schema.fbs``. Every offset is checked by
``struct`` and numpy where it is used; how much is walked is bounded here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from flatbuffers import number_types
from flatbuffers.table import Table
from numpy.typing import NDArray

from regulens.weights.lazy import Mapped

_MOST_OPERATIONS = 50_000
_LONGEST_NAME = 500
_MOST_DIMENSIONS = 8
_CUSTOM = 32
_KINDS = {
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    6: "DEQUANTIZE",
    67: "TRANSPOSE_CONV",
    124: "DENSIFY",
    132: "CONV_3D",
    141: "CONV_3D_TRANSPOSE",
    171: "STABLEHLO_CONVOLUTION",
}
_REAL = {0: "<f4", 1: "<f2", 10: "<f8", 18: "V2"}
_WHOLE = {2: "<i4", 3: "u1", 4: "<i8", 7: "<i2", 9: "i1", 15: "<u4", 16: "<u2", 17: "int4"}


class Fields:
    """A table of the file, its fields by their places in the schema; an absent one is 0, nothing or None."""

    def __init__(self, content: Mapped, position: int) -> None:
        self._table = Table(content, position)

    def _at(self, slot: int) -> int:
        return int(self._table.Offset(4 + 2 * slot))

    def number(self, slot: int, flags: Any) -> int:
        """Return a number of this type."""
        offset = self._at(slot)
        return int(self._table.Get(flags, self._table.Pos + offset)) if offset else 0

    def table(self, slot: int) -> Fields | None:
        """Return a table within."""
        offset = self._at(slot)
        return Fields(self._table.Bytes, self._table.Indirect(self._table.Pos + offset)) if offset else None

    def tables(self, slot: int) -> Tables:
        """Return a vector of tables."""
        offset = self._at(slot)
        if not offset:
            return Tables(self._table, 0, 0)
        return Tables(self._table, self._table.Vector(offset), self._table.VectorLen(offset))

    def numbers(self, slot: int, flags: Any) -> NDArray[Any]:
        """Return a vector of numbers of this type, without a copy."""
        offset = self._at(slot)
        empty: NDArray[Any] = np.zeros(0, number_types.to_numpy_type(flags))
        return self._table.GetVectorAsNumpy(flags, offset) if offset else empty

    def text(self, slot: int) -> str:
        """Return the beginning of a text."""
        return bytes(self.numbers(slot, number_types.Uint8Flags)[:_LONGEST_NAME]).decode(errors="replace")


@dataclass(frozen=True)
class Tables:
    """A vector of tables that are looked up one by one."""

    table: Any
    start: int
    length: int

    def __getitem__(self, place: int) -> Fields:
        if not 0 <= place < self.length:
            raise IndexError(f"it names table {place} of {self.length}")
        return Fields(self.table.Bytes, self.table.Indirect(self.start + 4 * place))


class Tensor:
    """A tensor of a graph: its shape, type and quantization, and its numbers where they are stored."""

    def __init__(self, fields: Fields, place: int, model: Model) -> None:
        self._fields = fields
        self._model = model
        self.place = place
        self.name = fields.text(3)
        self._type = fields.number(1, number_types.Int8Flags)
        self._quantization = fields.table(4)
        self.sparse = fields.table(6) is not None
        self.elsewhere = bool(fields.number(10, number_types.Uint32Flags))
        self.real = self._type in _REAL
        self.numeric = self.real or self._type in _WHOLE
        self.axis = self._quantization.number(6, number_types.Int32Flags) if self._quantization else 0
        self.blocked = bool(self._quantization and self._quantization.number(4, number_types.Uint8Flags))

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sides."""
        sides = self._fields.numbers(0, number_types.Int32Flags)
        if len(sides) > _MOST_DIMENSIONS or (sides < 0).any():
            raise ValueError(f"a tensor has {len(sides)} dimensions or a negative side")
        return tuple(map(int, sides))

    @property
    def scale(self) -> NDArray[Any]:
        """The scales of its quantization: none, one, or one for each place along ``axis``."""
        return self._parameters(2, number_types.Float32Flags)

    @property
    def zero(self) -> NDArray[Any]:
        """The zero points of its quantization."""
        return self._parameters(3, number_types.Int64Flags)

    def _parameters(self, slot: int, flags: Any) -> NDArray[Any]:
        return np.zeros(0) if self._quantization is None else self._quantization.numbers(slot, flags)

    @cached_property
    def _bytes(self) -> NDArray[np.uint8]:
        return self._model.buffer(self._fields.number(2, number_types.Uint32Flags))

    @property
    def stored(self) -> bool:
        """Whether its numbers are in the file."""
        return bool(self._bytes.size)

    def numbers(self) -> NDArray[Any]:
        """Return its numbers as they are stored, in its shape; bfloat16 as two bytes.

        Raises:
            ValueError: if there are more or fewer.
        """
        kind = {**_REAL, **_WHOLE}[self._type]
        if kind == "int4":  # two in a byte, the lower half first
            halves = np.stack([self._bytes << 4, self._bytes], axis=1).ravel().view(np.int8) >> 4
            return halves[: math.prod(self.shape)].reshape(self.shape)
        return self._bytes.view(kind).reshape(self.shape)


@dataclass(frozen=True)
class Operation:
    """A node of a graph: its kind in the schema's words, its inputs and outputs."""

    kind: str
    graph: Graph
    fields: Fields

    def input(self, place: int) -> Tensor | None:
        """Return an input; None if it is not given."""
        return self._tensor(1, place)

    def output(self, place: int) -> Tensor | None:
        """Return an output; None if there is none."""
        return self._tensor(2, place)

    def _tensor(self, slot: int, place: int) -> Tensor | None:
        tensors = self.fields.numbers(slot, number_types.Int32Flags)
        return self.graph.tensor(int(tensors[place])) if place < len(tensors) and tensors[place] >= 0 else None


class Graph:
    """A subgraph of the model."""

    def __init__(self, fields: Fields, model: Model) -> None:
        self._model = model
        self._tensors = fields.tables(0)
        self._operators = fields.tables(3)

    def tensor(self, place: int) -> Tensor:
        """Return one of its tensors."""
        return Tensor(self._tensors[place], place, self._model)

    def operations(self) -> Iterator[Operation]:
        """Give its nodes in their order.

        Raises:
            ValueError: if the model has more than any network.
        """
        for place in range(self._operators.length):
            self._model.count()
            fields = self._operators[place]
            yield Operation(self._model.kind(fields.number(0, number_types.Uint32Flags)), self, fields)

    @cached_property
    def packed(self) -> dict[int, Tensor]:
        """What the tensors are dequantized, or filled in from a sparse one, within the graph."""
        found = {}
        for operation in self.operations():
            source, given = operation.input(0), operation.output(0)
            if operation.kind in {"DEQUANTIZE", "DENSIFY"} and source is not None and given is not None:
                found[given.place] = source
        return found


class Model:
    """The root table of a file."""

    def __init__(self, content: Mapped) -> None:
        self._content = content
        self._root = Fields(content, int.from_bytes(content[:4], "little"))
        self._codes = self._root.tables(1)
        self._buffers = self._root.tables(4)
        self._left = _MOST_OPERATIONS

    def graphs(self) -> Iterator[Graph]:
        """Give its subgraphs."""
        found = self._root.tables(2)
        for place in range(found.length):
            self.count()
            yield Graph(found[place], self)

    def count(self) -> None:
        """Count what is walked."""
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"it has more than {_MOST_OPERATIONS:,} operations")

    def kind(self, place: int) -> str:
        """Return the name of an operation's kind; nothing for those that matter to no weight."""
        code = self._codes[place]
        builtin = max(code.number(0, number_types.Int8Flags), code.number(3, number_types.Int32Flags))
        if builtin == _CUSTOM:
            return code.text(1)
        return _KINDS.get(builtin, "")

    def buffer(self, place: int) -> NDArray[np.uint8]:
        """Return stored bytes, which in files above 2 GiB lie behind the tables."""
        fields = self._buffers[place]
        data: NDArray[np.uint8] = fields.numbers(0, number_types.Uint8Flags)
        start, size = (fields.number(slot, number_types.Uint64Flags) for slot in (1, 2))
        if data.size or start <= 1:
            return data
        return np.frombuffer(self._content, np.uint8, size, start)
