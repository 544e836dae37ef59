"""Files as text, whatever Unicode they are in."""

from __future__ import annotations

import codecs
from pathlib import Path

from regulens.errors import UserError

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins with the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
MAX_BYTES = 100_000_000
"""How large a table of runs may be; as text it takes up to six times that."""
_OTHER_FORMATS = {
    b"PK\x03\x04": "it is a ZIP archive, as Excel workbooks are",
    b"\xd0\xcf\x11\xe0": "it is an old Excel workbook",
    b"\x1f\x8b": "it is compressed by gzip",
    b"PAR1": "it is a Parquet file",
    b"\x80": "it is a pickle",
    b"SQLite format 3": "it is an SQLite database",
}


def decoded(path: Path) -> str:
    """Return the text of a file in UTF-8, UTF-16 or UTF-32, without its mark.

    Raises:
        UserError: naming the file, and the first line that is not text, with the format that the file is of; or its
            size, if that is beyond ``MAX_BYTES``.
    """
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MAX_BYTES else b""
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if size > MAX_BYTES:
        raise UserError(
            f"{path}: has {size:,} bytes, more than a table of runs may have ({MAX_BYTES:,}); keep one row per run and "
            "the columns that are needed"
        )
    try:
        return content.decode(_encoding(content)).replace("\ufeff", "")  # also the mark of a file that was appended
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        kind = next((f" ({what})" for mark, what in _OTHER_FORMATS.items() if content.startswith(mark)), "")
        raise UserError(f"{path}: line {line}: is not UTF-8 text{kind}; save it as CSV in UTF-8") from None


def _encoding(content: bytes) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    if content[1:2] == b"\0":
        return "utf-16-le"
    return "utf-16-be" if content[:1] == b"\0" else "utf-8-sig"
