"""A study's results, analysed as it declared: cells, comparisons, factors, claims, images, and the choice made."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regulens.results import RunResult
from regulens.spec import Level, Response, RunSpec, StudySpec
from regulens.stats.analysis import Analysis, Cell, analyse, declared_pairs
from regulens.stats.anova import Anova, analyse_variance
from regulens.stats.cells import Cells
from regulens.stats.factorial import FactorAnswers, Layout, answer_factor
from regulens.stats.images import VarianceSplit, seeds_and_images, variance_split
from regulens.stats.intervals import Interval
from regulens.stats.samples import Sample, on_common_blocks
from regulens.stats.selection import Optimism, SingleRunRanking, selection_optimism, single_run_ranking
from regulens.study.answers import Evidence, answer_claims, evidence_of
from regulens.study.claim_results import AnsweredClaim
from regulens.study.datasets import AcrossSets, across_sets
from regulens.study.declared import DeclaredAnalysis
from regulens.study.grid import cell_label, cell_levels
from regulens.study.runner import run_folder
from regulens.study.samples import Samples, response_of, right_images
from regulens.study.thresholds import study_warnings
from regulens.training.predictions import PREDICTIONS

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
        diverged: runs whose response is not a finite number, in words.
        train_images: how many images networks were trained on, each number once.
        val_images: how many they were validated on.
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
    diverged: tuple[str, ...]
    train_images: tuple[int, ...]
    val_images: tuple[int, ...]

    @cached_property
    def datasets(self) -> AcrossSets | None:
        """Effects pooled over data sets, where these are a factor of the study."""
        return across_sets(self.analysis, "data.name")


def analyse_study(
    study: StudySpec,
    results: Sequence[RunResult],
    folder: Path | None = None,
    level: float = 0.95,
    later: Callable[[int], float] | None = None,
) -> StudyAnalysis:
    """Analyse the trainings of a study (refits are left aside); there must be at least one.

    Args:
        study: as declared.
        results: of its runs.
        folder: where the runs' predictions lie; without it nothing is said of single images.
        level: simultaneous, of each family.
        later: those of looks still to come, by their seeds, for the seeds that claims need; by default the same.
    """
    evidence = evidence_of(study, results, level, folder, later)
    declared, trained = evidence.declared, evidence.trained
    data = evidence.cells(declared.response)
    samples, rng = data.samples, np.random.default_rng(SEED)
    named = [
        Cell(cell_levels(spec, study), sample, data.images.get(spec), spec.parts) for spec, sample in samples.items()
    ]
    pairs = declared_pairs(declared.levels, declared.control, declared.comparisons) if declared.factor else []
    analysis = analyse(named, declared.factor or "", pairs, data.design, rng)
    warnings = (*_threshold_warnings(evidence), *_on_images(evidence, declared), *analysis.warnings)
    matrices = {} if folder is None or declared.paired else _correct(samples, trained, folder)
    return StudyAnalysis(
        declared=declared,
        level=level,
        analysis=replace(analysis, warnings=warnings),
        factors=tuple(_factors(study, analysis, declared, level)),
        anova=_anova(study, analysis, declared),
        claims=answer_claims(evidence, rng),
        images=_images(study, samples, matrices, declared.response),
        optimism=_optimism(samples, declared, matrices, rng),
        ranking=single_run_ranking(_filled(data), rng, higher_is_better=declared.direction == "higher")
        if len(samples) > 1
        else None,
        gaps=_gaps(study, evidence),
        diverged=tuple(_diverged(study, trained, declared.response)),
        train_images=tuple(dict.fromkeys(run.train_images for run in trained)),
        val_images=tuple(dict.fromkeys(run.val_images for run in trained)),
    )


def _on_images(evidence: Evidence, declared: DeclaredAnalysis) -> list[str]:
    """Say that verdicts are over seeds alone, if images were declared and predictions are not all there."""
    data = evidence.cells(declared.response)
    if "images" not in declared.over or data.images.keys() == data.samples.keys():
        return []
    return ["predictions of some runs are missing, so verdicts on their networks are over seeds alone"]


def _filled(data: Cells[RunSpec]) -> list[Sample]:
    """Return the samples with a value for runs that diverged, as far as that is known."""
    filled = [replace(each, values=each.filled(data.diverged_value)) for each in data.samples.values()]
    return [each for each in filled if np.isfinite(each.values).all()]


def _threshold_warnings(evidence: Evidence) -> list[str]:
    def values(response: Response) -> list[float]:
        samples = evidence.cells(response).samples.values()
        return [value for sample in samples for value in sample.values[~sample.diverged].tolist()]

    return study_warnings(evidence.study, values)


def _diverged(study: StudySpec, trained: Sequence[RunResult], response: Response) -> list[str]:
    return [
        f"“{cell_label(run.spec.cell, study)}” seed {run.spec.seed}: its {response} is not "
        + (f"known ({run.unknown})" if run.unknown else "finite, so it counts as a run that failed to train")
        for run in trained
        if not math.isfinite(response_of(run, response))
    ]


def _anova(study: StudySpec, analysis: Analysis, declared: DeclaredAnalysis) -> Anova:
    """Return the analysis of variance of the cells all of whose runs have a value, within blocks where seeds are."""
    runs = {cell.key: cell.sample for cell in analysis.cells if np.isfinite(cell.sample.values).all()}
    if declared.paired:
        common = on_common_blocks(list(runs.values()))
        runs = dict(zip(runs, common, strict=True)) if common else {}
    values = {key: each.values for key, each in runs.items()}
    return analyse_variance(tuple(study.factors), values, blocks=declared.paired)


def _factors(study: StudySpec, analysis: Analysis, declared: DeclaredAnalysis, level: float) -> Iterator[FactorAnswers]:
    """Answer each factor with more than one level by the primary estimand."""
    layout = Layout(tuple(study.factors), tuple(analysis.data.samples))
    for factor in study.factors:
        levels = layout.levels(factor)
        if len(levels) > 1:
            control = declared.control if factor == declared.factor and declared.control in levels else levels[0]
            assert control is not None
            yield answer_factor(layout, factor, control, analysis.data.primary, level)


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
    known = all(np.isfinite(sample.values).all() for sample in samples.values())
    runs = on_common_blocks(list(samples.values())) if declared.paired else list(samples.values())
    if len(runs) < 2 or min(sample.n for sample in runs) < 2 or not known:
        return None
    same = declared.response == "val_accuracy" and len({spec.parts for spec in samples}) == 1
    correct = [matrices[spec] for spec in samples] if same and matrices.keys() == samples.keys() else None
    higher = declared.direction == "higher"
    return selection_optimism(runs, rng, correct=correct, higher_is_better=higher, blocks=declared.paired)


def _gaps(study: StudySpec, evidence: Evidence) -> dict[frozenset[tuple[str, Level]], Interval]:
    data = evidence.cells("gap")
    return {
        frozenset(cell_levels(spec, study).items()): data.overall({spec: 1.0}).interval(0.95) for spec in data.samples
    }
