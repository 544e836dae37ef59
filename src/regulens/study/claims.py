"""The claims of a study, each as the contrasts of cells that it rests on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from regulens.errors import UserError, suggestion
from regulens.spec import BETTER, ROPE, ClaimSpec, Level, Response, RunSpec, StudySpec, field_paths
from regulens.study.contrasts import Compared, Contrast, Factorial, JudgedBy, check_named_once, completed, contrasts
from regulens.study.declared import declared_analysis
from regulens.study.grid import level_text, levels_of, normal_level, with_levels


@dataclass(frozen=True)
class DeclaredClaim:
    """A claim and what it rests on; without contrasts, ``reason`` says why it cannot be tested in this study."""

    spec: ClaimSpec
    contrasts: tuple[Contrast[Any, Any], ...]
    reason: str = ""


def _factorial(study: StudySpec) -> Factorial[RunSpec]:
    """Return the factors of a study and its cells, as specs at seed 0."""
    return Factorial({path: levels_of(study, path) for path in study.factors}, lambda at: with_levels(study, at))


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
            found = contrasts(_factorial(study), _compared(study, claim, place), list(_judged(study, claim, place)))
            claims.append(DeclaredClaim(claim, tuple(found)))
        except _NotHereError as error:
            if not claim.needs:
                raise UserError(f'{place}: {error.what}{error.fix}; or write needs = "the study that has"') from None
            claims.append(DeclaredClaim(claim, (), error.what))
    return claims


def _compared(study: StudySpec, claim: ClaimSpec, place: str) -> Compared:
    factor = claim.factor or declared_analysis(study).factor
    if factor is None:
        raise UserError(f"{place}: this study has no factors, so there is nothing to claim; remove it")
    mentioned = list(_mentioned(claim, factor))
    for each in mentioned:
        _check_value(study, each, place)
    check_named_once(claim, factor, place)
    a, *others = (_known(study, each) for each in mentioned if each.path == factor)
    between = [_known(study, each) for each in mentioned if each.key == "between"]
    where = {each.path: _known(study, each) for each in mentioned if each.path in claim.where}
    compared = Compared(claim.kind, factor, a, tuple(others), claim.by, tuple(between), where)
    return completed(compared, levels_of(study, factor), place)


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


def _judged(study: StudySpec, claim: ClaimSpec, place: str) -> Iterator[JudgedBy[Response]]:
    declared = declared_analysis(study)
    for response in claim.response or (declared.response,):
        same = response == declared.response
        rope = claim.rope if claim.rope is not None else declared.rope if same else ROPE[response]
        if claim.kind == "equal" and rope == 0:
            raise UserError(f'{place}: kind = "equal" needs a width for {response}; write rope = NUMBER above 0')
        direction = claim.direction or (declared.direction if same else BETTER[response])
        yield JudgedBy(response, direction == "lower", rope)
