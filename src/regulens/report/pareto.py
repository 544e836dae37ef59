"""The Pareto figures of what is analysed against what it costs, of a study's own runs and of results from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from regulens.errors import UserError, check_type
from regulens.figures.pareto import ParetoPoint, draw_pareto, pareto_info
from regulens.figures.style import save_figure
from regulens.files import file_name
from regulens.report.pictures import FIGURES, Picture
from regulens.stats.analysis import Analysis
from regulens.stats.contrasts import Level
from regulens.stats.cost import Cost, front, shown
from regulens.study.own_numbers import OwnAnalysis
from regulens.study.text_table import place_text

ESTIMANDS = {"mean": "mean", "trained": "mean of non-collapsed runs", "median": "median"}
_CAPTION = (
    "with unadjusted 95 % intervals; horizontal lines: the range over runs. Filled: networks that no other dominates "
    "by these estimates. Points of one cost are drawn side by side. A description, no verdict."
)


def draw_costs(found: OwnAnalysis, out: str | Path = FIGURES) -> list[Picture]:
    """Draw the response of results from elsewhere against each column that was named as a cost.

    A column by which cells must not be compared, as of runs that shared the cores, is not drawn.

    Args:
        found: from ``analyze`` with ``cost``.
        out: the folder for the PNG and SVG files.

    Raises:
        UserError: if no cost was named.
    """
    check_type(out, (str, Path), "out", "the path of a folder")
    if not found.cost:
        raise UserError('draw_costs needs costs: name their columns, as in analyze(..., cost="seconds")')
    name = f"{found.response}, {ESTIMANDS[found.analysis.design.primary]}"
    return pareto_pictures(found.analysis, found.cost, name, Path(out), label=place_text, names={})


def pareto_pictures(
    analysis: Analysis,
    costs: Sequence[Cost],
    response: str,
    folder: Path,
    *,
    label: Callable[[Mapping[str, Level]], str],
    names: Mapping[str, str],
) -> list[Picture]:
    """Draw the response of every cell against each cost by which cells may be compared, and save the figures.

    Args:
        analysis: whose cells are drawn.
        costs: one figure each.
        response: its name on the axis.
        folder: where the figures go.
        label: names a cell by its levels.
        names: of the costs, on the axis; by default a cost's own.
    """
    drawn = []
    for cost in costs:
        points, marked = [], front(analysis, cost)
        if marked is None:
            continue
        for cell, kept in zip(analysis.cells, marked, strict=True):
            mean, spent = shown(cell, analysis), cost.of(cell.levels)
            if mean is not None:
                bounds = mean.estimate, mean.low, mean.high
                points.append(ParetoPoint(label(cell.levels), *bounds, spent.median, spent.low, spent.high, kept))
        if not points:
            continue
        name = names.get(cost.name, cost.name)
        info = pareto_info(points, response, name, analysis.design.direction)
        path = save_figure(draw_pareto(info), folder, file_name("pareto", cost.name))
        drawn.append(Picture(path, f"{response[0].upper()}{response[1:]} against {name}, {_CAPTION}"))
    return drawn
