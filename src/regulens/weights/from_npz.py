"""Kernels from NumPy's archives, whose arrays are told by their names."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from regulens.errors import DataError
from regulens.npz import PackedArray, packed_arrays
from regulens.weights.kernels import Gathering, WeightsFile
from regulens.weights.layouts import gather_named
from regulens.weights.lazy import Lazy, Spill, looked_at
from regulens.weights.rebuilding import widened
from regulens.weights.refusing import refusing
from regulens.weights.stored import StoredTensor, split_name

_HEADER = 128
"""The first bytes of an array's file, which name its type."""


def read_npz(path: Path) -> WeightsFile:
    """Read the kernels of an ``.npz``: ``layer.weight`` as torch has it, ``layer/kernel`` as Flax and Keras do.

    Raises:
        DataError: if it is damaged or holds no convolution.
    """
    gathering = Gathering(path, "NumPy")
    with refusing(path, "a NumPy archive"), packed_arrays(path) as arrays:
        tensors: dict[str, StoredTensor] = {}
        for name, array in arrays.items():
            plain = name.removesuffix(":0")  # as TensorFlow names its variables
            parts = ("parametrizations" in plain) or split_name(plain)[1].startswith(("weight", "kernel", "bias"))
            if len(array.shape) > 2 and not parts:
                shown = " x ".join(map(str, array.shape))
                gathering.leave_out(f"{name} ({shown})", 'not named "weight" or "kernel"')
            else:
                tensors[plain] = _stored(array, gathering.spill)
        gather_named(tensors, gathering)
    return gathering.result()


def read_npy(path: Path) -> WeightsFile:
    """Refuse a single array.

    Raises:
        DataError: always, as it does not say whose layout it has.
    """
    with path.open("rb") as stream:
        if b"'descr': '|O'" in stream.read(_HEADER):
            raise DataError(
                f"{path}: holds Python objects, as numpy.save writes of a dictionary; where you trust it, load it and "
                'save its arrays by name with numpy.savez, as "layer.weight" (filters, channels, height, width) or as '
                '"layer/kernel" (height, width, channels, filters)'
            )
    raise DataError(
        f"{path}: is one NumPy array without a name, which does not say how it is laid out; save it by name with "
        'numpy.savez, as "layer.weight" (filters, channels, height, width) or as "layer/kernel" (height, width, '
        "channels, filters)"
    )


def _stored(array: PackedArray, spill: Spill) -> StoredTensor:
    kind, size = array.dtype.kind, array.dtype.itemsize
    bfloat16 = kind == "V" and size == 2 and not array.dtype.names  # NumPy has no name for it

    def read() -> Lazy:
        numbers = spill.empty((math.prod(array.shape),), array.dtype)
        content, place = numbers.view(np.uint8), 0
        for piece in array.pieces():
            with looked_at(content):
                content[place : place + len(piece)] = np.frombuffer(piece, np.uint8)
            place += len(piece)
        return Lazy(widened, (numbers.reshape(array.shape, order=array.order),))

    unfit = {"O": "an array of objects", "c": "complex numbers"}.get(kind, "")
    floating = bfloat16 or (kind == "f" and size <= 8)
    return StoredTensor(array.shape, floating, read, unfit)
