"""Which rows are finished runs, by what the columns of the usual programs say.

The words are those of Optuna, MLflow, W&B, Ray Tune, Sacred, ClearML, Comet, DVC, Katib, NNI, SageMaker, Ax, Oríon,
SMAC, Keras Tuner, Slurm, GNU parallel and Regulens itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from regulens.errors import UserError
from regulens.study.external.names import is_hyper_parameter, last_part, words
from regulens.study.external.problems import Problem, named_rows
from regulens.study.external.values import TRUTH, is_missing, is_number, number
from regulens.study.own_rows import Rows

_FINISHED = {
    *("complete", "completed", "finished", "finish", "success", "succeeded", "successful", "done", "ok", "terminated"),
    *("published", "closed", "passed", "inactive"),
}
_UNFINISHED = {
    *("pruned", "fail", "failed", "failure", "error", "errored", "crash", "crashed", "killed", "died", "dead"),
    *("broken", "invalid", "abort", "aborted", "aborting", "abandoned", "interrupted", "deleted", "revoked"),
    *("canceled", "cancelled", "canceling", "cancelling", "usercanceled", "syscanceled", "stopped", "stopping"),
    *("timeout", "timedout", "deadline", "preempted", "preempting", "suspended", "nodefail", "bootfail"),
    *("outofmemory", "outofme", "oom", "memout", "memoryout", "capped"),  # Slurm cuts words off
    *("skipped", "upstreamfailed", "metricsunavailable", "incomplete", "unfinished", "notfinished", "notcompleted"),
    *("running", "inprogress", "progress", "started", "starting", "initializing", "completing", "finalizing"),
    *("pending", "queued", "enqueued", "requeued", "waiting", "scheduled", "staged", "paused", "idle", "reserved"),
    *("created", "draft", "new", "notstarted", "active", "resizing", "unknown"),
}
_COMMON = {"ok", "closed", "passed", "new", "active", "inactive", "unknown", "created", "dead", "deleted", "progress"}
"""Words that make no column one of states: there are others of that name."""

_Reading = Callable[[object], bool | None]
"""Tells of a value whether the run finished; ``None`` is neither."""

_STATE = {"state", "status", "outcome"}
_TROUBLE = ("err", "fail", "crash", "abort", "kill", "part", "except", "not")
_TRUE_IF_FINISHED = {"done", "finished", "completed", "complete"}
_TRUE_IF_NOT = {
    *("failed", "crashed", "killed", "interrupted", "aborted", "cancelled", "canceled", "timedout", "running"),
    *("incomplete", "unfinished", "pending"),
}
_EITHER = {"pruned", "success", "successful", "succeeded"}
"""May be of the run, or of its network, attack or episode."""
_ASKING = {"is", "was", "has", "run", "job", "trial"}
"""Words in front of these: ``is_finished``, ``has_failed``."""
_EXIT_CODES = {"exitcode", "returncode", "exitval", "exitstatus", "retcode"}
_ERRORS = {"error", "errormessage", "errormsg", "exception", "traceback", "failtrace", "failreason", "failurereason"}
_STAGES = {"stage", "phase"}
_OTHER_NAMES = _STAGES | _TRUE_IF_FINISHED | _TRUE_IF_NOT | _EXIT_CODES | _ERRORS
_FEW_STATES = 6
OWN_COLUMNS = {"run_id", "stage", "network", "status", "regularizer"}
"""Of `regulens results`."""


class UnfinishedError(UserError):
    """No row is a finished run."""


def finished_runs(rows: Rows, factors: Sequence[str], declared: Collection[str]) -> Rows:
    """Leave out the rows that a column says are no finished runs, with a note that counts them.

    Args:
        rows: all of them.
        factors: the columns of which levels may be gone with them.
        declared: the columns that say nothing of this: the factors, the response, the seed.

    Raises:
        UnfinishedError: if no row is left.
        UserError: naming the rows with a state that is not known.
    """
    why = _unfinished(rows, declared)
    rows = replace(rows, notes=(*rows.notes, *_not_understood(rows, declared)))
    if not why:
        return rows
    kept = [row for row in range(len(rows.names)) if row not in why]
    counted = _counted(rows, why)
    if not kept:
        fix = f"if these runs are finished all the same, remove the column {next(iter(why.values()))[0]}"
        raise UnfinishedError(f"{rows.place}: no row is a finished run: {counted}; {fix}")
    said = f"{len(why)} of {len(rows.names)} rows {'were' if len(why) > 1 else 'was'} left out: {counted}"
    return replace(rows.keep(kept), notes=(*rows.notes, said + _gone(rows, kept, factors)))


def _unfinished(rows: Rows, declared: Collection[str]) -> dict[int, tuple[str, str]]:
    """Return for each row that is no finished run the column that says so, and its word."""
    found: dict[int, tuple[str, str]] = {}
    unknown: list[Problem] = []
    for name, column in rows.columns.items():
        says = None if name in declared or is_hyper_parameter(name) else _reading(name, column)
        for row, value in enumerate(column) if says else ():
            finished = is_missing(value) or (says is not None and says(value))
            if finished is None:
                fix = "write finished or failed, or remove the column"
                unknown.append(Problem(row, f'{name} "{value}" does not tell whether the run finished', fix))
            elif not finished:
                found.setdefault(row, (name, str(value)))
    open_rows = [problem for problem in unknown if problem.row not in found]
    if open_rows:
        raise rows.refuse_all(open_rows)
    return found


def _not_understood(rows: Rows, declared: Collection[str]) -> list[str]:
    """Name the columns that may be states, but hold words or numbers of no known program."""
    said = []
    for name, column in rows.columns.items():
        parts = words(last_part(name))
        asked = parts[1:] if parts[:1] and parts[0] in _ASKING else parts
        if name in declared or is_hyper_parameter(name) or (_STATE | _EITHER).isdisjoint(asked) or len(asked) > 1:
            continue
        values = list(dict.fromkeys(str(value) for value in column if not is_missing(value)))
        if 1 < len(values) <= _FEW_STATES and _reading(name, column) is None:
            listed = f"{', '.join(values[:-1])} and {values[-1]}"
            said.append(f"column {name} was not read ({listed}): if it marks unfinished runs, remove their rows")
    return said


def _reading(name: str, column: Sequence[object]) -> _Reading | None:
    """Return what tells of a value whether the run finished, ``None`` where the column is about something else."""
    parts = words(last_part(name))
    joined = "".join(parts)
    asked = "".join(parts[1:] if parts and parts[0] in _ASKING else parts)
    if _STATE.isdisjoint(parts) and not _OTHER_NAMES.intersection([joined, asked]):
        return None
    present = [value for value in column if not is_missing(value)]
    texts = {_word(value) for value in present}
    truths = {str(value).lower() for value in present} <= TRUTH.keys()
    readings: tuple[tuple[bool, _Reading], ...] = (
        (not _STATE.isdisjoint(parts) and _evident(texts, name), _state(texts)),
        (joined in _STAGES and "refit" in texts, lambda value: _word(value) != "refit"),
        (asked in _TRUE_IF_FINISHED and truths, lambda value: TRUTH[str(value).lower()]),
        (asked in _TRUE_IF_NOT and truths, lambda value: not TRUTH[str(value).lower()]),
        (joined in _EXIT_CODES and all(map(_is_exit_code, present)), lambda value: not re.search("[1-9]", str(value))),
        (joined in _ERRORS and len(present) < len(column), _no_error),
    )
    return next((reading for applies, reading in readings if applies), None)


def _no_error(value: object) -> bool:
    return is_number(value) or _word(value) in {"none", "no", "false", "ok"}


def _word(value: object) -> str:
    """Return a state without what programs write around it: ``cancelled`` of ``CANCELLED by 1000``, and so on."""
    text = str(value).strip().rstrip(".").rsplit(".", 1)[-1].lower()
    text = re.sub(r"^(job|run|trial|task)_?(state|status)_", "", text)
    first, *rest = re.findall("[a-z]+", text) or [""]
    if "".join([first, *rest]) in _FINISHED | _UNFINISHED:
        return "".join([first, *rest])
    clean = not any(word.startswith(_TROUBLE) for word in rest)
    return first if first in _UNFINISHED or (first in _FINISHED and clean) else "".join([first, *rest])


def _evident(texts: set[str], name: str) -> bool:
    known = (_FINISHED | _UNFINISHED).intersection(texts)
    return bool(known - _COMMON) or (name.lower() == "sys/state" and texts <= {"active", "inactive"})


def _state(texts: Collection[str]) -> _Reading:
    """Return how a column of states is read; ``terminated`` is Ray Tune's word for finished, elsewhere it is not."""
    finished = _FINISHED - ({"terminated"} if {"completed", "complete", "finished"}.intersection(texts) else set())
    unfinished = _UNFINISHED | (_FINISHED - finished)

    def says(value: object) -> bool | None:
        word = _word(value)
        return True if word in {"none", "", *finished} else False if word in unfinished else None

    return says


def _is_exit_code(value: object) -> bool:
    return bool(re.fullmatch(r"\d+:\d+", str(value))) or (is_number(value) and number(value).is_integer())


def _counted(rows: Rows, why: Mapping[int, tuple[str, str]]) -> str:
    places: dict[tuple[str, str], list[int]] = {}
    for row, reason in sorted(why.items()):
        places.setdefault(reason, []).append(row)
    parts = [
        f"{name} is {word[:40]} in {len(found)} ({named_rows(rows.names, found)})"
        for (name, word), found in places.items()
    ]
    own = "; `regulens results --compared` writes none of these" if rows.columns.keys() >= OWN_COLUMNS else ""
    more = f", and {len(parts) - 5} other reasons" if len(parts) > 5 else ""
    return ", ".join(parts[:5]) + more + own


def _gone(rows: Rows, kept: Sequence[int], factors: Sequence[str]) -> str:
    """Name the levels of which no run is left."""
    gone = []
    for name in factors:
        left = {str(rows.columns[name][row]) for row in kept}
        known = dict.fromkeys(str(value) for value in rows.columns[name] if not is_missing(value))
        gone += [f"{name} {text}" for text in known if text not in left]
    return f"; no run is left of {', '.join(gone[:5])}" if gone else ""
