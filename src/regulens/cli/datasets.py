"""What `analyze` prints across data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regulens.cli.tables import text_table
from regulens.cli.terminal import console, print_wide

if TYPE_CHECKING:
    from regulens.study.own_numbers import OwnAnalysis


def print_datasets(found: OwnAnalysis) -> None:
    """Print the tables and their notes, if a column of data sets was named."""
    from regulens.study.datasets_text import dataset_notes, effects_table, levels_table, pairs_table

    across = found.datasets
    if across is None:
        return
    title = f"\n{found.response} across {len(across.sets)} data sets ({across.column})"
    console.print(f"{title}: {found.compared} against {found.control}", style="bold")
    print_wide(text_table(effects_table(across)))
    if across.places:
        console.print()
        print_wide(text_table(levels_table(across)))
        console.print()
        print_wide(text_table(pairs_table(across)))
    console.print()
    for note in dataset_notes(across):
        console.print(f"- {note}")
