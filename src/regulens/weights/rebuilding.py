"""The few calls in a pickle that are understood: what PyTorch and NumPy write for tensors, arrays and containers.

Nothing that a file gives is hashed, compared or printed before it is known to be a text or a number: tuples that hold
each other would take for ever.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from regulens.weights.lazy import Lazy, stored
from regulens.weights.stored import StoredTensor
from regulens.weights.unpickling import Name, Pairs

REAL = {
    **{"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2},
    **{"float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1},
}
"""The torch dtypes that hold real numbers, with their bytes."""
_STORAGES = {
    **{"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16"},
    **{"LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8"},
    **{"ByteStorage": "uint8", "BoolStorage": "bool", "UntypedStorage": "", "_UntypedStorage": ""},
    **{"ComplexDoubleStorage": "complex128", "ComplexFloatStorage": "complex64"},
    **{"QInt8Storage": "qint8", "QUInt8Storage": "quint8", "QInt32Storage": "qint32", "QUInt4x2Storage": "quint4x2"},
}
_BYTES = {
    **REAL,
    **{"int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1, "": 1, "complex128": 16, "complex64": 8},
    **{"qint8": 1, "quint8": 1, "qint32": 4, "quint4x2": 1, "quint2x4": 1},
}
_CODE = re.compile(r"[fiubc]\d{1,2}")
_REAL_CODES = ("f2", "f4", "f8", "bfloat16")
_MOST_DIMENSIONS = 64


@dataclass(frozen=True, eq=False)
class Storage:
    """The numbers of some tensors, where they lie in the file: of a torch dtype, or of none that is known."""

    dtype: str
    count: int
    content: Callable[[], memoryview]
    big_endian: bool = False
    first: int = 0

    @property
    def bytes_each(self) -> int:
        """The size of a number."""
        return _BYTES.get(self.dtype, 1)


def storage_dtype(kind: Any) -> str:
    """Return the torch dtype of a storage class, by its name; "" where it is untyped.

    Raises:
        ValueError: if it is none of torch's.
    """
    if not isinstance(kind, Name) or kind.name not in _STORAGES or kind.module.partition(".")[0] != "torch":
        raise ValueError("its tensors are stored in a way not known")
    return _STORAGES[kind.name]


@dataclass(eq=False)
class DType:
    """A NumPy dtype: its code, such as f4, and its byte order."""

    code: str
    order: str = "="

    def build(self, state: Any) -> None:
        """Take the byte order."""
        if isinstance(state, tuple) and len(state) > 1 and isinstance(state[1], str) and state[1] in "<>=|":
            self.order = state[1]


@dataclass(eq=False)
class Array:
    """A NumPy array, which gets its content after it was made."""

    tensor: StoredTensor | None = None

    def build(self, state: Any) -> None:
        """Take the content: version, shape, dtype, whether in Fortran's order, bytes; very old ones have no version."""
        shape, dtype, fortran, content = state[-4:]
        self.tensor = _array(shape, dtype, content, "F" if fortran is True else "C")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_rest: Any) -> StoredTensor:
    return _strided(storage, storage.dtype, offset, size, stride)


def _tensor_of_dtype(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> StoredTensor:
    return _strided(storage, rest[2].name, offset, size, stride)  # requires_grad, hooks, dtype


def _strided(storage: Storage, dtype: str, offset: Any, size: Any, stride: Any) -> StoredTensor:
    shape, steps = _whole(size), _whole(stride)
    if len(shape) != len(steps) or not isinstance(offset, int) or offset < 0:
        raise ValueError("a tensor's size, strides and offset do not belong together")
    identity = (storage, dtype, offset, shape, steps)
    return StoredTensor(
        shape, dtype in REAL, lambda: _numbers(*identity), _unfit_dtype(dtype), (id(storage), *identity[1:])
    )


def _numbers(storage: Storage, dtype: str, offset: int, shape: tuple[int, ...], steps: tuple[int, ...]) -> Lazy:
    """Return a tensor's numbers; that all of them lie in what is really stored is checked first."""
    each = REAL[dtype]
    content = storage.content()
    words = np.frombuffer(content[: len(content) // each * each], f"{'>' if storage.big_endian else '<'}i{each}")
    first = storage.first * storage.bytes_each // each + offset
    last = first + sum((side - 1) * step for side, step in zip(shape, steps, strict=True))
    if last >= len(words):
        raise ValueError("a tensor reaches beyond what is stored")
    return real(as_strided(words[first:], shape, [step * each for step in steps], writeable=False), dtype)


def real(words: NDArray[Any], dtype: str) -> Lazy:
    """Return the numbers of a torch dtype of ``REAL`` that are stored as words, integers of its size."""

    def compute(part: NDArray[Any]) -> NDArray[np.float32]:
        native = np.ascontiguousarray(part.astype(part.dtype.newbyteorder("=")))
        numbers: NDArray[np.float32] = torch.from_numpy(native).view(getattr(torch, dtype)).float().numpy()
        return numbers

    return Lazy(compute, (words,))


def _whole(sizes: Any) -> tuple[int, ...]:
    if (
        not isinstance(sizes, tuple | list)
        or len(sizes) > _MOST_DIMENSIONS
        or not all(isinstance(side, int) and not isinstance(side, bool) and 0 <= side < 2**63 for side in sizes)
    ):
        raise ValueError("a tensor's size or strides are no whole numbers")
    return tuple(sizes)


def _unfit_dtype(dtype: str) -> str:
    if dtype in REAL:
        return ""
    if dtype.startswith("complex"):
        return "complex numbers"
    return "quantized" if dtype.startswith(("q", "quint")) else ""


def _array(shape: Any, dtype: Any, content: Any, order: str = "C") -> StoredTensor:
    shape, code = _whole(shape), dtype.code if isinstance(dtype, DType) else ""
    if not code or not isinstance(content, bytes | bytearray | memoryview | str):
        return StoredTensor(shape, False, nothing, "an array of what is no number")

    def read() -> Lazy:
        held = content.encode("latin1") if isinstance(content, str) else content  # Python 2's bytes are texts
        numbers = np.frombuffer(held, f"{dtype.order}{'V2' if code == 'bfloat16' else code}")
        return Lazy(widened, (numbers.reshape(shape, order="F" if order == "F" else "C"),))

    unfit = "complex numbers" if code.startswith("c") else ""
    return StoredTensor(shape, code in _REAL_CODES, read, unfit, (id(content), shape))


def nothing() -> Lazy:
    """Return no numbers, for what cannot be read."""
    return stored(np.zeros(0, np.float32))


def widened(numbers: NDArray[Any]) -> NDArray[np.float32]:
    """Return real numbers as float32; two bytes without a type are bfloat16, the upper half of a float32."""
    if numbers.dtype.kind == "V":
        bits = numbers.view(f"{numbers.dtype.byteorder.replace('|', '=')}u2")
        return (bits.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):  # float64 beyond float32 is infinite
        return numbers.astype(np.float32)


def _dtype(kind: Any, *_rest: Any) -> DType:
    if isinstance(kind, Name):  # ml_dtypes has its numbers in a type of its own
        return DType(kind.name)
    return DType(kind if isinstance(kind, str) and _CODE.fullmatch(kind) else "")


def _encoded(text: Any, *_encoding: Any) -> bytes:
    """Protocols below 3 have no bytes, but a text that is to be encoded."""
    return bytes(text.encode("latin1")) if isinstance(text, str) else b""


def _unread(reason: str) -> Callable[..., StoredTensor]:
    def rebuild(*arguments: Any) -> StoredTensor:
        shape = next((item for item in arguments if isinstance(item, tuple) and _is_shape(item)), ())
        return StoredTensor(_whole(shape), False, nothing, reason)

    return rebuild


def _is_shape(item: Sequence[Any]) -> bool:
    return 0 < len(item) <= _MOST_DIMENSIONS and all(
        isinstance(side, int) and not isinstance(side, bool) for side in item
    )


def _sparse(_layout: Any, data: Any, *_rest: Any) -> StoredTensor:
    return _unread("stored as a sparse tensor")(*data)


def _typed(function: Any, _kind: Any, arguments: Any, *_rest: Any) -> Any:
    """Rebuild a tensor of a class of its own, or with attributes: ``function`` makes the tensor."""
    return call(function, arguments) if function.module == "torch._utils" else None


def _first(*arguments: Any) -> Any:
    return arguments[0]


def _ordered(*arguments: Any) -> Pairs:
    """Return a dictionary made of nothing, of pairs or of another one; what else it is made of is not kept."""
    given = arguments[-1] if arguments else []
    if not isinstance(given, list):
        return Pairs()
    return Pairs((item[0], item[1]) for item in given if isinstance(item, tuple | list) and len(item) == 2)


def _listed(*arguments: Any) -> list[Any]:
    return list(arguments[0]) if arguments and isinstance(arguments[0], list | tuple) else []


def _jax_array(_function: Any, _arguments: Any, state: Any, *_rest: Any) -> Any:
    array = Array()
    array.build(state)
    return array


_TORCH: dict[str, Callable[..., Any]] = {
    "_rebuild_tensor": _tensor,
    "_rebuild_tensor_v2": _tensor,
    "_rebuild_tensor_v3": _tensor_of_dtype,
    "_rebuild_parameter": _first,
    "_rebuild_parameter_with_state": _first,
    "_rebuild_device_tensor_from_numpy": _first,
    "_rebuild_device_tensor_from_cpu_tensor": _first,
    "_rebuild_xla_tensor": _first,
    "_rebuild_qtensor": _unread("quantized"),
    "_rebuild_sparse_tensor": _sparse,
    "_rebuild_sparse_csr_tensor": _sparse,
    "_rebuild_nested_tensor": _unread("a nested tensor"),
    "_rebuild_meta_tensor_no_storage": _unread("without numbers, on the meta device"),
    "_rebuild_wrapper_subclass": _unread("a tensor of a class of its own"),
}
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_BUILTINS = ("builtins", "__builtin__")
TABLE: dict[Name, Callable[..., Any]] = {
    **{Name("torch._utils", name): rebuild for name, rebuild in _TORCH.items()},
    **{Name("torch._tensor", name): _typed for name in ("_rebuild_from_type", "_rebuild_from_type_v2")},
    **{Name("torch.tensor", "_rebuild_from_type"): _typed, Name("torch", "Size"): _first},
    **{Name("torch.nn.parameter", name): _first for name in ("Parameter", "Buffer")},
    **{Name("torch.autograd.variable", "Variable"): _first, Name("torch", "Tensor"): _first},
    **{Name("torch.jit._pickle", name): _first for name in ("restore_type_tag", "build_tensorlist")},
    Name("fastai.torch_core", "_fa_rebuild_tensor"): lambda _kind, *arguments: _tensor(*arguments),
    **{Name(module, "_reconstruct"): lambda *_arguments: Array() for module in _NUMPY},
    **{
        Name(module, "_frombuffer"): lambda content, dtype, shape, order: Array(_array(shape, dtype, content, order))
        for module in ("numpy.core.numeric", "numpy._core.numeric")
    },
    Name("numpy", "dtype"): _dtype,
    Name("jax._src.array", "_reconstruct_array"): _jax_array,
    Name("_codecs", "encode"): _encoded,
    **{Name("collections", name): _ordered for name in ("OrderedDict", "defaultdict")},
    **{Name(module, "dict"): _ordered for module in _BUILTINS},
    **{Name(module, name): _listed for module in _BUILTINS for name in ("list", "set", "frozenset", "tuple")},
    **{Name(module, name): _encoded for module in _BUILTINS for name in ("bytes", "bytearray")},
}
"""What a call of each name stands for; all are functions of this file, and none calls what a file gives it."""


def call(function: Any, arguments: Any) -> Any:
    """Return what a call in a pickle stands for, or None where it is not known.

    Raises:
        Exception: of any kind, where the arguments are not what PyTorch and NumPy write.
    """
    rebuild = TABLE.get(function) if isinstance(function, Name) else None
    return None if rebuild is None else rebuild(*arguments)
