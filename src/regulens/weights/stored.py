"""A tensor that is still in its file, and what its name says."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from regulens.weights.lazy import Lazy


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor that is still in its file: its shape, whether it holds real numbers, and how to find them.

    ``unfit`` says why it cannot be read, where something else than its numbers is the reason; tensors of one
    ``identity`` are the same numbers of the file.
    """

    shape: tuple[int, ...]
    floating: bool
    read: Callable[[], Lazy]
    unfit: str = ""
    identity: Hashable = None


def split_name(name: str) -> tuple[str, str]:
    """Return the layer and the leaf of ``layer.leaf`` or ``layer/leaf``."""
    cut = max(name.rfind("."), name.rfind("/"))
    return name[: max(cut, 0)], name[cut + 1 :]
