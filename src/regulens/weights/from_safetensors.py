"""Kernels from safetensors: Regulens' own networks and others'."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from safetensors import safe_open

from regulens.weights.kernels import Gathering, WeightsFile
from regulens.weights.layouts import gather_named, natural
from regulens.weights.lazy import Lazy, mapped
from regulens.weights.rebuilding import REAL, real
from regulens.weights.refusing import refusing
from regulens.weights.stored import StoredTensor

_NAMED_BYTES = 1000
_LETTER_BYTES = 100
"""What it takes to name a tensor and to sort the names, never less than it does."""
_HEADER = 8
_DTYPES = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu"},
    **{"F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz"},
}
"""The names of real numbers, and those that torch has for them."""


def read_safetensors(path: Path) -> WeightsFile:
    """Read the kernels of a safetensors file, its layers in the natural order of their names.

    Raises:
        DataError: if it is damaged or holds no 1D or 2D convolution.
    """
    gathering = Gathering(path, "safetensors")
    with refusing(path, "safetensors"), safe_open(path, framework="np") as archive:  # which checks the header
        names = archive.keys()
        gathering.spend(sum(_NAMED_BYTES + _LETTER_BYTES * len(name) for name in names))
        stored = _stored(path)
        gather_named({name: stored[name] for name in sorted(names, key=natural)}, gathering)
    return gathering.result()


def _stored(path: Path) -> dict[str, StoredTensor]:
    content = memoryview(mapped(path))
    begin = _HEADER + int.from_bytes(content[:_HEADER], "little")
    header = json.loads(bytes(content[_HEADER:begin]))
    return {name: _tensor(content[begin:], **entry) for name, entry in header.items() if name != "__metadata__"}


def _tensor(content: memoryview, dtype: str, shape: list[int], data_offsets: list[int]) -> StoredTensor:
    """Return a tensor by its entry in the header, which names these."""
    kind = _DTYPES.get(dtype, "")

    def read() -> Lazy:
        words = np.frombuffer(content, f"<i{REAL[kind]}", math.prod(shape), data_offsets[0])
        return real(words.reshape(shape), kind)

    return StoredTensor(tuple(shape), bool(kind), read)
