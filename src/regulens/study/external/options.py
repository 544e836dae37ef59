"""What is asked of results from elsewhere, checked as far as that goes without the runs."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, get_args

import numpy as np
import pandas as pd

from regulens.errors import UserError, suggestion
from regulens.stats.analysis import Level
from regulens.stats.comparisons import Design, Direction, Primary
from regulens.study.external.logs import Runs
from regulens.study.external.scale import Scale
from regulens.study.external.values import plain

COLLAPSE_MARGIN = 1.1
"""Times chance: an accuracy not above it is one of guessing. A proper bound needs the number of images, not known."""


@dataclass(frozen=True)
class Options:
    """What is asked for; ``design`` without what depends on the response: its bounds, and ``rope`` by default."""

    response: str
    factors: tuple[str, ...]
    seed: str | None
    compare: str | None
    control: Level | None
    rope: float | None
    chance: float | None
    scale: Scale | None
    last_of: str | None
    design: Design
    cost: tuple[str, ...] = ()

    @property
    def runs(self) -> Runs:
        """What tells runs apart."""
        return Runs(self.response, self.factors, self.seed)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that must be there."""
        return (*self.runs.declared, *([self.last_of] if self.last_of else []), *self.cost)


def checked_options(
    *,
    response: object,
    factors: object,
    seed: object,
    compare: object,
    control: object,
    rope: object,
    direction: object,
    chance: object,
    paired: object,
    primary: object,
    scale: object,
    last_of: object,
    cost: object = None,
) -> Options:
    """Return what is asked for.

    Raises:
        UserError: naming the argument, what it is, and what it must be.
    """
    options = Options(
        response=_column("response", response),
        factors=_columns("factors", factors),
        seed=None if seed is None else _column("seed", seed),
        compare=None if compare is None else _column("compare", compare),
        control=_control(control),
        rope=_number("rope", rope),
        chance=_number("chance", chance),
        scale=None if scale is None else _one_of("scale", scale, Scale),
        last_of=None if last_of is None else _column("last_of", last_of),
        design=Design(
            direction=_one_of("direction", direction, Direction),
            primary=_one_of("primary", primary, Primary),
            paired=_truth("paired", paired),
        ),
        cost=() if cost is None else _columns("cost", cost),
    )
    _check_columns(options)
    _check_together(options)
    return options


def _column(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise UserError(f"{name} must name a column, got {value!r}")
    if not value.strip():
        raise UserError(f"{name} must name a column, got nothing")
    return value.strip()


def _columns(option: str, value: object) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if isinstance(names, pd.Index | np.ndarray):
        names = list(names)
    if not isinstance(names, Sequence):
        raise UserError(f"{option} must name columns, as a list or a text with commas, got {value!r}")
    if not names:
        raise UserError(f"{option} must name a column, got nothing")
    return tuple(_column(option, name) for name in names)


def _number(name: str, value: object) -> float | None:
    number = plain(value)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, numbers.Real | Decimal):
        raise UserError(f"{name} must be a number, got {value!r}")
    return float(number)


def _truth(name: str, value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise UserError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def _control(value: object) -> Level | None:
    level = plain(value)
    if level is None or isinstance(level, bool | int | float | str):
        return level
    raise UserError(f"control must be a level (a text, a number or true/false), got {value!r}")


def _one_of(name: str, value: object, allowed: object) -> Any:
    if not isinstance(value, str) or value not in get_args(allowed):
        raise UserError(f'{name} must be {" or ".join(get_args(allowed))}, got "{value}"')
    return value


def _check_columns(options: Options) -> None:
    factors = options.factors
    for name in factors:
        if factors.count(name) > 1:
            raise UserError(f"factors name {name} twice; keep one of them")
        if name in {options.response, options.seed}:
            role = "response" if name == options.response else "seed"
            raise UserError(f"{name} is the {role} and a factor as well; take it out of one of them")
    if options.seed == options.response:
        raise UserError(f"{options.seed} is the response and the seed as well; take it out of one of them")
    if options.compare is not None and options.compare not in factors:
        raise UserError(f'compare: "{options.compare}" is not one of the factors{suggestion(options.compare, factors)}')
    for name in options.cost:
        if options.cost.count(name) > 1:
            raise UserError(f"cost names {name} twice; keep one of them")
        if name in {*options.runs.declared, options.last_of}:
            raise UserError(f"cost: {name} is the response, the seed, a factor or last_of; name a column of its own")
    if options.last_of in options.runs.declared:
        raise UserError(f"last_of: {options.last_of} is the response, the seed or a factor; name the column of epochs")


def _check_together(options: Options) -> None:
    rope, chance, design = options.rope, options.chance, options.design
    if rope is not None and not (math.isfinite(rope) and rope >= 0):
        raise UserError(f"rope must be a finite number >= 0, got {rope:g}")
    if chance is not None:
        _check_chance(chance, design.direction)
    if chance is not None and options.scale == "none":
        raise UserError("chance is the accuracy of guessing: omit it, or use --scale fraction or percent")
    if design.primary == "trained" and chance is None:
        raise UserError("primary trained needs chance: without it no run counts as collapsed")
    if design.paired and options.seed is None:
        raise UserError("paired needs the seeds: name their column with seed")
    if options.last_of and options.seed is None:
        raise UserError("last_of needs the seeds, to tell the rows of one run: name their column with seed")


def _check_chance(chance: float, direction: Direction) -> None:
    if not 0 < chance < 1:
        raise UserError(f"chance must be between 0 and 1, got {chance:g}; it is the accuracy of guessing, e.g. 0.1")
    if chance * COLLAPSE_MARGIN >= 1:
        raise UserError(f"chance {chance:g}: runs up to {COLLAPSE_MARGIN} times it count as collapsed, which is all")
    if direction == "lower":
        raise UserError("chance is the accuracy of guessing, of which more is better; omit chance or direction lower")
