"""The command that analyses results from elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regulens.cli.options import AnalysisFormat, Direction, Primary, Scale
from regulens.cli.tables import text_table
from regulens.cli.terminal import console, print_wide
from regulens.errors import UserError

if TYPE_CHECKING:
    from regulens.report.pictures import Picture
    from regulens.study.own_numbers import OwnAnalysis


def analyze(
    data: Annotated[Path, typer.Argument(metavar="CSV", help="One row per run, the columns named in the first line.")],
    *,
    response: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column of the number to analyze, e.g. val_accuracy.")
    ],
    factors: Annotated[str, typer.Option(metavar="COLUMNS", help="Columns of the factors, e.g. depth,regularizer.")],
    seed: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of each run's seed.")] = None,
    compare: Annotated[
        str | None, typer.Option(metavar="FACTOR", help="Factor to compare (default: the one that has the control).")
    ] = None,
    control: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="Level that the others are compared with (default: none).")
    ] = None,
    rope: Annotated[
        float | None, typer.Option(help="Equivalence margin (ROPE; default: 0.005 for accuracies, else 0).")
    ] = None,
    direction: Annotated[Direction, typer.Option(help="Which response is better.")] = Direction.more,
    chance: Annotated[
        float | None, typer.Option(help="Chance accuracy, to detect collapsed runs (default: not detected).")
    ] = None,
    paired: Annotated[bool, typer.Option("--paired", help="Compare runs of one seed as pairs.")] = False,
    primary: Annotated[
        Primary, typer.Option(help="What decides: the mean, that of non-collapsed runs, or the median.")
    ] = (Primary.mean),
    scale: Annotated[
        Scale | None,
        typer.Option(
            help="What the response is: a fraction of 1, as accuracies are, in percent (divided by 100), or neither "
            "(default: told by its name, if its values fit)."
        ),
    ] = None,
    last_of: Annotated[
        str | None,
        typer.Option(
            "--last-of", metavar="COLUMN", help="Keep the last row of each run, in a log with a row per epoch."
        ),
    ] = None,
    cost: Annotated[
        str | None,
        typer.Option(metavar="COLUMNS", help="Columns of what a run costs, e.g. seconds,parameters; never judged."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="With --cost: folder for the Pareto figures (PNG and SVG)."),
    ] = None,
    output: Annotated[AnalysisFormat, typer.Option("--format", help="Format of the output.")] = AnalysisFormat.table,
) -> None:
    """Analyze results that were trained elsewhere: which differences are real?"""
    from regulens.study.analysis_text import cell_table, comparison_table, notes
    from regulens.study.cost_text import COST_TITLE, cost_notes, cost_table
    from regulens.study.own_numbers import analyze
    from regulens.study.posterior_text import POSTERIOR_TITLE, posterior_note, posterior_table

    if out is not None and cost is None:
        raise UserError("--out requires --cost, which names the columns to draw; add it, or omit --out")
    found = analyze(
        data,
        response=response,
        factors=factors,
        seed=seed,
        compare=compare,
        control=control,
        rope=rope,
        direction=direction.value,
        chance=chance,
        paired=paired,
        primary=primary.value,
        scale=None if scale is None else scale.value,
        last_of=last_of,
        cost=cost,
    )
    pictures = _pictures(found, out)
    if output is AnalysisFormat.json:
        sys.stdout.write(found.to_json() + "\n")
        return
    console.print(f"{response} of each cell", style="bold")
    print_wide(text_table(cell_table(found.analysis)))
    console.print(f"\n{response}: {found.compared} against {found.control}", style="bold")
    print_wide(text_table(comparison_table(found.analysis)))
    if found.cost:
        console.print(f"\n{COST_TITLE}", style="bold")
        print_wide(text_table(cost_table(found.analysis, found.cost)))
    posterior = posterior_table(found.analysis)
    if posterior is not None:
        console.print(f"\n{response}: {POSTERIOR_TITLE}", style="bold")
        print_wide(text_table(posterior))
    console.print()
    beside = [posterior_note(found.analysis)] if posterior is not None else []
    beside += cost_notes(found.cost) if found.cost else []
    for note in [*notes(found.analysis), *beside]:
        console.print(f"- {note}")
    for picture in pictures:
        console.print(f"figure: {picture.path.with_suffix('.png').resolve()}", soft_wrap=True)


def _pictures(found: OwnAnalysis, out: Path | None) -> Sequence[Picture]:
    """Draw the Pareto figures, where a folder is given for them."""
    if out is None:
        return ()
    from regulens.report.pareto import draw_costs

    return draw_costs(found, out)
