"""The arguments of ``analyze``, each read by itself: what it is, or one line that says what it must be."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from regulens.errors import UserError, suggestion
from regulens.spec import OVER, Population
from regulens.stats.contrasts import Level
from regulens.study.external.values import plain

Comparisons = Literal["control", "all"] | tuple[tuple[Level, Level], ...]


def of_each(name: str, value: object, responses: Sequence[str]) -> Sequence[object]:
    """Return the value of an option for each response."""
    if isinstance(value, Mapping):
        unknown = next((key for key in value if key not in responses), None)
        if unknown is not None:
            raise UserError(f"{name}: {unknown!r} is not one of the responses{suggestion(str(unknown), responses)}")
        return [value.get(response) for response in responses]
    if isinstance(value, str) and "," in value:
        value = [part.strip() for part in value.split(",")]
    if not isinstance(value, list | tuple):
        return [value] * len(responses)
    if len(value) != len(responses):
        raise UserError(
            f"{name} must have one value, or one for each of {len(responses)} response{'s' * (len(responses) > 1)}, "
            f"got {len(value)}"
        )
    return value


def column(name: str, value: object) -> str:
    """Return the name of a column."""
    if not isinstance(value, str):
        raise UserError(f"{name} must name a column, got {value!r}")
    if not value.strip():
        raise UserError(f"{name} must name a column, got nothing")
    return value.strip()


def columns(role: str, value: object) -> tuple[str, ...]:
    """Return names of columns, from a list or a text with commas; none of them twice."""
    names = value.split(",") if isinstance(value, str) else value
    if isinstance(names, pd.Index | np.ndarray):
        names = list(names)
    if not isinstance(names, Sequence):
        raise UserError(f"{role} must name columns, as a list or a text with commas, got {value!r}")
    if not names:
        raise UserError(f"{role} must name a column, got nothing")
    found = tuple(column(role, name) for name in names)
    for name in found:
        if found.count(name) > 1:
            raise UserError(f"{role} name {name} twice; keep one of them")
    return found


def pairs_of_levels(value: object) -> Comparisons:
    """Return which levels are compared."""
    if isinstance(value, str) and value in {"control", "all"}:
        return "control" if value == "control" else "all"
    pairs = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    if not pairs or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise UserError(f'comparisons must be "control", "all" or a list of pairs of levels, got {value!r}')
    return tuple((_level("comparisons", pair[0]), _level("comparisons", pair[1])) for pair in pairs)


def looks_at(value: object) -> tuple[int, ...]:
    """Return the declared numbers of seeds, from a list or a text with commas."""
    if value is None:
        return ()
    parts = value.split(",") if isinstance(value, str) else value
    parts = [plain(part) for part in parts] if isinstance(parts, Sequence | np.ndarray) else []
    looks = tuple(int(str(part)) for part in parts) if all(map(_whole, parts)) else ()
    if not looks or looks[0] < 2 or list(looks) != sorted(set(looks)):
        raise UserError(f"looks must be increasing numbers of seeds from 2 on, such as 5,10,20, got {value!r}")
    return looks


def _whole(value: Any) -> bool:
    return value.isdecimal() if isinstance(value, str) else isinstance(value, int) and not isinstance(value, bool)


def populations(value: object, split: object) -> tuple[Population, ...]:
    """Return what verdicts are over: seeds, or splits too where their column is named."""
    if value is None:
        return ("seeds",) if split is None else ("seeds", "split")
    parts = tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value
    over = next((known for known in OVER if isinstance(parts, list | tuple) and known == tuple(parts)), None)
    if over is None or "images" in over:
        why = "; results from elsewhere have no single images" if over else ""
        raise UserError(f'over must be "seeds" or "seeds,split", got {value!r}{why}')
    if "split" in over and split is None:
        raise UserError('over "seeds,split" needs the column of the splits: name it with split')
    return over


def number_of(name: str, value: object) -> float | None:
    """Return a number of any type that holds one; a text is none."""
    number = plain(value)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, numbers.Real | Decimal):
        raise UserError(f"{name} must be a number, got {value!r}")
    return float(number)


def truth(name: str, value: object) -> bool:
    """Return a truth value."""
    if not isinstance(value, bool | np.bool_):
        raise UserError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def level_of(value: object) -> Level | None:
    """Return the level of a control, or None."""
    return None if plain(value) is None else _level("control", value)


def _level(name: str, value: object) -> Level:
    level = plain(value)
    if isinstance(level, bool | int | float | str):
        return level
    raise UserError(f"{name} must be a level (a text, a number or true/false), got {value!r}")


def one_of(name: str, value: object, allowed: object) -> Any:
    """Return a text that must be one of those of a ``Literal``."""
    if not isinstance(value, str) or value not in get_args(allowed):
        raise UserError(f'{name} must be {" or ".join(get_args(allowed))}, got "{value}"')
    return value
