"""How the command starts: what it imports, which study it takes a word for, what the shell is offered."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from done import Done
from regulens.api import Study, load_study
from regulens.cli import completing
from regulens.cli.commands import app

Run = Callable[..., Done]
SECONDS = 300
SLOW = ("torch", "pandas", "matplotlib", "sklearn", "scipy", "statsmodels", "joblib")
IMPORTED = f"""
import sys
from regulens.cli import main
for line in sys.stdin.read().splitlines():
    sys.argv = ["regulens", *line.split("|")]
    try:
        main()
    except SystemExit:
        pass
    slow = [name for name in {SLOW!r} if name in sys.modules]
    assert not slow, (line, slow)
print("none of them")
"""


def test_what_needs_no_network_imports_nothing_slow(alone: None, finished: Study) -> None:
    words = ["--help", "--version", "", "staus", "data", "run|quickstrat", "audit|quickstrat", "plan|quickstrat"]
    words += [f"{command}|quickstrat" for command in ("status", "report", "inside", "measures", "kernels", "bench")]
    words += ["look|quickstrat|--image|1", "explain|quickstrat|--image|1", "init|lab", "init|quickstrat"]
    words += [f"status|{finished.folder}", f"results|{finished.folder}", f"results|{finished.folder}|--compared"]
    words += [f"results|{finished.folder}|--format|{output}" for output in ("csv", "json")]
    words += [f"{command.callback.__name__}|--help" for command in app.registered_commands if command.callback]
    words += ["data|--help", "run|quickstart|--seeds|0", "run|quickstart|--looks|5,10"]
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED],
        input="\n".join(words),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.stdout.endswith("none of them\n"), done.stderr


def test_results_as_csv_are_what_pandas_writes(regulens: Run, finished: Study) -> None:
    for arguments, compared in (((), False), (("--compared",), True)):
        written = finished.results(compared).drop(columns="epochs").to_csv(index=False, lineterminator="\n")
        assert regulens("results", finished.folder, "--format", "csv", *arguments).stdout == written


@pytest.mark.parametrize("arguments", [(), ("data",)])
def test_without_a_command_there_is_help_and_no_error(regulens: Run, arguments: tuple[str, ...]) -> None:
    done = regulens(*arguments)
    assert done.returncode == 2
    assert "Usage: regulens" in done.stdout
    assert not done.stderr


def test_a_misspelt_word_is_answered_with_the_nearest(regulens: Run) -> None:
    regulens("staus").refused("staus", "status")
    regulens("data", "chek", "digits").refused("chek", "check")
    regulens("init", "quickstrat").refused("quickstrat", "did you mean quickstart?")


@pytest.fixture
def beside_a_preset(alone: None, tmp_path: Path, finished: Study) -> Path:
    """A study's folder that is called as a preset is."""
    return shutil.copytree(finished.folder, tmp_path / "lab")


@pytest.mark.parametrize("source", ["./lab", "lab/", "../{name}/lab", "{folder}"])
def test_a_path_is_never_taken_for_a_preset(source: str, regulens: Run, beside_a_preset: Path) -> None:
    source = source.format(name=beside_a_preset.parent.name, folder=beside_a_preset)
    assert load_study(source).spec.name == load_study(Path(source)).spec.name == "tiny"
    for command in ("status", "results", "measures"):
        done = regulens(command, source)
        assert "quickstart" not in done.stdout + done.stderr
        assert "note: " not in done.stderr
    assert "8 of 8 runs finished" in regulens("status", source).stdout
    assert "4 networks x 2 seeds" in regulens("plan", source).stdout


def test_a_presets_name_is_the_preset_and_says_so_beside_a_folder_of_that_name(
    regulens: Run, beside_a_preset: Path
) -> None:
    note, error = regulens("status", "lab").stderr.splitlines()
    assert note == "note: lab is the preset; what is called so in this folder is ./lab"
    assert error.startswith("error: studies/lab: holds no study")
    assert load_study("lab").spec.name == "lab"
    regulens("status", "quickstart").refused("studies/quickstart: holds no study")


def test_a_look_inside_that_cannot_be_shows_no_bar(regulens: Run, tmp_path: Path, finished: Study) -> None:
    regulens("inside", "lab").refused("studies/lab", "holds no study")
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(finished.folder / "study.toml", empty)
    regulens("inside", empty).refused("holds no study")
    for folder in ("lab", empty):
        assert not regulens("inside", folder).stdout


class TestCompletion:
    def test_it_can_be_installed(self, process: Run) -> None:
        printed = process("--help").stdout
        assert "--install-completion" in printed
        assert "--show-completion" in printed

    def test_commands_options_and_levels_are_completed(self, complete: Callable[..., list[str]]) -> None:
        assert complete("regulens", "st") == ["status"]
        assert complete("regulens", "results", "x", "--fo") == ["--format"]
        assert complete("regulens", "results", "x", "--format", "") == ["table", "csv", "json"]

    def test_presets_folders_and_files_are_completed(self, tmp_path: Path, complete: Callable[..., list[str]]) -> None:
        for folder in ("studies/mine", "studies/empty", "other/theirs", "here"):
            (tmp_path / folder).mkdir(parents=True)
            if folder != "studies/empty":
                (tmp_path / folder / "study.db").touch()
        (tmp_path / "quick.toml").touch()
        assert complete("regulens", "run", "qu") == ["quickstart", "quick.toml"]
        assert completing.studies("") == [*completing.presets(""), "studies/mine", "here", "quick.toml"]
        assert completing.folders("other/") == ["other/theirs"]
        assert completing.folders("./") == ["./here"]
        assert completing.folders("nowhere/") == []
        assert completing.data_sets("fa") == ["fashion-mnist"]


@pytest.fixture
def process(alone: None) -> Run:
    """Run the command in a process of its own, with these environment variables."""

    def run(*arguments: str, **variables: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "regulens", *arguments],
            env=os.environ | variables,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def complete(process: Run) -> Callable[..., list[str]]:
    """Ask for completions as bash does."""

    def ask(*words: str) -> list[str]:
        number = str(len(words) - 1)
        variables = {"_REGULENS_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": number}
        return process(**variables).stdout.split()

    return ask
