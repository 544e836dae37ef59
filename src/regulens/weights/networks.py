"""Where the networks are in what a pickle holds: state dicts, modules and programs, however they are nested."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from regulens.weights.kernels import readable
from regulens.weights.layouts import Convolution
from regulens.weights.rebuilding import Array, nothing
from regulens.weights.stored import StoredTensor
from regulens.weights.unpickling import Name, Pairs, Stub

Visit = tuple[tuple[str, ...], Any, bool]

_DEEPEST = 1000
"""Objects within objects; beyond it a file is not a network's."""
_END: Any = (None, None, None)
_MOST_AGAIN = 20
_NAMED_BYTES = 512
_LETTER_BYTES = 4
_SEEN_BYTES = 64
_TRAINING = re.compile(
    r"optimi[sz]er|(^|_)(optims?|opt|amp|grads?|gradients?)($|_)|(^|_)((lr)?sched|(grad)?scalers?($|_))"
    r"|exp_(avg|inf)|square_avg"
    r"|^(momentum|momentum_buffers?|_?buffers)$",
    re.IGNORECASE,
)
"""What checkpoints call the state of the training beside the networks: not of networks, whatever it holds."""
_SCRIPT = "__torch__"
_LEAVES = (".weight", "/weight", ".kernel", "/kernel")
_UNKNOWN = (0, 0, 0, 0)
"""The shape of a weight that is an object: it can be a convolution's."""


@dataclass
class Network:
    """Named tensors that lie together, and the keys that lead to them; ``kinds`` are layers whose class is known.

    ``aside`` tells the state of an optimizer and the like.
    """

    path: tuple[str, ...]
    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    kinds: dict[str, Convolution] = field(default_factory=dict)
    aside: bool = False

    @property
    def convolutional(self) -> bool:
        """Whether any of its tensors can be a convolution's weight."""
        return any(len(tensor.shape) in {3, 4} for name, tensor in self.tensors.items() if _WEIGHT.search(name))

    @property
    def identity(self) -> set[Hashable]:
        """What tells its larger tensors from all others in the file."""
        larger = (tensor for tensor in self.tensors.values() if len(tensor.shape) > 1)
        return {tensor.identity for tensor in larger if tensor.identity is not None}

    @property
    def name(self) -> str:
        """The keys that lead to it."""
        return ".".join(self.path)


_WEIGHT = re.compile(r"(^|[./])(weight|kernel)|parametrizations\.weight\.")


def networks(content: Any, spend: Callable[[int], None]) -> list[Network]:
    """Return what holds tensors in the object of a pickle, in its order; each object is visited once.

    What is met again under other keys stands at the end. ``spend`` is told the bytes that it takes to name them.

    Raises:
        ValueError: if its objects nest without end.
    """
    found: dict[int, Network] = {}
    again: list[Network] = []
    seen: set[int] = set()
    within: list[Iterator[Visit]] = [iter([((), content, False)])]
    while within:
        path, item, aside = next(within[-1], _END)
        if path is None:
            within.pop()
        elif id(item) in seen:
            if id(item) in found and len(again) < _MOST_AGAIN:
                again.append(replace(found[id(item)], path=path))
        elif isinstance(item, Pairs | Stub | list | tuple):
            seen.add(id(item))
            network = _network(path, item, aside, seen, spend)
            spend(_NAMED_BYTES * len(network.tensors) + _SEEN_BYTES)
            if network.tensors:
                found[id(item)] = network
            if not _is_module(item):
                within.append(_children(path, item, aside))
            if len(within) > _DEEPEST:
                raise ValueError(f"its objects nest more than {_DEEPEST} deep")
    return [*found.values(), *again]


def _network(path: tuple[str, ...], item: Any, aside: bool, seen: set[int], spend: Callable[[int], None]) -> Network:
    network = Network(path, aside=aside)
    if _is_module(item):
        _take_module(network, item, seen, spend)
    elif isinstance(item, Pairs):
        network.tensors = {str(key): tensor for key, tensor in _tensors(item)}
    elif not isinstance(item, Stub):
        network.tensors = {str(place): tensor for place, tensor in _tensors(enumerate(item))}
    return network


def _tensors(pairs: Any) -> Iterator[tuple[str | int, StoredTensor]]:
    for key, value in pairs:
        tensor = value.tensor if isinstance(value, Array) else value
        if isinstance(tensor, StoredTensor) and isinstance(key, str | int):
            yield key, tensor
        elif isinstance(value, Stub) and isinstance(key, str) and key.endswith(_LEAVES):
            yield key, StoredTensor(_UNKNOWN, False, nothing, f"an object of another class ({made_by(value)})")


def made_by(stub: Stub) -> str:
    """Return the name of an object's class, or of the function that made it."""
    return readable(str(stub.maker)) if isinstance(stub.maker, Name) else "object"


def _children(path: tuple[str, ...], item: Any, aside: bool) -> Iterator[Visit]:
    """Return what lies within an object: the keys that lead to it, and whether it is of the training's state."""
    if isinstance(item, Stub):
        for part in (item.arguments, item.state, item.pairs, item.elements):
            yield path, part, aside
    elif isinstance(item, Pairs):
        if item.find("param_groups") is not None and item.find("state") is not None:  # an optimizer's state_dict()
            return
        for key, child in item:
            name = str(key) if isinstance(key, str | int) else ""
            yield (*path, name), child, aside or bool(_TRAINING.search(name))
    else:
        for place, child in enumerate(item):
            yield (*path, str(place)) if len(item) > 1 else path, child, aside


def _is_module(item: Any) -> bool:
    """Tell a module of torch by its attributes, a scripted one by its class."""
    state = _state(item)
    if isinstance(item, Stub) and isinstance(item.maker, Name) and item.maker.module.startswith(_SCRIPT):
        return state is not None
    return state is not None and all(isinstance(state.find(key), Pairs) for key in ("_parameters", "_modules"))


def _state(item: Any) -> Pairs | None:
    """Return the attributes of an object; NVIDIA's networks keep them in the argument of a function of theirs."""
    state = item.state if isinstance(item, Stub) else item
    if isinstance(item, Stub) and isinstance(item.maker, Name) and item.maker.name == "_reconstruct_persistent_obj":
        [meta] = item.arguments
        pairs = meta.pairs if isinstance(meta, Stub) else meta
        state = pairs.find("state") if isinstance(pairs, Pairs) else None
    if isinstance(state, tuple) and state:
        state = state[0]
    return state if isinstance(state, Pairs) else None


def _take_module(network: Network, root: Any, seen: set[int], spend: Callable[[int], None]) -> None:
    within: list[Iterator[tuple[tuple[str, ...], Any]]] = [iter([((), root)])]
    while within:
        path, module = next(within[-1], (None, None))
        if path is None:
            within.pop()
        elif not (path and id(module) in seen) and (state := _state(module)) is not None:
            seen |= {id(module), id(state)}
            scripted = state.find("_modules") is None
            name = ".".join(path)
            for pairs in [state] if scripted else [state.find("_parameters"), state.find("_buffers")]:
                for key, tensor in _tensors(pairs) if isinstance(pairs, Pairs) else ():
                    spend(_LETTER_BYTES * len(name))
                    network.tensors[f"{name}.{key}" if name else str(key)] = tensor
            if kind := _kind(module, state):
                network.kinds[name] = kind
            spend(_LETTER_BYTES * len(name) + _SEEN_BYTES)
            within.append(_modules(path, state if scripted else state.find("_modules")))
            if len(within) > _DEEPEST:
                raise ValueError(f"its modules nest more than {_DEEPEST} deep")


def _modules(path: tuple[str, ...], pairs: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, child in pairs if isinstance(pairs, Pairs) else ():
        if isinstance(child, Stub | Pairs) and isinstance(key, str | int):
            yield (*path, str(key)), child


def _kind(module: Any, state: Pairs) -> Convolution | None:
    """Return what a convolution says of itself by its attributes, else what the name of the class does."""
    transposed, groups = state.find("transposed"), state.find("groups")
    if not isinstance(transposed, bool):
        made = module.maker if isinstance(module, Stub) and isinstance(module.maker, Name) else Name("", "")
        name = made.name
        if not re.search(r"Conv(Transpose)?[1-3]d", name):
            return Convolution(other=readable(name)) if made.module.startswith("torch.nn.modules.") else None
        transposed = "Transpose" in name
    known = isinstance(groups, int) and not isinstance(groups, bool) and groups > 0
    return Convolution(transposed, groups if known else None)


def prefixes(found: list[Network]) -> dict[str, str]:
    """Return by each network's name what its layers' names begin with: nothing where only one has convolutions.

    Of several it is what tells them apart, their keys without those that all have in common.
    """
    shown = [network for network in found if network.convolutional]
    bare = {network.path[:-1] for network in shown if network.path and not any("." in name for name in network.tensors)}
    beside = [network for network in found if network.path and network.path[:-1] in bare]
    paths = [network.path for network in [*shown, *beside]]
    common = 0
    while paths and all(len(path) > common and path[common] == paths[0][common] for path in paths):
        common += 1
    return {network.name: ".".join(network.path[common:]) for network in shown}
