"""The errors a user may see: one line that names the value, the place and the fix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from numbers import Integral, Real

from regulens.text import printable

_SURE = 0.7
"""``difflib``'s similarity ratio from which a word counts as a misspelling of another: seven letters of ten match."""
_SHORT = 3
"""From this length on, a word with a single wrong letter counts as a misspelling as well."""
_LISTED = 20
_LONGEST_WORD = 300
_LONGEST_LINE = 1200
_DOTTED = re.compile(r"[a-z_]+(\.[a-z_]+)+")


class RegulensError(Exception):
    """A failure that is not the user's mistake; the command line exits with 1.

    Its message is always one line, whatever text of the user's is quoted in it.

    Attributes:
        details: further lines for a reader at a terminal, such as the folders that were looked into.
    """

    def __init__(self, message: str, *details: str) -> None:
        super().__init__(one_line(message))
        self.details = tuple(map(one_line, details))


class UserError(RegulensError):
    """A mistake in the input, said in one line; the command line exits with 2."""


class DataError(UserError):
    """A data set that is absent, damaged or not what it says it is."""


def one_line(text: str) -> str:
    """Return a text as one printable line, without the middle of what is too long to be read."""
    return printable(shortened(" ".join(shortened(word, _LONGEST_WORD) for word in text.split()), _LONGEST_LINE))


def shortened(text: str, longest: int) -> str:
    """Return a text without its middle if it is longer than that."""
    begin, end = longest * 2 // 3, longest // 3 - 1
    return text if len(text) <= longest else f"{text[:begin]}…{text[-end:]}"


def suggestion(word: str, known: Iterable[str], listed: str = "known") -> str:
    """Return ``"; did you mean X?"`` if the word is a known one misspelt, else the list of known words, if any.

    The last part of a dotted or dashed name stands for it, and names in one table are compared by it. A word with
    another number (``l1`` for ``l2``, ``conv3`` for ``conv2``) is another word, not a misspelt one.
    """
    choices = list(known)
    if not choices:
        return ""
    table = word.rpartition(".")[0] + "." if _DOTTED.fullmatch(word) else ""
    compared = {choice.removeprefix(table).casefold(): choice for choice in choices}
    whole = [choice for choice in choices if re.split(r"[.-]", choice)[-1] == word]
    wanted = word.removeprefix(table).casefold()
    close = [
        compared[name]
        for name in difflib.get_close_matches(wanted, compared, n=len(choices), cutoff=0.5)
        if _is_misspelt(name, wanted) and not _differ_in_number(name, wanted)
    ]
    for choice in [*(whole if len(whole) == 1 else []), *close]:
        return f"; did you mean {quoted(choice)}?"
    more = f" and {len(choices) - _LISTED} more" if len(choices) > _LISTED else ""
    return f"; {listed}: {', '.join(map(quoted, choices[:_LISTED]))}{more}"


def quoted(name: str) -> str:
    """Return a name as it stands in a list: in quotes if it holds a comma or begins or ends with a space."""
    return f'"{name}"' if "," in name or name != name.strip() or not name else name


def check_type(value: object, kinds: type | tuple[type, ...], name: str, wanted: str) -> None:
    """Check the type of an argument of the Python interface.

    Raises:
        UserError: naming the argument, what it must be and what was given.
    """
    if not isinstance(value, kinds) or (isinstance(value, bool) and kinds in (Integral, Real)):
        shown = repr(value)
        raise UserError(f"{name} must be {wanted}, got {type(value).__name__} {shown[:60]}{'…' * (len(shown) > 60)}")


def _is_misspelt(word: str, other: str) -> bool:
    compared = difflib.SequenceMatcher(None, word, other)
    slips = sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in compared.get_opcodes() if tag != "equal")
    return compared.ratio() >= _SURE or (slips <= 1 and min(len(word), len(other)) >= _SHORT)


def _differ_in_number(word: str, other: str) -> bool:
    """Return whether two names, without what stands in their parentheses, are the same but for their digits."""
    names = [text.partition("(")[0] for text in (word, other)]
    return names[0] != names[1] and re.sub(r"\d", "", names[0]) == re.sub(r"\d", "", names[1])
