"""From a study to its runs: the full factorial of the factors' levels, over seeds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from pydantic import ValidationError

from regulens.errors import UserError, suggestion
from regulens.spec import DataSpec, Level, RunSpec, StudySpec, field_paths, level_of

PARTS_FIELDS = {f"data.{field}" for field in DataSpec.model_fields} - {"data.scale"}
"""The fields that decide which images a run is trained and judged on."""


def cells(study: StudySpec) -> list[RunSpec]:
    """Return one spec per combination of levels, in the order of the file, at seed 0.

    Raises:
        UserError: naming the factor, the level and the mend.
    """
    for path, levels in study.factors.items():
        _check_factor(path, levels)
    combinations = itertools.product(*study.factors.values())
    specs = [with_levels(study, dict(zip(study.factors, levels, strict=True))) for levels in combinations]
    seen: set[RunSpec] = set()
    for spec in specs:
        if spec in seen:
            raise UserError(f"two cells are the same network ({cell_label(spec, study)}); remove the repeated level")
        seen.add(spec)
    return specs


def with_levels(study: StudySpec, levels: Mapping[str, Level]) -> RunSpec:
    """Return the spec of the cell that has these levels and the study's shared fields.

    Raises:
        UserError: if a level is not a value its field can take.
    """
    fields: dict[str, Any] = {
        "data": study.data.model_dump(),
        "model": study.model.model_dump(),
        "train": study.train.model_dump(),
        "regularizer": study.regularizer,
    }
    for path, level in levels.items():
        *group, field = path.split(".")
        (fields[group[0]] if group else fields)[field] = level
    try:
        return RunSpec.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(map(str, first["loc"]))
        value = "" if isinstance(first["input"], dict) else f" = {first['input']!r}"
        raise UserError(f"{path}{value}: {plain_message(first['msg'])}") from None


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
    parts = [_level_label(path, level) for path, level in cell_levels(spec, study).items()]
    return ", ".join(parts) or f"depth {spec.model.depth}, {spec.regularizer}"


def run_label(spec: RunSpec, study: StudySpec) -> str:
    """Return the run's name: ``depth 2, batchnorm, seed 0, refit``."""
    return f"{cell_label(spec, study)}, seed {spec.seed}" + (", refit" if spec.stage == "refit" else "")


def parts_label(spec: RunSpec, study: StudySpec) -> str:
    """Return what tells the images of this run from those of the study's others; empty if there are no others."""
    levels = {path: level for path, level in cell_levels(spec, study).items() if path in PARTS_FIELDS}
    return ", ".join(_level_label(path, level) for path, level in levels.items())


def level_text(level: Level) -> str:
    """Write a level as a reader would: 0.00392156862745098 is 1/255."""
    if isinstance(level, float) and 0 < level < 1 and len(repr(level)) > len("0.0123456789"):
        fraction = Fraction(level).limit_denominator(1000)
        if fraction.numerator == 1 and float(fraction) == level:
            return str(fraction)
    return f"{level:g}" if isinstance(level, float) and float(f"{level:g}") == level else str(level)


def _level_label(path: str, level: Level) -> str:
    if path in {"regularizer", "data.name"}:
        return str(level)
    return f"{path.rpartition('.')[2].replace('_', ' ')} {level_text(level)}"


def plain_message(message: str) -> str:
    """Strip what pydantic puts before a message of our own."""
    return message.removeprefix("Value error, ").replace("Input should be", "must be")


def _matching(study: StudySpec, where: Mapping[str, Level]) -> list[tuple[Level, ...]]:
    normal = {path: _normal(study, path, level) for path, level in where.items()}
    names = list(study.factors)
    return [
        levels
        for levels in itertools.product(*study.factors.values())
        if all(_normal(study, path, levels[names.index(path)]) == level for path, level in normal.items())
    ]


def _normal(study: StudySpec, path: str, level: Level) -> Level:
    return level_of(with_levels(study, {path: level}), path)


def _check_factor(path: str, levels: list[Level]) -> None:
    paths = field_paths()
    if path in {"seed", "seeds"}:
        raise UserError(f"factors.{path}: seeds are not a factor; write seeds = N at the top of the file")
    if path not in paths:
        raise UserError(f"factors.{path}: unknown field{suggestion(path, paths)}")
    if not levels:
        raise UserError(f"factors.{path}: has no levels; list at least one")
