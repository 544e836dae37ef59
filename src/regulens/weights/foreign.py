"""What a file or folder is that holds weights in a form that is not read, and how to get one that is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from regulens.errors import DataError

_ONNX = "convert it to ONNX"
_SOURCE = "give the file that it was made from, such as ONNX or PyTorch"
_INSTEAD = {
    "a TensorFlow SavedModel": f"{_ONNX} (python -m tf2onnx.convert --saved-model FOLDER --output net.onnx), or save "
    "the Keras model as .keras",
    "a TensorFlow graph": f"{_ONNX} (python -m tf2onnx.convert --graphdef FILE --outputs NAMES --output net.onnx)",
    "a TensorFlow checkpoint": "load it into its model and save that as .keras or .weights.h5",
    "a TensorFlow.js model": "tensorflowjs_converter --input_format=tfjs_layers_model --output_format=keras model.json "
    "net.h5 makes one that is",
    "a Core ML model": _SOURCE,
    "a PaddlePaddle model": f"{_ONNX} with paddle2onnx",
    "an MXNet model": f"{_ONNX} with mxnet.onnx.export_model",
    "a Caffe model": _ONNX,
    "Darknet weights": f"{_ONNX} or to PyTorch",
    "an OpenVINO model": _SOURCE,
    "an ncnn model": _SOURCE,
    "an MNN model": _SOURCE,
    "a GGUF or GGML file": "give the safetensors or PyTorch file that it was made from",
    "a TensorRT engine": "give the ONNX file that it was built from",
    "an ONNX Runtime .ort model": "give the .onnx file that it was made from",
    "an ExecuTorch program": "save the network's state_dict() with safetensors",
    "an Orbax or Flax checkpoint": "restore it and save its arrays with safetensors.flax",
    "a distributed PyTorch checkpoint": "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER "
    "net.pt makes one that is",
    "a MATLAB file": "export the network to ONNX (exportONNXNetwork)",
    "a network's description without its weights": "give the file that holds the weights",
    "an index of weights in several files": "give one of the files that it lists",
    "a Git LFS pointer, not the file itself": "fetch it with git lfs pull",
    "a web page, not the file itself": "download the file anew",
    "compressed or an archive": "unpack it and give the weights file in it",
}
"""Every kind that is told, and what to do instead."""

_BEGINNINGS = {
    b"GGUF": "a GGUF or GGML file",
    b"ggml": "a GGUF or GGML file",
    b"lmgg": "a GGUF or GGML file",
    b"tjgg": "a GGUF or GGML file",
    b"ptrt": "a TensorRT engine",
    b"ftrt": "a TensorRT engine",
    (0x112).to_bytes(8, "little"): "an MXNet model",
    b"7767517": "an ncnn model",
    b"MATLAB ": "a MATLAB file",
    b"model_checkpoint_path:": "a TensorFlow checkpoint",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
    b"\x1f\x8b": "compressed or an archive",
    b"BZh": "compressed or an archive",
    b"\xfd7zXZ": "compressed or an archive",
    b"\x04\x22\x4d\x18": "compressed or an archive",
    b"\x28\xb5\x2f\xfd": "compressed or an archive",
    b"7z\xbc\xaf": "compressed or an archive",
    b"Rar!": "compressed or an archive",
}
_IDENTIFIERS = {b"ORTM": "an ONNX Runtime .ort model", b"ET": "an ExecuTorch program"}
"""Of FlatBuffers, four bytes after the beginning."""
_TEXTS = {
    r"\s*\{.*\"(modelTopology|weightsManifest)\"": "a TensorFlow.js model",
    r"\s*\{.*\"weight_map\"": "an index of weights in several files",
    r"\s*\{.*\"(class_name|arg_nodes)\"": "a network's description without its weights",
    r"\s*(<\?xml.*)?<net\b": "an OpenVINO model",
    r"\s*<(!doctype\s+html|html)": "a web page, not the file itself",
}
_NAMES = {
    r".*\.data-\d+-of-\d+": "a TensorFlow checkpoint",
    r"group\d+-shard\d+of\d+(\.bin)?": "a TensorFlow.js model",
    r".*\.(engine|plan|trt)": "a TensorRT engine",
    r".*\.mnn": "an MNN model",
    r".*\.(pdmodel|pdiparams|pdparams)": "a PaddlePaddle model",
    r".*\.msgpack": "an Orbax or Flax checkpoint",
    r".*\.prototxt": "a network's description without its weights",
    r".*\.weights": "Darknet weights",
    r".*\.mlmodel": "a Core ML model",
    r".*\.caffemodel": "a Caffe model",
}
_LAYOUTS = {
    r"saved_model\.pb(txt)?": "a TensorFlow SavedModel",
    r"coremldata\.bin|.*\.mlmodel": "a Core ML model",
    r"__model__|.*\.pdmodel|.*\.pdiparams": "a PaddlePaddle model",
    r".*-symbol\.json": "an MXNet model",
    r"_CHECKPOINT_METADATA|_METADATA": "an Orbax or Flax checkpoint",
    r"\.metadata|.*\.distcp": "a distributed PyTorch checkpoint",
    r".*\.index|.*\.data-\d+-of-\d+": "a TensorFlow checkpoint",
}
"""What a folder or archive is by the names in it."""
_WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".onnx", ".tflite", ".keras", ".h5", ".hdf5", ".npz")
"""How the names of weights files end."""
_TABLE_END = bytes.fromhex("57fb808b247547db")
_BEGINNING = 2**16
_MOST_FIELDS = 200
_MOST_NAMES = 10_000


def refuse_by_content(path: Path) -> None:
    """Say what a file is if its content tells that it is of a kind that is not read.

    Raises:
        DataError: if it is.
    """
    with path.open("rb") as stream:
        head = stream.read(_BEGINNING)
    if what := _by_content(path, head):
        raise _refusal(path, what)


def refuse_by_name(path: Path) -> None:
    """Say what a file is that no content tells, if its name does or the files beside it do.

    Raises:
        DataError: if they do.
    """
    beside = {".xml": "an OpenVINO model", ".param": "an ncnn model"} if path.suffix == ".bin" else {}
    named = [what for pattern, what in _NAMES.items() if re.fullmatch(pattern, path.name)]
    named += [what for suffix, what in beside.items() if path.with_suffix(suffix).is_file()]
    if named:
        raise _refusal(path, named[0])


def is_onnx(path: Path) -> bool:
    """Tell whether a file is an ONNX model: it has a graph in its seventh field; or it is named as one."""
    return path.suffix == ".onnx" or (7, 2) in _top_fields(path)


def refuse_foreign_folder(path: Path, names: Iterable[str] | None = None) -> None:
    """Say what a folder is if it is a model of a kind that is not read.

    Args:
        path: of the folder, or of an archive of one.
        names: in the archive.

    Raises:
        DataError: if the names in it tell, or it cannot be read.
    """
    try:
        listed = (each.name for each in path.iterdir()) if names is None else names
        found = list(islice(listed, _MOST_NAMES))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    inside = {name.rpartition("/")[2] for name in found}
    if what := next((what for pattern, what in _LAYOUTS.items() if any(re.fullmatch(pattern, n) for n in inside)), ""):
        raise _refusal(path, what)
    if "Manifest.json" in inside and (path.suffix == ".mlpackage" or "Data" in inside):
        raise _refusal(path, "a Core ML model")
    if "model.json" in inside:
        raise _refusal(path, "a TensorFlow.js model")


def refuse_packed(path: Path, names: Iterable[str]) -> None:
    """Say that an archive holds a file of weights if a name in it does.

    Raises:
        DataError: if one does.
    """
    if any(name.lower().endswith(_WEIGHTS) for name in names):
        raise _refusal(path, "compressed or an archive")


def _top_fields(path: Path) -> list[tuple[int, int]]:
    """Return the number and wire type of the first fields of a protobuf, as far as the file can be one."""
    size = path.stat().st_size
    fields: list[tuple[int, int]] = []
    with path.open("rb") as stream:
        while stream.tell() < size and len(fields) < _MOST_FIELDS:
            tag = _varint(stream)
            fields.append((tag >> 3, tag & 7))
            if fields[-1][1] == 0:
                _varint(stream)
                continue
            skipped = _varint(stream) if fields[-1][1] == 2 else {1: 8, 5: 4}.get(fields[-1][1], size)
            if stream.tell() + skipped > size:
                break
            stream.seek(skipped, 1)
    return fields


def _varint(stream: BinaryIO) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = (stream.read(1) or b"\0")[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return value


def _refusal(path: Path, what: str) -> DataError:
    return DataError(f"{path}: is {what}, which is not read; {_INSTEAD[what]}")


def _by_content(path: Path, head: bytes) -> str:
    for beginning, what in _BEGINNINGS.items():
        if head.startswith(beginning):
            return what
    for identifier, what in _IDENTIFIERS.items():
        if head[4:8].startswith(identifier) and head[4:8].isalnum():
            return what
    if _tail(path) == _TABLE_END:
        return "a TensorFlow checkpoint"
    text = head.decode("utf-8", errors="replace")
    for pattern, what in _TEXTS.items():
        if re.match(pattern, text, re.DOTALL | re.IGNORECASE):
            return what
    return "" if is_onnx(path) else _by_fields(head, _top_fields(path))


def _tail(path: Path) -> bytes:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 8))
        return stream.read(8)


def _by_fields(head: bytes, fields: list[tuple[int, int]]) -> str:
    """Tell protobufs, which have no magic, by the numbers of their fields."""
    numbers = {number for number, _ in fields}
    if fields[:2] == [(1, 0), (2, 2)] and all(number in {1, 2, 10} or number >= 200 for number in numbers):
        return "a Core ML model" if max(numbers) >= 200 else "a TensorFlow SavedModel"
    if fields[:1] != [(1, 2)]:
        return ""
    if (100, 2) in fields:
        return "a Caffe model"
    first = re.match(rb"\x0a[\x80-\xff]*[\x00-\x7f](.)", head, re.DOTALL)
    if first and first[1] == b"\x0a" and numbers <= {1, 2, 3, 4}:
        return "a TensorFlow graph"
    return "a PaddlePaddle model" if first and first[1] == b"\x08" and numbers <= {1, 2, 3, 4, 5} else ""
