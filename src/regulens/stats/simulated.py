"""Simulated studies of one question, judged by the rule of the analysis, all at once.

What a verdict depends on (means, variances, numbers of runs that trained) is drawn directly. Left out is the stretch
of the bounds for skewness, which takes at most 0.04 from the share of decided studies of normal runs (nine runs of
spreads 1 and 3); the doubt of few runs that look skewed is in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from scipy import stats
from scipy.special import chdtri, ndtri

from regulens.stats.cells import LEAST_RUNS, LEAST_RUNS_IF_UNEQUAL
from regulens.stats.design import Primary
from regulens.stats.shape import DOUBT, RUNS_IF_SUSPECT, SUSPECT
from regulens.stats.simulated_bounds import (
    Estimates,
    Flags,
    Floats,
    MedianEstimates,
    MixtureEstimates,
    StudentEstimates,
)

Rule = Literal["verdict", "greater", "equal"]

SUSPECTED = float(2 * stats.norm.sf(SUSPECT))
"""Share of analyses of normal runs that look skewed, which matters below ``RUNS_IF_SUSPECT`` runs."""


@dataclass(frozen=True)
class CellModel:
    """What the runs of a cell are taken to be: normal where they train, all of one value where they do not.

    Attributes:
        sd: of the runs that train, in the response's unit; (studies,) where each simulated study has its own.
        collapse_rate: in [0, 1), or (studies,).
        rise: by how much the mean of the runs that train is above the value of collapsed ones, negative where lower is
            better; needed for means and medians of all runs.
        image_variance: what the finite images add to the variance of the mean, however many the runs; 0 over seeds.

    Raises:
        ValueError: for a negative sd, or a rate outside [0, 1).
    """

    sd: float | Floats
    collapse_rate: float | Floats = 0.0
    rise: float | None = None
    image_variance: float = 0.0

    def __post_init__(self) -> None:
        if not np.all(np.asarray(self.sd) >= 0):
            raise ValueError(f"sd must not be negative, got {self.sd}")
        if not np.all((np.asarray(self.collapse_rate) >= 0) & (np.asarray(self.collapse_rate) < 1)):
            raise ValueError(f"collapse_rate must be in [0, 1), got {self.collapse_rate}")


@dataclass(frozen=True)
class Question:
    """What shall be decided: a contrast of cells, with the rule that the analysis will judge it by.

    Attributes:
        effect: its true value, in the response's unit, of the primary estimand.
        rope: half-width of the region of practical equivalence.
        weights: one for each cell: (1, -1) of a difference, (1,) of one contrast for each block.
        alpha: what one statement may err by, two-sided, by the number of seeds where it depends on that.
        rule: what counts as decided: ``verdict``: better, worse or equivalent; ``greater`` and ``equal``: supported or
            refuted, of a claim.
        direction_only: count as decided also where only the direction is (``size open``).
        parts: of the claim; what speaks against it is held to alpha / parts.
        primary: the estimand; ``mean`` is that of ``trained`` where no cell has a rise.
        overlap: added to 1 / n in the variance of blocks that are splits of one data set (Nadeau and Bengio).
        image_variance: of the contrast, over images that all cells share.
        images: how many.
        suspect: whether the runs look skewed, so that fewer than ``RUNS_IF_SUSPECT`` are doubted (``shape.DOUBT``).
        gated: whether runs that look skewed, also by chance, are doubted: of means, not of blocks.
    """

    effect: float
    rope: float
    weights: tuple[float, ...] = (1.0, -1.0)
    alpha: float | Callable[[int], float] = 0.05
    rule: Rule = "verdict"
    direction_only: bool = False
    parts: int = 1
    primary: Primary = "trained"
    overlap: float = 0.0
    image_variance: float = 0.0
    images: int = 0
    suspect: bool = False
    gated: bool = True

    def alpha_at(self, seeds: int) -> float:
        """Return what the statement may err by at a look at so many seeds."""
        return self.alpha(seeds) if callable(self.alpha) else self.alpha


@dataclass(frozen=True, eq=False)
class Simulation:
    """Simulated studies of one question, and the share of them that are decided with so many seeds.

    Attributes:
        question: what shall be decided.
        cells: one for each of its weights.
        rng: one number of it is consumed.
        max_seeds: more are as good as without end.
        studies: their number.

    Raises:
        ValueError: if the cells are not as many as the weights.
    """

    question: Question
    cells: Sequence[CellModel]
    rng: np.random.Generator
    max_seeds: int = 200
    studies: int = 4000
    _root: int = field(init=False)

    def __post_init__(self) -> None:
        if len(self.cells) != len(self.question.weights):
            raise ValueError(
                f"there must be a cell for each of {len(self.question.weights)} weights, got {len(self.cells)}"
            )
        object.__setattr__(self, "_root", int(self.rng.integers(2**31)))

    def share(self, seeds: int) -> float:
        """Return the share of studies that are decided with so many seeds of every cell."""
        return float(np.mean(self.decided(seeds)))

    def decided(self, seeds: int) -> Flags:
        """Return (studies,) which are decided with so many seeds of every cell."""
        question, rng = self.question, np.random.default_rng(self._root)
        trained = self._trained(seeds)
        enough = self._enough(trained, question.alpha_at(seeds))
        doubt = self._doubt(trained, rng)
        with np.errstate(divide="ignore", invalid="ignore"):  # where too few trained
            if question.primary == "median":
                found: Estimates = self._medians(seeds, rng)
            elif question.primary == "mean" and any(cell.rise is not None for cell in self.cells):
                found = self._mixtures(seeds, trained, rng)
            else:
                found = self._means(trained, rng)
            decided = _decided(replace(found, doubt=doubt), question, question.alpha_at(seeds))
        return np.asarray(enough & decided, np.bool_)

    def _enough(self, trained: Floats, alpha: float) -> Flags:
        """Return (studies,) which have enough runs for a verdict (``Cells.too_few``)."""
        fewest, most = trained.min(axis=1), trained.max(axis=1)
        enough = fewest >= LEAST_RUNS
        if self.question.gated:
            unequal = next(runs for least, runs in LEAST_RUNS_IF_UNEQUAL if alpha > least)
            enough &= (fewest >= unequal) | (most < 1.5 * fewest)
        return np.asarray(enough, np.bool_)

    def _doubt(self, trained: Floats, rng: np.random.Generator) -> Floats:
        """Return (studies,) how much further away bounds must be, where so few runs look skewed."""
        if not self.question.gated:
            return np.ones(self.studies)
        suspect = self.question.suspect | (rng.random(self.studies) < SUSPECTED)
        fewest = trained.min(axis=1)
        doubt = np.select([fewest >= runs for runs, _ in DOUBT], [factor for _, factor in DOUBT])
        return np.asarray(np.where(suspect & (fewest < RUNS_IF_SUSPECT), doubt, 1.0), np.float64)

    def _of_cells(self, name: Literal["sd", "collapse_rate"]) -> Floats:
        """Return (studies, cells) what the models say."""
        found = [np.broadcast_to(np.asarray(getattr(cell, name), np.float64), self.studies) for cell in self.cells]
        of_cells: Floats = np.stack(found, axis=1)
        return of_cells

    def _trained(self, seeds: int) -> Floats:
        """Return (studies, cells) how many runs trained."""
        kept = 1 - self._of_cells("collapse_rate")
        if bool(np.all(kept == 1)):
            return np.full(kept.shape, float(seeds))
        counts: Floats = seeds * kept if seeds > self.max_seeds else self._counts[seeds - 1].astype(np.float64)
        return counts

    @cached_property
    def _counts(self) -> Floats:
        """(max_seeds, studies, cells) how many of the first runs trained."""
        kept = 1 - self._of_cells("collapse_rate")
        uniform = np.random.default_rng((self._root, 1)).random((self.max_seeds, *kept.shape), np.float32)
        return np.cumsum(uniform < kept, axis=0, dtype=np.float64)

    def _of_runs(self, trained: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return (studies, cells) deviations of the means of trained runs, and estimates of their variances."""
        n = np.maximum(trained, 2)
        deviations = rng.standard_normal(trained.shape)
        uniform = rng.random(trained.shape)
        chi_squared = np.stack([_chi_squared(uniform[:, i], n[:, i] - 1) for i in range(len(self.cells))], axis=1)
        sd = self._of_cells("sd")
        scale = 1 / n + self.question.overlap
        return deviations * sd * np.sqrt(scale), sd**2 * chi_squared / (n - 1) * scale

    def _means(self, trained: Floats, rng: np.random.Generator) -> StudentEstimates:
        question, weights = self.question, np.array(self.question.weights)
        deviations, variances = self._of_runs(trained, rng)
        of_images = question.image_variance
        image = math.sqrt(of_images) * rng.standard_normal(self.studies) if of_images else 0.0
        parts = weights**2 * variances
        total = parts.sum(axis=1) + of_images
        below = np.sum(parts**2 / (np.maximum(trained, 2) - 1), axis=1)
        df = total**2 / (below + (of_images**2 / (question.images - 1) if of_images else 0.0))
        value = question.effect + deviations @ weights + image
        return StudentEstimates(np.ones(self.studies), value, np.sqrt(total), df)

    def _mixtures(self, seeds: int, trained: Floats, rng: np.random.Generator) -> MixtureEstimates:
        """Return the contrast of means of all runs, each a mixture (``intervals.overall_interval``)."""
        weights = np.array(self.question.weights)
        kept = 1 - self._of_cells("collapse_rate")
        centers = np.broadcast_to([cell.rise or 0.0 for cell in self.cells], kept.shape).copy()
        others = (kept * centers)[:, 1:] @ weights[1:]
        centers[:, 0] = (self.question.effect - others) / (weights[0] * kept[:, 0])
        deviations, variances = self._of_runs(trained, rng)
        of_images = np.array([cell.image_variance for cell in self.cells])
        gain = centers + deviations + self._image_effects(of_images, rng)
        error, df = np.sqrt(variances + of_images), np.maximum(trained, 2) - 1
        if of_images.any():
            images = self.question.images - 1
            df = (variances + of_images) ** 2 / (variances**2 / df + of_images**2 / images)
        return MixtureEstimates(np.ones(self.studies), weights, trained / seeds, seeds, gain, error, df)

    def _image_effects(self, of_images: Floats, rng: np.random.Generator) -> Floats:
        """Return (studies, cells) what the images do to each mean: partly the same to all, so that contrasts fit."""
        weights, sd = np.array(self.question.weights), np.sqrt(of_images)
        apart, alike = float(weights**2 @ of_images), float(weights @ sd) ** 2
        common = (self.question.image_variance - apart) / (alike - apart) if alike != apart else 0.0
        common = min(max(common, 0.0), 1.0)
        own = rng.standard_normal((self.studies, len(sd)))
        shared = rng.standard_normal((self.studies, 1))
        return np.asarray(sd * (math.sqrt(common) * shared + math.sqrt(1 - common) * own), np.float64)

    def _medians(self, seeds: int, rng: np.random.Generator) -> MedianEstimates:
        """Return the contrast of medians of all runs; their own are those of the cells' mixtures."""
        seeds = min(seeds, self.max_seeds)
        shape = (self.studies, self.max_seeds, len(self.cells))
        failed = rng.random(shape)[:, :seeds]
        runs = rng.standard_normal(shape)[:, :seeds]
        sd, kept = self._of_cells("sd")[:, None], 1 - self._of_cells("collapse_rate")[:, None]
        centers = sd * ndtri(np.clip(1 - 0.5 / kept, 1e-12, 1))  # from the median of the runs that train to that of all
        sides = np.array([math.copysign(1.0, cell.rise or 1.0) for cell in self.cells])
        values = np.where(failed < kept, sides * (runs * sd - centers), -np.inf * sides)
        rises = np.array([cell.rise if cell.rise is not None else np.inf for cell in self.cells])
        values = np.where(np.isinf(values), -rises, values)
        weights = np.array(self.question.weights)
        values[..., 0] += self.question.effect / weights[0]
        return MedianEstimates(np.ones(self.studies), weights, np.sort(values, axis=1))


def _decided(found: Estimates, question: Question, alpha: float) -> Flags:
    """Tell which studies are decided: ``verdicts.judge``, ``claims.judge_part``."""
    rope, against = question.rope, alpha / question.parts
    inside = found.above(-rope, alpha) & found.below(rope, alpha)
    if question.rule == "equal":
        return inside | found.beyond(rope, against)
    if question.rule == "greater":
        supported = found.above(rope, alpha if rope else alpha / 2)
        smaller = found.below(rope, against) if rope else False
        return supported | found.below(0.0, against / 2) | smaller
    decided = inside | found.beyond(rope, alpha)
    if question.direction_only:
        decided |= found.above(0.0, alpha / 2) | found.below(0.0, alpha / 2)
    return decided


def _chi_squared(uniform: Floats, df: Floats) -> Floats:
    """Return chi-squared numbers by inversion: the same uniform number gives neighbors for neighboring df."""
    return np.asarray(chdtri(df, uniform), np.float64)
