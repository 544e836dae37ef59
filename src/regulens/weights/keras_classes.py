"""What a Keras file says of its layers' classes: in its configuration, else in names that Keras derived from them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["ordinary", "depthwise", "separable", "transpose", "recurrent", "other", ""]
"""Of a layer's weights: those of a kind of convolution, of no convolution, or nothing where the file does not tell."""

_DERIVED = re.compile(
    r"((?:separable_|depthwise_)?conv[123]d(?:_transpose)?|conv_lstm(?:[123]d|_cell)|(?:einsum_)?dense|embedding"
    r"|(?:multi_head|group_query)?_?attention|batch_normalization)(?:_(\d+))?"
)
"""Names that Keras gives to layers of its own classes, and the number of the layer among its like."""


@dataclass(frozen=True)
class Configured:
    """A layer in a configuration: its name below the model's, its class, its place in the network."""

    name: str
    class_name: str
    place: int


class Configuration:
    """The layers of a model's configuration, by the group in which ``.keras`` saves them and by their names."""

    def __init__(self, config: Any) -> None:
        found = list(_layers(config, "", ""))
        layers = [(group, Configured(name, kind, place)) for place, (group, name, kind) in enumerate(found)]
        self.by_group = dict(reversed(layers))
        self._by_name = {layer.name: layer for _, layer in reversed(layers)}
        last = Counter(layer.name.rpartition("/")[2] for layer in self._by_name.values())
        self._by_last = {
            name.rpartition("/")[2]: layer
            for name, layer in self._by_name.items()
            if last[name.rpartition("/")[2]] == 1
        }

    def named(self, name: str) -> Configured | None:
        """Return the layer of this name, or the only one whose own name it ends in."""
        return self._by_name.get(name) or self._by_last.get(name.rpartition("/")[2])


def kind_of(class_name: str) -> Kind:
    """Return the kind of a class, also of a user's own that is named after what it is."""
    name = re.sub(r"[\W_]", "", class_name.rpartition(">")[2].lower())
    if not re.search("conv(?!ert)", name):
        return "other"
    kinds: dict[str, Kind] = {
        "lstm": "recurrent",
        "separable": "separable",
        "depthwise": "depthwise",
        "transpose": "transpose",
        "deconv": "transpose",
    }
    return next((kind for part, kind in kinds.items() if part in name), "ordinary")


def derived(name: str) -> tuple[str, int] | None:
    """Return the class, in snake case, and the number in a name that Keras gave itself; None for a user's name."""
    found = _DERIVED.fullmatch(name)
    return (found[1], int((found[2] or "0")[:18])) if found else None


def numbered(name: str) -> tuple[str, int]:
    """Return the class and the number of a group within a list of layers: ``conv2d_2`` is the third ``conv2d``."""
    found = re.fullmatch(r"(.+?)(?:_(\d{1,18}))?", name, re.DOTALL)
    return (found[1], int(found[2] or 0)) if found else (name, 0)


def _layers(config: Any, group: str, name: str) -> Iterator[tuple[str, str, str]]:
    """Walk the layers of a model or layer: each one's group, name, and class."""
    inner = config.get("config") if isinstance(config, dict) else None
    listed = inner.get("layers") if isinstance(inner, dict) else inner  # Keras 1 listed a Sequential's layers alone
    count: Counter[str] = Counter()
    for layer in listed if isinstance(listed, list) else []:
        snake = _snake(_text(layer, "class_name"))
        number = f"_{count[snake]}" if count[snake] else ""
        count[snake] += 1
        yield from _layer(layer, f"{group}layers/{snake}{number}", name + _own_name(layer))


def _layer(config: Any, group: str, name: str) -> Iterator[tuple[str, str, str]]:
    inner = config.get("config") if isinstance(config, dict) else None
    wrapped = inner.get("layer") if isinstance(inner, dict) else None
    if not isinstance(wrapped, dict):
        yield group, name, _text(config, "class_name")
        yield from _layers(config, f"{group}/", f"{name}/")
        return
    class_name, own = _text(wrapped, "class_name"), _own_name(wrapped)
    yield group, name, class_name
    for way in ("forward", "backward"):  # of Bidirectional
        yield f"{group}/{way}_layer", f"{name}/{way}_{own.removeprefix('forward_')}", class_name
    yield from _layer(wrapped, f"{group}/layer", f"{name}/{own}")


def _own_name(config: Any) -> str:
    inner = config.get("config") if isinstance(config, dict) else None
    return _text(inner, "name") or _text(config, "name")


def _text(config: Any, key: str) -> str:
    value = config.get(key) if isinstance(config, dict) else None
    return value if isinstance(value, str) else ""


def _snake(class_name: str) -> str:
    """Return a class's name as Keras writes it in lower case (``keras.src.utils.naming``)."""
    name = re.sub(r"\W+", "", class_name.rpartition(">")[2])
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
