"""The written report as a LaTeX article with booktabs tables, for pdfLaTeX as for LuaLaTeX."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from regulens.files import slug
from regulens.report.document import Block, Bullets, Document, Figure, Heading, Paragraph, Table
from regulens.report.formats.layout import (
    RUNS,
    Lines,
    Room,
    anchors,
    fitted,
    linked_cells,
    missing_text,
    plain,
    png_of,
    words,
)

_PREAMBLE = r"""% Written by Regulens: pdflatex or lualatex, twice, in this folder.
\documentclass[10pt,a4paper]{article}
\usepackage{iftex}
\ifPDFTeX
  \usepackage[utf8]{inputenc}
  \usepackage[T1]{fontenc}
  \usepackage{textcomp}
\fi
\usepackage{lmodern}
\usepackage[margin=2cm]{geometry}
\usepackage{array,booktabs,longtable}
\usepackage{float}
\usepackage{graphicx}
\usepackage[hidelinks]{hyperref}
\setlength{\parindent}{0pt}
\setlength{\parskip}{6pt plus 2pt}
\setlength{\emergencystretch}{3em}
\setlength{\tabcolsep}{4pt}
\setlength{\belowcaptionskip}{4pt}
\setlength{\LTcapwidth}{\linewidth}
% an estimate above its interval, or a column's head in two lines
\newcommand{\stacked}[2]{\begin{tabular}[#1]{@{}r@{}}#2\end{tabular}}
% a table, shrunk only where it is wider than the page
\newsavebox{\tablebox}
\newenvironment{fitted}{\begin{lrbox}{\tablebox}}{\end{lrbox}%
  \ifdim\wd\tablebox>\linewidth\resizebox{\linewidth}{!}{\usebox{\tablebox}}\else\usebox{\tablebox}\fi}
% a sign that pdfLaTeX does not know: its code point, there and where the font has not got it
\DeclareRobustCommand{\othersign}[2]{%
  \ifPDFTeX\texttt{U+#2}\else\iffontchar\font"#2 #1\else\texttt{U+#2}\fi\fi}
% pictures in their own size, shrunk only where they are wider or higher than the page
\makeatletter
\newcommand{\pagewide}{\ifdim\Gin@nat@width>\linewidth\linewidth\else\Gin@nat@width\fi}
\newcommand{\pagehigh}{\ifdim\Gin@nat@height>0.8\textheight0.8\textheight\else\Gin@nat@height\fi}
\makeatother
\setkeys{Gin}{width=\pagewide,height=\pagehigh,keepaspectratio}
"""

_APART, _BREAK = "\ue000", "\ue001"
"""Between two signs that would become one, and where a long word such as a digest may be parted; no text has them."""
_NAMES = ("leq", "geq", "neq", "approx", "infty", "alpha", "beta", "gamma", "delta", "Delta", "sigma", "mu")
_SIGNS = {
    _APART: "{}",
    _BREAK: r"\allowbreak{}",
    "\\": r"\textbackslash{}",
    **{sign: rf"\{sign}" for sign in "{}%&$#_"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    **{sign: f"{{{sign}}}" for sign in "[]*"},  # bare, the first of a row or an item would begin an argument
    **{sign: rf"$\{name}$" for sign, name in zip("≤≥≠≈∞αβγδΔσμ", _NAMES, strict=True)},
    "−": "$-$",
}
_KNOWN = {chr(code) for code in range(0xA1, 0x17F)} - set("ĦħĸĿŀŉŦŧ") | set("‐–—‘’‚“”„†‡•…‰€™←→‹›")
"""The signs of T1 and TS1, which pdfLaTeX reads as they are."""
_LIGATURES = re.compile("(?<=-)(?=-)|(?<=')(?=')|(?<=,)(?=,)")
_LONG_WORD = re.compile(r"\S{32,}")
_SIZES = ((r"\small", 105), (r"\footnotesize", 118), (r"\scriptsize", 130))
"""Sizes of a table's letters, and how many of them fit beside each other."""
_GAP = 2
"""Letters' width between columns."""
_LONG = 18
"""A table of more rows is broken over pages."""
_COMMANDS = {1: "section", 2: "subsection"}


def latex(document: Document, folder: Path) -> str:
    """Return a document as a complete LaTeX article; its figures are named by their paths from ``folder``."""
    places = anchors(document)
    names: Counter[str] = Counter()
    parts = [_PREAMBLE]
    parts.append(f"\\title{{{escaped(document.title)}}}\n\\author{{}}\n\\date{{}}\n")
    parts.append("\\begin{document}\n\\maketitle\n")
    parts.append(f"{escaped(document.lead)}\n")
    for block in document.blocks:
        parts.append("\n".join(_lines(block, folder, places, names)) + "\n")
    return "\n".join([*parts, "\\end{document}\n"])


def escaped(text: str) -> str:
    """Return text as LaTeX shows it literally."""
    text = _LONG_WORD.sub(lambda word: re.sub(r"(.{8})(?=.)", rf"\1{_BREAK}", word[0]), plain(text))
    return "".join(map(_sign, _LIGATURES.sub(_APART, unicodedata.normalize("NFC", text))))


def _sign(sign: str) -> str:
    if sign in _SIGNS:
        return _SIGNS[sign]
    return sign if sign.isascii() or sign in _KNOWN else rf"\othersign{{{sign}}}{{{ord(sign):04X}}}"


def _lines(block: Block, folder: Path, places: Mapping[str, str], names: Counter[str]) -> Iterator[str]:
    match block:
        case Heading():
            yield f"\\{_COMMANDS[block.level]}{{{escaped(block.text)}}}"
        case Paragraph():
            yield from _paragraph(block, places)
        case Bullets():
            yield r"\begin{itemize}"
            for item in block.items:
                yield r"\item " + _text(item, places)
            yield r"\end{itemize}"
        case Table():
            yield from _table(block, _label(names, f"tab:{slug(block.name)}"), places)
        case Figure():
            yield from _figure(block, folder, names)


def _paragraph(paragraph: Paragraph, places: Mapping[str, str]) -> Iterator[str]:
    if paragraph.kind == "note":
        yield r"\begin{quote}"
        yield r"\textbf{Note.} " + _text(paragraph, places)
        yield r"\end{quote}"
    else:
        yield _text(paragraph, places)


def _text(paragraph: Paragraph, places: Mapping[str, str]) -> str:
    links = [rf"\hyperlink{{{places[label]}}}{{{escaped(label)}}}" for label in linked_cells(paragraph, places)]
    return escaped(paragraph.text) + (rf" {{\footnotesize (runs: {'; '.join(links)})}}" if links else "")


def _figure(figure: Figure, folder: Path, names: Counter[str]) -> Iterator[str]:
    path = png_of(figure.picture)
    if path is None:
        yield f"\\begin{{quote}}\n{escaped(missing_text(figure.picture))}\n\\end{{quote}}"
        return
    file = Path(os.path.relpath(path, folder))
    yield r"\begin{figure}[H]"
    yield r"\centering"
    yield rf"\includegraphics{{\detokenize{{{file.with_suffix('').as_posix()}}}{file.suffix}}}"
    yield rf"\caption{{{escaped(figure.picture.caption)}}}"
    yield rf"\label{{{_label(names, f'fig:{slug(path.stem)}')}}}"
    yield r"\end{figure}"


def _table(table: Table, label: str, places: Mapping[str, str]) -> Iterator[str]:
    size, columns, rows = _set(table, places)
    head = [r"\toprule", rows[0], r"\midrule"]
    caption = rf"\caption{{{escaped(table.caption)}}}\label{{{label}}}"
    note = rf"{{\footnotesize {escaped(table.note)}\par}}" if table.note else ""
    if len(table.rows) > _LONG:
        yield f"{{{size}"
        yield rf"\begin{{longtable}}{{{columns}}}"
        yield caption + r" \\"
        yield from [*head, r"\endfirsthead", *head, r"\endhead", *rows[1:], r"\bottomrule"]
        yield r"\end{longtable}}"
        yield note
        return
    yield from [r"\begin{table}[H]", r"\centering", caption, size]
    yield from [r"\begin{fitted}", rf"\begin{{tabular}}{{{columns}}}"]
    yield from [*head, *rows[1:], r"\bottomrule"]
    yield from [r"\end{tabular}", r"\end{fitted}"]
    if note:
        yield rf"\par\smallskip\begin{{minipage}}{{\linewidth}}{note}\end{{minipage}}"
    yield r"\end{table}"


def _set(table: Table, places: Mapping[str, str]) -> tuple[str, str, list[str]]:
    """Return the size of a table's letters, its columns, and its head and rows."""
    gaps = _GAP * (len(table.columns) - 1)
    sizes = [(*size, tight) for tight in (False, True) for size in (_SIZES if tight else _SIZES[:2])]
    fit = fitted(table, [Room(letters - gaps, len, tight) for _, letters, tight in sizes])
    size, letters, tight = sizes[fit.place]
    columns = [
        rf">{{\raggedright\arraybackslash}}p{{{width / letters:.3f}\linewidth}}"
        if width < fit.natural[place]
        else "l"
        if place in words(table)
        else "r"
        for place, width in enumerate(fit.widths)
    ]
    rows = [
        [_cell(lines, place in table.marked, "b" if place < 0 else "t") for lines in row]
        for place, row in enumerate(fit.lines, -1)
    ]
    if table.name == RUNS:
        for row, texts in zip(rows[1:], table.rows, strict=True):
            row[0] = rf"\hypertarget{{{places[texts[0]]}}}{{{row[0]}}}"
    end = r" \\[2pt]" if tight else r" \\"
    return size, f"@{{}}{''.join(columns)}@{{}}", [" & ".join(row) + end for row in rows]


def _cell(lines: Lines, bold: bool, place: str) -> str:
    texts = [rf"\textbf{{{escaped(line)}}}" if bold else escaped(line) for line in lines]
    return texts[0] if len(texts) == 1 else rf"\stacked{{{place}}}{{" + r" \\ ".join(texts) + "}"


def _label(names: Counter[str], name: str) -> str:
    """Return a label that no other float has."""
    names[name] += 1
    return name if names[name] == 1 else f"{name}-{names[name]}"
