"""Where commands print: what was asked for to standard output, what went wrong to standard error."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)
_WIDE = 160


def print_wide(table: Table) -> None:
    """Print a table with every value whole, also where the terminal is narrower."""
    Console(width=max(console.width, _WIDE), highlight=False).print(table)
