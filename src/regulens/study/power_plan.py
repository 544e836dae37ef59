"""How many seeds a study needs to see an effect of a given size: from a pilot's runs, or from a stated spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regulens.errors import UserError
from regulens.results import RunResult
from regulens.spec import RunSpec, StudySpec, level_of
from regulens.stats.analysis import declared_pairs
from regulens.stats.cells import LEAST_RUNS
from regulens.stats.estimates import medians_bounded
from regulens.stats.power import (
    CellModel,
    Question,
    SeedsNeeded,
    least_difference,
    seeds_needed,
    seeds_needed_from_pilot,
)
from regulens.stats.samples import Sample
from regulens.study.analysis import SEED
from regulens.study.answers import MAX_SEEDS_NEEDED, evidence_of
from regulens.study.declared import declared_analysis
from regulens.study.grid import cell_label, with_levels
from regulens.study.grid import cells as cells_of
from regulens.study.samples import samples_of
from regulens.study.thresholds import check_effect, power_warnings

ALPHA = 0.05
PILOT_RUNS = 3
FALL = 0.75
"""By how much the accuracy of a run that collapses is taken to fall, where no pilot tells."""


@dataclass(frozen=True)
class PowerRow:
    """What one comparison of the family needs: its two cells by name, and the seeds, or why they are not known."""

    a: str
    b: str
    seeds: SeedsNeeded | None
    reason: str = ""


def power_rows(
    study: StudySpec,
    results: Sequence[RunResult],
    *,
    effect: float,
    sd: float | None = None,
    collapse_rate: float = 0.0,
) -> list[PowerRow]:
    """Return the seeds that every declared comparison needs to decide an effect with 80 % probability.

    With an ``sd``, all cells are taken to spread by it and to collapse at the given rate; without, the runs of the
    study are the pilot: the low end of the range takes their spread and collapse rate as they are, the high end at
    upper confidence bounds.

    Args:
        study: which declares the comparisons, their family and the region of practical equivalence.
        results: of its runs, if there are any.
        effect: the difference of means to be decided, in the response's unit.
        sd: between the runs of a cell that train, in the response's unit.
        collapse_rate: the share of runs that collapse, with a stated sd, by ``FALL`` each.

    Raises:
        UserError: if there is nothing to compare, an argument is out of range or in points where fractions are meant,
            or there is neither a pilot nor an sd.
    """
    pairs = _pairs(study)
    if not pairs:
        raise UserError(f"{study.name}: declares nothing to compare; give a factor two levels")
    declared = declared_analysis(study)
    check_effect(effect, sd, collapse_rate, declared.response)
    question = Question(effect, declared.rope, comparisons=len(pairs))
    rng = np.random.default_rng(SEED)
    if sd is None:
        needed = _by_pilot(study, results, pairs, question, rng)
    else:
        model = CellModel(sd, collapse_rate, FALL if collapse_rate else None)
        needed = [(seeds_needed(question, [model, model], rng, MAX_SEEDS_NEEDED), "")] * len(pairs)
    return [
        PowerRow(cell_label(a, study), cell_label(b, study), *each) for (a, b), each in zip(pairs, needed, strict=True)
    ]


def power_notes(study: StudySpec, results: Sequence[RunResult], effect: float, sd: float | None = None) -> list[str]:
    """Say that an effect or an sd is very large, or the effect larger than anything a study's runs show."""
    declared = declared_analysis(study)
    response = declared.response
    samples = samples_of(study, [result for result in results if result.spec.compared], response)
    values = [value for sample in samples.values() for value in sample.values.tolist()]
    return power_warnings(effect, sd, response, values, declared.rope)


def few_seeds_note(study: StudySpec) -> str:
    """Say what so few seeds as the study has cannot decide, whatever comes out; empty where they are enough.

    They are too few where no p, adjusted over the declared comparisons, can be significant, or no interval made.
    """
    declared, comparisons = declared_analysis(study), len(_pairs(study))
    seeds, paired = study.seeds, declared.paired
    if not comparisons:
        return ""
    one_of = f"as one of {comparisons} comparisons" if comparisons > 1 else "in one comparison"
    no_interval = seeds < 2 or (declared.primary == "median" and not medians_bounded(seeds, 1 - ALPHA / comparisons))
    if seeds >= LEAST_RUNS and not no_interval:
        return ""
    each = f"{seeds} seed{'s' if seeds > 1 else ''} of each network"
    if no_interval:
        what = "no interval can be made, so every verdict stays undecided"
    else:
        apart = least_difference(seeds, comparisons, paired=paired)
        spread = "of the differences of pairs" if paired else "of the runs"
        what = f"two means are told apart only if they are {apart:.2g} standard deviations {spread} apart"
    return f"{each} can decide little: {one_of}, {what}; `regulens plan STUDY --power` says how many an effect needs"


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


def _by_pilot(
    study: StudySpec,
    results: Sequence[RunResult],
    pairs: Sequence[tuple[RunSpec, RunSpec]],
    question: Question,
    rng: np.random.Generator,
) -> list[tuple[SeedsNeeded | None, str]]:
    """Return the seeds of each pair by its runs, or why they are not known."""
    declared = declared_analysis(study)
    trained = [result for result in results if result.spec.compared]
    samples = samples_of(study, trained, declared.response)
    if not samples:
        raise UserError(f"{study.name}: no runs yet: run {PILOT_RUNS} seeds or more as a pilot, or state --sd")
    data = evidence_of(study, results).cells(declared.response)
    mean = data.collapse.mean if data.collapse is not None and declared.primary == "mean" else None
    needed = [_from_pilot(question, [samples[spec] for spec in pair if spec in samples], mean, rng) for pair in pairs]
    if all(seeds is None for seeds, _ in needed):
        raise UserError(f"{study.name}: too few runs yet: {needed[0][1]}; run more seeds, or state --sd")
    return needed


def _from_pilot(
    question: Question, pilots: Sequence[Sample], collapsed_mean: float | None, rng: np.random.Generator
) -> tuple[SeedsNeeded | None, str]:
    if len(pilots) < len(question.weights) or min(len(pilot.trained) for pilot in pilots) < PILOT_RUNS:
        return None, f"a pilot needs {PILOT_RUNS} non-collapsed runs of each network"
    needed = seeds_needed_from_pilot(
        question, pilots, rng, collapsed_mean=collapsed_mean, max_seeds=MAX_SEEDS_NEEDED, studies=1000
    )
    return needed, ""
