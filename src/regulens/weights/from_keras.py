"""Kernels from Keras' files: ``.keras``, ``.weights.h5`` and the older ``.h5``, without Keras or TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from regulens.errors import DataError, UserError
from regulens.search_path import child_environment, without_current_folder
from regulens.weights.kernels import ConvKernels, WeightsFile
from regulens.weights.lazy import Lazy, Mapped, mapped, stored

SECONDS = 20.0
BYTES_PER_SECOND = 5e6
"""A file has this long, and longer the larger it is, to be read."""
LAYERS = "layers.npz"
REFUSED = 3
"""The exit code of the reading process where the file is at fault, which it says on stderr."""
_READER = (
    "import sys; sys.path[:] = sys.argv[3:]; import runpy; runpy.run_module('regulens.weights.hdf5', None, '__main__')"
)


def read_keras(path: Path) -> WeightsFile:
    """Read the kernels of a Keras file in a process of its own, as the HDF5 library hangs on some damaged files.

    Raises:
        DataError: if it is damaged or holds no 1D or 2D convolution.
        UserError: if h5py is not installed.
    """
    if find_spec("h5py") is None:
        raise UserError("reading Keras files needs h5py, which is not installed: pip install 'regulens[weights]'")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as out:  # Windows keeps files that are mapped
        folder = Path(out)
        _read_apart(path, folder)
        files = cache(lambda number: mapped(folder / str(number), own=True))
        with np.load(folder / LAYERS, allow_pickle=False) as found:
            kernels = [
                ConvKernels(
                    str(layer),
                    _placed(found[f"weight{place}"], files),
                    found[f"bias{place}"],
                    int(found["spatial"][place]),
                )
                for place, layer in enumerate(found["layers"])
            ]
            return WeightsFile("Keras", tuple(kernels), tuple(map(str, found["notes"])))


def _placed(place: NDArray[np.int64], files: Callable[[int], Mapped]) -> Lazy:
    """Return the weight at a place: the number of its file, its first byte, four sides and strides."""
    number, first, *sides = map(int, place)
    numbers = np.frombuffer(files(number), np.float32, offset=first)
    return stored(as_strided(numbers, sides[:4], sides[4:], writeable=False))


def _read_apart(path: Path, out: Path) -> None:
    # a numpy.py in the current folder, such as one beside the weights, is not run; no filter of HDF5 from elsewhere
    command = [sys.executable, "-P", "-c", _READER, str(path), str(out), *without_current_folder(sys.path)]
    limit = SECONDS + path.stat().st_size / BYTES_PER_SECOND
    environment = {**os.environ, **child_environment(), "HDF5_PLUGIN_PRELOAD": "::"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        raise DataError(
            f"{path}: was not read within {limit:.0f} s, which the HDF5 library does to damaged files; fetch it again"
        ) from None
    if done.returncode == REFUSED:
        raise DataError(done.stderr)
    if done.returncode != 0:
        last = (done.stderr.splitlines() or [f"exit code {done.returncode}"])[-1]
        raise DataError(f"{path}: broke its reader ({last}), as damaged files can; fetch it again")
