"""Study files: TOML in, a checked StudySpec out, every mistake in one line; and back."""

from __future__ import annotations

import codecs
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ValidationError

from regulens.errors import UserError, suggestion
from regulens.files import write_atomically
from regulens.spec import ClaimSpec, Published, PublishedSource, StudySpec, VariationSpec
from regulens.study.claims import declared_claims
from regulens.study.declared import declared_analysis
from regulens.study.grid import cells, matching_cells, plain_message, varied

STUDY_FILE = "study.toml"
_LEVEL_TYPES = {"bool", "int", "float", "str"}
_HOLD_LEVELS = {("factors",), ("also_refit",), ("published",), ("analysis",), ("claims",), ("variations",)}


def preset_names() -> list[str]:
    """Return the names of the study files that ship with the package."""
    folder = resources.files("regulens") / "presets"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def preset_text(name: str) -> str:
    """Return a preset's commented TOML.

    Raises:
        UserError: if there is none of that name.
    """
    if name not in preset_names():
        raise UserError(f'unknown preset "{name}"{suggestion(name, preset_names())}')
    return (resources.files("regulens") / "presets" / f"{name}.toml").read_text(encoding="utf-8")


def read_study(source: str | Path) -> StudySpec:
    """Read a preset by name, or a study file by path.

    Raises:
        UserError: naming the file, the key, its value and the mend.
    """
    if str(source) in preset_names():
        return parse_study(preset_text(str(source)), str(source))
    path = Path(source)
    if not path.is_file():
        presets = ", ".join(preset_names())
        raise UserError(f"{source}: no such study file, and no preset of that name (presets: {presets})")
    try:
        content = path.read_bytes()
        encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        text = content.decode(encoding)  # Windows' shells write either, with a mark in front
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); save it as UTF-8") from None
    return parse_study(text, str(path))


def parse_study(text: str, place: str) -> StudySpec:
    """Parse and check the TOML of a study; ``place`` names it in errors."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{place}: is not valid TOML: {error}") from None
    except RecursionError:
        raise UserError(f"{place}: is not valid TOML: its brackets are nested too deeply") from None
    try:
        _flatten_paths(content)
        study = StudySpec.model_validate(content)
        _check(study)
    except ValidationError as error:
        raise UserError(f"{place}: {_one_line(error)}") from None
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    return study


def write_study(folder: Path, study: StudySpec) -> None:
    """Write ``study.toml`` with every field spelled out."""
    write_atomically(folder / STUDY_FILE, tomli_w.dumps(study.model_dump(mode="json", exclude_none=True)))


def _check(study: StudySpec) -> None:
    """Check what only shows when the factors are spelled out."""
    cells(study)
    declared_analysis(study)
    declared_claims(study)
    varied(study)
    for number, where in enumerate(study.also_refit):
        matching_cells(study, where, f"also_refit[{number}]")
    for number, published in enumerate(study.published.cells if study.published else []):
        place = f"published.cells[{number}]"
        if len(matching_cells(study, published.where, place)) > 1:
            raise UserError(f"{place}: matches several cells; name a level of every factor")


def _flatten_paths(content: dict[str, Any]) -> None:
    """Give every table whose keys are dotted field names such keys, however they are written in TOML."""
    holders = [(content, "factors")]
    for owner, tables, key in (
        (content.get("published"), "cells", "where"),
        (content, "claims", "where"),
        (content, "variations", "change"),
    ):
        listed = owner.get(tables) if isinstance(owner, dict) else None
        holders += [(table, key) for table in (listed if isinstance(listed, list) else []) if isinstance(table, dict)]
    for holder, key in holders:
        if isinstance(holder.get(key), dict):
            holder[key] = _flattened(holder[key])
    if isinstance(content.get("also_refit"), list):
        content["also_refit"] = [
            _flattened(where) if isinstance(where, dict) else where for where in content["also_refit"]
        ]


def _flattened(table: Mapping[str, Any]) -> dict[str, Any]:
    """Read ``model.depth = [1, 2]`` and ``"model.depth" = [1, 2]`` as the same.

    Raises:
        UserError: if a field is named in both ways.
    """
    flat: dict[str, Any] = {}
    for key, value in table.items():
        inner = {f"{key}.{rest}": level for rest, level in _flattened(value).items()} if isinstance(value, dict) else {}
        for path, level in (inner or {key: value}).items():
            if path in flat:
                raise UserError(f"{path} is given twice; keep one of them")
            flat[path] = level
    return flat


def _one_line(error: ValidationError) -> str:
    """Name the key, its value and the mend; a misspelt key before the required one that it leaves missing."""
    problems = sorted(error.errors(), key=lambda problem: problem["type"] == "missing")
    first = problems[0]
    path, of_level = _path_in_file(first["loc"])
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    if first["type"] == "extra_forbidden":
        line = f"unknown key {name} = {first['input']!r}{suggestion(str(path[-1]), _known_keys(path))}"
    elif first["type"] == "missing":
        line = f"{name} is missing; add it"
    elif first["type"] == "model_type":
        line = f"{name} = {first['input']!r}: must be a table; write its keys below [{name}]"
    else:
        message = "must be a finite number, a text or true/false" if of_level else plain_message(first["msg"])
        line = (
            f"{name} = {first['input']!r}: {message}"
            if name and not isinstance(first["input"], dict)
            else (f"{name}: {message}" if name else message)
        )
    others = {_path_in_file(problem["loc"])[0] for problem in problems} - {path}
    return f"{line} (and {len(others)} more)" if others else line


def _path_in_file(location: tuple[int | str, ...]) -> tuple[tuple[int | str, ...], bool]:
    """Return the keys that lead to a mistake, and whether it is a level that is of none of the allowed types."""
    of_level = location[:1] in _HOLD_LEVELS and location[-1] in _LEVEL_TYPES
    return (location[:-1] if of_level else location), of_level


def _known_keys(path: tuple[int | str, ...]) -> list[str]:
    """Return the fields of the table that an unknown key stands in."""
    tables: dict[str, type[BaseModel]] = {
        "published": PublishedSource,
        "cells": Published,
        "claims": ClaimSpec,
        "variations": VariationSpec,
    }
    owner: type[BaseModel] = StudySpec
    for part in path[:-1]:
        annotation = owner.model_fields[part].annotation if part in owner.model_fields else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            owner = annotation
        elif part in tables:
            owner = tables[str(part)]
    return list(owner.model_fields)
