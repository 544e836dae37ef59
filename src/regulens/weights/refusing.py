"""Whatever a library stumbles over in a stranger's file becomes one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regulens.errors import DataError, RegulensError
from regulens.weights.kernels import readable

SAVE_INSTEAD = "where you trust it, load it and save its state_dict() with safetensors"
"""The fix for files that hold more than numbers."""


@contextmanager
def refusing(path: Path, kind: str) -> Iterator[None]:
    """Turn every failure to read a file as ``kind`` into a ``DataError``: parsers of foreign bytes raise anything."""
    try:
        yield
    except RegulensError:
        raise
    except Exception as error:
        reason = readable(next(iter(str(error).splitlines()), "")) or type(error).__name__
        raise DataError(
            f"{path}: cannot be read as {kind} ({reason}); it is damaged or cut off, fetch it again"
        ) from None
