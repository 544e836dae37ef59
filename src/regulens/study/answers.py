"""A study's claims, answered by its runs: judged part by part, or why they cannot be, and the seeds that they need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regulens.results import RunResult
from regulens.spec import OF_IMAGES, Response, RunSpec, StudySpec
from regulens.stats.cells import LEAST_RUNS, Cells
from regulens.stats.claims import judge_claim
from regulens.stats.design import Design
from regulens.stats.power import SeedsNeeded, hardest, piloted, seeds_needed_from_pilot
from regulens.stats.simulated import Question
from regulens.study.claim_results import UNSETTLED, AnsweredClaim, part_of
from regulens.study.claims import DeclaredClaim, declared_claims
from regulens.study.contrasts import Contrast
from regulens.study.declared import DeclaredAnalysis, declared_analysis, design_of
from regulens.study.grid import cell_label
from regulens.study.samples import Samples, by_image, of_guessing, samples_of
from regulens.study.store import judged_by

MAX_SEEDS_NEEDED = 200
SIMULATED_STUDIES = 1000


@dataclass(frozen=True, eq=False)
class Evidence:
    """What comparisons and claims are judged by.

    Attributes:
        study: which declares them.
        trained: the runs that are compared.
        declared: the rules of judging.
        level: simultaneous, of comparisons and claims together.
        folder: where the runs' predictions lie; without it nothing is known of single images.
        later: levels of looks still to come, by their seeds; by default the same.
    """

    study: StudySpec
    trained: Sequence[RunResult]
    declared: DeclaredAnalysis
    level: float
    folder: Path | None = None
    later: Callable[[int], float] | None = None
    _cells: dict[Response, Cells[RunSpec]] = field(default_factory=dict)

    @property
    def alpha_of_comparisons(self) -> float:
        """What the family of comparisons may err by."""
        return (1 - self.level) * (1 - self.declared.claims_share)

    @property
    def alpha_of_claims(self) -> float:
        """What the family of claims may err by."""
        return (1 - self.level) * self.declared.claims_share

    def alpha_of_claims_at(self, seeds: int) -> float:
        """What the family of claims may err by at a later look."""
        level = self.level if self.later is None else self.later(seeds)
        return (1 - level) * self.declared.claims_share

    def cells(self, response: Response) -> Cells[RunSpec]:
        """Return the runs of each cell for one response, with the rules that it is judged by."""
        if response not in self._cells:
            samples = samples_of(self.study, self.trained, response)
            images = self._images(samples, response) if "images" in self.declared.over else {}
            self._cells[response] = Cells(
                samples, self._design(response), images, {spec: spec.parts for spec in samples}
            )
        return self._cells[response]

    def _design(self, response: Response) -> Design:
        first = self.trained[0]
        return design_of(
            self.declared,
            response,
            self.alpha_of_comparisons,
            failed=of_guessing(response, first.val_class_counts) if first.val_images else None,
            test_ratio=first.val_images / first.train_images,
        )

    def _images(self, samples: Samples, response: Response) -> dict[RunSpec, NDArray[np.float64]]:
        """Return what each run scored on each image, of cells whose predictions are all there."""
        if self.folder is None or response not in OF_IMAGES:
            return {}
        runs = {(run.spec.cell, run.spec.seed): run for run in self.trained}
        scores = {}
        for spec, sample in samples.items():
            matrix = by_image([runs[spec, int(seed)] for seed in sample.seeds], self.folder, response)
            if matrix is not None:
                scores[spec] = matrix
        return scores


def evidence_of(
    study: StudySpec,
    results: Sequence[RunResult],
    level: float = 0.95,
    folder: Path | None = None,
    later: Callable[[int], float] | None = None,
) -> Evidence:
    """Return what the trainings of a study (refits are left aside) have to say, by the rules that it declared."""
    trained = judged_by([result for result in results if result.spec.compared], study.analysis.trained_above)
    return Evidence(study, trained, declared_analysis(study), level, folder, later)


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
    parts = tuple(
        part_of(each, evidence.cells(each.response), evidence.alpha_of_claims / count) for each in claim.contrasts
    )
    judged = judge_claim(parts, count, evidence.alpha_of_claims)
    verdicts = zip(claim.contrasts, judged.parts, strict=True)
    still_open = [each for each, part in verdicts if part.verdict in UNSETTLED and judged.verdict in UNSETTLED]
    seeds = _seeds_needed(still_open, len(parts), evidence, count, rng) if rng is not None else None
    return AnsweredClaim(claim, judged, seeds=seeds, parts=parts)


def _why_not_testable(claim: DeclaredClaim, evidence: Evidence) -> str:
    if not claim.contrasts:
        return claim.reason + (f"; {claim.spec.needs}" if claim.spec.needs else "")
    for each in claim.contrasts:
        found = evidence.cells(each.response).samples
        missing = [cell_label(spec, evidence.study) for spec, _ in each.terms if spec not in found]
        if missing:
            return f"there are no runs of “{missing[0]}”"
        if each.response == "train_seconds" and any(run.workers != 1 for run in evidence.trained):
            return "seconds are of runs made side by side; run the study with --workers 1 into a folder of its own"
    return ""


def _seeds_needed(
    contrasts: Sequence[Contrast[RunSpec, Response]],
    parts: int,
    evidence: Evidence,
    claims: int,
    rng: np.random.Generator,
) -> SeedsNeeded | None:
    """Return the seeds with which the hardest of some contrasts would be decided, if its effect is as it now looks."""
    needed = []
    for each in contrasts:
        cells, weights = evidence.cells(each.response), dict(each.weights)
        if min(len(cells.samples[spec].trained) for spec in weights) < LEAST_RUNS:
            return None
        asked = Question(
            effect=cells.primary(weights).value,
            rope=each.rope,
            alpha=lambda seeds: evidence.alpha_of_claims_at(seeds) / claims,
            rule="equal" if each.sense == "equal" else "greater",
            parts=parts,
        )
        found = piloted(cells, weights, asked)
        if found is None:
            return None
        least = max(cells.samples[spec].n for spec in weights) + 1
        most = max(MAX_SEEDS_NEEDED, 2 * least)
        needed.append(seeds_needed_from_pilot(found, rng, least=least, max_seeds=most, studies=SIMULATED_STUDIES))
    return hardest(needed) if needed else None
