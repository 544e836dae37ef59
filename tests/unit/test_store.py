"""The database keeps what it is given, once, and lets one process write."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from regulens.api import Study
from regulens.errors import DataError, UserError
from regulens.results import Opening
from regulens.spec import RunSpec
from regulens.study.store import DATABASE, Failure, Selection, Store, now, open_store, sole_writer


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
