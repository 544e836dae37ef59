"""The claims of a study, each as the contrasts of cells that it rests on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from regulens.errors import UserError, suggestion
from regulens.spec import BETTER, ROPE, ClaimKind, ClaimSpec, Level, Response, RunSpec, StudySpec, field_paths
from regulens.study.declared import declared_analysis
from regulens.study.grid import level_label, level_text, levels_of, normal_level, with_levels

Levels = Mapping[str, Level]


@dataclass(frozen=True)
class Contrast:
    """One sum over cells that a claim rests on; the claim holds if every one of its contrasts does.

    Attributes:
        label: in words, e.g. ``batchnorm against dropout(0.1), depth 2``.
        response: of the runs of the cells.
        terms: the cells (specs at seed 0) with the weight, 1 or -1, of each cell's estimate; the weights sum to 0.
        where: levels of the factors that all its cells share.
        sense: whether the sum is claimed to be ``above`` zero or practically ``equal`` to it.
        rope: half the width of the region of practical equivalence, in the response's unit.
    """

    label: str
    response: Response
    terms: tuple[tuple[RunSpec, int], ...]
    where: Levels
    sense: Literal["above", "equal"]
    rope: float


@dataclass(frozen=True)
class DeclaredClaim:
    """A claim and what it rests on; without contrasts, ``reason`` says why it cannot be tested in this study."""

    spec: ClaimSpec
    contrasts: tuple[Contrast, ...]
    reason: str = ""


class _NotHereError(Exception):
    """The claim names a factor or a level that this study has not, though another may."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what, self.fix = what, fix


def declared_claims(study: StudySpec) -> list[DeclaredClaim]:
    """Return the claims of a study, in the order of the file.

    Raises:
        UserError: naming the claim, the key, its value and the fix; a factor or level that the study has not is no
            mistake in a claim that says what it ``needs``.
    """
    claims = []
    for number, claim in enumerate(study.claims):
        place = f"claims[{number}] ({claim.id})"
        if claim.id in {other.id for other in study.claims[:number]}:
            raise UserError(f"{place}: there are two of this id; choose another")
        try:
            claims.append(DeclaredClaim(claim, tuple(_contrasts(study, claim, place))))
        except _NotHereError as error:
            if not claim.needs:
                raise UserError(f'{place}: {error.what}{error.fix}; or write needs = "the study that has"') from None
            claims.append(DeclaredClaim(claim, (), error.what))
    return claims


@dataclass(frozen=True)
class _Compared:
    """What a claim compares, its levels as cells hold them, and where."""

    kind: ClaimKind
    factor: str
    a: Level
    others: tuple[Level, ...]
    by: str | None
    between: tuple[Level, ...]
    where: dict[str, Level]


def _compared(study: StudySpec, claim: ClaimSpec, place: str) -> _Compared:
    factor = claim.factor or declared_analysis(study).factor
    if factor is None:
        raise UserError(f"{place}: this study has no factors, so there is nothing to claim; remove it")
    mentioned = list(_mentioned(claim, factor))
    for each in mentioned:
        _check_value(study, each, place)
    held = [path for path in claim.where if path in {factor, claim.by}] + [factor] * (claim.by == factor)
    if held:
        raise UserError(f"{place}: {held[0]} is compared and cannot be held or depended on as well; name it once")
    a, *others = (_known(study, each) for each in mentioned if each.path == factor)
    between = [_known(study, each) for each in mentioned if each.key == "between"]
    where = {each.path: _known(study, each) for each in mentioned if each.path in claim.where}
    if claim.kind == "best":
        others = [level for level in levels_of(study, factor) if level != a]
    if not others or a in others or len(set(between)) == 1:
        raise UserError(f"{place}: compares a level with itself, or with none; name two levels")
    return _Compared(claim.kind, factor, a, tuple(others), claim.by, tuple(between), where)


@dataclass(frozen=True)
class _Mention:
    """A level that a claim names, its factor, and the key that names it."""

    key: str
    path: str
    level: Level


def _mentioned(claim: ClaimSpec, factor: str) -> Iterator[_Mention]:
    yield _Mention("a", factor, claim.a)
    if claim.b is not None:
        yield _Mention("b", factor, claim.b)
    if claim.by is not None:
        yield from (_Mention("between", claim.by, level) for level in claim.between or ())
    yield from (_Mention(f"where.{path}", path, level) for path, level in claim.where.items())


def _check_value(study: StudySpec, mention: _Mention, place: str) -> None:
    """Check that a field and its value exist at all, whether this study has them or not."""
    if mention.path not in field_paths():
        near = suggestion(mention.path, study.factors or field_paths())
        raise UserError(f"{place}: {mention.path} is not a factor of this study{near}")
    try:
        normal_level(study, mention.path, mention.level)
    except UserError as error:
        raise UserError(f"{place}: {mention.key}: {error}") from None


def _known(study: StudySpec, mention: _Mention) -> Level:
    if mention.path not in study.factors:
        fix = suggestion(mention.path, study.factors)
        raise _NotHereError(f"{mention.path} is not a factor of this study", fix)
    level, known = normal_level(study, mention.path, mention.level), levels_of(study, mention.path)
    if level not in known:
        fix = suggestion(level_text(level), map(level_text, known))
        raise _NotHereError(f"{mention.key} = {level_text(level)} is not a level of {mention.path}", fix)
    return level


@dataclass(frozen=True)
class _Judged:
    """By what a claim is judged: a response, its direction and the width of what does not matter in it."""

    response: Response
    lower_is_better: bool
    rope: float


def _judged(study: StudySpec, claim: ClaimSpec, place: str) -> Iterator[_Judged]:
    declared = declared_analysis(study)
    for response in claim.response or (declared.response,):
        same = response == declared.response
        rope = claim.rope if claim.rope is not None else declared.rope if same else ROPE[response]
        if claim.kind == "equal" and rope == 0:
            raise UserError(f'{place}: kind = "equal" needs a width for {response}; write rope = NUMBER above 0')
        direction = claim.direction or (declared.direction if same else BETTER[response])
        yield _Judged(response, direction == "lower", rope)


def _contrasts(study: StudySpec, claim: ClaimSpec, place: str) -> Iterator[Contrast]:
    """Yield the contrasts of every response at every combination of the factors that the claim leaves free."""
    compared, judged_by = _compared(study, claim, place), list(_judged(study, claim, place))
    free = [path for path in study.factors if path not in {compared.factor, compared.by} | compared.where.keys()]
    combinations = list(itertools.product(*(levels_of(study, path) for path in free)))
    for judged in judged_by:
        for levels in combinations:
            fixed = compared.where | dict(zip(free, levels, strict=True))
            for total in _sums(compared, judged):
                held = fixed | total.held
                where = {path: held[path] for path in study.factors if path in held}
                yield Contrast(
                    label=", ".join([total.label, *(level_label(path, level) for path, level in where.items())]),
                    response=judged.response,
                    terms=tuple((with_levels(study, fixed | term), weight) for term, weight in total.terms),
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


def _sums(compared: _Compared, judged: _Judged) -> Iterator[_Sum]:
    if compared.by is None:
        for b in compared.others:
            pair = (b, compared.a) if compared.kind == "best" and judged.lower_is_better else (compared.a, b)
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
