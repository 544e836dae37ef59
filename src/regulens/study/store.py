"""The study's database: one SQLite file, one writer, every change in a transaction."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from pydantic import ValidationError

from regulens.errors import DataError, UserError
from regulens.files import how_to_write, write_atomically
from regulens.results import Opening, Record, RunResult
from regulens.spec import RunSpec, StudySpec
from regulens.study.rescoring import rescored_opening, rescored_result

DATABASE = "study.db"
STORE_VERSION = 1
_PATIENCE = 30
"""Seconds to wait for another program that holds the database."""
AnyRecord = TypeVar("AnyRecord", bound=Record)

_FIRST_TABLES = {
    "runs": "run_id TEXT PRIMARY KEY, result TEXT NOT NULL, finished_at TEXT NOT NULL",
    "failures": "run_id TEXT PRIMARY KEY, spec TEXT NOT NULL, error TEXT NOT NULL, details TEXT NOT NULL, "
    "failed_at TEXT NOT NULL",
    "selections": "number INTEGER PRIMARY KEY, selection TEXT NOT NULL",
    "ledger": "run_id TEXT PRIMARY KEY, record TEXT NOT NULL",
}
_LATER_TABLES = {
    "looks": "number INTEGER PRIMARY KEY, look TEXT NOT NULL",
    "deviations": "number INTEGER PRIMARY KEY, deviation TEXT NOT NULL",
    "inside": "run_id TEXT PRIMARY KEY, record TEXT NOT NULL",
    "declared": "number INTEGER PRIMARY KEY, declaration TEXT NOT NULL",
}
"""Tables that databases of version 1 began without: made by the first write, empty where they are not."""
_TRACES = ("runs", "report.html", "audit.html", f"{DATABASE}-journal", f"{DATABASE}-wal")
"""What is in a study's folder only after its database was."""
_NOT_OVERWRITTEN = "restore it from a backup, or choose another --out"
_ADVICE = {
    "SQLITE_FULL": "the disk is full; free some space and give the same command again: what is finished is kept",
    "SQLITE_READONLY_DBMOVED": "it was taken away meanwhile; put it back and give the same command again",
    "SQLITE_READONLY": "it is read-only; make it and its folder writable, or copy the folder and go on in the copy",
    "SQLITE_CANTOPEN": "it cannot be opened; see whether it is there and may be read and written",
    "SQLITE_PERM": "it may not be read; see the permissions of the file",
    "SQLITE_BUSY": "another program holds it; end that program, or wait for it, and give the same command again",
    "SQLITE_LOCKED": "another program holds it; end that program, or wait for it, and give the same command again",
    "SQLITE_IOERR": "its disk or network fails now; see to that and give the same command again",
    "SQLITE_NOTADB": f"it is damaged or not the database of a study; {_NOT_OVERWRITTEN}",
    "SQLITE_CORRUPT": f"it is damaged; {_NOT_OVERWRITTEN}",
    "SQLITE_ERROR": f"it is not the database of a study; {_NOT_OVERWRITTEN}",
}
"""What to do about an error of SQLite, by the beginning of its name; none of it loses anything."""


class Selection(Record):
    """One choice of a cell on the validation part, by a rule stated beforehand.

    ``among`` names the images it was made on where the study has several parts (data sets or splits) to choose on.
    """

    selected_at: str
    among: str
    cell_id: str
    label: str
    seeds: int
    rule: str
    mean_val_accuracy: float


class Look(Record):
    """One time that a whole study was looked at: with how many seeds, and at which it was declared to be.

    ``declared`` are the numbers of seeds named before the first of them was taken; empty where none were. ``share`` is
    the share of the error at which the intervals were made, ``spent`` what this look and those before have spent of it
    together; None of versions that did not record them.
    """

    looked_at: str
    seeds: int
    declared: tuple[int, ...]
    share: float | None = None
    spent: float | None = None


class Deviation(Record):
    """A change of what was declared, made after runs were there."""

    noted_at: str
    text: str


class Declaration(Record):
    """The study as it was declared from some time on."""

    declared_at: str
    study: StudySpec


@dataclass(frozen=True)
class Failure:
    """A run that raised, or whose process died."""

    run_id: str
    spec: RunSpec
    error: str
    details: str


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Store:
    """Reads and writes one study's database; nothing is written by opening one that is there.

    Args:
        folder: the study folder; the database is made there if it is not yet.

    Raises:
        DataError: if the file there is not a sound database of this version, or was lost from a study's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / DATABASE
        self.trained_above: float | None = None
        if not os.path.lexists(self.path):
            refuse_lost_database(folder)
            write_atomically(self.path, _new_database())
        if not self.path.is_file():
            raise DataError(f"{self.path}: is no file, or a link to one that is not there; {_NOT_OVERWRITTEN}")
        with self._connection() as connection:
            _check(connection, self.path)

    def save_result(self, result: RunResult) -> None:
        """Record a finished run; an earlier failure of it is forgotten."""
        with self._connection() as connection:
            row = (result.run_id, result.model_dump_json(), now())
            connection.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", row)
            connection.execute("DELETE FROM failures WHERE run_id = ?", (result.run_id,))

    def save_failure(self, failure: Failure) -> None:
        """Record a run that failed."""
        row = (failure.run_id, failure.spec.model_dump_json(), failure.error, failure.details, now())
        with self._connection() as connection:
            connection.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?)", row)

    def save_selection(self, selection: Selection) -> None:
        """Add a selection behind the earlier ones, which are kept."""
        with self._connection() as connection:
            connection.execute("INSERT INTO selections (selection) VALUES (?)", (selection.model_dump_json(),))

    def save_look(self, look: Look) -> None:
        """Add a look behind the earlier ones."""
        with self._connection(later="looks") as connection:
            connection.execute("INSERT INTO looks (look) VALUES (?)", (look.model_dump_json(),))

    def looks(self) -> list[Look]:
        """Return every look at the whole study, the latest last."""
        return self._records(Look, "SELECT look FROM looks ORDER BY number")

    def save_deviation(self, deviation: Deviation) -> None:
        """Add a deviation from the declared design behind the earlier ones."""
        with self._connection(later="deviations") as connection:
            connection.execute("INSERT INTO deviations (deviation) VALUES (?)", (deviation.model_dump_json(),))

    def deviations(self) -> list[Deviation]:
        """Return every deviation from the declared design, the latest last."""
        return self._records(Deviation, "SELECT deviation FROM deviations ORDER BY number")

    def save_declaration(self, study: StudySpec, deviations: Sequence[Deviation] = ()) -> None:
        """Record the study as declared from now on, and in what that deviates from what was declared before."""
        declaration = Declaration(declared_at=now(), study=study)
        with self._connection(later="declared") as connection:
            _make_table(connection, "deviations")
            for deviation in deviations:
                connection.execute("INSERT INTO deviations (deviation) VALUES (?)", (deviation.model_dump_json(),))
            row = (declaration.model_dump_json(exclude_none=True),)
            connection.execute("INSERT INTO declared (declaration) VALUES (?)", row)

    def declarations(self) -> list[Declaration]:
        """Return what the study declared, the latest last; nothing in folders of version 0.1."""
        return self._records(Declaration, "SELECT declaration FROM declared ORDER BY number")

    def save_inside(self, run_id: str, record: Record) -> None:
        """Keep what was measured inside a run's network, in place of what was before; the record has a version."""
        with self._connection(later="inside") as connection:
            connection.execute("INSERT OR REPLACE INTO inside VALUES (?, ?)", (run_id, record.model_dump_json()))

    def inside(self, kind: type[AnyRecord], version: int) -> list[AnyRecord]:
        """Return what was measured inside each run's network in this version's way; other versions are not read."""
        query = f"SELECT record FROM inside WHERE json_extract(record, '$.version') = {version} ORDER BY rowid"
        return self._records(kind, query)

    def begin_opening(self, record: Opening) -> None:
        """Enter one opening of the test part into the ledger, before anything is seen: its numbers are NaN yet.

        Raises:
            sqlite3.IntegrityError: if the part was opened for this run before.
        """
        with self._connection() as connection:
            connection.execute("INSERT INTO ledger VALUES (?, ?)", (record.run_id, record.model_dump_json()))

    def finish_opening(self, record: Opening) -> None:
        """Fill in the numbers of an opening that was begun."""
        with self._connection() as connection:
            connection.execute(
                "UPDATE ledger SET record = ? WHERE run_id = ?", (record.model_dump_json(), record.run_id)
            )

    def results(self) -> list[RunResult]:
        """Return all finished runs, in the order in which they finished."""
        rescored = [rescored_result(result, self._run_folder(result.run_id)) for result in self._stored_results()]
        return judged_by(rescored, self.trained_above)

    def _stored_results(self) -> list[RunResult]:
        return self._records(RunResult, "SELECT result FROM runs ORDER BY rowid")

    def _run_folder(self, run_id: str) -> Path:
        return self.path.parent / "runs" / run_id

    def failures(self) -> list[Failure]:
        """Return the runs whose last try failed."""
        rows = self._rows("SELECT run_id, spec, error, details FROM failures ORDER BY rowid")
        try:
            return [Failure(row[0], RunSpec.model_validate_json(row[1]), row[2], row[3]) for row in rows]
        except UserError as error:
            raise DataError(
                f"{self.path}: holds a failed run that this version of Regulens cannot read ({error}); use the version "
                "that wrote it, or choose another --out"
            ) from None

    def selections(self) -> list[Selection]:
        """Return every selection that was made, the latest last."""
        return self._records(Selection, "SELECT selection FROM selections ORDER BY number")

    def ledger(self) -> list[Opening]:
        """Return every opening of the held-out test set, in order."""
        records = self._records(Opening, "SELECT record FROM ledger ORDER BY rowid")
        if all(record.version == 2 for record in records):
            return records
        specs = {result.run_id: result.spec for result in self._stored_results()}
        return [
            rescored_opening(record, specs.get(record.run_id), self._run_folder(record.run_id)) for record in records
        ]

    def _records(self, kind: type[AnyRecord], query: str) -> list[AnyRecord]:
        try:
            return [kind.model_validate_json(row[0]) for row in self._rows(query)]
        except ValidationError as error:
            raise DataError(
                f"{self.path}: holds a record ({kind.__name__}) that this version of Regulens cannot read "
                f"(fields that differ: {error.error_count()}); use the version that wrote it, or choose another --out"
            ) from None

    def _rows(self, query: str) -> list[tuple[str, ...]]:
        table = query.partition(" FROM ")[2].partition(" ")[0]
        with self._connection() as connection:
            if table in _LATER_TABLES and table not in _tables(connection):
                return []
            return connection.execute(query).fetchall()

    @contextmanager
    def _connection(self, later: str | None = None) -> Iterator[sqlite3.Connection]:
        """Open, make the ``later`` table that is to be written, commit on success, roll back on an exception, close."""
        place = f"{self.path.absolute().as_uri()}?mode=rw"  # a database that is gone is not made anew
        try:
            with closing(sqlite3.connect(place, timeout=_PATIENCE, uri=True)) as connection, connection:
                if later is not None:
                    _make_table(connection, later)
                yield connection
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path}: cannot be used ({error}): {advice(error)}") from None


def advice(error: sqlite3.Error) -> str:
    """Say what to do about an error of SQLite; no advice loses anything."""
    name = getattr(error, "sqlite_errorname", "SQLITE_CORRUPT")  # Python's own errors are about what a row holds
    found = next((text for start, text in _ADVICE.items() if name.startswith(start)), None)
    return found or f"its database cannot be used now ({name}); give the same command again"


def refuse_lost_database(folder: Path) -> None:
    """Refuse to begin a study where there is what another one left, and not its database.

    Raises:
        DataError: naming what there is.
    """
    there = [name for name in _TRACES if _is_trace(folder / name)]
    if there and not os.path.lexists(folder / DATABASE):
        raise DataError(
            f"{folder}: holds {' and '.join(there)} of a study, but not its {DATABASE}, which says what was "
            f"trained and tested; restore {DATABASE} from a backup, or choose another --out"
        )


def _is_trace(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else os.path.lexists(path)


def _new_database() -> bytes:
    """Return the content of an empty database."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for name in (*_FIRST_TABLES, *_LATER_TABLES):
            _make_table(connection, name)
        connection.execute(f"PRAGMA user_version = {STORE_VERSION}")
        return connection.serialize()


def _make_table(connection: sqlite3.Connection, name: str) -> None:
    columns = (_FIRST_TABLES | _LATER_TABLES)[name]
    connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Check that a file is a whole database of this version, and a study's.

    Raises:
        DataError: if it is not.
    """
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    if pages == 0:
        raise DataError(f"{path}: is empty, so what was trained and tested is lost from it; {_NOT_OVERWRITTEN}")
    if _FIRST_TABLES.keys() - _tables(connection):
        raise DataError(f"{path}: {_ADVICE['SQLITE_ERROR']}")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != STORE_VERSION:
        raise DataError(
            f"{path}: was written by another version of Regulens (store {version}, this one reads "
            f"{STORE_VERSION}); use that version, or choose another --out"
        )
    cut_off = path.stat().st_size < pages * size and not path.with_name(f"{DATABASE}-wal").exists()
    found = "its end is cut off" if cut_off else connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise DataError(f"{path}: {_ADVICE['SQLITE_CORRUPT'].replace('damaged', f'damaged ({found})')}")


def judged_by(results: Sequence[RunResult], trained_above: float | None) -> list[RunResult]:
    """Return results with the validation accuracy above which their study says that a run trained, if it says so."""
    if trained_above is None:
        return list(results)
    return [result.model_copy(update={"trained_above": trained_above}) for result in results]


def open_store(folder: Path) -> Store:
    """Open the database of an existing study folder.

    Raises:
        UserError: if the folder holds no study.
    """
    refuse_lost_database(folder)
    if not os.path.lexists(folder / DATABASE):
        raise UserError(f"{folder}: holds no study (no {DATABASE}); name the folder that `regulens run` printed")
    return Store(folder)


def selections_in_force(store: Store) -> list[Selection]:
    """Return the latest selection for each set of images."""
    return list({selection.among: selection for selection in store.selections()}.values())


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the study folder for this process; released by the system if the process dies.

    Raises:
        UserError: if another process is running this study.
    """
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{folder}: another process is running this study; wait for it, or choose --out") from None
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be made or written to ({error.strerror}); {how_to_write(error)}, or choose another --out"
        ) from None
    try:
        yield
    finally:
        lock.release()
