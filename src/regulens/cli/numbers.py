"""The command that analyses results from elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from regulens.cli.datasets import print_datasets
from regulens.cli.options import AnalysisFormat, Comparisons, Primary
from regulens.cli.tables import text_table
from regulens.cli.terminal import console, print_wide
from regulens.errors import UserError

if TYPE_CHECKING:
    from regulens.report.pictures import Picture
    from regulens.study.own_numbers import OwnAnalysis

_VERSUS = " vs "


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
    comparisons: Annotated[
        Comparisons, typer.Option(help="Compare each level with the control, or all with each other.")
    ] = Comparisons.control,
    pair: Annotated[
        list[str] | None,
        typer.Option(metavar='"A vs B"', help="Compare these two levels only; may be repeated."),
    ] = None,
    claims: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file of claims, as in a study file.")
    ] = None,
    rope: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER", help="Equivalence margin (ROPE; default: 0.005 for accuracies, else 0), or one each."
        ),
    ] = None,
    direction: Annotated[
        str | None,
        typer.Option(metavar="higher|lower", help="Which response is better (default: by its name), or one each."),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="fraction|percent|none",
            help="What the response is: a fraction of 1, as accuracies are, in percent (divided by 100), or neither "
            "(default: told by its name, if its values fit), or one each.",
        ),
    ] = None,
    primary: Annotated[
        Primary,
        typer.Option(help="What decides: the mean of the runs that trained, of all (mean), or the median."),
    ] = Primary.trained,
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
    looks: Annotated[
        str | None,
        typer.Option(metavar="SEEDS", help="Declared interim analyses, e.g. 5,10,20: they divide the error."),
    ] = None,
    paired: Annotated[bool, typer.Option("--paired", help="Compare runs of one seed as pairs, if declared.")] = False,
    split: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of the split or other block in which all were trained."),
    ] = None,
    over: Annotated[
        str | None, typer.Option(help="What verdicts are about: seeds, or seeds,split (default with --split).")
    ] = None,
    test_ratio: Annotated[
        float | None, typer.Option(help="Evaluated images over training images of a split, for verdicts over splits.")
    ] = None,
    effect: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="Also print the seeds that deciding this difference needs, or one each."),
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
        Path | None, typer.Option(metavar="DIR", help="With --datasets or --cost: draw their figures into DIR.")
    ] = None,
    cost: Annotated[
        str | None,
        typer.Option(metavar="COLUMNS", help="Columns of what a run costs, e.g. seconds,parameters; never judged."),
    ] = None,
    output: Annotated[AnalysisFormat, typer.Option("--format", help="Format of the output.")] = AnalysisFormat.table,
) -> None:
    """Analyze results that were trained elsewhere: which differences are real?

    Of several responses, --rope, --direction, --scale and --effect may be one for all, or one for each, with commas.
    """
    from regulens.study.own_numbers import analyze

    if figures is not None and datasets is None and cost is None:
        raise UserError("--figures draws data sets and costs: name their columns with --datasets or --cost, or omit it")
    found = analyze(
        data,
        response=response,
        factors=factors,
        seed=seed,
        compare=compare,
        control=control,
        rope=_numbers("--rope", rope),
        direction=direction,  # type: ignore[arg-type]  # checked where it is used, with the message
        chance=chance,
        paired=paired,
        primary=primary.value,
        scale=scale,  # type: ignore[arg-type]  # checked where it is used, with the message
        last_of=last_of,
        split=split,
        collapsed=collapsed,
        trained_above=trained_above,
        comparisons=_pairs(pair, comparisons),
        claims=claims,
        looks=looks,
        over=over,
        test_ratio=test_ratio,
        rope_rate=rope_rate,
        effect=_numbers("--effect", effect),
        datasets=datasets,
        cost=cost,
    )
    pictures = _pictures(found, figures)
    if output is AnalysisFormat.json:
        sys.stdout.write(found.to_json() + "\n")
        return
    told: set[str] = set()
    for each in (found, *found.others.values()):
        if told:
            console.print()
        told |= _print(each, told)
    for picture in pictures:
        console.print(f"figure: {picture.path.with_suffix('.png').resolve()}", soft_wrap=True)
    if found.claims:
        from regulens.study.analysis_text import claim_table

        console.print("\nclaims", style="bold")
        print_wide(text_table(claim_table(found.claims)))


def _numbers(option: str, text: str | None) -> float | list[float] | None:
    """Return the number of an option, or those of several responses."""
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{option} must be a number, or one for each response with commas, got {text}") from None
    return numbers[0] if len(numbers) == 1 else numbers


def _pairs(named: list[str] | None, comparisons: Comparisons) -> Literal["control", "all"] | list[tuple[str, str]]:
    """Return the pairs that are named by ``A vs B``, else the word for all of them."""
    if not named:
        return "all" if comparisons is Comparisons.all else "control"
    if comparisons is Comparisons.all:
        raise UserError("--pair names the comparisons, --comparisons all makes every one; omit one of them")
    pairs = []
    for text in named:
        a, versus, b = text.partition(_VERSUS)
        if not (versus and a.strip() and b.strip()):
            raise UserError(f'--pair must be two levels, as in "dropout vs none", got "{text}"')
        pairs.append((a.strip(), b.strip()))
    return pairs


def _print(found: OwnAnalysis, told: set[str]) -> set[str]:
    """Print the tables of one response and how to read them, but for what was told; return what was printed."""
    from regulens.study.analysis_text import cell_table, comparison_table, effect_table, notes
    from regulens.study.cost_text import COST_TITLE, cost_notes, cost_table
    from regulens.study.external.power import seeds_table
    from regulens.study.posterior_text import POSTERIOR_TITLE, posterior_note, posterior_table

    console.print(f"{found.response} of each cell", style="bold")
    print_wide(text_table(cell_table(found.analysis)))
    if found.analysis.comparisons:
        console.print(f"\n{found.response}: {found.compared}{_against(found)}", style="bold")
        print_wide(text_table(comparison_table(found.analysis)))
    if len(found.factors) > 1:
        console.print(f"\n{found.response}: effects of each factor (exploratory)", style="bold")
        print_wide(text_table(effect_table(found.effects, found.analysis)))
    if found.seeds_needed:
        what = "splits" if "split" in found.analysis.design.over else "seeds of each cell"
        console.print(f"\n{found.response}: {what} to decide {found.effect:g} (80 % power)", style="bold")
        print_wide(text_table(seeds_table(found.seeds_needed)))
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
    new = [note for note in (*notes(found.analysis), *beside) if note not in told]
    for note in new:
        console.print(f"- {note}")
    print_datasets(found)
    return set(new)


def _pictures(found: OwnAnalysis, folder: Path | None) -> Sequence[Picture]:
    """Draw what is said across data sets and what runs cost, where a folder is given for it."""
    if folder is None:
        return ()
    from regulens.report.datasets import draw_datasets
    from regulens.report.pareto import draw_costs

    across = draw_datasets(found, folder) if found.datasets is not None else ()
    return [*across, *(draw_costs(found, folder) if found.cost else ())]


def _against(found: OwnAnalysis) -> str:
    """Name the control, if all are compared with it."""
    against = {each.b for each in found.analysis.comparisons}
    return f" against {found.control}" if against == {found.control} else ""
