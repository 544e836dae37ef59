"""Claims about results from elsewhere: read from a file like a study's, each as contrasts of the cells."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from regulens.errors import UserError, suggestion
from regulens.spec import OTHER_NAMES, ClaimSpec, Level
from regulens.spec.mistakes import first_mistake
from regulens.stats.cells import Cells
from regulens.stats.claims import judge_claim
from regulens.stats.contrasts import Levels
from regulens.stats.factorial import no_runs
from regulens.study.claim_results import AnsweredClaim, part_of
from regulens.study.claims import DeclaredClaim
from regulens.study.contrasts import Compared, Contrast, Factorial, JudgedBy, contrasts
from regulens.study.external.levels import matching

MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class OwnClaim:
    """A claim as it was read, the responses that it names, and what to call it in errors."""

    spec: ClaimSpec
    responses: tuple[str, ...]
    place: str


def read_claims(file: object) -> list[OwnClaim]:
    """Read the ``[[claims]]`` of a TOML file; other tables are passed over, so that a study file will do.

    Factors are columns of the results, and ``response`` names columns too.

    Raises:
        UserError: naming the file, the claim, the key and the fix.
    """
    if not isinstance(file, str | os.PathLike):
        raise UserError(f"claims must be the path of a TOML file, got {file!r}")
    path = Path(file)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: is larger than a file of claims may be ({MAX_BYTES:,} bytes)")
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{path}: is not valid TOML: {error}") from None
    entries = content.get("claims")
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: has no claims; write each under [[claims]], as in a study file")
    claims = [_claim(entry, f"{path}: claims[{number}]") for number, entry in enumerate(entries)]
    ids = [claim.spec.id for claim in claims]
    for claim in claims:
        if ids.count(claim.spec.id) > 1:
            raise UserError(f"{claim.place}: there are two of this id; choose another")
    return claims


def _claim(entry: object, place: str) -> OwnClaim:
    if not isinstance(entry, dict):
        raise UserError(f"{place}: is not a table; write [[claims]] and its keys")
    responses = entry.get("response", [])
    named = (responses,) if isinstance(responses, str) else tuple(responses) if isinstance(responses, list) else None
    if named is None or not all(isinstance(name, str) for name in named):
        raise UserError(f"{place}: response = {responses!r}: must name columns of the results")
    try:
        spec = ClaimSpec.checked({key: value for key, value in entry.items() if key != "response"})
    except ValidationError as error:
        raise UserError(f"{place}: {first_mistake(error, ClaimSpec)}") from None
    return OwnClaim(spec, named, f"{place} ({spec.id})")


@dataclass(frozen=True)
class Ground:
    """What claims are about: the factors and their levels, the compared one, and the cells of each response."""

    factorial: Factorial[Levels]
    factor: str
    data: Mapping[str, Cells[Levels]]


class _NotHereError(Exception):
    """A claim names a factor, level or response that these results have not, though others may."""


def judge_claims(claims: Sequence[OwnClaim], ground: Ground, alpha: float) -> tuple[AnsweredClaim, ...]:
    """Judge claims as one family that may err by ``alpha``.

    Raises:
        UserError: naming the claim, the key, its value and the fix; a factor, level or response that is not there is no
            mistake in a claim that says what it ``needs``.
    """
    declared = [_declared(claim, ground) for claim in claims]
    reasons = [_missing(each, ground) for each in declared]
    count = reasons.count("")
    answered = []
    for claim, reason in zip(declared, reasons, strict=True):
        parts = (
            ()
            if reason
            else tuple(part_of(each, ground.data[each.response], alpha / count) for each in claim.contrasts)
        )
        judged = None if reason else judge_claim(parts, count, alpha)
        answered.append(AnsweredClaim(claim, judged, reason, parts=parts))
    return tuple(answered)


def _declared(claim: OwnClaim, ground: Ground) -> DeclaredClaim:
    try:
        return DeclaredClaim(claim.spec, tuple(_contrasts(claim, ground)))
    except _NotHereError as error:
        if not claim.spec.needs:
            raise UserError(f"{claim.place}: {error}") from None
        return DeclaredClaim(claim.spec, (), str(error))


def _missing(claim: DeclaredClaim, ground: Ground) -> str:
    """Say why a claim is not testable, empty if it is."""
    if claim.reason:
        return f"{claim.reason}; {claim.spec.needs}"
    for each in claim.contrasts:
        for key in each.weights:
            if key not in ground.data[each.response].samples:
                return no_runs(dict(zip(ground.factorial.levels, key, strict=True)))
    return ""


def _contrasts(claim: OwnClaim, ground: Ground) -> list[Contrast[Levels, str]]:
    """Return what a claim rests on; of several responses, each is named."""
    named = claim.responses or (next(iter(ground.data)),)
    responses = [name if name in ground.data else str(OTHER_NAMES.get(name, name)) for name in named]
    for name in responses:
        if name not in ground.data:
            near = suggestion(name, list(ground.data))
            raise _NotHereError(f"{name} is not a response of this analysis{near}; add it to response")
    judged_by = [_judged_by(claim, name, ground.data[name]) for name in responses]
    found = contrasts(ground.factorial, _compared(claim, ground), judged_by)
    return [replace(each, label=f"{each.response}: {each.label}") if len(ground.data) > 1 else each for each in found]


def _judged_by(claim: OwnClaim, response: str, data: Cells[Levels]) -> JudgedBy[str]:
    rope = data.design.rope if claim.spec.rope is None else claim.spec.rope
    if claim.spec.kind == "equal" and rope == 0:
        raise UserError(f'{claim.place}: kind = "equal" needs a width for {response}; write rope = NUMBER above 0')
    return JudgedBy(response, (claim.spec.direction or data.design.direction) == "lower", rope)


def _compared(claim: OwnClaim, ground: Ground) -> Compared:
    spec, factor = claim.spec, claim.spec.factor or ground.factor
    a = _known(ground, factor, spec.a, "a")
    others = [] if spec.b is None else [_known(ground, factor, spec.b, "b")]
    between = [_known(ground, str(spec.by), level, "between") for level in spec.between or ()]
    where = {path: _known(ground, path, level, f"where.{path}") for path, level in spec.where.items()}
    held = [path for path in where if path in {factor, spec.by}] + [factor] * (spec.by == factor)
    if held:
        raise UserError(f"{claim.place}: {held[0]} is compared and cannot be held or depended on as well; name it once")
    if spec.kind == "best":
        others = [level for level in ground.factorial.levels[factor] if level != a]
    if not others or a in others or len(set(between)) == 1:
        raise UserError(f"{claim.place}: compares a level with itself, or with none; name two levels")
    return Compared(spec.kind, factor, a, tuple(others), spec.by, tuple(between), where)


def _known(ground: Ground, factor: str, level: Level, key: str) -> Any:
    known = ground.factorial.levels.get(factor)
    if known is None:
        raise _NotHereError(f"{factor} is not a factor{suggestion(factor, list(ground.factorial.levels))}")
    meant = matching(known, level)
    if len(meant) != 1:
        near = suggestion(str(level), [str(each) for each in known])
        raise _NotHereError(f"{key} = {level} is not a level of {factor}{near}")
    return meant[0]
