"""Text from files, libraries and users, made safe to print."""

from __future__ import annotations

import codecs
import re
import unicodedata

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
"""Control characters but tab and newline, marks that hide or turn around what is beside them, halves of characters."""
_IN_ASCII = str.maketrans(
    {
        "\N{EN DASH}": "-",
        "\N{EM DASH}": "-",
        "\N{MINUS SIGN}": "-",
        "\N{MULTIPLICATION SIGN}": "x",
        "\N{MIDDLE DOT}": ".",
        "\N{HORIZONTAL ELLIPSIS}": "...",
        "\N{PLUS-MINUS SIGN}": "+/-",
        "\N{LESS-THAN OR EQUAL TO}": "<=",
        "\N{GREATER-THAN OR EQUAL TO}": ">=",
        "\N{RIGHTWARDS ARROW}": "->",
        "\N{ALMOST EQUAL TO}": "~",
        "\N{NO-BREAK SPACE}": " ",
        "\N{THIN SPACE}": " ",
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{LEFT DOUBLE QUOTATION MARK}": '"',
        "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
        "\N{BULLET}": "*",
        "\N{REPLACEMENT CHARACTER}": "?",
    }
)
NEAREST = "regulens.nearest"
"""The name of the error handler that ``nearest_characters`` registers."""


def printable(text: str) -> str:
    """Return the text with a replacement character for each that could command a terminal or mislead its reader.

    Escape sequences, bells, carriage returns, bidirectional overrides (CVE-2021-42574), invisible characters and
    unpaired surrogates, as in names of files that are not UTF-8, are replaced; tabs and newlines stay.
    """
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def nearest_characters() -> None:
    """Register the error handler ``NEAREST``, by which text is written in the nearest characters an encoding has."""
    codecs.register_error(NEAREST, _nearest)


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(letter: str) -> str:
    name = unicodedata.name(letter, "")
    if name.startswith("BOX DRAWINGS"):
        return "+" if " AND " in name else "-" if name.endswith("HORIZONTAL") else "|"
    plain = letter.translate(_IN_ASCII)
    if not plain.isascii():  # an accented letter without its accent, a fraction by its digits
        plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return plain or "?"
