"""`regulens inside` and `measures` as a user meets them, and the second part of the report."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from done import Done
from regulens.api import Study, load_study, run_study
from regulens.executors.local import LocalExecutor
from regulens.study.inside.analysis import TITLES

Run = Callable[..., Done]


@pytest.fixture(scope="module")
def trained(tiny_file: Path, processes: LocalExecutor, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The tiny study with images and epochs enough for its runs to train."""
    place = tmp_path_factory.mktemp("inside")
    text = tiny_file.read_text().replace("limit = 120", "limit = 600").replace("epochs = 2", "epochs = 10")
    (place / "trains.toml").write_text(text)
    study = run_study(load_study(place / "trains.toml", place / "trains"), executor=processes)
    assert study.results().query("stage == 'train'")["collapsed"].sum() <= 1
    return study


def test_before_measuring_the_report_says_how_to(regulens: Run, finished: Study) -> None:
    assert "Not measured yet: regulens inside" in (finished.folder / "report.html").read_text()
    done = regulens("measures", finished.folder, "--format", "csv")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "run regulens inside first" in done.stderr


def test_inside_measures_says_and_reports(regulens: Run, trained: Study) -> None:
    folder = trained.folder
    done = regulens("inside", folder)
    assert done.returncode == 0, done.stderr
    assert "batchnorm against none, depth 1: " in done.stdout
    assert " 9 measures" in done.stdout
    assert " 18 measures" in done.stdout
    assert str(folder / "report.html") in done.stdout
    page = (folder / "report.html").read_text()
    assert "Not measured yet" not in page
    for words in (
        "The look inside",
        "Filters at work",
        "linear probe",
        "Similarity of representations across seeds and networks",
        "Calibration",
    ):
        assert words in page
    for picture in ("measures", "probes", "similarity", "robustness-1", "robustness-2", "reliability"):
        assert (folder / "figures" / f"{picture}.svg").is_file()
    printed = trained.report("tex").read_text()
    assert "The look inside" in printed
    assert "class selectivity" in printed

    table = regulens("measures", folder)
    assert table.returncode == 0, table.stderr
    assert "total variation over norm" in table.stdout
    for part, words in (
        ("probes", "block2"),
        ("similarity", "batchnorm and none"),
        ("robustness", "lost to noise"),
        ("calibration", "Brier score"),
    ):
        shown = regulens("measures", folder, "--part", part)
        assert shown.returncode == 0, shown.stderr
        assert words in shown.stdout
        assert "depth 2" in shown.stdout
    frame = pd.read_csv(io.StringIO(regulens("measures", folder, "--format", "csv").stdout))
    rows = json.loads(regulens("measures", folder, "--format", "json").stdout)
    assert len(frame) == len(rows) > 4 * (9 + 5) + 4 * (18 + 5)
    assert set(frame["measure"]) > TITLES.keys()
    assert list(frame.columns) == list(rows[0])


def test_where_no_run_trained_the_report_says_so(regulens: Run, finished: Study, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(finished.folder, folder)
    assert finished.results().query("stage == 'train'")["collapsed"].all()
    assert regulens("inside", folder).returncode == 0
    page = (folder / "report.html").read_text()
    assert "Filters at work" in page
    assert "Means are over the 0 of 8 runs that did not collapse" in page


def test_a_folder_without_a_study_is_one_line(regulens: Run, tmp_path: Path) -> None:
    for name in ("inside", "measures"):
        done = regulens(name, tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {tmp_path}: holds no study")
        assert done.stderr.count("\n") == 1
