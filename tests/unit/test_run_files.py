"""What lies in a run's folder is the run's; predictions that were lost are made again to the same bytes."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from regulens.errors import DataError
from regulens.results import RunResult
from regulens.study.runner import Note, Opened, RunStarted, StudyEvent, check_run_files
from regulens.study.store import DATABASE, open_store
from regulens.training.predictions import Predictions, agrees

RunAgain = Callable[[Path], list[StudyEvent]]


def contents(folder: Path, name: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.glob(f"runs/*/{name}")}


def compared(folder: Path) -> list[RunResult]:
    return [run for run in open_store(folder).results() if run.spec.compared]


def lose(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def take_anothers(path: Path) -> None:
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["probabilities"] = np.eye(10, dtype=np.float32)[arrays["labels"]]
    np.savez(path, **arrays)


@pytest.mark.parametrize("damage", [lose, empty, cut_off, take_anothers])
@pytest.mark.parametrize("name", ["predictions.npz", "test_predictions.npz"])
def test_lost_predictions_are_made_again_to_the_same_bytes(
    name: str, damage: Callable[[Path], None], folder: Path, run_again: RunAgain
) -> None:
    before, ledger, rows = contents(folder, name), open_store(folder).ledger(), open_store(folder).results()
    for path in before:
        damage(path)
    if damage is not lose:
        with pytest.raises(DataError, match=rf"{name}: is damaged or not of this run.*run the study again"):
            check_run_files(folder, open_store(folder))
    events = run_again(folder)
    assert not any(isinstance(event, RunStarted | Opened) for event in events)
    assert any("made again" in event.text for event in events if isinstance(event, Note))
    assert contents(folder, name) == before
    assert (open_store(folder).ledger(), open_store(folder).results()) == (ledger, rows)
    check_run_files(folder, open_store(folder))


def test_a_run_that_lost_all_its_files_is_run_again_and_tested_no_second_time(
    folder: Path, run_again: RunAgain
) -> None:
    before, ledger = contents(folder, "*predictions.npz"), open_store(folder).ledger()
    weights = load_file(folder / "runs" / ledger[0].run_id / "weights.safetensors")
    shutil.rmtree(folder / "runs" / ledger[0].run_id)
    events = run_again(folder)
    assert [event.spec.stage for event in events if isinstance(event, RunStarted)] == ["refit"]
    assert not any(isinstance(event, Opened) for event in events)
    assert contents(folder, "*predictions.npz") == before
    again = load_file(folder / "runs" / ledger[0].run_id / "weights.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in weights.items())
    assert open_store(folder).ledger() == ledger


def test_predictions_that_the_weights_do_not_give_are_not_written(folder: Path, run_again: RunAgain) -> None:
    run = compared(folder)[0]
    with sqlite3.connect(folder / DATABASE) as connection:
        other = run.model_copy(update={"val_accuracy": run.val_accuracy + 1 / 18}).model_dump_json()
        connection.execute("UPDATE runs SET result = ? WHERE run_id = ?", (other, run.run_id))
    path = folder / "runs" / run.run_id / "predictions.npz"
    path.unlink()
    said = [event.text for event in run_again(folder) if isinstance(event, Note)]
    assert any("has no predictions (its weights give" in text and str(path.parent) in text for text in said)
    assert not path.exists()


def test_weights_of_another_run_are_refused_and_left_as_they_are(folder: Path, run_again: RunAgain) -> None:
    ours, theirs = (folder / "runs" / run.run_id / "weights.safetensors" for run in compared(folder)[:2])
    shutil.copy(theirs, ours)
    for use in (run_again, lambda place: check_run_files(place, open_store(place))):
        with pytest.raises(DataError, match="holds the weights of another run; put its own back"):
            use(folder)
    assert ours.read_bytes() == theirs.read_bytes()


def test_weights_that_are_cut_off_are_lost_and_trained_again(folder: Path, run_again: RunAgain) -> None:
    path = folder / "runs" / compared(folder)[0].run_id / "weights.safetensors"
    before = {name: tensor.clone() for name, tensor in load_file(path).items()}  # the file is mapped, and cut off next
    path.write_bytes(path.read_bytes()[:100])
    assert sum(isinstance(event, RunStarted) for event in run_again(folder)) == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in load_file(path).items())


def test_a_test_that_the_ledger_has_lost_is_entered_again_and_said_to_be_no_first_one(
    folder: Path, run_again: RunAgain
) -> None:
    before = open_store(folder).ledger()
    with sqlite3.connect(folder / DATABASE) as connection:
        connection.execute("DELETE FROM ledger WHERE run_id = ?", (before[0].run_id,))
    run_again(folder)
    after = {record.run_id: record for record in open_store(folder).ledger()}
    assert after[before[0].run_id].test_accuracy == before[0].test_accuracy
    assert "evaluated before" in after[before[0].run_id].reason
    [deviation] = open_store(folder).deviations()
    assert f"run {before[0].run_id} was evaluated on the test set before" in deviation.text


def test_a_database_from_before_the_test_does_not_make_the_test_a_first_one(folder: Path, run_again: RunAgain) -> None:
    tested = {record.run_id for record in open_store(folder).ledger()}
    with sqlite3.connect(folder / DATABASE) as connection:
        connection.execute("DELETE FROM ledger")
        connection.execute("DELETE FROM runs WHERE json_extract(result, '$.spec.stage') = 'refit'")
    run_again(folder)
    assert len(open_store(folder).deviations()) == len(tested)
    assert all("evaluated before" in record.reason for record in open_store(folder).ledger())


def predictions(probabilities: list[list[float]], labels: list[int]) -> Predictions:
    rows = np.array(probabilities, np.float32)
    return Predictions(rows, np.arange(len(rows)), np.array(labels, np.uint8))


def test_predictions_agree_with_the_accuracy_they_give_and_no_other() -> None:
    three = predictions([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1])
    assert agrees(three, 3, 2 / 3)
    assert not agrees(three, 3, 1)
    assert not agrees(three, 4, 2 / 3)
    assert not agrees(predictions([[0.9, 0.1]], [2]), 1, 0)


def test_ties_and_what_is_no_number_may_count_either_way() -> None:
    nan = float("nan")
    unsure = predictions([[0.5, 0.5], [nan, nan], [0.1, 0.9]], [1, 0, 1])
    assert [agrees(unsure, 3, hits / 3) for hits in range(4)] == [False, True, True, True]
