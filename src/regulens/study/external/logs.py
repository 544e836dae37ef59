"""Files with several rows of each run, one per epoch or one per split: told apart from runs, or cut down to them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from regulens.errors import UserError
from regulens.study.external.names import is_hyper_parameter, last_part, words
from regulens.study.external.problems import Problem, named_rows
from regulens.study.external.values import is_missing, is_number, number
from regulens.study.own_rows import Rows

_PROGRESS = {
    *("epoch", "step", "iteration", "iter", "update", "round", "episode", "timestep", "tick", "kimg", "checkpoint"),
    *("ckpt", "epoche", "schritt"),
}
_OF_PROGRESS = {
    *("global", "training", "train", "current", "cur", "trainer", "optimizer", "optimiser", "gradient", "logged"),
    *("eval", "val", "validation", "env", "environment", "model", "total", "idx", "index", "number", "nr", "no"),
}
_COUNTERS = {"totaltimesteps", "timestepstotal", "numtimesteps", "episodestotal", "epochid", "stepid"}
_SPLITS = {"split", "subset", "phase", "stage", "mode", "part", "partition", "dataset", "set"}
_PARTS = {
    *("train", "training", "trn", "val", "valid", "validation", "dev", "development", "test", "testing", "holdout"),
    *("eval", "evaluation"),
}
_OF_RUNS = {
    *("seed", "run", "trial", "replicate", "replica", "replication", "rep", "repeat", "repetition", "job", "version"),
    *("experiment", "exp", "logdir", "uuid", "member"),
}
_NO_FACTORS = {
    *("id", "name", "number", "index", "time", "timestamp", "date", "datetime", "duration", "runtime", "seconds"),
    *("created", "start", "end", "host", "hostname", "node", "ip", "pid", "path", "file", "dir", "folder", "user"),
    *("state", "status", "error", "commit", "notes", "fold", "loss", "accuracy", "acc", "unnamed"),
}
_FEW = 3
_MANY = 6


@dataclass(frozen=True)
class Runs:
    """What the rows are grouped by: the levels of the factors and, where its column is declared, the seed."""

    response: str
    factors: tuple[str, ...]
    seed: str | None

    @property
    def declared(self) -> tuple[str, ...]:
        """All columns that are asked for."""
        return (self.response, *self.columns)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns whose values runs share with nobody, as far as they are declared."""
        return (*self.factors, *([self.seed] if self.seed else []))


def last_of_runs(rows: Rows, column: str, runs: Runs) -> Rows:
    """Return of each run the row in which a column such as the epoch is largest, with a note.

    Of several rows of that epoch those are kept that have a response.

    Raises:
        UserError: naming the rows in which the column is no number.
    """
    values = rows.columns[column]
    wrong = [
        Problem(row, f"{column} is {value or 'empty'}, no number", "the last row of each run is found by it")
        for row, value in enumerate(values)
        if not is_number(value) and row not in {problem.row for problem in rows.problems}
    ]
    if wrong:
        raise rows.refuse_all([*rows.problems, *wrong])
    kept: list[int] = []
    for group in _groups(rows, runs.columns, range(len(rows.names))):
        last = max(number(values[row]) for row in group)
        of_last = [row for row in group if number(values[row]) == last]
        measured = [row for row in of_last if not is_missing(rows.columns[runs.response][row])]
        kept += measured or of_last
    said = f"{len(rows.names)} rows were reduced to {len(kept)} runs: the last {column} of each"
    return replace(rows.keep(sorted(kept)), notes=(*rows.notes, said, *_uneven_ends(rows, column, kept)))


def _uneven_ends(rows: Rows, column: str, kept: Sequence[int]) -> list[str]:
    """Say that some runs end before others: they may have stopped early, or not have finished."""
    least, most = (choose(kept, key=lambda row: number(rows.columns[column][row])) for choose in (min, max))
    first, last = rows.columns[column][least], rows.columns[column][most]
    if number(first) == number(last):
        return []
    return [
        f"the runs end at {column} {first} ({rows.names[least]}) to {last} ({rows.names[most]}): if some of them did "
        "not finish, remove their rows"
    ]


def refuse_logs(rows: Rows, runs: Runs) -> None:
    """Refuse rows that are no runs of their own: one per epoch or step, or one per split, of the same run.

    Without a column of seeds, runs are told apart by other columns that name them; without any, by how an epoch counts
    on. A column that differs between runs only, such as the epoch at which they stopped, is no sign of a log.

    Raises:
        UserError: naming the column, the first run and its rows.
    """
    others = [name for name in rows.columns if name and name not in runs.declared and not is_hyper_parameter(name)]
    ids = [] if runs.seed else [name for name in others if _names_runs(name)]
    measured = [row for row, value in enumerate(rows.columns[runs.response]) if not is_missing(value)]
    cells = _groups(rows, runs.columns, measured)
    if any(all(len(group) == len({rows.key(row, [name]) for row in group}) for group in cells) for name in ids):
        return
    by = (*runs.columns, *ids)
    groups = [group for group in _groups(rows, by, measured) if len(group) > 1]
    for name in others:
        named = bool(runs.seed or ids)
        if (_counts_progress(name) and _is_log(rows, name, groups, named)) or _counts_in_plural(rows, name, groups):
            raise _refused_log(rows, name, groups[0], runs, ids)
        if _is_split(rows, name) and any(len({rows.key(row, [name]) for row in group}) > 1 for group in groups):
            raise _refused_split(rows, name)


def repeated_runs(rows: Rows, runs: Runs) -> list[str]:
    """Warn of rows that may be of the same run.

    Where seeds are known: of a factor such as the epoch, if its levels count on within the runs of one seed. Where they
    are not: of any column that counts from 0 or 1 again and again within a cell, as epochs and folds do.
    """
    found = [] if runs.seed else _counted_again(rows, runs)
    for name in filter(_counts_progress, runs.factors if runs.seed else ()):
        others = [column for column in runs.columns if column != name]
        series = [group for group in _groups(rows, others, range(len(rows.names))) if len(group) >= _FEW]
        if series and _is_log(rows, name, series, named=True):
            found.append(
                f"the levels of {name} look like stages of the same runs, which are not independent: then {name} is "
                "not a factor"
            )
    return found


def _counted_again(rows: Rows, runs: Runs) -> list[str]:
    said = []
    cells = _groups(rows, runs.columns, range(len(rows.names)))
    for name in rows.columns:
        if name in runs.declared or is_hyper_parameter(name):
            continue
        parts = [_restarts(rows, name, cell) for cell in cells]
        if min(map(len, parts)) > 1 and _counts_each(rows, name, list(itertools.chain(*parts))):
            column = f"column {name}" if name else "the column without a name"
            said.append(
                f"{column} counts the rows of each cell more than once: if it is an epoch or a fold, rows of one run "
                "are not independent (--seed and --last-of reduce them to runs)"
            )
    return said


def what_differs(rows: Rows, row: int, earlier: int, runs: Runs) -> str:
    """Say what to do about two rows of equal levels and seed, by the columns in which they differ."""
    differing = [
        name
        for name, column in rows.columns.items()
        if name and name not in runs.declared and str(column[row]) != str(column[earlier])
    ]
    log = next((name for name in differing if _counts_progress(name)), None)
    fold = next((name for name in differing if "fold" in words(name)), None)
    groups = _groups(rows, runs.columns, range(len(rows.names)))
    counting = next((name for name in differing if _counts_each(rows, name, groups)), None)
    if counting and not log and not fold:
        column = f"{counting}, which counts the rows of each run"
        return (
            f"they differ in {column}: if it is an epoch, keep the last (--last-of {counting}); if not, is it a factor?"
        )
    factor = next((name for name in differing if _may_be_factor(rows, name)), None)
    if factor:
        return f"they differ in {factor}: is it a factor?"
    if log:
        numeric = all(map(is_number, rows.columns[log]))
        last = f"such as the last (--last-of {log})" if numeric else "such as that of the last"
        return f"they differ in {log}: keep one row per run, {last}"
    if fold:
        return f"they differ in {fold}: give each run the mean over its folds"
    return "leave one of them out" + (f", they differ in {', '.join(differing[:_FEW])}" if differing else "")


def _groups(rows: Rows, columns: Sequence[str], among: Iterable[int]) -> list[list[int]]:
    """Return the rows that are equal in some columns, in their order."""
    found: dict[tuple[str, ...], list[int]] = {}
    for row in among:
        found.setdefault(rows.key(row, columns), []).append(row)
    return list(found.values())


def _counts_progress(name: str) -> bool:
    parts = words(last_part(name))
    counters = [part for part in parts if part not in _OF_PROGRESS]
    counter = len(counters) == 1 and counters[0] in _PROGRESS
    return (counter or "".join(parts) in _COUNTERS) and not is_hyper_parameter(name)


def _names_runs(name: str) -> bool:
    return bool(_OF_RUNS.intersection(words(last_part(name)))) or name in {"Name", "ID"}  # of W&B


def _may_be_factor(rows: Rows, name: str) -> bool:
    values = Counter(str(value) for value in rows.columns[name])
    few = len(values) <= max(2, len(rows.names) / 4)
    return few and not _counts_progress(name) and not _names_runs(name) and not _NO_FACTORS.intersection(words(name))


def _is_split(rows: Rows, name: str) -> bool:
    texts = {str(value).lower() for value in rows.columns[name] if not is_missing(value)}
    return bool(_SPLITS.intersection(words(last_part(name)))) and len(texts) > 1 and texts <= _PARTS


def _is_log(rows: Rows, name: str, groups: Sequence[Sequence[int]], named: bool) -> bool:
    """Tell whether a column counts on within groups: those of one run each if ``named``, else of one cell each."""
    values = ([rows.columns[name][row] for row in group] for group in groups)
    numbers = [[number(value) for value in each if is_number(value)] for each in values]
    series = [each for each in numbers if len(each) > 1]
    if not series:
        return False
    if named:
        return all(len(set(each)) == len(each) for each in series) and _counts_on(series)
    return _counts_on([part for each in series for part in _rising(each)]) or all(map(_counted_evenly, series))


def _counts_in_plural(rows: Rows, name: str, groups: Sequence[Sequence[int]]) -> bool:
    """Tell whether a column such as ``epochs`` counts 1, 2, 3 ... again and again: no one trains for 1 to 5 epochs."""
    parts = words(last_part(name))
    if len(parts) != 1 or parts[0].removesuffix("s") not in _PROGRESS or is_hyper_parameter(name):
        return False
    return _counts_each(rows, name, [part for group in groups for part in _restarts(rows, name, group)])


def _counts_each(rows: Rows, name: str, groups: Sequence[Sequence[int]]) -> bool:
    """Tell whether a column counts the rows of all groups by ones, from 0 or 1 on, in their order."""
    series = [[rows.columns[name][row] for row in group] for group in groups if len(group) > 1]
    if not series or max(map(len, series)) < _MANY - 1 or not all(map(is_number, itertools.chain(*series))):
        return False
    counts = [[number(value) for value in each] for each in series]
    start = counts[0][0]
    return start in {0, 1} and all(each == [start + step for step in range(len(each))] for each in counts)


def _restarts(rows: Rows, name: str, group: Sequence[int]) -> list[list[int]]:
    """Cut rows where a column does not rise."""
    values = [rows.columns[name][row] for row in group]
    if not all(map(is_number, values)):
        return [list(group)]
    lengths = [len(part) for part in _rising([number(value) for value in values])]
    ends = list(itertools.accumulate(lengths))
    return [list(group[end - length : end]) for end, length in zip(ends, lengths, strict=True)]


def _counts_on(series: Sequence[Sequence[float]]) -> bool:
    """Tell whether all series rise by the same step, or from one beginning, or long: more than chance would do."""
    if any(len(each) < 2 for each in series):
        return False
    starts = {min(each) for each in series}
    longest = max(map(len, series))
    if len({step for each in series for step in _steps(each)}) == 1 and (longest >= _FEW or starts <= {0, 1}):
        return True
    if not all(a < b for each in series for a, b in itertools.pairwise(each)):
        return False
    return (len(series) > 1 and len(starts) == 1) or min(map(len, series)) >= _MANY


def _steps(values: Iterable[float]) -> set[float]:
    return {round(b - a, 9) for a, b in itertools.pairwise(sorted(values))}


def _counted_evenly(values: Sequence[float]) -> bool:
    """Tell whether values are those of several runs in one cell, each counted from the same beginning."""
    counts = [count for _, count in sorted(Counter(values).items())]
    if len(_steps(set(values))) != 1:
        return False
    equal = len(set(counts)) == 1 and len(counts) >= _FEW
    return equal or (min(values) in {0, 1} and counts == sorted(counts, reverse=True))


def _rising(values: Sequence[float]) -> Iterable[list[float]]:
    """Cut values where they do not rise."""
    part = [values[0]]
    for before, value in itertools.pairwise(values):
        if value <= before:
            yield part
            part = []
        part.append(value)
    yield part


def _refused_log(rows: Rows, name: str, group: Sequence[int], runs: Runs, ids: Sequence[str]) -> UserError:
    run = ", ".join(f"{column} {rows.columns[column][group[0]]}" for column in (*runs.columns, *ids))
    each = name if _counts_progress(name) else name.removesuffix("s")
    has = f"has a row per {each}, not per run: {run} has {len(group)} ({named_rows(rows.names, group)})"
    seeds = "" if runs.seed else f"--seed {ids[0]} " if ids else "--seed COLUMN "
    fix = (
        f"{seeds}--last-of {name} keeps the last row of each run; for another rule, keep only the rows that it selects"
    )
    stopped = "" if runs.seed or ids else f"; if each row is a run of its own, remove the column {name}"
    return UserError(f"{rows.place}: {has}; {fix}{stopped}")


def _refused_split(rows: Rows, name: str) -> UserError:
    parts = " and of ".join(dict.fromkeys(str(value) for value in rows.columns[name] if not is_missing(value)))
    return UserError(
        f"{rows.place}: has rows of {parts} ({name}) of the same runs; keep those of one: {name} is no factor, as the "
        "runs are the same"
    )
