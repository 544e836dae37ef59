"""What a study's folder holds: whether it is the study asked for, and how that differs from what was declared."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regulens.errors import UserError
from regulens.spec import AnalysisSpec, ClaimSpec, RunSpec, StudySpec, VariationSpec, field_paths, level_of
from regulens.study.grid import cells
from regulens.study.limits import MAX_CELLS, count_cells
from regulens.study.store import DATABASE, Deviation, Store, now, open_store, refuse_lost_database
from regulens.study.study_file import STUDY_FILE, is_blank, read_study

_NOTED_IF_CHANGED = ("analysis", "claims", "variations", "fresh", "also_refit", "published")
_FREE_TO_CHANGE = {"seeds", "title", *_NOTED_IF_CHANGED}
"""The rest says what is trained: it never changes in a folder. More seeds are noted as one more look at the study."""


_Declared = AnalysisSpec | ClaimSpec | VariationSpec


@dataclass(frozen=True)
class Reconciled:
    """The study to go on with in a folder, and what is to be said of it.

    Attributes:
        study: with no fewer seeds than were run in the folder before.
        deviations: from what was declared when runs were made; not recorded yet.
        seeds_run: how many were run before; 0 in a new folder.
    """

    study: StudySpec
    deviations: tuple[Deviation, ...]
    seeds_run: int


def reconcile(study: StudySpec, folder: Path) -> Reconciled:
    """Return the study to run in a folder that may hold runs of it already: never with fewer seeds than those.

    Raises:
        UserError: if the folder holds a study that differs in what is trained.
        DataError: if its database is damaged or lost.
    """
    if not os.path.lexists(folder / DATABASE):
        refuse_lost_database(folder)
        held = _study_in_file(folder)
        if held is not None:
            _refuse_other(study, held, folder)
        return Reconciled(study, (), 0)
    store = own_store(study, folder)
    _record_first(store)
    seeds = seeds_run(store)
    study = study.model_copy(update={"seeds": max(study.seeds, seeds)})
    return Reconciled(study, _deviations(study, store, seeds), seeds)


def declare(study: StudySpec, store: Store) -> None:
    """Record the study as declared, if it is not, with how it deviates from what was declared when runs were made.

    A folder of version 0.1 has no record of what was declared: the first time, what its ``study.toml`` says is taken
    for that.
    """
    _record_first(store)
    if _last_declared(store) != study:
        store.save_declaration(study, _deviations(study, store, seeds_run(store)))


def _record_first(store: Store) -> None:
    held = _declared(store)
    if held is not None and not store.declarations():
        store.save_declaration(held)


def note_deviations(study: StudySpec, store: Store) -> None:
    """Record in what a study deviates from what was declared when runs were made; where it does not, nothing."""
    if _deviations(study, store, seeds_run(store)):
        declare(study, store)


def seeds_run(store: Store) -> int:
    """Return how many seeds were run, those of ``fresh`` aside: the largest seed of a finished run plus one."""
    return max((result.spec.seed + 1 for result in store.results() if not result.spec.fresh), default=0)


def held_study(folder: Path) -> StudySpec:
    """Return the study of a folder as its ``study.toml`` says; where that is lost or empty, as its database does.

    Raises:
        UserError: if there is no study, the file has a mistake, or says other than what was trained.
        DataError: if the database is damaged.
    """
    store = open_store(folder)
    declared = _last_declared(store)
    study = _study_in_file(folder, declared) or declared
    if study is None:
        raise UserError(f"{folder / STUDY_FILE}: is lost; restore it, or give the study's own file with --out {folder}")
    own_store(study, folder)
    return study


def own_store(study: StudySpec, folder: Path) -> Store:
    """Open the database of a folder where this study was run.

    Raises:
        UserError: if there is none, or it is of a study that trains something else.
        DataError: if it is damaged.
    """
    store = open_store(folder)
    store.trained_above = study.analysis.trained_above
    held = _declared(store)
    if held is not None:
        _refuse_other(study, held, folder)
    grid = cells(study)
    own = set(grid)
    for result in store.results():
        if result.spec.stage == "refit" and result.spec.refit != study.refit:
            raise UserError(_refusal(study, folder, f'refit ("{result.spec.refit}", not "{study.refit}")'))
        if result.spec.cell not in own:
            difference = _nearest_difference(result.spec.cell, grid)
            raise UserError(_refusal(study, folder, difference))
    return store


def redeclared(study: StudySpec, held: StudySpec) -> list[str]:
    """Say in what a study's declarations differ from those of the same study as held, a line each."""
    lines = _differences("analysis", held.analysis, study.analysis)
    for kind, ours, theirs in (
        ("claims", {each.id: each for each in study.claims}, {each.id: each for each in held.claims}),
        ("variations", {each.name: each for each in study.variations}, {each.name: each for each in held.variations}),
    ):
        other = [name for name in {**theirs, **ours} if (name in ours) != (name in theirs)]
        lines += [f"{kind} {', '.join(other)}"] if other else []
        for name in ours.keys() & theirs.keys():
            lines += _differences(f"{kind}.{name}", theirs[name], ours[name])
    for key in ("fresh", "also_refit"):
        if getattr(study, key) != getattr(held, key):
            lines.append(f"{key} ({getattr(held, key)!r}, not {getattr(study, key)!r})")
    return lines + (["published"] if study.published != held.published else [])


def _deviations(study: StudySpec, store: Store, seeds: int) -> tuple[Deviation, ...]:
    held = _declared(store)
    if held is None or not seeds:
        return ()
    when = f"after {seeds} seeds were run" + (" and the test set was evaluated" if store.ledger() else "")
    return tuple(Deviation(noted_at=now(), text=f"declared anew {when}: {line}") for line in redeclared(study, held))


def _declared(store: Store) -> StudySpec | None:
    """Return the study as last declared in a folder."""
    return _last_declared(store) or _study_in_file(store.path.parent)


def _last_declared(store: Store) -> StudySpec | None:
    declarations = store.declarations()
    return declarations[-1].study if declarations else None


def _study_in_file(folder: Path, declared: StudySpec | None = None) -> StudySpec | None:
    """Read a folder's ``study.toml``, as large as what is declared; ``None`` where it is lost or empty."""
    path = folder / STUDY_FILE
    return None if is_blank(path) else read_study(path, max(MAX_CELLS, count_cells(declared) if declared else 0))


def _refuse_other(study: StudySpec, held: StudySpec, folder: Path) -> None:
    ours, theirs = _trained(study), _trained(held)
    for key in ours:
        if ours[key] != theirs[key]:
            raise UserError(_refusal(study, folder, _first_difference(key, theirs[key], ours[key])))


def _trained(study: StudySpec) -> dict[str, Any]:
    """Return the fields that say what is trained."""
    return study.model_dump(exclude=_FREE_TO_CHANGE)


def _refusal(study: StudySpec, folder: Path, difference: str) -> str:
    if _says(folder, study):
        fix = f"its {STUDY_FILE} was edited: set that back, or copy the file, change its name and run the copy"
    else:
        fix = "choose another --out or name"
    return f"{folder}: holds a study with other {difference}; {fix}"


def _says(folder: Path, study: StudySpec) -> bool:
    """Tell whether a folder's ``study.toml`` trains what a study trains; where it has a mistake it does not."""
    try:
        held = _study_in_file(folder, study)
    except UserError:
        return False
    return held is not None and _trained(held) == _trained(study)


def _nearest_difference(spec: RunSpec, grid: list[RunSpec]) -> str:
    """Say in which field a cell that is not of this grid differs from the most similar one that is."""
    paths = [*field_paths(), "vary"]
    by_cell = [[path for path in paths if level_of(spec, path) != level_of(cell, path)] for cell in grid]
    nearest = min(range(len(grid)), key=lambda place: len(by_cell[place]))
    path = by_cell[nearest][0]
    return f"{path} ({level_of(spec, path)!r}, not {level_of(grid[nearest], path)!r})"


def _differences(place: str, held: _Declared, asked: _Declared) -> list[str]:
    """Say in which fields two tables differ, a line each."""
    theirs, ours = held.model_dump(), asked.model_dump()
    return [f"{place}.{name} ({theirs[name]!r}, not {ours[name]!r})" for name in ours if ours[name] != theirs[name]]


def _first_difference(key: str, held: object, asked: object) -> str:
    if isinstance(held, dict) and isinstance(asked, dict):
        for name in sorted(held.keys() | asked.keys()):
            if held.get(name) != asked.get(name):
                return f"{key}.{name} ({held.get(name)!r}, not {asked.get(name)!r})"
    return f"{key} ({held!r}, not {asked!r})"
