"""The commands about data sets: list, get, check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from regulens.cli import completing
from regulens.cli.parsing import Command
from regulens.cli.terminal import console, print_wide

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A data set that `regulens data list` names.", autocompletion=completing.data_sets
    ),
]
data_app = typer.Typer(help="Find, fetch and verify data sets.", no_args_is_help=True)


@data_app.command("list", cls=Command)
def data_list() -> None:
    """List the known data sets and where each is on this machine."""
    from regulens.data.catalog import CATALOG, locate

    table = Table("name", "images", "shape", "classes", "where", "what", box=None, pad_edge=False)
    for info in CATALOG.values():
        found = locate(info)
        where = found.place if found else "not here: regulens data get"
        shape = "x".join(map(str, info.image_shape))
        table.add_row(
            info.name, f"{info.images:,}", shape, str(len(info.class_names)), where, f"{info.title}; {info.licence}"
        )
    print_wide(table)


@data_app.command("get", cls=Command)
def data_get(name: Name) -> None:
    """Find a data set, or download it into the package's cache, and verify it."""
    from regulens.data.catalog import dataset_info, fetch, verify

    info = dataset_info(name)
    fetch(info)
    located = verify(info)
    console.print(f"{name}: {_where(located.place, located.paths)}, verified", soft_wrap=True)


@data_app.command("check", cls=Command)
def data_check(name: Name) -> None:
    """Verify the checksums of a data set that is on this machine."""
    from regulens.data.catalog import dataset_info, verify

    located = verify(dataset_info(name))
    for path in located.paths:
        console.print(f"ok  {path}", soft_wrap=True)
    console.print(f"{name}: {_where(located.place, located.paths)}, every checksum is right", soft_wrap=True)


def _where(place: str, paths: tuple[Path, ...]) -> str:
    return f"{paths[0].parent} ({place})" if paths else place
