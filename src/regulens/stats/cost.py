"""What the cells of an analysis cost, and which of them are not dominated: descriptions, and no verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regulens.stats.analysis import Analysis, CellSummary
from regulens.stats.contrasts import Level
from regulens.stats.intervals import Interval
from regulens.stats.verdicts import Direction

Key = frozenset[tuple[str, Level]]


@dataclass(frozen=True)
class CellCost:
    """What a run of a cell costs: the median over its runs, the smallest and the largest."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Cost:
    """One kind of cost of every cell.

    Attributes:
        name: such as ``seconds`` or the column's.
        cells: by the set of a cell's levels.
        caution: why the cells must not be compared by it; empty if they may.
    """

    name: str
    cells: Mapping[Key, CellCost]
    caution: str = ""

    def of(self, levels: Mapping[str, Level]) -> CellCost:
        """Return the cost of the cell of these levels."""
        return self.cells[frozenset(levels.items())]


def cell_cost(values: ArrayLike) -> CellCost:
    """Return what (n,) runs of a cell cost."""
    x = np.asarray(values, np.float64)
    return CellCost(float(np.median(x)), float(x.min()), float(x.max()))


def shown(cell: CellSummary, analysis: Analysis) -> Interval | None:
    """Return the declared estimand of a cell with its own 95 % interval; ``None`` where no run trained."""
    return {"trained": cell.trained, "median": cell.median}.get(analysis.design.primary, cell.mean)


def front(analysis: Analysis, cost: Cost) -> list[bool] | None:
    """Tell of each cell of an analysis whether no other is at least as good and as cheap, and better in one of them.

    By the estimates and the median costs alone: their intervals, and so whether a cell would dominate another again,
    are left aside. A cell of which no run trained is dominated. ``None`` where the cells must not be compared.
    """
    if cost.caution:
        return None
    higher = analysis.design.direction == "higher"
    known = [(place, shown(cell, analysis)) for place, cell in enumerate(analysis.cells)]
    estimates = {place: mean.estimate for place, mean in known if mean is not None}
    costs = [cost.of(analysis.cells[place].levels).median for place in estimates]
    kept = non_dominated(costs, list(estimates.values()), "higher" if higher else "lower")
    best = dict(zip(estimates, kept.tolist(), strict=True))
    return [best.get(place, False) for place in range(len(analysis.cells))]


def non_dominated(costs: Sequence[float], responses: Sequence[float], direction: Direction) -> NDArray[np.bool_]:
    """Tell of (n,) points whether no other has a cost and a response at least as good, and one of them better.

    Args:
        costs: less is better.
        responses: by ``direction`` more or less is better.
        direction: ``higher`` or ``lower``.
    """
    cost = np.asarray(costs, np.float64)
    merit = np.asarray(responses, np.float64) * (1 if direction == "higher" else -1)
    order = np.lexsort((-merit, cost))
    best_before = np.maximum.accumulate(np.concatenate([[-np.inf], merit[order]]))[:-1]
    kept = np.empty(len(cost), np.bool_)
    kept[order] = merit[order] > best_before
    equals = {(c, m) for c, m, keep in zip(cost.tolist(), merit.tolist(), kept.tolist(), strict=True) if keep}
    return np.array([point in equals for point in zip(cost.tolist(), merit.tolist(), strict=True)], np.bool_)
