"""How many seeds a decision needs, from a stated spread or from the runs of a pilot."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from regulens.stats.cells import LEAST_RUNS, Cells
from regulens.stats.estimate import StudentEstimate
from regulens.stats.intervals import welch_df, wilson
from regulens.stats.simulated import CellModel, Question, Simulation
from regulens.stats.ties import constant

Key = TypeVar("Key", bound=Hashable)
Floats = NDArray[np.float64]

POWER = 0.8
MAX_SEEDS_NEEDED = 200
"""More seeds than these are not tried."""
PILOT_CONFIDENCE = 0.8  # of upper bounds from a pilot: Browne 1995, Statistics in Medicine 14, 1933-1940
USUAL_RUNS = 5
"""How many runs of a cell the collapse rate of the whole analysis counts for."""
_MANY = 1_000_000  # seeds, as good as without end


@dataclass(frozen=True)
class SeedsNeeded:
    """The seeds each cell needs for a decision with 80 % probability; None is more than ``max_seeds``.

    Attributes:
        low: if the runs spread as those of the pilot.
        high: if they spread, and collapse, as much as the pilot leaves possible (one-sided 80 % bounds).
        recommended: where the probability is 80 % on average over what the pilot leaves possible.
        max_seeds: the most that was tried.
        never: whether no number of seeds decides: the effect is on an edge, or the images or splits leave too much.
    """

    low: int | None
    high: int | None
    recommended: int | None
    max_seeds: int
    never: bool = False

    def written(self, seeds: int | None) -> str:
        """Write one of the numbers, or that it is more than the most that was tried."""
        return f"> {self.max_seeds}" if seeds is None else str(seeds)

    @property
    def text(self) -> str:
        """The recommended number, and behind it the range if that has any width."""
        low, high, recommended = map(self.written, (self.low, self.high, self.recommended))
        return recommended if low == high else f"{recommended} ({low} to {high})"


def seeds_needed(
    question: Question,
    cells: Sequence[CellModel],
    rng: np.random.Generator,
    *,
    least: int = LEAST_RUNS,
    max_seeds: int = MAX_SEEDS_NEEDED,
    studies: int = 2000,
) -> int | None:
    """Return the least number of seeds at which 80 % of simulated studies are decided, None above ``max_seeds``.

    Args:
        question: what shall be decided.
        cells: one for each of the question's weights.
        rng: one number of it is consumed; the studies of all numbers of seeds are drawn from the same uniform numbers,
            so that the share of decided ones hardly jumps from one number to the next.
        least: the first number of seeds that is tried.
        max_seeds: at least 2.
        studies: how many are simulated; their share has a standard error of 0.4 / sqrt(studies).

    Raises:
        ValueError: if the cells are not as many as the weights.
    """
    simulated = Simulation(question, cells, rng, max_seeds, studies)
    if simulated.share(least) >= POWER:
        return least
    if simulated.share(max_seeds) < POWER:
        return None
    return least + bisect_left(range(least, max_seeds), True, key=lambda seeds: simulated.share(seeds) >= POWER)


@dataclass(frozen=True)
class Pilot:
    """What the runs of one cell, or the contrasts of blocks, tell of those to come.

    Attributes:
        sd: of the runs that trained.
        df: its degrees of freedom.
        collapses: of all runs, how many failed to train.
        runs: all.
        usual: collapses and runs of the whole analysis, whose rate counts as ``USUAL_RUNS`` more; None where collapse
            is not looked for.
        cells: in each of which a run must train, of the contrast of a block.
        rise: see ``CellModel``.
        image_variance: see ``CellModel``.
    """

    sd: float
    df: float
    collapses: int = 0
    runs: int = 1
    usual: tuple[int, int] | None = None
    cells: int = 1
    rise: float | None = None
    image_variance: float = 0.0

    def as_seen(self) -> CellModel:
        """Return the spread and the rate as they are."""
        return self._model(self.sd, self.collapses / self.runs)

    def at_bounds(self) -> CellModel:
        """Return the one-sided 80 % upper bounds of the spread (chi-squared) and, where any run failed, of the rate."""
        upper = self.sd * math.sqrt(self.df / float(stats.chi2.ppf(1 - PILOT_CONFIDENCE, self.df)))
        counted = self.usual is not None and (self.collapses or self.rise is not None)
        return self._model(upper, wilson(self.collapses, self.runs, 2 * PILOT_CONFIDENCE - 1).high if counted else 0.0)

    def drawn(self, factors: Floats, usual: Floats, rng: np.random.Generator) -> CellModel:
        """Return (studies,) spreads, so many times that of the runs, and rates of their posterior (a beta prior).

        Args:
            factors: of the spread.
            usual: (studies,) collapse rates of the whole analysis.
            rng: consumed.
        """
        rate = 1 - (1 - np.maximum(usual, 1e-6)) ** self.cells
        failed, trained = self.collapses + USUAL_RUNS * rate, self.runs - self.collapses + USUAL_RUNS * (1 - rate)
        rate = np.minimum(rng.beta(failed, trained), 0.999) if self.usual is not None else np.zeros(len(usual))
        return self._model(self.sd * factors, rate)

    def _model(self, sd: float | Floats, rate: float | Floats) -> CellModel:
        return CellModel(sd, rate, self.rise, self.image_variance)


@dataclass(frozen=True)
class Piloted:
    """A question about a contrast, and what the runs of its cells tell of those to come."""

    question: Question
    pilots: tuple[Pilot, ...]

    def drawn(self, rng: np.random.Generator, studies: int) -> list[CellModel]:
        """Return spreads and rates that the pilots leave possible, (studies,) of each cell.

        The variance of the contrast is its fiducial one: chi-squared, with Satterthwaite's degrees of freedom. Collapse
        rates are those of the cells, each with that of the whole analysis, as far as it is known, for a prior.
        """
        variances = [w**2 * pilot.sd**2 for w, pilot in zip(self.question.weights, self.pilots, strict=True)]
        df = welch_df(variances, [pilot.df for pilot in self.pilots])
        factors = np.sqrt(df / rng.chisquare(df, studies))
        collapses, runs = self.pilots[0].usual or (0, 0)
        usual = rng.beta(collapses + 0.5, runs - collapses + 0.5, studies)  # Jeffreys
        return [pilot.drawn(factors, usual, rng) for pilot in self.pilots]

    @property
    def floor(self) -> float:
        """The standard error that no number of seeds makes smaller: of the images, or of overlapping splits.

        Means of all runs are compared cell by cell, so that what their images have in common does not cancel.
        """
        (first, *_), asked = self.pilots, self.question
        if asked.primary == "mean" and first.rise is not None:
            each = [w**2 * pilot.image_variance for w, pilot in zip(asked.weights, self.pilots, strict=True)]
            return math.sqrt(sum(each))
        return math.sqrt(asked.image_variance + (asked.overlap * first.sd**2 if len(self.pilots) == 1 else 0.0))


def piloted(cells: Cells[Key], weights: Mapping[Key, float], question: Question) -> Piloted | None:
    """Complete a question about a contrast by what the runs of its cells tell; None where they do not vary.

    Args:
        cells: with at least ``LEAST_RUNS`` runs that trained of each cell that has a weight.
        weights: of the cells.
        question: with effect, rope, alpha and rule; the rest is filled in.
    """
    design = cells.design
    mixed = design.primary == "mean" and cells.collapse is not None
    overlap = design.test_ratio if design.paired and "split" in design.over else 0.0
    asked = replace(
        question,
        weights=tuple(weights.values()),
        primary=design.primary,
        overlap=overlap,
        suspect=cells.shape.suspect,
        gated=not design.paired and design.primary != "median",
    )
    if design.paired and design.primary != "median" and not mixed:
        return _by_blocks(cells, weights, asked)
    pilots = tuple(_pilot(cells, key) for key in weights)
    if not any(pilot.sd for pilot in pilots):
        return None
    found = cells.trained(weights)
    if "images" not in design.over or not all(key in cells.images for key in weights) or design.primary == "median":
        return Piloted(asked, pilots)
    of_runs = sum(w**2 * p.sd**2 / (p.df + 1) for w, p in zip(weights.values(), pilots, strict=True))
    images = min(cells.images[key].shape[1] for key in weights)
    return Piloted(replace(asked, image_variance=max(found.error**2 - of_runs, 0.0), images=images), pilots)


def _by_blocks(cells: Cells[Key], weights: Mapping[Key, float], question: Question) -> Piloted | None:
    """Take the contrasts of blocks for the runs of one cell: those of a block in which a cell failed are lost."""
    found = cells.trained(weights)
    assert isinstance(found, StudentEstimate)
    if not found.error > 0:
        return None
    kept = int(found.df) + 1
    common = set.intersection(*(set(cells.samples[key].seeds.tolist()) for key in weights))
    sd = found.error / math.sqrt(1 / kept + question.overlap)
    pilot = Pilot(sd, found.df, len(common) - kept, len(common), _usual(cells), len(weights))
    return Piloted(replace(question, weights=(1.0,)), (pilot,))


def _pilot(cells: Cells[Key], key: Key) -> Pilot:
    sample, design = cells.samples[key], cells.design
    trained, df = sample.trained, len(sample.trained) - 1
    failed = cells.collapse.mean if cells.collapse is not None and design.primary != "trained" else None
    variance = 0.0 if constant(trained) else float(trained.var(ddof=1))
    own = cells.trained({key: 1.0}).error
    return Pilot(
        sd=math.sqrt(variance),
        df=df,
        collapses=sample.collapses,
        runs=sample.n,
        usual=_usual(cells),
        rise=None if failed is None else float(trained.mean()) - failed,
        image_variance=max(own**2 - variance / (df + 1), 0.0) if key in cells.images else 0.0,
    )


def _usual(cells: Cells[Key]) -> tuple[int, int] | None:
    """Return the collapses and the runs of all cells together, None where collapse is not looked for."""
    samples = cells.samples.values()
    return (sum(each.collapses for each in samples), sum(each.n for each in samples)) if cells.design.rates else None


def seeds_needed_from_pilot(
    asked: Piloted,
    rng: np.random.Generator,
    *,
    least: int = LEAST_RUNS,
    max_seeds: int = MAX_SEEDS_NEEDED,
    studies: int = 2000,
) -> SeedsNeeded:
    """Simulate the seeds needed, going by runs of the cells.

    A small pilot often shows too small a spread. So beside the number for the spread as it is seen stands the one for
    its upper bound, and the recommended one, with which the share of decided studies is 80 % on average over pilots.

    Args:
        asked: the question, with its pilots.
        rng: consumed.
        least: the first number of seeds that is tried.
        max_seeds: the last one.
        studies: how many are simulated for each number.
    """
    seen, bound = ([getattr(pilot, name)() for pilot in asked.pilots] for name in ("as_seen", "at_bounds"))

    def needed(cells: Sequence[CellModel]) -> int | None:
        return seeds_needed(asked.question, cells, rng, least=least, max_seeds=max_seeds, studies=studies)

    low = needed(seen)
    if low is None:
        endless = Simulation(asked.question, seen, rng, max_seeds, studies).share(_MANY)
        return SeedsNeeded(None, None, None, max_seeds, never=endless < POWER)
    high, recommended = needed(bound), recommended_seeds(asked, rng, least=least, max_seeds=max_seeds, studies=studies)
    if high is not None and (recommended is None or recommended > high):
        high = recommended
    return SeedsNeeded(low, high, recommended, max_seeds)


def recommended_seeds(
    asked: Piloted,
    rng: np.random.Generator,
    *,
    least: int = LEAST_RUNS,
    max_seeds: int = MAX_SEEDS_NEEDED,
    studies: int = 2000,
) -> int | None:
    """Return the seeds with which 80 % of studies are decided on average over what the pilots leave possible."""
    return seeds_needed(
        asked.question, asked.drawn(rng, studies), rng, least=least, max_seeds=max_seeds, studies=studies
    )


def hardest(needed: Sequence[SeedsNeeded]) -> SeedsNeeded:
    """Return the seeds with which the hardest of several questions is decided."""
    return SeedsNeeded(
        _largest([each.low for each in needed]),
        _largest([each.high for each in needed]),
        _largest([each.recommended for each in needed]),
        max(each.max_seeds for each in needed),
        any(each.never for each in needed),
    )


def _largest(seeds: Sequence[int | None]) -> int | None:
    """Return the largest number, None (more than the maximum) if one is."""
    return None if None in seeds else max(each for each in seeds if each is not None)


def least_difference(seeds: int, alpha: float, *, paired: bool = False) -> float:
    """Return how many standard deviations two means must be apart to exclude zero at two-sided error ``alpha``.

    Of normal runs whose spread turns out as it is, the same in both cells: Welch's interval; where seeds are blocks in
    standard deviations of the differences of pairs. Infinite for one seed.
    """
    if seeds < 2:
        return math.inf
    df, means = (seeds - 1, 1) if paired else (2 * (seeds - 1), 2)
    return float(stats.t.ppf(1 - alpha / 2, df)) * math.sqrt(means / seeds)
