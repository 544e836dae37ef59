"""The cells of one analysis, and how every linear contrast of them is estimated: one rule for all that is compared.

Comparisons, claims, main effects, interactions and marginal means are contrasts, sums of weight times what a cell comes
to. Each is estimated by the declared estimand, over what another study would draw anew.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from regulens.stats.contrasts import mover_contrast
from regulens.stats.design import Design, Population
from regulens.stats.estimate import Estimate, IntervalEstimate, StudentEstimate, student_sum
from regulens.stats.estimates import median_interval
from regulens.stats.gaps import gap_flags
from regulens.stats.images import ImageRates, image_rates
from regulens.stats.intervals import Collapse, Interval, overall_interval
from regulens.stats.samples import Sample
from regulens.stats.shape import RUNS_IF_SUSPECT, Shape, shape_of
from regulens.stats.ties import ROUNDING, cancelled, constant

Key = TypeVar("Key", bound=Hashable)

LEAST_RUNS = 3
"""Runs of each cell, or blocks, without which there is no verdict."""

LEAST_RUNS_IF_UNEQUAL = ((0.025, 3), (0.015, 4), (0.008, 5), (0.003, 6), (0.0, 8))
"""Error of one statement above which so many runs of the smallest cell do, where another has 1.5 times as many.

With fewer, Welch's interval errs by more than 1.5 times what it promises where the smallest cell spreads up to eight
times as much as the other (``docs/statistics.md``).
"""

_UNKNOWN = StudentEstimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class TooFew:
    """Why there are too few runs for a verdict, and how many more of each cell would do.

    ``doubted`` is the estimate with bounds that hold though the runs may be skewed, so that a verdict by it is one;
    None where none is made.
    """

    reason: str
    more: int
    doubted: Estimate | None = None


@dataclass(frozen=True)
class _Moments:
    """Of one cell's runs that trained: their number and mean, variance of a run, skewness as ``Shape`` takes it."""

    n: int
    mean: float
    variance: float
    skewness: float


@dataclass(frozen=True, eq=False)
class Cells(Generic[Key]):
    """The runs of each cell, and what was declared of their analysis.

    Attributes:
        samples: the runs.
        design: what was declared.
        images: by cell, (runs, images) what each run scored on each image, the images being the same for all: right or
            wrong, or a loss; needed where the analysis is over images.
        image_sets: by cell, which images these are; cells without a name share one set.
    """

    samples: Mapping[Key, Sample]
    design: Design
    images: Mapping[Key, NDArray[np.float64]] = field(default_factory=dict)
    image_sets: Mapping[Key, Hashable] = field(default_factory=dict)

    @cached_property
    def shape(self) -> Shape:
        """The shape of the runs that trained, of all cells together."""
        return shape_of([each.trained for each in self.samples.values()])

    @cached_property
    def collapse(self) -> Collapse | None:
        """The values of runs that failed to train; None where they are unknown, or such runs are not looked for."""
        if not self.design.rates:
            return None
        failed = [each.filled(self.diverged_value)[each.collapsed] for each in self.samples.values()]
        values = np.concatenate(failed)
        mean = float(values.mean()) if len(values) else self.design.failed
        if mean is None or math.isnan(mean):
            return None
        trained = np.concatenate([each.trained for each in self.samples.values()])
        if not len(trained):  # nothing tells how well a run might have trained, but what is possible
            best = self.design.bounds[self.design.direction == "higher"]
            return Collapse(mean, best) if math.isfinite(best) else None
        return Collapse(mean, float(trained.max() if self.design.direction == "higher" else trained.min()))

    @cached_property
    def diverged_value(self) -> float:
        """The value that a diverged run is counted with: the worst of the finite responses and of ``Design.failed``.

        NaN where ``Design.failed`` is unknown.
        """
        if self.design.failed is None:
            return math.nan
        known = np.concatenate([each.values[~each.diverged] for each in self.samples.values()])
        worst = min if self.design.direction == "higher" else max
        return float(worst(known.min(initial=self.design.failed), known.max(initial=self.design.failed)))

    @cached_property
    def flagged(self) -> dict[Key, int]:
        """How many runs of each cell look like partial collapses (``gaps``); they count as trained all the same."""
        failed = self.design.failed if self.collapse is None else self.collapse.mean
        kept = [each.values for each in self.samples.values()], [each.collapsed for each in self.samples.values()]
        flags = gap_flags(*kept, failed, self.design.direction == "higher")
        return {key: int(each.sum()) for key, each in zip(self.samples, flags, strict=True)}

    def rounding(self, keys: Iterable[Key]) -> float:
        """Return by how much rounding may move a contrast of cells: relative to the median size of their values."""
        finite = [np.abs(x.values[~x.diverged]) for x in (self.samples[key] for key in keys)]
        sizes = np.concatenate(finite)
        return ROUNDING * float(np.median(sizes)) if len(sizes) else 0.0

    def primary(self, weights: Mapping[Key, float]) -> Estimate:
        """Estimate a contrast by the declared estimand."""
        return {"trained": self.trained, "mean": self.overall, "median": self.median}[self.design.primary](weights)

    def trained(self, weights: Mapping[Key, float]) -> Estimate:
        """Estimate a contrast of the means of the runs that trained; NaN where in a cell none did."""
        if self.design.paired:
            return self._over_blocks(weights, trained=True)
        if any(not self._moments[key].n for key in weights):
            return _UNKNOWN
        return self._over_images(weights) if self._has_images(weights) else self._over_seeds(weights)

    def median(self, weights: Mapping[Key, float]) -> Estimate:
        """Estimate a contrast of the medians of all runs, by MOVER."""

        def rule(level: float) -> Interval:
            filled = [self.samples[key].filled(self.diverged_value) for key in weights]
            at_least = max(level, 0.5)  # order statistics have no narrower interval
            return mover_contrast([median_interval(x, at_least) for x in filled], list(weights.values()))

        return IntervalEstimate(rule(0.95).estimate, rule, self._limits(weights))

    def overall(self, weights: Mapping[Key, float]) -> Estimate:
        """Estimate a contrast of the means of all runs, the rates at which they fail to train among what is unknown.

        Each cell's mean is a mixture (``intervals.overall_interval``) whose interval carries the upper bound of the
        rate, also where no run failed; contrasts are put together from the cells' by MOVER. NaN where runs diverged
        and ``Design.failed`` is unknown.
        """
        collapse = self.collapse
        if collapse is None:
            anything = any(self.samples[key].diverged.any() for key in weights)
            return _UNKNOWN if anything else self.trained(weights)

        def rule(level: float) -> Interval:
            return mover_contrast([self._overall(key, collapse, level) for key in weights], list(weights.values()))

        return IntervalEstimate(rule(0.95).estimate, rule, self._limits(weights))

    def over(self, weights: Mapping[Key, float]) -> tuple[Population, ...]:
        """Return what the primary estimate of a contrast is over: seeds alone where what runs scored is not known."""
        of_means = self.design.primary != "median" and not self.design.paired
        if "images" in self.design.over and not (of_means and self._has_images(weights)):
            return ("seeds",)
        return self.design.over

    def too_few(self, weights: Mapping[Key, float], alpha: float = 0.05) -> TooFew | None:
        """Tell whether a verdict on a contrast, which may err by ``alpha``, would rest on too few runs."""
        if self.design.paired:
            blocks = len(self._by_block(weights, trained=self.design.primary == "trained"))
            what, fewest = ("block", "in common"), blocks
        else:
            what, fewest = ("trained run", "of a cell"), min(self._moments[key].n for key in weights)
        if fewest < LEAST_RUNS:
            found = f"{fewest} {what[0]}{'s' * (fewest != 1)} {what[1]}"
            return TooFew(f"{found}; a verdict needs {LEAST_RUNS}", LEAST_RUNS - fewest)
        of_means = self.design.primary != "median" and not self.design.paired
        most = max(self._moments[key].n for key in weights)
        unequal = next(runs for least, runs in LEAST_RUNS_IF_UNEQUAL if alpha > least)
        if of_means and most >= 1.5 * fewest and fewest < unequal:
            needed = f"{fewest} trained runs of a cell against {most}; so unequal, a verdict needs {unequal}"
            return TooFew(needed, unequal - fewest)
        if of_means and fewest < RUNS_IF_SUSPECT and self.shape.suspect:
            needed = f"the runs look skewed, so a verdict needs {RUNS_IF_SUSPECT} of each cell"
            partial = any(self.flagged[key] for key in weights)  # a mixture of two kinds of runs, which no bound holds
            return TooFew(needed, RUNS_IF_SUSPECT - fewest, None if partial else self._doubted(weights, fewest))
        return None

    def _doubted(self, weights: Mapping[Key, float], fewest: int) -> Estimate:
        """Return the declared estimate with bounds so far away that skewness of a few runs does not matter."""
        estimate = self.primary(weights)
        if isinstance(estimate, StudentEstimate):
            third = self._third(weights)
            stretch = self.shape.stretch(third, estimate.standard_error, estimate.freedom, full=True)
            estimate = replace(estimate, stretch=stretch)
        return estimate.stretched(self.shape.doubt(fewest))

    @cached_property
    def _moments(self) -> dict[Key, _Moments]:
        found = {}
        for (key, each), skewness in zip(self.samples.items(), self.shape.skewness.tolist(), strict=True):
            x = each.trained
            variance = math.nan if len(x) < 2 else 0.0 if constant(x) else float(x.var(ddof=1))
            found[key] = _Moments(len(x), float(x.mean()) if len(x) else math.nan, variance, skewness)
        return found

    @cached_property
    def _rates(self) -> dict[Key, ImageRates]:
        """What single images add, of the cells with two runs that trained."""
        return {
            key: image_rates(matrix[~self.samples[key].collapsed])
            for key, matrix in self.images.items()
            if self._moments[key].n > 1
        }

    def _has_images(self, weights: Mapping[Key, float]) -> bool:
        return "images" in self.design.over and all(key in self._rates for key in weights)

    def _over_seeds(self, weights: Mapping[Key, float]) -> StudentEstimate:
        """Return Welch's estimate (Welch 1947, Biometrika 34, 28-35), stretched for skewness."""
        terms = [(weight, self._moments[key]) for key, weight in weights.items()]
        parts = [(weight**2 * each.variance / each.n, each.n - 1.0) for weight, each in terms if each.n]
        return self._student(weights, parts)

    def _over_images(self, weights: Mapping[Key, float]) -> StudentEstimate:
        """Return the estimate over new seeds and new images; cells of one set of images share it."""
        mixed: dict[Hashable, NDArray[np.float64]] = {}
        parts: list[tuple[float, float]] = []
        for key, weight in weights.items():
            rates, of_set = self._rates[key], self.image_sets.get(key)
            mixed[of_set] = mixed.get(of_set, 0.0) + weight * rates.by_image
            parts += [(weight**2 * part, df) for part, df in rates.of_runs]
        parts += [(float(x.var(ddof=1)) / len(x), len(x) - 1.0) for x in mixed.values()]
        return self._student(weights, parts)

    def _student(self, weights: Mapping[Key, float], parts: list[tuple[float, float]]) -> StudentEstimate:
        """Return the estimate whose variance is a sum of parts, each with its degrees of freedom (Satterthwaite)."""
        means = [weight * self._moments[key].mean for key, weight in weights.items()]
        value = cancelled(sum(means), means)
        plain = student_sum(value, parts, self._limits(weights))
        stretch = self.shape.stretch(self._third(weights), plain.standard_error, plain.freedom)
        return replace(plain, stretch=stretch)

    def _third(self, weights: Mapping[Key, float]) -> float:
        """Return the third central moment of a contrast of means of runs."""
        terms = [(weight, self._moments[key]) for key, weight in weights.items()]
        return sum(weight**3 * each.skewness * math.pow(each.variance, 1.5) / each.n**2 for weight, each in terms)

    def _overall(self, key: Key, collapse: Collapse, level: float) -> Interval:
        trained = self.trained({key: 1.0}).interval(level)
        each = self.samples[key]
        return overall_interval(Sample(each.filled(self.diverged_value), each.collapsed, each.seeds), trained, collapse)

    def _over_blocks(self, weights: Mapping[Key, float], trained: bool) -> StudentEstimate:
        """Return the estimate from one contrast for each block, such as a split that all cells were trained on.

        Over new splits its variance is ``(1 / J + test / train)`` times that of the J contrasts, since the splits of
        one data set overlap (Nadeau and Bengio 2003, Machine Learning 52, 239-281).
        """
        contrasts = self._by_block(weights, trained)
        count = len(contrasts)
        value = cancelled(float(contrasts.mean()), contrasts) if count else math.nan
        if count < 2 or self._alike_but_for_rounding(contrasts, weights):
            return StudentEstimate(value, math.nan, math.nan, limits=self._limits(weights))
        overlap = self.design.test_ratio if "split" in self.design.over else 0.0
        error = math.sqrt((1 / count + overlap) * float(contrasts.var(ddof=1)))
        return StudentEstimate(value, error, count - 1.0, limits=self._limits(weights))

    def _alike_but_for_rounding(self, contrasts: NDArray[np.float64], weights: Mapping[Key, float]) -> bool:
        """Tell whether contrasts within blocks differ by no more than the rounding of what they are differences of."""
        largest = max(float(np.nanmax(np.abs(self.samples[key].values), initial=0.0)) for key in weights)
        return float(np.ptp(contrasts)) <= ROUNDING * largest

    def _by_block(self, weights: Mapping[Key, float], trained: bool) -> NDArray[np.float64]:
        """Return (J,) the contrast within each block that every cell has (and trained in): means of a block's runs."""
        means = [_block_means(self.samples[key], trained, self.diverged_value) for key in weights]
        common = sorted(set.intersection(*(set(each) for each in means)))
        return np.array(
            [sum(w * each[block] for w, each in zip(weights.values(), means, strict=True)) for block in common]
        )

    def _limits(self, weights: Mapping[Key, float]) -> tuple[float, float]:
        """Return the least and the greatest that a contrast of responses within the design's bounds can be."""
        least, most = self.design.bounds
        signed = [(w * least, w * most) if w > 0 else (w * most, w * least) for w in weights.values() if w]
        return sum(low for low, _ in signed), sum(high for _, high in signed)


def _block_means(sample: Sample, trained: bool, diverged: float) -> dict[int, float]:
    kept = ~sample.collapsed if trained else np.ones(sample.n, np.bool_)
    values, blocks = sample.filled(diverged)[kept], sample.seeds[kept]
    return {int(block): float(values[blocks == block].mean()) for block in np.unique(blocks)}
