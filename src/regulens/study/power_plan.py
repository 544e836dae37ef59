"""How many seeds a study needs to see an effect of a given size: from a pilot's runs, or from a stated spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regulens.errors import UserError
from regulens.results import RunResult
from regulens.spec import RunSpec, StudySpec, level_of
from regulens.stats.analysis import declared_pairs
from regulens.stats.intervals import collapse_of
from regulens.stats.power import CellModel, Question, SeedsNeeded, seeds_needed, seeds_needed_from_pilot
from regulens.stats.samples import Sample
from regulens.study.analysis import SEED
from regulens.study.answers import MAX_SEEDS_NEEDED
from regulens.study.declared import declared_analysis
from regulens.study.grid import cell_label, with_levels
from regulens.study.grid import cells as cells_of
from regulens.study.samples import samples_of

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
        UserError: if there is nothing to compare, an argument is out of range, or neither a pilot nor an sd.
    """
    pairs = _pairs(study)
    if not pairs:
        raise UserError(f"{study.name}: declares nothing to compare; give a factor two levels")
    _check(effect, sd, collapse_rate)
    question = Question(effect, declared_analysis(study).rope, comparisons=len(pairs))
    rng = np.random.default_rng(SEED)
    if sd is None:
        needed = _by_pilot(study, results, pairs, question, rng)
    else:
        model = CellModel(sd, collapse_rate, FALL if collapse_rate else None)
        needed = [(seeds_needed(question, [model, model], rng, MAX_SEEDS_NEEDED), "")] * len(pairs)
    return [
        PowerRow(cell_label(a, study), cell_label(b, study), *each) for (a, b), each in zip(pairs, needed, strict=True)
    ]


def _check(effect: float, sd: float | None, collapse_rate: float) -> None:
    if effect <= 0 or (sd is not None and sd <= 0) or not 0 <= collapse_rate < 1:
        raise UserError(
            f"effect = {effect}, sd = {sd}, collapse = {collapse_rate}: an effect and an sd must be above 0, a "
            "collapse rate in [0, 1)"
        )


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
        raise UserError(f"{study.name}: no run is finished: run a few seeds as a pilot, or state a spread with --sd")
    collapse = collapse_of(list(samples.values()), declared.direction == "higher")
    mean = None if collapse is None else collapse.mean
    return [_from_pilot(question, [samples[spec] for spec in pair if spec in samples], mean, rng) for pair in pairs]


def _from_pilot(
    question: Question, pilots: Sequence[Sample], collapsed_mean: float | None, rng: np.random.Generator
) -> tuple[SeedsNeeded | None, str]:
    if len(pilots) < len(question.weights) or min(len(pilot.trained) for pilot in pilots) < PILOT_RUNS:
        return None, f"a pilot needs {PILOT_RUNS} runs of each that trained"
    needed = seeds_needed_from_pilot(
        question, pilots, rng, collapsed_mean=collapsed_mean, max_seeds=MAX_SEEDS_NEEDED, studies=1000
    )
    return needed, ""
