"""Hostile and damaged pickles: nothing of them is run or imported, and what they announce is not believed."""

from __future__ import annotations

import contextlib
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regulens.errors import DataError
from regulens.weights.files import read_kernels

CONV = {"c.weight": torch.ones(2, 1, 2, 2), "c.bias": torch.ones(2)}


def legacy(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def plain(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def arrays(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps({name: tensor.numpy() for name, tensor in content.items()}, 2))


def unicode(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def archive(path: Path, pickled: bytes, *, storage: bytes = bytes(16)) -> Path:
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("a/data.pkl", b"\x80\x02" + pickled + b".")
        target.writestr("a/data/0", storage)
    return path


def tensor(count: int, offset: int, size: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """Return the pickle of a dictionary with one float32 tensor, as torch writes it."""

    def whole(number: int) -> bytes:
        return b"\x8a\x08" + struct.pack("<q", number)

    def numbers(items: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(whole, items)) + b"t"

    storage = (
        b"(" + unicode("storage") + b"ctorch\nFloatStorage\n" + unicode("0") + unicode("cpu") + whole(count) + b"tQ"
    )
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + whole(offset) + numbers(size) + numbers(strides)
    return b"}" + unicode("c.weight") + call + b"\x89NtRs"


CALLS = {
    "os.system": b"cos\nsystem\n(" + unicode("touch ran") + b"tR",
    "posix.mkdir": b"cposix\nmkdir\n" + unicode("ran") + b"\x85R",
    "builtins.eval": b"cbuiltins\neval\n" + unicode("open('ran', 'w')") + b"\x85R",
    "subprocess.Popen": b"csubprocess\nPopen\n" + unicode("touch ran") + b"\x85R",
    "os.system, old": b"(ios\nsystem\n",
    "os.system, object": b"(cos\nsystem\n" + unicode("touch ran") + b"o",
    "os.system, stack": unicode("os") + unicode("system") + b"\x93" + unicode("touch ran") + b"\x85R",
}
QUIET = {
    "getattr": b"cbuiltins\ngetattr\n(cos\npath\n" + unicode("join") + b"tR",
    "torch.load": b"ctorch\nload\n" + unicode("other.pt") + b"\x85R",
    "an import": b"cevil\nthing\n)R",
    "a new object": b"cevil\nThing\n)\x81}b",
    "a state with code": b"cevil\nThing\n)\x81}" + unicode("__setstate__") + b"cos\nsystem\nsb",
    "copyreg": b"ccopyreg\n_reconstructor\n(cevil\nThing\ncbuiltins\nobject\nNtR",
}


class TestCode:
    @pytest.mark.parametrize("name", [*CALLS, *QUIET])
    def test_nothing_is_run_or_imported(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "evil.py").write_text("open('ran', 'w')")
        code = {**CALLS, **QUIET}[name]
        first = tensor(4, 0, (1, 1, 2, 2), (4, 4, 2, 1))
        archive(tmp_path / "w.pt", b"(" + first + code + b"l")
        read_kernels(tmp_path / "w.pt")  # whatever is imported for reading is imported now
        before = set(sys.modules)
        found = read_kernels(tmp_path / "w.pt")
        assert set(sys.modules) == before
        assert not (tmp_path / "ran").exists()
        assert [layer.layer for layer in found.kernels] == ["0.c"] or [layer.layer for layer in found.kernels] == ["c"]
        asked = name.partition(",")[0]
        expected = (f"left out, code that its pickle asks for, which was not run: {asked}",) if name in CALLS else ()
        assert found.notes == expected

    @pytest.mark.parametrize("opcode", [b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00", b"\x97"])
    def test_extensions_and_buffers_from_outside_are_refused(self, tmp_path: Path, opcode: bytes) -> None:
        (tmp_path / "w.pkl").write_bytes(b"\x80\x05" + opcode + b".")
        with pytest.raises(DataError, match="refers to what is outside of it"):
            read_kernels(tmp_path / "w.pkl")


class TestTensors:
    @pytest.mark.parametrize(
        ("count", "offset", "size", "strides", "why"),
        [
            (2**62, 0, (2, 1, 3, 3), (9, 9, 3, 1), "reaches beyond what is stored"),
            (4, 1, (1, 1, 2, 2), (4, 4, 2, 1), "reaches beyond what is stored"),
            (4, 2**62, (1, 1, 1, 1), (1, 1, 1, 1), "reaches beyond what is stored"),
            (4, 0, (2, 1, 1, 1), (2**60, 1, 1, 1), "reaches beyond what is stored"),
            (4, -1, (1, 1, 1, 1), (1, 1, 1, 1), "do not belong together"),
            (4, 3, (2, 1, 1, 1), (-1, 1, 1, 1), "are no whole numbers"),
            (4, 0, (-2, 1, 1, -2), (1, 1, 1, 1), "are no whole numbers"),
            (4, 0, (1, 1, 2, 2), (2, 1), "do not belong together"),
            (4, 0, (2**40, 1, 3, 3), (0, 0, 0, 0), "announces 1,099,511,627,776 x 1 x 3 x 3 numbers"),
        ],
    )
    def test_what_does_not_lie_in_its_storage_is_refused(
        self, tmp_path: Path, count: int, offset: int, size: tuple[int, ...], strides: tuple[int, ...], why: str
    ) -> None:
        archive(tmp_path / "w.pt", tensor(count, offset, size, strides))
        with pytest.raises(DataError, match=why):
            read_kernels(tmp_path / "w.pt")

    def test_a_whole_one_is_read(self, tmp_path: Path) -> None:
        archive(
            tmp_path / "w.pt", tensor(4, 0, (1, 1, 2, 2), (4, 4, 2, 1)), storage=np.arange(4, dtype="<f4").tobytes()
        )
        np.testing.assert_array_equal(read_kernels(tmp_path / "w.pt").kernels[0].weight, [[[[0, 1], [2, 3]]]])

    def test_two_entries_of_one_name_are_refused(self, tmp_path: Path) -> None:
        archive(tmp_path / "w.pt", tensor(4, 0, (1, 1, 2, 2), (4, 4, 2, 1)))
        with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "w.pt", "a") as target:
            target.writestr("a/data/0", bytes(16))
        with pytest.raises(DataError, match="two entries of one name"):
            read_kernels(tmp_path / "w.pt")


def laughs(levels: int) -> bytes:
    """Return lists that each hold the one before twice."""
    return b"]q\0" + b"".join(b"](" + (b"h" + bytes([n])) * 2 + b"eq" + bytes([n + 1]) for n in range(levels))


def long_names(length: int, times: int) -> bytes:
    """Return a dictionary within one whose key is long, of one tensor under many short names."""
    one = tensor(4, 0, (1,), (1,)).removeprefix(b"}" + unicode("c.weight")).removesuffix(b"s") + b"q\1"
    many = b"".join(b"M" + struct.pack("<H", n) + (b"h\1" if n else one) for n in range(times))
    return b"}" + unicode("k" * length) + b"}(" + many + b"us"


def doubled(times: int) -> bytes:
    """Return a tuple of tuples that takes for ever to hash, compare or print, with its place in the memo."""
    return b")" + b"q\x09h\x09\x86" * times + b"q\x09"


def array(dtype_state: bytes) -> bytes:
    dtype = b"cnumpy\ndtype\n" + unicode("f4") + b"\x85R" + dtype_state + b"b"
    content = b"K\x01(K\x01K\x01K\x01K\x01t" + dtype + b"\x89C\x04\0\0\0\0"
    return b"}" + unicode("c.weight") + b"cnumpy.core.multiarray\n_reconstruct\n)R(" + content + b"tbs"


BOMBS = {
    "hashed byte order": array(b"(K\x03" + doubled(99) + b"t"),
    "hashed key": b"}" + doubled(99) + b"K\1s",
    "printed class": b"}" + unicode("c.weight") + doubled(99) + b")Rs",
    "printed storage": b"(" + unicode("storage") + doubled(99) + unicode("0") + unicode("cpu") + b"K\1tQtorch",
    "call of many, often": b"ctorch\nSize\nq\0(" + b"N" * 50_000 + b"tq\1(" + b"h\0h\1R" * 5_000 + b"l",
    "memo": b"}r" + struct.pack("<I", 2**32 - 1),
    "bytes": b"\x8e" + struct.pack("<Q", 2**40) + b"x",
    "bytearray": b"\x96" + struct.pack("<Q", 2**40) + b"x",
    "text": b"\x8d" + struct.pack("<Q", 2**40) + b"x",
    "frame": b"\x95" + struct.pack("<Q", 2**60) + b"}",
    "whole number": b"\x8b" + struct.pack("<i", 2**31 - 1) + b"x",
    "digits": b"I" + b"9" * 100_000 + b"\n",
    "lists": b"]" * 750_000,
    "marks": b"(" * 20_000,
    "deep": b"]" * 20_000 + b"a" * 19_999,
    "laughs": laughs(99),
    "tuples as keys": b"}(K\x01" + b"q\0h\0\x86" * 99 + b"K\x01u",
    "itself": b"]q\0h\0a}q\1" + unicode("a") + b"h\1s\x86",
    "text, encoded often": b"c_codecs\nencode\nq\0" + unicode("x" * 100_000) + b"\x85q\1(" + b"h\0h\1R" * 5_000 + b"l",
    "list, copied often": b"cbuiltins\nlist\nq\0(" + b"N" * 50_000 + b"l\x85q\1(" + b"h\0h\1R" * 5_000 + b"l",
    "long names": long_names(100_000, 5_000),
}


def packed_zeros(path: Path, name: str, shape: tuple[int, ...]) -> None:
    """Write an archive of one array of zeros, which takes a thousandth of them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target, target.open(f"{name}.npy", "w") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for _ in range(4 * int(np.prod(shape)) // 2**20):
            stream.write(bytes(2**20))


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is limited and measured as Linux does")
def test_bombs_do_not_get_the_memory_or_the_time_that_they_ask_for(tmp_path: Path) -> None:
    for place, bomb in enumerate(BOMBS.values()):
        if b"torch" in bomb:
            archive(tmp_path / f"{place}.pt", bomb)
        else:
            (tmp_path / f"{place}.pkl").write_bytes(b"\x80\x04" + bomb + b".")
    packed_zeros(tmp_path / "arrays.npz", "c.weight", (2, 1024, 1024, 16))
    packed_zeros(tmp_path / "predictions.npz", "probabilities", (2**21, 16))
    with zipfile.ZipFile(tmp_path / "predictions.npz", "a") as target:
        for name in ("indices", "labels"):
            with target.open(f"{name}.npy", "w") as stream:
                np.save(stream, np.zeros(1))
    with zipfile.ZipFile(tmp_path / "program.pt", "w") as target:
        constant = tensor(4, 0, (1, 1, 2, 2), (4, 4, 2, 1)).removeprefix(b"}" + unicode("c.weight")).removesuffix(b"s")
        target.writestr("a/data.pkl", b"\x80\x02}.")
        target.writestr("a/constants.pkl", b"\x80\x02" + constant + b"\x85.")
        target.writestr("a/constants/0", bytes(16))
        target.writestr("a/code/net.py", b"torch.conv2d(" * 200_000, zipfile.ZIP_DEFLATED)
    script = """if True:
        import resource, sys
        from pathlib import Path
        from regulens.errors import DataError
        from regulens.training.predictions import load_predictions
        from regulens.weights.files import read_kernels
        from regulens.weights.kernels import allowance
        for path in sorted(Path(sys.argv[1]).iterdir()):
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            limit = taken + allowance(path.stat().st_size)
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
            try:
                load_predictions(path) if path.stem == "predictions" else read_kernels(path)
            except DataError as error:
                if "MemoryError" in str(error) or "\\n" in str(error):
                    print(path.name, error)
    """
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "")


class TestDamage:
    @pytest.mark.parametrize("save", [torch.save, legacy, plain, arrays])
    def test_a_file_cut_off_anywhere_is_refused_or_read(
        self, tmp_path: Path, save: Callable[[Any, Path], None]
    ) -> None:
        save(CONV, tmp_path / "w.pt")
        content = (tmp_path / "w.pt").read_bytes()
        for length in range(0, len(content), max(1, len(content) // 150)):
            attempt(tmp_path / "w.pt", content[:length])

    @pytest.mark.parametrize("save", [torch.save, legacy, plain, arrays])
    def test_flipped_bytes_are_refused_or_read(self, tmp_path: Path, save: Callable[[Any, Path], None]) -> None:
        chance = random.Random(0)
        save(CONV, tmp_path / "w.pt")
        content = (tmp_path / "w.pt").read_bytes()
        for _ in range(150):
            changed = bytearray(content)
            for _ in range(chance.choice([1, 1, 3, 10])):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
            attempt(tmp_path / "w.pt", bytes(changed))

    def test_any_order_of_opcodes_is_refused_or_read(self, tmp_path: Path) -> None:
        chance = random.Random(0)
        opcodes = [b"(", b"}", b"]", b")", b"N", b"K\1", b"q\0", b"h\0", b"a", b"s", b"u", b"e", b"t", b"l", b"R", b"b"]
        opcodes += [b"\x81", b"\x92", b"\x93", b"\x85", b"\x86", b"\x87", b"\x94", b"0", b"1", b"2", b"o", b"Q", b"d"]
        opcodes += [b"\x8f", b"\x90", b"\x91", unicode("state"), unicode("c.weight"), b"cnumpy\ndtype\n", b"\x98"]
        opcodes += [b"ctorch._utils\n_rebuild_tensor_v2\n", b"cnumpy.core.multiarray\n_reconstruct\n"]
        opcodes += [b"ctorch._tensor\n_rebuild_from_type_v2\n", b"ctorch.storage\n_load_from_bytes\n", b"C\1x"]
        for _ in range(400):
            pickled = b"".join(chance.choices(opcodes, k=chance.randrange(1, 40)))
            attempt(tmp_path / "w.pkl", b"\x80\x04" + pickled + b".")


def attempt(path: Path, content: bytes) -> None:
    """Read a file, which may be refused: in one line."""
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        read_kernels(path)
