"""The last lines of a run: what its analysis says, in about ten lines however many networks there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from done import Done
from regulens.api import Study
from regulens.report.answer import answer_lines
from regulens.report.wording import unit_of
from regulens.results import Environment, Opening, RunResult
from regulens.spec import Level, RunSpec, StudySpec
from regulens.study.analysis import analyse_study
from regulens.study.grid import cells, planned
from regulens.study.store import Selection
from regulens.study.study_file import parse_study

HERE = Environment(
    regulens="0", python="3", torch="2", numpy="2", platform="here", cpu="one", device="cpu", kernels="reference"
)


def study_of(regularizers: list[str], depths: list[int], claims: str = "", seeds: int = 6) -> StudySpec:
    text = (
        f'name = "made-up"\nseeds = {seeds}\n[factors]\nmodel.depth = {depths}\nregularizer = {regularizers}\n{claims}'
    )
    return parse_study(text, "made-up")


def results(study: StudySpec, means: Mapping[tuple[Level, Level], float], sd: float = 0.001) -> list[RunResult]:
    rng = np.random.default_rng(1)
    return [
        RunResult(
            run_id=f"{spec.model.depth} {spec.regularizer} {spec.seed}",
            cell_id=f"{spec.model.depth} {spec.regularizer}",
            dataset_digest="0",
            spec=spec,
            parameters_total=1,
            parameters_trainable=1,
            train_images=100,
            val_class_counts=(100,) * 10,
            train_loss=0.1,
            train_accuracy=0.99,
            val_loss=0.1,
            val_accuracy=means[spec.model.depth, spec.regularizer] + sd * rng.standard_normal(),
            train_seconds=1.0,
            epochs=(),
            environment=HERE,
        )
        for spec in planned(study)
    ]


def refit(spec: RunSpec, like: RunResult, accuracy: float) -> tuple[RunResult, Opening]:
    identity = f"refit {spec.seed}"
    run = like.model_copy(update={"run_id": identity, "spec": spec.model_copy(update={"stage": "refit"})})
    opening = Opening(
        run_id=identity, opened_at="now", reason="selected", test_images=100, test_loss=0.1, test_accuracy=accuracy
    )
    return run, opening


def selected(label: str, among: str = "") -> Selection:
    return Selection(
        selected_at="now", among=among, cell_id="1", label=label, seeds=6, rule="the best", mean_val_accuracy=0.9
    )


def answer(study: StudySpec, found: list[RunResult], selections: tuple[Selection, ...] = ()) -> list[str]:
    return answer_lines(study, analyse_study(study, found), found, selections, [])


def test_each_comparison_has_its_verdict_difference_and_interval() -> None:
    study = study_of(["none", "l2(0.01)", "dropout(0.1)", "batchnorm"], [1])
    means = {(1, "none"): 0.86, (1, "l2(0.01)"): 0.86, (1, "dropout(0.1)"): 0.8, (1, "batchnorm"): 0.88}
    found = results(study, means)
    first, worse, better, equal = answer(study, found)
    assert first == (
        "validation accuracy of runs that trained, over new seeds, for this split and these 1,000 validation images; "
        "ROPE ±0.5 percentage points, intervals of 99.17 %:"
    )
    comparisons = {each.a: each.result for each in analyse_study(study, found).analysis.comparisons}
    for line, level, words in (
        (worse, "dropout(0.1)", "dropout(0.1) is worse than none at depth 1: "),
        (better, "batchnorm", "batchnorm is better than none at depth 1: "),
        (equal, "l2(0.01)", "l2(0.01) is practically equivalent to none at depth 1: "),
    ):
        result = comparisons[level]
        assert result is not None
        size = unit_of("val_accuracy").difference(result.difference)
        assert re.fullmatch(re.escape(words + size) + r"; undone by collapse rates [\d.]+ points apart", line)


def test_places_of_one_verdict_share_a_line() -> None:
    study = study_of(["none", "batchnorm"], [1, 2])
    means = {(1, "none"): 0.8, (1, "batchnorm"): 0.83, (2, "none"): 0.85, (2, "batchnorm"): 0.9}
    [_, line] = answer(study, results(study, means))
    assert line.startswith("batchnorm is better than none: +")
    assert " at depth 1; +" in line
    assert re.search(r" at depth 2; undone by collapse rates 4(\.1)? points apart$", line)  # 0.03 of 0.73 at depth 1
    study = study_of(["none", "batchnorm"], [1, 2, 3, 4])
    means = {
        (depth, name): 0.8 + 0.01 * depth * (name != "none") for depth in range(1, 5) for name in ("none", "batchnorm")
    }
    [_, *lines] = answer(study, results(study, means | {(1, "batchnorm"): 0.8}))
    assert re.fullmatch(
        r"batchnorm is better than none at 3 of 4 places: \+[12]\.\d+ to \+[34]\.\d+ percentage points; undone by .*",
        lines[0],
    )
    assert lines[1].startswith("batchnorm is practically equivalent to none at depth 1: ")


def test_many_undecided_comparisons_share_a_line() -> None:
    study = study_of(["none", "l2(0.01)", "batchnorm"], [1, 2])
    means = dict.fromkeys([(depth, name) for depth in (1, 2) for name in ("none", "l2(0.01)", "batchnorm")], 0.8)
    lines = answer(study, results(study, means, sd=0.02))
    assert lines[1:] == ["undecided with 6 seeds: l2(0.01) and batchnorm against none"]
    lines = answer(study, results(study, means | {(2, "batchnorm"): 0.95}, sd=0.02))
    assert lines[1].startswith("batchnorm is better than none at depth 2: +")
    assert [line.partition(":")[0] for line in lines[2:]] == 3 * ["undecided with 6 seeds"]
    assert any(line.startswith("undecided with 6 seeds: batchnorm against none at depth 1: ") for line in lines)


def test_too_few_runs_are_told_with_how_many_more_are_missing() -> None:
    study = study_of(["none", "batchnorm"], [1], seeds=2)
    [_, line] = answer(study, results(study, {(1, "none"): 0.8, (1, "batchnorm"): 0.9}))
    assert line.startswith("too few runs with 2 seeds: batchnorm against none at depth 1: +")
    assert line.endswith("; 1 more of each")


def collapsed(found: list[RunResult], regularizer: str, seeds: int) -> list[RunResult]:
    return [
        run.model_copy(update={"val_accuracy": 0.1})
        if run.spec.regularizer == regularizer and run.spec.seed < seeds
        else run
        for run in found
    ]


def test_how_often_networks_train_has_a_line_and_better_that_trains_less_often_is_mixed() -> None:
    study = study_of(["none", "batchnorm"], [1], seeds=30)
    found = results(study, {(1, "none"): 0.8, (1, "batchnorm"): 0.9})
    lines = answer(study, collapsed(found, "none", 1))
    assert lines[1].startswith("batchnorm is better than none at depth 1: +")
    assert lines[2] == "how often they train: open for 1 of 1 pair"
    lines = answer(study, collapsed(found, "batchnorm", 15))
    assert lines[1].startswith(
        "mixed: batchnorm is better than none when it trains, but trains less often at depth 1: +"
    )
    assert lines[2] == "how often they train: batchnorm trains less often than none at depth 1"


@pytest.mark.parametrize("sd", [0.0001, 0.02])
def test_thirty_networks_take_ten_lines(sd: float) -> None:
    names = ["none", *(f"l2({strength}e-5)" for strength in range(1, 30))]
    study = study_of(names, [1], seeds=5)
    means = {(1, spec.regularizer): 0.7 + 0.01 * place for place, spec in enumerate(cells(study))}
    lines = answer(study, results(study, means, sd), tuple(selected(f"depth {n}", f"split seed {n}") for n in range(6)))
    assert len(lines) <= 10
    assert max(map(len, lines)) < 250
    assert lines[1].startswith("l2(0.00029) is better than none at depth 1: +")
    assert any(" more" in line for line in lines)


def test_claims_are_told_by_verdict() -> None:
    claims = "".join(
        f'[[claims]]\nid = "{name}"\ntext = "t"\nkind = "greater"\na = "{a}"\nb = "{b}"\n'
        for name, a, b in (("up", "batchnorm", "none"), ("down", "none", "batchnorm"), ("also", "batchnorm", "none"))
    )
    claims += '[[claims]]\nid = "width"\ntext = "t"\nkind = "greater"\nfactor = "model.filters"\na = 64\nb = 16\n'
    claims += 'needs = "a study of widths"\n'
    study = study_of(["none", "batchnorm"], [1], claims)
    lines = answer(study, results(study, {(1, "none"): 0.8, (1, "batchnorm"): 0.9}))
    assert lines[-1] == "claims supported: up and also; refuted: down; not testable here: width"


def test_the_chosen_network_comes_with_its_test_accuracy() -> None:
    study = study_of(["none"], [1])
    found = results(study, {(1, "none"): 0.8})
    [spec] = cells(study)
    tested = [refit(spec.model_copy(update={"seed": seed}), found[0], 0.9 + 0.01 * seed) for seed in range(3)]
    runs, ledger = [run for run, _ in tested], [opening for _, opening in tested]
    analysis, chosen = analyse_study(study, found), [selected("depth 1, none")]
    for count, words in (
        (3, "test accuracy 0.9100 (0.9000 to 0.9200 in 3 refits)"),
        (1, "test accuracy 0.9000 (one refit)"),
        (0, "not tested yet"),
    ):
        lines = answer_lines(study, analysis, [*found, *runs], chosen, ledger[:count])
        assert lines == [f"chosen on validation: depth 1, none; {words}"]


def test_a_run_ends_with_its_answer_and_the_reports_path(regulens: Callable[..., Done], finished: Study) -> None:
    done = regulens("run", finished.folder)
    lines = done.stdout.splitlines()
    assert lines[-1] == f"report: {(finished.folder / 'report.html').resolve()}"
    told = finished.answer()
    assert lines[-1 - len(told) : -1] == told
    assert "test accuracy" in told[-1]
    assert "validation accuracy over seeds" in lines
    assert not any(line.startswith("starting") for line in lines)  # nothing is left to train
