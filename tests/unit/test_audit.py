"""The audit: the whole grid again under each variation, in folders of their own, resumable, the test part sealed."""

from __future__ import annotations

from pathlib import Path

import pytest

from regulens.errors import RegulensError, UserError
from regulens.executors.local import LocalExecutor
from regulens.spec import StudySpec, level_of
from regulens.study import audit
from regulens.study.audit import change_text, run_variations, variation_folder
from regulens.study.grid import cells
from regulens.study.runner import Note, RunStarted, StudyEvent, ignore
from regulens.study.store import open_store
from regulens.study.study_file import STUDY_FILE, parse_study, read_study

VARIATIONS = """
[[variations]]
name = "standardized"
change = { data.standardize = true }

[[variations]]
name = "quick"
text = "one epoch at a higher rate"
change = { train.epochs = 1, train.learning_rate = 0.2 }
"""


@pytest.fixture(scope="module")
def study(tiny_file: Path) -> StudySpec:
    return parse_study(tiny_file.read_text() + VARIATIONS, "tiny").model_copy(update={"seeds": 1})


@pytest.fixture(scope="module")
def audited(
    study: StudySpec, tmp_path_factory: pytest.TempPathFactory, processes: LocalExecutor
) -> tuple[Path, list[StudyEvent]]:
    folder, events = tmp_path_factory.mktemp("audit"), list[StudyEvent]()
    done = run_variations(study, folder, processes, events.append)
    assert [name for name, _ in done] == ["standardized", "quick"]
    return folder, events


def test_every_variation_trains_the_whole_grid_and_opens_no_test_part(
    study: StudySpec, audited: tuple[Path, list[StudyEvent]]
) -> None:
    folder, _ = audited
    changes = {"standardized": ("data.standardize", True), "quick": ("train.epochs", 1)}
    for name, (path, level) in changes.items():
        store = open_store(variation_folder(folder, name))
        specs = [run.spec for run in store.results()]
        assert {level_of(spec, path) for spec in specs} == {level}
        assert sorted((spec.model.depth, spec.regularizer) for spec in specs) == sorted(
            (spec.model.depth, spec.regularizer) for spec in cells(study)
        )
        assert (store.selections(), store.ledger()) == ([], [])
    assert sorted(path.name for path in folder.iterdir()) == ["variations"]


def test_a_variation_is_a_study_that_can_be_read_by_itself(audited: tuple[Path, list[StudyEvent]]) -> None:
    folder, _ = audited
    held = read_study(variation_folder(folder, "quick") / STUDY_FILE)
    assert (held.name, held.title) == ("quick", "tiny: one epoch at a higher rate")
    assert held.train.epochs == 1


def test_what_is_finished_is_not_repeated(
    study: StudySpec, audited: tuple[Path, list[StudyEvent]], processes: LocalExecutor
) -> None:
    folder, first = audited
    assert sum(isinstance(event, RunStarted) for event in first) == 8
    events: list[StudyEvent] = []
    run_variations(study, folder, processes, events.append)
    assert not any(isinstance(event, RunStarted) for event in events)
    more = study.model_copy(update={"variations": study.variations[:1], "seeds": 2})
    [(_, extended)] = run_variations(more, folder, processes, events.append)
    assert extended.seeds == 2
    assert sum(isinstance(event, RunStarted) for event in events) == 4


def test_each_variation_is_announced_with_what_it_changes(audited: tuple[Path, list[StudyEvent]]) -> None:
    _, events = audited
    notes = [event.text for event in events if isinstance(event, Note)]
    assert notes == [
        "variation 1 of 2, standardized: standardize true",
        "variation 2 of 2, quick: epochs 1, learning rate 0.2",
    ]


def test_changes_are_written_as_a_reader_would() -> None:
    study = read_study("lab-audit")
    texts = {variation.name: change_text(variation) for variation in study.variations}
    assert texts["unit-rate-x3"] == "scale 1/255, learning rate 0.03"


def test_a_study_without_variations_has_nothing_to_audit(
    study: StudySpec, tmp_path: Path, processes: LocalExecutor
) -> None:
    with pytest.raises(UserError, match=r"tiny: declares no variations to audit; .*lab-audit"):
        run_variations(study.model_copy(update={"variations": []}), tmp_path, processes, ignore)


def test_a_network_that_does_not_fit_under_a_variation_is_refused_before_anything_is_trained(
    study: StudySpec, tmp_path: Path, processes: LocalExecutor
) -> None:
    last = study.variations[0].model_copy(update={"name": "wide", "change": {"model.pool": 14}})
    deep = study.model_copy(update={"variations": [*study.variations, last]})
    with pytest.raises(UserError, match=r"model\.depth = 2 is too deep for 28x28 images"):
        run_variations(deep, tmp_path, processes, ignore)
    assert not list(tmp_path.iterdir())


def test_a_failed_run_is_tried_again_by_the_next_call(
    study: StudySpec, tmp_path: Path, processes: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = audit.run_protocol

    def fails(varied: StudySpec, *arguments: object, **options: object) -> StudySpec:
        if varied.name == "quick":
            raise RegulensError("1 of 4 runs failed")
        return real(varied, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(audit, "run_protocol", fails)
        with pytest.raises(RegulensError, match="1 of 4 runs failed"):
            run_variations(study, tmp_path, processes, ignore)
    assert len(open_store(variation_folder(tmp_path, "standardized")).results()) == 4
    run_variations(study, tmp_path, processes, ignore)
    assert len(open_store(variation_folder(tmp_path, "quick")).results()) == 4
