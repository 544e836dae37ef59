"""Kernels from safetensors: Regulens' own networks and others'."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open

from regulens.weights.kernels import Gathering, WeightsFile
from regulens.weights.layouts import gather_named, natural
from regulens.weights.refusing import refusing
from regulens.weights.stored import StoredTensor

_NAMED_BYTES = 1000
_LETTER_BYTES = 100
"""What it takes to name a tensor and to sort the names, never less than it does."""


def read_safetensors(path: Path) -> WeightsFile:
    """Read the kernels of a safetensors file, its layers in the natural order of their names.

    Raises:
        DataError: if it is damaged or holds no 1D or 2D convolution.
    """
    gathering = Gathering(path, "safetensors")
    with refusing(path, "safetensors"), safe_open(path, framework="pt") as archive:  # torch knows bfloat16

        def stored(name: str) -> StoredTensor:
            view = archive.get_slice(name)
            floating = view.get_dtype().startswith(("F", "BF"))
            return StoredTensor(tuple(view.get_shape()), floating, lambda: archive.get_tensor(name).float().numpy())

        names = archive.keys()
        gathering.spend(sum(_NAMED_BYTES + _LETTER_BYTES * len(name) for name in names))
        gather_named({name: stored(name) for name in sorted(names, key=natural)}, gathering)
    return gathering.result()
