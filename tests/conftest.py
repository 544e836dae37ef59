"""Small studies that train in seconds, shared by the tests."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from done import Done
from regulens.api import Study, load_study, run_study
from regulens.cli import main
from regulens.data.catalog import load_dataset
from regulens.data.dataset import Dataset
from regulens.executors.local import LocalExecutor
from regulens.spec import DataSpec, ModelSpec, RunSpec, TrainSpec
from regulens.study.protocol import run_protocol
from regulens.study.runner import OnEvent, StudyEvent, ignore

TINY_STUDY = """
name = "tiny"
seeds = 2

[data]
name = "digits"
scale = "1/255"
limit = 120

[model]
filters = 4
dense = 8

[train]
epochs = 2
batch_size = 32
learning_rate = 0.1

[factors]
model.depth = [1, 2]
regularizer = ["none", "batchnorm"]

[[also_refit]]
model.depth = 2
regularizer = "batchnorm"

[published]
source = "a made-up table"

[[published.cells]]
where = { "model.depth" = 1, regularizer = "none" }
val_accuracy = 0.5
"""


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.fixture(scope="session")
def tiny_spec() -> Callable[..., RunSpec]:
    """Make the spec of a run that takes a fraction of a second."""

    def make(
        regularizer: str = "none", depth: int = 1, seed: int = 0, stage: str = "train", epochs: int = 1
    ) -> RunSpec:
        return RunSpec(
            data=DataSpec(name="digits", scale=1 / 255, limit=150),
            model=ModelSpec(depth=depth, filters=4, dense=8),
            train=TrainSpec(epochs=epochs, batch_size=16, learning_rate=0.05),
            regularizer=regularizer,
            seed=seed,
            stage=stage,
        )

    return make


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "tiny.toml"
    path.write_text(TINY_STUDY)
    return path


@pytest.fixture(scope="session")
def processes() -> Iterator[LocalExecutor]:
    """Two worker processes, shared by the tests that do not test the processes themselves."""
    with LocalExecutor(2) as executor:
        yield executor


@pytest.fixture(scope="session")
def run_tiny(tiny_file: Path, processes: LocalExecutor) -> Callable[..., Study]:
    """Run the tiny study, or more seeds of it, into a folder."""

    def run(out: Path, seeds: int = 2, on_event: OnEvent = ignore) -> Study:
        return run_study(load_study(tiny_file, out), seeds=seeds, executor=processes, on_event=on_event)

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, run_tiny: Callable[..., Study]) -> Study:
    """A finished tiny study; tests only read it."""
    return run_tiny(tmp_path_factory.mktemp("studies") / "tiny")


@pytest.fixture
def folder(finished: Study, tmp_path: Path) -> Path:
    """A copy of a finished study's folder, without its pictures."""
    leave_out = shutil.ignore_patterns("figures", "report.html")
    return Path(shutil.copytree(finished.folder, tmp_path / "study", ignore=leave_out))


@pytest.fixture
def run_again(processes: LocalExecutor) -> Callable[[Path], list[StudyEvent]]:
    """Run the study that a folder says, without a report, and return its events."""

    def run(folder: Path) -> list[StudyEvent]:
        events: list[StudyEvent] = []
        run_protocol(load_study(folder).spec, folder, processes, events.append)
        return events

    return run


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory, processes: LocalExecutor) -> Study:
    """A finished tiny study whose networks did learn; tests only read it."""
    text = TINY_STUDY.replace("limit = 120", "limit = 600").replace("epochs = 2", "epochs = 8")
    folder = tmp_path_factory.mktemp("learned")
    (folder / "learned.toml").write_text(text.replace("batch_size = 32", "batch_size = 8").replace("tiny", "learned"))
    return run_study(load_study(folder / "learned.toml", folder / "study"), executor=processes)


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, no settings, no data anywhere and no way to download."""
    for name in [name for name in os.environ if name.startswith(("REGULENS", "KERAS"))]:
        monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name, value in {"HOME": tmp_path, "REGULENS_CACHE": tmp_path / "cache", "NO_PROXY": "", "COLUMNS": 200}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def regulens(alone: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run the command in this process, which spares it the import of torch."""

    def run(*arguments: str | Path) -> Done:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["regulens", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Done(code or 0, *capsys.readouterr())

    return run


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection to another machine: no test may depend on one."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX:
            raise OSError(f"tests use no network, asked for {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
