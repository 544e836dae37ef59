"""What the documentation shows works, and nothing a user can set is missing from it."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import regulens
from regulens.api import Study
from regulens.cli.commands import app
from regulens.spec import StudySpec, field_paths

ROOT = Path(__file__).parents[2]


def test_the_readmes_python_example_runs(tmp_path: Path) -> None:
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "studies" / "quickstart" / "report.html").is_file()


@pytest.mark.parametrize("path", [*field_paths(), *sorted(set(StudySpec.model_fields) - {"data", "model", "train"})])
def test_every_key_of_a_study_file_is_documented(path: str) -> None:
    assert re.search(rf"`\[*{re.escape(path)}\]*`", (ROOT / "docs" / "studies.md").read_text())


def test_every_column_of_the_results_is_documented(finished: object) -> None:
    text = (ROOT / "docs" / "studies.md").read_text()
    for column in finished.results().columns:
        assert f"`{column}`" in text


def test_every_room_is_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for room in (ROOT / "src" / "regulens").iterdir():
        if room.name.startswith("_") or room.name == "py.typed":
            continue
        assert f"`{room.name}`" in text or f"`{room.name}/" in text, room.name


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_every_link_to_a_file_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).is_file(), target


@pytest.mark.parametrize("name", [name for name in dir(Study) if not name.startswith("_")])
def test_every_method_of_a_study_is_documented(name: str) -> None:
    assert re.search(rf"`{name}[`(]", (ROOT / "docs" / "python.md").read_text())


@pytest.mark.parametrize("name", list(inspect.signature(regulens.analyze).parameters)[1:])
def test_every_option_of_analyze_is_on_the_command_line_and_documented(name: str) -> None:
    option = f"--{name.replace('_', '-')}"
    assert f"`{option}" in (ROOT / "docs" / "studies.md").read_text()
    commands: dict[str, Any] = getattr(typer.main.get_command(app), "commands")  # noqa: B009  # of a group
    assert option in {each for parameter in commands["analyze"].params for each in parameter.opts}


@pytest.mark.parametrize("name", regulens.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    assert name in (ROOT / "docs" / "python.md").read_text()
