"""The looks at a study and the level of each, the seeds that a study needs, and studies that grow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from done import Done
from regulens.api import load_study, run_study
from regulens.errors import UserError
from regulens.executors.local import LocalExecutor
from regulens.results import Environment, RunResult
from regulens.spec import RunSpec, StudySpec
from regulens.stats.looks import FIRST, LATER, Taken, share_at
from regulens.study.analysis import analyse_study
from regulens.study.grid import cells
from regulens.study.looks import (
    StudyLooks,
    begun_text,
    declared_looks,
    look_level,
    looks_list,
    looks_of,
    looks_text,
    record_look,
    smallest_tail,
)
from regulens.study.power_plan import few_seeds_note, power_rows
from regulens.study.runner import Note, StudyEvent
from regulens.study.store import Look, Store, open_store
from regulens.study.study_file import parse_study
from regulens.study.until_decided import default_looks

FILE = """
name = "made-up"
seeds = 5
[factors]
regularizer = ["none", "l2(0.01)", "batchnorm"]
[analysis]
over = ["seeds"]
"""
CLAIM = """
[[claims]]
id = "one"
text = "Batch norm is better than none."
kind = "greater"
a = "batchnorm"
b = "none"
"""
PAIRED = FILE.replace('over = ["seeds"]', "").replace("seeds = 5", 'seeds = 5\nvary = ["init", "order", "split"]')
HERE = Environment(
    regulens="0", python="3", torch="2", numpy="2", platform="here", cpu="one", device="cpu", kernels="reference"
)


def declared(seeds: int = 5, text: str = FILE) -> StudySpec:
    return parse_study(text, "made-up").model_copy(update={"seeds": seeds})


def result(spec: RunSpec, accuracy: float) -> RunResult:
    return RunResult(
        run_id=f"{spec.regularizer}{spec.seed}",
        cell_id=spec.regularizer,
        dataset_digest="0",
        spec=spec,
        parameters_total=1,
        parameters_trainable=1,
        train_images=400,
        val_class_counts=(10,) * 10,
        train_loss=0.1,
        train_accuracy=0.9,
        val_loss=0.1,
        val_accuracy=accuracy,
        train_seconds=10.0,
        workers=1,
        epochs=(),
        environment=HERE,
    )


def results(
    study: StudySpec, seeds: int, sd: float = 0.01, collapses: int = 0, block_sd: float = 0.0
) -> list[RunResult]:
    """Runs whose spread and skewness are those of normal quantiles: none by chance."""
    rng, found = np.random.default_rng(seeds), []
    blocks = block_sd * rng.standard_normal(seeds)
    for place, spec in enumerate(cells(study)):
        x = rng.standard_normal(seeds)
        x = 0.8 + 0.02 * place + blocks + sd * (x - x.mean()) / x.std(ddof=1)
        x[:collapses] = 0.1
        found += [result(spec.model_copy(update={"seed": seed}), float(value)) for seed, value in enumerate(x)]
    return found


class TestLooks:
    def test_first_report_keeps_error_for_an_extension(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        assert look_level(store, declared()) == pytest.approx(1 - 0.05 * FIRST)
        record_look(store, declared())
        record_look(store, declared())
        assert [look.seeds for look in store.looks()] == [5]
        assert look_level(store, declared()) == pytest.approx(1 - 0.05 * FIRST)
        assert looks_of(store, declared()).spent == pytest.approx(FIRST)

    def test_extending_it_costs_little_and_is_said(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        for seeds in (5, 29):
            record_look(store, declared(seeds))
        looks = looks_of(store, declared(29))
        assert looks.taken[1].share == share_at(29, [Taken(5, FIRST)], (), smallest_tail(declared()))
        assert looks.spent == pytest.approx(LATER, abs=1e-4)
        assert looks_text(store, declared(29)).startswith("No looks were declared beforehand. The intervals hold ")
        assert "95 % of the error of 5 %" in looks_text(store, declared(29))
        assert [each["level"] for each in looks_list(store)] == pytest.approx(
            [1 - 0.05 * look.share for look in looks.taken]
        )
        assert looks_list(store)[1]["spent"] == pytest.approx(0.05 * LATER, abs=1e-5)

    def test_declared_looks_share_the_error_and_cannot_be_changed(self, tmp_path: Path) -> None:
        store, looks = Store(tmp_path), (5, 10, 20)
        assert declared_looks(store, looks) == looks
        for seeds in looks[:2]:
            record_look(store, declared(seeds), looks)
        levels = [look_level(store, declared(seeds)) for seeds in looks]
        assert levels == sorted(levels, reverse=True)
        assert "Looks at 5, 10 and 20 seeds were declared" in looks_text(store, declared(10))
        assert declared_looks(store, ()) == looks
        with pytest.raises(UserError, match="begun with looks at 5, 10 and 20 seeds"):
            declared_looks(store, (5, 29))

    def test_looks_declared_for_a_study_begun_are_those_ahead_and_their_cost_is_said(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        record_look(store, declared(5))
        assert declared_looks(store, (5, 10, 20)) == (10, 20)
        text = begun_text(store, declared(5), (10, 20))
        assert "its report at 5 seeds spent 60 % of the error" in text
        assert "the intervals at 20 seeds hold together with 98." in text
        with pytest.raises(UserError, match="looked at with 5 seeds; name larger numbers"):
            declared_looks(store, (3, 5))

    def test_a_look_at_two_seeds_costs_nothing(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        record_look(store, declared(2))
        assert begun_text(store, declared(2), (10, 20)) == ""
        assert look_level(store, declared(10)) == pytest.approx(1 - 0.05 * FIRST)

    def test_looks_of_earlier_versions_keep_their_levels(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        store.save_look(Look(looked_at="2024-01-01T00:00:00+00:00", seeds=5, declared=()))
        assert look_level(store, declared(5)) == pytest.approx(0.95)
        assert 0.995 < look_level(store, declared(10)) < 0.9975
        assert looks_list(store)[0]["spent"] is None
        other = Store(tmp_path / "other")
        other.save_look(Look(looked_at="2024-01-01T00:00:00+00:00", seeds=5, declared=(5, 10, 20, 29)))
        assert look_level(other, declared(5)) == pytest.approx(1 - 0.045 * 5 / 64)

    def test_claims_and_second_answers_count_among_the_statements(self) -> None:
        assert smallest_tail(declared()) == pytest.approx(0.05 / 4 / 2)
        assert smallest_tail(declared(text=FILE + CLAIM)) == pytest.approx(0.05 / 2 / 4 / 2)
        seconds = FILE.replace("[analysis]", '[analysis]\nresponse = "train_seconds"')
        assert smallest_tail(declared(text=seconds)) == pytest.approx(0.05 / 2 / 2)

    def test_looks_double_up_to_the_last(self) -> None:
        assert default_looks(29) == (5, 10, 20, 29)
        assert default_looks(4) == (4,)
        with pytest.raises(UserError, match="at least 2"):
            default_looks(1)


class TestPower:
    def test_a_pilot_and_a_stated_spread_need_about_the_same(self) -> None:
        study = declared(30)
        stated = power_rows(study, [], effect=0.02, sd=0.01)
        piloted = power_rows(study, results(study, 30), effect=0.02)
        assert len(stated) == len(piloted) == 2
        for one, other in zip(stated, piloted, strict=True):
            assert one.seeds is not None
            assert other.seeds is not None
            assert one.seeds.recommended is not None
            assert other.seeds.low == pytest.approx(one.seeds.recommended, abs=1)

    def test_a_study_that_was_looked_at_needs_more_than_one_begun_anew(self) -> None:
        study, tail = declared(5), smallest_tail(declared())
        looked = StudyLooks((Taken(5, FIRST),), (), tail)
        row, _ = power_rows(study, results(study, 5), effect=0.02, looks=looked)
        (anew, _) = power_rows(study, results(study, 5), effect=0.02)
        assert row.seeds is not None
        assert anew.seeds is not None
        assert row.seeds.recommended is not None
        assert row.fresh is not None
        assert row.fresh < row.seeds.recommended <= 1.35 * row.fresh
        assert row.fresh == pytest.approx(anew.seeds.recommended, abs=1)
        assert row.direction is not None
        assert row.direction < row.seeds.recommended

    def test_a_study_that_is_large_enough_is_not_to_be_extended(self) -> None:
        study = declared(20)
        looked = StudyLooks((Taken(20, FIRST),), (), smallest_tail(study))
        row, _ = power_rows(study, results(study, 20), effect=0.04, looks=looked)
        assert row.seeds is not None
        assert row.seeds.recommended == 20

    def test_blocks_are_planned_by_their_differences_and_means_by_their_collapses(self) -> None:
        blocked = declared(8, PAIRED)
        row, _ = power_rows(blocked, results(blocked, 8, block_sd=0.1), effect=0.05)
        assert row.seeds is not None
        assert row.seeds.low is not None  # 25 % of the images judge: the width has a floor, below this effect
        trained, mean = (
            power_rows(study, results(study, 8, collapses=1), effect=0.02)[0].seeds
            for study in (declared(8), declared(8, FILE + 'primary = "mean"\n'))
        )
        assert trained is not None
        assert mean is not None
        assert trained.recommended is not None
        assert mean.recommended is None

    def test_what_no_number_of_seeds_decides_is_said(self) -> None:
        blocked = declared(8, PAIRED)
        row, _ = power_rows(blocked, results(blocked, 8, sd=0.02), effect=0.01)
        assert row.reason.startswith("no number of seeds decides: the overlap of the splits alone leaves ±0.0")
        on_edge, _ = power_rows(declared(8), results(declared(8), 8), effect=0.005)
        assert on_edge.reason == "no number of seeds decides: the effect lies on the edge of the equivalence margin"

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [({"effect": 0.0}, "above 0"), ({"effect": 0.1, "sd": -1.0}, "above 0"), ({"effect": 0.1}, "pilot")],
    )
    def test_what_cannot_be_answered_is_one_line(self, wrong: dict[str, float], words: str) -> None:
        with pytest.raises(UserError, match=words):
            power_rows(declared(), [], **wrong)

    @pytest.mark.parametrize(
        ("runs", "words"), [(0, "no runs yet"), (2, "too few runs yet: a pilot needs 3 non-collapsed runs")]
    )
    def test_without_a_pilot_there_is_one_line(self, runs: int, words: str) -> None:
        with pytest.raises(UserError, match=words) as refused:
            power_rows(declared(), results(declared(), runs) if runs else [], effect=0.01)
        assert "--sd" in str(refused.value)

    def test_undecided_claims_say_how_many_seeds_they_need_by_the_error_left(self) -> None:
        study = declared(
            6, FILE + CLAIM.replace("Batch norm is better", "L2 is better").replace("batchnorm", "l2(0.01)")
        )
        runs = results(study, 6, sd=0.02)
        usual, spare = (
            analyse_study(study, runs, level=0.97, later=later).claims[0].seeds for later in (None, lambda _: 0.999)
        )
        assert usual is not None
        assert spare is not None
        assert usual.low is not None
        assert spare.low is not None
        assert 6 < usual.low < spare.low


class TestFewSeeds:
    def note(self, seeds: int, text: str = FILE) -> str:
        return few_seeds_note(declared(seeds, text))

    def test_three_seeds_are_told_what_they_cannot_decide(self) -> None:
        assert self.note(3) == (
            "3 seeds of each network can decide little: as one of 2 comparisons, two means are told apart only if they "
            "are 4.1 standard deviations of the runs apart; `regulens plan STUDY --power` says how many an effect needs"
        )
        assert "2 seeds of each network can decide little: a verdict needs 3 runs" in self.note(2)
        assert "1 seed of" in self.note(1)

    @pytest.mark.parametrize("seeds", [5, 10, 100])
    def test_enough_seeds_are_told_nothing(self, seeds: int) -> None:
        assert self.note(seeds) == ""

    def test_blocks_medians_and_studies_without_comparisons_go_by_their_own_rules(self) -> None:
        assert "of the differences of pairs" in self.note(4, PAIRED)
        assert self.note(8, PAIRED) == ""
        median = FILE + 'primary = "median"\n'
        assert "no interval of medians can be made" in self.note(6, median)
        assert self.note(9, median) == ""
        assert self.note(1, FILE.replace(', "l2(0.01)", "batchnorm"', "")) == ""


def test_a_study_grows_from_look_to_look_and_then_is_tested(
    tiny_file: Path, tmp_path: Path, processes: LocalExecutor
) -> None:
    events: list[StudyEvent] = []
    study = load_study(tiny_file, tmp_path / "grown")
    run = run_study(study, looks=(2, 3), executor=processes, on_event=events.append)
    store = open_store(run.folder)
    looks = store.looks()
    assert [look.seeds for look in looks] in ([2], [2, 3])
    assert looks[0].declared == (2, 3)
    assert run.spec.seeds == looks[-1].seeds
    notes = [event.text for event in events if isinstance(event, Note)]
    assert any(text.startswith("interim analysis at 2 seeds") for text in notes)
    assert len(store.ledger()) >= run.spec.seeds
    assert "Looks at 2 and 3 seeds were declared" in (run.folder / "report.html").read_text()


def test_a_pilot_is_no_look_until_its_report_is_asked_for(
    tiny_file: Path, tmp_path: Path, processes: LocalExecutor, regulens: Callable[..., Done]
) -> None:
    study = load_study(tiny_file, tmp_path / "piloted")
    run = run_study(study, seeds=3, pilot=True, executor=processes)
    store = open_store(run.folder)
    assert store.looks() == []
    assert not (run.folder / "report.html").exists()
    assert store.ledger() == []
    rows = run.power(0.1, sd=0.05)
    for row in rows:
        assert row.seeds is not None
        assert row.fresh == pytest.approx(row.seeds.recommended, abs=1)
    assert store.looks() == []
    numbers = json.loads(run.report("json").read_text())
    assert [(look["seeds"], round(look["level"], 9)) for look in numbers["looks"]] == [(3, 0.97)]
    assert [look.seeds for look in run.progress().looks] == [3]
    assert "hold together with 97.00 %; 60 % of the error spent, 40 % left" in regulens("status", run.folder).stdout
    planned = regulens("plan", run.folder, "--power", "--effect", "0.1", "--sd", "0.05").stdout
    assert "begun anew" in planned
    assert "extend the study by" in planned
