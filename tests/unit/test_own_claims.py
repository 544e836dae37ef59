"""Claims about results from elsewhere: verdicts by scipy's intervals at the stated levels, mistakes in a line."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from regulens.errors import UserError
from regulens.study.analysis_text import claim_table
from regulens.study.own_numbers import OwnAnalysis, analyze

RUNS, SPREAD = 8, 0.004
SYMMETRIC = SPREAD * np.linspace(-1, 1, RUNS)  # no skewness, so that bounds are Student's
ERROR = 0.025  # of all claims: half of 5 %
WELCH_DF = 2 * (RUNS - 1)  # of two cells of equal spread
WELCH_SE = math.sqrt(2 * SYMMETRIC.var(ddof=1) / RUNS)


def frame(**means: float) -> pd.DataFrame:
    """Return runs of regularizers by name, each symmetric around its mean."""
    rows = [(name, seed, mean + at) for name, mean in means.items() for seed, at in enumerate(SYMMETRIC)]
    return pd.DataFrame(rows, columns=["regularizer", "seed", "val_accuracy"])


def margin(one_sided: float) -> float:
    return float(stats.t.isf(one_sided, WELCH_DF)) * WELCH_SE


@pytest.fixture
def claimed(tmp_path: Path) -> Callable[..., OwnAnalysis]:
    """Analyze runs with claims, each given as keys and values."""

    def run(data: pd.DataFrame, *claims: str, **options: Any) -> OwnAnalysis:
        path = tmp_path / "claims.toml"
        heads = [f'[[claims]]\nid = "c{number}"\ntext = "Claim {number}."\n' for number, _ in enumerate(claims)]
        path.write_text("\n".join(head + keys for head, keys in zip(heads, claims, strict=True)))
        named: dict[str, Any] = {"response": "val_accuracy", "factors": "regularizer", "seed": "seed"}
        return analyze(data, **(named | options), claims=path)

    return run


def verdicts(found: OwnAnalysis) -> list[str | None]:
    return [claim.judged.verdict if claim.judged else None for claim in found.claims]


GREATER = 'kind = "greater"\na = "l2"\nb = "none"\n'
EQUAL = 'kind = "equal"\na = "l2"\nb = "none"\n'


class TestVerdicts:
    @pytest.mark.parametrize(
        ("difference", "wanted"),
        [
            (0.005 + 1.01 * margin(ERROR), "supported"),
            (0.005 + 0.99 * margin(ERROR), "undecided"),
            (-1.01 * margin(ERROR / 2), "refuted"),
            (-0.99 * margin(ERROR / 2), "smaller than the ROPE"),
        ],
    )
    def test_a_greater_claim_is_judged_by_welchs_bounds(
        self, difference: float, wanted: str, claimed: Callable[..., OwnAnalysis]
    ) -> None:
        found = claimed(frame(none=0.8, l2=0.8 + difference), GREATER)
        assert verdicts(found) == [wanted]
        [part] = found.as_dict()["claims"][0]["parts"]
        assert part["difference"] == pytest.approx(difference)
        assert (part["low"], part["high"]) == pytest.approx(
            (difference - margin(ERROR / 2), difference + margin(ERROR / 2))
        )

    def test_a_difference_above_zero_and_within_the_margin_is_true_and_small(
        self, claimed: Callable[..., OwnAnalysis]
    ) -> None:
        difference = 1.01 * margin(ERROR / 2)
        rope = difference + 1.01 * margin(ERROR)
        data = frame(none=0.8, l2=0.8 + difference)
        assert verdicts(claimed(data, GREATER, rope=rope)) == ["true, smaller than the ROPE"]
        assert verdicts(claimed(data, GREATER, rope=0.99 * rope)) == ["undecided"]

    def test_an_equal_claim_needs_both_one_sided_bounds(self, claimed: Callable[..., OwnAnalysis]) -> None:
        data = frame(none=0.8, l2=0.801)
        assert verdicts(claimed(data, EQUAL + f"rope = {0.001 + 1.01 * margin(ERROR)}\n")) == ["supported"]
        assert verdicts(claimed(data, EQUAL + f"rope = {0.001 + 0.99 * margin(ERROR)}\n")) == ["undecided"]

    def test_several_claims_share_the_error(self, claimed: Callable[..., OwnAnalysis]) -> None:
        data = frame(none=0.8, l2=0.805 + 1.01 * margin(ERROR))
        other = 'kind = "greater"\na = "none"\nb = "l2"\n'
        assert verdicts(claimed(data, GREATER)) == ["supported"]
        assert verdicts(claimed(data, GREATER, other)) == ["undecided", "refuted"]
        data = frame(none=0.8, l2=0.805 + 1.01 * margin(ERROR / 2))
        assert verdicts(claimed(data, GREATER, other)) == ["supported", "refuted"]

    def test_an_interaction_is_judged_by_satterthwaites_interval(self, claimed: Callable[..., OwnAnalysis]) -> None:
        rng = np.random.default_rng(4)
        rows = [
            (depth, name, seed, 0.8 + 0.02 * (name == "l2") * depth + spread * at)
            for depth, name, spread in ((1, "none", 0.5), (1, "l2", 1.0), (2, "none", 2.0), (2, "l2", 1.0))
            for seed, at in enumerate(rng.permutation(SYMMETRIC))
        ]
        data = pd.DataFrame(rows, columns=["depth", "regularizer", "seed", "val_accuracy"])
        claim = 'kind = "interaction"\na = "l2"\nb = "none"\nby = "depth"\nbetween = [2, 1]\n'
        found = claimed(data, claim, factors="depth,regularizer")
        groups = [group["val_accuracy"] for _, group in data.groupby(["depth", "regularizer"], sort=False)]
        variances = np.array([x.var(ddof=1) / RUNS for x in groups])
        df = variances.sum() ** 2 / np.sum(variances**2 / (RUNS - 1))
        low, high = stats.t.interval(1 - ERROR, df, 0.02, math.sqrt(variances.sum()))
        [part] = found.as_dict()["claims"][0]["parts"]
        assert (part["difference"], part["low"], part["high"]) == pytest.approx((0.02, low, high))
        assert verdicts(found) == ["supported"]

    def test_a_claim_must_hold_at_every_place_and_of_every_response(self, claimed: Callable[..., OwnAnalysis]) -> None:
        data = pd.concat([frame(none=0.8, l2=0.9).assign(depth=1), frame(none=0.9, l2=0.8).assign(depth=2)])
        data["val_loss"] = 1 - data["val_accuracy"]
        everywhere = claimed(data, GREATER, factors="depth,regularizer")
        assert verdicts(everywhere) == ["refuted"]
        assert verdicts(claimed(data, GREATER + "where = { depth = 1 }\n", factors="depth,regularizer")) == [
            "supported"
        ]
        best = 'kind = "best"\na = "L2"\nwhere = { depth = 1.0 }\nresponse = ["val_accuracy", "val_loss"]\n'
        found = claimed(data, best, factors="depth,regularizer", response="val_accuracy,val_loss")
        assert verdicts(found) == ["supported"]  # a lower loss is better
        parts = [part["text"] for part in found.as_dict()["claims"][0]["parts"]]
        assert parts == [
            "val_accuracy: l2 against none, depth 1",
            "val_loss: none against l2, depth 1",
        ]

    def test_a_claim_on_own_results_may_name_a_loss_by_its_other_name(
        self, claimed: Callable[..., OwnAnalysis]
    ) -> None:
        own = frame(none=0.8, l2=0.9).assign(run_id="a", stage="train", network="n", status="finished")
        own = own.rename(columns={"val_accuracy": "val_loss"})
        claim = GREATER + 'response = "val_nll"\n'
        assert verdicts(claimed(own, claim, response="val_nll")) == ["supported"]

    def test_claims_take_half_of_the_error_from_the_comparisons(self, claimed: Callable[..., OwnAnalysis]) -> None:
        data = frame(none=0.8, l2=0.82)
        [each] = claimed(data, GREATER).as_dict()["comparisons"]
        a, b = (data.loc[data["regularizer"] == name, "val_accuracy"] for name in ("l2", "none"))
        bounds = stats.ttest_ind(a, b, equal_var=False).confidence_interval(1 - 0.025)
        assert (each["low"], each["high"]) == pytest.approx(tuple(bounds))
        assert any("the comparisons err with at most 2.5 %" in said for said in claimed(data, GREATER).warnings)


class TestWhatIsNotThere:
    def test_a_claim_that_needs_another_study_is_not_testable_and_costs_no_error(
        self, claimed: Callable[..., OwnAnalysis]
    ) -> None:
        data = frame(none=0.8, l2=0.805 + 1.01 * margin(ERROR))
        absent = GREATER.replace("l2", "l3") + 'needs = "the large study"\n'
        found = claimed(data, GREATER, absent, 'factor = "width"\nneeds = "more"\n' + GREATER)
        assert verdicts(found) == ["supported", None, None]
        reasons = [claim["reason"] for claim in found.as_dict()["claims"]]
        assert reasons[1].endswith("; the large study")
        assert "width is not a factor" in reasons[2]

    def test_a_cell_without_runs_is_named(self, claimed: Callable[..., OwnAnalysis]) -> None:
        data = pd.concat([frame(none=0.8, l2=0.9).assign(depth=1), frame(none=0.9).assign(depth=2)])
        found = claimed(data, GREATER, factors="depth,regularizer")
        assert found.as_dict()["claims"][0]["reason"] == "no runs with depth 2, regularizer l2"
        first, why = claim_table(found.claims).rows
        assert (first[-1], why[1]) == ("not testable", "  no runs with depth 2, regularizer l2")

    def test_two_runs_of_each_cell_are_too_few(self, claimed: Callable[..., OwnAnalysis]) -> None:
        assert verdicts(claimed(frame(none=0.8, l2=0.9).query("seed < 2"), GREATER)) == ["too few runs"]

    @pytest.mark.parametrize(
        ("keys", "words"),
        [
            (GREATER.replace("l2", "l3"), "claims[0] (c0): a = l3 is not a level of regularizer; known: none, l2"),
            (GREATER + 'factor = "regularizr"\n', "claims[0] (c0): regularizr is not a factor"),
            (GREATER + "where = { depth = 1 }\n", "claims[0] (c0): depth is not a factor"),
            (GREATER + 'response = "val_loss"\n', "claims[0] (c0): val_loss is not a response of this analysis"),
            (GREATER + "response = 5\n", "claims[0]: response = 5: must name columns of the results"),
            (GREATER + 'kindd = "x"\n', 'claims[0]: unknown key kindd = "x"; did you mean kind?'),
            (GREATER.replace("none", "L2"), "claims[0] (c0): compares a level with itself, or with none"),
            (EQUAL + "rope = 0\n", 'claims[0] (c0): kind = "equal" needs a width for val_accuracy'),
            (
                GREATER + 'where = { regularizer = "l2" }\n',
                "claims[0] (c0): regularizer is compared and cannot be held",
            ),
            ("a = [", "is not valid TOML"),
        ],
    )
    def test_a_mistake_in_a_claim_is_one_line(self, keys: str, words: str, claimed: Callable[..., OwnAnalysis]) -> None:
        with pytest.raises(UserError) as caught:
            claimed(frame(none=0.8, l2=0.9), keys)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (None, "cannot be read (No such file or directory)"),
            ("", "has no claims; write each under [[claims]]"),
            ("claims = [1]", "claims[0]: is not a table"),
            ('[[claims]]\nid = "x"\ntext = "t"\n' + GREATER + '[[claims]]\nid = "x"\ntext = "t"\n' + GREATER, "two of"),
        ],
    )
    def test_a_file_without_proper_claims_is_one_line(self, content: str | None, words: str, tmp_path: Path) -> None:
        path = tmp_path / "claims.toml"
        if content is not None:
            path.write_text(content)
        with pytest.raises(UserError) as caught:
            analyze(frame(none=0.8, l2=0.9), response="val_accuracy", factors="regularizer", claims=path)
        assert words in str(caught.value)

    def test_claims_are_a_path(self) -> None:
        with pytest.raises(UserError, match="claims must be the path of a TOML file, got 5"):
            analyze(frame(none=0.8, l2=0.9), response="val_accuracy", factors="regularizer", claims=5)  # type: ignore[arg-type]
