"""Weights that a module computes from other tensors, which alone are stored: what they are in eval mode.

Weight normalization (Salimans and Kingma 2016), spectral normalization (Miyato et al. 2018) and pruning, as torch
stores them: ``weight_g`` and ``weight_v``, ``weight_orig`` with ``weight_u`` and ``weight_v`` or with ``weight_mask``,
and below ``parametrizations.weight``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from regulens.weights.lazy import Lazy, Numbers, rows
from regulens.weights.stored import StoredTensor

Tensors = Mapping[str, StoredTensor]

_OLD = re.compile(r"(?P<base>(?:.*[./])?(?:weight|bias)(?:_[vg]|_orig)?)_(?P<part>orig|mask|g|v|u)")
_NEW = re.compile(r"(?P<owner>.*\.|)parametrizations\.(?P<leaf>[^.]+)\.(?P<part>.+)")


def resolved(tensors: Tensors) -> dict[str, StoredTensor]:
    """Return the tensors with each computed weight, at the place and under the name it has in its module.

    What is computed in a way that is not known is there as well, and says so.
    """
    found: dict[str, StoredTensor] = {}
    parts = _parts(tensors)
    for name, tensor in tensors.items():
        base = _base(name, parts)
        if base is None:
            found[name] = tensor
        elif base not in found and base not in tensors:
            found[base] = _computed(parts[base], parts, base)
    return found


def _parts(tensors: Tensors) -> dict[str, dict[str, StoredTensor]]:
    """Return what is stored of each computed tensor, by the names of the parts; normalized weights can be pruned."""
    parts: dict[str, dict[str, StoredTensor]] = {}
    for name, tensor in tensors.items():
        if new := _NEW.fullmatch(name):
            parts.setdefault(f"{new['owner']}{new['leaf']}", {})[new["part"]] = tensor
        elif old := _OLD.fullmatch(name):
            parts.setdefault(old["base"], {})[f"_{old['part']}"] = tensor
    return {base: own for base, own in parts.items() if _belong_together(base, own, parts)}


def _belong_together(base: str, own: Mapping[str, object], parts: Mapping[str, object]) -> bool:
    """Tell the parts of a computed tensor from lone tensors of such a name, an attention's ``bias_v`` for one."""
    known = {*own, *(part for part in ("_v", "_g") if f"{base}{part}" in parts)}
    return "_orig" in known or {"_g", "_v"} <= known or any(not part.startswith("_") for part in known)


def _base(name: str, parts: Mapping[str, object]) -> str | None:
    """Return the name of the tensor that a stored one is a part of, None if it is one of its own."""
    base = None
    while True:
        if new := _NEW.fullmatch(name):
            return f"{new['owner']}{new['leaf']}"
        old = _OLD.fullmatch(name)
        if old is None or old["base"] not in parts:
            return base
        base = name = old["base"]


def _computed(own: dict[str, StoredTensor], parts: dict[str, dict[str, StoredTensor]], base: str) -> StoredTensor:
    inner = {f"_{part}": parts[f"{base}_{part}"] for part in ("orig", "v", "g") if f"{base}_{part}" in parts}
    own = own | {part: _computed(of, parts, f"{base}{part}") for part, of in inner.items() if part not in own}
    match sorted(own):
        case ["_mask", "_orig"]:
            return _pruned(own["_orig"], own["_mask"])
        case ["_g", "_v"]:
            return _weight_normalized(own["_g"], own["_v"])
        case ["original0", "original1"]:
            return _weight_normalized(own["original0"], own["original1"])
        case ["_orig", "_u", "_v"]:
            return _spectrally_normalized(own["_orig"], own["_u"], own["_v"])
        case ["0._u", "0._v", "original"]:
            return _spectrally_normalized(own["original"], own["0._u"], own["0._v"])
    return _unknown(own)


def _unknown(own: dict[str, StoredTensor]) -> StoredTensor:
    largest = max(own.values(), key=lambda tensor: len(tensor.shape))  # its shape says what the weight may be
    shown = ", ".join(part.removeprefix("_") for part in own)
    return StoredTensor(largest.shape, False, largest.read, f"computed from others in a way not known ({shown:.60})")


def _of(stored: dict[str, StoredTensor], shape: tuple[int, ...], read: Callable[[], Lazy]) -> StoredTensor:
    floating = all(tensor.floating for tensor in stored.values())
    unfit = next((tensor.unfit for tensor in stored.values() if tensor.unfit), "")
    identity = tuple(tensor.identity for tensor in stored.values())
    return StoredTensor(shape, floating, read, unfit, None if None in identity else identity)


def _pruned(original: StoredTensor, mask: StoredTensor) -> StoredTensor:
    if original.shape != mask.shape:
        return _unknown({"orig": original, "mask": mask})
    parts = {"orig": original, "mask": mask}
    return _of(parts, original.shape, lambda: Lazy(np.multiply, (original.read(), mask.read())))


def _weight_normalized(length: StoredTensor, direction: StoredTensor) -> StoredTensor:
    """Return length x direction / norm of the direction, which is taken over the axes along which lengths are one."""
    parts = {"g": length, "v": direction}
    sides = length.shape if length.shape else (1,) * len(direction.shape)
    axes = tuple(axis for axis, side in enumerate(sides) if side == 1)
    lengths = tuple(1 if axis in axes else side for axis, side in enumerate(direction.shape))
    if sides != lengths or not axes:
        return _unknown(parts)

    def read() -> Lazy:
        vectors = direction.read()
        with np.errstate(all="ignore"):
            factors = length.read()[...].reshape(sides) / np.sqrt(_squares(vectors, axes))
        return Lazy(_product, (vectors, np.broadcast_to(factors, vectors.shape)))

    return _of(parts, direction.shape, read)


def _squares(vectors: Numbers, axes: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the sums of squares over these axes, which are kept as sides of one."""
    sums = [np.square(part).sum(axes, keepdims=True) for part in rows(vectors)]
    return np.asarray(sum(sums)) if 0 in axes else np.concatenate(sums)


def _product(vectors: NDArray[np.float32], factors: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(all="ignore"):
        return np.asarray(vectors * factors)


def _spectrally_normalized(original: StoredTensor, left: StoredTensor, right: StoredTensor) -> StoredTensor:
    """Return the weight over its largest singular value, which the stored singular vectors give.

    A transposed convolution's matrix has its second axis as rows. Where both have as many rows, the vectors belong to
    the matrix that maps one onto the other.
    """
    parts = {"orig": original, "u": left, "v": right}
    rows, columns = (vector.shape[0] if len(vector.shape) == 1 else 0 for vector in (left, right))
    axes = [axis for axis, side in enumerate(original.shape[:2]) if side == rows]
    if not axes or rows * columns != math.prod(original.shape):
        return _unknown(parts)

    def read() -> Lazy:
        weight, u, v = original.read(), left.read()[...], right.read()[...]
        images = [_image(weight.swapaxes(0, axis), v) for axis in axes]
        sigmas = [np.float32(u @ image) for image in images]
        missed = [float(np.abs(image - sigma * u).sum()) for image, sigma in zip(images, sigmas, strict=True)]
        sigma = np.broadcast_to(sigmas[int(np.argmin(missed))], weight.shape)
        return Lazy(_quotient, (weight, sigma))

    return _of(parts, original.shape, read)


def _image(weight: Numbers, vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the product of a vector and the matrix whose rows are those of the weight."""
    return np.concatenate([part.reshape(len(part), -1) @ vector for part in rows(weight)])


def _quotient(weight: NDArray[np.float32], sigma: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(all="ignore"):
        return np.asarray(weight / sigma)
