"""Kernels from PyTorch's state dicts, read with ``weights_only``: a pickle that asks for code is refused."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from regulens.errors import DataError
from regulens.weights.kernels import Gathering, WeightsFile, readable
from regulens.weights.layouts import StoredTensor, gather_named
from regulens.weights.refusing import SAVE_INSTEAD, refusing

_KIND = "a PyTorch file"
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "params")
"""Where checkpoints keep the network's own state, besides the optimizer's."""


def read_torch_archive(path: Path) -> WeightsFile:
    """Read the kernels of a file of ``torch.save``, of which only the convolutions are taken into memory.

    Raises:
        DataError: if it is damaged or compressed, holds code, no state dict, or no 2D convolution.
    """
    with refusing(path, _KIND), zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise DataError(f"{path}: is compressed within, which torch.save never does; save it anew with torch.save")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise DataError(f"{path}: its entries are larger than the file; it is damaged or forged, fetch it again")
    return _read(path, mmap=True)


def read_torch(path: Path) -> WeightsFile:
    """Read the kernels of a file of ``torch.save`` as it was before version 1.6; it is loaded as a whole.

    Raises:
        DataError: if it is damaged, holds code, no state dict, or no 2D convolution.
    """
    return _read(path, mmap=False)


def _read(path: Path, mmap: bool) -> WeightsFile:
    with refusing(path, _KIND), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch thinks of a stranger's pickle is said in the one line
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        except UnpicklingError as error:
            raise _refusal(path, str(error)) from None
    gathering = Gathering(path, "PyTorch")
    with refusing(path, _KIND):
        gather_named({name: _stored(tensor) for name, tensor in _state(path, content).items()}, gathering)
    return gathering.result()


def _refusal(path: Path, message: str) -> DataError:
    code = re.search(r"GLOBAL (\S+)|class (\S+)|call (\S+)", message)
    asked = readable(next(filter(None, code.groups()))) if code else ""
    if asked:
        return DataError(f"{path}: its pickle asks for {asked}, which is code and is not run; {SAVE_INSTEAD}")
    return DataError(f"{path}: its pickle holds more than weights and is not read; {SAVE_INSTEAD}")


def _state(path: Path, content: Any) -> dict[str, torch.Tensor]:
    """Return the tensors of a state dict, which may lie within a checkpoint's dictionary."""
    for _ in range(len(_WRAPPERS)):
        if not isinstance(content, Mapping):
            break
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            return {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
        content = inner
    raise DataError(f"{path}: holds no state dict but {type(content).__name__}; save the network's state_dict()")


def _stored(tensor: torch.Tensor) -> StoredTensor:
    plain = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta
    return StoredTensor(
        tuple(tensor.shape), plain and tensor.is_floating_point(), lambda: tensor.detach().float().numpy()
    )
