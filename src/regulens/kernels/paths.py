"""Which kernels are in use: the native ones of an instruction set, or the plain torch reference."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from regulens.errors import UserError, suggestion

NATIVE, REFERENCE = "native", "reference"


def _load() -> tuple[ModuleType | None, str]:
    """Return the extension module, or ``None`` and why there is none."""
    try:
        return importlib.import_module("regulens.kernels._native"), ""
    except ImportError as error:
        return None, str(error)


_module, why_not_native = _load()
_in_use: ModuleType | None = None
_chosen = False


def native() -> ModuleType | None:
    """Return the native module if its kernels are in use, else ``None``.

    The first call obeys ``REGULENS_KERNELS`` (``native`` or ``reference``) and ``REGULENS_ISA`` (a level).

    Raises:
        UserError: if the environment asks for what is not there.
    """
    if not _chosen:
        _choose(os.environ.get("REGULENS_KERNELS") or None, os.environ.get("REGULENS_ISA") or None)
    return _in_use


def native_levels() -> list[str]:
    """Return the instruction sets that this build and this processor have, the lowest first; none without a build."""
    return [] if _module is None else list(_module.levels())


def kernels_in_use() -> str:
    """Return ``native`` with its instruction set, e.g. ``native avx2``, or ``reference``."""
    module = native()
    return REFERENCE if module is None else f"{NATIVE} {module.isa()}"


@contextmanager
def using_kernels(path: str, isa: str | None = None) -> Iterator[None]:
    """Use ``native`` (at the level ``isa``) or ``reference`` kernels within the block, for tests and comparisons.

    Raises:
        UserError: if they are not there.
    """
    before = kernels_in_use().split()
    _choose(path, isa)
    try:
        yield
    finally:
        _choose(*before)


def _choose(path: str | None, isa: str | None = None) -> None:
    global _in_use, _chosen  # noqa: PLW0603  # one choice for the process, as the processor is one
    if path not in {None, NATIVE, REFERENCE}:
        raise UserError(
            f'REGULENS_KERNELS="{path}": must be native or reference{suggestion(path, [NATIVE, REFERENCE])}'
        )
    if path == NATIVE and _module is None:
        raise UserError(
            f"REGULENS_KERNELS=native: this installation has no native kernels ({why_not_native}); install it where "
            "there is a C++ compiler, or set REGULENS_KERNELS=reference"
        )
    levels = native_levels()
    if isa is not None and path != REFERENCE and isa not in levels:
        have = f"this processor and build have {', '.join(levels)}" if levels else "there are no native kernels here"
        raise UserError(f'REGULENS_ISA="{isa}": {have}')
    _in_use = None if path == REFERENCE else _module
    if _in_use is not None:
        _in_use.use(isa or levels[-1])
    _chosen = True
