"""Study files: TOML in, a checked StudySpec out, every mistake in one line; and back."""

from __future__ import annotations

import codecs
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from regulens.errors import UserError, suggestion
from regulens.files import write_atomically
from regulens.spec import StudySpec
from regulens.spec.mistakes import first_mistake
from regulens.study.claims import declared_claims
from regulens.study.declared import declared_analysis
from regulens.study.grid import cells, matching_cells, varied
from regulens.study.limits import check_size
from regulens.study.store import DATABASE
from regulens.study.thresholds import check_thresholds

STUDY_FILE = "study.toml"
MAX_BYTES = 1_000_000
"""How large a study file may be; the largest that ships with the package has 5,000 bytes."""
_MAX_KEY_PARTS = 50
_TOKENS = re.compile(
    r"""\"{3}(?:[^"\\]|\\.|"(?!""))*+(?:"{3,5}+)?|'{3}(?:[^']|'(?!''))*+(?:'{3,5}+)?|"""
    r""""(?:[^"\\\n]|\\.)*+"?|'[^'\n]*+'?|\#[^\n]*+|[\w-]++|[ \t]++|.""",
    re.DOTALL,
)
"""The strings, comments, bare keys and single characters of TOML; it reads any text in one pass."""


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


def names_preset(source: str | Path) -> bool:
    """Tell whether a preset is meant: by its bare name, which no path has, unless a ``Path`` leads to something."""
    return str(source) in preset_names() and not (isinstance(source, Path) and source.exists())


def read_study(source: str | Path, max_cells: int | None = None) -> StudySpec:
    """Read a preset by name, or a study file by path.

    Args:
        source: the name or the path.
        max_cells: how many networks it may have, those of its variations included; by default 10,000.

    Raises:
        UserError: naming the file, the key, its value and the fix.
    """
    if names_preset(source):
        return parse_study(preset_text(str(source)), str(source), max_cells)
    path = Path(source)
    if not path.is_file():
        what = "is a folder without a study" if path.is_dir() else "no such study file or folder, and no such preset"
        raise UserError(f"{source}: {what}{suggestion(str(source), preset_names(), 'presets')}")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: has {path.stat().st_size:,} bytes, more than a study file may have ({MAX_BYTES:,})")
    try:
        content = path.read_bytes()
        encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        text = content.decode(encoding)  # Windows' shells write either, with a mark in front
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(_no_text(path, content, error.start)) from None
    stored = (path.parent / DATABASE).is_file()  # the record of what a study declared: its report says what is wrong
    return parse_study(text, str(path), max_cells, stored=stored)


def is_blank(path: Path) -> bool:
    """Tell whether there is no file, or one that says nothing, as a full disk leaves it."""
    return not path.is_file() or (path.stat().st_size <= MAX_BYTES and not path.read_bytes().strip(b"\0 \t\r\n"))


def parse_study(text: str, place: str, max_cells: int | None = None, *, stored: bool = False) -> StudySpec:
    """Parse and check the TOML of a study.

    Args:
        text: it.
        place: names it in errors.
        max_cells: how many networks it may have; by default 10,000.
        stored: whether it has been run: then its thresholds are as they were declared.

    Raises:
        UserError: naming the place, the key, its value and the fix.
    """
    try:
        _check_depth(text)
        content = tomllib.loads(text)
        _flatten_paths(content)
    except RecursionError:
        raise UserError(f"{place}: is not valid TOML: its brackets or keys are nested too deeply") from None
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{place}: is not valid TOML: {error}") from None
    except ValueError:  # Python's own
        raise UserError(
            f"{place}: holds a number of thousands of digits; write a number that a field can take"
        ) from None
    try:
        study = StudySpec.checked(content)
        check_size(study, max_cells)
        _check(study)
        if not stored:
            check_thresholds(study)
    except ValidationError as error:
        raise UserError(f"{place}: {first_mistake(error, StudySpec)}") from None
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    return study


def _check_depth(text: str) -> None:
    """Refuse keys of very many parts, for which tomllib takes memory that grows with the square of their number.

    Raises:
        RecursionError: as tomllib does where brackets are nested too deeply.
    """
    parts, after_dot = 0, True
    for token in _TOKENS.findall(text):
        if token == ".":
            parts, after_dot = (0 if after_dot else parts + 1), True
        elif token[0] in "\"'" or token[0] in "-_" or token[0].isalnum():
            after_dot = False
        elif not token.isspace() or "\n" in token:
            parts, after_dot = 0, True
        if parts > _MAX_KEY_PARTS:
            raise RecursionError


def write_study(folder: Path, study: StudySpec) -> None:
    """Write ``study.toml`` with every field spelled out."""
    write_atomically(folder / STUDY_FILE, study_text(study))


def study_text(study: StudySpec) -> str:
    """Return a study as TOML, every field spelled out."""
    return tomli_w.dumps(study.model_dump(mode="json", exclude_none=True))


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


def _no_text(path: Path, content: bytes, where: int) -> str:
    """Say what a file that is not text may be, and what it is good for."""
    if content.startswith(b"SQLite format 3"):
        return f"{path}: is a study's database; name its folder, {path.parent}"
    if b"\0" in content or path.suffix != ".toml":
        return f"{path}: is not a study file or folder; of a model of your own only `regulens kernels {path}` draws"
    return f"{path}: line {content.count(10, 0, where) + 1}: is not UTF-8 text; save it as UTF-8"
