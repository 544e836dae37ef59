"""Walking an ONNX model: its graph, the graphs within its nodes, and its functions with their arguments bound."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from regulens.weights.onnx_aside import Aside

DEEPEST = 64
"""Functions within functions and graphs within graphs; beyond it a model is not a network's."""
_MOST_ENTRIES = 100_000
_BYTES_PER_ENTRY = 4
"""Nodes, inputs and outputs, functions written out: as many as the file may hold, and as many more."""
_LONGEST_NAME = 200
_CONVOLUTION = re.compile("conv(?!ert)", re.IGNORECASE)
_STANDARD = {"", "ai.onnx"}


@dataclass(frozen=True)
class Absent:
    """Why a name stands for nothing that is stored."""

    reason: str


@dataclass(frozen=True)
class Argument:
    """A function's input: the name that it was called with, and where that name is known."""

    name: str
    scope: Scope


Source = Any
"""What a name stands for: a TensorProto, the NodeProto that computes it, an ``Argument``, or ``Absent``."""


@dataclass(eq=False)
class Scope:
    """The names that the nodes of one graph or one call of a function can see, and a function's attributes."""

    nodes: Iterable[Any]
    sources: dict[str, Source]
    attributes: dict[str, Any] = field(default_factory=dict)
    outer: Scope | None = None

    def find(self, name: str) -> tuple[Source, Scope]:
        """Return what a name stands for, and the scope in which it does."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.sources:
                return scope.sources[name], scope
            scope = scope.outer
        return Absent("its weight is not in the file"), self

    def attribute(self, node: Any, name: str) -> Any:
        """Return a node's attribute, within a function that of its call where it refers to one; None if absent."""
        found = next((item for item in node.attribute if item.name == name), None)
        return None if found is None else self.resolved(found)

    def resolved(self, attribute: Any) -> Any:
        """Return an attribute, or that of the call which it refers to; None if the call has none."""
        return self.attributes.get(attribute.ref_attr_name) if attribute.ref_attr_name else attribute

    @cached_property
    def users(self) -> dict[str, Any]:
        """The first node that takes each name as an input."""
        return {name: node for node in reversed(list(self.nodes)) for name in node.input if name}


@dataclass(frozen=True)
class Visit:
    """A convolution by its name, where its inputs are known, and the calls that it lies in."""

    node: Any
    scope: Scope
    calls: str

    @property
    def name(self) -> str:
        """Its own name within that of its calls; nothing if it has none."""
        return self.calls + str(self.node.name) if self.node.name else ""


class Walk:
    """The convolutions of a model in the order of its nodes; what is walked is bounded by the file's size."""

    def __init__(self, model: Any, size: int, aside: Aside) -> None:
        self.aside = aside
        self._functions = {_key(each.domain, each.name, each): each for each in model.functions}
        self._left = _MOST_ENTRIES + size // _BYTES_PER_ENTRY
        self._graph = model.graph

    def convolutions(self) -> Iterator[Visit]:
        """Give every node that is a convolution by its name.

        Raises:
            ValueError: if functions or graphs lie too deep in each other, or unfold to far more than the file holds.
        """
        yield from self._visits(self._graph_scope(self._graph, None), "", 0)

    def call(self, node: Any, scope: Scope) -> tuple[Any, Scope] | None:
        """Return the function that a node calls, and its scope with the call's arguments bound; else None."""
        function = self._functions.get(_key(node.domain, node.op_type, node))
        if function is None:
            return None
        self._count(function.node, function.input)
        given = {item.name: scope.resolved(item) for item in node.attribute}
        defaults = {item.name: item for item in function.attribute_proto}
        missing = dict.fromkeys(function.input, Absent("its weight is not given to its function"))
        bound = {inner: Argument(name, scope) for inner, name in zip(function.input, node.input, strict=False) if name}
        sources = {**_outputs(function.node), **missing, **bound}
        return function, Scope(function.node, sources, {**defaults, **given})

    def _visits(self, scope: Scope, calls: str, depth: int) -> Iterator[Visit]:
        if depth > DEEPEST:
            raise ValueError(f"its functions or graphs lie more than {DEEPEST} deep in each other")
        for node in scope.nodes:
            called = self.call(node, scope)
            inner = f"{calls}{node.name or node.op_type}/"[-_LONGEST_NAME:]
            found = False
            if called is not None:
                for visit in self._visits(called[1], inner, depth + 1):
                    found = True
                    yield visit
            if not found and _CONVOLUTION.search(_operation(node)):
                yield Visit(node, scope, calls)
            for graph in _graphs(node, scope):
                yield from self._visits(self._graph_scope(graph, scope), calls, depth + 1)

    def _graph_scope(self, graph: Any, outer: Scope | None) -> Scope:
        self._count(graph.node, graph.input, graph.initializer, graph.sparse_initializer)
        sources: dict[str, Source] = {
            each.name: Absent("its weight is an input of the network") for each in graph.input
        }
        sources |= _outputs(graph.node)
        sources |= {each.values.name: Absent("its weight is stored sparsely") for each in graph.sparse_initializer}
        sources |= {each.name: each for each in graph.initializer}
        return Scope(graph.node, sources, outer.attributes if outer else {}, outer)

    def _count(self, nodes: Iterable[Any], *others: Any) -> None:
        self._left -= sum(map(len, others))
        for node in nodes:
            self._left -= 1 + len(node.input) + len(node.output) + len(node.attribute)
            if self._left < 0:
                raise ValueError("its functions, written out, are far more than the file can hold")


def is_standard(node: Any) -> bool:
    """Tell whether a node is of ONNX's own operations, or of ONNX Runtime's, which add types to some of them."""
    return node.domain in _STANDARD or node.domain == "com.microsoft"


def _key(domain: str, name: str, owner: Any) -> tuple[str, str, str]:
    return ("" if domain in _STANDARD else domain), name, owner.overload


def _operation(node: Any) -> str:
    """Return the name of a node's operation; PyTorch's own have it in an attribute."""
    if node.op_type != "ATen":
        return str(node.op_type)
    return " ".join(item.s.decode(errors="replace") for item in node.attribute if item.name == "operator")


def _outputs(nodes: Iterable[Any]) -> dict[str, Source]:
    return {name: node for node in nodes for name in node.output if name}


def _graphs(node: Any, scope: Scope) -> Iterator[Any]:
    for item in node.attribute:
        attribute = scope.resolved(item)
        if attribute is not None:
            yield from [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
