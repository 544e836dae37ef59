"""From a study to its runs: the full factorial of the factors' levels, over seeds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from pydantic import ValidationError

from regulens.errors import UserError, suggestion
from regulens.spec import PIXEL_FIELDS, DataSpec, Level, RunSpec, StudySpec, VariationSpec, field_paths, level_of
from regulens.spec.mistakes import above_tables, first_mistake
from regulens.study.limits import check_runs

PARTS_FIELDS = {f"data.{field}" for field in DataSpec.model_fields.keys() - PIXEL_FIELDS}
"""The fields that decide which images a run is trained and judged on."""


def cells(study: StudySpec) -> list[RunSpec]:
    """Return one spec per combination of levels, in the order of the file, at seed 0.

    Raises:
        UserError: naming the factor, the level and the fix.
    """
    for path, levels in study.factors.items():
        _check_factor(study, path, levels)
    combinations = itertools.product(*study.factors.values())
    specs = [with_levels(study, dict(zip(study.factors, levels, strict=True))) for levels in combinations]
    seen: set[RunSpec] = set()
    for spec in specs:
        if spec in seen:
            raise UserError(f"two cells are the same network ({cell_label(spec, study)}); remove the repeated level")
        seen.add(spec)
    return specs


def planned(study: StudySpec) -> list[RunSpec]:
    """Return the runs of the first stage: seed by seed, so that an unfinished study is an even one.

    Raises:
        UserError: if they are too many.
    """
    check_runs(study)
    grid = cells(study)
    return [spec.model_copy(update={"seed": seed}) for seed in range(study.seeds) for spec in grid]


def with_levels(study: StudySpec, levels: Mapping[str, Level], place: str = "") -> RunSpec:
    """Return the spec of the cell that has these levels and the study's shared fields.

    ``place`` is where in the file the levels are, if that is another place than the fields' own.

    Raises:
        UserError: if a level is not a value its field can take.
    """
    fields: dict[str, Any] = {
        "data": study.data.model_dump(),
        "model": study.model.model_dump(),
        "train": study.train.model_dump(),
        "regularizer": study.regularizer,
        "vary": study.vary,
    }
    for path, level in levels.items():
        *group, field = path.split(".")
        (fields[group[0]] if group else fields)[field] = level
    try:
        return RunSpec.checked(fields)
    except ValidationError as error:
        mistake = first_mistake(error, RunSpec)
        name, equals, rest = mistake.partition(" = ")
        raise UserError(f"{place} = {rest}" if place and equals and name in levels else mistake) from None


def matching_cells(study: StudySpec, where: Mapping[str, Level], place: str) -> list[RunSpec]:
    """Return the cells that have all these levels.

    Raises:
        UserError: if ``where`` names a factor or a level that the study has not.
    """
    for path in where:
        if path not in study.factors:
            raise UserError(f"{place}: {path} is not a factor of this study{suggestion(path, study.factors)}")
    try:
        wanted = [with_levels(study, dict(zip(study.factors, c, strict=True))) for c in _matching(study, where)]
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    if not wanted:
        raise UserError(f"{place}: no cell has {dict(where)}; use levels listed under [factors]")
    return wanted


def cell_levels(spec: RunSpec, study: StudySpec) -> dict[str, Level]:
    """Return the levels that tell this cell from the study's others: dotted name to value."""
    return {path: level_of(spec, path) for path in study.factors}


def cell_label(spec: RunSpec, study: StudySpec) -> str:
    """Return the cell's name in tables and figures: ``depth 2, batchnorm``."""
    parts = [level_label(path, level) for path, level in cell_levels(spec, study).items()]
    return ", ".join(parts) or f"depth {spec.model.depth}, {spec.regularizer}"


def run_label(spec: RunSpec, study: StudySpec) -> str:
    """Return the run's name: ``depth 2, batchnorm, seed 0, refit``."""
    return f"{cell_label(spec, study)}, seed {spec.seed}" + (", refit" if spec.stage == "refit" else "")


def parts_label(spec: RunSpec, study: StudySpec) -> str:
    """Return what tells the images of this run from those of the study's others; empty if there are no others."""
    levels = {path: level for path, level in cell_levels(spec, study).items() if path in PARTS_FIELDS}
    return ", ".join(level_label(path, level) for path, level in levels.items())


def level_text(level: Level) -> str:
    """Write a level as a reader would: 0.00392156862745098 is 1/255, and true as it stands in the file."""
    if isinstance(level, bool):
        return str(level).lower()
    if isinstance(level, float) and 0 < level < 1 and len(repr(level)) > len("0.0123456789"):
        fraction = Fraction(level).limit_denominator(1000)
        if fraction.numerator == 1 and float(fraction) == level:
            return str(fraction)
    return f"{level:g}" if isinstance(level, float) and float(f"{level:g}") == level else str(level)


def level_label(path: str, level: Level) -> str:
    """Return a level's name in tables and figures: ``depth 2``, or ``batchnorm``, which says itself what it is."""
    if path in {"regularizer", "data.name"}:
        return str(level)
    return f"{factor_label(path)} {level_text(level)}"


def factor_label(path: str) -> str:
    """Return a factor's name in tables and figures: ``kernel size`` of ``model.kernel_size``."""
    return path.rpartition(".")[2].replace("_", " ")


def levels_of(study: StudySpec, path: str) -> tuple[Level, ...]:
    """Return the levels of a factor in the order of the file, each as its cells hold it."""
    return tuple(normal_level(study, path, level) for level in study.factors[path])


def normal_level(study: StudySpec, path: str, level: Level) -> Level:
    """Return the value of a level, however it is written: ``"1/255"`` is a number, ``l2(1e-2)`` is ``l2(0.01)``.

    Raises:
        UserError: if it is not a value its field can take.
    """
    return level_of(with_levels(study, {path: level}), path)


def varied(study: StudySpec) -> list[tuple[str, StudySpec]]:
    """Return each variation's name and what it makes of the study: the whole grid, with some shared fields changed.

    Refits and published figures are the unvaried study's alone.

    Raises:
        UserError: naming the variation, the field and the fix.
    """
    studies: dict[str, StudySpec] = {}
    trained = {"the study itself": cells(study)}
    for number, variation in enumerate(study.variations):
        place = f"variations[{number}] ({variation.name})"
        if variation.name.lower() in map(str.lower, studies):
            raise UserError(f"{place}: there are two of this name; choose another")
        changed = _changed(study, variation, place)
        grid = cells(changed)
        for name, specs in trained.items():
            if grid == specs:
                raise UserError(f"{place}: trains what {name} does; change something else")
        trained[variation.name], studies[variation.name] = grid, changed
    return list(studies.items())


def _changed(study: StudySpec, variation: VariationSpec, place: str) -> StudySpec:
    for path in variation.change:
        if path not in field_paths():
            raise UserError(f"{place}: unknown field {path}{suggestion(path, field_paths())}")
        if path in study.factors:
            raise UserError(f"{place}: {path} is a factor of this study, its cells differ in it; change another field")
    fields: dict[str, Any] = {
        "name": variation.name,
        "title": f"{study.title or study.name}: {variation.text or variation.name}",
        "also_refit": [],
        "published": None,
        "variations": [],
    }
    try:
        shared = with_levels(study, variation.change)
        fields |= {name: getattr(shared, name) for name in ("data", "model", "train", "regularizer")}
        changed = study.model_copy(update=fields)
        cells(changed)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    return changed


def _matching(study: StudySpec, where: Mapping[str, Level]) -> list[tuple[Level, ...]]:
    wanted = {path: normal_level(study, path, level) for path, level in where.items()}
    kept = [
        [level for level in levels if path not in wanted or normal_level(study, path, level) == wanted[path]]
        for path, levels in study.factors.items()
    ]
    return list(itertools.product(*kept))


def _check_factor(study: StudySpec, path: str, levels: list[Level]) -> None:
    paths = field_paths()
    if path not in paths and path != "seeds" and path in StudySpec.model_fields:
        raise UserError(f"factors.{path}: {above_tables(path)}")
    if path in {"seed", "seeds"}:
        raise UserError(f"factors.{path}: seeds are not a factor; write seeds = N at the top of the file")
    if path not in paths:
        raise UserError(f"factors.{path}: unknown field{suggestion(path, paths)}")
    if not levels:
        raise UserError(f"factors.{path}: has no levels; list at least one")
    for number, level in enumerate(levels):
        with_levels(study, {path: level}, f"factors.{path}[{number}]")
