"""Reading a pickle without running it: numbers, texts and containers come back, classes and calls as inert records.

A pickle is a program for a small stack machine (the standard library's ``pickletools`` documents each opcode and reads
its argument). This machine imports nothing and calls nothing of the file's: what a name stands for is decided by a
table of the caller's, and every other class, call and object is a ``Stub`` that remembers what it was given.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

_CONTAINER_BYTES = 112
_MEMO_BYTES = 96
_PUSHED_BYTES = 16
"""What an object takes besides its own bytes, in CPython, never less than it does."""
_DEEPEST_MARKS = 10_000
_MOST_STEPS = 10_000_000


class Stream(Protocol):
    """What a pickle is read from."""

    def read(self, size: int, /) -> Any:
        """Return up to ``size`` bytes, as such or as a ``memoryview``."""
        ...

    def readline(self) -> bytes:
        """Return the bytes up to the next line feed."""
        ...

    def tell(self) -> int:
        """Return the place of the next byte."""
        ...


class Name(NamedTuple):
    """A class, function or constant that a pickle names; it is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        """Return the name as Python writes it."""
        return f"{self.module}.{self.name}"


class Pairs(list[tuple[Any, Any]]):
    """A dictionary's keys and values in their order; keys are not hashed or compared, whatever they are."""

    __slots__ = ()

    def find(self, key: str) -> Any:
        """Return the value of a key that is a text, or None."""
        return next((value for known, value in reversed(self) if isinstance(known, str) and known == key), None)


@dataclass(slots=True, eq=False)
class Stub:
    """An object of the file's own: whose class or function made it, of what, and what it was then given."""

    maker: Any
    arguments: Any
    state: Any = None
    pairs: Pairs | None = None
    elements: list[Any] | None = None

    def build(self, state: Any) -> None:
        """Keep a state."""
        self.state = state


class Machine:
    """Runs one pickle on inert objects.

    Args:
        stream: where the pickle begins; it is left behind its end.
        call: returns what a call of a ``Name`` with its arguments stands for, or None for a ``Stub``.
        persistent: returns the object of a persistent id, the pickle's reference to what lies outside of it.
        spend: is told the bytes that objects take, and raises where they are too many.
    """

    def __init__(
        self,
        stream: Stream,
        call: Callable[[Name, Any], Any],
        persistent: Callable[[Any], Any],
        spend: Callable[[int], None],
    ) -> None:
        self._stream = stream
        self._call = call
        self._persistent = persistent
        self._spend = spend
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """Return the pickle's object.

        Raises:
            Exception: of any kind, where the pickle is damaged.
        """
        opcodes = pickletools.genops(self._stream)  # type: ignore[arg-type]  # it reads lines and bytes, and no more
        for steps, (opcode, argument, _) in enumerate(opcodes):
            if opcode.name in _PUSHES:
                self._spend(_PUSHED_BYTES + sys.getsizeof(argument))
                self._stack.append(argument)
            elif opcode.name in _WITH_ARGUMENT:
                _WITH_ARGUMENT[opcode.name](self, argument)
            elif opcode.name not in _IGNORED:
                _STEPS[opcode.name](self)
            if steps > _MOST_STEPS:
                raise ValueError(f"it has more than {_MOST_STEPS:,} objects")
        return self._stack.pop()

    def _push(self, value: Any) -> None:
        self._spend(_PUSHED_BYTES)
        self._stack.append(value)

    def _push_new(self, container: Any) -> None:
        self._spend(_CONTAINER_BYTES)
        self._stack.append(container)

    def _mark(self) -> None:
        if len(self._marked) >= _DEEPEST_MARKS:
            raise ValueError(f"its objects nest more than {_DEEPEST_MARKS:,} deep")
        self._marked.append(self._stack)
        self._stack = []

    def _pop_marked(self) -> list[Any]:
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _pop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_marked()

    def _put(self, place: int | None) -> None:
        self._spend(_MEMO_BYTES)
        self._memo[len(self._memo) if place is None else place] = self._stack[-1]

    def _get(self, place: int) -> None:
        self._push(self._memo[place])

    def _tuple(self, length: int) -> None:
        self._spend(_CONTAINER_BYTES)
        self._stack[-length:] = [tuple(self._stack[-length:])]

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Stub):
            target.elements = target.elements if target.elements is not None else []
            target = target.elements
        if not isinstance(target, list) or isinstance(target, Pairs):
            raise ValueError("appends to what is no list")
        self._spend(_PUSHED_BYTES * len(items))
        target.extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Stub):
            target.pairs = target.pairs if target.pairs is not None else Pairs()
            target = target.pairs
        if not isinstance(target, Pairs):
            raise ValueError("sets items of what is no dictionary")
        self._spend(_CONTAINER_BYTES * (len(items) // 2))
        target.extend(zip(items[::2], items[1::2], strict=True))

    def _dict(self) -> None:
        items = self._pop_marked()
        self._push_new(Pairs())
        self._set_items(items)

    def _name(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("names a class by what is no text")
        self._push_new(Name(module, name))

    def _stack_name(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._name(module, name)

    def _make(self, maker: Any, arguments: Any) -> None:
        made = None
        if isinstance(maker, Name):
            self._spend(_size(arguments))
            self._spend(sum(map(_size, arguments)))  # which the call may copy
            made = self._call(maker, arguments)
        self._push_new(Stub(maker, arguments) if made is None else made)

    def _reduce(self) -> None:
        arguments, maker = self._stack.pop(), self._stack.pop()
        self._make(maker, arguments)

    def _new_with_keywords(self) -> None:
        keywords, arguments, maker = (self._stack.pop() for _ in range(3))
        self._push_new(Stub(maker, arguments, keywords))

    def _object(self) -> None:
        maker, *arguments = self._pop_marked()
        self._make(maker, tuple(arguments))

    def _instance(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._make(Name(module, name), tuple(self._pop_marked()))

    def _build(self) -> None:
        state = self._stack.pop()
        build = getattr(self._stack[-1], "build", None)  # only our own records have one
        if build is not None:
            build(state)

    def _refuse(self, argument: Any) -> None:
        raise ValueError(f"refers to what is outside of it ({argument!r})"[:80])


def _size(argument: Any) -> int:
    if isinstance(argument, str | bytes | bytearray):
        return len(argument)
    return _PUSHED_BYTES * len(argument) if isinstance(argument, list | tuple) else 0


_PUSHES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING"),
    *("SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES"),
    *("BINBYTES8", "BYTEARRAY8"),
}
_IGNORED = {"PROTO", "FRAME", "STOP", "READONLY_BUFFER"}
_WITH_ARGUMENT: dict[str, Callable[[Machine, Any], None]] = {
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), Machine._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Machine._get),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4", "NEXT_BUFFER"), Machine._refuse),
    "GLOBAL": lambda machine, argument: machine._name(*argument.split(" ", 1)),
    "INST": Machine._instance,
    "PERSID": lambda machine, argument: machine._push_new(machine._persistent(argument)),
}
_STEPS: dict[str, Callable[[Machine], None]] = {
    "NONE": lambda machine: machine._push(None),
    "NEWTRUE": lambda machine: machine._push(True),
    "NEWFALSE": lambda machine: machine._push(False),
    "DUP": lambda machine: machine._push(machine._stack[-1]),
    "EMPTY_TUPLE": lambda machine: machine._push(()),
    "TUPLE1": lambda machine: machine._tuple(1),
    "TUPLE2": lambda machine: machine._tuple(2),
    "TUPLE3": lambda machine: machine._tuple(3),
    "TUPLE": lambda machine: machine._push_new(tuple(machine._pop_marked())),
    "EMPTY_LIST": lambda machine: machine._push_new([]),
    "EMPTY_SET": lambda machine: machine._push_new([]),
    "EMPTY_DICT": lambda machine: machine._push_new(Pairs()),
    "LIST": lambda machine: machine._push_new(machine._pop_marked()),
    "FROZENSET": lambda machine: machine._push_new(machine._pop_marked()),
    "DICT": Machine._dict,
    "APPEND": lambda machine: machine._extend([machine._stack.pop()]),
    "APPENDS": lambda machine: machine._extend(machine._pop_marked()),
    "ADDITEMS": lambda machine: machine._extend(machine._pop_marked()),
    "SETITEM": lambda machine: machine._set_items([machine._stack.pop(), machine._stack.pop()][::-1]),
    "SETITEMS": lambda machine: machine._set_items(machine._pop_marked()),
    "MARK": Machine._mark,
    "POP": Machine._pop,
    "POP_MARK": lambda machine: machine._pop_marked().clear(),
    "STACK_GLOBAL": Machine._stack_name,
    "REDUCE": Machine._reduce,
    "NEWOBJ": Machine._reduce,
    "NEWOBJ_EX": Machine._new_with_keywords,
    "OBJ": Machine._object,
    "BUILD": Machine._build,
    "BINPERSID": lambda machine: machine._push_new(machine._persistent(machine._stack.pop())),
}
