"""The commands that follow images through trained networks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from regulens.cli.kernels import print_path
from regulens.cli.opening import open_study
from regulens.cli.options import Cells, Figures, Filters, Folder, Image, Method, Runs, Seed
from regulens.cli.terminal import console, print_wide, steps_shown
from regulens.errors import UserError

if TYPE_CHECKING:
    from regulens.interpret.agreement import Agreement
    from regulens.report.inside.explaining import Explanation, MistakesPicture
    from regulens.report.inside.looking import Look, Seen
    from regulens.report.inside.maps import Explained


def look(
    folder: Folder,
    *,
    image: Image = None,
    run: Runs = None,
    cell: Cells = None,
    layer: Annotated[
        str | None, typer.Option(help="Show one layer for all networks together, e.g. relu1, pool1, batchnorm1.")
    ] = None,
    own_scale: Annotated[
        bool, typer.Option("--own-scale", help="With --image and --layer: scale each network by itself.")
    ] = False,
    exciting: Annotated[
        bool, typer.Option("--exciting", help="Show the maximally activating validation images of each filter.")
    ] = False,
    maximise: Annotated[
        bool,
        typer.Option(
            "--maximize", "--maximise", help="Activation maximization of filters and classes (--layer conv1, output)."
        ),
    ] = False,
    filters: Filters = None,
    seed: Seed = 0,
    out: Figures = None,
) -> None:
    """Follow an image through every layer of a network, or show what activates its filters.

    By default the selected network's representative run is used. The held-out test set stays unseen.
    """
    if image is None and not (exciting or maximise):
        raise UserError("name an image with --image N or --image PATH, or ask for --exciting or --maximize")
    if image is not None and (exciting or maximise):
        raise UserError("--image does not go with --exciting or --maximize; omit --image")
    if image is not None and filters:
        raise UserError("--filter requires --exciting or --maximize; omit it")
    study = open_study(folder)
    if image is not None:
        scaling: Literal["shared", "own"] = "own" if own_scale else "shared"
        with steps_shown() as on_step:
            seen = study.look(image, run=run, cell=cell, layer=layer, scaling=scaling, out=out, on_step=on_step)
        _print_look(seen)
    if exciting:
        with steps_shown() as on_step:
            excited = study.exciting(run=run, cell=cell, layer=layer, filters=filters, out=out, on_step=on_step)
        for found in excited:
            dead = f"{found.responses.dead.sum()} of {len(found.responses.dead)} filters are dead (zero on all of them)"
            console.print(f"{found.picture.caption} {dead}.", soft_wrap=True)
            print_path(found.picture)
    if maximise:
        with steps_shown() as on_step:
            inputs = study.maximised(
                run=run, cell=cell, layer=layer, filters=filters, seed=seed, out=out, on_step=on_step
            )
        for made in inputs:
            console.print(made.picture.caption, soft_wrap=True)
            print_path(made.picture)


def explain(
    folder: Folder,
    *,
    image: Image = None,
    method: Annotated[
        list[Method] | None,
        typer.Option("--method", help="Attribution method; may be repeated (default: all)."),
    ] = None,
    run: Runs = None,
    cell: Cells = None,
    target: Annotated[
        str | None, typer.Option("--class", metavar="NAME|N", help="Class to explain (default: the predicted one).")
    ] = None,
    mistakes: Annotated[
        int | None, typer.Option("--mistakes", metavar="COUNT", help="Explain this many of the most confident errors.")
    ] = None,
    seed: Seed = 0,
    out: Figures = None,
) -> None:
    """Draw attribution maps: which pixels support a class, with faithfulness and sanity checks.

    By default the selected network's representative run is used, and its non-collapsed seeds are compared. Requires
    the extra "explain". The held-out test set stays unseen.
    """
    names = [each.value for each in method or ()]
    if image is None and mistakes is None:
        raise UserError("name an image with --image N or --image PATH, or ask for --mistakes COUNT")
    if mistakes is not None and len(names) > 1:
        raise UserError(f"mistakes are drawn by one method, got {', '.join(names)}; name one")
    study = open_study(folder)
    if image is not None:
        with steps_shown() as on_step:
            explanation = study.explain(
                image, run=run, cell=cell, method=names, target=target, seed=seed, out=out, on_step=on_step
            )
        _print_explanation(explanation)
    if mistakes is not None:
        by = names[0] if names else Method.occlusion.value
        with steps_shown() as on_step:
            wrong = study.mistakes(mistakes, run=run, cell=cell, method=by, seed=seed, out=out, on_step=on_step)
        _print_mistakes(wrong)


def _print_look(found: Look) -> None:
    console.print(f"{found.subject.label}: {'; '.join(found.notes)}", soft_wrap=True)
    for each in found.seen:
        console.print(f"{each.network} (run {each.run_id}): {_said(each)}", soft_wrap=True)
    for picture in found.pictures:
        print_path(picture)


def _said(seen: Seen) -> str:
    maps = [each for each in seen.activations.maps if each.kind == "ReLU"]
    zero = [f"{each.layer} {int((each.maps == 0).all(axis=(1, 2)).sum())} of {len(each.maps)}" for each in maps]
    return f"{seen.said}; dead filters (zero on this image): {', '.join(zero)}"


def _print_explanation(found: Explanation) -> None:
    console.print(f"{found.subject.label}: {'; '.join(found.notes)}", soft_wrap=True)
    for each, said in zip(found.explained, found.said, strict=True):
        console.print(f"{each.network.label}: {said}", soft_wrap=True)
        print_wide(_trust_table(each))
    if found.agreement:
        head = f"agreement of the seeds of {found.seeds}: mean rank correlation of all pairs (range of the pairs)"
        console.print(head, soft_wrap=True)
        table = _table("method", "seeds", "random weights")
        for method, pair in found.agreement.items():
            table.add_row(method, _agreed(pair.seeds), _agreed(pair.randomised))
        print_wide(table)
    for picture in found.pictures:
        print_path(picture)


def _trust_table(explained: Explained) -> Table:
    from regulens.figures.attribution import area_text, error_text

    table = _table("method", "deletion AUC", "insertion AUC", "random-weight check")
    followed = explained.faithfulness
    for method, sanity in explained.sanity.items():
        curves = followed.methods.get(method)
        areas = (curves.deletion_areas[:, 0], curves.insertion_areas[:, 0]) if curves else None
        error = explained.completeness_error(method)
        summed = "" if error is None else f"; sum off by {error_text(error)}"
        found = [area_text(each) for each in areas] if areas else ["no map", ""]
        table.add_row(method, *found, sanity.verdict + summed)
    random = followed.random_deletion_areas, followed.random_insertion_areas
    table.add_row("random orders", *(area_text(each) for each in random), "")
    return table


def _print_mistakes(found: Iterable[MistakesPicture]) -> None:
    from regulens.figures.parts import chance

    drawn = list(found)
    if not drawn:
        console.print("no mistakes on validation, or no prediction is a finite number")
    for each in drawn:
        console.print(f"{each.network}: {each.errors:,} errors on {each.images:,} validation images", soft_wrap=True)
        table = _table("image", "predicted", "probability", "true", "probability")
        for one in each.mistakes:
            chances = chance(one.predicted_probability), chance(one.true_probability)
            table.add_row(str(one.index), one.predicted, chances[0], one.true, chances[1])
        print_wide(table)
        for picture in each.pictures:
            print_path(picture)


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False)


def _agreed(found: Agreement) -> str:
    if math.isnan(found.mean):
        return "no pair of maps"
    pairs = f" ({found.least:.2f} to {found.greatest:.2f})" if found.networks > 2 else ""
    return f"{found.mean:.2f}{pairs}"
