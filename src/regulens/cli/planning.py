"""The commands before any training: what would run, how many seeds an effect needs, a study file to start from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regulens.cli import completing
from regulens.cli.opening import open_study
from regulens.cli.options import MaxCells, Out, Seeds, Source, Workers
from regulens.cli.tables import plan_table, power_table
from regulens.cli.terminal import console, print_wide
from regulens.errors import UserError

if TYPE_CHECKING:
    from regulens.api import Study

_EFFECT = 0.01


def plan(
    source: Source,
    *,
    seeds: Seeds = None,
    workers: Workers = None,
    out: Out = None,
    power: Annotated[
        bool, typer.Option("--power", help="Estimate the seeds and the time that an effect requires.")
    ] = False,
    effect: Annotated[
        float | None,
        typer.Option(help="With --power: effect to detect (default: 0.01, one percentage point)."),
    ] = None,
    sd: Annotated[
        float | None,
        typer.Option(help="With --power: SD between seeds (default: that of the runs so far, a pilot)."),
    ] = None,
    collapse: Annotated[
        float | None, typer.Option(help="With --power and --sd: the fraction of runs that collapse (default: none).")
    ] = None,
    max_cells: MaxCells = None,
) -> None:
    """List what would run, with parameters and an estimate of time; nothing is trained."""
    if not power and any(given is not None for given in (effect, sd, collapse)):
        raise UserError("--effect, --sd and --collapse need --power: they say how many seeds an effect requires")
    study = open_study(source, out, max_cells).with_seeds(seeds)
    from regulens.report.wording import counted
    from regulens.study.plan import estimate_minutes
    from regulens.study.workers import check_workers

    count = check_workers(workers)
    if power:
        _print_power(study, _EFFECT if effect is None else effect, sd, collapse or 0.0, count)
        return
    cells = study.plan()
    print_wide(plan_table(cells))
    pending, planned = sum(cell.pending for cell in cells), len(study.runs())
    finished = f" ({planned - pending} of them finished in {study.folder})" if pending < planned else ""
    size = f"{counted(len(cells), 'network')} x {counted(study.spec.seeds, 'seed')} = {counted(planned, 'run')}"
    console.print(
        f"{size}{finished}, then refits and tests; about "
        f"{estimate_minutes(study.spec, cells, count):.1f} minutes with {count} workers here (from a few timed steps "
        f"on random pixels)",
        soft_wrap=True,
    )
    print_few_seeds(study)


def init(
    preset: Annotated[
        str,
        typer.Argument(
            metavar="PRESET",
            help="Which preset: quickstart, lab, lab-64, lab-audit or lab-strength.",
            autocompletion=completing.presets,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="File to write, which must not exist yet (default: standard output)."
        ),
    ] = None,
) -> None:
    """Print a commented study file to start from: `regulens init lab > my.toml`."""
    from regulens.study.study_file import preset_text

    text = preset_text(preset)
    if out is None:
        sys.stdout.write(text)
    elif out.exists():
        raise UserError(f"{out}: exists already; choose another name")
    else:
        out.write_text(text, encoding="utf-8")


def print_few_seeds(study: Study) -> None:
    """Say what so few seeds cannot decide, if anything."""
    note = study.few_seeds()
    if note:
        console.print(f"note: {note}", soft_wrap=True, markup=False)


def _print_power(study: Study, effect: float, sd: float | None, collapse: float, workers: int) -> None:
    """Print the seeds that each comparison needs, what they rest on, and how long the study takes with them."""
    from regulens.study.plan import estimate_minutes, plan_study

    rows, looks = study.power(effect, sd, collapse), study.looks()
    begun = looks.spent > 0
    print_wide(power_table(rows, begun))
    source = "the stated spread" if sd is not None else f"the spread and the collapses of the runs in {study.folder}"
    one_of = f"one of {len(rows)} comparisons" if len(rows) > 1 else "the one comparison"
    console.print(
        f"for a difference of {effect:g} to be called better or worse with 80 % probability, as {one_of}; from {source}"
        + ("" if sd is not None else "; range: if they are as seen, and at their upper 80 % bounds"),
        soft_wrap=True,
    )
    for row in rows:
        if row.reason:
            console.print(f"note: {row.a} against {row.b}: {row.reason}", soft_wrap=True, markup=False)
    for note in study.power_notes(effect, sd):
        console.print(f"note: {note}", soft_wrap=True, markup=False)
    wanted = [row.seeds.recommended for row in rows if row.seeds is not None and not row.seeds.never]
    known = [seeds for seeds in wanted if seeds is not None]
    if not known or len(known) < len(wanted):
        return
    most = max(known)
    if begun and most > looks.taken[-1].seeds:
        console.print(
            f"the report at {looks.taken[-1].seeds} seeds spent {100 * looks.spent:.3g} % of the error: with {most} "
            f"seeds the intervals hold together with {100 * looks.level(most):.2f} %, which is counted in; extend the "
            f"study by `regulens run {study.folder} --seeds {most}`",
            soft_wrap=True,
            markup=False,
        )
    grown = study.with_seeds(most)
    cells = plan_study(grown.spec, grown.runs(), estimate=True)
    console.print(
        f"{most} seeds of every network: about {estimate_minutes(grown.spec, cells, workers):.1f} minutes "
        f"with {workers} workers here, refits included",
        soft_wrap=True,
    )
