"""How alike what networks represent is: between seeds, between networks and between the stages of a network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regulens.data.batches import Feed, pixel_scaling
from regulens.data.catalog import load_dataset
from regulens.data.dataset import Dataset
from regulens.data.split import split
from regulens.interpret.activations import INPUT
from regulens.interpret.representations import layer_features
from regulens.interpret.similarity import LEAST_IMAGES, centred_gram, cka_matrix, correspondence, layer_cka
from regulens.results import RunResult
from regulens.spec import DataSpec, RunSpec
from regulens.stats.intervals import Interval
from regulens.stats.pairs import PairMean, between_mean, within_less_between, within_mean
from regulens.study.inside.analysis import InsideAnalysis
from regulens.study.runner import run_folder
from regulens.training.checkpoint import load_model
from regulens.training.environment import pinned_torch

IMAGES = 500
MOST_RUNS = 10
"""Of each network, those of the lowest seeds: the pairs grow with the square."""

Gram = NDArray[np.float32]
"""What ``interpret.similarity.centred_gram`` returns."""


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


@dataclass(frozen=True, eq=False)
class LayerSimilarity:
    """The similarity (debiased linear CKA) of every stage of a network with every stage, of one run and of two seeds.

    Attributes:
        cell: the network.
        stages: (s,) names, of ``interpret.representations.stages``: ``input`` first, ``output`` last.
        matrix: (r, s, r, s): stage a of run i with stage b of run j at [i, a, j, b]; NaN where either is dead, and
            between runs if ``same_images`` is false.
        same_images: whether the runs are evaluated on the same images; they are not where seeds vary the split.
    """

    cell: RunSpec
    stages: tuple[str, ...]
    matrix: NDArray[np.float64]
    same_images: bool

    def same_run(self, a: str, b: str) -> Interval:
        """Return the similarity of two stages of one run: the mean over runs.

        Its interval is Student's at 95 %, which is the jackknife's of a mean; NaN bounds below 3 runs.
        """
        values = np.einsum("ii->i", self._of(a, b))
        values = values[np.isfinite(values)]
        if len(values) < 2:
            return Interval(float(values.mean()) if len(values) else math.nan, math.nan, math.nan, 0.95)
        return within_mean((values[:, None] + values) / 2).mean

    def two_seeds(self, a: str, b: str) -> PairMean:
        """Return the similarity of stage ``a`` of one run with stage ``b`` of another: the mean over ordered pairs."""
        return self._between_runs(self._of(a, b))

    def correspondence(self, *stages: str) -> PairMean:
        """Return how often the most similar stage of another run is the stage itself.

        The mean over ordered pairs of runs, from 0 to 1, of this stage, or of several: the share of them. By default of
        all but ``input``, which is the same in all runs; as a partner it counts. See
        ``interpret.similarity.correspondence``. Runs in which one of the stages is dead are left out.
        """
        places = [self.stages.index(stage) for stage in stages or self.stages[1:]]
        found = self._between_runs(correspondence(self.matrix)[:, :, places].mean(axis=2))
        return replace(found, mean=found.mean.within((0.0, 1.0)))

    def dead(self, stage: str) -> int:
        """Return in how many runs a stage is dead: the same for all images, or not a number."""
        return int(np.isnan(np.einsum("ii->i", self._of(stage, stage))).sum())

    def means(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean similarities (s, s) of the stages of one run, and (s, s) of those of two seeds."""
        pairs = [[(a, b) for b in self.stages] for a in self.stages]
        same = np.array([[self.same_run(a, b).estimate for a, b in row] for row in pairs])
        return same, np.array([[self.two_seeds(a, b).mean.estimate for a, b in row] for row in pairs])

    def _of(self, a: str, b: str) -> NDArray[np.float64]:
        return self.matrix[:, self.stages.index(a), :, self.stages.index(b)]

    def _between_runs(self, ordered: NDArray[np.float64]) -> PairMean:
        """Return the mean over ordered pairs of runs, of (r, r) values: that of both orders over pairs."""
        shared = len(ordered) if self.same_images else 1
        return within_mean(((ordered + ordered.T) / 2)[:shared, :shared])


class StudySimilarity(list[StageSimilarity]):
    """How alike the runs of a study represent the same images, stage by stage, and each network's stages among them.

    A list of ``StageSimilarity``, in the order in which images pass the stages.

    Attributes:
        layers: of each network the similarity of its stages, those of networks judged on other images too.
        runs: of each network, how many runs the stages compare: those judged on the images of the first run, at most
            ``MOST_RUNS``.
    """

    def __init__(
        self,
        stages: Iterable[StageSimilarity] = (),
        layers: Iterable[LayerSimilarity] = (),
        runs: Mapping[RunSpec, int] | None = None,
    ) -> None:
        super().__init__(stages)
        self.layers: tuple[LayerSimilarity, ...] = tuple(layers)
        self.runs: Mapping[RunSpec, int] = {} if runs is None else runs


def stage_similarities(runs: Mapping[RunSpec, Sequence[RunResult]], folder: Path) -> StudySimilarity:
    """Compare runs, of each network the first ``MOST_RUNS``, on the first validation images.

    Between runs only those are compared that share the images of the first run.

    Args:
        runs: of each network, whose weights are in ``folder``; those that trained, for the others have little to
            compare.
        folder: of the study.

    Returns:
        for each stage that two runs have, in the order in which images pass them, and for each network; none if there
        are fewer than four validation images.

    Raises:
        DataError: if the data set or a run's weights are damaged or absent.
    """
    chosen = {spec: tuple(results[:MOST_RUNS]) for spec, results in runs.items() if results}
    if not chosen:
        return StudySimilarity()
    shared = next(iter(chosen.values()))[0].spec.parts
    grams: dict[str, list[Gram]] = {}
    places: dict[str, list[RunSpec]] = {}
    layers: dict[RunSpec, LayerSimilarity] = {}
    for spec, results in sorted(chosen.items(), key=lambda pair: -pair[0].model.depth):  # the deepest have all stages
        dataset = load_dataset(spec.data.name)
        found = [_grams(result, folder, dataset) for result in results]
        if found[0]:
            layers[spec] = _layers(spec, [result.spec.parts for result in results], found)
        for result, each in zip(results, found, strict=True):
            for stage in each if result.spec.parts == shared else ():
                if stage != INPUT:
                    grams.setdefault(stage, []).append(each[stage])
                    places.setdefault(stage, []).append(spec)
    return StudySimilarity(
        [_similarity(stage, places[stage], each, list(chosen)) for stage, each in grams.items() if len(each) > 1],
        [layers[spec] for spec in chosen if spec in layers],
        {spec: sum(result.spec.parts == shared for result in results) for spec, results in chosen.items()},
    )


def similarities_of(found: InsideAnalysis, folder: Path) -> StudySimilarity:
    """Compare the measured runs of a study that trained, see ``stage_similarities``."""
    return stage_similarities(
        {spec: [result for result, _ in pairs] for spec, pairs in found.trained().items()}, folder
    )


def _similarity(
    stage: str, places: Sequence[RunSpec], grams: Sequence[Gram], order: Sequence[RunSpec]
) -> StageSimilarity:
    cells = tuple(spec for spec in order if spec in places)
    cell_of_run = np.array([cells.index(spec) for spec in places], np.int64)
    return StageSimilarity(stage, cells, cell_of_run, cka_matrix(grams))


def _layers(spec: RunSpec, parts: Sequence[DataSpec], grams: Sequence[dict[str, Gram]]) -> LayerSimilarity:
    """Compare the stages of a network's runs, each with itself alone if they are judged on different images."""
    stages = tuple(grams[0])
    vectors = [[each[stage] for stage in stages] for each in grams]
    if len(set(parts)) == 1:
        return LayerSimilarity(spec, stages, layer_cka(vectors), same_images=True)
    matrix = np.full((len(grams), len(stages)) * 2, np.nan)
    for run, each in enumerate(vectors):
        matrix[run, :, run] = cka_matrix(each)
    return LayerSimilarity(spec, stages, matrix, same_images=False)


def _grams(result: RunResult, folder: Path, dataset: Dataset) -> dict[str, Gram]:
    """Return what each stage of a run makes of the first validation images; nothing if they are too few."""
    spec = result.spec
    parts = split(len(dataset.labels), spec.parts)
    images = parts.validation[:IMAGES]
    if len(images) < LEAST_IMAGES:
        return {}
    feed = Feed(dataset, pixel_scaling(dataset, spec.data, parts.fitted(spec.stage)))
    network = load_model(run_folder(folder, result.run_id)).expanded()
    with pinned_torch():
        features, _ = layer_features(network, feed.batches(images, IMAGES))
    return {stage: centred_gram(values) for stage, values in features.items()}
