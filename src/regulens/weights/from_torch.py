"""Kernels from PyTorch's files and other pickles of tensors, none of which is run: see ``unpickling``."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from regulens.errors import DataError
from regulens.weights.frozen import frozen_convolutions
from regulens.weights.kernels import Gathering, WeightsFile, readable
from regulens.weights.layouts import Convolution, gather_named
from regulens.weights.lazy import mapped
from regulens.weights.networks import Network, made_by, networks, prefixes
from regulens.weights.refusing import SAVE_INSTEAD, refusing
from regulens.weights.stored import StoredTensor
from regulens.weights.torch_archive import Archive, Bytes, Reading, read_archive, read_legacy, read_pickle
from regulens.weights.unpickling import Stub

PICKLE = "Python pickle"
_KIND = "a PyTorch file"
_LETTER_BYTES = 8


def read_torch_archive(path: Path) -> WeightsFile:
    """Read the kernels of a file of ``torch.save`` or ``torch.jit.save``; only the convolutions are taken into memory.

    Raises:
        DataError: if it is damaged or compressed, or holds no tensors by name, or no convolution.
    """
    with refusing(path, _KIND):
        archive = Archive(path, mapped(path))
        script = "constants.pkl" in archive
        gathering = Gathering(path, "TorchScript" if script else "PyTorch")
        reading = Reading(path, gathering.spend)
        content = read_archive(archive, "data.pkl", "data", reading)
        if not script:
            return _gathered(content, gathering, reading)
        frozen, kinds = _frozen(archive, reading, gathering)
        return _gathered(content, gathering, reading, frozen, kinds)


def _frozen(
    archive: Archive, reading: Reading, gathering: Gathering
) -> tuple[dict[str, StoredTensor], dict[str, Convolution]]:
    """Return the constants that a program's convolutions read, and what the program says of each."""
    constants = read_archive(archive, "constants.pkl", "constants", reading)
    large = {place for place, item in enumerate(constants) if isinstance(item, StoredTensor) and len(item.shape) > 2}
    tensors: dict[str, StoredTensor] = {}
    kinds: dict[str, Convolution] = {}
    for found in frozen_convolutions(archive.program(reading)) if large else ():
        layer = f"CONSTANTS.c{found.weight}"
        if found.weight in large:
            tensors[f"{layer}.weight"], kinds[layer] = constants[found.weight], found.kind
        if found.bias is not None and found.bias < len(constants) and isinstance(constants[found.bias], StoredTensor):
            tensors[f"{layer}.bias"] = constants[found.bias]
        large.discard(found.weight)
    for place in sorted(large):
        gathering.leave_out(f"CONSTANTS.c{place}", "a constant that no convolution of the program reads")
    return tensors, kinds


def read_torch(path: Path) -> WeightsFile:
    """Read the kernels of a file of ``torch.save`` as it was before version 1.6.

    Raises:
        DataError: if it is damaged, or holds no tensors by name, or no convolution.
    """
    with refusing(path, _KIND):
        gathering = Gathering(path, "PyTorch")
        reading = Reading(path, gathering.spend)
        return _gathered(read_legacy(memoryview(mapped(path)), reading), gathering, reading)


def read_pickled(path: Path) -> WeightsFile:
    """Read the kernels of a Python pickle of tensors or NumPy arrays by name.

    Raises:
        DataError: if it is damaged, or holds no tensors by name, or no convolution.
    """
    with refusing(path, "a Python pickle"):
        gathering = Gathering(path, PICKLE)
        reading = Reading(path, gathering.spend)
        return _gathered(read_pickle(Bytes(memoryview(mapped(path))), reading), gathering, reading)


def _gathered(
    content: Any,
    gathering: Gathering,
    reading: Reading,
    frozen: Mapping[str, StoredTensor] = MappingProxyType({}),
    frozen_kinds: Mapping[str, Convolution] = MappingProxyType({}),
) -> WeightsFile:
    found = networks(content, reading.spend)
    if not found and not frozen:
        raise _nothing_found(gathering, content)
    tensors, kinds = dict(frozen), dict(frozen_kinds)
    shown = _shown(found, gathering)
    starts = prefixes(shown)
    for network in shown:
        start = starts.get(network.name, network.name)
        start = f"{start}." if start else ""
        for name, tensor in network.tensors.items():
            reading.spend(_LETTER_BYTES * (len(start) + len(name)))
            tensors[f"{start}{name}"] = tensor
        kinds |= {f"{start}{name}".rstrip("."): kind for name, kind in network.kinds.items()}
    gather_named(tensors, gathering, kinds)
    for name in reading.code:
        gathering.leave_out(name, "code that its pickle asks for, which was not run")
    return gathering.result()


def _shown(found: list[Network], gathering: Gathering) -> list[Network]:
    """Return the networks to show: neither what an optimizer keeps nor the same tensors twice, which is noted."""
    shown: list[Network] = []
    seen: dict[Hashable, str] = {}
    for network in found:
        owners = {seen.get(identity) for identity in network.identity}
        owner = owners.pop() if len(owners) == 1 else None
        if owner is not None and network.convolutional:
            gathering.leave_out(
                network.name, "the same tensors as " + (f'"{readable(owner)}"' if owner else "those shown")
            )
        elif network.aside:
            if network.convolutional:
                gathering.leave_out(network.name, "of the training by its name, not of a network")
        else:
            seen |= dict.fromkeys(network.identity, network.name)
            shown.append(network)
    return shown


def _nothing_found(gathering: Gathering, content: Any) -> DataError:
    what = made_by(content) if isinstance(content, Stub) else type(content).__name__
    what = {"Pairs": "dict", "StoredTensor": "Tensor", "Array": "ndarray"}.get(what, what)
    if gathering.kind == PICKLE:
        return DataError(
            f"{gathering.path}: is a Python pickle that holds no tensors by name but {what}; {SAVE_INSTEAD}"
        )
    return DataError(f"{gathering.path}: holds no state dict but {what}; save the network's state_dict()")
