"""CSV files as people have them: read as meant, or refused with an advice that is right."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from regulens.errors import UserError
from regulens.study.own_numbers import analyze
from regulens.study.own_rows import Rows, read_rows

HEADER = "regularizer,seed,y"
RUNS = [("none", 0, 0.81), ("none", 1, 0.82), ("bn", 0, 0.91), ("bn", 1, 0.93)]
COLUMNS = {
    "regularizer": ["none", "none", "bn", "bn"],
    "seed": ["0", "1", "0", "1"],
    "y": ["0.81", "0.82", "0.91", "0.93"],
}


def text(separator: str = ",", header: str = HEADER, first: str = "", last: str = "") -> str:
    lines = [header, *(first + ",".join(map(str, run)) + last for run in RUNS)]
    return "\n".join(lines).replace(",", separator) + "\n"


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str | bytes], Rows]:
    def rows(content: str | bytes) -> Rows:
        path = tmp_path / "runs.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_rows(path, HEADER.split(","))

    return rows


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[..., str]:
    """Return the one line that a file is refused with."""

    def refuse(content: str | bytes, response: str = "y") -> str:
        path = tmp_path / "runs.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(UserError) as caught:
            analyze(path, response=response, factors="regularizer", seed="seed")
        assert "\n" not in str(caught.value)
        return str(caught.value).removeprefix(f"{path}: ")

    return refuse


class TestWhatIsRead:
    @pytest.mark.parametrize(
        "content",
        [
            "sep=;\n" + text(";"),
            '"sep=,"\n' + text(),
            "\ufeffsep=;\r\n" + text(";").replace("\n", "\r\n"),
            "SEP=\\t\n" + text("\t"),
            "sep=^\n" + text("^"),
            "sep=;;;\n" + text(";"),
            "sep=,\n" + text(";"),  # a wrong one
            "\nsep=;\n" + text(";"),
        ],
    )
    def test_a_line_that_names_the_separator_is_no_header(self, content: str, read: Callable[..., Rows]) -> None:
        rows = read(content)
        assert rows.columns == COLUMNS
        assert rows.notes == ()

    @pytest.mark.parametrize(
        "content",
        [
            '# made by "x\n# two, commas, here\n' + text() + "# end\n",
            text().replace("bn,0", "# by the way\nbn,0"),
            "# " + text(),
            "##  " + text(),
            "# date\n#" + text(),
            "% " + text(),
            text(" ", header="# " + HEADER),
            text("   "),
            "\n\n,,\n" + text().replace("\n", "\n,,\n"),
            text("|").replace("y\n", "y\n---|:--|---:\n"),
        ],
    )
    def test_comments_commented_headers_and_blank_lines_are_none(self, content: str, read: Callable[..., Rows]) -> None:
        rows = read(content)
        assert rows.columns == COLUMNS
        assert rows.notes == ()

    @pytest.mark.parametrize("delimiter", [",", " ", ";"])
    def test_what_numpy_saves_with_a_header_is_read(self, delimiter: str, read: Callable[..., Rows]) -> None:
        values = np.array([[0, 0, 0.5], [1, 0, 0.25]])
        saved = io.StringIO()
        np.savetxt(saved, values, delimiter=delimiter, header=delimiter.join(HEADER.split(",")))
        rows = read(saved.getvalue())
        assert np.array_equal([[float(str(value)) for value in column] for column in rows.columns.values()], values.T)

    @pytest.mark.parametrize(
        "content",
        [
            text(header=HEADER + ",", last=","),
            text(last=","),
            text(header=HEADER + ",,"),
            text(header="," + HEADER, first="0,"),
            text(header="#," + HEADER, first="0,"),
        ],
    )
    def test_trailing_separators_and_columns_without_a_name_are_no_fault(
        self, content: str, read: Callable[..., Rows]
    ) -> None:
        rows = read(content)
        assert {name: rows.columns[name] for name in COLUMNS} == COLUMNS

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
    def test_unicode_is_read_with_and_without_marks(self, encoding: str, read: Callable[..., Rows]) -> None:
        assert read(text().encode(encoding)).columns == COLUMNS

    @pytest.mark.parametrize("end", ["\r\n", "\r"])
    def test_all_ends_of_lines_are_read(self, end: str, read: Callable[..., Rows]) -> None:
        assert read(text().replace("\n", end)).columns == COLUMNS

    def test_names_that_begin_with_a_hash_are_names(self, read: Callable[..., Rows]) -> None:
        assert read(text(first="#")).columns["regularizer"] == ["#none", "#none", "#bn", "#bn"]
        assert read(text(first='"#').replace(",0,", '",0,').replace(",1,", '",1,')).columns["regularizer"][0] == "#none"

    @pytest.mark.parametrize(
        ("content", "note"),
        [
            (text() + text(), "repeated headers were skipped: line 6"),
            (text() + "\ufeff" + text(), "repeated headers were skipped: line 6"),
            ("Results of, March\n\n" + text(), "lines above the header were skipped: line 1"),
            (
                text().replace("none,1", "#none,1"),
                "rows that begin with # were read as comments and skipped: line 3",
            ),
        ],
    )
    def test_what_is_passed_over_is_said(self, content: str, note: str, read: Callable[..., Rows]) -> None:
        assert read(content).notes == (note,)

    @pytest.mark.parametrize("mark", ["#", "%", "% ", "//", "!"])
    def test_a_header_behind_a_mark_is_read_between_spaces(self, mark: str, read: Callable[..., Rows]) -> None:
        assert read(mark + text(" ")).columns == COLUMNS

    @pytest.mark.parametrize("separator", [" ", "\t"])
    @pytest.mark.parametrize("start", [0, 1])
    def test_row_numbers_that_the_header_does_not_name_are_passed_over(
        self, separator: str, start: int, read: Callable[..., Rows]
    ) -> None:
        header, *rows = text(separator).splitlines()
        numbered = [f'"{start + row}"{separator}{line}' for row, line in enumerate(rows)]
        assert read("\n".join([header, *numbered])).columns == COLUMNS

    def test_percentages_are_fractions_if_all_have_the_sign(self, tmp_path: Path) -> None:
        path = tmp_path / "runs.csv"
        path.write_text(text().replace("0.", "").replace("\n", " %\n").replace("y %", "y"))
        found = analyze(path, response="y", factors="regularizer", seed="seed")
        assert found.cells["mean"].tolist() == pytest.approx([0.815, 0.92])
        assert "the values of y have percent signs and were divided by 100" in found.warnings


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("value", "words"),
        [
            ("1,121", "y 1,121 may be 1121 or 1.121; write the one that is meant: a comma may separate"),
            ("-1,121", "y -1,121 may be -1121 or -1.121; write"),
            ("0,871", "y 0,871 has a decimal comma; write 0.871"),
            ("12,5", "y 12,5 has a decimal comma; write 12.5"),
            ("8,7E-01", "y 8,7E-01 has a decimal comma; write 8.7E-01"),
            ("1,121.5", "y 1,121.5 has thousands separators; write 1121.5"),
            ("1,234,567", "y 1,234,567 has thousands separators; write 1234567"),
            ("1.121,5", "y 1.121,5 has thousands separators; write 1121.5"),
            ("1.234.567", "y 1.234.567 has thousands separators; write 1234567"),
            ("1 121", "y 1 121 has thousands separators; write 1121"),
            ("1\u202f121,5", "has thousands separators; write 1121.5"),
            ("1'121", "y 1'121 has thousands separators; write 1121"),
            ("81 %", "y 81 % is in percent; write 0.81"),
            ("tensor(0.87, device='cuda:0')", "y \"tensor(0.87, device='cuda:0')\" is non-numeric"),
        ],
    )
    def test_no_advice_about_a_number_is_wrong(self, value: str, words: str, refusal: Callable[..., str]) -> None:
        assert refusal(text().replace("0.82", f'"{value}"')).startswith("line 3: ")
        assert words in refusal(text().replace("0.82", f'"{value}"'))

    def test_a_point_beside_whole_numbers_may_separate_thousands(self, refusal: Callable[..., str]) -> None:
        words = "line 3: y 1.026 may be 1026 or 1.026; write the one that is meant: a point may separate thousands"
        lines = [HEADER, "none,0,985", "none,1,1.026", "bn,0,1.031", "bn,1,990"]
        assert words in refusal("\n".join(lines))

    @pytest.mark.parametrize("word", ["NA", "mean", "Std"])
    def test_a_row_without_a_seed_is_no_run(self, word: str, refusal: Callable[..., str]) -> None:
        said = refusal(text() + f"bn,{word},0.87\n")
        assert said == f'line 6: seed "{word}" is not a seed; delete the row, or give it its seed'

    def test_numbers_without_a_header_are_told_of_between_spaces(self, refusal: Callable[..., str]) -> None:
        assert "its first line holds numbers: name the columns" in refusal("0 0 0.87\n0 1 0.88\n")

    def test_a_decimal_comma_before_a_percent_sign_is_named(self, refusal: Callable[..., str]) -> None:
        said = refusal(text(";").replace("0.", "8,").replace("\n", "%\n").replace("y%", "y"))
        assert "line 2: y 8,81% has a decimal comma; write 8.81%" in said

    def test_a_percent_sign_among_percentages_is_not_to_be_divided(self, refusal: Callable[..., str]) -> None:
        content = text().replace("0.8", "8").replace("0.9", "9").replace("82", "82%")
        assert "82% has a percent sign, others have none; write all with a percent sign, or all" in refusal(content)

    def test_all_errors_are_told_of_in_one_line(self, refusal: Callable[..., str]) -> None:
        content = text().replace("0.81", "x").replace("none,1", ",1").replace("0.93", "nan") + "bn,7\nbn,,0.5\nbn\n"
        assert refusal(content) == (
            'line 2: y "x" is non-numeric; write a number; line 3: regularizer is NaN (an empty field); '
            "line 5: y is NaN (nan); a run that diverged counts: mark it true in a column named with "
            "--collapsed; delete what is no run; "
            "and 3 more errors"
        )

    def test_a_fix_that_helps_several_rows_is_said_once(self, refusal: Callable[..., str]) -> None:
        message = refusal(text() + text().partition("\n")[2])
        assert message.count("is a duplicate of") == 3
        assert message.count("leave one of them out") == 1
        assert message.endswith("; and 1 more error")

    def test_a_column_without_any_number_is_named_with_those_that_have_some(self, refusal: Callable[..., str]) -> None:
        content = text(header=HEADER + ",kind", last=",none").replace("0.93,none", "0.93,l2")
        assert refusal(content, response="kind") == (
            'line 2: column kind is not numeric: "none" here, and 1 other value; numeric columns: y'
        )
        assert "column test has no values" in refusal(text(header=HEADER + ",test", last=","), response="test")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (text() + "seed,regularizer,y\n0,none,0.5\n", "line 6: is a header of other columns; split the file there"),
            (text().replace("bn,", "#bn,"), "line 4: is a comment, or a run whose name begins with #; delete the line"),
            ("regularizer,y,z\nnone,0.5,1\n" + text(), 'no column "seed"'),
            ("regularizer,y\nnone,0.5\n" + text(), 'no column "seed"'),
            ('[{"regularizer": "none"}]', "the file looks like JSON"),
            (text().partition("\n")[2], "its first line holds numbers: name the columns in a line above it"),
            (b"PK\x03\x04\xff", "line 1: is not UTF-8 text (it is a ZIP archive, as Excel workbooks are)"),
            (gzip.compress(b"x", mtime=0), "(it is compressed by gzip)"),
        ],
    )
    def test_what_is_no_table_of_runs_is_named(
        self, content: str | bytes, words: str, refusal: Callable[..., str]
    ) -> None:
        assert words in refusal(content)


def test_a_table_that_is_too_large_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(text())
    monkeypatch.setattr("regulens.study.external.decoding.MAX_BYTES", path.stat().st_size)
    assert len(read_rows(path, ["y"]).names) == 4
    path.write_text(text() + "\n")
    with pytest.raises(UserError, match=r"runs\.csv: has \d+ bytes, more than a table of runs may have"):
        read_rows(path, ["y"])


def test_a_table_of_too_many_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(text())
    monkeypatch.setattr("regulens.study.external.csv_text.MAX_ROWS", 5)  # the header and four runs
    assert len(read_rows(path, ["y"]).names) == 4
    path.write_text(text() + "bn,2,0.92\n")
    with pytest.raises(UserError, match=r"runs\.csv: has more than 5 rows; is it a log"):
        read_rows(path, ["y"])
