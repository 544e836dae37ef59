"""How alike what networks represent is: between seeds of one network, and between networks, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regulens.data.batches import Feed, pixel_scaling
from regulens.data.dataset import Dataset
from regulens.data.split import split
from regulens.interpret.representations import INPUT, layer_features, stages
from regulens.interpret.similarity import LEAST_IMAGES, centred_gram, cka_matrix
from regulens.results import RunResult
from regulens.spec import RunSpec
from regulens.stats.pairs import PairMean, between_mean, within_less_between, within_mean
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


def stage_similarities(
    runs: Mapping[RunSpec, Sequence[RunResult]], folder: Path, datasets: Mapping[str, Dataset]
) -> list[StageSimilarity]:
    """Compare runs on the first validation images that all of them share; networks on other images are left out.

    Args:
        runs: of each network, whose weights are in ``folder``; those that trained, for the others have little to
            compare.
        folder: of the study.
        datasets: by name.

    Returns:
        for each stage that two runs have; none if there are fewer than four validation images.
    """
    shared = next((spec.parts for spec in runs), None)
    names: list[str] = []
    grams: dict[str, list[NDArray[np.float32]]] = {}
    places: dict[str, list[RunSpec]] = {}
    for spec, results in runs.items():
        if spec.parts != shared:
            continue
        for result in results[:MOST_RUNS]:
            for stage, gram in _grams(result, folder, datasets[spec.data.name]):
                if stage not in grams:
                    names.append(stage)
                grams.setdefault(stage, []).append(gram)
                places.setdefault(stage, []).append(spec)
    return [_similarity(stage, places[stage], grams[stage]) for stage in sorted(names) if len(grams[stage]) > 1]


def _similarity(stage: str, places: Sequence[RunSpec], grams: Sequence[NDArray[np.float32]]) -> StageSimilarity:
    cells = tuple(dict.fromkeys(places))
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
