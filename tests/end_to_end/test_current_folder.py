"""Modules that lie in the current folder are never imported by the command, nor by its workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from regulens.api import Study

SECONDS = 300
NAMES = (
    *("pickle", "random", "json", "typing", "struct", "socket", "tempfile", "pathlib", "dataclasses", "copyreg"),
    *("multiprocessing", "sqlite3", "tomllib", "signal", "hashlib", "csv", "zipfile", "logging", "subprocess"),
    *("torch", "numpy", "scipy", "pandas", "sklearn", "matplotlib", "pydantic", "typer", "rich", "joblib", "filelock"),
    *("h5py", "safetensors", "statsmodels", "jinja2", "tomli_w"),
)
COMMAND = ("-P", "-c", "from regulens.cli import main; main()")
MODULE = ("-m", "regulens")
STUDY = """
name = "tiny"
seeds = 1
data = { name = "digits", limit = 60 }
model = { filters = 2, dense = 4 }
train = { epochs = 1 }
factors = { regularizer = ["none", "batchnorm"] }
"""


@pytest.fixture
def trap(alone: None, tmp_path: Path) -> Path:
    """A folder of modules named as those that are needed; each leaves a mark when it is run."""
    folder = tmp_path / "trap"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'marks')!r}, 'a').write('{name} ')\n")
    return folder


def run(folder: Path, *arguments: object, **variables: str) -> str:
    """Run Python in a folder and return what it printed; what lay in wait there was not run."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    marks = folder.parent / "marks"
    assert not marks.exists(), marks.read_text()
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_neither_the_command_nor_its_workers_import_from_the_current_folder(trap: Path) -> None:
    (trap / "tiny.toml").write_text(STUDY)
    printed = run(trap, *MODULE, "run", "tiny.toml", "--workers", "2")
    assert printed.splitlines()[-1] == f"report: {trap / 'studies' / 'tiny' / 'report.html'}"
    assert "2 of 2 runs finished" in run(trap, *COMMAND, "status", "studies/tiny")


@pytest.mark.parametrize("start", [COMMAND, MODULE])
@pytest.mark.parametrize("path", [":", ".", "{trap}", "{trap}/:/elsewhere"])
def test_a_python_path_that_means_the_current_folder_is_not_followed(
    start: tuple[str, ...], path: str, trap: Path, finished: Study
) -> None:
    printed = run(trap, *start, "status", finished.folder, PYTHONPATH=path.format(trap=trap))
    assert "8 of 8 runs finished" in printed


def test_the_reader_of_hdf5_does_not_import_from_the_current_folder(trap: Path) -> None:
    with h5py.File(trap / "m.weights.h5", "w") as file:
        variables = file.create_group("layers/conv2d/vars")
        variables["0"], variables["1"] = np.zeros((3, 3, 1, 4), np.float32), np.zeros(4, np.float32)
    assert "3x3x1x4" in run(trap, *MODULE, "kernels", "m.weights.h5", "--out", "figures", PYTHONPATH=str(trap))


def test_a_script_that_imports_the_package_keeps_its_own_path(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("NAME = 'mine'\n")
    (tmp_path / "script.py").write_text(
        "import sys\nbefore = list(sys.path)\nimport regulens\nregulens.RunSpec\nimport helper\n"
        "print(sys.path == before, helper.NAME)\n"
    )
    for start in (("script.py",), ("-m", "script"), ("-c", "import script")):
        assert run(tmp_path, *start).split() == ["True", "mine"]
