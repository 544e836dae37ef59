"""The layers of a Keras file: their names, their kinds, and their order in the network."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from regulens.weights.keras_classes import Configuration, Kind, derived, kind_of, numbered
from regulens.weights.layouts import natural

_CELL = re.compile(r"/(cell|conv_lstm_cell(_\d+)?)$")
"""The layer within a recurrent convolution that has its weights."""


@dataclass(frozen=True)
class Group:
    """The arrays of one group of the file by their own names, and where the file's writer put the first of them."""

    path: str
    arrays: dict[str, Any]
    written: int


@dataclass(frozen=True)
class Layer:
    """A layer as the network has it; ``class_name`` is for notes, ``hint`` is what its user called it."""

    name: str
    kind: Kind
    class_name: str
    hint: str
    arrays: dict[str, Any]
    named: bool
    """Whether its arrays have names of their own."""
    variable: str = ""
    """Where several groups repeat a path of variables, which a layer that models share does: that path."""


StoredName = Callable[[str], str | None]
"""Of a group: the name of its layer, nothing if it has none (before Keras 3.3); None if it is a list of layers."""


def saved_layers(groups: Iterable[Group], config: Configuration, stored_name: StoredName) -> list[Layer]:
    """Return the layers of ``.keras`` and ``.weights.h5`` in the network's order.

    It is that of the configuration. Without one, layers that Keras numbers are in the order of their numbers, which
    all others join in the order of writing: that of a network of ``layers``, of attributes the alphabet's.

    Args:
        groups: those that have arrays.
        config: the model's, which may be empty.
        stored_name: of any group.
    """
    by_path = {group.path.removesuffix("vars").strip("/"): group for group in groups}
    places = _places(by_path, stored_name)
    units: dict[str, tuple[int, int]] = {}
    for path, place in places.items():
        unit = _unit(path, stored_name)
        units[unit] = max(place, units.get(unit, place))

    def order(path: str) -> tuple[float, tuple[int, int], tuple[int, int]]:
        return _configured_place(path, config), units[_unit(path, stored_name)], places[path]

    return [_saved_layer(by_path[path], path, config, stored_name) for path in sorted(by_path, key=order)]


def _places(by_path: Mapping[str, Group], stored_name: StoredName) -> dict[str, tuple[int, int]]:
    """Return where each layer comes in the order of writing, not before one of its series with a lower number."""
    series = _series({path: stored_name(path) or "" for path in by_path})
    written: dict[tuple[str, str], int] = defaultdict(int)
    places = {}
    for path in sorted(by_path, key=lambda each: series[each][1]):
        which, number = series[path]
        written[which] = max(written[which], by_path[path].written)
        places[path] = (written[which], number)
    return places


def _series(names: Mapping[str, str]) -> dict[str, tuple[tuple[str, str], int]]:
    """Return which layers are numbered together, and the number of each.

    The parts of a model that keeps layers as attributes are numbered by the names that Keras derived, in the order in
    which they were made; those of a list of layers by the names of their groups.
    """
    attributes = {scope for path in names for scope in [_scopes(path)[-1]] if scope != path}
    found = {}
    for path, name in names.items():
        scope = next((each for each in _scopes(path) if each in attributes), None)
        number = derived(name) if scope is not None else numbered(path.rpartition("/")[2])
        parent = path.rpartition("/")[0] if scope is None else f"{scope}/"
        found[path] = ((parent, number[0]), number[1]) if number else ((path, ""), 0)
    return found


def _scopes(path: str) -> list[str]:
    """Return the models that a path leads through as ``layers/NAME/layers/NAME``, the outermost first."""
    parts, scopes = path.split("/"), [""]
    for start in range(0, len(parts) - 1, 2):
        if parts[start] != "layers":
            break
        scopes.append("/".join(parts[: start + 2]))
    return scopes


def _unit(path: str, stored_name: StoredName) -> str:
    """Return the layer of the model that a path lies in, whose layers stay together: past lists of layers."""
    parts = path.split("/")
    ends = ("/".join(parts[:length]) for length in range(1, len(parts)))
    return next((end for end in ends if stored_name(end) is not None), path)


def _configured_place(path: str, config: Configuration) -> float:
    while path:
        if path in config.by_group:
            return config.by_group[path].place
        path = path.rpartition("/")[0]
    return math.inf


def _saved_layer(group: Group, path: str, config: Configuration, stored_name: StoredName) -> Layer:
    name, cell = stored_name(path) or "", _CELL.search(path)
    path = _CELL.sub("", path)
    parent, _, own = path.rpartition("/")
    configured = config.by_group.get(path)
    if configured is not None:
        kind, class_name = kind_of(configured.class_name), configured.class_name
    elif parent and stored_name(parent) is None:
        kind, class_name = kind_of(own), numbered(own)[0]  # Keras names the groups of a list after classes
    else:
        kind, class_name = ("recurrent", "") if cell else _told(name, own)
    shown = _shown_name(path, config, stored_name)
    return Layer(shown, kind, class_name, f"{own} {name}", group.arrays, named=False)


def _shown_name(path: str, config: Configuration, stored_name: StoredName) -> str:
    """Return a layer's name within those of the models and lists that it lies in."""
    parts, shown = path.split("/"), []
    for length, part in enumerate(parts, start=1):
        group = "/".join(parts[:length])
        configured = config.by_group.get(group)
        own = configured.name.rpartition("/")[2] if configured is not None else part
        shown.append(stored_name(group) or own)
    return "/".join(name for name, part in zip(shown, parts, strict=True) if part != "layers") or "weights"


def _told(*names: str) -> tuple[Kind, str]:
    """Return what the first of the names that Keras derived says; nothing if all are a user's."""
    for name in names:
        if found := derived(name):
            return kind_of(found[0]), found[0]
    return "", ""


def stated_layers(groups: Iterable[Group], config: Configuration, stated: Mapping[str, int]) -> list[Layer]:
    """Return the layers of the older ``.h5`` in the network's order, which it states.

    Args:
        groups: those that have arrays; the first part of a path is the layer of the model that it is saved with.
        config: the model's, which may be empty.
        stated: the place of each path in the file's own list.
    """
    layers = []
    times = Counter(group.path.partition("/")[2] for group in groups)
    for group in sorted(groups, key=lambda each: (stated.get(each.path, math.inf), natural(each.path))):
        name = _stated_name(group.path, config)
        own = name.rpartition("/")[2]
        if configured := config.named(name):
            kind, class_name = kind_of(configured.class_name), configured.class_name
        else:
            kind, class_name = _told(own)
        variable = group.path.partition("/")[2]
        shared = variable if times[variable] > 1 else ""
        layers.append(Layer(name, kind, class_name, own, group.arrays, named=True, variable=shared))
    return layers


def _stated_name(path: str, config: Configuration) -> str:
    """Return a layer's name below the model's: in its group Keras 3 repeats the whole path, Keras 2 a part of it.

    A layer that was made anew in one session of TensorFlow 1 has a scope of its name and a number.
    """
    saved, *within = _CELL.sub("", path).split("/")
    if _is_layer(saved, config) and len(within) == 1 and re.fullmatch(rf"{re.escape(saved)}_\d+", within[0]):
        return saved
    return "/".join(within[within.index(saved) :] if saved in within else [saved, *within])


def _is_layer(name: str, config: Configuration) -> bool:
    """Tell a convolution from a model that may hold others."""
    configured = config.named(name)
    return derived(name) is not None if configured is None else kind_of(configured.class_name) != "other"
