"""What pydantic finds wrong in a spec, in one line: the key, its value and the fix, in the words of a study file."""

from __future__ import annotations

import re
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from regulens.errors import shortened, suggestion

_LONGEST_VALUE = 150
_LEVEL_TYPES = {"bool", "int", "float", "str"}
_HOLD_LEVELS = {("factors",), ("also_refit",), ("published",), ("analysis",), ("claims",), ("variations",)}
_PLAIN = (
    (re.compile("^Value error, "), ""),
    (re.compile("^Input should be a valid integer.*"), "must be a whole number"),
    (re.compile("^Input should be a valid number.*"), "must be a number"),
    (re.compile("^Input should be a valid string.*"), "must be a text in quotes"),
    (re.compile("^Input should be a valid boolean.*"), "must be true or false"),
    (re.compile("^Input should be a valid (list|tuple).*"), "must be a list"),
    (re.compile("^Input should be a valid dictionary.*"), "must be a table"),
    (re.compile("^Input should be a finite number.*"), "must be a finite number"),
    (re.compile("^Input should be (?=greater|less)"), "must be "),
    (re.compile("^Input should be "), "must be "),
    (re.compile("^(List|Tuple) should have at least 1 item.*"), "must not be empty"),
    (re.compile("^Dictionary should have at least 1 item.*"), "must not be empty"),
    (re.compile("^String should have at least 1 character.*"), "must not be empty"),
)
OWN_IMAGES = "images of your own cannot be used in studies yet, only known data sets (regulens data list)"
_OWN_IMAGES_KEYS = {"path", "folder", "dir", "directory", "root", "file", "files", "source"}


def plain_message(message: str) -> str:
    """Return what pydantic says is wrong in plain words; what our own validators say stays as it is."""
    for pattern, plain in _PLAIN:
        message = pattern.sub(plain, message)
    return message


def toml_text(value: object) -> str:
    """Write a value as a study file has it, a long one without its middle: texts in double quotes, true, false."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{shortened(value, _LONGEST_VALUE)}"'
    if isinstance(value, list | tuple):
        return shortened(f"[{', '.join(map(toml_text, value))}]", _LONGEST_VALUE)
    return shortened(repr(value), _LONGEST_VALUE)


def above_tables(key: str) -> str:
    """Say where a key of the study itself stands, which TOML takes for one of the table that it is written below."""
    return f"{key} is a top-level key; move it above the first [table]"


def first_mistake(error: ValidationError, owner: type[BaseModel]) -> str:
    """Name the key, its value and the fix; a misspelt key before the required one that it leaves missing.

    Args:
        error: of the validation.
        owner: the spec that was validated.
    """
    problems = sorted(error.errors(), key=lambda problem: problem["type"] == "missing")
    first = problems[0]
    path, of_level = _path_in_file(first["loc"])
    line = _line(first, path, of_level, owner)
    others = {_path_in_file(problem["loc"])[0] for problem in problems} - {path}
    return f"{line} (and {len(others)} more)" if others else line


def _line(problem: Any, path: tuple[int | str, ...], of_level: bool, owner: type[BaseModel]) -> str:
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    given = f"{name} = {toml_text(problem['input'])}"
    match problem["type"]:
        case "extra_forbidden":
            return _unknown_key(path, given, owner)
        case "missing":
            return f"{name} is missing; add it"
    message = _message(problem, path, of_level, owner)
    if not name:
        return message
    return f"{name}: {message}" if isinstance(problem["input"], dict | BaseModel) else f"{given}: {message}"


def _message(problem: Any, path: tuple[int | str, ...], of_level: bool, owner: type[BaseModel]) -> str:
    """Say what a value must be."""
    name = ".".join(map(str, path))
    match problem["type"]:
        case "model_type" | "model_attributes_type":
            return f"must be a table; write its keys below [{name}]"
        case "list_type" if path[0] == "factors" and path[-1] != "regularizer" and path[-1] in owner.model_fields:
            return above_tables(str(path[-1]))
        case "list_type" | "tuple_type" if not isinstance(problem["input"], dict):
            return f"must be a list, such as {name} = [{toml_text(problem['input'])}]"
    return "must be a finite number, a text or true/false" if of_level else plain_message(problem["msg"])


def _unknown_key(path: tuple[int | str, ...], given: str, owner: type[BaseModel]) -> str:
    key, table = str(path[-1]), ".".join(map(str, path[:-1]))
    known = _known_keys(path, owner)
    if table and key in owner.model_fields and key not in known:
        return f"unknown key {given}: {above_tables(key)}"
    if table == "data" and key in _OWN_IMAGES_KEYS:
        return f"unknown key {given}: {OWN_IMAGES}"
    return f"unknown key {given}{suggestion(key, known)}"


def _path_in_file(location: tuple[int | str, ...]) -> tuple[tuple[int | str, ...], bool]:
    """Return the keys that lead to a mistake, and whether it is a level that is of none of the allowed types."""
    of_level = location[:1] in _HOLD_LEVELS and location[-1] in _LEVEL_TYPES
    return (location[:-1] if of_level else location), of_level


def _known_keys(path: tuple[int | str, ...], owner: type[BaseModel]) -> list[str]:
    """Return the fields of the table that an unknown key stands in."""
    for part in path[:-1]:
        inner = _model_in(owner.model_fields[part].annotation) if part in owner.model_fields else None
        owner = inner or owner
    return list(owner.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the spec that a field holds, be it alone, in a list, or optional."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in {list, tuple, Union, UnionType}:
        return next(filter(None, map(_model_in, get_args(annotation))), None)
    return None
