"""What the cells cost as text, as JSON and as a DataFrame; nothing of it is a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import repeat
from typing import Any

import pandas as pd

from regulens.stats.analysis import Analysis
from regulens.stats.cost import CellCost, Cost, front, shown
from regulens.study.text_table import TextTable

COST_TITLE = "cost of a run, descriptive"


def cost_table(analysis: Analysis, costs: Sequence[Cost]) -> TextTable:
    """Return each cell's costs, the median over its runs and their range; an asterisk marks the non-dominated."""
    fronts = [front(analysis, cost) for cost in costs]
    rows = tuple(
        (
            *map(str, cell.levels.values()),
            str(cell.runs),
            *(
                cost_text(cost.of(cell.levels)) + (" *" if kept and kept[place] else "  ")
                for cost, kept in zip(costs, fronts, strict=True)
            ),
        )
        for place, cell in enumerate(analysis.cells)
    )
    factors = tuple(analysis.cells[0].levels)
    return TextTable(len(factors), (*factors, "n", *(f"{cost.name}  " for cost in costs)), rows)


def cost_text(cost: CellCost) -> str:
    """Write the median of a cell's runs, and their range where they differ."""
    text = number_text(cost.median)
    return text if cost.low == cost.high else f"{text} [{number_text(cost.low)}, {number_text(cost.high)}]"


def number_text(value: float) -> str:
    """Write a cost with four digits, whole numbers in full."""
    if value.is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}"
    digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{digits}f}" if 1e-4 <= abs(value) < 1e15 else f"{value:.4g}"


def cost_notes(costs: Sequence[Cost]) -> list[str]:
    """Say in sentences what the asterisks mean, and which costs are not to be compared."""
    said = [
        "Costs are the median over a cell's runs [smallest, largest]. Cells marked * are not dominated: by these "
        "estimates no other cell is as good and as cheap, and better in one of the two. That describes these runs; "
        "whether a difference is real, the verdicts say."
    ]
    return said + [
        f"Cells are not compared by {cost.name}, and no figure is drawn: {cost.caution}."
        for cost in costs
        if cost.caution
    ]


def cost_records(analysis: Analysis, costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """Return the costs as JSON has them: of each the cells, with the estimate of the response beside."""
    return [
        {
            "cost": cost.name,
            "caution": cost.caution or None,
            "cells": [
                {"levels": dict(cell.levels), "median": found.median, "low": found.low, "high": found.high}
                | {"estimate": mean.estimate if mean else None, "non_dominated": kept}
                for cell, kept in zip(analysis.cells, front(analysis, cost) or repeat(None), strict=False)
                for found, mean in [(cost.of(cell.levels), shown(cell, analysis))]
            ],
        }
        for cost in costs
    ]


def costs_frame(analysis: Analysis, costs: Sequence[Cost]) -> pd.DataFrame:
    """Return the costs, a row for each cell: its levels, n and estimate, and for each cost four columns.

    They are the median (``seconds``), ``seconds_low``, ``seconds_high`` and ``seconds_non_dominated``, which is
    ``None`` where the cells must not be compared.
    """
    rows = []
    fronts = [front(analysis, cost) for cost in costs]
    for place, cell in enumerate(analysis.cells):
        mean = shown(cell, analysis)
        row: dict[str, Any] = {**cell.levels, "n": cell.runs, "estimate": mean.estimate if mean else math.nan}
        for cost, kept in zip(costs, fronts, strict=True):
            found, name = cost.of(cell.levels), cost.name
            row |= {name: found.median, f"{name}_low": found.low, f"{name}_high": found.high}
            row[f"{name}_non_dominated"] = kept[place] if kept else None
        rows.append(row)
    return pd.DataFrame(rows)
