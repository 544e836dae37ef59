"""Train, select, refit, open the test part: in this order, once, and resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from regulens.api import Study, load_study, run_study
from regulens.data.dataset import Dataset
from regulens.data.split import split
from regulens.errors import RegulensError, UserError
from regulens.executors.base import Done, Event, Failed
from regulens.executors.local import LocalExecutor
from regulens.results import RunResult
from regulens.spec import RunSpec
from regulens.study import protocol
from regulens.study.protocol import select
from regulens.study.runner import EpochEnded, Note, Opened, RunEnded, RunStarted, Selected, StageStarted, StudyEvent
from regulens.study.store import open_store
from regulens.training.loop import train

RunTiny = Callable[..., Study]


def with_accuracy(result: RunResult, accuracy: float) -> RunResult:
    return result.model_copy(update={"val_accuracy": accuracy})


def test_selection_takes_the_highest_mean_over_seeds(finished: Study) -> None:
    results = [run for run in open_store(finished.folder).results() if run.spec.stage == "train"]
    cells = list(dict.fromkeys(run.cell_id for run in results))
    means = dict(zip(cells, (0.5, 0.7, 0.6, 0.2), strict=True))
    spread = [with_accuracy(run, means[run.cell_id] + (0.2 if run.spec.seed else -0.2)) for run in results]
    [choice] = select(finished.spec, spread)
    assert choice.selection.cell_id == cells[1]
    assert choice.selection.mean_val_accuracy == pytest.approx(0.7)


def test_of_equals_selection_takes_the_one_with_fewer_parameters(finished: Study) -> None:
    results = [with_accuracy(run, 0.5) for run in open_store(finished.folder).results() if run.spec.stage == "train"]
    fewest = min(run.parameters_total for run in results)
    assert select(finished.spec, results)[0].spec in [run.spec for run in results if run.parameters_total == fewest]


def test_means_that_tie_but_for_rounding_are_equals(finished: Study) -> None:
    results = [run for run in open_store(finished.folder).results() if run.spec.stage == "train"]
    fewest = min(run.parameters_total for run in results)
    assert sum((0.1, 0.7)) != sum((0.2, 0.6))
    tied = [
        with_accuracy(run, ((0.1, 0.7) if run.parameters_total == fewest else (0.2, 0.6))[run.spec.seed])
        for run in results
    ]
    assert select(finished.spec, tied)[0].spec in [run.spec for run in results if run.parameters_total == fewest]


def test_a_study_runs_its_stages_in_order(run_tiny: RunTiny, tmp_path: Path) -> None:
    events: list[StudyEvent] = []
    study = run_tiny(tmp_path / "study", seeds=1, on_event=events.append)
    stages = [event.stage for event in events if isinstance(event, StageStarted)]
    assert stages == ["train", "refit"]
    kinds = [type(event) for event in events]
    assert kinds.index(Selected) > max(
        i for i, event in enumerate(events) if isinstance(event, RunEnded) and event.spec.stage == "train"
    )
    assert kinds.index(Opened) > max(i for i, event in enumerate(events) if isinstance(event, RunEnded))
    assert kinds.count(RunStarted) == kinds.count(RunEnded)
    assert kinds.count(EpochEnded) == 2 * kinds.count(RunEnded)
    assert {path.name for path in study.folder.iterdir()} >= {
        "study.toml",
        "study.db",
        "runs",
        "figures",
        "report.html",
    }


def test_finished_runs_are_not_repeated(run_tiny: RunTiny, tmp_path: Path) -> None:
    first = run_tiny(tmp_path / "study", seeds=1)
    weights = sorted((first.folder / "runs").glob("*/weights.safetensors"))
    written = [path.stat().st_mtime_ns for path in weights]
    ledger = open_store(first.folder).ledger()
    events: list[StudyEvent] = []
    run_tiny(tmp_path / "study", seeds=1, on_event=events.append)
    assert not any(isinstance(event, RunStarted | Opened) for event in events)
    assert [path.stat().st_mtime_ns for path in weights] == written
    assert open_store(first.folder).ledger() == ledger


def test_more_seeds_extend_the_study_and_fewer_leave_it(run_tiny: RunTiny, tmp_path: Path) -> None:
    run_tiny(tmp_path / "study", seeds=1)
    before = {run.run_id for run in open_store(tmp_path / "study").results()}
    study = run_tiny(tmp_path / "study", seeds=2)
    results = open_store(study.folder).results()
    assert before < {run.run_id for run in results}
    assert sum(run.spec.stage == "train" for run in results) == 8
    assert run_tiny(tmp_path / "study", seeds=1).spec.seeds == 2


def test_a_changed_selection_adds_refits_and_openings_and_the_report_says_so(
    run_tiny: RunTiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = protocol.select

    def choose(depth: int) -> Callable[..., list[protocol.Choice]]:
        def chosen(study: protocol.StudySpec, trained: list[RunResult]) -> list[protocol.Choice]:
            favoured = [
                with_accuracy(run, float(run.spec.model.depth == depth and run.spec.regularizer == "none"))
                for run in trained
            ]
            return real(study, favoured)

        return chosen

    monkeypatch.setattr(protocol, "select", choose(1))
    first = run_tiny(tmp_path / "study", seeds=1)
    opened = open_store(first.folder).ledger()
    assert "The selection changed" not in (first.folder / "report.html").read_text()
    monkeypatch.setattr(protocol, "select", choose(2))
    second = run_tiny(tmp_path / "study", seeds=2)
    store = open_store(second.folder)
    assert [selection.label for selection in store.selections()] == ["depth 1, none", "depth 2, none"]
    assert store.ledger()[: len(opened)] == opened
    refits = {run.run_id: run.spec for run in store.results()}
    networks = [(refits[record.run_id].model.depth, refits[record.run_id].regularizer) for record in store.ledger()]
    assert networks.count((1, "none")) == 1
    assert networks.count((2, "none")) == networks.count((2, "batchnorm")) == 2
    page = (second.folder / "report.html").read_text()
    assert (
        "The selection changed when the study grew from 1 to 2 seeds: “depth 1, none” before, “depth 2, none” now"
        in page
    )


def test_results_do_not_depend_on_the_number_of_workers(finished: Study, tiny_file: Path, tmp_path: Path) -> None:
    alone = run_study(load_study(tiny_file, tmp_path / "alone"), workers=1)
    ours, theirs = ({run.run_id: run for run in open_store(study.folder).results()} for study in (alone, finished))
    assert ours.keys() == theirs.keys()
    for identity, run in ours.items():
        assert run.train_loss == theirs[identity].train_loss
        one, other = (
            load_file(study.folder / "runs" / identity / "weights.safetensors") for study in (alone, finished)
        )
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_python_api_trains_what_a_worker_trains(finished: Study, digits: object) -> None:
    run = next(run for run in open_store(finished.folder).results() if run.spec.regularizer == "batchnorm")
    trained = train(run.spec, digits)
    saved = load_file(finished.folder / "runs" / run.run_id / "weights.safetensors")
    assert all(torch.equal(tensor, saved[name]) for name, tensor in trained.model.state_dict().items())


def test_sealed_test_numbers_belong_to_refits_only(finished: Study) -> None:
    frame = finished.results()
    assert frame.loc[frame["stage"] == "train", "test_accuracy"].isna().all()
    assert frame.loc[frame["stage"] == "refit", "test_accuracy"].notna().all()


def test_test_accuracy_is_that_of_the_sealed_images(finished: Study, digits: object) -> None:
    from regulens.training.checkpoint import load_model

    store = open_store(finished.folder)
    specs = {run.run_id: run.spec for run in store.results()}
    for record in store.ledger():
        spec = specs[record.run_id]
        test = split(len(digits.labels), spec.data).test
        images = torch.from_numpy(digits.images[test]).float() * spec.data.scale
        guesses = load_model(finished.folder / "runs" / record.run_id)(images).argmax(1).numpy()
        assert record.test_images == len(test)
        assert record.test_accuracy == pytest.approx(np.mean(guesses == digits.labels[test]))


class FailsOnce:
    """An executor whose first run that is asked for fails: the third of a stage, or every refit."""

    workers = 1

    def __init__(self, executor: LocalExecutor, stage: str = "train") -> None:
        self.executor, self.stage = executor, stage

    def run(self, function: Any, items: list[Any]) -> Iterator[Event]:
        for event in self.executor.run(function, items):
            spec = items[event.index].spec
            fails = spec.stage == self.stage and (event.index == 2 or self.stage == "refit") and isinstance(event, Done)
            yield Failed(event.index, "MemoryError: no room", "traceback") if fails else event

    def close(self) -> None:
        pass


def test_a_failed_run_stops_before_selection_and_is_tried_again(
    tiny_file: Path, tmp_path: Path, processes: LocalExecutor
) -> None:
    study = load_study(tiny_file, tmp_path / "study")
    with pytest.raises(RegulensError, match=r"1 of 4 runs failed, the first: depth [12], \S+, seed 0: MemoryError"):
        run_study(study, seeds=1, executor=FailsOnce(processes))
    store = open_store(study.folder)
    assert len(store.results()) == 3
    assert store.selections() == []
    assert study.progress().failures
    assert "not finished" in (study.folder / "report.html").read_text()
    run_study(study, seeds=1, executor=processes)
    assert store.failures() == []
    assert len([run for run in store.results() if run.spec.stage == "train"]) == 4


def test_a_failed_refit_is_tried_again(tiny_file: Path, tmp_path: Path, processes: LocalExecutor) -> None:
    study = load_study(tiny_file, tmp_path / "study")
    with pytest.raises(RegulensError, match=r"runs failed, the first: .*, seed 0, refit: MemoryError"):
        run_study(study, seeds=1, executor=FailsOnce(processes, "refit"))
    assert open_store(study.folder).ledger() == []
    run_study(study, seeds=1, executor=processes)
    assert open_store(study.folder).failures() == []
    assert len(open_store(study.folder).ledger()) >= 1


def test_a_run_whose_weights_are_lost_is_run_again_to_the_same_bits(run_tiny: RunTiny, tmp_path: Path) -> None:
    study = run_tiny(tmp_path / "study", seeds=1)
    before = {row["run_id"]: row["val_loss"] for row in study.result_rows()}
    ledger = open_store(study.folder).ledger()
    for lost in (study.folder / "runs").glob("*/weights.safetensors"):
        lost.unlink()
    run_tiny(tmp_path / "study", seeds=1)
    assert {row["run_id"]: row["val_loss"] for row in study.result_rows()} == before
    assert open_store(study.folder).ledger() == ledger


def test_an_opening_that_was_cut_short_is_completed_not_repeated(
    run_tiny: RunTiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(protocol, "evaluate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_tiny(tmp_path / "study", seeds=1)
    [begun] = open_store(tmp_path / "study").ledger()
    assert np.isnan(begun.test_accuracy)
    study = run_tiny(tmp_path / "study", seeds=1)
    completed = open_store(study.folder).ledger()[0]
    assert (completed.run_id, completed.opened_at) == (begun.run_id, begun.opened_at)
    assert completed.test_accuracy >= 0


def test_fewer_seeds_than_planned_but_not_fewer_than_run(run_tiny: RunTiny, tiny_file: Path, tmp_path: Path) -> None:
    events: list[StudyEvent] = []
    held = load_study(tiny_file).with_seeds(9).spec
    (tmp_path / "study").mkdir()
    protocol.write_study(tmp_path / "study", held)
    assert run_tiny(tmp_path / "study", seeds=1).spec.seeds == 1
    assert run_tiny(tmp_path / "study", seeds=2).spec.seeds == 2
    assert run_tiny(tmp_path / "study", seeds=1, on_event=events.append).spec.seeds == 2
    assert Note("the folder holds runs of 2 seeds: the study goes on with 2") in events


def test_a_cell_is_selected_for_each_set_of_images(tiny_file: Path, tmp_path: Path, processes: LocalExecutor) -> None:
    splits = tmp_path / "splits.toml"
    text = tiny_file.read_text().partition("[[also_refit]]")[0]
    splits.write_text(text.replace("model.depth = [1, 2]", "data.split_seed = [1, 2]"))
    study = run_study(splits, seeds=1, out=tmp_path / "study", executor=processes)
    selections = open_store(study.folder).selections()
    assert [selection.among for selection in selections] == ["split seed 1", "split seed 2"]
    assert {selection.label.partition(", ")[0] for selection in selections} == {"split seed 1", "split seed 2"}
    page = (study.folder / "report.html").read_text()
    assert "test accuracies are to be read within one" in page
    assert page.count('class="chosen"') == 2


@pytest.fixture(scope="module")
def split_by_seed(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory, processes: LocalExecutor) -> Study:
    """A finished study whose seeds vary the split, of standardized pixels; tests only read it."""
    path = tmp_path_factory.mktemp("split") / "splits.toml"
    text = tiny_file.read_text().replace("seeds = 2", 'seeds = 3\nvary = ["init", "order", "dropout", "split"]')
    path.write_text(text.replace('scale = "1/255"', "standardize = true"))
    return run_study(path, out=path.parent / "study", executor=processes)


def test_where_the_split_varies_cells_share_images_seed_by_seed(split_by_seed: Study) -> None:
    runs = [run for run in open_store(split_by_seed.folder).results() if run.spec.stage == "train"]
    images = {(run.cell_id, run.spec.seed): split_by_seed.predictions(run.run_id).indices for run in runs}
    judged_on = {seed: {tuple(each) for (_, s), each in images.items() if s == seed} for seed in range(3)}
    assert [len(sets) for sets in judged_on.values()] == [1, 1, 1]
    assert len(set.union(*judged_on.values())) == 3
    assert len(images) == 12
    (selection,) = open_store(split_by_seed.folder).selections()
    means = {cell: np.mean([run.val_accuracy for run in runs if run.cell_id == cell]) for cell, _ in images}
    assert selection.mean_val_accuracy == pytest.approx(max(means.values()))
    assert (selection.among, selection.seeds) == ("", 3)


def test_where_the_split_varies_every_refit_is_tested_on_the_part_sealed_for_its_seed(
    split_by_seed: Study, digits: Dataset
) -> None:
    store = open_store(split_by_seed.folder)
    specs = {run.run_id: run.spec for run in store.results()}
    ledger = store.ledger()
    assert {specs[record.run_id].seed for record in ledger} == {0, 1, 2}
    for record in ledger:
        spec = specs[record.run_id]
        parts = split(len(digits.labels), spec.data.model_copy(update={"split_seed": 123 + spec.seed}))
        predictions = split_by_seed.predictions(record.run_id)
        assert np.array_equal(predictions.indices, parts.test)
        fitted = digits.images[np.concatenate([parts.train, parts.validation])]
        images = torch.from_numpy((digits.images[parts.test] - fitted.mean()) / fitted.std()).float()
        with torch.no_grad():
            guesses = split_by_seed.model(record.run_id)(images).argmax(1).numpy()
        assert record.test_accuracy == pytest.approx(np.mean(guesses == digits.labels[parts.test]))


def test_a_study_whose_seeds_vary_the_split_is_reported_and_resumed(
    split_by_seed: Study, processes: LocalExecutor
) -> None:
    assert list(split_by_seed.folder.glob("figures/classes-digits.svg"))
    assert not split_by_seed.pending()
    before = (open_store(split_by_seed.folder).ledger(), split_by_seed.result_rows())
    run_study(split_by_seed.folder, executor=processes)
    assert (open_store(split_by_seed.folder).ledger(), split_by_seed.result_rows()) == before


def test_refits_follow_the_rule_of_the_study(tiny_file: Path, tmp_path: Path, processes: LocalExecutor) -> None:
    path = tmp_path / "updates.toml"
    path.write_text(tiny_file.read_text().replace("seeds = 2", 'seeds = 1\nrefit = "updates"'))
    study = run_study(path, out=tmp_path / "study", executor=processes)
    runs = open_store(study.folder).results()
    updates = {run.spec.stage: run.updates for run in runs}
    assert updates["refit"] == updates["train"] == 2 * -(-84 // 32)
    assert {run.spec.refit for run in runs if run.spec.stage == "refit"} == {"updates"}
    assert len(open_store(study.folder).ledger()) == len([run for run in runs if run.spec.stage == "refit"])
    path.write_text(path.read_text().replace('"updates"', '"epochs"'))
    with pytest.raises(UserError, match=r"other refit \('updates', not 'epochs'\)"):
        run_study(path, out=tmp_path / "study", executor=processes)


def test_a_study_that_only_trains_selects_and_opens_nothing(
    tiny_file: Path, tmp_path: Path, processes: LocalExecutor
) -> None:
    spec = load_study(tiny_file).with_seeds(1).spec
    events: list[StudyEvent] = []
    protocol.run_protocol(spec, tmp_path, processes, events.append, only_train=True)
    store = open_store(tmp_path)
    assert [run.spec.stage for run in store.results()] == ["train"] * 4
    assert (store.selections(), store.ledger()) == ([], [])
    assert not any(isinstance(event, Selected | Opened) for event in events)


def test_other_declarations_are_taken_up_and_said_to_be_other(
    run_tiny: RunTiny, tiny_file: Path, tmp_path: Path, processes: LocalExecutor
) -> None:
    run_tiny(tmp_path / "study", seeds=1)
    claim = 'id = "one"\ntext = "It is so."\nkind = "best"\na = "none"\n'
    changed = tmp_path / "changed.toml"
    changed.write_text(f"{tiny_file.read_text()}\n[analysis]\nrope = 0.01\n[[claims]]\n{claim}")
    events: list[StudyEvent] = []
    study = run_study(changed, seeds=1, out=tmp_path / "study", executor=processes, on_event=events.append)
    assert not any(isinstance(event, RunStarted) for event in events)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert [note.partition(": ")[2] for note in notes] == ["analysis.rope (None, not 0.01)", "claims one"]
    assert load_study(study.folder).spec.analysis.rope == 0.01
    events.clear()
    run_study(changed, seeds=1, out=tmp_path / "study", executor=processes, on_event=events.append)
    assert not [event for event in events if isinstance(event, Note)]


def test_runs_record_how_many_were_made_at_once(finished: Study, tiny_file: Path, tmp_path: Path) -> None:
    assert {row["workers"] for row in finished.result_rows()} == {2}
    alone = run_study(load_study(tiny_file, tmp_path / "alone"), seeds=1, workers=1)
    assert {row["workers"] for row in alone.result_rows()} == {1}
    crowd = tmp_path / "crowd.toml"
    text = tiny_file.read_text().partition("[factors]")[0]
    crowd.write_text(text)
    one_job = run_study(crowd, seeds=1, out=tmp_path / "crowd", workers=3)
    assert {row["workers"] for row in one_job.result_rows()} == {1}


def test_more_cells_may_be_refitted_later(run_tiny: RunTiny, tiny_file: Path, tmp_path: Path) -> None:
    study = run_tiny(tmp_path / "study", seeds=1)
    ledger = open_store(study.folder).ledger()
    more = tmp_path / "more.toml"
    wish = "[[also_refit]]\nmodel.depth = 1\n\n[published]"
    more.write_text(tiny_file.read_text().replace("[published]", wish))
    run_study(more, seeds=1, out=study.folder, workers=1)
    later = open_store(study.folder).ledger()
    assert later[: len(ledger)] == ledger
    assert len(later) in {3, 4}


def test_another_study_in_the_same_folder_is_refused(run_tiny: RunTiny, tiny_file: Path, tmp_path: Path) -> None:
    study = run_tiny(tmp_path / "study", seeds=1)
    changed = tmp_path / "changed.toml"
    changed.write_text(tiny_file.read_text().replace("epochs = 2", "epochs = 3"))
    with pytest.raises(UserError, match=r"other train\.epochs \(2, not 3\)"):
        run_study(changed, out=study.folder)


def test_too_deep_a_network_is_refused_before_anything_is_trained(tiny_file: Path, tmp_path: Path) -> None:
    deep = tmp_path / "deep.toml"
    deep.write_text(tiny_file.read_text().replace("[1, 2]", "[1, 2, 9]"))
    with pytest.raises(UserError, match=r"model\.depth = 9 is too deep for 28x28 images"):
        run_study(deep, out=tmp_path / "study")
    assert not (tmp_path / "study" / "runs").exists()


def test_specs_of_runs_travel_complete(finished: Study) -> None:
    planned = finished.runs()
    stored = [run.spec for run in open_store(finished.folder).results() if run.spec.stage == "train"]
    assert sorted(map(RunSpec.model_dump_json, planned)) == sorted(map(RunSpec.model_dump_json, stored))
