"""An analysis across data sets: what is pooled, ranked and left out, of results from elsewhere and of a study."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from regulens.errors import UserError
from regulens.report.datasets import datasets_blocks, draw_datasets
from regulens.report.document import Figure, Heading, Paragraph, Table
from regulens.results import Environment, RunResult
from regulens.stats.datasets import random_effects
from regulens.study.analysis import StudyAnalysis, analyse_study
from regulens.study.analysis_json import study_analysis_dict
from regulens.study.datasets_text import dataset_notes, effects_table, levels_table
from regulens.study.grid import cells
from regulens.study.own_numbers import analyze
from regulens.study.study_file import parse_study

EFFECTS = {"a": 0.02, "b": 0.03, "c": 0.025, "d": 0.01, "e": 0.03, "f": 0.02}
ARMS = ("none", "batchnorm", "l2(0.01)")


def runs(
    sets: str = "abcdef", arms: tuple[str, ...] = ARMS, seeds: int = 4, depths: tuple[int, ...] = (1,)
) -> pd.DataFrame:
    """Return results of which batch norm is the best on every set, by as much as ``EFFECTS`` says."""
    rng = np.random.default_rng(0)
    rows = [
        (
            name,
            depth,
            arm,
            seed,
            0.6 + 0.05 * place + EFFECTS[name] * (arm == "batchnorm") + 0.002 * rng.standard_normal(),
        )
        for (place, name), depth, arm, seed in itertools.product(enumerate(sets), depths, arms, range(seeds))
    ]
    return pd.DataFrame(rows, columns=["set", "depth", "regularizer", "seed", "val_accuracy"])


def analysed(data: pd.DataFrame, factors: str = "regularizer", **options: object) -> object:
    return analyze(data, response="val_accuracy", factors=factors, seed="seed", datasets="set", **options)


def test_effects_are_differences_within_sets_pooled_over_them() -> None:
    data = runs()
    found = analysed(data).datasets
    [first, second] = found.comparisons
    assert (first.a, first.b, first.where, first.sets) == ("batchnorm", "none", {}, tuple("abcdef"))
    cell = data.groupby(["set", "regularizer"]).val_accuracy
    y = cell.mean().unstack()["batchnorm"] - cell.mean().unstack()["none"]
    v = (cell.var() / cell.size()).unstack()[["batchnorm", "none"]].sum(axis=1)
    assert [each.difference.estimate for each in first.effects] == pytest.approx(list(y))
    low, high = stats.ttest_1samp(y, 0).confidence_interval()
    assert (first.equal.mean.estimate, first.equal.mean.low, first.equal.mean.high) == pytest.approx(
        (y.mean(), low, high)
    )
    weighted = random_effects(y.to_numpy(), v.to_numpy())
    assert (first.weighted.mean.low, first.weighted.mean.high) == pytest.approx((weighted.mean.low, weighted.mean.high))
    assert first.weighted.spread.high == pytest.approx(weighted.spread.high)
    assert abs(second.equal.mean.estimate) < 0.003


def test_levels_are_ranked_within_sets_and_their_runs_taken_together() -> None:
    data = runs()
    [place] = analysed(data).datasets.places
    assert [each.level for each in place.levels] == ["none", "batchnorm", "l2(0.01)"]
    assert place.ranks.average[1] == 1
    for each in place.levels:
        values = data.val_accuracy[data.regularizer == each.level]
        assert each.runs == 24
        assert each.middle.estimate == pytest.approx(stats.trim_mean(values, 0.25))  # 24 is a multiple of 4
        assert each.profile.share[50] == pytest.approx((values > each.profile.thresholds[50]).mean())
    assert place.levels[0].gain is None
    assert place.levels[1].gain.low > 0.01
    lower = analysed(data, direction="lower").datasets.places[0]
    assert lower.ranks.average[1] == 3


def test_naming_the_column_makes_it_a_factor_wherever_it_stands() -> None:
    data = runs()
    a, b = analysed(data), analysed(data, factors="regularizer, set")
    assert a.factors == ("set", "regularizer")
    assert b.factors == ("regularizer", "set")
    assert a.datasets.comparisons[0].equal == b.datasets.comparisons[0].equal
    plain = analyze(data, response="val_accuracy", factors="set,regularizer", seed="seed")
    assert plain.datasets is None
    assert plain.as_dict() == {key: value for key, value in a.as_dict().items() if key != "datasets"}


def test_other_factors_are_held_and_each_place_is_pooled_by_itself() -> None:
    found = analysed(runs(depths=(1, 2)), factors="depth,regularizer").datasets
    assert [(each.a, each.where) for each in found.comparisons] == [
        (a, {"depth": depth}) for depth in (1, 2) for a in ("batchnorm", "l2(0.01)")
    ]
    assert [place.where for place in found.places] == [{"depth": 1}, {"depth": 2}]
    assert "at depth 2" in " ".join(dataset_notes(found))


def test_a_set_without_a_cell_is_left_out_and_named() -> None:
    data = runs()
    found = analysed(data[~((data.set == "c") & (data.regularizer == "l2(0.01)"))]).datasets
    assert found.comparisons[0].sets == tuple("abcdef")
    assert found.comparisons[1].sets == tuple("abdef")
    assert found.places[0].sets == tuple("abdef")
    told = " ".join(found.warnings)
    assert "without c, where there are no runs of both: l2(0.01) – none" in told
    assert "ranks and profiles are without c" in told


def test_fewer_than_five_sets_are_warned_of() -> None:
    few, enough = (analysed(runs(sets)).datasets for sets in ("abcd", "abcdef"))
    assert few.warnings[0].startswith("only 4 data sets: with fewer than 5")
    assert not any("only" in warning for warning in enough.warnings)
    assert any("no adjusted p is below 0.094" in warning for warning in enough.warnings)  # 3 pairs, 2 / 2^6


def test_single_runs_per_set_are_pooled_without_weights() -> None:
    data = runs(seeds=1)
    first = analysed(data).datasets.comparisons[0]
    assert first.weighted is None
    assert first.reasons == ("no random-effects model, as no spread between runs is known on any data set",)
    means = data.pivot_table(index="set", columns="regularizer", values="val_accuracy")
    low, high = stats.ttest_rel(means.batchnorm, means.none).confidence_interval()
    assert (first.equal.mean.low, first.equal.mean.high) == pytest.approx((low, high))


def test_equal_differences_and_pairs_without_sets_have_reasons() -> None:
    data = runs("ab")
    data["val_accuracy"] = 0.5 + 0.1 * (data.regularizer == "batchnorm")
    same = analysed(data).datasets.comparisons[0]
    assert math.isnan(same.equal.mean.low)
    assert "no interval, as all data sets have the same difference" in same.reasons
    data = runs("ab")
    found = analysed(data[~((data.set == "b") & (data.regularizer == "l2(0.01)"))]).datasets
    assert found.comparisons[1].equal is None
    assert found.places == ()
    assert "no ranks: fewer than two data sets have runs of all levels" in found.warnings
    assert effects_table(found).rows[-1][-1] == "–"
    json.dumps(analysed(data[~((data.set == "b") & (data.regularizer == "l2(0.01)"))]).as_dict(), allow_nan=False)


def test_json_has_no_nan_and_no_verdict_across_sets() -> None:
    found = analysed(runs(depths=(1, 2)), factors="depth,regularizer", chance=0.1)
    numbers = json.loads(found.to_json())["datasets"]
    text = json.dumps(numbers)
    assert not any(word in text for word in ("better", "worse", "equivalent", "verdict", "NaN"))
    first = numbers["comparisons"][0]
    assert [each["set"] for each in first["sets"]] == list("abcdef")
    assert sum(each["weight"] for each in first["sets"]) == pytest.approx(1)
    assert first["equal_weights"]["new_low"] < first["equal_weights"]["low"] < first["equal_weights"]["difference"]
    assert first["random_effects"].keys() >= {"difference", "low", "high", "new_low", "spread", "spread_low", "q"}
    assert len(numbers["levels"]) == 6
    assert numbers["ranks"][0]["average"][1] == {"level": "batchnorm", "rank": 1.0}
    assert len(levels_table(found.datasets).rows) == 6


def test_bounds_of_accuracies_are_not_passed() -> None:
    first = analysed(runs("ab")).datasets.comparisons[0]
    assert first.equal.new.high <= 1
    assert first.weighted.spread.high <= 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"datasets": ""}, "datasets must name a column"),
        ({"datasets": 3}, "datasets must name a column, got 3"),
        ({"datasets": "sets"}, 'no column "sets"; did you mean set?'),
        ({"datasets": "regularizer"}, "regularizer is compared and names the data sets as well"),
        ({"datasets": "one"}, "one names one data set only, here"),
        ({"datasets": "val_accuracy"}, "val_accuracy is the response and a factor as well"),
    ],
)
def test_a_column_that_names_no_data_sets_is_refused(change: dict[str, object], words: str) -> None:
    data = runs().assign(one="here")
    with pytest.raises(UserError, match=words.replace("?", r"\?")):
        analyze(data, response="val_accuracy", factors="set,regularizer", seed="seed", **change)


def test_pictures_are_drawn_of_every_comparison_and_place(tmp_path: Path) -> None:
    found = analysed(runs(arms=(*ARMS, "dropout(0.1)", "mixup"), depths=(2,)), factors="depth,regularizer")
    drawn = draw_datasets(found, tmp_path)
    names = ("forest-depth-2-1", "forest-depth-2-2", "ranks-depth-2", "profile-depth-2")
    assert [picture.path.stem for picture in drawn] == [f"datasets-{name}" for name in names]
    assert all(picture.path.is_file() for picture in drawn)
    with pytest.raises(UserError, match="no column of data sets"):
        draw_datasets(analyze(runs(), response="val_accuracy", factors="set,regularizer", seed="seed"), tmp_path)


# of a study


STUDY = """
name = "sets"
seeds = 4
[factors]
data.name = ["digits", "fashion-mnist"]
regularizer = ["none", "batchnorm", "l2(0.01)"]
"""
HERE = Environment(
    regulens="0", python="3", torch="2", numpy="2", platform="here", cpu="one", device="cpu", kernels="reference"
)


def study_analysis(text: str) -> StudyAnalysis:
    study, rng, found = parse_study(text, "sets"), np.random.default_rng(1), []
    for number, spec in enumerate(cells(study)):
        for seed in range(study.seeds):
            accuracy = 0.8 + 0.02 * (spec.regularizer == "batchnorm") + 0.002 * rng.standard_normal()
            run = spec.model_copy(update={"seed": seed})
            found.append(
                RunResult(
                    run_id=f"{number}-{seed}", cell_id=str(number), dataset_digest="0", spec=run, parameters_total=1,
                    parameters_trainable=1, train_images=100, val_class_counts=(100,) * 10, train_loss=0.1,
                    train_accuracy=0.9, val_loss=0.1, val_accuracy=accuracy, train_seconds=1.0, workers=1, epochs=(),
                    environment=HERE,
                )
            )  # fmt: skip
    return analyse_study(study, found)


def test_a_study_with_data_sets_among_its_factors_has_a_section_of_its_own(tmp_path: Path) -> None:
    found = study_analysis(STUDY)
    assert found.datasets is not None
    assert found.datasets.comparisons[0].equal.mean.estimate == pytest.approx(0.02, abs=0.003)
    blocks = list(datasets_blocks(found, tmp_path))
    assert blocks[0] == Heading("Across data sets")
    assert isinstance(blocks[1], Paragraph)
    assert blocks[1].text.startswith("Only 2 data sets")
    tables = [block for block in blocks if isinstance(block, Table)]
    assert [table.name for table in tables] == ["datasets", "datasets-levels", "datasets-pairs"]
    assert tables[0].rows[0][1] == "batchnorm against none"
    assert tables[0].rows[0][4].startswith("+2.")  # percentage points
    assert len([block for block in blocks if isinstance(block, Figure)]) == 3
    words = " ".join(cell for table in tables for row in (*table.rows, table.columns) for cell in row)
    assert not any(verdict in words for verdict in ("better", "worse", "equivalent", "undecided"))
    assert study_analysis_dict(found)["datasets"]["sets"] == ["digits", "fashion-mnist"]


@pytest.mark.parametrize(
    "text",
    [STUDY.replace('"digits", ', ""), STUDY.replace("data.name", "#"), STUDY + '[analysis]\nfactor = "data.name"\n'],
)
def test_without_two_data_sets_to_compare_on_there_is_none(text: str, tmp_path: Path) -> None:
    found = study_analysis(text)
    assert found.datasets is None
    assert list(datasets_blocks(found, tmp_path)) == []
    assert "datasets" not in study_analysis_dict(found)
