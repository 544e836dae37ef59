"""What is asked of results from elsewhere, checked as far as that goes without the runs."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from regulens.errors import UserError, suggestion
from regulens.stats.contrasts import Level
from regulens.stats.design import OVER, Design, Population, Primary
from regulens.stats.verdicts import Direction
from regulens.study.external.logs import Runs
from regulens.study.external.scale import Scale
from regulens.study.external.values import plain

Comparisons = Literal["control", "all"] | tuple[tuple[Level, Level], ...]

COLLAPSE_MARGIN = 1.1
"""Times chance: an accuracy not above it is one of guessing. A proper bound needs the number of images, not known."""


@dataclass(frozen=True)
class Options:
    """What is asked for; ``design`` without what depends on the response: its bounds, and ``rope`` by default.

    ``responses`` are all that are analyzed, ``response`` is the first of them; ``block`` is the column of the blocks,
    the split or the seed.
    """

    responses: tuple[str, ...]
    factors: tuple[str, ...]
    seed: str | None
    compare: str | None
    control: Level | None
    rope: float | None
    chance: float | None
    scale: Scale | None
    last_of: str | None
    split: str | None
    collapsed: str | None
    trained_above: float | None
    comparisons: Comparisons
    looks: tuple[int, ...]
    datasets: str | None
    design: Design
    cost: tuple[str, ...] = ()

    @property
    def response(self) -> str:
        """The response that is analyzed first."""
        return self.responses[0]

    @property
    def block(self) -> str | None:
        """The column whose values are blocks, if runs are compared within blocks; else that of the seeds."""
        return self.split or self.seed

    @property
    def finds_failures(self) -> bool:
        """Whether it is told which runs collapsed."""
        return not (self.chance is None and self.collapsed is None and self.trained_above is None)

    @property
    def runs(self) -> Runs:
        """What tells runs apart."""
        return Runs(self.response, self.factors, self.seed)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that must be there."""
        others = (*self.responses[1:], self.last_of, self.split, self.collapsed, *self.cost)
        return (*self.runs.declared, *(name for name in others if name and name not in self.runs.declared))


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
    split: object,
    collapsed: object,
    trained_above: object,
    comparisons: object,
    looks: object,
    over: object,
    test_ratio: object,
    rope_rate: object,
    datasets: object,
    cost: object,
) -> Options:
    """Return what is asked for.

    Raises:
        UserError: naming the argument, what it is, and what it must be.
    """
    options = Options(
        responses=_columns("response", response),
        factors=_columns("factors", factors),
        seed=None if seed is None else _column("seed", seed),
        compare=None if compare is None else _column("compare", compare),
        control=_control(control),
        rope=_number("rope", rope),
        chance=_number("chance", chance),
        scale=None if scale is None else _one_of("scale", scale, Scale),
        last_of=None if last_of is None else _column("last_of", last_of),
        split=None if split is None else _column("split", split),
        collapsed=None if collapsed is None else _column("collapsed", collapsed),
        trained_above=_number("trained_above", trained_above),
        comparisons=_comparisons(comparisons),
        looks=_looks(looks),
        datasets=None if datasets is None else _column("datasets", datasets),
        design=Design(
            direction=_one_of("direction", direction, Direction),
            primary=_one_of("primary", primary, Primary),
            paired=_truth("paired", paired) or split is not None,
            over=_over(over, split),
            test_ratio=_number("test_ratio", test_ratio) or 0.0,
            rope_rate=_number("rope_rate", rope_rate) or 0.0,
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


def _columns(role: str, value: object) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if isinstance(names, pd.Index | np.ndarray):
        names = list(names)
    if not isinstance(names, Sequence):
        raise UserError(f"{role} must name columns, as a list or a text with commas, got {value!r}")
    if not names:
        raise UserError(f"{role} must name a column, got nothing")
    columns = tuple(_column(role, name) for name in names)
    for name in columns:
        if columns.count(name) > 1:
            raise UserError(f"{role} name {name} twice; keep one of them")
    return columns


def _comparisons(value: object) -> Comparisons:
    if isinstance(value, str) and value in {"control", "all"}:
        return "control" if value == "control" else "all"
    pairs = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    if not pairs or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise UserError(f'comparisons must be "control", "all" or a list of pairs of levels, got {value!r}')
    return tuple((pair[0], pair[1]) for pair in pairs)


def _looks(value: object) -> tuple[int, ...]:
    """Return the declared numbers of seeds, from a list or a text with commas."""
    if value is None:
        return ()
    parts = value.split(",") if isinstance(value, str) else value
    try:
        looks = tuple(int(part) for part in parts) if isinstance(parts, Sequence) else ()
    except (TypeError, ValueError):
        looks = ()
    if not looks or looks[0] < 2 or list(looks) != sorted(set(looks)):
        raise UserError(f"looks must be increasing numbers of seeds from 2 on, such as 5,10,20, got {value!r}")
    return looks


def _over(value: object, split: object) -> tuple[Population, ...]:
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
        if name in {*options.responses, options.seed}:
            role = "response" if name in options.responses else "seed"
            raise UserError(f"{name} is the {role} and a factor as well; take it out of one of them")
    if options.seed in options.responses:
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
    if design.paired and options.block is None:
        raise UserError("paired needs the seeds: name their column with seed")
    if "split" in design.over and not design.test_ratio > 0:
        raise UserError(
            "verdicts over splits need test_ratio, judged over training images of a split, e.g. 0.25; or say over seeds"
        )
    if not 0 <= design.rope_rate < 1:
        raise UserError(f"rope_rate must be in [0, 1), got {design.rope_rate:g}: it is a difference of collapse rates")
    _check_failures(options)
    if options.last_of and options.seed is None:
        raise UserError("last_of needs the seeds, to tell the rows of one run: name their column with seed")


def _check_failures(options: Options) -> None:
    """Refuse more than one rule of which runs collapsed."""
    rules = {"chance": options.chance, "collapsed": options.collapsed, "trained_above": options.trained_above}
    given = [name for name, value in rules.items() if value is not None]
    if options.collapsed is not None and options.trained_above is not None:
        raise UserError(f"{' and '.join(given)} both say which runs collapsed; keep one of them")
    if options.collapsed is not None and options.collapsed in {
        *options.responses,
        *options.factors,
        options.seed,
        options.split,
    }:
        raise UserError(f"collapsed: {options.collapsed} has another role already; name the column of collapsed runs")
    bound = options.trained_above
    if bound is not None and not math.isfinite(bound):
        raise UserError(f"trained_above must be a finite number, got {bound:g}")


def _check_chance(chance: float, direction: Direction) -> None:
    if not 0 < chance < 1:
        raise UserError(f"chance must be between 0 and 1, got {chance:g}; it is the accuracy of guessing, e.g. 0.1")
    if chance * COLLAPSE_MARGIN >= 1:
        raise UserError(f"chance {chance:g}: runs up to {COLLAPSE_MARGIN} times it count as collapsed, which is all")
    if direction == "lower":
        raise UserError("chance is the accuracy of guessing, of which more is better; omit chance or direction lower")
