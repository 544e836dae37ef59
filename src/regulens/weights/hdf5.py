"""Kernels from the HDF5 in Keras' files, read with h5py alone.

``from_keras`` runs it as a program, ``python -m regulens.weights.hdf5 FILE FOLDER``: on some damaged files the HDF5
library hangs, crashes or takes all memory.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from regulens.errors import DataError
from regulens.weights.from_keras import LAYERS, REFUSED
from regulens.weights.keras_classes import Configuration, Kind
from regulens.weights.keras_layers import Group, Layer, saved_layers, stated_layers
from regulens.weights.kernels import Gathering, WeightsFile, allowance, readable
from regulens.weights.layouts import Bias, keras_layout, natural
from regulens.weights.lazy import BLOCK, Lazy, Numbers, Spill, looked_at, rows, slices, stored
from regulens.weights.refusing import refusing

_KIND = "a Keras file"
_DEEPEST = 64
"""Models within models; beyond it a file is not a network's."""
_LARGEST_TEXT = 64 * 2**20
_MEMORY = 4 * 2**30
"""What Python and its libraries may reserve besides."""
_OPTIMIZERS = ("optimizer", "optimizer_weights")
_KERNEL = re.compile(r"(.*_)?(kernel|W)(_\d+)?")
_BIAS = re.compile(r"(.*_)?(bias|b)(_\d+)?")
_PARTS: dict[Kind, tuple[str, str]] = {
    "separable": ("depthwise", "pointwise"),
    "recurrent": ("kernel", "recurrent_kernel"),
}
"""What the two weights of one layer are, in their order."""

Shared = dict[tuple[str, str], list[Lazy]]
"""The weights of layers that several models may share, by their variables' paths and names."""


def main(path: Path, out: Path) -> str:
    """Read the kernels of a file into a folder; return what is wrong with it in one line, if anything is.

    ``layers.npz`` says where in which of the other files the numbers of each layer lie.
    """
    _limit_memory(path.stat().st_size)
    spill = Spill(out)
    try:
        read = read_archive if zipfile.is_zipfile(path) else read_hdf5
        found = read(path, spill)
    except DataError as error:
        return str(error)
    arrays: dict[str, NDArray[Any]] = {}
    for place, layer in enumerate(found.kernels):
        arrays |= {f"weight{place}": _place(layer.numbers, spill), f"bias{place}": layer.bias}
    names = np.array([layer.layer for layer in found.kernels])
    spatial = np.array([layer.spatial for layer in found.kernels], np.int8)
    np.savez(out / LAYERS, layers=names, spatial=spatial, notes=np.array(found.notes, np.str_), **arrays)  # type: ignore[arg-type]  # may not be allow_pickle
    return ""


def _place(numbers: Numbers, spill: Spill) -> NDArray[np.int64]:
    """Return where a weight lies: file, first byte, sides and strides."""
    array: Any = numbers.operands[0] if isinstance(numbers, Lazy) else numbers
    return np.array([*spill.place(array), *array.shape, *array.strides], np.int64)


def _limit_memory(size: int) -> None:
    """Let this process take no more memory than a file of ``size`` bytes can need, where the system can see to it."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limit = _MEMORY + allowance(size)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def read_archive(path: Path, spill: Spill) -> WeightsFile:
    """Read the kernels of a ``.keras`` archive, in the order of its configuration.

    Raises:
        DataError: if it is damaged or holds no 1D or 2D convolution.
    """
    with refusing(path, _KIND), zipfile.ZipFile(path) as archive, tempfile.TemporaryFile() as weights:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        if sizes["model.weights.h5"] > allowance(path.stat().st_size) or sizes.get("config.json", 0) > _LARGEST_TEXT:
            raise DataError(f"{path}: announces far more than it can hold; it is damaged or forged, fetch it again")
        with archive.open("model.weights.h5") as packed:
            shutil.copyfileobj(packed, weights, 2**20)  # never more than announced: zipfile stops there
        config = json.loads(archive.read("config.json")) if "config.json" in sizes else {}
        return _read(path, weights, config, spill)


def read_hdf5(path: Path, spill: Spill) -> WeightsFile:
    """Read the kernels of ``.weights.h5`` or of the older ``.h5``, with or without the model's configuration.

    Raises:
        DataError: if it is damaged or holds no 1D or 2D convolution.
    """
    with refusing(path, _KIND), path.open("rb") as stream:
        return _read(path, stream, {}, spill)


def _read(path: Path, stream: Any, config: Any, spill: Spill) -> WeightsFile:
    gathering = Gathering(path, "Keras", spill)
    with h5py.File(stream, "r") as file:
        text = _attribute(file, "model_config")
        configuration = Configuration(config or (json.loads(text[0]) if text else {}))
        root = _child(file, "model_weights")
        shared: Shared = {}
        for layer in _layers(file if root is None else root, configuration, gathering):
            _gather(layer, gathering, shared)
    return gathering.result()


def _layers(root: Any, config: Configuration, gathering: Gathering) -> list[Layer]:
    """Return the layers that have arrays, in the network's order."""
    arrays: dict[str, dict[str, Any]] = {}
    for group, leaf, array in _arrays(root, gathering):
        arrays.setdefault(group, {})[leaf] = array
    groups = [Group(path, _sorted(found), min(map(_written, found.values()))) for path, found in arrays.items()]
    if any(group.path.rpartition("/")[2] == "vars" for group in groups):
        return saved_layers(groups, config, cache(lambda path: _stored_name(root, path)))
    return stated_layers(groups, config, _stated_order(root))


def _sorted(arrays: dict[str, Any]) -> dict[str, Any]:
    return {leaf: arrays[leaf] for leaf in sorted(arrays, key=natural)}


def _written(array: Any) -> int:
    """Return the address of an array's header: headers lie in the order of writing, small arrays also fill gaps."""
    return int(h5py.h5o.get_info(array.id).addr)


def _stored_name(root: Any, path: str) -> str | None:
    """Return the name of the layer in this group, nothing if it has none; None where the group is a list of layers."""
    group = root
    for part in [*filter(None, path.split("/")), "vars"]:
        group = _child(group, part) if group is not None else None
    return None if group is None else next(iter(_attribute(group, "name")), "")


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


def _gather(layer: Layer, gathering: Gathering, shared: Shared) -> None:
    kernels = {}
    for leaf, array in layer.arrays.items():
        if array.ndim > 2 and (reason := _unlike(layer, leaf, array) or _unfit(array, (3, 4))):
            gathering.leave_out(layer.name, reason)
        elif array.ndim > 2:
            kernels[leaf] = array
    parts = _PARTS.get(layer.kind, ()) if len(kernels) == 2 else ()
    recurrent = layer.kind == "recurrent" or "recurrent_kernel" in kernels
    for place, (leaf, array) in enumerate(kernels.items()):
        gathering.reserve(layer.name, array.shape)
        part = parts[place] if parts else leaf
        kind = layer.kind if layer.kind in {"ordinary", "depthwise", "transpose"} else "ordinary" if layer.kind else ""
        values = _kept(array, gathering.spill)
        if layer.variable and _again(values, shared.setdefault((layer.variable, leaf), [])):
            continue
        biased = place == (0 if recurrent else len(kernels) - 1)
        weight, bias = keras_layout(
            values.reshape(*(1, *values.shape)[-4:]),
            _bias(layer, array.size) if biased else None,
            "depthwise" if part.startswith("depthwise") else kind,
            layer.hint,
        )
        gathering.add(layer.name if len(kernels) == 1 else f"{layer.name}/{part}", weight, bias, array.ndim - 2)


def _again(values: Lazy, before: list[Lazy]) -> bool:
    """Tell whether a shared layer's weight was taken before, else remember it."""
    if any(_equal(values, other) for other in before):
        return True
    before.append(values)
    return False


def _equal(one: Lazy, other: Lazy) -> bool:
    return one.shape == other.shape and all(map(np.array_equal, rows(one), rows(other)))


def _bias(layer: Layer, most: int) -> Bias | None:
    """Return a layer's bias: its only vector, or that of this name."""
    vectors = {leaf: array for leaf, array in layer.arrays.items() if array.ndim == 1 and not _unfit(array, (1,))}
    found = [array for leaf, array in vectors.items() if len(vectors) == 1 or _BIAS.fullmatch(leaf)]
    return _values(found[0][()]) if len(found) == 1 and found[0].size <= most else None


def _unlike(layer: Layer, leaf: str, array: Any) -> str:
    """Say why an array of more than two dimensions is no convolution's, nothing if it can be one's."""
    if layer.kind == "other":
        return f"not a convolution (class {readable(layer.class_name.rpartition('>')[2])})"
    if layer.named and not _KERNEL.fullmatch(leaf):
        return f'named "{readable(leaf)}", not "kernel"'
    if layer.kind or "conv" in layer.hint.lower():
        return ""
    if array.ndim == 3:
        return "not a convolution by its name (3 dimensions)"
    alone = not any(other.ndim == 1 for other in layer.arrays.values())
    table = array.ndim == 4 and alone and array.shape[0] == 1 < array.shape[1]
    return "not a convolution by its name and its shape, of a table (1, ...)" if table else ""


def _unfit(array: Any, dimensions: tuple[int, ...]) -> str:
    if array.ndim not in dimensions:
        return f"no 1D or 2D convolution ({array.ndim} dimensions)"
    if array.is_virtual or array.external:
        return "its numbers are in another file, which is not followed"
    if array.dtype.kind != "f" and not _bfloat16(array):
        return "not stored as real numbers (quantized?)"
    return "" if array.size else "empty"


def _bfloat16(array: Any) -> bool:
    """Tell bfloat16, which HDF5 does not have: two bytes; the older format does not say of which type."""
    return array.dtype.kind == "V" and array.dtype.itemsize == 2 and _attribute(array, "dtype") in ([], ["bfloat16"])


def _kept(array: Any, spill: Spill) -> Lazy:
    """Lay out an array outside of HDF5, block by block."""
    kept = spill.empty(array.shape)
    for part in _parts(array.shape, array.chunks or (1,) * array.ndim):
        values = _values(array[part])
        with looked_at(kept):
            kept[part] = values
    return stored(kept)


def _parts(shape: tuple[int, ...], chunks: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Cut an array into blocks of whole chunks."""
    steps = list(chunks)
    for axis in reversed(range(len(shape))):
        fitting = BLOCK // (4 * math.prod(steps)) * steps[axis]
        steps[axis] = min(shape[axis], max(steps[axis], fitting))
    return itertools.product(*map(slices, shape, steps))


def _values(stored: NDArray[Any]) -> NDArray[np.float32]:
    """Return numbers as float32; bfloat16 is the upper half of one."""
    if stored.dtype.kind == "V":
        return (stored.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):  # float64 beyond float32 is infinite
        return stored.astype(np.float32)


if __name__ == "__main__":
    wrong = main(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stderr.write(wrong)
    sys.exit(REFUSED if wrong else 0)
