"""A study's claims, answered by its runs: judged part by part, or why they cannot be, and the seeds that they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from regulens.results import RunResult
from regulens.spec import BOUNDS, Response, RunSpec, StudySpec
from regulens.stats.claims import JudgedClaim, Part, judge_claim
from regulens.stats.comparisons import Design
from regulens.stats.contrasts import contrast, mover_contrast
from regulens.stats.estimates import median_interval
from regulens.stats.intervals import Collapse, Interval, collapse_of, mean_interval, overall_interval
from regulens.stats.power import Question, SeedsNeeded, seeds_needed_from_pilot
from regulens.stats.samples import Sample
from regulens.stats.ties import ROUNDING
from regulens.study.claims import Contrast, DeclaredClaim, declared_claims
from regulens.study.declared import declared_analysis, design_of
from regulens.study.grid import cell_label
from regulens.study.samples import samples_of, trained_above

MAX_SEEDS_NEEDED = 200
SIMULATED_STUDIES = 500


@dataclass(frozen=True)
class AnsweredClaim:
    """A claim with its verdict.

    Attributes:
        claim: as declared.
        judged: its verdict and parts; ``None`` where it is not testable in this study.
        reason: why it is not, and what would test it.
        seeds: what an undecided claim needs, ``None`` where it is decided or its parts are too few to tell.
        parts: what it was judged by, for intervals of other levels.
    """

    claim: DeclaredClaim
    judged: JudgedClaim | None
    reason: str = ""
    seeds: SeedsNeeded | None = None
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, eq=False)
class Evidence:
    """What claims are judged by.

    Attributes:
        study: which declares them.
        trained: the runs that are compared.
        design: the rules of judging.
        level: simultaneous, of the family of claims.
        samples: of each response asked for so far.
    """

    study: StudySpec
    trained: Sequence[RunResult]
    design: Design
    level: float
    samples: dict[Response, dict[RunSpec, Sample]] = field(default_factory=dict)

    def cells(self, response: Response) -> dict[RunSpec, Sample]:
        """Return the samples of a response."""
        if response not in self.samples:
            self.samples[response] = samples_of(self.study, self.trained, response)
        return self.samples[response]

    def terms(self, each: Contrast) -> list[Sample]:
        """Return the runs of the cells of a contrast."""
        return [self.cells(each.response)[spec] for spec, _ in each.terms]

    def collapse(self, each: Contrast) -> Collapse | None:
        """Return what collapse means for a contrast; nothing, where the mean among trained runs is declared primary."""
        if self.design.primary == "trained":
            return None
        return collapse_of(list(self.cells(each.response).values()), trained_above(self.terms(each)))


def evidence_of(study: StudySpec, results: Sequence[RunResult], level: float = 0.95) -> Evidence:
    """Return what the trainings of a study (refits are left aside) have to say, by the rules that it declared."""
    trained = [result for result in results if result.spec.compared]
    return Evidence(study, trained, design_of(declared_analysis(study), level), level)


def answer_claims(evidence: Evidence, rng: np.random.Generator | None = None) -> tuple[AnsweredClaim, ...]:
    """Judge the claims of a study; with a generator, find the seeds that undecided ones need, too."""
    declared = declared_claims(evidence.study)
    reasons = [_why_not_testable(claim, evidence) for claim in declared]
    count = reasons.count("")
    return tuple(
        AnsweredClaim(claim, None, reason) if reason else _answer_claim(claim, evidence, count, rng)
        for claim, reason in zip(declared, reasons, strict=True)
    )


def _answer_claim(
    claim: DeclaredClaim, evidence: Evidence, count: int, rng: np.random.Generator | None
) -> AnsweredClaim:
    parts = tuple(_part(each, evidence) for each in claim.contrasts)
    judged = judge_claim(parts, count, 1 - evidence.level)
    verdicts = zip(claim.contrasts, judged.parts, strict=True)
    still_open = [each for each, part in verdicts if part.verdict == "undecided" and judged.verdict == "undecided"]
    seeds = _seeds_needed(still_open, evidence, count, rng) if rng is not None else None
    return AnsweredClaim(claim, judged, seeds=seeds, parts=parts)


def _why_not_testable(claim: DeclaredClaim, evidence: Evidence) -> str:
    if not claim.contrasts:
        return claim.reason + (f"; {claim.spec.needs}" if claim.spec.needs else "")
    for each in claim.contrasts:
        found = evidence.cells(each.response)
        missing = [cell_label(spec, evidence.study) for spec, _ in each.terms if spec not in found]
        if missing:
            return f"there are no runs of “{missing[0]}”"
        if each.response == "train_seconds" and any(run.workers != 1 for run in evidence.trained):
            return "seconds are of runs made side by side; run the study with --workers 1 into a folder of its own"
    return ""


def _part(each: Contrast, evidence: Evidence) -> Part:
    """Return a contrast as a part of a claim: its interval by the estimand and the pairing that were declared."""
    terms, weights = evidence.terms(each), [float(weight) for _, weight in each.terms]
    collapse, design = evidence.collapse(each), evidence.design

    least, most = BOUNDS[each.response]
    reach = sum(map(abs, weights)) / 2 * (most - least)

    def unbounded(level: float) -> Interval:
        if design.primary == "median":
            return mover_contrast([median_interval(term.values, level) for term in terms], weights)
        if design.primary == "trained":
            return contrast([term.trained for term in terms], weights, level).interval
        if collapse is not None:
            return mover_contrast([overall_interval(term, collapse, level) for term in terms], weights)
        if design.paired:
            return mean_interval(_by_seed(terms, weights), level)
        return contrast([term.values for term in terms], weights, level).interval

    def interval(level: float) -> Interval:
        return unbounded(level).within((-reach, reach))

    rounding = ROUNDING * float(np.median(np.abs(np.concatenate([term.values for term in terms]))))
    return Part(each.label, interval, each.rope, "equal" if each.sense == "equal" else "greater", rounding)


def _seeds_needed(
    contrasts: Sequence[Contrast], evidence: Evidence, claims: int, rng: np.random.Generator
) -> SeedsNeeded | None:
    """Return the seeds with which the hardest of some contrasts would be decided, if its effect is as it now looks."""
    needed = []
    for each in contrasts:
        terms, weights = evidence.terms(each), tuple(float(weight) for _, weight in each.terms)
        if min(len(term.trained) for term in terms) < 2:
            return None
        question = Question(
            effect=sum(weight * float(term.values.mean()) for weight, term in zip(weights, terms, strict=True)),
            rope=each.rope,
            weights=weights,
            level=evidence.level,
            comparisons=claims,
            rule="verdict" if each.sense == "equal" else "greater",
        )
        collapse = evidence.collapse(each)
        mean = None if collapse is None else collapse.mean
        needed.append(
            seeds_needed_from_pilot(
                question, terms, rng, collapsed_mean=mean, max_seeds=MAX_SEEDS_NEEDED, studies=SIMULATED_STUDIES
            )
        )
    if not needed:
        return None
    return SeedsNeeded(
        _largest([each.low for each in needed]), _largest([each.high for each in needed]), MAX_SEEDS_NEEDED
    )


def _largest(seeds: Sequence[int | None]) -> int | None:
    """Return the largest number, ``None`` (more than the maximum) if one is."""
    return max((each for each in seeds if each is not None), default=None) if None not in seeds else None


def _by_seed(terms: Sequence[Sample], weights: Sequence[float]) -> NDArray[np.float64]:
    """Return the weighted sum of the cells' values for each seed that all of them have."""
    of_seed = [dict(zip(term.seeds.tolist(), term.values.tolist(), strict=True)) for term in terms]
    common = sorted(set.intersection(*map(set, of_seed)))
    return np.array(
        [sum(weight * x[seed] for x, weight in zip(of_seed, weights, strict=True)) for seed in common], np.float64
    )
