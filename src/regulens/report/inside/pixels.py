"""Which pixels the networks of a study decide by: the report's maps, how far they are to be trusted, and mistakes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regulens.figures.attribution import error_text
from regulens.interpret.attribution import METHODS
from regulens.interpret.faithfulness import SANITY_THRESHOLD, Curves
from regulens.report.document import Block, Figure, Heading, Paragraph, Table
from regulens.report.inside.explaining import (
    mistakes_of,
    picture_of_agreement,
    picture_of_faithfulness,
    pictures_of_maps,
)
from regulens.report.inside.maps import (
    RANDOMISED,
    Explained,
    Question,
    SeedAgreement,
    agreements,
    explain,
    has_captum,
    random_maps,
    usable_methods,
)
from regulens.report.inside.pictures import Scene, chosen_text, scene_of, two
from regulens.report.inside.scene import Network, dataset_subject, networks_of, runs_by_cell
from regulens.report.pictures import FIGURES
from regulens.report.wording import DASH, counted
from regulens.results import RunResult
from regulens.spec import StudySpec
from regulens.stats.intervals import Interval, mover_difference
from regulens.stats.pairs import within_mean
from regulens.study.runner import run_folder
from regulens.study.store import Selection
from regulens.study.table import is_collapsed
from regulens.training.predictions import PREDICTIONS

_KINDS = ("seeds", "randomised")
BY_CELL = ("gradient", "grad_cam")
"""The methods by which all networks' seeds are compared: those that take a single pass."""


def pixel_blocks(
    study: StudySpec, folder: Path, results: Sequence[RunResult], selections: Sequence[Selection]
) -> list[Block]:
    """Show which pixels speak for a class, whether maps are faithful, whether seeds agree, and the surest mistakes."""
    head = Heading("Attribution maps", 2)
    if not has_captum():
        text = "Captum is not installed (pip install 'regulens[explain]'): attribution maps are not shown."
        return [head, Paragraph(text)]
    scene = scene_of(study, folder, results, selections)
    if isinstance(scene, str):
        return [head, Paragraph(scene)]
    return [head, *_explained(study, folder, results, scene), *_mistakes(scene, folder)]


def _explained(study: StudySpec, folder: Path, results: Sequence[RunResult], scene: Scene) -> Iterator[Block]:
    out = folder / FIGURES
    methods, left_out = usable_methods([scene.network])
    indices = (scene.index, *(each for each in scene.by_class if each != scene.index))
    labels = scene.dataset.labels[list(indices)].astype(np.int64)
    question = Question(scene.dataset.images[list(indices)], labels, methods)
    seeds = _trained(study, folder, results, scene, scene.cell)
    random = random_maps(scene.network, question, max(len(seeds), RANDOMISED))
    found = explain(scene.network, question, random)
    agreement = agreements(seeds, question, random) if len(seeds) > 1 else {}
    subject = dataset_subject(scene.index, scene.dataset, [scene.network])
    name = scene.dataset.class_names[labels[0]]
    yield Paragraph(" ".join([chosen_text(scene), *(f"{line}." for line in left_out)]))
    yield from map(Figure, pictures_of_maps([found], subject, name, out, scene.dataset.class_names))
    yield Paragraph(_trust_text(found, agreement, len(indices)))
    yield _trust_table(found, agreement, len(indices), len(seeds))
    if found.faithfulness.methods:
        yield Figure(picture_of_faithfulness(found, f"mean of {counted(len(indices), 'image')}", "mean", out))
    if agreement:
        first = {method: by_image[0] for method, by_image in agreement.items()}
        yield Figure(picture_of_agreement(first, seeds, subject, name, out, class_names=scene.dataset.class_names))
        yield from _by_cell(study, folder, results, scene, replace(question, methods=_single_pass(methods)))
    else:
        yield Paragraph(f"Fewer than two runs of {scene.cell} trained: agreement of seeds cannot be measured.")


def _trust_text(found: Explained, agreement: dict[str, list[SeedAgreement]], images: int) -> str:
    better = [METHODS[method].title for method in found.faithfulness.methods if _beats_all(found, method)]
    alike = [METHODS[method].title for method, each in found.sanity.items() if each.usable.size and not each.passed]
    text = (
        f"Over {counted(images, 'image')} (that one, and of each class the one classified correctly with the class's "
        "median confidence), on average "
        f"{_listed(better) or 'no method'} {'do' if len(better) > 1 else 'does'} better than every one of "
        f"{counted(len(found.faithfulness.random), 'random order')} in both deletion and insertion"
    )
    if alike:
        text += f"; {_listed(alike)} {'are' if len(alike) > 1 else 'is'} nearly unchanged with random weights"
    return f"{text}. {_agreement_text(agreement)}".strip()


def _agreement_text(agreement: dict[str, list[SeedAgreement]]) -> str:
    """Say in which methods seeds agree more or less than random weights do, where an interval over runs tells."""
    if not agreement:
        return ""
    known = {
        METHODS[method].title: difference
        for method, rows in agreement.items()
        if math.isfinite((difference := mover_difference(*(_agreed(rows, kind) for kind in _KINDS))).low)
    }
    if not known:
        return "There are too few runs for an interval of the agreement of seeds: the table describes these runs only."
    kinds = {
        "more alike than those of networks with random weights in": [n for n, each in known.items() if each.low > 0],
        "less alike than those in": [n for n, each in known.items() if each.high < 0],
        "not conclusively different from those in": [n for n, each in known.items() if each.low <= 0 <= each.high],
    }
    said = [f"{words} {_listed(names)}" for words, names in kinds.items() if names]
    return f"By unadjusted 95 % intervals over runs, the maps of seeds are {'; '.join(said)}."


def _trust_table(found: Explained, agreement: dict[str, list[SeedAgreement]], images: int, seeds: int) -> Table:
    rows = []
    followed = found.faithfulness
    for method in found.maps:
        curves = followed.methods.get(method)
        deletion, insertion = (_areas(curves, kind) for kind in ("deletion", "insertion"))
        agreed = [_interval_text(_agreed(agreement[method], kind)) if agreement else DASH for kind in _KINDS]
        rows.append((METHODS[method].title, deletion, insertion, two(found.sanity[method].mean), *agreed))
    if followed.random:
        deletions, insertions = followed.random_deletion_areas.mean(1), followed.random_insertion_areas.mean(1)
        rows.append(("random orders", _span(deletions), _span(insertions), DASH, DASH, DASH))
    what = f"Faithfulness and sanity checks of the maps of {found.network.label}"
    return Table(
        caption=f"{what}: means over {counted(images, 'image')}",
        columns=("method", "deletion", "insertion", "random weights", "seeds agree", "random weights agree"),
        rows=tuple(rows),
        note="Deletion (low is good) and insertion (high is good): AUC of the class's probability; "
        "mean and range over random orders, for a method those of pixels of equal importance. Random weights: "
        "rank correlation with the maps of networks with random weights, nearly unchanged from "
        f"{SANITY_THRESHOLD:g} on. "
        f"Agreement: mean rank correlation of all pairs of {counted(seeds, 'non-collapsed seed')}, with 95 % intervals "
        "over runs from three runs on. A constant map is left out of correlations and followed in random "
        f"orders.{_completeness_text(found)}",
        name="trust-in-maps",
    )


def _completeness_text(found: Explained) -> str:
    if found.completeness is None:
        return ""
    worst = error_text(float(found.completeness.error.max()))
    return f" The sums of integrated gradients are off by at most {worst} of the logits' differences."


def _by_cell(
    study: StudySpec, folder: Path, results: Sequence[RunResult], scene: Scene, question: Question
) -> Iterator[Block]:
    rows = []
    for cell in runs_by_cell(study, folder, results):
        seeds = _trained(study, folder, results, scene, cell)
        if len(seeds) > 1:
            found = agreements(seeds, question)
            values = (_interval_text(_agreed(found[each], kind)) for each in question.methods for kind in _KINDS)
            rows.append((cell, str(len(seeds)), *values))
    if len(rows) < 2:
        return
    titles = [METHODS[method].title for method in question.methods]
    yield Table(
        caption=f"Agreement of attribution maps across seeds: means over {counted(len(question.pixels), 'image')}",
        columns=("network", "seeds", *(each for title in titles for each in (title, "random weights"))),
        rows=tuple(rows),
        note="The same images and classes for all networks; mean rank correlation of all pairs of non-collapsed seeds, "
        "and of as many networks with random weights, with 95 % intervals over runs (jackknife) from three runs on.",
        name="agreement-by-network",
    )


def _mistakes(scene: Scene, folder: Path) -> Iterator[Block]:
    if not (run_folder(folder, scene.network.run.run_id) / PREDICTIONS).is_file():
        yield Paragraph(f"The predictions of {scene.network.label} are lost: its mistakes are not shown.")
        return
    found = mistakes_of(scene.network, folder, folder / FIGURES, dataset=scene.dataset)
    if found is None:
        yield Paragraph(f"{scene.network.label} makes no mistake on validation.")
        return
    sure = [each.predicted_probability for each in found.mistakes]
    yield Paragraph(
        f"{scene.network.label} is wrong on {found.errors:,} of {found.images:,} validation images. "
        f"In the most confident errors ({counted(len(sure), 'image')}) the wrong class has probability "
        f"{min(sure):.3f} to {max(sure):.3f}."
    )
    yield from map(Figure, found.pictures)


def _trained(study: StudySpec, folder: Path, results: Sequence[RunResult], scene: Scene, cell: str) -> list[Network]:
    """Return the networks of a cell that trained on the same data set, for which no shown image is sealed."""
    name = scene.network.run.spec.data.name
    runs = [
        run
        for run in runs_by_cell(study, folder, results).get(cell, [])
        if not is_collapsed(run) and run.spec.data.name == name
    ]
    found = networks_of(study, folder, runs, scene.dataset) if runs else []
    shown = (scene.index, *scene.by_class)
    return [network for network in found if all(network.part_of(index) != "test" for index in shown)]


def _single_pass(methods: Sequence[str]) -> tuple[str, ...]:
    return tuple(method for method in BY_CELL if method in methods)


def _beats_all(found: Explained, method: str) -> bool:
    followed = found.faithfulness
    own = followed.methods[method]
    deletion, insertion = followed.random_deletion_areas.mean(1), followed.random_insertion_areas.mean(1)
    return bool(own.deletion_area.mean() < deletion.min() and own.insertion_area.mean() > insertion.max())


def _areas(curves: Curves | None, kind: str) -> str:
    return DASH if curves is None else _span(getattr(curves, f"{kind}_areas").mean(axis=1))


def _span(values: NDArray[np.float64]) -> str:
    mean, low, high = (two(float(value)) for value in (values.mean(), values.min(), values.max()))
    return mean if low == high else f"{mean} ({low} to {high})"


def _agreed(rows: Sequence[SeedAgreement], kind: str) -> Interval:
    """Return the mean agreement over images and pairs of networks with its 95 % interval over networks.

    A pair's is the mean over the images that have one. NaN bounds below three networks, or where two have no image.
    """
    pairs = np.stack([getattr(row, kind).pairs for row in rows])
    known = np.isfinite(pairs)
    counts = known.sum(axis=0)
    means = np.where(counts > 0, np.where(known, pairs, 0).sum(axis=0) / np.maximum(counts, 1), np.nan)
    try:
        return within_mean(means).mean
    except ValueError:  # two networks whose maps are constant in turn
        return Interval(float(np.nanmean(means[np.triu_indices(len(means), 1)])), math.nan, math.nan, 0.95)


def _interval_text(interval: Interval) -> str:
    if not math.isfinite(interval.low):
        return two(interval.estimate)
    return f"{two(interval.estimate)} ({two(interval.low)} to {two(interval.high)})"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
