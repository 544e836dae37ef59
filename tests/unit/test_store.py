"""The database keeps what it is given, once, and lets one process write."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from regulens.api import Study
from regulens.errors import DataError, UserError
from regulens.results import Opening
from regulens.spec import RunSpec
from regulens.study import store as study_store
from regulens.study.store import DATABASE, Deviation, Failure, Selection, Store, now, open_store, sole_writer


def opening(run_id: str) -> Opening:
    return Opening(
        run_id=run_id, opened_at=now(), reason="selected", test_images=10, test_loss=float("nan"), test_accuracy=0.5
    )


def test_what_is_saved_is_read_back(finished: Study, tmp_path: Path) -> None:
    store, results = Store(tmp_path), open_store(finished.folder).results()
    for result in results:
        store.save_result(result)
    assert Store(tmp_path).results() == results


def test_saving_a_run_twice_keeps_one(finished: Study, tmp_path: Path) -> None:
    store, result = Store(tmp_path), open_store(finished.folder).results()[0]
    store.save_result(result)
    store.save_result(result)
    assert len(store.results()) == 1


def test_a_finished_run_ends_its_failure(finished: Study, tmp_path: Path) -> None:
    store, result = Store(tmp_path), open_store(finished.folder).results()[0]
    store.save_failure(Failure(result.run_id, result.spec, "MemoryError: no room", "traceback"))
    assert [failure.error for failure in store.failures()] == ["MemoryError: no room"]
    store.save_result(result)
    assert store.failures() == []


def test_the_test_part_is_opened_once_per_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.begin_opening(opening("a"))
    with pytest.raises(sqlite3.IntegrityError):
        store.begin_opening(opening("a"))
    store.begin_opening(opening("b"))
    store.finish_opening(opening("a").model_copy(update={"test_accuracy": 0.75}))
    assert [record.run_id for record in store.ledger()] == ["a", "b"]
    assert store.ledger()[0].test_accuracy == 0.75


def test_selections_are_kept_in_order(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seeds in (2, 5):
        store.save_selection(
            Selection(
                selected_at=now(),
                among="",
                cell_id="c",
                label="depth 1",
                seeds=seeds,
                rule="best",
                mean_val_accuracy=0.9,
            )
        )
    assert [selection.seeds for selection in store.selections()] == [2, 5]


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    with (
        sole_writer(tmp_path),
        pytest.raises(UserError, match="another process is running this study"),
        sole_writer(tmp_path),
    ):
        pass
    with sole_writer(tmp_path):
        assert (tmp_path / ".lock").exists()


def database(tmp_path: Path) -> Path:
    """Return the path of a database of a few pages, made with some failures in it."""
    store, spec = Store(tmp_path), RunSpec()
    for number in range(30):
        store.save_failure(Failure(f"{number:016x}", spec, "error", "traceback " * 50))
    return store.path


@pytest.mark.parametrize("size", [0, 1, 15, 16, 100, 4095, 4096, 8192, -4097, -4096, -1])
def test_a_database_that_was_emptied_or_cut_off_is_refused_and_left_as_it_is(size: int, tmp_path: Path) -> None:
    path = database(tmp_path)
    rest = path.read_bytes()[:size]
    path.write_bytes(rest)
    with pytest.raises(DataError, match="restore it from a backup, or choose another --out") as raised:
        Store(tmp_path)
    assert str(path) in str(raised.value)
    assert path.read_bytes() == rest


@pytest.mark.parametrize("start", [100, 4096, 12288])
def test_a_database_with_a_hole_is_refused(start: int, tmp_path: Path) -> None:
    path = database(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:start] + bytes(4096) + content[start + 4096 :])
    with pytest.raises(DataError, match="damaged"):
        Store(tmp_path)


@pytest.mark.parametrize("version", [0, 1, 7])
def test_the_database_of_another_program_is_refused_and_left_as_it_is(version: int, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / DATABASE) as connection:
        connection.execute("CREATE TABLE studies (study_id INTEGER PRIMARY KEY)")
        connection.execute(f"PRAGMA user_version = {version}")
    before = (tmp_path / DATABASE).read_bytes()
    with pytest.raises(DataError, match="is not the database of a study"):
        Store(tmp_path)
    assert (tmp_path / DATABASE).read_bytes() == before


def test_a_link_to_a_database_that_is_not_there_is_no_new_study(tmp_path: Path) -> None:
    (tmp_path / DATABASE).symlink_to(tmp_path / "disk" / DATABASE)
    with pytest.raises(DataError, match="a link to one that is not there"):
        Store(tmp_path)


@pytest.mark.parametrize("trace", ["runs/0123/weights.safetensors", "report.html", "audit.html", "study.db-journal"])
def test_a_folder_that_lost_its_database_is_no_new_study(trace: str, tmp_path: Path) -> None:
    (tmp_path / trace).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / trace).write_text("what a study left")
    for opened in (Store, open_store):
        with pytest.raises(DataError, match=r"holds .* of a study, but not its study\.db.*restore study\.db") as raised:
            opened(tmp_path)
        assert trace.partition("/")[0] in str(raised.value)
    assert not (tmp_path / DATABASE).exists()


def test_reading_a_database_writes_nothing_and_tables_of_later_versions_are_empty(tmp_path: Path) -> None:
    path = database(tmp_path)
    with sqlite3.connect(path) as connection:
        for table in ("looks", "deviations", "inside", "declared"):
            connection.execute(f"DROP TABLE {table}")
    before = path.read_bytes()
    store = open_store(tmp_path)
    assert (store.looks(), store.deviations(), store.declarations(), store.inside(Opening, 1)) == ([], [], [], [])
    assert path.read_bytes() == before
    store.save_deviation(Deviation(noted_at=now(), text="other rope"))
    assert [deviation.text for deviation in open_store(tmp_path).deviations()] == ["other rope"]


def test_a_database_that_is_deleted_meanwhile_is_not_made_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.path.unlink()
    with pytest.raises(DataError, match="cannot be opened"):
        store.results()
    assert not store.path.exists()


def save_much(store: Store) -> None:
    store.save_failure(Failure("a", RunSpec(), "error", "x" * 100_000))


def test_a_full_disk_is_said_to_be_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, connect = Store(tmp_path), sqlite3.connect

    def on_full_disk(*arguments: object, **options: object) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    monkeypatch.setattr(sqlite3, "connect", on_full_disk)
    with pytest.raises(DataError, match=r"database or disk is full.*free some space"):
        save_much(store)


def test_a_read_only_database_is_said_to_be_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, connect = Store(tmp_path), sqlite3.connect

    def read_only(place: str, **options: object) -> sqlite3.Connection:
        return connect(place.replace("mode=rw", "mode=ro"), **options)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    assert store.results() == []
    with pytest.raises(DataError, match=r"readonly database.*make it and its folder writable"):
        save_much(store)


def test_a_database_that_another_program_holds_is_said_to_be_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_store, "_PATIENCE", 0)
    store = Store(tmp_path)
    with closing(sqlite3.connect(store.path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DataError, match=r"database is locked.*another program holds it"):
            save_much(store)
    save_much(store)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SQLITE_FULL", "free some space"),
        ("SQLITE_IOERR_WRITE", "disk or network"),
        ("SQLITE_READONLY_DIRECTORY", "writable"),
        ("SQLITE_READONLY_DBMOVED", "put it back"),
        ("SQLITE_CANTOPEN_ISDIR", "cannot be opened"),
        ("SQLITE_BUSY_SNAPSHOT", "another program holds it"),
        ("SQLITE_CORRUPT_INDEX", "restore it from a backup"),
        ("SQLITE_NOTADB", "restore it from a backup"),
        ("SQLITE_NOLFS", "SQLITE_NOLFS"),
    ],
)
def test_every_error_has_its_own_advice_and_none_loses_anything(name: str, words: str) -> None:
    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorname = name
    assert words in study_store.advice(error)
    assert not any(word in study_store.advice(error) for word in ("remove", "delete", "move it", "move away"))


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_text("not a database, but long enough to be taken for one " * 40)
    with pytest.raises(DataError, match="cannot be used"):
        Store(tmp_path)


def test_a_later_version_of_the_store_is_refused(tmp_path: Path) -> None:
    Store(tmp_path)
    with sqlite3.connect(tmp_path / DATABASE) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(DataError, match="another version of Regulens"):
        Store(tmp_path)


def test_a_folder_without_a_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no study"):
        open_store(tmp_path)


def test_a_failed_run_is_a_row_without_numbers(finished: Study, tmp_path: Path) -> None:
    from regulens.study.table import result_rows

    store, spec = Store(tmp_path), RunSpec(**finished.runs()[0].model_dump())
    store.save_failure(Failure("0123", spec, "ValueError: no", "traceback"))
    [row] = result_rows(finished.spec, store)
    assert (row["status"], row["error"], row["val_accuracy"], row["epochs"]) == ("failed", "ValueError: no", None, [])


def test_a_row_of_another_schema_is_one_line(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with sqlite3.connect(tmp_path / DATABASE) as connection:
        connection.execute("INSERT INTO runs VALUES ('a', '{}', '')")
    with pytest.raises(DataError, match="cannot read") as raised:
        store.results()
    assert "\n" not in str(raised.value)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another --out"), sole_writer(tmp_path / "file" / "study"):
        pass
