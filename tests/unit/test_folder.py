"""A folder holds one study: what it trains is never changed, and what it declares never without a note."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from regulens.api import Study, load_study
from regulens.errors import RegulensError, UserError
from regulens.executors.local import LocalExecutor
from regulens.report.render import write_report
from regulens.study import protocol
from regulens.study.runner import Note, RunStarted, StudyEvent
from regulens.study.store import DATABASE, Store, open_store

RunAgain = Callable[[Path], list[StudyEvent]]


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "study.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def forget_declaration(folder: Path) -> None:
    """Make of a folder one of version 0.1, which kept no record of what was declared."""
    with sqlite3.connect(folder / DATABASE) as connection:
        connection.execute("DROP TABLE declared")


def deviations(folder: Path) -> list[str]:
    return [each.text for each in open_store(folder).deviations()]


def notes(events: list[StudyEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note)]


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ("epochs = 2", "epochs = 3", "train.epochs (2, not 3)"),
        ("filters = 4", "filters = 5", "model.filters (4, not 5)"),
        ("limit = 120", "limit = 130", "data.limit (120, not 130)"),
        ('    "dropout",\n', "", "vary "),
    ],
)
def test_what_is_trained_cannot_be_edited_in_a_folder(
    old: str, new: str, difference: str, recorded: bool, folder: Path, run_again: RunAgain
) -> None:
    if not recorded:
        forget_declaration(folder)
    before = open_store(folder).results()
    edit(folder, old, new)
    with pytest.raises(
        UserError, match=r"holds a study with other .*; its study\.toml was edited: set that back"
    ) as raised:
        run_again(folder)
    assert difference in str(raised.value)
    assert open_store(folder).results() == before


@pytest.mark.parametrize("recorded", [True, False])
def test_a_level_cannot_be_taken_out_of_a_folder(recorded: bool, folder: Path, run_again: RunAgain) -> None:
    if not recorded:
        forget_declaration(folder)
    edit(folder, '    "batchnorm",\n', "")
    edit(folder, 'also_refit = [\n    { "model.depth" = 2, regularizer = "batchnorm" },\n]', "also_refit = []")
    with pytest.raises(UserError, match=r"holds a study with other .*regularizer.*batchnorm"):
        run_again(folder)


@pytest.mark.parametrize(
    "read",
    [
        lambda study: study.results(),
        lambda study: study.progress(),
        lambda study: study.plan(estimate=False),
        lambda study: study.analysis(),
        lambda study: study.power(0.01),
        lambda study: study.measured(),
        lambda study: study.kernels(),
        lambda study: study.model("0"),
    ],
    ids=["results", "progress", "plan", "analysis", "power", "measured", "kernels", "model"],
)
def test_no_reader_takes_the_runs_of_another_study_for_its_own(read: Callable[[Study], object], folder: Path) -> None:
    spec = load_study(folder).spec
    other = Study(spec.model_copy(update={"train": spec.train.model_copy(update={"epochs": 3})}), folder)
    with pytest.raises(UserError, match=r"other train\.epochs \(2, not 3\); choose another --out or name"):
        read(other)


def test_two_studies_in_one_database_are_told_apart(folder: Path) -> None:
    store = Store(folder)
    run = store.results()[0]
    train = run.spec.train.model_copy(update={"epochs": 9})
    store.save_result(run.model_copy(update={"run_id": "0" * 16, "spec": run.spec.model_copy(update={"train": train})}))
    with pytest.raises(UserError, match=r"other train\.epochs \(9, not 2\)"):
        load_study(folder)


CLAIM = '[[claims]]\nid = "one"\ntext = "It is so."\nkind = "best"\na = "none"\n'
PUBLISHED = "val_accuracy = 0.5"


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ('primary = "trained"', 'primary = "trained"\nrope = 0.02', ["analysis.rope (None, not 0.02)"]),
        ('primary = "trained"', 'primary = "median"', ["analysis.primary ('trained', not 'median')"]),
        (
            'primary = "trained"',
            'primary = "trained"\nrope = 0.02\ncontrol = "batchnorm"',
            ["analysis.control (None, not 'batchnorm')", "analysis.rope (None, not 0.02)"],
        ),
        ('response = "val_accuracy"', 'response = "val_loss"', ["analysis.response ('val_accuracy', not 'val_loss')"]),
        ("claims = []\n", f"{CLAIM}[more]\n", ["claims one"]),
        ("fresh = 0", "fresh = 1", ["fresh (0, not 1)"]),
        (PUBLISHED, "val_accuracy = 0.6", ["published"]),
    ],
)
def test_what_is_declared_and_edited_in_a_folder_is_noted_once(
    old: str, new: str, lines: list[str], folder: Path, run_again: RunAgain
) -> None:
    if "[more]" in new:
        edit(folder, old, "")
        (folder / "study.toml").write_text((folder / "study.toml").read_text() + CLAIM)
    else:
        edit(folder, old, new)
    events = run_again(folder)
    assert not any(isinstance(event, RunStarted) and not event.spec.fresh for event in events)
    expected = [f"the declaration is not the one under which runs were made: {line}" for line in lines]
    assert notes(events) == expected
    when = "declared anew after 2 seeds were run and the test set was evaluated"
    assert deviations(folder) == [f"{when}: {line}" for line in lines]
    assert notes(run_again(folder)) == []
    assert len(deviations(folder)) == len(lines)
    assert [each.text for each in load_study(folder).progress().deviations] == deviations(folder)


def test_a_changed_claim_is_noted_with_what_changed(folder: Path, run_again: RunAgain) -> None:
    edit(folder, "claims = []\n", "")
    path = folder / "study.toml"
    path.write_text(path.read_text() + CLAIM)
    run_again(folder)
    path.write_text(path.read_text().replace('kind = "best"', 'kind = "best", rope = 0.03'))
    run_again(folder)
    assert deviations(folder)[-1].endswith("claims.one.rope (None, not 0.03)")


def test_a_title_and_the_number_of_seeds_are_free(folder: Path, run_again: RunAgain) -> None:
    edit(folder, 'title = ""', 'title = "A better title"')
    edit(folder, "seeds = 2", "seeds = 1")
    assert notes(run_again(folder)) == ["the folder holds runs of 2 seeds: the study goes on with 2"]
    assert deviations(folder) == []
    assert load_study(folder).spec.title == "A better title"


def test_a_report_or_an_analysis_of_an_edited_folder_notes_the_deviation(folder: Path) -> None:
    edit(folder, 'primary = "trained"', 'primary = "trained"\nrope = 0.02')
    written = write_report(folder, "json")
    assert written is not None
    assert json.loads(written.path.read_text())["warnings"][-1].endswith(deviations(folder)[-1])
    assert [text.partition(": ")[2] for text in deviations(folder)] == ["analysis.rope (None, not 0.02)"]
    edit(folder, "rope = 0.02", "rope = 0.03")
    load_study(folder).analysis()
    load_study(folder).analysis()
    assert [text.partition(": ")[2] for text in deviations(folder)][1:] == ["analysis.rope (0.02, not 0.03)"]


def test_in_a_folder_of_version_01_what_is_seen_first_is_what_was_declared(folder: Path, run_again: RunAgain) -> None:
    edit(folder, 'primary = "trained"', 'primary = "trained"\nrope = 0.02')
    forget_declaration(folder)
    before = (folder / DATABASE).read_bytes()
    load_study(folder).analysis()
    assert (folder / DATABASE).read_bytes() == before
    assert notes(run_again(folder)) == []
    assert deviations(folder) == []
    edit(folder, "rope = 0.02", "rope = 0.03")
    assert len(notes(run_again(folder))) == 1


def test_a_change_of_a_folder_of_version_01_from_outside_is_noted(folder: Path, processes: LocalExecutor) -> None:
    forget_declaration(folder)
    spec = load_study(folder).spec
    changed = spec.model_copy(update={"analysis": spec.analysis.model_copy(update={"rope": 0.02})})
    protocol.run_protocol(changed, folder, processes, lambda _: None)
    assert [text.partition(": ")[2] for text in deviations(folder)] == ["analysis.rope (None, not 0.02)"]


def test_a_deviation_is_noted_though_the_process_dies_before_that(
    folder: Path, run_again: RunAgain, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(folder, 'primary = "trained"', 'primary = "trained"\nrope = 0.02')
    with monkeypatch.context() as patched:
        patched.setattr(protocol, "declare", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_again(folder)
    run_again(folder)
    assert len(deviations(folder)) == 1


@pytest.mark.parametrize("content", [None, b"", b"\n", bytes(512)])
def test_a_lost_study_file_is_written_again_from_the_database(
    content: bytes | None, folder: Path, run_again: RunAgain
) -> None:
    path = folder / "study.toml"
    held, spec = path.read_text(), load_study(folder).spec
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert load_study(folder).spec == spec
    assert not any(isinstance(event, RunStarted) for event in run_again(folder))
    assert path.read_text() == held


def test_without_its_file_a_folder_of_version_01_does_not_say_what_it_is(folder: Path) -> None:
    forget_declaration(folder)
    (folder / "study.toml").unlink()
    with pytest.raises(UserError, match=r"study\.toml: is lost; restore it, or give the study's own file with --out"):
        load_study(folder)


def test_a_mistake_in_a_folders_file_is_one_line(folder: Path) -> None:
    edit(folder, "epochs = 2", "epochs = ")
    with pytest.raises(UserError, match=r"study\.toml: is not valid TOML"):
        load_study(folder)


@pytest.mark.parametrize("content", [None, b"", b"x"])
def test_without_its_database_a_folder_trains_and_tests_nothing(
    content: bytes | None, folder: Path, finished: Study, processes: LocalExecutor
) -> None:
    (folder / DATABASE).unlink()
    if content is not None:
        (folder / DATABASE).write_bytes(content)
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    events: list[StudyEvent] = []
    with pytest.raises(RegulensError, match="choose another --out"):
        protocol.run_protocol(finished.spec, folder, processes, events.append)
    assert events == []
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}
    assert after == {path: content for path, content in files.items() if path.name != ".lock"}
