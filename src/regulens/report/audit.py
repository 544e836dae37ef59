"""An audit as a document: which conclusions hold under every variation, and which were about something else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from regulens.files import write_atomically
from regulens.report.document import Block, Bullets, Document, Heading, Paragraph, Table
from regulens.report.render import render_document
from regulens.report.wording import NAMES, percent, unit_of
from regulens.study.audited import Audit, AuditedVariation, audit_of
from regulens.study.claim_results import AnsweredClaim
from regulens.study.declared import declared_analysis
from regulens.study.folder import declare, held_study, own_store

_MARKS = {
    "same": "",
    "flipped": "flipped",
    "no longer decided": "no longer decided",
    "now decided": "now decided",
    "changed": "",
    "undecided before and after": "",
    "not testable": "",
}


AUDIT = "audit.html"


def write_audit(folder: Path) -> Audit:
    """Judge the claims of the study in a folder under its variations, write ``audit.html`` there, return the audit.

    Raises:
        UserError: if the folder holds no study.
    """
    study = held_study(folder)
    store = own_store(study, folder)
    declare(study, store)
    audit = audit_of(study, folder, store.results())
    write_atomically(folder / AUDIT, render_document(audit_document(audit)))
    return audit


def audit_document(audit: Audit) -> Document:
    """Write an audit up."""
    study = audit.study
    lead = (
        f"The claims of study {study.name}, judged again under {len(audit.variations)} variations of what all its "
        "networks share."
    )
    return Document(f"Audit: {study.title or study.name}", lead, tuple(_blocks(audit)))


def _blocks(audit: Audit) -> Iterator[Block]:
    if audit.missing:
        yield Paragraph(f"Not run yet: {', '.join(audit.missing)}.", "note")
    yield Heading("Robustness of the claims")
    yield Bullets(tuple(Paragraph(text) for text in conclusions(audit)))
    yield _verdicts(audit)
    for place, claim in enumerate(audit.claims):
        if claim.judged is not None:
            yield Heading(f"{claim.claim.spec.id}: {claim.claim.spec.text}", 2)
            yield _parts(audit, place)


def conclusions(audit: Audit) -> list[str]:
    """Say for each claim in a sentence what the variations do to it."""
    texts = []
    for place, claim in enumerate(audit.claims):
        name = claim.claim.spec.id
        if claim.judged is None:
            texts.append(f"{name}: not testable here: {claim.reason}.")
            continue
        by_change: dict[str, list[str]] = {}
        for variation in audit.variations:
            by_change.setdefault(variation.claims[place].change, []).append(variation.name)
        text = f"{name}: {claim.judged.verdict} as declared"
        for change in ("flipped", "changed", "no longer decided", "now decided"):
            if change in by_change:
                changed = [each.claims[place] for each in audit.variations if each.claims[place].change == change]
                verdicts = {each.claim.judged.verdict for each in changed if each.claim.judged is not None}
                what = f"{change} ({' or '.join(sorted(verdicts))})" if change in {"changed", "now decided"} else change
                text += f"; {what} under {', '.join(by_change[change])}"
        if not by_change.keys() - {"same", "undecided before and after"}:
            text += "; no variation changes that"
        texts.append(text + ".")
    return texts


def _verdicts(audit: Audit) -> Table:
    rows = [
        (
            variation.text,
            str(variation.seeds),
            *(
                each.claim.judged.verdict + (f", {_MARKS[each.change]}" if _MARKS[each.change] else "")
                if each.claim.judged
                else "–"
                for each in variation.claims
            ),
        )
        for variation in audit.variations
    ]
    declared = tuple(claim.judged.verdict if claim.judged else "not testable" for claim in audit.claims)
    columns = ("variation", "seeds", *(claim.claim.spec.id for claim in audit.claims))
    return Table(
        caption="The verdict on each claim",
        columns=columns,
        rows=(("as declared", str(audit.study.seeds), *declared), *rows),
        note="Flipped: from one decided verdict to one that contradicts it. No longer decided is not that: the "
        f"evidence became too weak. Each row is a family of its own, which errs by at most {percent(_alpha(audit))}; "
        "verdicts hold for what the report of the study says of each claim.",
        left=tuple(range(2, len(columns))),
        marked=(0,),
        name="verdicts",
    )


def _alpha(audit: Audit) -> float:
    """Return what the claims of one variation may err by: their part of 5 %."""
    return 0.05 * declared_analysis(audit.study).claims_share


def _parts(audit: Audit, place: int) -> Table:
    """Return what a claim's parts come to as declared and under each variation, and the shift between the two."""
    rows = []
    claim = audit.claims[place]
    for number, each in enumerate(claim.claim.contrasts):
        unit = unit_of(each.response)
        name = each.label + (f" ({NAMES[each.response]})" if each.response != audit.study.analysis.response else "")
        rows.append((name, "as declared", unit.difference(claim.parts[number].estimate.interval(0.95), word=False), ""))
        rows += [
            (
                name,
                variation.name,
                unit.difference(after.parts[number].estimate.interval(0.95), word=False),
                unit.difference(variation.claims[place].shifts[number].interval, word=False),
            )
            for variation, after in _testable(audit, place)
        ]
    return Table(
        caption="Its parts under each variation",
        columns=("part", "variation", "difference", "claim x variation"),
        rows=tuple(rows),
        note="Exploratory: differences of accuracies in percentage points, with unadjusted 95 % intervals. Claim x "
        "variation: by how much the variation moves the difference, an interaction.",
        left=(1,),
        name=f"parts-{claim.claim.spec.id}",
    )


def _testable(audit: Audit, place: int) -> Iterator[tuple[AuditedVariation, AnsweredClaim]]:
    for variation in audit.variations:
        if variation.claims[place].shifts:
            yield variation, variation.claims[place].claim
