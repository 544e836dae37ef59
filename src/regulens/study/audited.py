"""The result of an audit: each claim under each variation, and which conclusions were about something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from regulens.results import RunResult
from regulens.spec import StudySpec
from regulens.stats.intervals import Interval, mover_difference
from regulens.study.answers import answer_claims, evidence_of
from regulens.study.audit import change_text, variation_folder
from regulens.study.claim_results import UNSETTLED, AnsweredClaim
from regulens.study.folder import own_store
from regulens.study.grid import varied
from regulens.study.store import DATABASE

Change = Literal[
    "same", "flipped", "changed", "no longer decided", "now decided", "undecided before and after", "not testable"
]

_COMPATIBLE = frozenset(("smaller than the ROPE", "true, smaller than the ROPE", "refuted"))
"""The first says that a difference is below the ROPE, of which each of the others is a part."""


@dataclass(frozen=True)
class Shift:
    """By how much a variation moves one part of a claim: its difference there minus that of the unvaried study."""

    text: str
    response: str
    interval: Interval


@dataclass(frozen=True)
class AuditedClaim:
    """A claim under one variation, and what that changes."""

    claim: AnsweredClaim
    change: Change
    shifts: tuple[Shift, ...]


@dataclass(frozen=True)
class AuditedVariation:
    """A variation: its name, what it changes in words, the seeds that were run, and the claims under it."""

    name: str
    text: str
    seeds: int
    claims: tuple[AuditedClaim, ...]


@dataclass(frozen=True)
class Audit:
    """The claims of a study as declared, and under each variation whose runs are there."""

    study: StudySpec
    claims: tuple[AnsweredClaim, ...]
    variations: tuple[AuditedVariation, ...]
    missing: tuple[str, ...]


def audit_of(study: StudySpec, folder: Path, results: Sequence[RunResult]) -> Audit:
    """Judge a study's claims as declared and under each variation, each variation a family of its own.

    Args:
        study: with its variations.
        folder: of the study; variations lie below it.
        results: of the unvaried study.
    """
    before = answer_claims(evidence_of(study, results, folder=folder))
    found, missing = [], []
    for variation, (name, spec) in zip(study.variations, varied(study), strict=True):
        place = variation_folder(folder, name)
        runs = own_store(spec, place).results() if (place / DATABASE).is_file() else []
        if not runs:
            missing.append(name)
            continue
        after = answer_claims(evidence_of(spec, runs, folder=place))
        claims = tuple(_audited(old, new) for old, new in zip(before, after, strict=True))
        seeds = max(run.spec.seed for run in runs) + 1
        found.append(AuditedVariation(name, variation.text or change_text(variation), seeds, claims))
    return Audit(study, before, tuple(found), tuple(missing))


def _audited(before: AnsweredClaim, after: AnsweredClaim) -> AuditedClaim:
    if before.judged is None or after.judged is None:
        return AuditedClaim(after, "not testable", ())
    shifts = tuple(
        Shift(old.text, each.response, mover_difference(new.estimate.interval(0.95), old.estimate.interval(0.95)))
        for each, old, new in zip(before.claim.contrasts, before.parts, after.parts, strict=True)
    )
    return AuditedClaim(after, compare_verdicts(before.judged.verdict, after.judged.verdict), shifts)


def compare_verdicts(before: str, after: str) -> Change:
    """Say what became of a verdict: flipped is from one decided verdict to one that contradicts it, nothing else."""
    if before in UNSETTLED and after in UNSETTLED:
        return "undecided before and after"
    if before == after:
        return "same"
    if after in UNSETTLED:
        return "no longer decided"
    if before in UNSETTLED:
        return "now decided"
    compatible = "smaller than the ROPE" in {before, after} and {before, after} <= _COMPATIBLE
    return "changed" if compatible else "flipped"
