"""The convolutions of a frozen TorchScript program, whose weights are constants without names: its text says which."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from regulens.weights.layouts import Convolution

_TOKEN = re.compile(r"(?:torch\.(\w+))?\(|[\[\]),]|CONSTANTS\.c(\d{1,9})\b|\b(?:True|False|None|\d{1,9})\b")
_CONVOLUTION = re.compile(r"conv(_transpose)?[123]d|_convolution(_\w+)?")

_DEEPEST = 1000


@dataclass(frozen=True)
class FrozenConvolution:
    """The places of its weight and bias, if it has one, among the constants, and what its call says of it."""

    weight: int
    bias: int | None
    kind: Convolution


@dataclass
class _Call:
    function: str
    arguments: list[str] = field(default_factory=lambda: [""])

    def constant(self, place: int) -> int | None:
        given = self.arguments[place] if place < len(self.arguments) else ""
        return int(given.removeprefix("CONSTANTS.c")) if given.startswith("CONSTANTS.c") else None

    def convolution(self) -> FrozenConvolution | None:
        weight = self.constant(1)
        if weight is None or not _CONVOLUTION.fullmatch(self.function):
            return None
        general = self.function.startswith(
            "_"
        )  # (x, weight, bias, stride, padding, dilation, transposed, more, groups)
        groups = "".join(self.arguments[8 if general else 6 : 9 if general else 7])
        transposed = self.arguments[6:7] == ["True"] if general else "transpose" in self.function
        kind = Convolution(transposed, int(groups) if groups.isdecimal() else 1)
        return FrozenConvolution(weight, self.constant(2), kind)


def frozen_convolutions(program: str) -> Iterator[FrozenConvolution]:
    """Find a program's convolutions of constants in its text, which is only read; an inner call comes first."""
    calls = [_Call("")]
    for token in _TOKEN.finditer(program):
        text = token[0]
        if len(calls) > _DEEPEST:
            raise ValueError(f"its calls nest more than {_DEEPEST:,} deep")
        if text.endswith(("(", "[")):
            calls.append(_Call(token[1] or ""))
        elif text == ",":
            calls[-1].arguments.append("")
        elif text in {")", "]"}:
            done = calls.pop() if len(calls) > 1 else _Call("")
            if found := done.convolution():
                yield found
        else:
            calls[-1].arguments[-1] = text
