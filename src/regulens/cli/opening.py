"""How a command gets its study: a mistake is said at once, and torch imported only for a study that is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from regulens.cli.terminal import errors

if TYPE_CHECKING:
    from regulens.api import Study
    from regulens.spec import StudySpec


def find(source: str, out: Path | None = None, max_cells: int | None = None) -> tuple[StudySpec, Path]:
    """Return a study and its folder; a word that is a preset and a path beside it is the preset, which is said.

    Raises:
        UserError: if there is none, or naming what is wrong in the file.
    """
    from regulens.study.finding import find_study
    from regulens.study.study_file import names_preset

    found = find_study(source, out, max_cells)
    if names_preset(source) and Path(source).exists():
        errors.print(f"note: {source} is the preset; what is called so in this folder is ./{source}", soft_wrap=True)
    return found


def open_study(source: str, out: Path | None = None, max_cells: int | None = None) -> Study:
    """Return a study to work with.

    Raises:
        UserError: if there is none, or naming what is wrong in the file.
    """
    found = find(source, out, max_cells)
    from regulens.api import Study

    return Study(*found)
