"""`regulens analyze --datasets` as a user meets it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from regulens.cli import main
from regulens.study.own_numbers import analyze

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "datasets.csv"
COLUMNS = ("--response", "val_accuracy", "--factors", "regularizer", "--seed", "seed")
Answer = tuple[int, str, str]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run the command in this process: exit code, stdout, stderr."""

    def run(*arguments: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["regulens", "analyze", str(EXAMPLE), *COLUMNS, *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "100")
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def test_the_documentation_shows_what_the_command_prints(answer: Callable[..., Answer]) -> None:
    code, out, err = answer("--datasets", "dataset")
    assert (code, err) == (0, "")
    tables = out[out.index("val_accuracy across 6 data sets") : out.index("\n\n- Across data sets")]
    shown = "\n".join(line.rstrip() for line in tables.splitlines())
    assert shown in (DOCS / "statistics.md").read_text()
    across = out[out.index("val_accuracy across") :]
    assert not any(verdict in across for verdict in (" better", " worse", "equivalent", "undecided"))


def test_json_and_python_say_the_same(answer: Callable[..., Answer]) -> None:
    code, out, _ = answer("--datasets", "dataset", "--format", "json")
    assert code == 0
    found = analyze(EXAMPLE, response="val_accuracy", factors="regularizer", seed="seed", datasets="dataset")
    assert json.loads(out) == found.as_dict()


def test_figures_are_drawn_and_named(answer: Callable[..., Answer], tmp_path: Path) -> None:
    code, out, _ = answer("--datasets", "dataset", "--figures", tmp_path)
    assert code == 0
    for name in ("forest", "ranks", "profile"):
        assert (tmp_path / f"datasets-{name}.png").is_file()
        assert f"datasets-{name}.png" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--figures", "x"), "--datasets"),
        (("--datasets", "data"), 'no column "data"; did you mean dataset?'),
        (("--datasets", "regularizer"), "they differ in dataset: is it a factor?"),
        (("--datasets", "dataset", "--compare", "dataset", "--control", "birds"), "names the data sets as well"),
    ],
)
def test_what_is_missing_is_said_in_a_line(
    answer: Callable[..., Answer], arguments: tuple[str, ...], words: str
) -> None:
    code, out, err = answer(*arguments)
    assert (code, out) == (2, "")
    assert words in " ".join(err.split())
