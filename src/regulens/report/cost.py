"""What the networks cost: the table and the Pareto figures. Descriptions, and no verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from regulens.report.document import Block, Figure, Heading, Paragraph, Table
from regulens.report.pareto import pareto_pictures
from regulens.report.pictures import FIGURES
from regulens.report.wording import cell_text, unit_of
from regulens.results import RunResult
from regulens.spec import StudySpec
from regulens.stats.analysis import Analysis
from regulens.stats.cost import Cost, front
from regulens.stats.design import ESTIMANDS
from regulens.study.analysis import StudyAnalysis
from regulens.study.cost import study_costs
from regulens.study.cost_text import cost_text

_HEADS = {"seconds": "seconds per run", "parameters": "parameters", "updates": "updates", "epochs": "epochs"}
_DRAWN = {"seconds": "seconds per run", "parameters": "trained parameters"}


def cost_blocks(study: StudySpec, results: Sequence[RunResult], found: StudyAnalysis, folder: Path) -> Iterator[Block]:
    """Say what a training of each network costs, and draw the response against it."""
    costs = study_costs(study, results)
    yield Heading("Cost")
    drawn = [cost for cost in costs if _drawn(cost, found)]
    yield _table(study, found.analysis, costs, drawn)
    for cost in costs:
        if cost.caution:
            yield Paragraph(f"The {cost.name} cannot be compared: {cost.caution}.", "note")
    unit = unit_of(found.declared.response)
    name = f"{unit.name}, {ESTIMANDS[found.analysis.design.primary]}"
    pictures = pareto_pictures(
        found.analysis, drawn, name, folder / FIGURES, label=lambda levels: cell_text(study, levels), names=_DRAWN
    )
    yield from map(Figure, pictures)


def _drawn(cost: Cost, found: StudyAnalysis) -> bool:
    """Tell whether the networks differ in a cost, and may be compared by it."""
    itself = cost.name == "seconds" and found.declared.response == "train_seconds"
    differ = len({each.median for each in cost.cells.values()}) > 1
    return cost.name in _DRAWN and differ and not cost.caution and not itself


def _table(study: StudySpec, analysis: Analysis, costs: Sequence[Cost], drawn: Sequence[Cost]) -> Table:
    fronts = {cost.name: front(analysis, cost) for cost in drawn}
    rows = []
    for place, cell in enumerate(analysis.cells):
        marks = [name for name, kept in fronts.items() if kept and kept[place]]
        costs_of_cell = (cost_text(cost.of(cell.levels)) for cost in costs)
        rows.append((cell_text(study, cell.levels), str(cell.runs), *costs_of_cell, " and ".join(marks)))
    return Table(
        caption="What a training of each network costs",
        columns=("network", "n", *(_HEADS[cost.name] for cost in costs), "not dominated by"),
        rows=tuple(rows),
        note="Medians over runs, in brackets the smallest and the largest. Seconds: the fit with its per-epoch "
        "validation. Parameters: those that are trained. Not dominated: by these estimates no other network is as good "
        "and as cheap, and better in one of the two. A description of these runs; no verdict depends on it.",
        left=(len(costs) + 2,),
        name="cost",
    )
