"""What is measured inside each run, once; and how the networks are compared in it."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from regulens.api import Study
from regulens.data.dataset import Dataset
from regulens.errors import RegulensError, UserError
from regulens.executors.local import LocalExecutor
from regulens.interpret.corruptions import CORRUPTIONS
from regulens.interpret.kernels import conv_kernels
from regulens.interpret.measures import MEASURES, l2_norm
from regulens.report.document import Table
from regulens.report.inside.measures import difference_paragraphs, measure_blocks, measure_panels
from regulens.results import RunResult
from regulens.spec import RunSpec
from regulens.study.declared import compared_pairs, declared_analysis
from regulens.study.grid import cell_levels, cells
from regulens.study.inside.analysis import NETWORK, TITLES, analyse_inside, typical_run
from regulens.study.inside.measuring import VERSION, InsideRecord, LayerRecord, inside_records, measure_inside, quietly
from regulens.study.inside.similarity import stage_similarities
from regulens.study.runner import run_folder
from regulens.study.store import Store, open_store
from regulens.training.checkpoint import WEIGHTS, load_model
from regulens.training.predictions import PREDICTIONS, load_predictions


@pytest.fixture(scope="module")
def measured(finished: Study, processes: LocalExecutor, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The tiny study, measured; in a folder of its own."""
    folder = tmp_path_factory.mktemp("measured") / "tiny"
    shutil.copytree(finished.folder, folder)
    study = replace(finished, folder=folder)
    measure_inside(folder, processes, quietly)
    return study


def records_of(study: Study) -> dict[str, InsideRecord]:
    return inside_records(open_store(study.folder))


def results_of(study: Study) -> list[RunResult]:
    return open_store(study.folder).results()


class TestMeasuring:
    def test_every_compared_run_is_measured_in_every_layer(self, measured: Study) -> None:
        records = records_of(measured)
        compared = [run for run in results_of(measured) if run.spec.compared]
        assert records.keys() == {run.run_id for run in compared}
        for run in compared:
            record = records[run.run_id]
            assert [layer.layer for layer in record.layers] == [f"conv{n + 1}" for n in range(run.spec.model.depth)]
            assert all(layer.measures.keys() == MEASURES.keys() for layer in record.layers)
            assert record.corrupted.keys() == CORRUPTIONS.keys()
            assert {len(row) for row in record.corrupted.values()} == {6}
            assert next(iter(record.probes)) == "input"
            assert list(record.probes)[-1] == "dense"

    def test_severity_zero_is_the_accuracy_of_the_run(self, measured: Study) -> None:
        for run in results_of(measured):
            if run.spec.compared:  # the tiny study has fewer validation images than are corrupted
                record = records_of(measured)[run.run_id]
                assert record.corrupted_images == run.val_images
                assert all(row[0] == pytest.approx(run.val_accuracy) for row in record.corrupted.values())

    def test_measures_of_kernels_are_those_of_the_stored_weights(self, measured: Study) -> None:
        for run_id, record in records_of(measured).items():
            model = load_model(run_folder(measured.folder, run_id))
            for layer, kernels in zip(record.layers, conv_kernels(model), strict=True):
                assert layer.shape == kernels.weight.shape
                assert layer.measures["l2_norm"] == pytest.approx(l2_norm(kernels.weight).mean())

    def test_importance_is_the_accuracy_lost_by_a_direct_computation(self, measured: Study, digits: Dataset) -> None:
        from regulens.data.batches import Feed, pixel_scaling
        from regulens.data.split import split

        run = next(run for run in results_of(measured) if run.spec.compared and run.spec.model.depth == 1)
        model = load_model(run_folder(measured.folder, run.run_id))
        parts = split(len(digits.labels), run.spec.parts)
        feed = Feed(digits, pixel_scaling(digits, run.spec.data, parts.train))
        ((images, labels),) = feed.batches(parts.validation, 500)
        network = model.expanded()
        with torch.no_grad():
            maps = images
            for name, layer in network.named_children():
                maps = layer(maps)
                if name == "relu1":
                    break
            places = [name for name, _ in network.named_children()]
            behind = network[places.index("relu1") + 1 :]
            for number in range(maps.shape[1]):
                silenced = maps.clone()
                silenced[:, number] = maps[:, number].mean()
                lost = run.val_accuracy - float((behind(silenced).argmax(1) == labels).float().mean())
                found = records_of(measured)[run.run_id].layers[0].importance[number]
                assert found == pytest.approx(lost, abs=1e-6)

    def test_what_is_measured_is_not_measured_again(self, measured: Study, processes: LocalExecutor) -> None:
        told: list[tuple[int, int]] = []
        again = measure_inside(measured.folder, processes, lambda done, of: told.append((done, of)))
        assert told == [(8, 8)]
        assert again == records_of(measured)

    def test_an_older_version_is_measured_anew(self, measured: Study, processes: LocalExecutor, tmp_path: Path) -> None:
        folder = tmp_path / "old"
        shutil.copytree(measured.folder, folder)
        store = Store(folder)
        record = next(iter(inside_records(store).values()))
        older = record.model_copy(update={"version": VERSION - 1}).model_dump() | {"a field of its own": 1}
        with sqlite3.connect(store.path) as connection:
            connection.execute("UPDATE inside SET record = ? WHERE run_id = ?", (json.dumps(older), record.run_id))
        assert record.run_id not in inside_records(store)
        told: list[int] = []
        measure_inside(folder, processes, lambda done, _: told.append(done))
        assert told == [7, 8]
        assert inside_records(store)[record.run_id] == record

    def test_one_damaged_run_leaves_the_others_measured(
        self, finished: Study, processes: LocalExecutor, tmp_path: Path
    ) -> None:
        folder = tmp_path / "damaged"
        shutil.copytree(finished.folder, folder)
        run = next(run for run in results_of(finished) if run.spec.compared)
        (run_folder(folder, run.run_id) / WEIGHTS).write_bytes(b"not weights")
        with pytest.raises(RegulensError, match=f"1 of 8 runs could not be measured, the first: run {run.run_id}"):
            measure_inside(folder, processes, quietly)
        assert len(inside_records(Store(folder))) == 7

    def test_nothing_to_measure_is_said(self, finished: Study, tmp_path: Path) -> None:
        Store(tmp_path)
        with pytest.raises(UserError, match="nothing to look into"):
            replace(finished, folder=tmp_path).inside()
        with pytest.raises(UserError, match="run regulens inside first"):
            finished.measures()


def made_up(
    study: Study, value: Callable[[RunSpec], float], collapsed: Callable[[RunSpec], bool] = lambda _: False
) -> tuple[list[RunResult], dict[str, InsideRecord]]:
    """Make results and records of ten seeds, whose only measure is made by ``value``."""
    some = next(run for run in results_of(study) if run.spec.compared)
    results, records = [], {}
    for cell in cells(study.spec):
        for seed in range(10):
            spec = cell.model_copy(update={"seed": seed})
            name = f"{cell.model.depth}-{cell.regularizer}-{seed}"
            accuracy = 0.01 if collapsed(spec) else 0.9
            results.append(some.model_copy(update={"spec": spec, "run_id": name, "val_accuracy": accuracy}))
            layer = LayerRecord(
                layer="conv1", shape=(4, 1, 3, 3), measures={"dead": value(spec)}, dead=(), importance=()
            )
            records[name] = InsideRecord(
                run_id=name, version=VERSION, images=18, layers=(layer,), probes={}, probe_images=(1, 1),
                corrupted={}, corrupted_images=18,
            )  # fmt: skip
    return results, records


class TestComparing:
    def test_differences_are_welchs_at_the_adjusted_level(self, finished: Study, tmp_path: Path) -> None:
        rng = np.random.default_rng(1)
        drawn = {
            (spec.model.depth, spec.regularizer, seed): 0.5 * (spec.regularizer == "none") + 0.1 * rng.random()
            for spec in cells(finished.spec)
            for seed in range(10)
        }
        results, records = made_up(finished, lambda spec: drawn[spec.model.depth, spec.regularizer, spec.seed])
        found = analyse_inside(finished.spec, results, records, tmp_path)
        assert found.family == 2  # one measure at two depths
        assert found.level == pytest.approx(0.95)  # both differ: 1 - 2 x 0.05 / 2
        assert [dict(each.where) for each in found.comparisons] == [{"model.depth": 1}, {"model.depth": 2}]
        for each in found.comparisons:
            a, b = (
                np.array([drawn[each.where["model.depth"], level, seed] for seed in range(10)])
                for level in ("batchnorm", "none")
            )
            assert each.all.estimate == pytest.approx(a.mean() - b.mean())
            low, high = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
            assert each.all.low <= low + 1e-12  # the hull with Hall's transformation
            assert each.all.high >= high - 1e-12
            assert each.all.high - each.all.low < 1.3 * (high - low)
            assert each.holds

    def test_the_level_is_that_of_benjamini_and_hochberg(self, finished: Study, tmp_path: Path) -> None:
        rng = np.random.default_rng(4)
        shift = {1: 0.5, 2: 0.0}  # one of two comparisons has a difference
        results, records = made_up(
            finished,
            lambda spec: 0.3 + shift[spec.model.depth] * (spec.regularizer == "none") + 0.05 * float(rng.random()),
        )
        found = analyse_inside(finished.spec, results, records, tmp_path)
        assert [each.holds for each in found.comparisons] == [True, False]
        assert found.level == pytest.approx(1 - 1 * 0.05 / 2)

    def test_equal_networks_seldom_differ(self, finished: Study, tmp_path: Path) -> None:
        rng = np.random.default_rng(2)
        wrong = 0
        for _ in range(40):
            results, records = made_up(finished, lambda _: float(rng.random()))
            found = analyse_inside(finished.spec, results, records, tmp_path)
            wrong += any(each.holds for each in found.comparisons)
        assert wrong <= 6  # 5 % of 40 studies: more than 6 has a probability of 0.4 %

    def test_a_difference_that_collapses_alone_make_does_not_hold(self, finished: Study, tmp_path: Path) -> None:
        rng = np.random.default_rng(3)

        def collapses(spec: RunSpec) -> bool:
            return spec.regularizer == "none" and spec.seed < 5

        results, records = made_up(
            finished, lambda spec: 1.0 if collapses(spec) else 0.02 * float(rng.random()), collapses
        )
        for each in analyse_inside(finished.spec, results, records, tmp_path).comparisons:
            assert each.all.high < 0
            assert each.trained is not None
            assert each.trained.low < 0 < each.trained.high
            assert not each.holds

    def test_undefined_values_leave_their_runs_out_and_are_counted(self, finished: Study, tmp_path: Path) -> None:
        results, records = made_up(
            finished, lambda spec: math.nan if spec.seed < 7 else 0.25, lambda spec: spec.seed in {0, 9}
        )
        found = analyse_inside(finished.spec, results, records, tmp_path)
        assert {row.runs.n for row in found.measured} == {3}
        assert {row.undefined for row in found.measured} == {(7, 6)}
        assert {each.runs for each in found.comparisons} == {(3, 3)}
        table = next(block for block in measure_blocks(finished.spec, found, tmp_path) if isinstance(block, Table))
        assert all(row[2].endswith(", of 3 runs") for row in table.rows)
        [panel] = measure_panels(finished.spec, found)
        assert [np.isnan(row.values).sum() for row in panel.rows] == [6] * 4

    def test_where_nothing_has_any_spread_nothing_is_named(self, finished: Study, tmp_path: Path) -> None:
        results, records = made_up(finished, lambda spec: 0.25 * (spec.regularizer == "none"))
        found = analyse_inside(finished.spec, results, records, tmp_path)
        assert [each.all.estimate for each in found.comparisons] == [-0.25, -0.25]
        assert all(math.isnan(each.all.low) and math.isnan(each.trained.low) for each in found.comparisons)
        assert not any(each.holds for each in found.comparisons)

    def test_one_cell_without_spread_is_compared_by_the_others(self, finished: Study, tmp_path: Path) -> None:
        results, records = made_up(finished, lambda spec: 0.5 if spec.regularizer == "none" else 0.01 * (spec.seed % 2))
        assert all(each.holds for each in analyse_inside(finished.spec, results, records, tmp_path).comparisons)

    def test_dead_filters_are_shares_where_networks_differ_in_their_number(
        self, finished: Study, tmp_path: Path
    ) -> None:
        results, records = made_up(
            finished, lambda spec: 0.25 + 0.5 * (spec.regularizer == "none") + 0.01 * (spec.seed % 2)
        )
        found = analyse_inside(finished.spec, results, records, tmp_path)
        counted = difference_paragraphs(finished.spec, found, whole=False)
        assert all(
            "conv1 1.02 against 3.02, difference −2.000 of 4 filters (−2.020 to −1.980)" in text.text
            for text in counted
        )
        wide = {
            name: record.model_copy(
                update={"layers": tuple(each.model_copy(update={"shape": (8, 1, 3, 3)}) for each in record.layers)}
            )
            if "none" in name
            else record
            for name, record in records.items()
        }
        found = analyse_inside(finished.spec, results, wide, tmp_path)
        shares = difference_paragraphs(finished.spec, found, whole=False)
        assert all("conv1 0.255 against 0.755, difference −0.500" in text.text for text in shares)

    def test_intervals_stay_within_what_is_possible(self, finished: Study, tmp_path: Path) -> None:
        results, records = made_up(finished, lambda spec: float(spec.seed % 2))
        for row in analyse_inside(finished.spec, results, records, tmp_path).measured:
            assert 0 <= row.all.low < row.all.high <= 1

    def test_overconfidence_is_confidence_less_accuracy(self, measured: Study) -> None:
        found = analyse_inside(measured.spec, results_of(measured), records_of(measured), measured.folder)
        for spec, runs in found.runs.items():
            rows = [row for row in found.measured if row.place == NETWORK and row.measure == "overconfidence"]
            row = next(row for row in rows if row.levels["model.depth"] == spec.model.depth
                       and row.levels["regularizer"] == spec.regularizer)  # fmt: skip
            for value, (run, _) in zip(row.runs.values, runs, strict=True):
                predictions = load_predictions(run_folder(measured.folder, run.run_id) / PREDICTIONS)
                confidence = predictions.probabilities.max(axis=1).mean()
                assert value == pytest.approx(confidence - run.val_accuracy, abs=1e-6)

    def test_every_measure_has_a_title(self, measured: Study) -> None:
        found = analyse_inside(measured.spec, results_of(measured), records_of(measured), measured.folder)
        assert {row.measure for row in found.measured} == TITLES.keys()
        frame = measured.measures()
        assert set(frame["measure"]) > TITLES.keys()
        further = 4 * 6 + 1  # accuracies under corruptions, calibration error
        assert len(frame) == 4 * (9 + 5 + 3 + further) + 4 * (18 + 5 + 4 + further)
        probes = frame[(frame["measure"] == "probe") & (frame["place"] == "dense")]
        assert len(probes) == 8
        assert probes["value"].between(0, 1).all()
        errors = frame[frame["measure"] == "expected calibration error"]
        assert (errors["low"] <= errors["value"]).all()
        assert (errors["value"] <= errors["high"]).all()
        assert frame[frame["measure"] != "expected calibration error"]["low"].isna().all()


class TestTypicalRun:
    def test_is_the_lower_median_of_those_that_trained(self, finished: Study) -> None:
        some = next(run for run in results_of(finished) if run.spec.compared)
        accuracies = [0.05, 0.95, 0.7, 0.8, 0.9]
        runs = [
            some.model_copy(update={"val_accuracy": value, "spec": some.spec.model_copy(update={"seed": seed})})
            for seed, value in enumerate(accuracies)
        ]
        assert typical_run(runs).val_accuracy == 0.8
        assert typical_run(runs[:1]).val_accuracy == 0.05

    def test_of_equals_the_lowest_seed(self, finished: Study) -> None:
        some = next(run for run in results_of(finished) if run.spec.compared)
        runs = [
            some.model_copy(update={"val_accuracy": 0.8, "spec": some.spec.model_copy(update={"seed": seed})})
            for seed in (4, 2, 9)
        ]
        assert typical_run(runs).spec.seed == 2


class TestSimilarity:
    def test_a_network_is_like_itself_and_means_are_over_pairs(self, measured: Study) -> None:
        runs: dict[RunSpec, list[RunResult]] = {}
        for run in results_of(measured):
            if run.spec.compared:
                runs.setdefault(run.spec.cell, []).append(run)
        stages = {stage.stage: stage for stage in stage_similarities(runs, measured.folder)}
        assert list(stages) == ["block1", "block2", "dense", "output"]
        assert len(stages["block1"].cells) == 4
        assert {spec.model.depth for spec in stages["block2"].cells} == {2}
        stage = stages["dense"]
        a, b = stage.cells[:2]
        places = [np.flatnonzero(stage.cell_of_run == stage.cells.index(spec)) for spec in (a, b)]
        assert stage.within(a).mean.estimate == pytest.approx(stage.matrix[places[0][0], places[0][1]])
        assert stage.between(a, b).mean.estimate == pytest.approx(stage.matrix[np.ix_(*places)].mean())
        assert stage.mean_matrix()[0, 1] == pytest.approx(stage.mean_matrix()[1, 0])

    def test_the_same_network_twice_is_wholly_similar(self, measured: Study) -> None:
        run = next(run for run in results_of(measured) if run.spec.compared)
        for stage in stage_similarities({run.spec.cell: [run, run]}, measured.folder):
            assert stage.matrix[0, 1] == pytest.approx(1, abs=1e-5)

    def test_runs_that_are_judged_on_other_images_are_left_out(self, measured: Study) -> None:
        runs = [run for run in results_of(measured) if run.spec.compared and run.spec.model.depth == 1][:2]
        data = runs[1].spec.data.model_copy(update={"split_seed": 7})
        moved = runs[1].model_copy(update={"spec": runs[1].spec.model_copy(update={"data": data})})
        alike = stage_similarities({runs[0].spec.cell: runs}, measured.folder)
        assert [len(stage.matrix) for stage in alike] == [2] * 3
        assert stage_similarities({runs[0].spec.cell: [runs[0], moved]}, measured.folder) == []


class TestPairs:
    def test_cells_that_differ_in_the_compared_factor_alone_are_compared(self, finished: Study) -> None:
        declared = declared_analysis(finished.spec)
        named = {
            frozenset(cell_levels(spec, finished.spec).items()): (spec.model.depth, spec.regularizer)
            for spec in cells(finished.spec)
        }
        assert list(compared_pairs(declared, named)) == [
            ((1, "batchnorm"), (1, "none")),
            ((2, "batchnorm"), (2, "none")),
        ]
        alone = {levels: name for levels, name in named.items() if name != (2, "none")}
        assert list(compared_pairs(declared, alone)) == [((1, "batchnorm"), (1, "none"))]

    def test_paired_runs_without_a_seed_in_common_are_not_compared(self, finished: Study, tmp_path: Path) -> None:
        spec = finished.spec.model_copy(update={"vary": ("init", "order", "dropout", "split")})
        results, records = made_up(
            replace(finished, spec=spec),
            lambda run: math.nan if (run.seed < 5) == (run.regularizer == "none") else 0.1 * run.seed,
        )
        found = analyse_inside(spec, results, records, tmp_path)
        assert found.declared.paired
        assert len(found.measured) == 4
        assert found.comparisons == ()
