"""What is asked of results from elsewhere, checked as far as that goes without the runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from regulens.errors import UserError, suggestion
from regulens.spec import ROPE_RATE
from regulens.stats.contrasts import Level
from regulens.stats.design import Design, Primary
from regulens.stats.verdicts import Direction
from regulens.study.external.arguments import (
    Comparisons,
    column,
    columns,
    level_of,
    looks_at,
    number_of,
    of_each,
    one_of,
    pairs_of_levels,
    populations,
    truth,
)
from regulens.study.external.logs import Runs
from regulens.study.external.scale import Scale

COLLAPSE_MARGIN = 1.1
"""Times chance: an accuracy not above it is one of guessing. A proper bound needs the number of images, not known."""


@dataclass(frozen=True)
class Asked:
    """What is asked for of one response; None is left to its name and its values.

    Attributes:
        response: its column.
        direction: which values are better.
        rope: half-width of practical equivalence.
        scale: what its numbers are.
        effect: the difference for which the seeds are wanted.
    """

    response: str
    direction: Direction | None = None
    rope: float | None = None
    scale: Scale | None = None
    effect: float | None = None


@dataclass(frozen=True)
class Options:
    """What is asked for; ``design`` without what depends on the response: its direction, bounds and ``rope``."""

    asked: tuple[Asked, ...]
    factors: tuple[str, ...]
    seed: str | None
    compare: str | None
    control: Level | None
    chance: float | None
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
    def responses(self) -> tuple[str, ...]:
        """All that are analyzed."""
        return tuple(each.response for each in self.asked)

    @property
    def response(self) -> str:
        """The response that is analyzed first."""
        return self.responses[0]

    @property
    def block(self) -> str | None:
        """The column whose values are blocks, if runs are compared within blocks; else that of the seeds."""
        return self.split or self.seed

    @property
    def runs(self) -> Runs:
        """What tells runs apart."""
        own_split = (self.split,) if self.split and self.split not in {*self.factors, self.seed} else ()
        return Runs(self.response, (*self.factors, *own_split), self.seed)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that must be there."""
        others = (*self.responses[1:], self.last_of, self.split, self.collapsed, *self.cost)
        return tuple(dict.fromkeys(name for name in (*self.runs.declared, *others) if name))

    def renamed(self, names: Mapping[str, str]) -> Options:
        """Return the options with other names of responses."""
        asked = (replace(each, response=names.get(each.response, each.response)) for each in self.asked)
        return replace(self, asked=tuple(asked))


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
    effect: object,
    datasets: object,
    cost: object,
) -> Options:
    """Return what is asked for.

    Raises:
        UserError: naming the argument, what it is, and what it must be.
    """
    responses = columns("response", response)
    options = Options(
        asked=_asked(responses, direction=direction, rope=rope, scale=scale, effect=effect),
        factors=columns("factors", factors),
        seed=None if seed is None else column("seed", seed),
        compare=None if compare is None else column("compare", compare),
        control=level_of(control),
        chance=number_of("chance", chance),
        last_of=None if last_of is None else column("last_of", last_of),
        split=None if split is None else column("split", split),
        collapsed=None if collapsed is None else column("collapsed", collapsed),
        trained_above=number_of("trained_above", trained_above),
        comparisons=pairs_of_levels(comparisons),
        looks=looks_at(looks),
        datasets=None if datasets is None else column("datasets", datasets),
        design=Design(
            primary=one_of("primary", primary, Primary),
            paired=truth("paired", paired) or split is not None,
            over=populations(over, split),
            test_ratio=number_of("test_ratio", test_ratio) or 0.0,
            rope_rate=ROPE_RATE if rope_rate is None else number_of("rope_rate", rope_rate) or 0.0,
        ),
        cost=() if cost is None else columns("cost", cost),
    )
    _check_columns(options)
    _check_together(options)
    return options


def _asked(responses: Sequence[str], **options: object) -> tuple[Asked, ...]:
    """Return what is asked for of each response: an option may have one value for all, or one for each."""
    readers: dict[str, Callable[[str, object], object]] = {
        "direction": lambda name, value: one_of(name, value, Direction),
        "rope": number_of,
        "scale": lambda name, value: one_of(name, value, Scale),
        "effect": number_of,
    }
    values = {
        name: [None if value is None else readers[name](name, value) for value in of_each(name, given, responses)]
        for name, given in options.items()
    }
    return tuple(
        Asked(response, **{name: of[place] for name, of in values.items()})  # type: ignore[arg-type]  # as read
        for place, response in enumerate(responses)
    )


def _check_columns(options: Options) -> None:
    factors = options.factors
    for name in factors:
        if name in {*options.responses, options.seed, options.split}:
            role = "response" if name in options.responses else "seed" if name == options.seed else "split"
            raise UserError(f"{name} is the {role} and a factor as well; take it out of one of them")
    if options.seed in options.responses:
        raise UserError(f"{options.seed} is the response and the seed as well; take it out of one of them")
    if options.split in options.responses:
        raise UserError(f"{options.split} is the response and the split as well; take it out of one of them")
    if options.compare is not None and options.compare not in factors:
        raise UserError(f'compare: "{options.compare}" is not one of the factors{suggestion(options.compare, factors)}')
    for name in options.cost:
        if name in {*options.runs.declared, options.last_of}:
            raise UserError(f"cost: {name} is the response, the seed, a factor or last_of; name a column of its own")
    if options.last_of in options.runs.declared:
        raise UserError(f"last_of: {options.last_of} is the response, the seed or a factor; name the column of epochs")


def _check_together(options: Options) -> None:
    design = options.design
    for each in options.asked:
        _check_numbers(each)
    if options.chance is not None:
        _check_chance(options.chance)
    if options.chance is not None and all(each.scale == "none" for each in options.asked):
        raise UserError("chance is the accuracy of guessing: omit it, or use --scale fraction or percent")
    if design.paired and options.block is None:
        raise UserError("paired needs the seeds: name their column with seed")
    if not (math.isfinite(design.test_ratio) and design.test_ratio >= 0):
        raise UserError(f"test_ratio must be a finite number > 0, got {design.test_ratio:g}")
    if design.test_ratio and "split" not in design.over:
        raise UserError("test_ratio is used for verdicts over splits only: name the column of the splits with split")
    if "split" in design.over and not design.test_ratio > 0:
        raise UserError(
            "verdicts over splits need test_ratio, evaluated over training images, e.g. 0.25; or say over seeds"
        )
    if not 0 <= design.rope_rate < 1:
        raise UserError(f"rope_rate must be in [0, 1), got {design.rope_rate:g}: it is a difference of collapse rates")
    _check_failures(options)
    if options.last_of and options.seed is None:
        raise UserError("last_of needs the seeds, to tell the rows of one run: name their column with seed")


def _check_numbers(asked: Asked) -> None:
    rope, effect = asked.rope, asked.effect
    if rope is not None and not (math.isfinite(rope) and rope >= 0):
        raise UserError(f"rope must be a finite number >= 0, got {rope:g}")
    if effect is not None and not (math.isfinite(effect) and effect > 0):
        raise UserError(f"effect must be a finite number > 0, got {effect:g}")


def _check_failures(options: Options) -> None:
    """Refuse more than one rule of which runs collapsed."""
    if options.collapsed is not None and options.trained_above is not None:
        raise UserError("collapsed and trained_above both say which runs collapsed; keep one of them")
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


def _check_chance(chance: float) -> None:
    if not 0 < chance < 1:
        raise UserError(f"chance must be between 0 and 1, got {chance:g}; it is the accuracy of guessing, e.g. 0.1")
    if chance * COLLAPSE_MARGIN >= 1:
        raise UserError(f"chance {chance:g}: runs up to {COLLAPSE_MARGIN} times it count as collapsed, which is all")
