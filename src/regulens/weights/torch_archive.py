"""The containers of ``torch.save``: zip archives, and the format before version 1.6. Bytes in the file, no objects."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regulens.errors import DataError
from regulens.weights.kernels import readable
from regulens.weights.lazy import BLOCK, Mapped, slices
from regulens.weights.rebuilding import Storage, call, storage_dtype
from regulens.weights.refusing import SAVE_INSTEAD
from regulens.weights.unpickling import Machine, Name, Stream

Persistent = Callable[[Any], Any]

MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")
"""How a file of ``torch.save`` before version 1.6 begins: the pickle of a number."""
_COPIED = 4096
_LOCAL_HEADER = 30
_ENCRYPTED = 0x1
_LETTER_BYTES = 16
_CODE = {
    *("os", "posix", "nt", "subprocess", "sys", "runpy", "importlib", "imp", "shutil", "socket", "webbrowser", "pty"),
    *("ctypes", "commands", "code", "codeop", "multiprocessing", "asyncio", "pip", "ensurepip", "urllib", "requests"),
    *("http", "ftplib", "pickle", "marshal"),
}
_CODE_BUILTINS = {"eval", "exec", "execfile", "compile", "open", "__import__", "input", "breakpoint"}
"""What only an attack calls in a pickle."""


@dataclass(frozen=True, eq=False)
class Reading:
    """The budget of a file's pickles, and the code that they ask for, which is not run."""

    path: Path
    spend: Callable[[int], None]
    code: dict[str, None] = field(default_factory=dict)

    def call(self, function: Name, arguments: Any) -> Any:
        """Return what a call stands for, None where it is not known; note the call of code."""
        module = function.module.partition(".")[0]
        if module in _CODE or (module in {"builtins", "__builtin__"} and function.name in _CODE_BUILTINS):
            self.code[str(function)] = None
        if function.name in {"NumpyArrayWrapper", "NDArrayWrapper"} and module in {"joblib", "sklearn"}:
            raise DataError(f"{self.path}: has joblib's arrays between its pickles; {SAVE_INSTEAD}")
        return call(function, arguments)


class Bytes:
    """Bytes as a stream, of which long parts are not copied."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._place = 0

    def read(self, size: int, /) -> Any:
        """Return up to ``size`` bytes, in place where they are many."""
        found = self._content[self._place : self._place + size]
        self._place += len(found)
        return found if len(found) > _COPIED else bytes(found)

    def readline(self) -> bytes:
        """Return the bytes up to the next line feed."""
        length = _COPIED
        while (end := bytes(self._content[self._place : self._place + length]).find(b"\n")) < 0:
            if self._place + length >= len(self._content):
                end = len(self._content)
                break
            length *= 2
        return bytes(self.read(end + 1))

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._place


class Archive:
    """The stored entries of a zip archive, each checked to lie in the file as it is announced."""

    def __init__(self, path: Path, content: Mapped) -> None:
        self._path = path
        self._file = content
        self._content = memoryview(content)
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        self._entries = {entry.filename: entry for entry in entries}
        if len(self._entries) < len(entries):
            raise DataError(f"{path}: has two entries of one name; it is damaged or forged, fetch it again")
        pickled = [name for name in self._entries if name == "data.pkl" or name.endswith("/data.pkl")]
        self._root = min(pickled, key=len).removesuffix("data.pkl")
        self._checked: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return self._root + name in self._entries

    def program(self, reading: Reading) -> str:
        """Return the text of a TorchScript program, which is only read; of its entries alone some are compressed."""
        texts = []
        with zipfile.ZipFile(self._path) as archive:
            for name, entry in self._entries.items():
                if name.startswith(f"{self._root}code/") and name.endswith(".py"):
                    reading.spend(_LETTER_BYTES * entry.file_size)  # never more than announced: zipfile stops there
                    texts.append(archive.read(entry).decode(errors="replace"))
        return "\n".join(texts)

    def read(self, name: str) -> memoryview:
        """Return an entry's bytes.

        Raises:
            DataError: if it is compressed or its checksum is another.
            ValueError: if it does not lie in the file.
        """
        entry = self._entries[self._root + name]
        if entry.compress_type != zipfile.ZIP_STORED:
            raise DataError(
                f"{self._path}: is compressed within, which torch.save never does; save it anew with torch.save"
            )
        header = self._content[entry.header_offset : entry.header_offset + _LOCAL_HEADER]
        if bytes(header[:4]) != b"PK\x03\x04" or entry.flag_bits & _ENCRYPTED or entry.file_size != entry.compress_size:
            raise ValueError(f"its entry {name} is not as it is announced")
        names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        first = entry.header_offset + _LOCAL_HEADER + names
        found = self._content[first : first + entry.file_size]
        if len(found) != entry.file_size:
            raise ValueError(f"its entry {name} goes on beyond its end")
        if entry.CRC and name not in self._checked and self._checksum(found) != entry.CRC:  # torch may write none
            raise DataError(
                f"{self._path}: the checksum of its entry {readable(name)} differs; it is damaged, fetch it again"
            )
        self._checked.add(name)
        return found

    def _checksum(self, found: memoryview) -> int:
        checksum = 0
        for part in slices(len(found), BLOCK):
            checksum = zlib.crc32(found[part], checksum)
            self._file.release()
        return checksum


def read_pickle(stream: Stream, reading: Reading, persistent: Persistent | None = None) -> Any:
    """Return the object of a pickle, whose tensors may be files of ``torch.save`` themselves."""

    def known(function: Name, arguments: Any) -> Any:
        if function == Name("torch.storage", "_load_from_bytes"):
            [content] = arguments
            return read_legacy(memoryview(content), reading, within=True)
        return reading.call(function, arguments)

    return Machine(stream, known, persistent or _nothing_outside, reading.spend).load()


def _nothing_outside(_: Any) -> Any:
    raise ValueError("refers to what is outside of it")


def read_archive(archive: Archive, name: str, folder: str, reading: Reading) -> Any:
    """Return the object of an entry that is a pickle, whose storages are entries of a folder."""
    big_endian = "byteorder" in archive and bytes(archive.read("byteorder")) == b"big"
    storages: dict[str, Storage] = {}

    def persistent(reference: Any) -> Any:
        _, kind, key, _, count, *_ = _checked(reference)
        if key not in storages:
            storages[key] = Storage(
                storage_dtype(kind), count, lambda: archive.read(f"{folder}/{key}"), big_endian=big_endian
            )
        return storages[key]

    return read_pickle(Bytes(archive.read(name)), reading, persistent)


@dataclass(eq=False)
class _Located:
    """Where the bytes of a storage turn out to be."""

    content: memoryview | None = None

    def read(self) -> memoryview:
        if self.content is None:
            raise ValueError("it is cut off before its tensors")
        return self.content


def read_legacy(content: memoryview, reading: Reading, *, within: bool = False) -> Any:
    """Return the object of the format before version 1.6: five pickles, then the storages' bytes, little-endian.

    Args:
        content: the file's bytes.
        reading: is told what its pickles take and ask for.
        within: whether the file lies within a pickle; files within files within files are refused.
    """
    stream = Bytes(content)
    storages: dict[str, Storage] = {}
    located: dict[str, _Located] = {}

    def persistent(reference: Any) -> Any:
        if isinstance(reference, tuple) and reference and reference[0] == "module":  # a class, with its source code
            return reference[1]
        _, kind, key, _, count, *view = _checked(reference)
        if key not in located:
            located[key] = _Located()
            storages[key] = Storage(storage_dtype(kind), count, located[key].read)
        if view and isinstance(view[0], tuple):
            _, first, seen = view[0]
            return Storage(storages[key].dtype, seen, located[key].read, first=_whole(first))
        return storages[key]

    def pickled(persistent: Persistent = _nothing_outside) -> Any:
        if within:
            return Machine(stream, reading.call, persistent, reading.spend).load()
        return read_pickle(stream, reading, persistent)

    for _ in ("magic number", "version", "system"):
        pickled()
    found = pickled(persistent)
    keys = pickled()
    place = stream.tell()
    for key in keys:
        if not isinstance(key, str) or key not in storages:
            raise ValueError("it lists a storage that no tensor has")
        count = int.from_bytes(content[place : place + 8], "little")
        length = count * storages[key].bytes_each
        located[key].content = content[place + 8 : place + 8 + length]
        place += 8 + length
        if place > len(content):
            raise ValueError("it is cut off within its tensors")
    return found


def _checked(reference: Any) -> tuple[Any, ...]:
    """Return a reference to a storage: ("storage", class, key, device, count), in the older format also its view."""
    if not isinstance(reference, tuple) or len(reference) < 5 or not isinstance(reference[2], str):
        raise ValueError("refers to what is no storage")
    _whole(reference[4])
    return reference


def _whole(count: Any) -> int:
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count < 2**63:
        raise ValueError("a storage's size is no whole number")
    return count
