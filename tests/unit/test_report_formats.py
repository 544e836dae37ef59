"""Markdown, LaTeX and PDF say what the document says, whatever its labels hold."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fpdf import FPDF
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from typer.testing import CliRunner

from regulens.api import Study, analyze, load_study
from regulens.cli.commands import app
from regulens.errors import UserError
from regulens.figures.style import new_figure, save_figure
from regulens.report import render
from regulens.report.content import ReportContent, report_content
from regulens.report.document import Bullets, Document, Figure, Heading, Paragraph, Table
from regulens.report.formats import printer
from regulens.report.formats.latex import escaped as latex_escaped
from regulens.report.formats.latex import latex
from regulens.report.formats.layout import Room, fitted, plain
from regulens.report.formats.markdown import markdown
from regulens.report.formats.pdf import pdf
from regulens.report.formats.printed import printed
from regulens.report.pictures import Picture
from regulens.study.store import open_store
from regulens.study.study_file import STUDY_FILE

HOSTILE = (
    "a_b & 50% $x$ #1 {y} ~z ^w \\cmd <t> | `c` *e* [l](u) ![i](j) \"q\" '' -- ,, – − ± × “q” é ≤ 中 &amp; \n\n end\\"
)
STARTS = (
    "# h",
    "- x",
    "+ x",
    "* x",
    "1. x",
    "12) y",
    "> q",
    "===",
    "---",
    "| a |",
    "[2pt]",
    "~~~",
    "```",
    "<b>",
    "*",
    "%",
)
TEXTS = st.text(st.sampled_from("ab1 ,;-+=#*_`~|[](){}<>!&$%^\\\"'@:/.?\n\t–−±×“”é中\u200b\x07"), max_size=30)


def table(rows: int = 3, **changes: Any) -> Table:
    body = tuple((f"network {number}", "0.5000 (0.4000 to 0.6000)", f"word {number}") for number in range(rows))
    return replace(Table("A table", ("network", "mean", "words"), body, left=(2,), name="cells"), **changes)


def document(*blocks: Any, title: str = "Title", lead: str = "Lead.") -> Document:
    return Document(title, lead, blocks)


@pytest.fixture(scope="module")
def content(finished: Study) -> ReportContent:
    """What the report of a finished study holds, gathered once."""
    found = report_content(finished.spec, finished.folder, open_store(finished.folder))
    assert found is not None
    return found


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    return Picture(save_figure(new_figure(4, 2), tmp_path / "figures", "some-0.1"), "What it shows.")


# Markdown, read back by a parser of CommonMark with GitHub's tables


def parsed(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def words_of(token: Token) -> str:
    """Return the text of a line; any markup in it but emphasis and links is an error."""
    children = token.children or []
    assert {child.type for child in children} <= {
        *(
            "text",
            "strong_open",
            "strong_close",
            "em_open",
            "em_close",
            "link_open",
            "link_close",
            "html_inline",
            "image",
        )
    }
    return "".join(child.content for child in children if child.type == "text")


def read_tables(text: str) -> list[list[list[str]]]:
    tables: list[list[list[str]]] = []
    inside = False
    for token in parsed(text):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type in {"th_open", "td_open"}:
            inside = True
        elif token.type == "inline" and inside:
            tables[-1][-1].append(words_of(token))
            inside = False
    return tables


@settings(deadline=None)
@given(TEXTS)
@example("#")
@example("a #")
@example("1.")
def test_markdown_shows_any_text_literally(text: str) -> None:
    shown = plain(text)
    tokens = parsed(markdown(document(Heading(text), Paragraph(text), title=text, lead=text), Path()))
    assert {token.type for token in tokens} <= {
        *("heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline")
    }
    assert [words_of(token) for token in tokens if token.type == "inline" and token.content] == [shown] * 4 * bool(
        shown
    )


@settings(deadline=None)
@given(st.lists(st.lists(TEXTS, min_size=2, max_size=2), max_size=3), st.sets(st.integers(0, 2)))
def test_a_table_of_any_text_is_read_back_from_markdown(rows: list[list[str]], marked: set[int]) -> None:
    made = Table("c", ("a", "|"), tuple(map(tuple, rows)), marked=tuple(marked))
    [found] = read_tables(markdown(document(made), Path()))
    assert found == [["a", "|"], *([plain(text) for text in row] for row in rows)]


def test_markdown_columns_are_set_as_the_table_says() -> None:
    tokens = parsed(markdown(document(table()), Path()))
    heads = [token.attrs.get("style") for token in tokens if token.type == "th_open"]
    assert heads == ["text-align:left", "text-align:right", "text-align:left"]


@pytest.mark.parametrize("text", STARTS)
def test_no_first_characters_make_a_block_of_a_markdown_paragraph_item_or_note(text: str) -> None:
    blocks = (Paragraph(text), Paragraph("between"), Bullets((Paragraph(text),)), Paragraph(text, "note"))
    tokens = parsed(markdown(document(*blocks), Path()))
    assert [words_of(token) for token in tokens if token.type == "inline"][2:] == [
        text,
        "between",
        text,
        f"Note. {text}",
    ]
    opened = [token.type for token in tokens if token.nesting == 1 and token.type != "paragraph_open"]
    assert opened == ["heading_open", "bullet_list_open", "list_item_open", "blockquote_open"]


def test_markdown_figures_are_files_beside_the_report(tmp_path: Path, picture: Picture) -> None:
    odd = Picture(shutil.copytree(picture.path.parent, tmp_path / "a b(c)") / picture.path.name, "odd")
    tokens = parsed(markdown(document(Figure(picture), Figure(odd)), tmp_path))
    links = [child.attrs["src"] for token in tokens for child in token.children or [] if child.type == "image"]
    assert links == ["figures/some-0.1.png", "a%20b%28c%29/some-0.1.png"]


def test_markdown_paragraphs_link_to_the_runs_they_rest_on() -> None:
    runs = Table("Runs", ("network", "runs"), (("a (1)", "0: x"), ("b", "0: y")), name="runs")
    text = markdown(document(Paragraph("So.", cells=("b", "nowhere")), runs), Path())
    assert "So. (runs: [b](#runs-2))\n" in text
    assert text.count('<a id="runs-2"></a>b |') == text.count("runs-1") == 1


# LaTeX, read back by a reader that knows only what it must


SPELLED = {
    **{f"\\{sign}": sign for sign in "{}%&$#_"},
    **{f"{{{sign}}}": sign for sign in "[]*"},
    "$-$": "−",
    "$\\leq$": "≤",
    "\\allowbreak{}": "",
    "{}": "",
    "\\textbackslash{}": "\\",
    "\\textasciitilde{}": "~",
    "\\textasciicircum{}": "^",
    "\\textasciigrave{}": "`",
    "\\textquotedbl{}": '"',
    "\\textless{}": "<",
    "\\textgreater{}": ">",
    "\\textbar{}": "|",
}
SPELLING = re.compile(
    "|".join(map(re.escape, sorted(SPELLED, key=len, reverse=True))) + r"|\\othersign\{(.)\}\{(\w+)\}"
)


def read_latex(text: str) -> str:
    """Return what a line of LaTeX shows; a sign with a meaning of its own that is left over is an error."""
    bare = SPELLING.sub("", text)
    assert not set(bare) & set('\\{}%&$#_~^<>|"`[]*'), bare
    assert not re.search("--|''|,,", SPELLING.sub(lambda found: "" if found[0] == "\\allowbreak{}" else ".", text))
    for sign, code in SPELLING.findall(text):
        assert not sign or f"{ord(sign):04X}" == code
    return SPELLING.sub(lambda found: found[1] or SPELLED[found[0]], text)


@settings(deadline=None)
@given(TEXTS)
def test_latex_shows_any_text_literally(text: str) -> None:
    assert read_latex(latex_escaped(text)) == unicodedata.normalize("NFC", plain(text))


def test_long_words_may_be_parted_in_latex() -> None:
    digest = "0a3a63c750d670ec" * 4
    assert read_latex(latex_escaped(f"x {digest}.")) == f"x {digest}."
    assert max(map(len, latex_escaped(digest).split("\\allowbreak{}"))) <= 8
    assert latex_escaped("incomprehensibilities") == "incomprehensibilities"


def environments(source: str) -> list[str]:
    """Return the environments of a LaTeX source in their order; braces and environments must be balanced."""
    opened: list[str] = []
    found = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", source):
        if kind == "begin":
            opened.append(name)
            found.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    depth = 0
    for brace in re.sub(r"\\[\\{}]", "", source):
        depth += (brace == "{") - (brace == "}")
        assert depth >= 0
    assert depth == 0
    return found


def body_of(source: str) -> str:
    return source.partition("\\begin{document}")[2]


def read_rows(source: str) -> Iterator[list[list[str]]]:
    """Yield the rows of each table, its head first, as the texts of their cells."""
    for rows in re.findall(r"\\toprule\n(.*?)\\bottomrule", source, re.DOTALL):
        lines = [line for line in rows.split("\n") if line and not re.fullmatch(r"\\\w+", line)]
        yield [re.split(r"(?<!\\)&", re.sub(r" \\\\(\[2pt\])?$", "", line)) for line in lines]


def cell_text(cell: str) -> str:
    cell = re.sub(r"\\hypertarget\{[\w-]+\}\{(.*)\}", r"\1", cell.strip())
    stacked = re.fullmatch(r"\\stacked\{[bt]\}\{(.*)\}", cell)
    lines = (stacked[1] if stacked else cell).split(r" \\ ")
    return " ".join(read_latex(re.sub(r"^\\textbf\{(.*)\}$", r"\1", line)) for line in lines)


def test_a_latex_document_is_balanced_and_complete(tmp_path: Path, picture: Picture) -> None:
    blocks = (
        Heading(HOSTILE),
        Paragraph(HOSTILE, "note"),
        Bullets(tuple(map(Paragraph, STARTS))),
        table(caption=HOSTILE, note=HOSTILE),
        Figure(replace(picture, caption=HOSTILE)),
    )
    source = latex(document(*blocks, title=HOSTILE, lead=HOSTILE), tmp_path)
    body = body_of(source)
    assert source.startswith("% Written by Regulens")
    assert source.endswith("\\end{document}\n")
    expected = ["quote", "itemize", "table", "fitted", "tabular", "minipage", "figure"]
    assert environments(body.replace("\\end{document}", "")) == expected
    assert body.count(latex_escaped(HOSTILE)) == 6
    assert "\\includegraphics{\\detokenize{figures/some-0.1}.png}" in body
    assert not [line for line in body.split("\n") if re.search(r"(?<!\\)%", line)]


@pytest.mark.parametrize("rows", [0, 1, 3, 60])
def test_every_cell_of_a_table_is_read_back_from_latex(rows: int) -> None:
    body = tuple((HOSTILE, start, "0.5 (0.4 to 0.6)") for start in STARTS)[:rows]
    made = table(rows, marked=(0,)) if rows > 3 else Table("c", ("a|b", "", "%"), body, left=(1,), marked=(0,))
    source = latex(document(made), Path())
    assert ("longtable" in environments(body_of(source).replace("\\end{document}", ""))) == (rows > 3)
    for found in read_rows(body_of(source)):
        assert [[cell_text(cell) for cell in row] for row in found if row != found[0]] in (
            [[unicodedata.normalize("NFC", plain(text)) for text in row] for row in made.rows],
            [],  # the head of a long table, once for each page
        )


def test_labels_in_latex_are_unique_and_those_of_tables_say_their_name(tmp_path: Path, picture: Picture) -> None:
    source = latex(document(table(), table(), table(name="50% &"), Figure(picture), Figure(picture)), tmp_path)
    labels = re.findall(r"\\label\{(.*?)\}", source)
    assert labels == ["tab:cells", "tab:cells-2", "tab:50", "fig:some-0.1", "fig:some-0.1-2"]


def test_a_wide_latex_table_stacks_intervals_and_wraps_words() -> None:
    columns = ("network", *["among those that trained"] * 6, "claim")
    made = Table("c", columns, (("a", *["0.5000 (0.4000 to 0.6000)"] * 6, "word " * 30),), left=(7,))
    source = latex(document(made), Path())
    assert "\\stacked{t}{0.5000 \\\\ (0.4000 to 0.6000)}" in source
    assert "\\stacked{b}{among those \\\\ that trained}" in source
    assert re.search(
        r"\\begin\{tabular\}\{@\{\}lrrrrrr>\{\\raggedright\\arraybackslash\}p\{0\.\d+\\linewidth\}@\{\}\}", source
    )


# Widths


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["", "word", "two words", "word " * 9, "0.5 (0.4 to 0.6)"]), min_size=4, max_size=4)
    ),
    st.sets(st.integers(1, 3)),
    st.integers(20, 120),
)
def test_columns_share_the_room_there_is(rows: list[list[str]], left: set[int], room: int) -> None:
    made = Table("c", ("one", "two", "three", "four"), tuple(map(tuple, rows)), left=tuple(left))
    fit = fitted(made, [Room(room, len), Room(room, len, tight=True)])
    assert (sum(fit.widths) <= room + 1e-9) == (fit.excess == 1)
    if fit.place == 0:
        assert fit.widths == fit.natural
    for place, width in enumerate(fit.widths):
        lines = [line for row in fit.lines for line in row[place]]
        assert width <= max(map(len, lines))
        assert width >= max((len(word) for line in lines for word in line.split()), default=0)
        assert place in {0, *left} or width == max(map(len, lines))


# PDF, watched as it is drawn


@dataclass(frozen=True)
class Drawn:
    page: int
    text: str
    left: float
    end: float
    bottom: float
    page_width: float
    page_height: float


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Drawn]:
    """Collect what is written: a cell of a table, a paragraph, a caption."""
    found: list[Drawn] = []
    cell, multi_cell = FPDF.cell, FPDF.multi_cell

    def record(sheet: FPDF, text: str, left: float, width: float, bottom: float) -> None:
        found.append(Drawn(sheet.page, text, left, left + width, bottom, sheet.w, sheet.h))

    def record_cell(sheet: FPDF, w: float, h: float, text: str, **options: Any) -> Any:
        width = sheet.get_string_width(text)
        record(sheet, text, sheet.x + (w - width if options.get("align") == "R" else 0), width, sheet.y + h)
        return cell(sheet, w, h, text, **options)

    def record_lines(sheet: FPDF, w: float, h: Any = None, text: str = "", *rest: Any, **options: Any) -> Any:
        left, before = sheet.x, len(found)
        result = multi_cell(sheet, w, h, text, *rest, **options)
        del found[before:]  # what it calls itself
        if not options.get("dry_run"):
            record(sheet, text, left, w or sheet.w - sheet.r_margin - left, sheet.y)
        return result

    monkeypatch.setattr(FPDF, "cell", record_cell)
    monkeypatch.setattr(FPDF, "multi_cell", record_lines)
    return found


def pages(content: bytes) -> int:
    return len(re.findall(rb"/Type /Page\n", content))


def test_a_pdf_holds_every_word(drawn: list[Drawn], picture: Picture) -> None:
    made = table(3, note="How to read it.", marked=(1,))
    blocks = (
        *(Heading("Section"), Heading("Part", 2), Paragraph("Some words."), Paragraph("Beware.", "note")),
        *(Bullets((Paragraph("First."), Paragraph("Second."))), made, Figure(picture)),
    )
    content = pdf(document(*blocks))
    assert content.startswith(b"%PDF-")
    texts = [line.text for line in drawn]
    expected = ["Title", "Lead.", "Section", "Part", "Some words.", "Note. Beware.", "•", "First.", "•", "Second."]
    expected += ["Table 1. A table", *made.columns, *(text for row in made.rows for text in row), "How to read it."]
    assert texts == [*expected, "Figure 1. What it shows.", "1"]
    assert b"/Subtype /Image" in content


def test_the_same_document_is_the_same_pdf_on_any_day(picture: Picture) -> None:
    made = document(Heading("Section"), table(), Figure(picture))
    content = pdf(made)
    assert content == pdf(made)
    assert re.findall(rb"D:(\d{4})", content) == [b"2000"]


@pytest.mark.parametrize("columns", [2, 5, 9, 40])
def test_a_pdf_table_stays_on_its_page(drawn: list[Drawn], columns: int) -> None:
    rows = tuple(
        (f"depth {row}, dropout(0.1)", *["+0.12 (−0.10 to 0.30)"] * columns, "word " * 20) for row in range(20)
    )
    made = Table("Wide", ("network", *["among those that trained"] * columns, "claim"), rows, left=(columns + 1,))
    pdf(document(Heading("Section"), made, Paragraph("After.")))
    for line in drawn:
        assert line.left >= 17.9
        assert line.end <= line.page_width - 17.9
        assert line.bottom <= line.page_height - 5
    cells = [line for line in drawn if line.text in {"+0.12 (−0.10 to 0.30)", "(−0.10 to 0.30)"}]
    assert len(cells) == 20 * columns
    heading, after = (next(line for line in drawn if line.text == text) for text in ("Section", "After."))
    caption = next(line for line in drawn if line.text.startswith("Table 1."))
    assert heading.page == caption.page
    assert after.page_width < after.page_height
    assert (caption.page_width > caption.page_height) == (columns > 5)


def test_a_pdf_table_over_several_pages_repeats_its_head(drawn: list[Drawn]) -> None:
    content = pdf(document(table(150)))
    of_rows = {line.page for line in drawn if line.text.startswith("network ")}
    assert len(of_rows) > 2
    assert [line.page for line in drawn if line.text == "network"] == sorted(of_rows)
    assert pages(content) == max(of_rows)


def test_a_small_pdf_table_is_kept_on_one_page_with_its_headings(drawn: list[Drawn]) -> None:
    filling = [Paragraph("A line.")] * 33
    pdf(document(*filling, Heading("Section"), Heading("Part", 2), table(8)))
    last = {
        line.page for line in drawn if line.text in {"Section", "Part"} or line.text.startswith(("network", "Table"))
    }
    assert last == {2}
    assert sum(line.page == 1 for line in drawn) == 2 + 33 + 1


def test_pdf_paragraphs_link_to_the_runs_they_rest_on() -> None:
    runs = Table("Runs", ("network", "runs"), (("a", "0: x"), ("b", "0: y")), name="runs")
    assert pdf(document(runs)).count(b"/Subtype /Link") == 0
    assert pdf(document(Paragraph("So.", cells=("b", "a", "nowhere")), runs)).count(b"/Subtype /Link") == 2


# All of them


@pytest.mark.parametrize("format", ["md", "tex", "pdf"])
def test_a_figure_whose_file_has_gone_is_said_to_be_missing(format: Any, tmp_path: Path, drawn: list[Drawn]) -> None:
    print_document = printer(format)
    assert print_document is not None
    content = print_document(document(Figure(Picture(tmp_path / "gone.svg", "What it showed."))), tmp_path)
    text = " ".join(line.text for line in drawn) if isinstance(content, bytes) else content
    assert "The figure gone is missing: What it showed." in text


@pytest.mark.parametrize("format", ["md", "tex", "pdf"])
def test_hostile_labels_and_empty_tables_are_printed(format: Any, tmp_path: Path, drawn: list[Drawn]) -> None:
    print_document = printer(format)
    assert print_document is not None
    runs = Table(HOSTILE, ("a", HOSTILE), ((HOSTILE, HOSTILE), *((start, start) for start in STARTS)), name="runs")
    made = document(Bullets((Paragraph(HOSTILE, cells=(HOSTILE, *STARTS)),)), table(0), runs, title=HOSTILE)
    content = print_document(made, tmp_path)
    if isinstance(content, bytes):
        assert {plain(start) for start in STARTS} <= {line.text for line in drawn}
    elif format == "tex":
        assert [len(rows) for rows in read_rows(content)] == [1, len(runs.rows) + 1]
    else:
        assert [len(rows) for rows in read_tables(content)] == [1, len(runs.rows) + 1]


def test_what_is_printed_says_what_the_page_says_first_and_lists_every_run(
    finished: Study, content: ReportContent
) -> None:
    made = printed(replace(content, notes=("Beware.",)))
    assert made.blocks[0] == Paragraph("Beware.", "note")
    assert made.blocks[1] == Bullets(tuple(map(Paragraph, content.sentences)))
    runs, openings = made.tables()[-2:]
    frame = finished.results()
    for network, group in frame[frame["stage"] == "train"].groupby("network"):
        [row] = [row for row in runs.rows if row[0] == network]
        assert row[1] == ", ".join(f"{run.seed}:{run.run_id[:8]}" for run in group.sort_values("seed").itertuples())
    assert {row[2] for row in openings.rows} == {record.run_id[:8] for record in open_store(finished.folder).ledger()}
    cells = {cell for block in made.blocks if isinstance(block, Paragraph) for cell in block.cells}
    assert cells
    assert cells <= {row[0] for row in runs.rows}


@pytest.mark.parametrize("format", ["md", "tex", "pdf"])
def test_a_study_writes_its_report_in_each_format(
    format: Any, finished: Study, content: ReportContent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "report_content", lambda *_: content)
    page = (finished.folder / "report.html").read_bytes()
    asked = CliRunner().invoke(app, ["report", str(finished.folder), "--format", format])
    path = finished.folder / f"report.{format}"
    assert (finished.folder / "report.html").read_bytes() == page
    assert asked.output == f"report: {path.resolve()}\n"
    if format == "pdf":
        assert path.read_bytes() == pdf(printed(content))
    else:
        text = path.read_text(encoding="utf-8")
        figures = re.findall(r"!\[.*\]\((.*)\)" if format == "md" else r"\\detokenize\{(.*)\}.png", text)
        assert len(figures) == sum(isinstance(block, Figure) for block in content.document.blocks)
        assert all((finished.folder / figure).with_suffix(".png").is_file() for figure in figures)
        assert all(str(row["run_id"])[:8] in text for row in finished.result_rows())
    path.unlink()


def test_the_command_refuses_other_formats(finished: Study) -> None:
    asked = CliRunner().invoke(app, ["report", str(finished.folder), "--format", "docx"])
    assert asked.exit_code == 2
    assert all(f"'{format}'" in asked.output for format in ("html", "md", "tex", "pdf"))


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(UserError, match=r'^no report is written as "word"; known: html, md, tex, pdf, json$'):
        printer("word")


def test_without_fpdf2_the_extra_is_named_before_anything_is_drawn(
    monkeypatch: pytest.MonkeyPatch, finished: Study
) -> None:
    monkeypatch.setitem(sys.modules, "fpdf", None)
    monkeypatch.delitem(sys.modules, "regulens.report.formats.pdf")
    monkeypatch.setattr(render, "report_content", lambda *_: pytest.fail("the figures are drawn"))
    with pytest.raises(UserError, match=r"pip install 'regulens\[pdf\]'$"):
        finished.report("pdf")
    assert printer("md") is markdown


def or_none(value: float) -> Any:
    return None if math.isnan(value) else pytest.approx(value)


def test_json_has_the_numbers_of_the_analysis_and_its_claims(finished: Study, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(finished.folder, folder)
    text = (folder / STUDY_FILE).read_text().replace("claims = []\n", "")
    claim = '[[claims]]\nid = "bn"\ntext = "Batch norm helps."\nkind = "greater"\nfactor = "regularizer"\n'
    (folder / STUDY_FILE).write_text(text + claim + 'a = "batchnorm"\nb = "none"\n')
    study = load_study(folder)
    path = study.report("json")
    assert path == folder / "report.json"
    found = json.loads(path.read_text())
    assert found.keys() == {"cells", "comparisons", "claims", "costs", "effects", "looks", "warnings"}
    assert [cell["n"] for cell in found["cells"]] == [2] * 4
    analysis = study.analysis()
    for each, named in zip(found["comparisons"], analysis.analysis.comparisons, strict=True):
        assert named.result is not None
        assert each["difference"] == or_none(named.result.difference.estimate)
        assert each["verdict"] == named.result.verdict
    (bn,) = found["claims"]
    judged = analysis.claims[0].judged
    assert judged is not None
    assert (bn["id"], bn["verdict"], len(bn["parts"])) == ("bn", judged.verdict, 2)
    assert bn["parts"][0]["difference"] == or_none(judged.parts[0].interval.estimate)


def test_compared_results_can_be_analysed_as_they_are(finished: Study) -> None:
    frame = finished.results(compared=True)
    assert set(frame["stage"]) == {"train"}
    assert len(frame) == 8 < len(finished.results())
    found = analyze(frame, response="val_accuracy", factors=["depth", "regularizer"], seed="seed")
    assert [each["n_a"] for each in found.as_dict()["comparisons"]] == [2, 2]
