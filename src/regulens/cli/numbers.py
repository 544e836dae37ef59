"""The command that analyses results from elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regulens.cli.datasets import check_figures, draw_figures, print_datasets
from regulens.cli.options import AnalysisFormat, Comparisons, Direction, Primary, Scale
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
        str,
        typer.Option(
            metavar="COLUMNS", help="Column of the number to analyze, e.g. val_accuracy; several make one family."
        ),
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
    collapsed: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of true and false: runs that collapsed or diverged."),
    ] = None,
    trained_above: Annotated[
        float | None, typer.Option(help="Response above which a run counts as trained, in place of --chance.")
    ] = None,
    rope_rate: Annotated[float, typer.Option(help="Equivalence margin of two collapse rates.")] = 0.05,
    comparisons: Annotated[
        Comparisons, typer.Option(help="Compare each level with the control, or all with each other.")
    ] = Comparisons.control,
    claims: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file with [[claims]], as in a study file.")
    ] = None,
    looks: Annotated[
        str | None,
        typer.Option(metavar="SEEDS", help="Declared interim analyses, e.g. 5,10,20: they divide the error."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of the split or other block in which all were trained."),
    ] = None,
    over: Annotated[
        str | None, typer.Option(help="What verdicts are about: seeds, or seeds,split (default with --split).")
    ] = None,
    test_ratio: Annotated[
        float | None, typer.Option(help="Evaluated over training images of a split, for verdicts over splits.")
    ] = None,
    paired: Annotated[bool, typer.Option("--paired", help="Compare runs of one seed as pairs.")] = False,
    primary: Annotated[
        Primary, typer.Option(help="What decides: the mean of non-collapsed runs, of all (mean), or the median.")
    ] = Primary.trained,
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
    datasets: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of the data set: pool the comparisons over data sets as well."),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --datasets: draw the figures across data sets into DIR.")
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
    from regulens.study.own_numbers import analyze

    check_figures(figures, datasets)
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
        split=split,
        collapsed=collapsed,
        trained_above=trained_above,
        comparisons=comparisons.value,
        claims=claims,
        looks=looks,
        over=over,
        test_ratio=test_ratio,
        rope_rate=rope_rate,
        datasets=datasets,
        cost=cost,
    )
    drawn = draw_figures(found, figures)
    pictures = _pictures(found, out)
    if output is AnalysisFormat.json:
        sys.stdout.write(found.to_json() + "\n")
        return
    for number, each in enumerate((found, *found.others.values())):
        if number:
            console.print()
        _print(each)
    for path in drawn:
        console.print(str(path), soft_wrap=True)
    for picture in pictures:
        console.print(f"figure: {picture.path.with_suffix('.png').resolve()}", soft_wrap=True)
    if found.claims:
        from regulens.study.analysis_text import claim_table

        console.print("\nclaims", style="bold")
        print_wide(text_table(claim_table(found.claims)))


def _print(found: OwnAnalysis) -> None:
    """Print the tables of one response and how to read them."""
    from regulens.study.analysis_text import cell_table, comparison_table, effect_table, notes
    from regulens.study.cost_text import COST_TITLE, cost_notes, cost_table
    from regulens.study.posterior_text import POSTERIOR_TITLE, posterior_note, posterior_table

    console.print(f"{found.response} of each cell", style="bold")
    print_wide(text_table(cell_table(found.analysis)))
    if found.analysis.comparisons:
        against = "" if found.control is None else f" against {found.control}"
        console.print(f"\n{found.response}: {found.compared}{against}", style="bold")
        print_wide(text_table(comparison_table(found.analysis)))
    if len(found.factors) > 1:
        console.print(f"\n{found.response}: effects of each factor (exploratory)", style="bold")
        print_wide(text_table(effect_table(found.effects, found.analysis)))
    if found.cost:
        console.print(f"\n{COST_TITLE}", style="bold")
        print_wide(text_table(cost_table(found.analysis, found.cost)))
    posterior = posterior_table(found.analysis)
    if posterior is not None:
        console.print(f"\n{found.response}: {POSTERIOR_TITLE}", style="bold")
        print_wide(text_table(posterior))
    console.print()
    beside = [posterior_note(found.analysis)] if posterior is not None else []
    beside += cost_notes(found.cost) if found.cost else []
    for note in [*notes(found.analysis), *beside]:
        console.print(f"- {note}")
    print_datasets(found)


def _pictures(found: OwnAnalysis, out: Path | None) -> Sequence[Picture]:
    """Draw the Pareto figures, where a folder is given for them."""
    if out is None:
        return ()
    from regulens.report.pareto import draw_costs

    return draw_costs(found, out)
