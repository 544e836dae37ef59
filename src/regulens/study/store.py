"""The study's database: one SQLite file, one writer, every change in a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from pydantic import ValidationError

from regulens.errors import DataError, UserError
from regulens.results import Opening, Record, RunResult
from regulens.spec import RunSpec

DATABASE = "study.db"
STORE_VERSION = 1
AnyRecord = TypeVar("AnyRecord", bound=Record)

_LATER_TABLES = """
CREATE TABLE IF NOT EXISTS looks (number INTEGER PRIMARY KEY, look TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS deviations (number INTEGER PRIMARY KEY, deviation TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS inside (run_id TEXT PRIMARY KEY, record TEXT NOT NULL);
"""  # which databases of version 1 began without
_TABLES = f"""
BEGIN;
CREATE TABLE runs (run_id TEXT PRIMARY KEY, result TEXT NOT NULL, finished_at TEXT NOT NULL);
CREATE TABLE failures (run_id TEXT PRIMARY KEY, spec TEXT NOT NULL, error TEXT NOT NULL, details TEXT NOT NULL,
                       failed_at TEXT NOT NULL);
CREATE TABLE selections (number INTEGER PRIMARY KEY, selection TEXT NOT NULL);
CREATE TABLE ledger (run_id TEXT PRIMARY KEY, record TEXT NOT NULL);
{_LATER_TABLES}PRAGMA user_version = {STORE_VERSION};
COMMIT;
"""


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

    ``declared`` are the numbers of seeds named before the first look; empty where none were.
    """

    looked_at: str
    seeds: int
    declared: tuple[int, ...]


class Deviation(Record):
    """A change of what was declared, made after runs were there."""

    noted_at: str
    text: str


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
    """Reads and writes one study's database.

    Args:
        folder: the study folder; the database is made there if it is not yet.

    Raises:
        DataError: if the file there is not a database of this version.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / DATABASE
        folder.mkdir(parents=True, exist_ok=True)
        with self._connection() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                connection.executescript(_TABLES)
            elif version == STORE_VERSION:
                connection.executescript(_LATER_TABLES)
        if version not in {0, STORE_VERSION}:
            raise DataError(
                f"{self.path}: was written by another version of Regulens (store {version}, this one reads "
                f"{STORE_VERSION}); use that version, or choose another --out"
            )

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
        with self._connection() as connection:
            connection.execute("INSERT INTO looks (look) VALUES (?)", (look.model_dump_json(),))

    def looks(self) -> list[Look]:
        """Return every look at the whole study, the latest last."""
        return self._records(Look, "SELECT look FROM looks ORDER BY number")

    def save_deviation(self, deviation: Deviation) -> None:
        """Add a deviation from the declared design behind the earlier ones."""
        with self._connection() as connection:
            connection.execute("INSERT INTO deviations (deviation) VALUES (?)", (deviation.model_dump_json(),))

    def deviations(self) -> list[Deviation]:
        """Return every deviation from the declared design, the latest last."""
        return self._records(Deviation, "SELECT deviation FROM deviations ORDER BY number")

    def save_inside(self, run_id: str, record: Record) -> None:
        """Keep what was measured inside a run's network, in place of what was before; the record has a version."""
        with self._connection() as connection:
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
        return self._records(RunResult, "SELECT result FROM runs ORDER BY rowid")

    def failures(self) -> list[Failure]:
        """Return the runs whose last try failed."""
        rows = self._rows("SELECT run_id, spec, error, details FROM failures ORDER BY rowid")
        return [Failure(row[0], RunSpec.model_validate_json(row[1]), row[2], row[3]) for row in rows]

    def selections(self) -> list[Selection]:
        """Return every selection that was made, the latest last."""
        return self._records(Selection, "SELECT selection FROM selections ORDER BY number")

    def ledger(self) -> list[Opening]:
        """Return every opening of the sealed test part, in order."""
        return self._records(Opening, "SELECT record FROM ledger ORDER BY rowid")

    def _records(self, kind: type[AnyRecord], query: str) -> list[AnyRecord]:
        try:
            return [kind.model_validate_json(row[0]) for row in self._rows(query)]
        except ValidationError as error:
            raise DataError(
                f"{self.path}: holds a {kind.__name__} that this version of Regulens cannot read "
                f"({error.error_count()} fields differ); use the version that wrote it, or choose another --out"
            ) from None

    def _rows(self, query: str) -> list[tuple[str, ...]]:
        with self._connection() as connection:
            return connection.execute(query).fetchall()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Open, commit on success, roll back on an exception, close."""
        try:
            with closing(sqlite3.connect(self.path, timeout=30)) as connection, connection:
                yield connection
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path}: cannot be used ({error}); move it away or choose another --out") from None


def open_store(folder: Path) -> Store:
    """Open the database of an existing study folder.

    Raises:
        UserError: if the folder holds no study.
    """
    if not (folder / DATABASE).is_file():
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
        raise UserError(f"{folder}: cannot be made or written to ({error.strerror}); choose another --out") from None
    try:
        yield
    finally:
        lock.release()
