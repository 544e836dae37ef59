"""What long work says while it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

OnStep = Callable[[str, int, int], None]
"""Called with what is being done, how often it is done, and how often it will be."""
Item = TypeVar("Item")


def unwatched(what: str, done: int, of: int) -> None:
    """Do nothing: the steps are not watched."""


def stepped(items: Sequence[Item], what: str, on_step: OnStep) -> Iterator[Item]:
    """Yield the items, and say at the start and after each how many are done."""
    on_step(what, 0, len(items))
    for done, item in enumerate(items, 1):
        yield item
        on_step(what, done, len(items))
