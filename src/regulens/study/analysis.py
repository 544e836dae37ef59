"""A study's results, analysed as it declared: cells, comparisons, factors, claims, images, and the choice made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regulens.results import RunResult
from regulens.spec import BOUNDS, Level, Response, RunSpec, StudySpec
from regulens.stats.analysis import Analysis, Cell, analyse, declared_pairs
from regulens.stats.anova import Anova, analyse_variance
from regulens.stats.contrasts import Levels, mover_estimator, welch_estimator
from regulens.stats.estimates import median_interval
from regulens.stats.factorial import FactorAnswers, Layout, answer_factor
from regulens.stats.images import VarianceSplit, seeds_and_images, variance_split
from regulens.stats.intervals import Interval, collapse_of, overall_interval
from regulens.stats.selection import Optimism, SingleRunRanking, selection_optimism, single_run_ranking
from regulens.study.answers import AnsweredClaim, Evidence, answer_claims, evidence_of
from regulens.study.datasets import AcrossSets, across_sets
from regulens.study.declared import DeclaredAnalysis, declared_analysis
from regulens.study.grid import cell_label, cell_levels
from regulens.study.runner import run_folder
from regulens.study.samples import Samples, response_of, right_images, samples_of, trained_above
from regulens.study.thresholds import study_warnings
from regulens.training.checkpoint import PREDICTIONS

SEED = 20220101  # of the permutations and bootstraps: an analysis of the same runs is the same


@dataclass(frozen=True, eq=False)
class CellImages:
    """What the single images add: the spread between runs split up, and the accuracy on new seeds and new images."""

    split: VarianceSplit
    accuracy: Interval


@dataclass(frozen=True, eq=False)
class StudyAnalysis:
    """All that a study's results say, by the rules that it declared.

    Attributes:
        declared: what it is judged by.
        level: of each family; below alpha's 95 % where this is one of several looks.
        analysis: cells and comparisons of the declared response.
        factors: what each factor does.
        anova: shares of variance.
        claims: in the order of the file.
        images: by cell label, for accuracies on one set of images.
        optimism: of the selected cell's mean, ``None`` where there is no choice of one among several.
        ranking: how studies with one run of each network would rank them; ``None`` for a single network.
        gaps: by the set of a cell's levels, the mean of training minus validation accuracy over all runs.
        left_out: runs whose response is not a finite number.
    """

    declared: DeclaredAnalysis
    level: float
    analysis: Analysis
    factors: tuple[FactorAnswers, ...]
    anova: Anova
    claims: tuple[AnsweredClaim, ...]
    images: Mapping[str, CellImages]
    optimism: Optimism | None
    ranking: SingleRunRanking | None
    gaps: Mapping[frozenset[tuple[str, Level]], Interval]
    left_out: tuple[str, ...]

    @cached_property
    def datasets(self) -> AcrossSets | None:
        """Effects pooled over data sets, where these are a factor of the study."""
        return across_sets(self.analysis, "data.name")


def analyse_study(
    study: StudySpec, results: Sequence[RunResult], folder: Path | None = None, level: float = 0.95
) -> StudyAnalysis:
    """Analyse the trainings of a study (refits are left aside); there must be at least one.

    Args:
        study: as declared.
        results: of its runs.
        folder: where the runs' predictions lie; without it nothing is said of single images.
        level: simultaneous, of each family.
    """
    declared = declared_analysis(study)
    evidence = evidence_of(study, results, level)
    trained, samples = evidence.trained, evidence.cells(declared.response)
    rng = np.random.default_rng(SEED)
    named = [Cell(cell_levels(spec, study), sample) for spec, sample in samples.items()]
    factor = declared.factor or ""
    pairs = declared_pairs(declared.levels, declared.control, declared.comparisons) if declared.factor else []
    matrices = {} if folder is None or declared.paired else _correct(samples, trained, folder)
    analysis = analyse(named, factor, pairs, evidence.design, rng)
    warnings = (*_threshold_warnings(evidence), *analysis.warnings)
    return StudyAnalysis(
        declared=declared,
        level=level,
        analysis=replace(analysis, warnings=warnings),
        factors=tuple(_factors(study, samples, declared, level)),
        anova=analyse_variance(tuple(study.factors), _values(study, samples, trained_only=False)),
        claims=answer_claims(evidence, rng),
        images=_images(study, samples, matrices, declared.response),
        optimism=_optimism(samples, declared, matrices, rng),
        ranking=single_run_ranking(list(samples.values()), rng, higher_is_better=declared.direction == "higher")
        if len(samples) > 1
        else None,
        gaps=_gaps(study, trained),
        left_out=tuple(_left_out(study, trained, declared.response)),
    )


def _threshold_warnings(evidence: Evidence) -> list[str]:
    def values(response: Response) -> list[float]:
        return [value for sample in evidence.cells(response).values() for value in sample.values.tolist()]

    return study_warnings(evidence.study, values)


def _left_out(study: StudySpec, trained: Sequence[RunResult], response: Response) -> list[str]:
    return [
        f"“{cell_label(run.spec.cell, study)}” seed {run.spec.seed}: its {response} is not finite"
        for run in trained
        if not math.isfinite(response_of(run, response))
    ]


def _values(study: StudySpec, samples: Samples, trained_only: bool) -> dict[Levels, NDArray[np.float64]]:
    return {
        tuple(cell_levels(spec, study).values()): each.trained if trained_only else each.values
        for spec, each in samples.items()
    }


def _factors(study: StudySpec, samples: Samples, declared: DeclaredAnalysis, level: float) -> list[FactorAnswers]:
    """Answer each factor with more than one level by the primary estimand."""
    by_levels = {tuple(cell_levels(spec, study).values()): each for spec, each in samples.items()}
    layout = Layout(tuple(study.factors), tuple(by_levels))
    collapse = collapse_of(list(samples.values()), declared.direction == "higher")
    if declared.primary == "median":
        estimator = mover_estimator(lambda cell, level: median_interval(by_levels[cell].values, level))
    elif declared.primary == "mean" and collapse is not None:
        estimator = mover_estimator(lambda cell, level: overall_interval(by_levels[cell], collapse, level))
    else:
        estimator = welch_estimator(_values(study, samples, trained_only=declared.primary == "trained"))
    answers = []
    for factor in study.factors:
        levels = layout.levels(factor)
        if len(levels) > 1:
            control = declared.control if factor == declared.factor and declared.control in levels else levels[0]
            assert control is not None
            answers.append(answer_factor(layout, factor, control, estimator, level))
    return answers


def _correct(samples: Samples, trained: Sequence[RunResult], folder: Path) -> dict[RunSpec, NDArray[np.bool_]]:
    """Return which validation images each run has right, (runs, images), of cells whose predictions are all there."""
    matrices = {}
    for spec, sample in samples.items():
        runs = {run.spec.seed: run.run_id for run in trained if run.spec.cell == spec}
        right = right_images([run_folder(folder, runs[int(seed)]) / PREDICTIONS for seed in sample.seeds])
        if right is not None:
            matrices[spec] = right
    return matrices


def _images(
    study: StudySpec, samples: Samples, matrices: Mapping[RunSpec, NDArray[np.bool_]], response: Response
) -> dict[str, CellImages]:
    """Describe the cells of which at least two runs trained, by these runs."""
    if response != "val_accuracy":
        return {}
    found = {}
    for spec, correct in matrices.items():
        kept = correct[~samples[spec].collapsed]
        if len(kept) > 1:
            found[cell_label(spec, study)] = CellImages(variance_split(kept), seeds_and_images(kept, 0.95))
    return found


def _optimism(
    samples: Samples,
    declared: DeclaredAnalysis,
    matrices: Mapping[RunSpec, NDArray[np.bool_]],
    rng: np.random.Generator,
) -> Optimism | None:
    """Estimate the luck of the choice over seeds, and over images too where all cells are judged on the same ones."""
    if len(samples) < 2 or min(sample.n for sample in samples.values()) < 2:
        return None
    same = declared.response == "val_accuracy" and len({spec.parts for spec in samples}) == 1
    correct = [matrices[spec] for spec in samples] if same and matrices.keys() == samples.keys() else None
    higher = declared.direction == "higher"
    return selection_optimism(list(samples.values()), rng, correct=correct, higher_is_better=higher)


def _gaps(study: StudySpec, trained: Sequence[RunResult]) -> dict[frozenset[tuple[str, Level]], Interval]:
    samples = samples_of(study, trained, "gap")
    collapse = collapse_of(list(samples.values()), trained_above(list(samples.values())))
    return {
        frozenset(cell_levels(spec, study).items()): overall_interval(sample, collapse, 0.95).within(BOUNDS["gap"])
        for spec, sample in samples.items()
    }
