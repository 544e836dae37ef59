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
    """

    kind: str
    estimand: str
    spreads: tuple[float, ...]
    shapes: tuple[Draw, ...]
    large: int | None = None
    pairs: tuple[tuple[int, int], ...] = ()

    @property
    def compared(self) -> tuple[tuple[int, int], ...]:
        """The comparisons, (a, b) each."""
        return self.pairs or tuple((cell, 0) for cell in range(1, len(self.spreads)))

    def draw(self, rng: np.random.Generator, studies: int, n: int) -> Drawn:
        """Draw studies of n runs of each cell."""
        cells, most = len(self.spreads), max(n, self.large or n)
        shapes = self.shapes * cells if len(self.shapes) == 1 else self.shapes
        drawn = [
            CENTER + SD * spread * shape(rng, (studies, most))
            for spread, shape in zip(self.spreads, shapes, strict=False)
        ]
        present = np.broadcast_to(np.arange(most) < n, (studies, cells, most)).copy()
        present[:, 0] = np.arange(most) < (self.large or n)
        return Drawn(np.stack(drawn, 1), np.zeros_like(present), present)


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
