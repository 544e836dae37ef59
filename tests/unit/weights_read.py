"""What the tests of weights files ask of a file: its layers in short, or the one line by which it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from regulens.errors import DataError, UserError
from regulens.weights.files import read_kernels
from regulens.weights.kernels import WeightsFile


def refusal(path: Path, kind: type[UserError] = DataError) -> str:
    with pytest.raises(kind) as caught:
        read_kernels(path)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < len(str(path)) + 400
    return message


def shapes(path: Path) -> list[tuple[str, str, int]]:
    return [(layer.layer, layer.shape, len(layer.bias)) for layer in read_kernels(path).kernels]


def outcome(path: Path) -> WeightsFile | str:
    """Read a file that may be damaged: its layers, or one line; no other exception."""
    try:
        return read_kernels(path)
    except (DataError, UserError) as error:
        return str(error)
