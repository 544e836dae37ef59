"""Where commands print: what was asked for to standard output, what went wrong to standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from regulens.report.inside.steps import OnStep

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)
_WIDE = 160


def print_wide(table: Table) -> None:
    """Print a table with every value whole, also where the terminal is narrower."""
    Console(width=max(console.width, _WIDE), highlight=False).print(table)


@contextmanager
def steps_shown() -> Iterator[OnStep]:
    """Show on a terminal what is being done and how far it is, and take it away at the end; elsewhere nothing."""
    columns = TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn()
    further = TextColumn("gone,"), TimeRemainingColumn()
    with Progress(*columns, *further, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("loading", total=None)

        def on_step(what: str, done: int, of: int) -> None:
            if done == 0:
                bar.reset(task, description=what, total=of)
            bar.update(task, completed=done)

        yield on_step
