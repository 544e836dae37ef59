"""What is fixed before the runs of an analysis are looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from regulens.stats.verdicts import Direction

Primary = Literal["trained", "mean", "median"]
Population = Literal["seeds", "images", "split"]
"""What another study would draw anew, so that a verdict shall hold for it."""

LEVEL = 0.95
"""At which everything that is judged of one study holds together: its comparisons and claims, over all looks."""


@dataclass(frozen=True)
class Design:
    """What is fixed before the runs are looked at.

    Attributes:
        direction: whether a higher or a lower response is better.
        rope: half-width of the region of practical equivalence, in the response's unit; 0 judges only the sign.
        primary: the estimand that decides: the mean of the runs that trained, of all runs, or the median of all.
        alpha: what the whole family may err by; 0.05 makes simultaneous 95 % intervals.
        paired: whether runs of one seed are a block, as where the seed decides the split.
        bounds: the least and the greatest possible response, (0, 1) of accuracies: no interval reaches beyond.
        over: what another study would draw anew.
        rates: whether runs are known to have collapsed or not, so that each comparison has a second answer.
        rope_rate: half-width of the region of equivalence of two collapse rates.
        failed: the response of a run that learned nothing; None where that is unknown.
        test_ratio: judged over training images of a split, for ``over`` splits.
    """

    direction: Direction = "higher"
    rope: float = 0.0
    primary: Primary = "trained"
    alpha: float = 0.05
    paired: bool = False
    bounds: tuple[float, float] = (-math.inf, math.inf)
    over: tuple[Population, ...] = ("seeds",)
    rates: bool = False
    rope_rate: float = 0.05
    failed: float | None = None
    test_ratio: float = 0.0

    @property
    def answers(self) -> int:
        """How many statements of the family each comparison makes: how good, and how often it trains."""
        return 2 if self.rates else 1

    def alpha_of_one(self, comparisons: int) -> float:
        """Return what one statement of a family of so many comparisons may err by (Bonferroni)."""
        return self.alpha / (self.answers * comparisons)
