"""Kernels from the HDF5 in Keras' files, read with h5py alone.

``from_keras`` runs it as a program, ``python -m regulens.weights.hdf5 FILE OUT``: on some damaged files the HDF5
library hangs, crashes or takes all memory.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from regulens.errors import DataError
from regulens.weights.from_keras import REFUSED
from regulens.weights.kernels import Gathering, WeightsFile, allowance
from regulens.weights.layouts import Weight, keras_layout, natural
from regulens.weights.refusing import refusing

_KIND = "a Keras file"
_DEEPEST = 64
"""Models within models; beyond it a file is not a network's."""
_LARGEST_TEXT = 64 * 2**20
_MEMORY = 4 * 2**30
"""What Python and its libraries may reserve besides."""
_OPTIMIZERS = ("optimizer", "optimizer_weights")
_CLASS = re.compile(r"(depthwise_|separable_)?conv2d(_transpose)?(_\d+)?")


@dataclass(frozen=True)
class _Layer:
    """A layer's arrays by their own names, and what its class and names say of its kind."""

    name: str
    hint: str
    arrays: dict[str, Any]


def main(path: Path, out: Path) -> str:
    """Read the kernels of a file into ``out``, an npz; return what is wrong with it in one line, if anything is."""
    _limit_memory(path.stat().st_size)
    try:
        read = read_archive if zipfile.is_zipfile(path) else read_hdf5
        found = read(path)
    except DataError as error:
        return str(error)
    arrays = {f"weight{place}": layer.weight for place, layer in enumerate(found.kernels)}
    arrays |= {f"bias{place}": layer.bias for place, layer in enumerate(found.kernels)}
    names = np.array([layer.layer for layer in found.kernels])
    np.savez(out, layers=names, notes=np.array(found.notes, np.str_), **arrays)  # type: ignore[arg-type]  # may not be allow_pickle
    return ""


def _limit_memory(size: int) -> None:
    """Let this process take no more memory than a file of ``size`` bytes can need, where the system can see to it."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limit = _MEMORY + allowance(size)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def read_archive(path: Path) -> WeightsFile:
    """Read the kernels of a ``.keras`` archive, in the order of its configuration.

    Raises:
        DataError: if it is damaged or holds no 2D convolution.
    """
    with refusing(path, _KIND), zipfile.ZipFile(path) as archive, tempfile.TemporaryFile() as weights:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        if sizes["model.weights.h5"] > allowance(path.stat().st_size) or sizes.get("config.json", 0) > _LARGEST_TEXT:
            raise DataError(f"{path}: announces far more than it can hold; it is damaged or forged, fetch it again")
        with archive.open("model.weights.h5") as packed:
            shutil.copyfileobj(packed, weights, 2**20)  # never more than announced: zipfile stops there
        config = json.loads(archive.read("config.json")) if "config.json" in sizes else {}
        return _read(path, weights, config)


def read_hdf5(path: Path) -> WeightsFile:
    """Read the kernels of ``.weights.h5`` or of the older ``.h5``, with or without the model's configuration.

    The layers of ``.weights.h5``, which does not say their order, come in the order in which they were written, which
    is the network's.

    Raises:
        DataError: if it is damaged or holds no 2D convolution.
    """
    with refusing(path, _KIND), path.open("rb") as stream:
        return _read(path, stream, {})


def _read(path: Path, stream: Any, config: Any) -> WeightsFile:
    gathering = Gathering(path, "Keras")
    with h5py.File(stream, "r") as file:
        text = _attribute(file, "model_config")
        classes = _classes(config or (json.loads(text[0]) if text else {}))
        root = _child(file, "model_weights")
        for layer in _layers(file if root is None else root, classes, gathering):
            _gather(layer, gathering)
    return gathering.result()


def _classes(config: Any) -> dict[str, str]:
    """Return the class of each layer by its name, in the network's order, from a model's configuration."""
    classes: dict[str, str] = {}
    pending = [config]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            inner = item.get("config")
            if isinstance(inner, dict) and isinstance(inner.get("name"), str):
                classes.setdefault(inner["name"], str(item.get("class_name")))
            pending.extend(reversed(item.values()))
        elif isinstance(item, list):
            pending.extend(reversed(item))
    return classes


def _layers(root: Any, classes: dict[str, str], gathering: Gathering) -> list[_Layer]:
    """Return the layers that have arrays, in the network's order: as stated, else as configured, else as written."""
    by_group: dict[str, dict[str, Any]] = {}
    for group, leaf, array in _arrays(root, gathering):
        by_group.setdefault(group, {})[leaf] = array
    order = {name: place for place, name in enumerate(classes)}
    stated = _stated_order(root)

    def place(group: str, layer: _Layer) -> tuple[float, int]:
        own = order.get(layer.name.rpartition("/")[2], math.inf)
        return stated.get(group, own), next(iter(layer.arrays.values())).id.get_offset() or 0

    layers = [(group, _layer(root, group, by_group[group], classes)) for group in sorted(by_group, key=natural)]
    return [layer for _, layer in sorted(layers, key=lambda item: place(*item))]


def _layer(root: Any, group: str, arrays: dict[str, Any], classes: dict[str, str]) -> _Layer:
    name = _name(root, group)
    own = name.rpartition("/")[2]
    saved_as = group.removesuffix("/vars").rpartition("/")[2]  # Keras 3 names groups after classes where it can
    hint = saved_as if _CLASS.fullmatch(saved_as) else f"{saved_as} {own}"
    ordered = {leaf: arrays[leaf] for leaf in sorted(arrays, key=natural)}
    return _Layer(name, classes.get(own, hint).lower(), ordered)


def _arrays(root: Any, gathering: Gathering) -> Iterator[tuple[str, str, Any]]:
    """Walk the file: the path of each array's group, the array's name without ``:0``, the array."""
    pending, seen = [("", root)], set()
    while pending:
        path, group = pending.pop()
        if path.count("/") > _DEEPEST:
            raise ValueError(f"groups lie more than {_DEEPEST} deep")
        for leaf in group if path else set(group).difference(_OPTIMIZERS):
            child, place = _child(group, leaf), f"{path}/{leaf}".strip("/")
            if child is None:
                gathering.leave_out(place, "a link, which is not followed")
            elif isinstance(child, h5py.Dataset):
                yield path, leaf.removesuffix(":0"), child
            elif (address := h5py.h5o.get_info(child.id).addr) not in seen:  # a group may hold itself
                seen.add(address)
                pending.append((place, child))


def _child(group: Any, name: str) -> Any:
    """Return the group or array of this name if it lies in the file itself, else nothing."""
    if "/" in name or not isinstance(group.get(name, getlink=True), h5py.HardLink):
        return None
    child = group[name]
    return child if isinstance(child, h5py.Group | h5py.Dataset) else None


def _stated_order(root: Any) -> dict[str, int]:
    """Return the place of each group of arrays in the older format, which lists its layers and their weights."""
    groups = []
    for layer in _attribute(root, "layer_names"):
        group = _child(root, layer)
        for weight in _attribute(group, "weight_names") if group is not None else []:
            groups.append(f"{layer}/{weight}".rpartition("/")[0])
    return {group: place for place, group in reversed(list(enumerate(groups)))}


def _attribute(owner: Any, name: str) -> list[str]:
    """Return the texts of an attribute, which Keras cuts into name0, name1, ... where it is long; none if absent."""
    found = []
    for part in [name, *(f"{name}{number}" for number in range(len(owner.attrs)))]:
        if part in owner.attrs:
            stored = owner.attrs.get_id(part)
            if math.prod(stored.shape) * stored.dtype.itemsize > _LARGEST_TEXT:
                raise ValueError(f"its {part} is larger than any text")
            values = np.atleast_1d(owner.attrs[part])
            found += [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values]
    return found


def _name(root: Any, group: str) -> str:
    """Return the layer's own name, within the names of the models that it lies in."""
    parts = group.split("/")
    if parts[-1] != "vars":  # the older format has the names themselves, below the layer that it is saved with
        return "/".join(parts[1:]) or group
    names = []
    for length, part in enumerate(parts[:-1], start=1):
        if part not in {"layers", "vars"}:
            own = root["/".join(parts[:length])]
            variables = _child(own, "vars")
            stored = _attribute(variables, "name") if variables is not None else []
            names.append(stored[0] if stored else part)
    return "/".join(names) or group


def _gather(layer: _Layer, gathering: Gathering) -> None:
    kernels = {}
    for leaf, array in layer.arrays.items():
        if array.ndim > 2 and (reason := _unfit(array)):
            gathering.leave_out(layer.name, reason)
        elif array.ndim == 4:
            kernels[leaf] = array
    vectors = [array for array in layer.arrays.values() if array.ndim == 1 and not _unfit(array, 1)]
    separable = "separable" in layer.hint and len(kernels) == 2
    for place, (leaf, array) in enumerate(kernels.items()):
        gathering.reserve(layer.name, array.shape)
        last = place == len(kernels) - 1
        bias = _values(vectors[0]) if last and len(vectors) == 1 and vectors[0].size <= array.size else None
        part = ("depthwise", "pointwise")[place] if separable else leaf
        hint = part if separable or "depthwise" in leaf else layer.hint
        name = layer.name if len(kernels) == 1 else f"{layer.name}/{part}"
        gathering.add(name, *keras_layout(_values(array), bias, hint))


def _unfit(array: Any, dimensions: int = 4) -> str:
    if array.ndim != dimensions:
        return f"no 2D convolution ({array.ndim} dimensions)"
    if array.is_virtual or array.external:
        return "its numbers are in another file, which is not followed"
    if array.dtype.kind != "f" and not _bfloat16(array):
        return "not stored as real numbers (quantised?)"
    return "" if array.size else "empty"


def _bfloat16(array: Any) -> bool:
    return array.dtype.kind == "V" and array.dtype.itemsize == 2 and _attribute(array, "dtype") == ["bfloat16"]


def _values(array: Any) -> Weight:
    """Read an array; bfloat16 is the upper half of a float32."""
    stored: NDArray[Any] = array[()]
    if stored.dtype.kind == "V":
        return (stored.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):  # float64 beyond float32 is infinite
        return stored.astype(np.float32)


if __name__ == "__main__":
    wrong = main(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stderr.write(wrong)
    sys.exit(REFUSED if wrong else 0)
