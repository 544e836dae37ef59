"""Claims and comparisons as contrasts: sums over cells, for a full factorial of any factors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from regulens.errors import UserError
from regulens.spec import ClaimKind, ClaimSpec, Level
from regulens.study.grid import level_label

LevelsByFactor = Mapping[str, Level]
Key = TypeVar("Key", bound=Hashable)
ResponseName = TypeVar("ResponseName", bound=str)


@dataclass(frozen=True)
class Contrast(Generic[Key, ResponseName]):
    """One sum over cells that a claim rests on; the claim holds if every one of its contrasts does.

    Attributes:
        label: in words, e.g. ``batchnorm against dropout(0.1), depth 2``.
        response: of the runs of the cells.
        terms: the cells with the weight, 1 or -1, of each cell's estimate; the weights sum to 0.
        where: levels of the factors that all its cells share.
        sense: whether the sum is claimed to be ``above`` zero or practically ``equal`` to it.
        rope: half the width of the region of practical equivalence, in the response's unit.
    """

    label: str
    response: ResponseName
    terms: tuple[tuple[Key, int], ...]
    where: LevelsByFactor
    sense: Literal["above", "equal"]
    rope: float

    @property
    def weights(self) -> dict[Key, float]:
        """The weight of each cell."""
        return {key: float(weight) for key, weight in self.terms}


@dataclass(frozen=True)
class Compared:
    """What a claim compares, its levels as cells hold them, and where."""

    kind: ClaimKind
    factor: str
    a: Level
    others: tuple[Level, ...]
    by: str | None
    between: tuple[Level, ...]
    where: dict[str, Level]


def check_named_once(claim: ClaimSpec, factor: str, place: str) -> None:
    """Check that the compared factor, and the one that an effect depends on, are not held as well.

    Raises:
        UserError: naming the claim by ``place``, and the factor.
    """
    held = [path for path in claim.where if path in {factor, claim.by}] + [factor] * (claim.by == factor)
    if held:
        raise UserError(f"{place}: {held[0]} is compared and cannot be held or depended on as well; name it once")


def completed(compared: Compared, levels: Sequence[Level], place: str) -> Compared:
    """Return what a claim compares; a level that is claimed to be best is compared with all others of the factor.

    Args:
        compared: as the claim names it.
        levels: of the compared factor.
        place: what to call the claim in errors.

    Raises:
        UserError: if a level is compared with itself, or with none.
    """
    if compared.kind == "best":
        compared = replace(compared, others=tuple(level for level in levels if level != compared.a))
    if not compared.others or compared.a in compared.others or len(set(compared.between)) == 1:
        raise UserError(f"{place}: compares a level with itself, or with none; name two levels")
    return compared


@dataclass(frozen=True)
class JudgedBy(Generic[ResponseName]):
    """By what a claim is judged: a response, its direction and the width of what does not matter in it."""

    response: ResponseName
    lower_is_better: bool
    rope: float


@dataclass(frozen=True)
class Factorial(Generic[Key]):
    """The factors that have cells, each with its levels, and the cell that has given levels."""

    levels: Mapping[str, Sequence[Level]]
    cell: Callable[[LevelsByFactor], Key]


def contrasts(
    factorial: Factorial[Key], compared: Compared, judged_by: Sequence[JudgedBy[ResponseName]]
) -> Iterator[Contrast[Key, ResponseName]]:
    """Yield the contrasts of every response at every combination of the factors that the claim leaves free."""
    named = {compared.factor, compared.by} | compared.where.keys()
    free = [path for path in factorial.levels if path not in named]
    combinations = list(itertools.product(*(factorial.levels[path] for path in free)))
    for judged in judged_by:
        for levels in combinations:
            fixed = compared.where | dict(zip(free, levels, strict=True))
            for total in _sums(compared, judged.lower_is_better):
                held = fixed | total.held
                where = {path: held[path] for path in factorial.levels if path in held}
                yield Contrast(
                    label=", ".join([total.label, *(level_label(path, level) for path, level in where.items())]),
                    response=judged.response,
                    terms=tuple((factorial.cell(fixed | term), weight) for term, weight in total.terms),
                    where=where,
                    sense="equal" if compared.kind == "equal" else "above",
                    rope=judged.rope,
                )


@dataclass(frozen=True)
class _Sum:
    """A sum over cells at one place: its name, each term's levels of the compared factors, and those that all share."""

    label: str
    terms: list[tuple[dict[str, Level], int]]
    held: dict[str, Level]


def _sums(compared: Compared, lower_is_better: bool) -> Iterator[_Sum]:
    if compared.by is None:
        for b in compared.others:
            pair = (b, compared.a) if compared.kind == "best" and lower_is_better else (compared.a, b)
            yield _difference(compared.factor, *pair, {})
        return
    at_first, at_second = ({compared.by: level} for level in compared.between)
    (b,) = compared.others
    first = _difference(compared.factor, compared.a, b, at_first)
    second = _difference(compared.factor, b, compared.a, at_second)
    if compared.kind == "reversal":
        yield from (first, second)
    else:
        here, there = (level_label(compared.by, level) for level in compared.between)
        yield _Sum(f"{first.label}, at {here} against {there}", first.terms + second.terms, {})


def _difference(factor: str, a: Level, b: Level, held: dict[str, Level]) -> _Sum:
    label = f"{level_label(factor, a)} against {level_label(factor, b)}"
    return _Sum(label, [(held | {factor: a}, 1), (held | {factor: b}, -1)], held)
