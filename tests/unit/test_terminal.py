import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from regulens.cli.terminal import Terminal
from regulens.errors import DataError, UserError
from regulens.text import NEAREST, nearest_characters, printable

HOSTILE = "a\x1b[31mred\x1b]0;title\x07\r\x9b2J\u202egnp.exe\u2066\u200b\ufeff\ud800b"


def printed(*texts: str, **options: object) -> str:
    out = io.StringIO()
    Terminal(file=out, width=200, **options).print(*texts)
    return out.getvalue()


@pytest.mark.parametrize("text", ["studies/run [draft]", "regulens[pdf]", "[bold]x[/bold]", "[/]", ":smile:", r"\[x]"])
def test_brackets_and_colons_are_printed_as_they_are(text: str) -> None:
    assert printed(text) == text + "\n"
    table = Table(text, box=None, pad_edge=False)
    table.add_row(text)
    out = io.StringIO()
    Terminal(file=out, width=200).print(table)
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [text, text]


def test_no_control_character_reaches_the_terminal() -> None:
    table = Table(HOSTILE, box=None)
    table.add_row(HOSTILE)
    out = io.StringIO()
    console = Terminal(file=out, width=200, force_terminal=True, color_system=None)
    console.print(HOSTILE, soft_wrap=True)
    console.print(table)
    assert not set(out.getvalue()) & set(HOSTILE) - set("a[31mred]0;title2Jgnp.exeb")
    assert out.getvalue().count("gnp.exe") == 3


def test_errors_are_one_printable_line_each() -> None:
    error = DataError(f"{HOSTILE}\nnext", "looked in\n\x1b[2J here")
    assert str(error).isprintable()
    assert len(error.details) == 1
    assert error.details[0].isprintable()


def test_printable_text_keeps_letters_tabs_and_lines_of_every_script() -> None:
    text = "naïve\tδ ±0.5 – 日本語 🙂\nשלום"
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+0.02 [−0.01, +0.03] – 3×3 · 1,024 …", "+0.02 [-0.01, +0.03] - 3x3 . 1,024 ..."),
        ("± 1 ≥ 2 → 3 ≈", "+/- 1 >= 2 -> 3 ~"),
        ("naïve Müller", "naive Muller"),
        ("╭──┬──╮│x│╰━━┴──╯", "+--+--+|x|+--+--+"),
        ("日本 🙂 \ud800", "?? ? ?"),
    ],
)
def test_a_poor_encoding_gets_the_nearest_characters(text: str, expected: str) -> None:
    nearest_characters()
    assert text.encode("ascii", NEAREST).decode("ascii") == expected


def test_latin_1_keeps_what_it_has() -> None:
    nearest_characters()
    assert "×±é – −".encode("latin-1", NEAREST).decode("latin-1") == "×±é - -"


def test_undecodable_bytes_are_not_our_errors_to_hide() -> None:
    nearest_characters()
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("ascii", NEAREST)


class _Gone(io.StringIO):
    """A pipe whose reader has gone."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.descriptor = descriptor

    def fileno(self) -> int:
        return self.descriptor

    def flush(self) -> None:
        raise BrokenPipeError


def test_printing_goes_on_to_nowhere_when_nobody_reads(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        console = Terminal(file=_Gone(log.fileno()))
        console.print("one")
        console.print("two")
        assert str(Path(f"/proc/self/fd/{log.fileno()}").readlink()) == os.devnull


def test_a_command_whose_reader_goes_ends_quietly(tmp_path: Path) -> None:
    script = "from regulens.cli import main; import sys; sys.argv = ['regulens', '--help']; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.wait()
    assert errors == ""


def test_details_do_not_change_what_an_error_is() -> None:
    error = UserError("no data", "looked in a", "looked in b")
    assert str(error) == "no data"
    assert error.details == ("looked in a", "looked in b")
