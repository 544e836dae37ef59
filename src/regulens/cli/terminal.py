"""Where commands print: what was asked for to standard output, what went wrong to standard error."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from regulens.text import NEAREST, nearest_characters, printable

if TYPE_CHECKING:
    from regulens.report.inside.steps import OnStep

_WIDE = 160


class Terminal(Console):
    """A console that prints text as it is: no markup, no control characters, and no end when nobody reads on."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Render text, be it printed or in a table's cell, without what could command the terminal."""
        return super().render_str(printable(text), **options)

    def on_broken_pipe(self) -> None:
        """Go on without printing, as in ``regulens run lab | head``: the work is worth more than its log."""
        print_no_more(self.file)


console = Terminal()
errors = Terminal(stderr=True)


def print_wide(table: Table) -> None:
    """Print a table with every value whole, also where the terminal is narrower."""
    Terminal(width=max(console.width, _WIDE)).print(table)


def prepare_streams() -> None:
    """Write what a terminal's encoding lacks in the nearest characters that it has, instead of failing."""
    nearest_characters()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=NEAREST)


def print_no_more(stream: IO[str]) -> None:
    """Send to nowhere what is still written to a stream whose reader has gone."""
    with suppress(OSError, ValueError):  # a stream without a descriptor has no reader that could go
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextmanager
def steps_shown() -> Iterator[OnStep]:
    """Show on a terminal what is being done and how far it is, and take it away at the end; elsewhere nothing."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    further = TextColumn("elapsed,"), TimeRemainingColumn(), TextColumn("remaining")
    with Progress(*columns, *further, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("loading", total=None)

        def on_step(what: str, done: int, of: int) -> None:
            if done == 0:
                bar.reset(task, description=printable(what), total=of)
            bar.update(task, completed=done)

        yield on_step
