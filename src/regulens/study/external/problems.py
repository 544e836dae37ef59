"""What is wrong with rows, said in one line however many rows it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from regulens.errors import UserError

_SHOWN = 3


@dataclass(frozen=True)
class Problem:
    """What is wrong with a row, the first being 0, and what to do about it."""

    row: int
    what: str
    fix: str = ""


def refusal(place: str, names: Sequence[str], problems: Iterable[Problem]) -> UserError:
    """Return the error that names the first rows with problems, each fix once, and counts the others.

    Args:
        place: the file, or what else the rows are of.
        names: what to call each row.
        problems: at least one, in any order.
    """
    ordered = sorted(problems, key=lambda problem: problem.row)
    shown = ordered[:_SHOWN]
    parts = []
    for number, problem in enumerate(shown):
        repeated = any(earlier.fix == problem.fix for earlier in shown[:number])
        fix = f"; {problem.fix}" if problem.fix and not repeated else ""
        parts.append(f"{names[problem.row]}: {problem.what}{fix}")
    left = len(ordered) - len(shown)
    more = [f"and {left} more error{'s' * (left > 1)}"] if left else []
    return UserError(f"{place}: {'; '.join(parts + more)}")


def named_rows(names: Sequence[str], rows: Sequence[int]) -> str:
    """Return the names of the first rows, the others being counted."""
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return ", ".join(names[row] for row in rows[:_SHOWN]) + more
