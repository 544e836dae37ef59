"""What an executor promises: a picklable function over items, events back, in whatever order work ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Started:
    """Work on the item at this index has begun."""

    index: int


@dataclass(frozen=True)
class Progress:
    """What the function reported while it worked on the item at this index."""

    index: int
    payload: Any


@dataclass(frozen=True)
class Done:
    """The function's value for the item at this index."""

    index: int
    value: Any


@dataclass(frozen=True)
class Failed:
    """The function raised, or its process died: ``error`` in one line, ``details`` the traceback."""

    index: int
    error: str
    details: str


Event = Started | Progress | Done | Failed
Report = Callable[[Any], None]


class Executor(Protocol):
    """Runs ``function(item, report)`` once per item and yields events; every item ends in Done or Failed.

    It may serve several calls of ``run``; ``close`` frees what it holds.

    Attributes:
        workers: on how many items it works at once.
    """

    workers: int

    def run(self, function: Callable[[Any, Report], Any], items: Sequence[Any]) -> Iterator[Event]:
        """Yield events as they come; closing the iterator ends all work at once."""
        ...

    def close(self) -> None:
        """End all processes and connections; a closed executor that is run again starts anew."""
        ...
