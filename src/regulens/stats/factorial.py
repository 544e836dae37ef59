"""What the factors of a design do: simple effects, interactions, marginal means, main effects.

Every effect is a linear contrast of the cells. It is first named (``simple_effects`` and its siblings: which cells,
with which weights), then estimated by the rule that the whole analysis goes by (``cells.Cells``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product

from regulens.stats.contrasts import Level, Levels, place_text
from regulens.stats.estimate import Estimate
from regulens.stats.intervals import Interval

TOO_FEW = "an interval needs two runs of every cell"

Estimator = Callable[[Mapping[Levels, float]], Estimate]
"""Weight of each cell -> the contrast of those cells, such as ``cells.Cells.primary``."""


@dataclass(frozen=True)
class Layout:
    """Which cells have runs.

    Attributes:
        factors: their names, in the order of a cell's levels.
        cells: the cells with at least one run; a factor's levels have the order in which they appear here.

    Raises:
        ValueError: if there is no cell, or one does not have a level of each factor.
    """

    factors: tuple[str, ...]
    cells: tuple[Levels, ...]

    def __post_init__(self) -> None:
        if not self.cells:
            raise ValueError("a layout must have at least one cell, got none")
        for cell in self.cells:
            if len(cell) != len(self.factors):
                raise ValueError(f"a cell must have a level of each of {self.factors}, got {cell}")

    def levels(self, factor: str) -> tuple[Level, ...]:
        """Return the levels of a factor."""
        return self._levels[factor]

    def holds(self, cell: Levels) -> bool:
        """Tell whether a cell has runs."""
        return cell in self._cells

    @cached_property
    def _levels(self) -> dict[str, tuple[Level, ...]]:
        return {name: tuple(dict.fromkeys(cell[at] for cell in self.cells)) for at, name in enumerate(self.factors)}

    @cached_property
    def _cells(self) -> frozenset[Levels]:
        return frozenset(self.cells)

    def others(self, *factors: str) -> list[dict[str, Level]]:
        """Return every combination of the levels of the factors that are not named."""
        rest = [name for name in self.factors if name not in factors]
        return [dict(zip(rest, levels, strict=True)) for levels in product(*map(self.levels, rest))]


@dataclass(frozen=True)
class Effect:
    """A contrast of cells by name: level ``a`` of a factor against level ``b``.

    Attributes:
        factor: whose levels are compared.
        a: the level.
        b: the level it is compared with; None for a marginal mean, which is compared with nothing.
        where: the levels of other factors that are held; those not named are averaged over, unweighted.
        by: of an interaction (another factor, its level, the level this one is compared with), otherwise None.
        weights: of each cell; empty where a cell that it needs has no runs.
        reason: why it cannot be estimated, or None.
    """

    factor: str
    a: Level
    b: Level | None
    where: dict[str, Level]
    by: tuple[str, Level, Level] | None = None
    weights: dict[Levels, float] = field(default_factory=dict)
    reason: str | None = None


def simple_effects(layout: Layout, factor: str, control: Level) -> list[Effect]:
    """Return each level against the control within each combination of the other factors' levels."""
    return [
        _effect(layout, Effect(factor, a, control, where))
        for where in layout.others(factor)
        for a in _compared(layout, factor, control)
    ]


def interactions(layout: Layout, factor: str, control: Level) -> list[Effect]:
    """Return the differences of a factor's simple effects between two levels of one other factor.

    Of another factor with more than two levels, each is compared with its first. With more than two factors they are
    simple interactions: within each combination of the levels of the remaining ones.
    """
    return [
        _effect(layout, Effect(factor, a, control, where, (other, level, reference)))
        for other in layout.factors
        if other != factor
        for reference, *levels in [layout.levels(other)]
        for level in levels
        for where in layout.others(factor, other)
        for a in _compared(layout, factor, control)
    ]


def marginal_means(layout: Layout, factor: str) -> list[Effect]:
    """Return the mean at each level of a factor: the unweighted mean of its cells."""
    return [_effect(layout, Effect(factor, a, None, {})) for a in layout.levels(factor)]


def main_effects(layout: Layout, factor: str, control: Level) -> list[Effect]:
    """Return each level against the control, as a difference of marginal means."""
    return [_effect(layout, Effect(factor, a, control, {})) for a in _compared(layout, factor, control)]


@dataclass(frozen=True)
class Estimated:
    """An effect with its estimate.

    Attributes:
        effect: what was estimated.
        interval: at the level asked for, unadjusted; None where a cell that it needs has no runs.
        simultaneous: the interval that covers together with those of the other effects of the family (Bonferroni).
        reason: why the estimate, or its interval, is not there; None where both are.
    """

    effect: Effect
    interval: Interval | None
    simultaneous: Interval | None
    reason: str | None

    @property
    def nonzero(self) -> bool:
        """Whether the simultaneous interval excludes zero; one that is not there does not."""
        return self.simultaneous is not None and (self.simultaneous.low > 0 or self.simultaneous.high < 0)


def estimate_effects(effects: Collection[Effect], estimator: Estimator, level: float) -> tuple[Estimated, ...]:
    """Estimate effects that are one family: m of them, also those without runs, so that m is fixed before the data."""
    adjusted = 1 - (1 - level) / max(1, len(effects))
    return tuple(_estimate(effect, estimator, level, adjusted) for effect in effects)


@dataclass(frozen=True)
class FactorAnswers:
    """What one factor does, in the order in which it should be read; each tuple is a family of its own.

    Attributes:
        factor: whose effects these are.
        control: the level that the others are compared with.
        simple: its effects within each combination of the other factors.
        interactions: how these differ between the levels of each other factor.
        marginal: its marginal means.
        main: their differences from the control's.
        interacting: whether an interaction's simultaneous interval excludes zero, so that the main effects are means
            of different effects; None where no interaction has an interval.
    """

    factor: str
    control: Level
    simple: tuple[Estimated, ...]
    interactions: tuple[Estimated, ...]
    marginal: tuple[Estimated, ...]
    main: tuple[Estimated, ...]
    interacting: bool | None


def answer_factor(layout: Layout, factor: str, control: Level, estimator: Estimator, level: float) -> FactorAnswers:
    """Estimate everything that a factor of a layout does.

    Raises:
        ValueError: if the control is not a level of the factor.
    """
    between = estimate_effects(interactions(layout, factor, control), estimator, level)
    known = any(found.reason is None for found in between)
    return FactorAnswers(
        factor,
        control,
        estimate_effects(simple_effects(layout, factor, control), estimator, level),
        between,
        estimate_effects(marginal_means(layout, factor), estimator, level),
        estimate_effects(main_effects(layout, factor, control), estimator, level),
        any(found.nonzero for found in between) if known else None,
    )


def _compared(layout: Layout, factor: str, control: Level) -> list[Level]:
    """Return the levels other than the control."""
    levels = layout.levels(factor)
    if control not in levels:
        raise ValueError(f"the control must be a level of {factor}, got {control!r}")
    return [level for level in levels if level != control]


def _effect(layout: Layout, effect: Effect) -> Effect:
    """Complete a named effect by the weights of its cells, or the reason why one is missing."""
    signs: list[tuple[dict[str, Level], float]] = [({effect.factor: effect.a}, 1.0)]
    if effect.b is not None:
        signs.append(({effect.factor: effect.b}, -1.0))
    if effect.by is not None:
        other, level, reference = effect.by
        signs = [
            ({**at, other: to}, sign * turn) for to, turn in ((level, 1.0), (reference, -1.0)) for at, sign in signs
        ]
    weights: dict[Levels, float] = {}
    for at, sign in signs:
        held = {**effect.where, **at}
        averaged = layout.others(*held)
        for rest in averaged:
            levels = {name: (held | rest)[name] for name in layout.factors}
            if not layout.holds(tuple(levels.values())):
                return replace(effect, reason=no_runs(levels))
            weights[tuple(levels.values())] = sign / len(averaged)
    return replace(effect, weights=weights)


def _estimate(effect: Effect, estimator: Estimator, level: float, adjusted: float) -> Estimated:
    """Estimate one effect at the level and at the adjusted one."""
    if effect.reason is not None:
        return Estimated(effect, None, None, effect.reason)
    found = estimator(effect.weights)
    return Estimated(effect, found.interval(level), found.interval(adjusted), None if found.known else TOO_FEW)


def no_runs(levels: Mapping[str, Level]) -> str:
    """Return the reason that names a missing cell."""
    return f"no runs with {place_text(levels)}"
