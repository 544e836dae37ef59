"""Which pixels a study's networks decide by: pictures of maps, of how far they are to be trusted, and of mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from regulens.data.batches import PixelScaling
from regulens.data.dataset import Dataset
from regulens.errors import UserError
from regulens.figures.agreement import MOST_MAPS, AgreementRow, agreement_info, draw_agreement
from regulens.figures.attribution import (
    AttributionMap,
    AttributionRow,
    Mistake,
    attribution_info,
    draw_attribution,
    draw_mistakes,
    map_notes,
    mistakes_info,
)
from regulens.figures.faithfulness import draw_faithfulness, faithfulness_info
from regulens.figures.parts import chance
from regulens.figures.style import save_figure
from regulens.files import file_name
from regulens.interpret.attribution import METHODS, flat_maps
from regulens.interpret.mistakes import most_confident_errors
from regulens.report.inside.looking import ROWS, dataset_of, pages
from regulens.report.inside.maps import (
    RANDOMISED,
    Explained,
    Maps,
    Question,
    SeedAgreement,
    agreements,
    check_methods,
    explain,
    maps_of,
    random_maps,
    usable_methods,
)
from regulens.report.inside.scene import Network, Subject, subject_of, unsealed
from regulens.report.inside.steps import OnStep, stepped, unwatched
from regulens.report.pictures import Picture
from regulens.spec import RunSpec
from regulens.study.runner import run_folder
from regulens.training.predictions import PREDICTIONS, Predictions, load_predictions

MISTAKES_METHOD = "occlusion"
"""In logits and signed, so that the maps of two classes have one scale; and black pixels count like others."""

_MISTAKES = 24
"""Mistakes in one picture."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """An image explained.

    Attributes:
        subject: the image.
        target: the class that the maps speak of.
        explained: by network.
        agreement: by method, of the seeds; empty where fewer than two trained.
        seeds: what these seeds have in common, in words.
        said: by network, the class predicted and the class explained with their probabilities, in words.
        pictures: maps first, then faithfulness by network, then agreement.
        notes: what a reader should know, a line each.
    """

    subject: Subject
    target: str
    explained: tuple[Explained, ...]
    agreement: Mapping[str, SeedAgreement]
    seeds: str
    said: tuple[str, ...]
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ShownMistake:
    """A misclassified validation image: its index, its classes, and the probabilities that the network gave them."""

    index: int
    predicted: str
    true: str
    predicted_probability: float
    true_probability: float


@dataclass(frozen=True, eq=False)
class MistakesPicture:
    """The most confident errors of one run on validation, of how many errors on how many images, and their pictures."""

    run_id: str
    network: str
    mistakes: tuple[ShownMistake, ...]
    errors: int
    images: int
    pictures: tuple[Picture, ...]


def explain_image(
    networks: Sequence[Network],
    image: int | str | Path,
    out: Path,
    *,
    seeds: Sequence[Network] = (),
    methods: Sequence[str] = (),
    target: str | int | None = None,
    seed: int = 0,
    dataset: Dataset | None = None,
    on_step: OnStep = unwatched,
) -> Explanation:
    """Draw which pixels of an image speak for a class in each network, and whether seeds agree.

    Args:
        networks: of one data set.
        image: its index in the data set, or a picture file.
        out: where the figures go.
        seeds: networks that differ only in their seed, whose maps are compared.
        methods: of attribution; by default all that the networks are large enough for.
        target: the class, its name or its number; by default what the first network predicts.
        seed: of the noise, random orders and random weights, from 0 to 2^64 - 1.
        dataset: theirs, if it is loaded already.
        on_step: told of each network, of each step in turn, and of each picture.

    Raises:
        UserError: if the image is of the test set or absent, a method or class is not known, or Captum
            is not installed.
        DataError: if a file is damaged.
    """
    dataset = dataset or dataset_of(networks)
    check_methods(methods)
    usable, left_out = usable_methods(networks, methods)
    subject = subject_of(image, dataset, networks)
    compared = unsealed(seeds, subject)
    chosen = class_of(target, networks[0], subject.pixels, dataset.class_names)
    question = Question(subject.pixels[None], np.array([chosen]), usable, seed)
    kinds = {_kind(each): each for each in (*networks, *compared[:1])}
    blank = max(len(compared), RANDOMISED)
    random = {
        _kind(each): random_maps(each, question, blank)
        for each in stepped(list(kinds.values()), "random weights", on_step)
    }
    explained = [explain(each, question, random[_kind(each)]) for each in stepped(networks, "explaining", on_step)]
    found = agreements(compared, question, random[_kind(compared[0])], on_step) if len(compared) > 1 else {}
    agreement = {method: by_image[0] for method, by_image in found.items()}
    name = dataset.class_names[chosen]
    followed = [each for each in explained if each.faithfulness.methods]
    pictures = [
        *pictures_of_maps(explained, subject, name, out, dataset.class_names, on_step=on_step),
        *(
            picture_of_faithfulness(each, _followed(each, subject, name, dataset.class_names), subject.stem, out)
            for each in stepped(followed, "drawing curves", on_step)
        ),
    ]
    if agreement:
        pictures.append(picture_of_agreement(agreement, compared, subject, name, out, class_names=dataset.class_names))
    notes = (*subject.notes, *left_out, *_seed_notes(len(seeds), len(compared)))
    return Explanation(
        subject,
        name,
        tuple(explained),
        agreement,
        _common(compared) if agreement else "",
        tuple("; ".join(_classes(each, name, dataset.class_names)) for each in explained),
        tuple(pictures),
        notes,
    )


def _kind(network: Network) -> tuple[RunSpec, PixelScaling]:
    """Return what the maps of random weights depend on: the architecture and what becomes of pixels."""
    return network.run.spec.cell, network.scaling


def _common(seeds: Sequence[Network]) -> str:
    cell, _, rest = seeds[0].label.rpartition(", seed ")
    return cell + (", refit" if rest.endswith(", refit") else "")


def _seed_notes(trained: int, compared: int) -> list[str]:
    """Say which seeds could not be compared, and why."""
    notes = []
    if compared < trained:
        notes.append(
            f"left out: {trained - compared} of {trained} seeds, of which the image is in the held-out test set"
        )
    if compared < 2:
        notes.append(f"seeds are not compared: {compared} can be, two are needed")
    return notes


def class_of(wanted: str | int | None, network: Network, pixels: NDArray[np.uint8], class_names: Sequence[str]) -> int:
    """Return the class that is meant, by name or number; by default the one predicted for pixels (H, W, C).

    Raises:
        UserError: if there is no such class.
    """
    if wanted is None:
        with torch.no_grad():
            return int(network.model(network.input(pixels[None]))[0].argmax())
    text = str(wanted).strip()
    lower = [name.lower() for name in class_names]
    if text.lower() in lower:
        return lower.index(text.lower())
    if text.isdigit() and int(text) < len(class_names):
        return int(text)
    raise UserError(f'no class is named "{wanted}"; there are {", ".join(class_names)}, or 0 to {len(class_names) - 1}')


def pictures_of_maps(
    explained: Sequence[Explained],
    subject: Subject,
    target: str,
    out: Path,
    class_names: Sequence[str],
    *,
    on_step: OnStep = unwatched,
) -> list[Picture]:
    """Draw the maps of the first image, a row per network, with their faithfulness and likeness to random weights.

    A picture holds 12 networks.
    """
    more = f"-and-{len(explained) - 1}-more" if len(explained) > 1 else ""
    name = file_name("explain", subject.stem, target, explained[0].network.label) + more
    drawn = []
    true = subject.true_class(class_names)
    for page in stepped(pages(explained, ROWS), "drawing maps", on_step):
        rows = [
            AttributionRow(
                each.network.label, subject.pixels, _maps(each), (true, *_classes(each, target, class_names))
            )
            for each in page.items
        ]
        title = f"{subject.label}: evidence for {target}{page.words}"
        path = save_figure(draw_attribution(attribution_info(title, rows)), out, name + page.suffix)
        caption = (
            f"Evidence for {target} in {subject.label}, by method{page.words}; below each map its faithfulness and "
            "sanity checks."
        )
        drawn.append(Picture(path, caption))
    return drawn


def picture_of_faithfulness(explained: Explained, what: str, stem: str, out: Path) -> Picture:
    """Draw the deletion and insertion curves of one network; ``what`` says of which images."""
    titles = {method: METHODS[method].title for method in explained.maps}
    label = explained.network.label
    figure = draw_faithfulness(faithfulness_info(f"{label}: {what}", explained.faithfulness, titles))
    caption = f"Deletion and insertion in the order of each map, beside random orders: {label}, {what}."
    return Picture(save_figure(figure, out, file_name("faithfulness", stem, label)), caption)


def picture_of_agreement(
    agreement: Mapping[str, SeedAgreement],
    seeds: Sequence[Network],
    subject: Subject,
    target: str,
    out: Path,
    *,
    class_names: Sequence[str],
) -> Picture:
    """Draw some seeds' maps, where all agree, and where random weights would, a method in each row."""
    rows = []
    drawn = seeds[: MOST_MAPS - 1]
    said = [each.prediction(subject.pixels, class_names) for each in drawn]
    classes = (subject.true_class(class_names), f"explained: {target}")
    for method, found in agreement.items():
        chosen = METHODS[method]
        maps = tuple(
            AttributionMap(f"seed {each.run.spec.seed}", values, (text,), chosen.unit, chosen.signed)
            for each, values, text in zip(drawn, found.maps, said, strict=False)
        )
        rows.append(AgreementRow(chosen.title, subject.pixels, maps, found.seeds, found.randomised, classes))
    cell = _common(seeds)
    title = f"{cell}: evidence for {target} in {subject.label}, by seed"
    figure = draw_agreement(agreement_info(title, "A method in each row", rows))
    name = file_name("agreement", subject.stem, target, cell)
    caption = (
        f"Attribution maps of {len(seeds)} seeds of {cell} for {subject.label}, and their agreement beside that of as "
        "many networks with random weights: a description of these networks and this image."
    )
    return Picture(save_figure(figure, out, name), caption)


def mistakes_of(
    network: Network,
    folder: Path,
    out: Path,
    *,
    count: int = 8,
    method: str = MISTAKES_METHOD,
    seed: int = 0,
    dataset: Dataset | None = None,
) -> MistakesPicture | None:
    """Draw the most confident errors of a run on validation, with the maps of the predicted and the true class.

    ``seed``, from 0 to 2^64 - 1, is that of the noise, where the method adds any. A picture holds 24 errors.

    Returns:
        ``None`` if the run makes no errors, or none of its predictions is a finite number.

    Raises:
        UserError: if the run was trained on validation, or Captum is not installed.
        DataError: if its predictions are absent or damaged.
    """
    if network.run.spec.stage == "refit":
        raise UserError(f"{network.label}: was trained on validation too; name one of the first stage for its mistakes")
    check_methods([method])
    dataset = dataset or dataset_of([network])
    kept = load_predictions(run_folder(folder, network.run.run_id) / PREDICTIONS)
    predicted = kept.probabilities.argmax(1).astype(np.int64)
    wrong = int((predicted != kept.labels).sum())
    places = most_confident_errors(kept.probabilities, kept.labels, count)
    if not len(places):
        return None
    pixels = dataset.images[kept.indices[places]]
    classes = predicted[places], kept.labels[places].astype(np.int64)
    maps = [flat_maps(method, maps_of(network, Question(pixels, each, (method,), seed))[method]) for each in classes]
    shown = tuple(_mistakes(dataset, kept, places))
    title = f"{network.label}: the most confident of {wrong:,} errors on {len(predicted):,} validation images"
    pictures = []
    for page in pages(_drawn(shown, pixels, *maps), _MISTAKES):
        chosen = METHODS[method]
        figure = draw_mistakes(mistakes_info(title + page.words, chosen.title, page.items, chosen.unit))
        path = save_figure(figure, out, file_name("mistakes", network.label, method) + page.suffix)
        caption = (
            f"The errors that {network.label} makes with the highest confidence, with the maps of the predicted and "
            f"the true class{page.words}."
        )
        pictures.append(Picture(path, caption))
    return MistakesPicture(network.run.run_id, network.label, shown, wrong, len(predicted), tuple(pictures))


def _mistakes(dataset: Dataset, kept: Predictions, places: NDArray[np.int64]) -> Iterator[ShownMistake]:
    for place in places.tolist():
        row, label = kept.probabilities[place], int(kept.labels[place])
        names = dataset.class_names[int(row.argmax())], dataset.class_names[label]
        yield ShownMistake(int(kept.indices[place]), *names, float(row.max()), float(row[label]))


def _drawn(mistakes: Sequence[ShownMistake], pixels: NDArray[np.uint8], predicted: Maps, true: Maps) -> list[Mistake]:
    return [
        Mistake(
            f"image {each.index}",
            image,
            each.predicted,
            each.true,
            each.predicted_probability,
            each.true_probability,
            for_predicted,
            for_true,
        )
        for each, image, for_predicted, for_true in zip(mistakes, pixels, predicted, true, strict=True)
    ]


def _classes(explained: Explained, target: str, class_names: Sequence[str]) -> tuple[str, str]:
    """Say what the network predicts for the first image, and which class is explained."""
    predicted, confidence = class_names[int(explained.predicted[0])], float(explained.confidence[0])
    return (
        f"predicted: {predicted} ({chance(confidence)})",
        f"evidence for {target} ({chance(float(explained.probabilities[0]))})",
    )


def _followed(explained: Explained, subject: Subject, target: str, class_names: Sequence[str]) -> str:
    """Say of which image and class curves are."""
    predicted, _ = _classes(explained, target, class_names)
    return f"{subject.label}, {subject.true_class(class_names)}, {predicted}; the class followed: {target}"


def _maps(explained: Explained) -> tuple[AttributionMap, ...]:
    return tuple(
        AttributionMap(
            METHODS[method].title,
            maps[0],
            map_notes(method, 0, explained.faithfulness, explained.sanity[method], explained.completeness_error(method))
            if method in explained.faithfulness.methods
            else (),
            METHODS[method].unit,
            METHODS[method].signed,
        )
        for method, maps in explained.maps.items()
    )
