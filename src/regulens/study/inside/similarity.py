"""How alike what networks represent is: between seeds of one network, and between networks, stage by stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regulens.data.batches import Feed, pixel_scaling
from regulens.data.catalog import load_dataset
from regulens.data.dataset import Dataset
from regulens.data.split import split
from regulens.interpret.representations import INPUT, layer_features, stages
from regulens.interpret.similarity import LEAST_IMAGES, centred_gram, cka_matrix
from regulens.results import RunResult
from regulens.spec import RunSpec
from regulens.stats.pairs import PairMean, between_mean, within_less_between, within_mean
from regulens.study.inside.analysis import InsideAnalysis
from regulens.study.runner import run_folder
from regulens.training.checkpoint import load_model
from regulens.training.environment import pinned_torch

IMAGES = 500
MOST_RUNS = 10
"""Of each network, those of the lowest seeds: the pairs grow with the square."""


@dataclass(frozen=True, eq=False)
class StageSimilarity:
    """The similarity (debiased linear CKA) of every two runs at one stage.

    Attributes:
        stage: of ``interpret.representations.stages``.
        cells: the networks that have it.
        cell_of_run: (m,) the place of each run's network in ``cells``.
        matrix: (m, m), NaN for runs whose layer is dead.
    """

    stage: str
    cells: tuple[RunSpec, ...]
    cell_of_run: NDArray[np.int64]
    matrix: NDArray[np.float64]

    def within(self, spec: RunSpec) -> PairMean:
        """Return the mean over pairs of seeds of one network."""
        runs = self._runs(spec)
        return within_mean(self.matrix[np.ix_(runs, runs)])

    def between(self, a: RunSpec, b: RunSpec) -> PairMean:
        """Return the mean over pairs of a run of each."""
        return between_mean(self.matrix[np.ix_(self._runs(a), self._runs(b))])

    def excess(self, a: RunSpec, b: RunSpec) -> PairMean:
        """Return how much more alike two runs of one network are than runs of the two."""
        runs = np.concatenate([self._runs(a), self._runs(b)])
        return within_less_between(self.matrix[np.ix_(runs, runs)], self.cell_of_run[runs])

    def mean_matrix(self) -> NDArray[np.float64]:
        """Return (cells, cells) mean similarities, those of different seeds of one network on the diagonal."""
        means = np.full((len(self.cells), len(self.cells)), np.nan)
        for row, a in enumerate(self.cells):
            for column, b in enumerate(self.cells):
                pair = self.within(a) if a == b else self.between(a, b)
                means[row, column] = pair.mean.estimate
        return means

    def _runs(self, spec: RunSpec) -> NDArray[np.int64]:
        return np.flatnonzero(self.cell_of_run == self.cells.index(spec))


def stage_similarities(runs: Mapping[RunSpec, Sequence[RunResult]], folder: Path) -> list[StageSimilarity]:
    """Compare runs on the first validation images that they share; those judged on other images are left out.

    Args:
        runs: of each network, whose weights are in ``folder``; those that trained, for the others have little to
            compare.
        folder: of the study.

    Returns:
        for each stage that two runs have, in the order in which images pass them; none if there are fewer than four
        validation images.

    Raises:
        DataError: if the data set or a run's weights are damaged or absent.
    """
    chosen = [(spec, result) for spec, results in runs.items() for result in results]
    if not chosen:
        return []
    shared = chosen[0][1].spec.parts
    dataset = load_dataset(shared.name)
    grams: dict[str, list[NDArray[np.float32]]] = {}
    places: dict[str, list[RunSpec]] = {}
    kept: Counter[RunSpec] = Counter()
    for spec, result in sorted(chosen, key=lambda pair: -pair[0].model.depth):  # the deepest have all stages
        if result.spec.parts == shared and kept[spec] < MOST_RUNS:
            kept[spec] += 1
            for stage, gram in _grams(result, folder, dataset):
                grams.setdefault(stage, []).append(gram)
                places.setdefault(stage, []).append(spec)
    order = [spec for spec in runs if kept[spec]]
    return [_similarity(stage, places[stage], each, order) for stage, each in grams.items() if len(each) > 1]


def similarities_of(found: InsideAnalysis, folder: Path) -> list[StageSimilarity]:
    """Compare the measured runs of a study that trained, see ``stage_similarities``."""
    return stage_similarities(
        {spec: [result for result, _ in pairs] for spec, pairs in found.trained().items()}, folder
    )


def _similarity(
    stage: str, places: Sequence[RunSpec], grams: Sequence[NDArray[np.float32]], order: Sequence[RunSpec]
) -> StageSimilarity:
    cells = tuple(spec for spec in order if spec in places)
    cell_of_run = np.array([cells.index(spec) for spec in places], np.int64)
    return StageSimilarity(stage, cells, cell_of_run, cka_matrix(grams))


def _grams(result: RunResult, folder: Path, dataset: Dataset) -> Iterator[tuple[str, NDArray[np.float32]]]:
    spec = result.spec
    parts = split(len(dataset.labels), spec.parts)
    images = parts.validation[:IMAGES]
    if len(images) < LEAST_IMAGES:
        return
    feed = Feed(dataset, pixel_scaling(dataset, spec.data, parts.fitted(spec.stage)))
    network = load_model(run_folder(folder, result.run_id)).expanded()
    learned = [stage for stage in stages(network) if stage != INPUT]
    with pinned_torch():
        features, _ = layer_features(network, feed.batches(images, IMAGES), learned)
    for stage, values in features.items():
        yield stage, centred_gram(values)
