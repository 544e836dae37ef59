"""From a report's content to one self-contained HTML file."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from regulens.files import slug, write_atomically
from regulens.report.content import ReportContent, report_content
from regulens.report.document import Document
from regulens.report.formats import Format, printer
from regulens.report.formats.printed import printed
from regulens.report.networks import Loss
from regulens.report.pictures import Picture
from regulens.spec import StudySpec
from regulens.stats.estimates import Summary
from regulens.study.analysis import analyse_study
from regulens.study.analysis_json import study_analysis_dict
from regulens.study.cost import study_costs
from regulens.study.cost_text import cost_records
from regulens.study.finding import REPORT
from regulens.study.folder import declare, held_study, own_store
from regulens.study.looks import levels, looks_list, note_look
from regulens.study.runner import check_run_files
from regulens.study.store import Store
from regulens.text import printable

MISSING = "–"


@dataclass(frozen=True)
class Written:
    """A report that was written: its path, and what it comes to in a few lines, which the numbers alone have not."""

    path: Path
    answer: tuple[str, ...] = ()


def write_report(folder: Path, format: Format = "html") -> Written | None:
    """Build ``report.html``, or ``.md``, ``.tex``, ``.pdf``, and the figures of a study folder anew; or ``.json``.

    Returns:
        The report, or ``None`` if no run is finished yet.

    Raises:
        UserError: if the folder holds no study, or the format cannot be written here.
        DataError: if a file in it is damaged.
    """
    print_document = printer(format)
    study = held_study(folder)
    store = own_store(study, folder)
    check_run_files(folder, store)
    declare(study, store)
    note_look(store, study)
    if format == "json":
        return _write_numbers(study, folder, store)
    content = report_content(study, folder, store)
    if content is None:
        return None
    path = (folder / REPORT).with_suffix(f".{format}")
    text = print_document(printed(content), folder) if print_document else render(content)
    write_atomically(path, printable(text) if isinstance(text, str) else text)
    return Written(path, content.answer)


def _write_numbers(study: StudySpec, folder: Path, store: Store) -> Written | None:
    """Write ``report.json``: the study's own analysis, as ``regulens analyze`` prints that of other results."""
    results = store.results()
    if not any(result.spec.compared for result in results):
        return None
    found = analyse_study(study, results, folder, *levels(store, study))
    numbers = study_analysis_dict(found)
    numbers["looks"] = looks_list(store)
    numbers["costs"] = cost_records(found.analysis, study_costs(study, results))
    numbers["warnings"] += [f"{deviation.noted_at}: {deviation.text}" for deviation in store.deviations()]
    path = (folder / REPORT).with_suffix(".json")
    write_atomically(path, json.dumps(numbers, indent=1, allow_nan=False))
    return Written(path)


def render(content: ReportContent) -> str:
    """Return the report as HTML, every picture inside it."""
    return _environment().get_template("report.html.jinja").render(content=content)


def render_document(document: Document) -> str:
    """Return a document by itself as HTML, every picture inside it; networks are not linked to."""
    return printable(_environment().get_template("document.html.jinja").render(document=document))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("regulens.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "loss": loss,
        "anchor": lambda label: f"runs-{slug(label)}",
        "mean_sd": mean_sd,
        "span": span,
        "time": lambda stamp: stamp.replace("T", " ").partition("+")[0],
        "biases": lambda values: ", ".join(f"{value:.3f}" for value in values),
    }
    environment.globals["figure"] = figure
    return environment


def number(value: float, digits: int = 4) -> str:
    """Write a number with so many decimals; a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else MISSING


def loss(value: Loss) -> str:
    """Write a median loss, and how many losses are left out of it because they are not finite."""
    left_out = f" ({value.not_finite} not finite)" if value.not_finite else ""
    return number(value.median) + left_out


def mean_sd(summary: Summary, digits: int = 4) -> str:
    """Write ``mean ± sd``, or the mean alone where one run gives no sd."""
    mean = number(summary.mean, digits)
    return f"{mean} ± {number(summary.sd, digits)}" if math.isfinite(summary.sd) else mean


def span(summary: Summary, digits: int = 4) -> str:
    """Write ``smallest to largest``."""
    return f"{number(summary.low, digits)} to {number(summary.high, digits)}"


def figure(picture: Picture, classes: Sequence[str] = ()) -> Markup:
    """Return a figure with its caption, the SVG embedded."""
    data = base64.b64encode(picture.path.read_bytes()).decode()
    return Markup(
        '<figure class="{}"><img alt="{}" src="data:image/svg+xml;base64,{}"><figcaption>{}</figcaption></figure>'
    ).format(" ".join(classes), picture.caption, data, picture.caption)
