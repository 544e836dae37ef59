"""Worlds that runs are drawn from, each with its truth and its estimand.

In each, the means of the runs that train are equal in all cells unless it is said otherwise: any token that names a
direction is false. Accuracies, in points (1 = one percentage point) about 88.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Values]

CENTER, CHANCE, SD = 88.0, 10.0, 0.6


@dataclass(frozen=True, eq=False)
class Drawn:
    """Simulated studies: (studies, cells, runs) values, which of them failed to train, and which runs there are."""

    values: Values
    collapsed: Mask
    present: Mask

    @property
    def trained(self) -> Mask:
        """The runs that trained."""
        return self.present & ~self.collapsed


@dataclass(frozen=True)
class World:
    """Where runs come from.

    Attributes:
        kind: what is expected: ``a`` well-behaved, ``b`` skewed, ``c`` what no method can tell.
        estimand: what the comparison is of, and its truth.
        spreads: standard deviation of each cell, in ``SD``; their number is that of the cells.
        shapes: of each cell, or of all of them: draws values of mean 0 and standard deviation 1.
        large: runs of the first cell where it has more than the others.
        pairs: (a, b) places of the cells that are compared; by default each with the first.
        means: of the runs of each cell that train, in points; all ``CENTER`` where none are given.
        rates: of each cell, the share of runs that do not train; none where none are given.
        partial: whether such runs are stuck between 20 and 70 points, above the bound, and are not told.
    """

    kind: str
    estimand: str
    spreads: tuple[float, ...]
    shapes: tuple[Draw, ...]
    large: int | None = None
    pairs: tuple[tuple[int, int], ...] = ()
    means: tuple[float, ...] = ()
    rates: tuple[float, ...] = ()
    partial: bool = False

    @property
    def compared(self) -> tuple[tuple[int, int], ...]:
        """The comparisons, (a, b) each."""
        return self.pairs or tuple((cell, 0) for cell in range(1, len(self.spreads)))

    def draw(self, rng: np.random.Generator, studies: int, n: int) -> Drawn:
        """Draw studies of n runs of each cell."""
        cells, most = len(self.spreads), max(n, self.large or n)
        shapes = self.shapes * cells if len(self.shapes) == 1 else self.shapes
        scaled = [spread * draw(rng, (studies, most)) for spread, draw in zip(self.spreads, shapes, strict=True)]
        values = np.reshape(self.means or (CENTER,) * cells, (-1, 1)) + SD * np.stack(scaled, 1)
        present = np.broadcast_to(np.arange(most) < n, values.shape).copy()
        present[:, 0] = np.arange(most) < (self.large or n)
        if not self.rates:
            return Drawn(values, np.zeros_like(present), present)
        failed = rng.random(values.shape) < np.reshape(self.rates, (-1, 1))
        stuck = rng.uniform(20, 70, values.shape) if self.partial else CHANCE + 0.3 * normal(rng, values.shape)
        return Drawn(np.where(failed, stuck, values), np.zeros_like(failed) if self.partial else failed, present)


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Normal."""
    return rng.standard_normal(shape)


def exponential(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """A long tail to the left, skewness -2."""
    return 1 - rng.exponential(1, shape)


def heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Student's t with 3 degrees of freedom."""
    return rng.standard_t(3, shape) / math.sqrt(3)


def lognormal(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """A lognormal tail to the left (sigma 1), skewness -6.2."""
    drawn = np.exp(rng.standard_normal(shape))
    return (math.exp(0.5) - drawn) / math.sqrt((math.e - 1) * math.e)


def ceiling(dispersion: float) -> Draw:
    """Accuracy .997 on 10,000 images; the error rate of a run is gamma of this shape, in units of its own SD."""

    def drawn(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
        rate = 0.003 * rng.gamma(dispersion, 1 / dispersion, shape)
        return (0.003 - rng.binomial(10_000, np.minimum(rate, 1)) / 10_000) / 0.001

    return drawn


def correlated(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """A normal first-order autoregression of coefficient 0.5 along the seeds."""
    x = rng.standard_normal(shape)
    for place in range(1, shape[-1]):
        x[..., place] = 0.5 * x[..., place - 1] + math.sqrt(0.75) * x[..., place]
    return x


_SIX_BY_THREE = tuple((6 * place + level, 6 * place) for place in range(3) for level in range(1, 6))
_EQUAL = "difference of means, 0"
WORLDS = {
    "normal, 3 comparisons": World("a", _EQUAL, (1.0,) * 4, (normal,)),
    "normal, 15 comparisons": World("a", _EQUAL, (1.0,) * 18, (normal,), pairs=_SIX_BY_THREE),
    "normal, sd 1, 1, 4, 8": World("a", _EQUAL, (1, 1, 4, 8), (normal,)),
    "t3, sd 1, 2, 6, 12": World("a", _EQUAL, (1, 2, 6, 12), (heavy,)),
    "exponential, 3 comparisons": World("b", _EQUAL, (1.0,) * 4, (exponential,)),
    "exponential, sd 1 to 4, 15 comparisons": World(
        "b", _EQUAL, tuple(np.linspace(1, 4, 18)), (exponential,), pairs=_SIX_BY_THREE
    ),
    "control normal, others exponential of 4 x sd": World("b", _EQUAL, (1, 4, 4, 4), (normal, *(exponential,) * 3)),
    "lognormal tail, sd 1, 1, 4, 8": World("b", _EQUAL, (1, 1, 4, 8), (lognormal,)),
    "ceiling .997, errors over-dispersed by cell": World(
        "b", _EQUAL, (1.0,) * 4, tuple(ceiling(each) for each in (8, 4, 2, 1))
    ),
    "normal, control of 30 runs, others 4 x sd": World("b", _EQUAL, (1, 4, 4, 4), (normal,), large=30),
    "exponential, control of 30 runs, others 4 x sd": World("b", _EQUAL, (1, 4, 4, 4), (exponential,), large=30),
    "AR(1) 0.5 along the seeds": World("c", _EQUAL, (1.0,) * 4, (correlated,)),
}


def _equal_overall(rates: tuple[float, ...], failed: float = CHANCE, partial: bool = False) -> World:
    """Cells whose overall means are equal, since those that train more rarely are better when they do."""
    means = tuple((60.0 - rate * failed) / (1 - rate) for rate in rates)
    estimand = "difference of the means of all runs, 0"
    return World("c", estimand, (1.0,) * len(rates), (normal,), means=means, rates=rates, partial=partial)


COLLAPSE = {
    "equal overall means, collapse 0, 2 %": _equal_overall((0.0, 0.02)),
    "equal overall means, collapse 0, 5 %": _equal_overall((0.0, 0.05)),
    "equal overall means, collapse 0, 2, 5, 10 %": _equal_overall((0.0, 0.02, 0.05, 0.1)),
    "equal overall means, collapse 0, 10, 20, 40 %": _equal_overall((0.0, 0.1, 0.2, 0.4)),
    "+1 point when it trains, collapse 0, 5 %": World(
        "c", "+1 when it trains, -2.95 of all runs", (1.0,) * 2, (normal,), means=(88.0, 89.0), rates=(0.0, 0.05)
    ),
    "equal cells, collapse 20 % each": World("a", _EQUAL, (1.0,) * 4, (normal,), rates=(0.2,) * 4),
}
PARTIAL = {
    "partial collapse 0, 10, 20, 30 %": _equal_overall((0.0, 0.1, 0.2, 0.3), failed=45.0, partial=True),
}
