"""Widths and effects in points, where fractions are meant, are refused with the fraction named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from regulens.api import Study, analyze, load_study, run_study
from regulens.errors import UserError
from regulens.executors.local import LocalExecutor
from regulens.report.written import analysis_blocks
from regulens.results import Environment, RunResult
from regulens.spec import Response, StudySpec
from regulens.study.analysis import StudyAnalysis, analyse_study
from regulens.study.grid import cells
from regulens.study.power_plan import power_rows
from regulens.study.store import Store
from regulens.study.study_file import STUDY_FILE, parse_study, read_study, write_study
from regulens.study.thresholds import check_effect, power_warnings

FILE = """
name = "made-up"
seeds = 8
[factors]
regularizer = ["none", "l2(0.01)", "batchnorm"]
[analysis]
response = "val_accuracy"
"""
CLAIM = """
[[claims]]
id = "one"
text = "Batch norm is as good as none."
kind = "equal"
a = "batchnorm"
b = "none"
"""
HERE = Environment(
    regulens="0", python="3", torch="2", numpy="2", platform="here", cpu="one", device="cpu", kernels="reference"
)


def results(study: StudySpec, seeds: int = 4) -> list[RunResult]:
    """Return runs whose accuracies lie between 0.85 and 0.88, their losses between 0.4 and 0.43."""
    return [
        RunResult(
            run_id=f"{spec.regularizer}{seed}",
            cell_id=spec.regularizer,
            dataset_digest="0",
            spec=spec.model_copy(update={"seed": seed}),
            parameters_total=1,
            parameters_trainable=1,
            train_images=100,
            val_class_counts=(100,) * 10,
            train_loss=0.3,
            train_accuracy=0.9,
            val_loss=0.4 + 0.01 * place + 0.003 * seed,
            val_accuracy=0.85 + 0.01 * place + 0.003 * seed,
            train_seconds=10.0,
            workers=1,
            epochs=(),
            environment=HERE,
        )
        for place, spec in enumerate(cells(study))
        for seed in range(seeds)
    ]


def frame(response: str, low: float, step: float) -> pd.DataFrame:
    values = low + step * np.random.default_rng(0).random(10)
    return pd.DataFrame({"arm": ["none"] * 5 + ["l2"] * 5, "seed": [*range(5)] * 2, response: values})


class TestOwnNumbers:
    @pytest.mark.parametrize(
        ("rope", "words"),
        [
            (0.5, "rope 0.5 is 50 percentage points of val_accuracy; for half a point write 0.005"),
            (1, "rope 1 is 100 percentage points of val_accuracy; for one point write 0.01"),
            (0.2, "rope 0.2 is 20 percentage points of val_accuracy; for 0.2 points write 0.002"),
            (5, "rope 5 is 500 percentage points of val_accuracy; for 5 points write 0.05"),
        ],
    )
    def test_a_width_in_points_is_refused_and_the_fraction_named(self, rope: float, words: str) -> None:
        with pytest.raises(UserError) as refused:
            analyze(frame("val_accuracy", 0.8, 0.1), response="val_accuracy", factors="arm", seed="seed", rope=rope)
        assert str(refused.value) == words

    @pytest.mark.parametrize(
        ("response", "low", "step", "rope"),
        [
            ("val_accuracy", 0.8, 0.1, 0.05),
            ("val_accuracy", 0.1, 0.8, 0.1),
            ("val_loss", 0.3, 0.9, 0.5),
            ("seconds", 300, 40, 10),
            ("score", 50, 20, 1),
        ],
    )
    def test_what_is_narrower_than_the_runs_range_is_taken(
        self, response: str, low: float, step: float, rope: float
    ) -> None:
        found = analyze(frame(response, low, step), response=response, factors="arm", seed="seed", rope=rope)
        assert found.analysis.design.rope == rope
        assert not [warning for warning in found.warnings if "larger" in warning]

    @pytest.mark.parametrize(
        ("response", "low", "step", "rope"),
        [
            ("val_loss", 0.3, 0.05, 0.5),
            ("seconds", 300, 4, 10),
            ("f1", 0.8, 0.05, 0.5),
            ("val_accuracy", 0.8, 0.01, 0.05),
        ],
    )
    def test_what_is_wider_than_the_runs_range_is_said_with_the_range(
        self, response: str, low: float, step: float, rope: float
    ) -> None:
        runs = frame(response, low, step)
        found = analyze(runs, response=response, factors="arm", seed="seed", rope=rope)
        values = f"{runs[response].min():.6g} to {runs[response].max():.6g}"
        assert [warning for warning in found.warnings if "larger" in warning] == [
            f"the equivalence margin rope = {rope:g} is larger than the whole range of {response} among the runs "
            f"({values}): no difference between them can count"
        ]

    def test_a_default_is_not_the_users_slip(self) -> None:
        found = analyze(frame("val_accuracy", 0.99, 0.002), response="val_accuracy", factors="arm", seed="seed")
        assert not [warning for warning in found.warnings if "larger" in warning]


class TestStudyFiles:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (FILE + "rope = 0.5", "x.toml: analysis.rope = 0.5 is 50 percentage points of val_accuracy; for half a"),
            (FILE.replace("val_acc", "train_acc") + "rope = 1", "100 percentage points of train_accuracy; for one"),
            (FILE.replace("val_accuracy", "gap") + "rope = 2", "200 percentage points of gap; for 2 points write 0.02"),
            (FILE + CLAIM + "rope = 0.5", "claims[0] (one): rope = 0.5 is 50 percentage points of val_accuracy"),
            (FILE + CLAIM + 'rope = 0.5\nresponse = ["val_loss", "gap"]', "50 percentage points of gap"),
        ],
    )
    def test_a_width_in_points_is_refused_by_its_key(self, text: str, words: str) -> None:
        with pytest.raises(UserError) as refused:
            parse_study(text, "x.toml")
        assert words in str(refused.value)

    @pytest.mark.parametrize(
        "text",
        [
            FILE + "rope = 0.05",
            FILE + "rope = 0",
            FILE.replace("val_accuracy", "train_seconds") + "rope = 10",
            FILE.replace("val_accuracy", "val_loss") + "rope = 0.5",
            FILE + CLAIM + 'rope = 0.5\nresponse = "val_loss"',
        ],
    )
    def test_what_is_legitimate_is_taken(self, text: str) -> None:
        parse_study(text, "x.toml")

    def test_a_study_that_was_run_is_read_as_it_was_declared_and_a_new_one_is_not_begun(
        self, tmp_path: Path, processes: LocalExecutor
    ) -> None:
        wide = parse_study(FILE + "rope = 0.5", "x.toml", stored=True)
        with pytest.raises(UserError, match="half a point"):
            run_study(Study(wide, tmp_path / "new"), executor=processes)
        assert not (tmp_path / "new").exists()
        write_study(tmp_path, wide)
        with pytest.raises(UserError, match="half a point"):
            read_study(tmp_path / STUDY_FILE)
        Store(tmp_path)
        assert load_study(tmp_path).spec.analysis.rope == 0.5

    def test_the_report_of_such_a_study_says_so(self) -> None:
        wide = parse_study(FILE + "rope = 0.5" + CLAIM + 'response = "val_loss"\nrope = 0.2', "x.toml", stored=True)
        found = analyse_study(wide, results(wide))
        assert found.analysis.warnings[:2] == (
            "the equivalence margin analysis.rope = 0.5 is 50 percentage points of val_accuracy; for half a point "
            "write 0.005",
            "the equivalence margin claims[0] (one): rope = 0.2 is larger than the whole range of val_loss among the "
            "runs (0.4 to 0.429): no difference between them can count",
        )
        assert "The equivalence margin analysis.rope = 0.5 is 50" in shown(wide, found)


def shown(study: StudySpec, found: StudyAnalysis) -> str:
    return " ".join(getattr(block, "text", "") for block in analysis_blocks(study, found))


class TestPower:
    @pytest.mark.parametrize(
        ("asked", "words"),
        [
            ({"effect": 1.0, "sd": 0.5}, "effect 1 is 100 percentage points of val_accuracy; for one point write 0.01"),
            ({"effect": 0.5, "sd": 0.005}, "effect 0.5 is 50 percentage points of val_accuracy; for half a point"),
            ({"effect": 2.0}, "effect 2 is 200 percentage points of val_accuracy; for 2 points write 0.02"),
            (
                {"effect": 0.01, "sd": 0.5},
                "sd 0.5 is 50 percentage points of val_accuracy; for half a point write 0.005",
            ),
            ({"effect": 0.0}, "effect must be a number above 0, got 0"),
            ({"effect": -0.01, "sd": 0.1}, "effect must be a number above 0, got -0.01"),
            ({"effect": float("nan"), "sd": 0.1}, "effect must be a number above 0, got nan"),
            ({"effect": float("inf"), "sd": 0.1}, "effect must be a number above 0, got inf"),
            ({"effect": 0.01, "sd": 0.0}, "sd must be a number above 0, got 0"),
            ({"effect": 0.01, "sd": 0.01, "collapse_rate": 10}, "got 10; for 10 percent write 0.1"),
            (
                {"effect": 0.01, "sd": 0.01, "collapse_rate": -0.1},
                "collapse must be a fraction of runs in [0, 1), got -0.1",
            ),
        ],
    )
    def test_the_one_that_is_wrong_is_named(self, asked: dict[str, Any], words: str) -> None:
        study = parse_study(FILE, "x.toml")
        with pytest.raises(UserError) as refused:
            power_rows(study, results(study), **asked)
        assert words in str(refused.value)

    @pytest.mark.parametrize("response", ["val_loss", "train_seconds"])
    def test_responses_without_a_scale_take_any_effect(self, response: Response) -> None:
        check_effect(5.0, 2.0, 0.0, response)
        assert power_warnings(5.0, 2.0, response, [0.3, 0.4]) == [
            f"effect 5 is larger than the whole range of {response} among the runs (0.3 to 0.4)"
        ]
        assert power_warnings(0.05, None, response, [0.3, 0.4]) == power_warnings(5.0, 2.0, response, []) == []

    @pytest.mark.parametrize("effect", [0.004, 0.005])
    def test_an_effect_within_the_margin_is_remarked_on(self, effect: float) -> None:
        [said] = power_warnings(effect, 0.01, "val_accuracy", [], rope=0.005)
        assert said.startswith(f"effect {effect:g} is not above the equivalence margin 0.005: no number of seeds")
        assert power_warnings(0.006, 0.01, "val_accuracy", [], rope=0.005) == []

    def test_a_large_effect_on_an_accuracy_is_planned_and_remarked_on(self) -> None:
        check_effect(0.3, 0.2, 0.0, "val_accuracy")
        effect, sd = power_warnings(0.3, 0.2, "val_accuracy", [])
        assert "for 0.3 points write 0.003" in effect
        assert "for 0.2 points write 0.002" in sd
        (range_of_runs,) = power_warnings(0.05, None, "val_accuracy", [0.85, 0.86])
        assert "larger than the whole range" in range_of_runs
        assert power_warnings(0.02, 0.01, "val_accuracy", []) == []
