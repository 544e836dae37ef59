"""A loss is the likelihood alone in every arm: in new runs, in those of version 0.1, and image by image."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from done import Done
from regulens.api import Study, analyze, load_study, run_study
from regulens.errors import UserError
from regulens.executors.local import LocalExecutor
from regulens.results import RunResult
from regulens.spec import AnalysisSpec, ClaimSpec
from regulens.stats.likelihood import LEAST, negative_log_likelihood
from regulens.study.analysis import analyse_study
from regulens.study.rescoring import unknown_losses
from regulens.study.runner import StageStarted, StudyEvent
from regulens.study.samples import by_image, right_images
from regulens.study.store import Store, open_store
from regulens.study.study_file import parse_study
from regulens.training.predictions import PREDICTIONS, load_predictions

STRENGTH = 0.1
FILE = f"""
name = "penalized"
seeds = 2
[data]
name = "digits"
scale = "1/255"
limit = 120
[model]
filters = 4
dense = 8
[train]
epochs = 2
batch_size = 32
learning_rate = 0.1
[factors]
regularizer = ["none", "l2({STRENGTH})"]
[[also_refit]]
regularizer = "l2({STRENGTH})"
[analysis]
response = "val_nll"
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, processes: LocalExecutor) -> Study:
    """A finished study of runs with and without a penalty; tests only read it."""
    place = tmp_path_factory.mktemp("penalized")
    (place / "penalized.toml").write_text(FILE)
    return run_study(load_study(place / "penalized.toml", place / "study"), executor=processes)


@pytest.fixture
def new(study: Study) -> dict[str, RunResult]:
    return {result.run_id: result for result in open_store(study.folder).results()}


@pytest.fixture
def old(study: Study, tmp_path: Path) -> Path:
    """The study's folder as version 0.1 wrote it: without versions, and with penalties inside the losses."""
    folder = Path(shutil.copytree(study.folder, tmp_path / "old", ignore=shutil.ignore_patterns("figures", "*.html")))
    with closing(sqlite3.connect(folder / "study.db")) as connection, connection:
        penalties = {}
        for identity, text in connection.execute("SELECT run_id, result FROM runs").fetchall():
            row = json.loads(text)
            penalties[identity] = penalty_of(row, folder / "runs" / identity)
            for name in ("train_loss", "val_loss"):
                row[name] = None if row[name] is None else row[name] + penalties[identity]
            for epoch in row["epochs"]:
                epoch["loss"], epoch["val_loss"] = epoch.pop("objective"), epoch.pop("val_objective")
            write(connection, "runs", "result", identity, row)
        for identity, text in connection.execute("SELECT run_id, record FROM ledger").fetchall():
            row = json.loads(text)
            row["test_loss"] += penalties[identity]
            write(connection, "ledger", "record", identity, row)
    return folder


def write(connection: sqlite3.Connection, table: str, column: str, identity: str, row: dict[str, object]) -> None:
    row.pop("version")
    row.pop("unknown", None)
    connection.execute(f"UPDATE {table} SET {column} = ? WHERE run_id = ?", (json.dumps(row), identity))


def penalty_of(row: dict[str, dict[str, str]], place: Path) -> float:
    if row["spec"]["regularizer"] == "none":
        return 0.0
    kernels = [weight for weight in load_file(place / "weights.safetensors").values() if weight.ndim == 4]
    return STRENGTH * sum(float(np.square(kernel.astype(float)).sum()) for kernel in kernels)


def penalized(results: list[RunResult], stage: str = "train") -> list[RunResult]:
    return [each for each in results if each.spec.regularizer != "none" and each.spec.stage == stage]


def test_a_loss_is_the_likelihood_of_the_predictions_and_the_epoch_log_holds_the_objective(
    study: Study, new: dict[str, RunResult]
) -> None:
    for run in new.values():
        if run.val_images:
            place = study.folder / "runs" / run.run_id
            predictions = load_predictions(place / PREDICTIONS)
            p = predictions.probabilities[np.arange(run.val_images), predictions.labels].astype(float)
            assert run.val_loss == pytest.approx(-np.log(p).mean(), rel=1e-6)
            penalty = penalty_of(run.model_dump(), place)
            assert run.epochs[-1].val_objective == pytest.approx(run.val_loss + penalty, rel=1e-6)
            assert (penalty > 0.1) == (run.spec.regularizer != "none")


def test_runs_of_version_0_1_are_rescored_when_they_are_read_and_nothing_is_written(
    old: Path, new: dict[str, RunResult]
) -> None:
    before = (old / "study.db").read_bytes()
    store = open_store(old)
    for run in store.results():
        now = new[run.run_id]
        assert run.val_loss == pytest.approx(now.val_loss, rel=1e-6, nan_ok=True)
        if run.spec.stage == "train" or run.spec.regularizer == "none":
            assert run.train_loss == pytest.approx(now.train_loss, rel=1e-5)
            assert not run.unknown
        assert [epoch.objective for epoch in run.epochs] == [epoch.objective for epoch in now.epochs]
    assert (old / "study.db").read_bytes() == before


def test_the_test_loss_of_version_0_1_is_rescored_too(study: Study, old: Path) -> None:
    ours = {record.run_id: record.test_loss for record in open_store(study.folder).ledger()}
    theirs = {record.run_id: record.test_loss for record in open_store(old).ledger()}
    assert theirs == pytest.approx(ours, rel=1e-6)
    for path in old.glob("runs/*/test_predictions.npz"):
        path.unlink()
    lost = {run.run_id for run in penalized(open_store(old).results(), "refit")}
    again = {record.run_id: record.test_loss for record in open_store(old).ledger()}
    assert {name for name, loss in again.items() if math.isnan(loss)} == lost


def test_the_training_loss_of_a_penalized_refit_of_version_0_1_is_not_known_and_that_is_said(old: Path) -> None:
    refits = penalized(open_store(old).results(), "refit")
    assert len(refits) == 2
    assert all(math.isnan(run.train_loss) and "no predictions on validation" in run.unknown for run in refits)


def test_where_predictions_of_version_0_1_are_lost_the_loss_is_null_with_a_reason_until_they_are_made_again(
    old: Path, new: dict[str, RunResult], regulens: Callable[..., Done], run_again: Callable[[Path], list[StudyEvent]]
) -> None:
    for path in old.glob(f"runs/*/{PREDICTIONS}"):
        path.unlink()
    for run in open_store(old).results():
        known = run.spec.regularizer == "none"
        assert math.isnan(run.train_loss) != known
        assert bool(run.unknown) != known
        if run.val_images:
            assert math.isnan(run.val_loss) != known
    done = regulens("results", old, "--compared", "--format", "json")
    assert "note: losses of 4 runs are not known: stored with the L2 penalty inside" in done.stderr
    assert {row["val_loss"] is None for row in json.loads(done.stdout) if row["regularizer"] != "none"} == {True}
    left_out = analyse_study(load_study(old).spec, open_store(old).results(), old).diverged
    assert len(left_out) == 2
    assert all("its val_loss is not known (stored with" in text for text in left_out)
    pending = [event.pending for event in run_again(old) if isinstance(event, StageStarted)]
    assert not any(pending)
    for run in penalized(open_store(old).results()):
        assert run.val_loss == pytest.approx(new[run.run_id].val_loss, rel=1e-6)


def test_a_folder_may_hold_runs_of_both_versions(old: Path, processes: LocalExecutor) -> None:
    ids = {run.run_id for run in open_store(old).results()}
    run_study(load_study(old), seeds=3, executor=processes)
    store = open_store(old)
    with closing(sqlite3.connect(old / "study.db")) as connection:
        query = "SELECT json_extract(result, '$.version'), count(*) FROM runs GROUP BY 1"
        assert dict(connection.execute(query)) == {None: len(ids), 2: len(store.results()) - len(ids)}
    assert ids < {run.run_id for run in store.results()}
    losses = [run.val_loss for run in penalized(store.results())]
    assert len(losses) == 3
    assert max(losses) < 2.6  # penalties are above 0.1, and guessing comes to log(10) = 2.3


@pytest.mark.parametrize("version", [1, 2])
def test_an_arm_with_the_same_predictions_is_not_worse_for_its_penalty(version: int, old: Path, tmp_path: Path) -> None:
    spec = load_study(old).spec
    store = open_store(old)
    runs = [run for run in store.results() if run.spec.stage == "train"]
    plain = {run.spec.seed: run for run in runs if run.spec.regularizer == "none"}
    for run in penalized(runs):
        twin = plain[run.spec.seed]
        shutil.copy(old / "runs" / twin.run_id / PREDICTIONS, old / "runs" / run.run_id / PREDICTIONS)
        loss = twin.val_loss + (0.165 if version == 1 else 0)
        changes = {"version": version, "val_loss": loss, "val_accuracy": twin.val_accuracy}
        store.save_result(run.model_copy(update=changes))
    found = analyse_study(spec, store.results(), old)
    [comparison] = found.analysis.comparisons
    assert comparison.result is not None
    assert comparison.result.overall.interval.estimate == pytest.approx(0, abs=1e-6)  # the runs are too few to train
    assert comparison.result.verdict == "too few runs"


def test_a_result_that_is_saved_says_its_version(new: dict[str, RunResult], tmp_path: Path) -> None:
    Store(tmp_path).save_result(next(iter(new.values())))
    with closing(sqlite3.connect(tmp_path / "study.db")) as connection:
        [(text,)] = connection.execute("SELECT result FROM runs")
    assert json.loads(text)["version"] == 2
    with pytest.raises(ValueError, match="version"):
        RunResult.model_validate_json(json.dumps(json.loads(text) | {"version": 3}))


def test_many_losses_that_are_not_known_are_said_once(new: dict[str, RunResult]) -> None:
    runs = [run.model_copy(update={"unknown": "lost"}) for run in new.values()]
    assert unknown_losses(runs) == [f"losses of {len(runs)} runs are not known: lost"]
    assert unknown_losses(new.values()) == []


class TestByImage:
    def test_the_means_over_images_are_the_responses(self, study: Study, new: dict[str, RunResult]) -> None:
        runs = [run for run in new.values() if run.val_images]
        losses, right = (by_image(runs, study.folder, response) for response in ("val_loss", "val_accuracy"))
        assert losses is not None
        assert right is not None
        assert losses.shape == right.shape == (4, runs[0].val_images)
        np.testing.assert_allclose(losses.mean(1), [run.val_loss for run in runs], rtol=1e-6)
        np.testing.assert_allclose(right.mean(1), [run.val_accuracy for run in runs])
        paths = [study.folder / "runs" / run.run_id / PREDICTIONS for run in runs]
        np.testing.assert_array_equal(right, right_images(paths))

    def test_of_version_0_1_too(self, old: Path) -> None:
        runs = penalized(open_store(old).results())
        losses = by_image(runs, old, "val_loss")
        assert losses is not None
        np.testing.assert_allclose(losses.mean(1), [run.val_loss for run in runs], rtol=1e-6)

    @pytest.mark.parametrize("response", ["gap", "train_loss", "train_accuracy", "train_seconds"])
    def test_there_is_none_of_what_is_not_of_validation(
        self, response: str, study: Study, new: dict[str, RunResult]
    ) -> None:
        assert by_image(list(new.values())[:1], study.folder, response) is None

    def test_there_is_none_without_predictions(self, old: Path) -> None:
        runs = penalized(open_store(old).results())
        (old / "runs" / runs[0].run_id / PREDICTIONS).unlink()
        assert by_image(runs, old, "val_loss") is None
        assert by_image([], old, "val_loss") is None

    def test_images_whose_probability_is_too_small_share_the_rest_of_the_loss(
        self, old: Path, new: dict[str, RunResult]
    ) -> None:
        run = next(run for run in new.values() if run.val_images)
        path = old / "runs" / run.run_id / PREDICTIONS
        arrays = dict(np.load(path))
        for image in (0, 3):
            arrays["probabilities"][image] = np.eye(10)[(int(arrays["labels"][image]) + 1) % 10]
        np.savez(path, **arrays)
        losses = by_image([run.model_copy(update={"val_loss": 50.0})], old, "val_loss")
        assert losses is not None
        assert losses.mean() == pytest.approx(50)
        assert losses[0, 0] == losses[0, 3] > 87.3
        assert (np.delete(losses[0], [0, 3]) < 10).all()


def test_the_likelihood_of_single_images_is_cut_off_where_float32_ends() -> None:
    p = np.array([[0.25, 0.75], [1.0, 0.0], [np.nan, np.nan]], np.float32)
    found = negative_log_likelihood(p, np.array([0, 1, 1], np.uint8))
    np.testing.assert_allclose(found, [math.log(4), -math.log(LEAST), math.nan])


class TestOtherNames:
    def test_val_nll_and_train_nll_are_the_losses(self) -> None:
        assert AnalysisSpec(response="val_nll") == AnalysisSpec(response="val_loss")
        claim = {"id": "x", "text": "x", "kind": "greater", "a": "none", "b": "batchnorm"}
        several = ClaimSpec.model_validate(claim | {"response": ["val_nll", "train_nll", "gap"]})
        assert several.response == ("val_loss", "train_loss", "gap")
        assert ClaimSpec.model_validate(claim | {"response": "train_nll"}).response == ("train_loss",)
        assert parse_study(FILE, "x") == parse_study(FILE.replace("val_nll", "val_loss"), "x")

    @pytest.mark.parametrize("name", ["nll", "objective", "val_objective"])
    def test_an_objective_is_no_response(self, name: str) -> None:
        with pytest.raises(UserError, match="val_loss"):
            parse_study(FILE.replace("val_nll", name), "x")

    def test_a_studys_own_results_are_analyzed_under_either_name(
        self, study: Study, tmp_path: Path, regulens: Callable[..., Done]
    ) -> None:
        csv = tmp_path / "runs.csv"
        csv.write_text(regulens("results", study.folder, "--compared", "--format", "csv").stdout)
        options = ("analyze", csv, "--factors", "regularizer", "--seed", "seed", "--direction", "lower")
        one, other = (regulens(*options, "--response", name, "--format", "json") for name in ("val_nll", "val_loss"))
        assert one.returncode == 0, one.stderr
        assert one.stdout == other.stdout
        frame = study.results(compared=True)
        found = analyze(frame, response="train_nll", factors="regularizer", seed="seed", direction="lower")
        assert found.response == "train_loss"

    def test_a_loss_from_elsewhere_is_not_taken_for_the_likelihood(self, study: Study) -> None:
        frame = study.results(compared=True)[["regularizer", "seed", "val_loss"]]
        with pytest.raises(UserError, match='no column "val_nll"'):
            analyze(frame, response="val_nll", factors="regularizer", seed="seed", direction="lower")
