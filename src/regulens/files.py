"""Names that every file system takes, and writing so that a crash leaves the old file or the new one, never half."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from regulens.errors import UserError

LONGEST_NAME = 100
"""Letters of a file name made of labels at most; what is added for a page or an ending fits in any file system."""
_SHORTEST_PART = 24
_RESERVED = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"
}


def is_reserved(name: str) -> bool:
    """Say whether Windows cannot have a file of this name: a device's, with any ending, or one that ends in a dot."""
    return name.partition(".")[0].rstrip(" ").lower() in _RESERVED or name.endswith((".", " "))


def slug(text: str, among: Iterable[str] = (), longest: int = LONGEST_NAME) -> str:
    """Turn a label into a part of a file name: lower case, digits, dots, dashes, and plus (1e+05 is not 1e-05).

    What cannot be told from its name gets a few digits of its own at the end: a label that is too long, has letters
    of another alphabet, is a device's name on Windows, or looks like another one ``among`` those given.
    """
    short = _plain(text)
    lost = any(letter.isalnum() and not letter.isascii() for letter in text)
    alike = any(other != text and _plain(other) == short for other in among)
    if short and len(short) <= longest and not (lost or alike or is_reserved(short)):
        return short
    short = short.replace(".", "-") if is_reserved(short) else short
    digits = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{short[: longest - 9]}-{digits}".lstrip("-")


def file_name(*parts: str) -> str:
    """Join labels to the name of a file, without its ending, of at most 100 letters: the longest part is cut."""
    slugs = [slug(part) for part in parts]
    while (excess := len("-".join(slugs)) - LONGEST_NAME) > 0:
        place = max(range(len(slugs)), key=lambda each: len(slugs[each]))
        slugs[place] = slug(parts[place], longest=max(_SHORTEST_PART, len(slugs[place]) - excess))
    return "-".join(slugs)


def file_slug(path: Path) -> str:
    """Return what a file is called in the names of others, apart from the files that lie beside it."""
    try:
        beside = {each.stem for each in path.parent.iterdir()}
    except OSError:
        beside = set()
    return slug(path.stem, beside)


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9.+]+", "-", text.lower()).strip("-.")


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write to a temporary name beside ``path``, fsync, rename; missing folders are made.

    Raises:
        UserError: if the disk is full, or nothing may be written there; what was at ``path`` is left as it is.
    """
    try:
        _write(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); {how_to_write(error)}") from None


def how_to_write(error: OSError) -> str:
    """Say what to do about a file that could not be written; no advice loses anything."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "free some space on that disk and give the same command again"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return "make its folder writable"
    return "see to its folder and disk, and give the same command again"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        _fsync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _fsync_folder(folder: Path) -> None:
    """Make the rename itself last; Windows neither needs nor allows it."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
