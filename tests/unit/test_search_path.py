"""A search path without the current folder: what goes, what stays, and what a child process is told."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import regulens
from regulens.search_path import child_environment, runs_as_module, without_current_folder

LIBRARY = str(Path(os.__file__).parent)
HOME = str(Path(regulens.__file__).parents[1])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_every_way_of_naming_the_current_folder_goes(here: Path) -> None:
    (here.parent / "link").symlink_to(here)
    names = ["", ".", str(here), f"{here}/", f"{here}/../here", str(here.parent / "link")]
    assert without_current_folder([*names, "/elsewhere", LIBRARY]) == ["/elsewhere", LIBRARY]


def test_folders_that_merely_contain_or_lie_in_the_current_one_stay(here: Path) -> None:
    entries = [str(here.parent), str(here / "lib"), LIBRARY]
    assert without_current_folder(entries) == entries


def test_a_folder_behind_the_standard_library_was_installed_there_and_stays(here: Path) -> None:
    assert without_current_folder(["", str(here), LIBRARY, str(here)]) == [LIBRARY, str(here)]


@pytest.mark.parametrize("entry", ["", ".", HOME])
def test_a_checkout_run_from_its_source_folder_goes_to_the_end(entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HOME)
    assert without_current_folder([entry, LIBRARY, "/site-packages"]) == [LIBRARY, "/site-packages", HOME]
    assert without_current_folder([entry, LIBRARY, HOME]) == [LIBRARY, HOME]


def test_in_a_deleted_folder_only_the_empty_entry_goes(here: Path) -> None:
    here.rmdir()
    assert without_current_folder(["", "/elsewhere", LIBRARY]) == ["/elsewhere", LIBRARY]


def test_a_child_process_is_told_to_leave_it_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", str(here), "/elsewhere", "."]))
    assert child_environment() == {"PYTHONSAFEPATH": "1", "PYTHONPATH": "/elsewhere"}
    monkeypatch.delenv("PYTHONPATH")
    assert child_environment() == {"PYTHONSAFEPATH": "1"}


@pytest.mark.parametrize(
    ("argv", "orig_argv", "expected"),
    [
        (["-m", "status", "x"], ["python", "-X", "dev", "-m", "regulens", "status", "x"], True),
        (["-m"], ["python", "-mregulens"], True),
        (["-m", "regulens"], ["python", "-m", "mine", "regulens"], False),
        (["-c"], ["python", "-c", "import regulens"], False),
        (["/home/me/script.py", "-m", "regulens"], ["python", "script.py", "-m", "regulens"], False),
        ([], ["host"], False),
    ],
)
def test_only_python_m_regulens_is_taken_for_the_command(
    argv: list[str], orig_argv: list[str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", orig_argv)
    assert runs_as_module() is expected
