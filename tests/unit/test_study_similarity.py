"""The runs of a study compared stage by stage and layer by layer, and what is written of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from regulens.api import Study
from regulens.data.batches import Feed, pixel_scaling
from regulens.data.dataset import Dataset
from regulens.data.split import split
from regulens.interpret.representations import layer_features
from regulens.interpret.similarity import centred_gram, layer_cka
from regulens.report.document import Figure, Paragraph, Table
from regulens.report.inside import similarity as written
from regulens.report.wording import DASH
from regulens.results import RunResult
from regulens.spec import RunSpec
from regulens.study.declared import declared_analysis
from regulens.study.grid import cell_label, cells
from regulens.study.inside import similarity
from regulens.study.inside.analysis import InsideAnalysis
from regulens.study.inside.measuring import VERSION, InsideRecord
from regulens.study.inside.similarity import LayerSimilarity, StageSimilarity, StudySimilarity, stage_similarities
from regulens.study.runner import run_folder
from regulens.study.store import open_store
from regulens.training.checkpoint import load_model

Array = NDArray[np.float64]
Runs = dict[RunSpec, list[RunResult]]
STAGES = ("input", "block1", "dense", "output")
SPEC = RunSpec(data={"name": "digits"})


def runs_of(study: Study, change: Callable[[RunSpec], RunSpec] = lambda spec: spec) -> Runs:
    """Return the compared runs as if they had trained, their specs changed."""
    runs: Runs = {}
    for run in sorted(open_store(study.folder).results(), key=lambda run: run.spec.seed):
        if run.spec.compared:
            changed = run.model_copy(update={"spec": change(run.spec), "val_accuracy": 0.9})
            runs.setdefault(run.spec.cell, []).append(changed)
    return {spec: runs[spec] for spec in cells(study.spec)}


def analysis_of(study: Study, runs: Runs) -> InsideAnalysis:
    def record(run: RunResult) -> InsideRecord:
        return InsideRecord(
            run_id=run.run_id, version=VERSION, images=18, layers=(), probes={}, probe_images=(1, 1),
            corrupted={}, corrupted_images=18,
        )  # fmt: skip

    pairs = {spec: tuple((run, record(run)) for run in each) for spec, each in runs.items()}
    return InsideAnalysis(declared_analysis(study.spec), pairs, (), (), 0, 0.95, {})


def varied_split(spec: RunSpec) -> RunSpec:
    return spec.model_copy(update={"vary": (*spec.vary, "split")})


def of_runs(features: Sequence[Sequence[Array]]) -> LayerSimilarity:
    matrix = layer_cka([[centred_gram(layer) for layer in run] for run in features])
    return LayerSimilarity(SPEC, STAGES, matrix, same_images=True)


@pytest.fixture
def layers() -> list[Array]:
    """Features of four unrelated layers."""
    return [np.random.default_rng(layer).standard_normal((40, 10)) for layer in range(4)]


def noisy(layer: Array, seed: int) -> Array:
    return layer + 0.5 * np.random.default_rng(seed).standard_normal(layer.shape)


class TestLayers:
    def test_rotated_runs_correspond_wholly(self, layers: list[Array]) -> None:
        rng = np.random.default_rng(9)
        rotated = [[layer @ np.linalg.qr(rng.standard_normal((10, 10)))[0] for layer in layers] for _ in range(4)]
        found = of_runs(rotated)
        same, two = found.means()
        np.testing.assert_allclose(same, two, atol=1e-5)
        np.testing.assert_allclose(np.diag(two), 1, atol=1e-5)
        share = found.correspondence()
        assert (share.mean.estimate, share.mean.low, share.mean.high) == (1, 1, 1)
        assert share.runs == (4, 4)

    def test_exchanged_layers_are_found_at_their_place(self, layers: list[Array]) -> None:
        """In one run of three what ``block1`` and ``dense`` make of the images is exchanged."""
        runs = [[layers[0], *(noisy(layer, 10 * run + place) for place, layer in enumerate(layers[1:]))]
                for run in range(3)]  # fmt: skip
        runs[2][1], runs[2][2] = runs[2][2], runs[2][1]
        found = of_runs(runs)
        assert found.correspondence("output").mean.estimate == 1
        for stage in ("block1", "dense"):
            assert found.correspondence(stage).mean.estimate == pytest.approx(1 / 3)  # of the pairs, run 2 is in two
        assert found.correspondence().mean.estimate == pytest.approx((1 / 3 + 1 / 3 + 1) / 3)
        assert found.two_seeds("block1", "dense").mean.estimate == pytest.approx(
            np.mean([found.matrix[i, 1, j, 2] for i in range(3) for j in range(3) if i != j])
        )

    def test_means_over_runs_have_students_interval(self, layers: list[Array]) -> None:
        found = of_runs([[noisy(layer, run) for layer in layers] for run in range(5)])
        values = np.array([found.matrix[run, 1, run, 2] for run in range(5)])
        interval = found.same_run("block1", "dense")
        assert interval.estimate == pytest.approx(values.mean())
        low, high = stats.t.interval(0.95, 4, values.mean(), values.std(ddof=1) / math.sqrt(5))
        assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))

    def test_a_dead_stage_is_left_out_and_counted(self, layers: list[Array]) -> None:
        runs = [[noisy(layer, 10 * run + place) for place, layer in enumerate(layers)] for run in range(4)]
        whole = of_runs(runs[1:])
        runs[0][2] = np.zeros((40, 3))
        found = of_runs(runs)
        assert [found.dead(stage) for stage in STAGES] == [0, 0, 1, 0]
        assert found.two_seeds("dense", "block1").left_out == (1, 1)
        assert found.two_seeds("dense", "block1").mean.estimate == pytest.approx(
            whole.two_seeds("dense", "block1").mean.estimate
        )
        assert found.same_run("dense", "block1").estimate == pytest.approx(whole.same_run("dense", "block1").estimate)
        assert found.correspondence("dense").runs == (3, 3)
        assert found.correspondence("output").runs == (4, 4)
        assert found.correspondence().left_out == (1, 1)

    def test_a_single_run_and_runs_on_different_images_have_no_second_seed(self, layers: list[Array]) -> None:
        one = of_runs([layers])
        apart = LayerSimilarity(SPEC, STAGES, np.tile(one.matrix, (2, 1, 2, 1)), same_images=False)
        for found in (one, apart):
            assert np.isnan(found.two_seeds("block1", "dense").mean.estimate)
            assert np.isnan(found.correspondence().mean.estimate)
            assert found.same_run("block1", "dense").estimate == pytest.approx(one.matrix[0, 1, 0, 2])


class TestStudy:
    def test_layers_are_those_of_the_stored_networks(self, finished: Study, digits: Dataset) -> None:
        runs = runs_of(finished)
        found = stage_similarities(runs, finished.folder)
        assert [each.cell for each in found.layers] == list(runs)
        assert found.runs == dict.fromkeys(runs, 2)
        deep = found.layers[-1]
        assert deep.stages == ("input", "block1", "block2", "dense", "output")
        assert deep.matrix.shape == (2, 5, 2, 5)
        features = []
        for run in runs[deep.cell]:
            parts = split(len(digits.labels), run.spec.parts)
            feed = Feed(digits, pixel_scaling(digits, run.spec.data, parts.train))
            network = load_model(run_folder(finished.folder, run.run_id)).expanded()
            features.append(layer_features(network, feed.batches(parts.validation, 500))[0])
        for a, b in (("input", "block2"), ("block1", "dense"), ("output", "output")):
            for i, j in ((0, 1), (1, 0), (0, 0)):
                x, y = (each - each.mean(axis=0) for each in (features[i][a], features[j][b]))
                place = (i, deep.stages.index(a), j, deep.stages.index(b))
                assert deep.matrix[place] == pytest.approx(cka_of_features(x, y), abs=1e-4)
        dense = next(stage for stage in found if stage.stage == "dense")
        assert deep.two_seeds("dense", "dense").mean.estimate == pytest.approx(dense.within(deep.cell).mean.estimate)

    def test_at_most_so_many_runs_are_compared(self, finished: Study, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(similarity, "MOST_RUNS", 1)
        found = stage_similarities(runs_of(finished), finished.folder)
        assert {len(each.matrix) for each in found.layers} == {1}
        assert set(found.runs.values()) == {1}

    def test_too_few_images_are_said(self, finished: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(similarity, "IMAGES", 3)
        runs = runs_of(finished)
        found = stage_similarities(runs, finished.folder)
        assert found == []
        assert found.layers == ()
        (note,) = written.similarity_blocks(finished.spec, analysis_of(finished, runs), found, tmp_path)
        assert isinstance(note, Paragraph)
        assert "it takes 4 validation images or more" in note.text


def cka_of_features(x: Array, y: Array) -> float:
    """Debiased linear CKA of centred features by feature-space products: Nguyen et al. 2021's HSIC by Song et al."""

    def hsic(a: Array, b: Array) -> float:
        n = len(a)
        rows_a, rows_b = (each @ each.sum(axis=0) - (each**2).sum(axis=1) for each in (a, b))
        trace = np.linalg.norm(a.T @ b) ** 2 - (a**2).sum(axis=1) @ (b**2).sum(axis=1)
        middle = rows_a.sum() * rows_b.sum() / ((n - 1) * (n - 2))
        return float(trace + middle - 2 / (n - 2) * rows_a @ rows_b)

    x, y = x.astype(np.float64), y.astype(np.float64)
    return hsic(x, y) / math.sqrt(hsic(x, x) * hsic(y, y))


class TestReport:
    def test_tables_and_pictures_of_seeds_networks_and_layers(self, finished: Study, tmp_path: Path) -> None:
        runs = runs_of(finished)
        found, similar = analysis_of(finished, runs), stage_similarities(runs, finished.folder)
        alike, correspondence, layers = written.similarity_tables(finished.spec, found, similar)
        assert "Compared: 2 runs of each network, not collapsed and evaluated on the same images." in alike.note
        assert "Left out" not in alike.note
        assert [row[0] for row in correspondence.rows] == [cell_label(spec, finished.spec) for spec in runs]
        assert len(layers.rows) == 4 + 4 + 5 + 5
        first, above = layers.rows[0], similar.layers[0]
        assert first[1:4] == ("input", "1.00", f"{above.same_run('input', 'block1').estimate:.2f}")
        assert first[4] == ""  # of a stage that the network does not have
        assert layers.rows[1][2] == f"{above.two_seeds('block1', 'input').mean.estimate:.2f}"
        blocks = list(written.similarity_blocks(finished.spec, found, similar, tmp_path))
        text = " ".join(block.text for block in blocks if isinstance(block, Paragraph))
        assert "two networks that differ in their regularizer" in text
        assert "by chance it would be in 20 to 25 %" in text
        assert [block.picture.path.stem for block in blocks if isinstance(block, Figure)] == [
            "similarity",
            "similarity-layers",
        ]

    def test_the_compared_factor_is_named(self, finished: Study, tmp_path: Path) -> None:
        declared = finished.spec.analysis.model_copy(update={"factor": "model.depth"})
        spec = finished.spec.model_copy(update={"analysis": declared})
        runs = runs_of(finished)
        found = InsideAnalysis(declared_analysis(spec), analysis_of(finished, runs).runs, (), (), 0, 0.95, {})
        blocks = written.similarity_blocks(spec, found, stage_similarities(runs, finished.folder), tmp_path)
        text = " ".join(block.text for block in blocks if isinstance(block, Paragraph))
        assert "the depth changes CKA by more than the seed does" in text
        assert "regularizer" not in text

    def test_where_seeds_vary_the_split_it_is_said_and_nothing_is_a_dash(self, finished: Study, tmp_path: Path) -> None:
        runs = runs_of(finished, varied_split)
        found, similar = analysis_of(finished, runs), stage_similarities(runs, finished.folder)
        assert set(similar.runs.values()) == {1}
        assert not any(each.same_images for each in similar.layers)
        assert all(len(each.matrix) == 2 for each in similar.layers)
        assert all(math.isfinite(each.same_run("block1", "dense").estimate) for each in similar.layers)
        blocks = list(written.similarity_blocks(finished.spec, found, similar, tmp_path))
        (note,) = [block.text for block in blocks if isinstance(block, Paragraph) and block.kind == "note"]
        assert note.startswith("Seeds vary the split, so no two runs of a network are evaluated on the same images")
        assert not any(isinstance(block, Table) for block in blocks)
        assert [block.picture.path.stem for block in blocks if isinstance(block, Figure)] == ["similarity-layers"]
        tables = written.similarity_tables(finished.spec, found, similar)
        assert [table.name for table in tables] == ["similarity", "similarity-layers"]
        assert tables[0].columns[3:] == ("between",)
        assert "Seeds vary the split" in tables[0].note
        assert not any(cell == DASH for table in tables for row in table.rows for cell in row)

    def test_networks_judged_on_other_images_are_named(self, finished: Study, tmp_path: Path) -> None:
        def moved(spec: RunSpec) -> RunSpec:
            seed = 7 if spec.regularizer == "batchnorm" else spec.data.split_seed
            return spec.model_copy(update={"data": spec.data.model_copy(update={"split_seed": seed})})

        runs = runs_of(finished, moved)
        similar = stage_similarities(runs, finished.folder)
        assert sorted(similar.runs.values()) == [0, 0, 2, 2]
        assert len(similar.layers) == 4
        left = "Left out, because judged on other images: depth 1, batchnorm; depth 2, batchnorm."
        assert left in written.similarity_table(finished.spec, analysis_of(finished, runs), similar).note
        blocks = written.similarity_blocks(finished.spec, analysis_of(finished, runs), similar, tmp_path)
        assert any(isinstance(block, Paragraph) and left in block.text for block in blocks)

    def test_dead_runs_are_counted_in_the_note(self, finished: Study) -> None:
        runs = runs_of(finished)
        a, b = list(runs)[:2]
        matrix = np.full((6, 6), 0.5)
        matrix[1] = matrix[:, 1] = np.nan
        stage = StageSimilarity("dense", (a, b), np.array([0, 0, 0, 1, 1, 1]), matrix)
        layers = LayerSimilarity(a, STAGES, np.full((3, 4, 3, 4), 0.5), same_images=True)
        similar = StudySimilarity([stage], [layers], {a: 3, b: 3})
        note = written.similarity_table(finished.spec, analysis_of(finished, runs), similar).note
        assert note.endswith("Left out, because the stage is dead: 1 of 3 runs at dense of depth 1, none.")

    def test_where_no_run_trained_the_table_says_so(self, finished: Study, tmp_path: Path) -> None:
        (table,) = written.similarity_tables(finished.spec, analysis_of(finished, {}), StudySimilarity())
        assert table.rows == ()
        assert table.note.startswith("All runs collapsed")
        assert not list(
            written.similarity_blocks(finished.spec, analysis_of(finished, {}), StudySimilarity(), tmp_path)
        )
