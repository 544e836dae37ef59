"""Which kind of weights file a file is, by its content, and the one way to read its kernels."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

from regulens.errors import DataError, check_type
from regulens.weights.foreign import is_onnx, refuse_by_content, refuse_by_name, refuse_foreign_folder, refuse_packed
from regulens.weights.from_keras import read_keras
from regulens.weights.from_npz import read_npy, read_npz
from regulens.weights.from_onnx import read_onnx
from regulens.weights.from_safetensors import read_safetensors
from regulens.weights.from_tflite import read_tflite
from regulens.weights.from_torch import read_pickled, read_torch, read_torch_archive
from regulens.weights.kernels import WeightsFile
from regulens.weights.refusing import refusing
from regulens.weights.torch_archive import MAGIC

Reader = Callable[[Path], WeightsFile]

_KNOWN = (
    "safetensors, PyTorch files, pickles of tensors, NumPy .npz, ONNX, TensorFlow Lite, Keras .keras, .weights.h5 "
    "and .h5"
)
_MAGICS: dict[bytes, Reader] = {
    MAGIC: read_torch,
    **{bytes([0x80, protocol]): read_pickled for protocol in range(2, 6)},
    **dict.fromkeys(
        (b"(dp", b"(lp", b"}q", b"]q", b"ccopy", b"ccollections\n", b"cnumpy", b"ctorch"), read_pickled
    ),  # 0 and 1
    b"\x93NUMPY": read_npy,
}
"""How files begin; the pickles of protocols 0 and 1, which begin with their content, as most of them do."""


def read_kernels(path: Path | str) -> WeightsFile:
    """Read the kernels of all 1D and 2D convolutions of trained networks from their weights file.

    safetensors, PyTorch's files (state dicts wherever they lie in a checkpoint, whole models, TorchScript), pickles of
    tensors or arrays, NumPy's ``.npz``, ONNX, Keras' ``.keras``, ``.weights.h5`` and ``.h5`` and TensorFlow
    Lite are told by their content.
    Layers have the names of the file and torch's layout whatever the file's; grouped, depthwise and transposed
    convolutions are turned to it too. No code of the file is run, nothing outside of it is opened, and a layer is taken
    into memory when its ``weight`` is asked for: the file must stay as it is until then.

    Raises:
        DataError: in one line, if the file is absent, damaged, forged, of another kind, or has no 1D or 2D convolution.
        UserError: if its format needs an extra that is not installed.
    """
    check_type(path, (str, Path), "path", "that of a weights file")
    path = Path(path)
    if path.is_dir():
        refuse_foreign_folder(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "there is no such file"
        raise DataError(f"{path}: {what}; give a weights file: {_KNOWN}")
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if not head:
        raise DataError(f"{path}: is empty; fetch or save it again")
    return _reader(path, head)(path)


def _reader(path: Path, head: bytes) -> Reader:
    if head.startswith(b"PK\x03\x04"):
        return _archive_reader(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return read_keras
    if head[4:8] == b"TFL3":
        return read_tflite
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size:
        return read_safetensors
    for magic, reader in _MAGICS.items():
        if head.startswith(magic):
            return reader
    if _is_tar(path):
        raise DataError(f"{path}: is a tar archive, as PyTorch's files were before 2017; unpack it, or save it anew")
    refuse_by_content(path)
    if is_onnx(path) or head.startswith(b"\x08"):  # a protobuf has no magic; ONNX begins with its version
        return read_onnx
    refuse_by_name(path)
    raise DataError(f"{path}: is not a weights file that can be read; known: {_KNOWN}")


def _archive_reader(path: Path) -> Reader:
    with refusing(path, "a zip archive"), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if "model.weights.h5" in names:
        return read_keras
    if any(name.endswith("data.pkl") for name in names):
        return read_torch_archive
    if any(name.endswith(("/models/model.json", "serialized_exported_program.json")) for name in names):
        raise DataError(f"{path}: is a program of torch.export, which is not read; save the network's state_dict()")
    if any(name.endswith(".npy") for name in names):
        return read_npz
    refuse_foreign_folder(path, names)
    refuse_packed(path, names)
    raise DataError(f"{path}: is a zip archive without weights that can be read; known: {_KNOWN}")


def _is_tar(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(257)
        return stream.read(5) == b"ustar"
