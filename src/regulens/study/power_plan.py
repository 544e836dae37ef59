"""How many seeds a study needs to see an effect of a given size: from a pilot's runs, or from a stated spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from regulens.errors import UserError
from regulens.results import RunResult
from regulens.spec import RunSpec, StudySpec, level_of
from regulens.stats.analysis import declared_pairs
from regulens.stats.cells import LEAST_RUNS, Cells
from regulens.stats.estimates import medians_bounded
from regulens.stats.power import (
    MAX_SEEDS_NEEDED,
    Piloted,
    SeedsNeeded,
    least_difference,
    piloted,
    recommended_seeds,
    seeds_needed,
    seeds_needed_from_pilot,
)
from regulens.stats.simulated import CellModel, Question
from regulens.study.analysis import SEED
from regulens.study.answers import evidence_of
from regulens.study.declared import declared_analysis
from regulens.study.grid import cell_label, with_levels
from regulens.study.grid import cells as cells_of
from regulens.study.looks import ALPHA, StudyLooks, answers_of, looks_of
from regulens.study.samples import samples_of
from regulens.study.thresholds import check_effect, power_warnings

FALL = 0.75
"""By how much the accuracy of a run that collapses is taken to fall, where no pilot tells."""
MOST_APART = 3.0
"""Standard deviations that two means must be apart in a study of few seeds, beyond which that is remarked on."""


@dataclass(frozen=True)
class PowerRow:
    """What one comparison of the family needs.

    Attributes:
        a: label of its first cell.
        b: of its second.
        seeds: with which it is decided (better, worse or equivalent) in the study's folder, whose looks have spent
            some of the error; None where that is not known.
        fresh: the recommended number in a study begun anew; None for more than the most, or unknown.
        direction: the recommended number in the folder with which at least the direction is shown; as ``fresh``.
        reason: why the seeds are not known, or no number of them decides.
    """

    a: str
    b: str
    seeds: SeedsNeeded | None
    fresh: int | None = None
    direction: int | None = None
    reason: str = ""


def power_rows(
    study: StudySpec,
    results: Sequence[RunResult],
    *,
    effect: float,
    sd: float | None = None,
    collapse_rate: float = 0.0,
    looks: StudyLooks | None = None,
    folder: Path | None = None,
) -> list[PowerRow]:
    """Return the seeds that every declared comparison needs to decide an effect with 80 % probability.

    With an ``sd``, all cells are taken to spread by it and to collapse at the given rate; without, the runs of the
    study are the pilot. Only their spread and collapses are used, never their means.

    Args:
        study: which declares the comparisons, their family and the region of practical equivalence.
        results: of its runs, if there are any.
        effect: the difference of the primary estimand to be decided, in the response's unit.
        sd: between the runs of a cell that train, in the response's unit.
        collapse_rate: the share of runs that collapse, with a stated sd, by ``FALL`` each.
        looks: at the study so far; by default none.
        folder: where the runs' predictions lie, for what single images add.

    Raises:
        UserError: if there is nothing to compare, an argument is out of range or in points where fractions are meant,
            or there is neither a pilot nor an sd.
    """
    pairs = _pairs(study)
    if not pairs:
        raise UserError(f"{study.name}: declares nothing to compare; give a factor two levels")
    declared = declared_analysis(study)
    check_effect(effect, sd, collapse_rate, declared.response)
    asked = _Asked(study, effect, looks or looks_of(None, study), len(pairs))
    if sd is not None:
        found = asked.stated(sd, collapse_rate)
        return [replace(found, a=cell_label(a, study), b=cell_label(b, study)) for a, b in pairs]
    return asked.by_pilot(pairs, results, folder)


@dataclass(frozen=True)
class _Asked:
    """What is to be planned: an effect in a study, as one of so many comparisons, after the looks taken."""

    study: StudySpec
    effect: float
    looks: StudyLooks
    comparisons: int

    def question(self, looks: StudyLooks) -> Question:
        declared = declared_analysis(self.study)
        share = (1 - declared.claims_share) / (self.comparisons * answers_of(self.study))
        return Question(
            self.effect,
            declared.rope,
            alpha=lambda seeds: ALPHA * looks.share(seeds) * share,
            primary=declared.primary,
            gated=not declared.paired and declared.primary != "median",
        )

    @property
    def anew(self) -> StudyLooks:
        return replace(self.looks, taken=(), declared=())

    @property
    def least(self) -> int:
        """The seeds of the last look, with which the folder may be decided already."""
        return max(LEAST_RUNS, *(look.seeds for look in self.looks.taken), 0)

    def stated(self, sd: float, collapse_rate: float) -> PowerRow:
        """Return what each comparison needs if all cells spread alike."""
        declared = declared_analysis(self.study)
        rise = FALL if collapse_rate or declared.primary == "mean" else None
        if declared.paired and declared.primary != "median":
            cells, pairs = [CellModel(sd, 1 - (1 - collapse_rate) ** 2)], True
        else:
            cells, pairs = [CellModel(sd, collapse_rate, rise)] * 2, False
        rng = np.random.default_rng(SEED)

        def needed(question: Question, least: int = LEAST_RUNS) -> int | None:
            asked = replace(question, weights=(1.0,)) if pairs else question
            return seeds_needed(asked, cells, rng, least=least, max_seeds=MAX_SEEDS_NEEDED, studies=4000)

        here, anew = self.question(self.looks), self.question(self.anew)
        seeds = needed(here, self.least)
        direction = needed(replace(here, direction_only=True), self.least)
        return PowerRow("", "", SeedsNeeded(seeds, seeds, seeds, MAX_SEEDS_NEEDED), needed(anew), direction)

    def by_pilot(
        self, pairs: Sequence[tuple[RunSpec, RunSpec]], results: Sequence[RunResult], folder: Path | None
    ) -> list[PowerRow]:
        """Return what each pair needs by its runs, or why that is not known."""
        declared = declared_analysis(self.study)
        if not any(result.spec.compared for result in results):
            raise UserError(f"{self.study.name}: no runs yet: run {LEAST_RUNS} seeds or more as a pilot, or state --sd")
        data = evidence_of(self.study, results, folder=folder).cells(declared.response)
        rows = [self._row(pair, data) for pair in pairs]
        if all(row.seeds is None for row in rows):
            raise UserError(f"{self.study.name}: {rows[0].reason}; run more seeds, or state --sd")
        return rows

    def _row(self, pair: tuple[RunSpec, RunSpec], data: Cells[RunSpec]) -> PowerRow:
        a, b = (cell_label(spec, self.study) for spec in pair)
        if not all(spec in data.samples and len(data.samples[spec].trained) >= LEAST_RUNS for spec in pair):
            return PowerRow(
                a, b, None, reason=f"too few runs yet: a pilot needs {LEAST_RUNS} non-collapsed runs of each network"
            )
        found = piloted(data, {pair[0]: 1.0, pair[1]: -1.0}, self.question(self.looks))
        if found is None:
            return PowerRow(a, b, None, reason="the runs of both networks have no spread")
        rng = np.random.default_rng(SEED)
        seeds = seeds_needed_from_pilot(found, rng, least=self.least, max_seeds=MAX_SEEDS_NEEDED)
        if seeds.never:
            return PowerRow(a, b, seeds, reason=_never(found))

        def recommended(question: Question, least: int) -> int | None:
            return recommended_seeds(Piloted(question, found.pilots), rng, least=least, max_seeds=MAX_SEEDS_NEEDED)

        anew = replace(found.question, alpha=self.question(self.anew).alpha)
        fresh = recommended(anew, LEAST_RUNS) if self.looks.taken else seeds.recommended
        direction = recommended(replace(found.question, direction_only=True), self.least)
        return PowerRow(a, b, seeds, fresh, direction)


def _never(found: Piloted) -> str:
    """Say why no number of seeds decides."""
    question = found.question
    if not found.floor:
        return "no number of seeds decides: the effect lies on the edge of the equivalence margin"
    half = float(stats.norm.isf(question.alpha_at(MAX_SEEDS_NEEDED) / 2)) * found.floor
    what = f"the {question.images} images alone leave" if question.images else "the overlap of the splits alone leaves"
    return f"no number of seeds decides: {what} ±{half:.2g}"


def power_notes(study: StudySpec, results: Sequence[RunResult], effect: float, sd: float | None = None) -> list[str]:
    """Say that an effect or an sd is very large, or the effect larger than anything a study's runs show."""
    declared = declared_analysis(study)
    response = declared.response
    samples = samples_of(study, [result for result in results if result.spec.compared], response)
    values = [value for sample in samples.values() for value in sample.values.tolist()]
    return power_warnings(effect, sd, response, values, declared.rope)


def few_seeds_note(study: StudySpec) -> str:
    """Say what so few seeds as the study has cannot decide, whatever comes out; empty where they are enough.

    They are too few where there is no verdict or no interval, or only where means are very far apart.
    """
    comparisons = len(_pairs(study))
    if not comparisons:
        return ""
    declared, seeds = declared_analysis(study), study.seeds
    looks = looks_of(None, study)
    alpha = ALPHA * looks.share(max(seeds, LEAST_RUNS)) * (1 - declared.claims_share) / comparisons / answers_of(study)
    one_of = f"as one of {comparisons} comparisons" if comparisons > 1 else "in one comparison"
    apart = least_difference(seeds, alpha, paired=declared.paired)
    if seeds < LEAST_RUNS:
        what = f"a verdict needs {LEAST_RUNS} runs of each network"
    elif declared.primary == "median" and not medians_bounded(seeds, 1 - alpha):
        what = f"{one_of}, no interval of medians can be made, so every verdict stays undecided"
    elif declared.primary != "median" and apart > MOST_APART:
        spread = "of the differences of pairs" if declared.paired else "of the runs"
        what = f"{one_of}, two means are told apart only if they are {apart:.2g} standard deviations {spread} apart"
    else:
        return ""
    each = f"{seeds} seed{'s' if seeds > 1 else ''} of each network"
    return f"{each} can decide little: {what}; `regulens plan STUDY --power` says how many an effect needs"


def _pairs(study: StudySpec) -> list[tuple[RunSpec, RunSpec]]:
    """Return the cells of every declared comparison, at every place."""
    declared = declared_analysis(study)
    if declared.factor is None:
        return []
    found = []
    for a, b in declared_pairs(declared.levels, declared.control, declared.comparisons):
        for spec in cells_of(study):
            levels = {path: level_of(spec, path) for path in study.factors}
            if levels[declared.factor] == a:
                found.append((spec, with_levels(study, levels | {declared.factor: b})))
    return found
