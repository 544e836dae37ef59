"""The errors a user may see: one line that names the value, the place and the mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RegulensError(Exception):
    """A failure that is not the user's mistake; the command line exits with 1.

    Its message is always one line, whatever text of the user's is quoted in it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class UserError(RegulensError):
    """A mistake in the input, said in one line; the command line exits with 2."""


class DataError(UserError):
    """A data set that is absent, damaged or not what it says it is."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean X?"`` for the nearest known word, else the list of known words, if any."""
    choices = list(known)
    if not choices:
        return ""
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known: {', '.join(choices)}"
