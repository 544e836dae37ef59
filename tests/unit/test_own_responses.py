"""Several responses of results from elsewhere: one family, each with its own direction, margin, scale and effect."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from regulens.errors import UserError
from regulens.study.external.directions import usual_direction
from regulens.study.own_numbers import OwnAnalysis, analyze

RUNS = 6


def results() -> pd.DataFrame:
    """Return runs of l2, which is more accurate, has a lower loss and takes longer."""
    rows = [
        (name, seed, 0.8 + 0.05 * place + 0.002 * at, 0.5 - 0.1 * place + 0.01 * at, 30 + 5 * place + at)
        for place, name in enumerate(("none", "l2"))
        for seed, at in enumerate(np.linspace(-1, 1, RUNS))
    ]
    return pd.DataFrame(rows, columns=["regularizer", "seed", "val_accuracy", "val_loss", "seconds"])


def analysed(response: str | list[str] = "val_accuracy,val_loss,seconds", **options: Any) -> OwnAnalysis:
    return analyze(options.pop("data", results()), response=response, factors="regularizer", seed="seed", **options)


def comparison(found: OwnAnalysis) -> dict[str, Any]:
    [each] = found.as_dict()["comparisons"]
    return dict(each)


@pytest.mark.parametrize(
    ("column", "direction"),
    [
        *((name, "higher") for name in ("val_accuracy", "score", "acc", "f1", "throughput", "images_per_second")),
        *(
            (name, "higher")
            for name in ("neg_mean_squared_error", "log_likelihood", "accuracy_at_lowest_loss", "speedup")
        ),
        *((name, "lower") for name in ("val_loss", "metrics/val_loss", "trainLoss", "NLL", "top1_error", "err", "MAE")),
        *(
            (name, "lower")
            for name in ("rmse", "train_seconds", "time_to_90_accuracy", "perplexity", "brier_score", "ece")
        ),
        *((name, "lower") for name in ("neg_log_likelihood", "gap", "acc_gap", "FID", "wer", "latency_ms")),
    ],
)
def test_well_known_names_tell_which_values_are_better(column: str, direction: str) -> None:
    assert usual_direction(column) == direction


class TestFamily:
    def test_responses_share_the_family_of_comparisons(self) -> None:
        data = results()
        found = analysed()
        for each in (found, *found.others.values()):
            a, b = (data.loc[data["regularizer"] == name, each.response] for name in ("l2", "none"))
            got = comparison(each)
            wanted = stats.ttest_ind(a, b, equal_var=False).confidence_interval(1 - 0.05 / 3)
            assert (got["low"], got["high"]) == pytest.approx(tuple(wanted))
            assert any("the comparisons of 3 responses are one family" in said for said in each.warnings)
            assert "so p (Holm) is to be compared with 1.667 %, not with 5 %" in each.warnings

    def test_json_has_the_first_at_the_top_and_the_others_by_name(self) -> None:
        found = analysed().as_dict()
        assert found["response"] == "val_accuracy"
        assert list(found["responses"]) == ["val_loss", "seconds"]
        assert found["responses"]["val_loss"]["comparisons"][0]["verdict"] == "better"
        assert "responses" not in analysed("val_loss").as_dict()


class TestDirection:
    def test_a_loss_is_better_lower_by_its_name_with_a_note(self) -> None:
        found = analysed()
        verdicts = {each.response: comparison(each)["verdict"] for each in (found, *found.others.values())}
        assert verdicts == {"val_accuracy": "better", "val_loss": "better", "seconds": "worse"}
        said = (
            "lower values of val_loss are taken to be better, by its name; if higher ones are, use --direction higher"
        )
        assert said in found.others["val_loss"].warnings
        assert not any("taken to be better" in each for each in found.warnings)

    @pytest.mark.parametrize("direction", ["higher", ["higher"], {"val_loss": "higher"}])
    def test_the_direction_that_is_given_wins(self, direction: Any) -> None:
        found = analysed("val_loss", direction=direction)
        assert comparison(found)["verdict"] == "worse"
        assert not any("by its name" in each for each in found.warnings)

    @pytest.mark.parametrize(
        "direction",
        ["higher, lower, higher", ["higher", "lower", "higher"], {"val_accuracy": "higher", "seconds": "higher"}],
    )
    def test_each_response_may_have_a_direction_of_its_own(self, direction: Any) -> None:
        found = analysed(direction=direction)
        wanted = ["higher", "lower", "higher"]
        assert [each.analysis.design.direction for each in (found, *found.others.values())] == wanted


class TestOfEach:
    def test_margins_scales_and_effects_are_of_one_response_each(self) -> None:
        data = results()
        data["val_accuracy"] *= 100
        found = analysed(data=data, rope=[0.01, 0.02, 0.5], scale="percent,none,none", effect={"seconds": 2.0})
        every = [found, *found.others.values()]
        assert [each.analysis.design.rope for each in every] == [0.01, 0.02, 0.5]
        assert [each.scale for each in every] == ["percent", "none", "none"]
        assert [each.effect for each in every] == [None, None, 2.0]
        assert comparison(found)["difference"] == pytest.approx(0.05)
        assert "power" not in found.as_dict()
        assert found.as_dict()["responses"]["seconds"]["power"][0]["seeds_low"] >= 3

    def test_scales_are_told_by_each_name(self) -> None:
        found = analysed()
        assert [each.scale for each in (found, *found.others.values())] == ["fraction", "none", "none"]
        assert [each.analysis.design.rope for each in (found, *found.others.values())] == [0.005, 0, 0]

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"rope": [0.1, 0.2]}, "rope must have one value, or one for each of 3 responses, got 2"),
            ({"direction": "lower,up,lower"}, 'direction must be higher or lower, got "up"'),
            ({"effect": {"val_los": 1}}, "effect: 'val_los' is not one of the responses; did you mean val_loss?"),
            ({"rope": ["a", 1, 1]}, "rope must be a number, got 'a'"),
            ({"scale": "percent,percent"}, "scale must have one value, or one for each of 3 responses, got 2"),
        ],
    )
    def test_a_wrong_value_is_one_line(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(UserError) as caught:
            analysed(**options)
        assert words in str(caught.value)

    def test_a_response_that_is_there_twice_or_not_at_all_is_refused(self) -> None:
        with pytest.raises(UserError, match="response name val_loss twice"):
            analysed("val_loss,val_loss")
        with pytest.raises(UserError, match='no column "val_los"; did you mean val_loss'):
            analysed("val_accuracy,val_los")


class TestNames:
    def test_own_results_know_a_loss_by_its_other_name(self) -> None:
        data = results().assign(run_id="a", stage="train", network="n", status="finished")
        found = analysed(["val_accuracy", "val_nll"], data=data)
        assert list(found.others) == ["val_loss"]
