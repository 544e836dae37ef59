"""A study may say itself what a run must reach to count as trained."""

from __future__ import annotations

import json
from pathlib import Path

from regulens.api import load_study
from regulens.results import RunResult
from regulens.study.analysis import analyse_study
from regulens.study.folder import own_store
from regulens.study.store import open_store
from regulens.study.table import is_collapsed, result_rows

BOUND = 0.05


def declared(folder: Path) -> Path:
    path = folder / "study.toml"
    path.write_text(path.read_text().replace('primary = "trained"', f'primary = "trained"\ntrained_above = {BOUND}'))
    return folder


def test_what_a_study_declares_decides_which_runs_trained_wherever_they_are_read(folder: Path) -> None:
    study = load_study(declared(folder)).spec
    runs = [run for run in open_store(folder).results() if run.spec.compared]
    assert any(is_collapsed(run) for run in runs)  # by the bound of guessing
    assert all(run.val_accuracy > BOUND for run in runs)
    assert not any(is_collapsed(run) for run in own_store(study, folder).results() if run.spec.compared)
    cells = analyse_study(study, open_store(folder).results()).analysis.cells
    assert all(cell.collapse is not None and cell.collapse.estimate == 0 for cell in cells)
    assert {row["collapsed"] for row in result_rows(study, own_store(study, folder), compared=True)} == {False}


def test_reports_say_what_was_declared(folder: Path) -> None:
    study = load_study(declared(folder))
    assert "No run collapsed: all are above the 0.05 that the study declares." in study.report("md").read_text()


def test_it_is_no_part_of_a_stored_result(folder: Path) -> None:
    run = own_store(load_study(declared(folder)).spec, folder).results()[0]
    assert run.trained_above == BOUND
    stored = json.loads(run.model_dump_json())
    assert "trained_above" not in stored
    assert RunResult.model_validate(stored).trained_above is None
