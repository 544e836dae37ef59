"""A study's results, analysed as it declared: cells, comparisons, factors, claims, images, and the choice made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from regulens.results import RunResult
from regulens.spec import Level, Response, RunSpec, StudySpec
from regulens.stats.analysis import Analysis, Cell, analyse, declared_pairs
from regulens.stats.claims import JudgedClaim, Part, judge_claim
from regulens.stats.comparisons import Design
from regulens.stats.estimates import median_interval
from regulens.stats.factorial import (
    Anova,
    FactorAnswers,
    Layout,
    Levels,
    analyse_variance,
    answer_factor,
    contrast,
    mover_contrast,
    mover_estimator,
    welch_estimator,
)
from regulens.stats.images import VarianceSplit, seeds_and_images, variance_split
from regulens.stats.intervals import Collapse, Interval, collapse_of, mean_interval, overall_interval
from regulens.stats.power import Question, SeedsNeeded, seeds_needed_from_pilot
from regulens.stats.samples import Sample
from regulens.stats.selection import Optimism, SingleRunRanking, selection_optimism, single_run_ranking
from regulens.study.claims import Contrast, DeclaredClaim, declared_claims
from regulens.study.declared import DeclaredAnalysis, declared_analysis
from regulens.study.grid import cell_label, cell_levels, cells
from regulens.study.runner import run_folder
from regulens.study.table import is_collapsed
from regulens.training.checkpoint import PREDICTIONS, load_predictions

SEED = 20220101  # of the permutations and bootstraps: an analysis of the same runs is the same
MAX_SEEDS_NEEDED = 200
SIMULATED_STUDIES = 500

BOUNDS: dict[Response, tuple[float, float]] = {
    "val_accuracy": (0, 1),
    "train_accuracy": (0, 1),
    "gap": (-1, 1),
    "val_loss": (0, math.inf),
    "train_loss": (0, math.inf),
    "train_seconds": (0, math.inf),
}
"""What a response can be."""

Samples = Mapping[RunSpec, Sample]


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
    trained = [result for result in results if result.spec.compared]
    samples = samples_of(study, trained, declared.response)
    design = _design(declared, level)
    rng = np.random.default_rng(SEED)
    named = [Cell(cell_levels(spec, study), sample) for spec, sample in samples.items()]
    factor = declared.factor or ""
    pairs = declared_pairs(declared.levels, declared.control, declared.comparisons) if declared.factor else []
    matrices = {} if folder is None or declared.paired else _correct(samples, trained, folder)
    return StudyAnalysis(
        declared=declared,
        level=level,
        analysis=analyse(named, factor, pairs, design, rng),
        factors=tuple(_factors(study, samples, declared, level)),
        anova=analyse_variance(tuple(study.factors), _values(study, samples, trained_only=False)),
        claims=tuple(_answer_claims(_Evidence(study, trained, design, level, {declared.response: samples}), rng)),
        images=_images(study, samples, matrices, declared.response),
        optimism=_optimism(samples, declared, matrices, rng),
        ranking=single_run_ranking(list(samples.values()), rng, higher_is_better=declared.direction == "higher")
        if len(samples) > 1
        else None,
        gaps=_gaps(study, trained),
        left_out=tuple(_left_out(study, trained, declared.response)),
    )


def _design(declared: DeclaredAnalysis, level: float) -> Design:
    bounds = BOUNDS[declared.response]
    return Design(declared.direction, declared.rope, declared.primary, 1 - level, declared.paired, bounds)


def answer_claims(study: StudySpec, results: Sequence[RunResult], level: float = 0.95) -> tuple[AnsweredClaim, ...]:
    """Judge the claims of a study alone, without the seeds that they need."""
    trained = [result for result in results if result.spec.compared]
    evidence = _Evidence(study, trained, _design(declared_analysis(study), level), level, {})
    return tuple(_answer_claims(evidence, None))


def response_of(result: RunResult, response: Response) -> float:
    """Return a run's response; the gap is training minus validation accuracy."""
    return cast("float", getattr(result, response))


def samples_of(study: StudySpec, trained: Sequence[RunResult], response: Response) -> dict[RunSpec, Sample]:
    """Return the runs of each cell that has some, in the order of the study's cells; values that are finite only."""
    found: dict[RunSpec, list[RunResult]] = {spec: [] for spec in cells(study)}
    for result in sorted(trained, key=lambda result: result.spec.seed):
        if math.isfinite(response_of(result, response)):
            found[result.spec.cell].append(result)
    return {
        spec: Sample(
            np.array([response_of(run, response) for run in runs]),
            np.array([response != "train_seconds" and bool(is_collapsed(run)) for run in runs]),
            np.array([run.spec.seed for run in runs], np.int64),
        )
        for spec, runs in found.items()
        if runs
    }


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


@dataclass(frozen=True, eq=False)
class _Evidence:
    """What claims are judged by."""

    study: StudySpec
    trained: Sequence[RunResult]
    design: Design
    level: float
    samples: dict[Response, dict[RunSpec, Sample]]

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
        return collapse_of(list(self.cells(each.response).values()), _up(self.terms(each)))


def _answer_claims(evidence: _Evidence, rng: np.random.Generator | None) -> list[AnsweredClaim]:
    declared = declared_claims(evidence.study)
    reasons = [_why_not_testable(claim, evidence) for claim in declared]
    count = reasons.count("")
    return [
        AnsweredClaim(claim, None, reason) if reason else _answer_claim(claim, evidence, count, rng)
        for claim, reason in zip(declared, reasons, strict=True)
    ]


def _answer_claim(
    claim: DeclaredClaim, evidence: _Evidence, count: int, rng: np.random.Generator | None
) -> AnsweredClaim:
    parts = tuple(_part(each, evidence) for each in claim.contrasts)
    judged = judge_claim(parts, count, 1 - evidence.level)
    verdicts = zip(claim.contrasts, judged.parts, strict=True)
    still_open = [each for each, part in verdicts if part.verdict == "undecided" and judged.verdict == "undecided"]
    seeds = _seeds_needed(still_open, evidence, count, rng) if rng is not None else None
    return AnsweredClaim(claim, judged, seeds=seeds, parts=parts)


def _why_not_testable(claim: DeclaredClaim, evidence: _Evidence) -> str:
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


def _part(each: Contrast, evidence: _Evidence) -> Part:
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

    return Part(each.label, interval, each.rope, "equal" if each.sense == "equal" else "greater")


def _seeds_needed(
    contrasts: Sequence[Contrast], evidence: _Evidence, claims: int, rng: np.random.Generator
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


def _up(terms: Sequence[Sample]) -> bool:
    """Tell whether runs that trained lie above those that collapsed, as accuracies do."""
    trained, collapsed = (
        np.concatenate([term.values[term.collapsed == state] for term in terms]) for state in (False, True)
    )
    return not (len(trained) and len(collapsed)) or bool(trained.mean() >= collapsed.mean())


def _by_seed(terms: Sequence[Sample], weights: Sequence[float]) -> NDArray[np.float64]:
    """Return the weighted sum of the cells' values for each seed that all of them have."""
    common = sorted(set.intersection(*(set(term.seeds.tolist()) for term in terms)))
    return np.array(
        [
            sum(weight * term.values[term.seeds == seed][0] for term, weight in zip(terms, weights, strict=True))
            for seed in common
        ]
    )


def _correct(samples: Samples, trained: Sequence[RunResult], folder: Path) -> dict[RunSpec, NDArray[np.bool_]]:
    """Return which validation images each run has right, (runs, images), of cells whose predictions are all there."""
    matrices = {}
    for spec, sample in samples.items():
        runs = {run.spec.seed: run.run_id for run in trained if run.spec.cell == spec}
        paths = [run_folder(folder, runs[int(seed)]) / PREDICTIONS for seed in sample.seeds]
        if not all(path.is_file() for path in paths):
            continue
        predictions = [load_predictions(path) for path in paths]
        matrices[spec] = np.array([each.probabilities.argmax(1) == each.labels for each in predictions])
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
    collapse = collapse_of(list(samples.values()), _up(list(samples.values())))
    return {
        frozenset(cell_levels(spec, study).items()): overall_interval(sample, collapse, 0.95).within(BOUNDS["gap"])
        for spec, sample in samples.items()
    }
