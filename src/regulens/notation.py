"""How a regularizer is written in files and tables: ``none``, ``l2(0.01)``, ``batchnorm + dropout(0.1)``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from regulens.errors import UserError, suggestion


@dataclass(frozen=True)
class Argument:
    """The one number a term may take: its name, what it must be, and a good value for error messages."""

    name: str
    requirement: str
    example: str
    accepts: Callable[[float], bool]


@dataclass(frozen=True)
class Term:
    """One regularizer of a combination: its kind and its number (``None`` for one that takes none)."""

    kind: str
    value: float | None = None

    def __str__(self) -> str:
        return self.kind if self.value is None else f"{self.kind}({self.value!r})"


ARGUMENTS: dict[str, Argument | None] = {
    "l2": Argument("strength", "a finite number >= 0", "0.01", lambda v: math.isfinite(v) and v >= 0),
    "dropout": Argument("rate", "in [0, 1)", "0.1", lambda v: 0 <= v < 1),
    "batchnorm": None,
}

_PLUS = re.compile(r"\+(?![^()]*\))")
"""Between terms, not that of an exponent such as ``l2(1e+2)``."""

_TERM = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:\(([^()]*)\))?\s*")


def parse_regularizer(text: str) -> tuple[Term, ...]:
    """Parse the notation into its terms, in the order written; ``none`` is the empty tuple.

    Raises:
        UserError: saying what is wrong with it and how to write it; it does not quote the text as a whole.
    """
    if text.strip() == "none":
        return ()
    terms = tuple(_parse_term(part) for part in _PLUS.split(text))
    kinds = [term.kind for term in terms]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise UserError(f"names {kind} twice; keep one of them")
    return terms


def format_regularizer(terms: tuple[Term, ...]) -> str:
    """Write the terms in the one canonical way: ``batchnorm + dropout(0.1)``, or ``none``."""
    return " + ".join(map(str, terms)) or "none"


def _parse_term(part: str) -> Term:
    match = _TERM.fullmatch(part)
    if match is None:
        raise UserError(f'is not readable at "{part.strip()}"; write for example l2(0.01)')
    kind, number = match.group(1), match.group(2)
    if kind == "none":
        raise UserError("combines none with others; omit none")
    if kind not in ARGUMENTS:
        raise UserError(f'"{kind}" is not available{suggestion(kind, [*ARGUMENTS, "none"], "available")}')
    argument = ARGUMENTS[kind]
    if argument is None:
        if number is not None:
            raise UserError(f"{kind} takes no number; write {kind}")
        return Term(kind)
    return Term(kind, _parse_number(kind, number, argument))


def _parse_number(kind: str, number: str | None, argument: Argument) -> float:
    example = f"{kind}({argument.example})"
    if number is None:
        raise UserError(f"{kind} needs its {argument.name}; write for example {example}")
    try:
        value = float(number) + 0.0  # there is no other network at -0
    except ValueError:
        raise UserError(f'{argument.name} "{number}" of {kind} is not a number; write for example {example}') from None
    if not argument.accepts(value):
        raise UserError(f"{argument.name} of {kind} must be {argument.requirement}, got {number.strip()}")
    return value
