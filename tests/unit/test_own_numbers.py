"""Results trained elsewhere: what is read is what was written, what is wrong is named, the numbers are scipy's."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

import regulens
from regulens.errors import UserError
from regulens.stats.analysis import declared_pairs
from regulens.stats.cells import Cells
from regulens.stats.comparisons import compare
from regulens.stats.design import Design
from regulens.stats.estimates import median_interval, sd_interval
from regulens.stats.samples import Sample, sample
from regulens.stats.superiority import improvement_interval
from regulens.study.analysis_text import cell_table, comparison_table, notes
from regulens.study.own_numbers import OwnAnalysis, analyze
from regulens.study.own_rows import read_rows

HEADER = "depth,regularizer,seed,val_accuracy"
REGULARIZERS = ("none", "batchnorm", "l2(0.01)")
NAMED = {"response": "val_accuracy", "factors": ("depth", "regularizer"), "seed": "seed"}
ALWAYS = {
    *("factor", "a", "b", "where", "n_a", "n_b", "difference", "low", "high", "low95", "high95", "p", "p_holm"),
    *("probability_of_improvement", "poi_low", "poi_high", "verdict", "reason"),
}
Row = tuple[object, ...]


def runs(seeds: int = 5, regularizers: Sequence[str] = REGULARIZERS, spread: float = 0.004) -> list[Row]:
    """Return rows of depth, regularizer, seed and an accuracy that lies symmetrically around its cell's mean."""
    places = np.linspace(-1, 1, seeds) if seeds > 1 else [0.0]
    return [
        (depth, name, seed, round(0.8 + 0.02 * depth + 0.03 * place + spread * float(at) * (1 + place), 6))
        for depth in (1, 2)
        for place, name in enumerate(regularizers)
        for seed, at in enumerate(places)
    ]


def text_of(rows: Iterable[Row], header: str = HEADER, separator: str = ",") -> str:
    lines = [header.split(","), *rows]
    return "".join(separator.join(map(str, line)) + "\n" for line in lines)


def changed(row: int, column: int, value: object) -> str:
    """Return the text of ``runs`` with one value changed; row 0 stands in line 2."""
    rows = [list(each) for each in runs()]
    rows[row][column] = value
    return text_of(map(tuple, rows))


def frame_of(rows: Iterable[Row]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=HEADER.split(","))


def analysed(rows: Iterable[Row], **options: Any) -> OwnAnalysis:
    return analyze(frame_of(rows), **(NAMED | options))


def of_cell(rows: Iterable[Row], depth: int, regularizer: str) -> np.ndarray:
    return np.array([row[3] for row in rows if row[:2] == (depth, regularizer)], float)


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[..., str]:
    """Return the one line that a file's content is refused with."""

    def refuse(content: str | bytes, **options: Any) -> str:
        path = tmp_path / "results.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(UserError) as caught:
            analyze(path, **(NAMED | options))
        message = str(caught.value)
        assert "\n" not in message
        return message.replace(f"{tmp_path}/", "")

    return refuse


class TestNumbers:
    def test_symmetric_cells_have_welchs_intervals_and_welchs_p(self) -> None:
        rows = runs()
        found = analysed(rows, rope=0.0).as_dict()["comparisons"]
        assert [(each["a"], each["b"], each["where"]) for each in found] == [
            (name, "none", {"depth": depth}) for depth in (1, 2) for name in REGULARIZERS[1:]
        ]
        for each in found:
            a, b = of_cell(rows, each["where"]["depth"], each["a"]), of_cell(rows, each["where"]["depth"], "none")
            welch = stats.ttest_ind(a, b, equal_var=False)
            assert each["difference"] == pytest.approx(a.mean() - b.mean())
            assert [each["low"], each["high"]] == pytest.approx(list(welch.confidence_interval(1 - 0.05 / 4)))
            assert [each["low95"], each["high95"]] == pytest.approx(list(welch.confidence_interval(0.95)))
            assert each["p"] == pytest.approx(welch.pvalue)
            assert each["p_permutation"] == pytest.approx(2 / math.comb(10, 5))  # the cells do not overlap
            assert each["probability_of_improvement"] == stats.mannwhitneyu(a, b).statistic / 25 == 1
            assert each["verdict"] == "better"
            assert each["reason"] is None
            assert each.keys() >= ALWAYS
        holm = multipletests([each["p"] for each in found], method="holm")[1]
        assert [each["p_holm"] for each in found] == pytest.approx(holm)

    def test_numbers_are_those_of_the_statistics_called_directly(self) -> None:
        rng = np.random.default_rng(5)
        rows = [
            (depth, name, seed, 0.1 if rng.random() < 0.2 else float(rng.normal(0.85, 0.02)))
            for depth, name, seed in itertools.product((1, 2), REGULARIZERS, range(6))
        ]
        by_cell: dict[tuple[int, str], Sample] = {}
        for depth, name in itertools.product((1, 2), REGULARIZERS):
            values = of_cell(rows, depth, name)
            by_cell[depth, name] = sample(values, values <= 0.11)
        every = list(by_cell.values())
        assert 0 < sum(each.collapses for each in every) < 12
        design = Design(rope=0.005, bounds=(0.0, 1.0), rates=True, failed=0.1)
        cells = Cells(by_cell, design)
        pairs = [((d, a), (d, b)) for d in (1, 2) for a, b in declared_pairs(REGULARIZERS, "none")]
        wanted = compare(pairs, cells)
        answer = analysed(rows, chance=0.1).as_dict()
        for each, want in zip(answer["comparisons"], wanted, strict=True):
            got = [each[name] for name in ("difference", "low", "high", "low95", "high95", "p", "p_holm")]
            own = want.unadjusted
            expected = [*_bounds(want.difference), own.low, own.high, want.p, want.p_holm]
            assert got == pytest.approx(expected)
            assert [each["trained_difference"], each["trained_low"]] == pytest.approx(
                [want.trained.interval.estimate, want.trained.interval.low]
            )
            assert want.rate is not None
            assert each["collapse_difference"] == pytest.approx(want.rate.interval.estimate)
            for name, answer_of in (("trained", want.trained), ("rate", want.rate), ("overall", want.overall)):
                found = [each[name][key] for key in ("difference", "low", "high", "verdict")]
                assert found[:3] == pytest.approx(_bounds(answer_of.interval))
                assert found[3] == answer_of.verdict
            assert each["verdict"] == want.verdict
            pair = [of_cell(rows, each["where"]["depth"], each[side]) for side in "ab"]
            poi = [each[name] for name in ("probability_of_improvement", "poi_low", "poi_high")]
            assert poi == pytest.approx(_bounds(improvement_interval(pair[0], pair[1], 0.95)))
        for cell in answer["cells"]:
            of = by_cell[cell["levels"]["depth"], cell["levels"]["regularizer"]]
            assert (cell["n"], cell["collapsed"]) == (6, of.collapses)
            rate = proportion_confint(of.collapses, 6, method="wilson")
            assert [cell["collapse_rate_low"], cell["collapse_rate_high"]] == pytest.approx(rate)
            for name, interval in (
                ("mean", cells.overall({(cell["levels"]["depth"], cell["levels"]["regularizer"]): 1.0}).interval(0.95)),
                ("trained_mean", cells.trained({tuple(cell["levels"].values()): 1.0}).interval(0.95)),
                ("median", median_interval(of.values, 0.95)),
                *([("sd", sd_interval(of.values, 0.95))] if not of.collapses else []),  # of one kind of runs only
            ):
                assert [cell[name], cell[f"{name}_low"], cell[f"{name}_high"]] == pytest.approx(_bounds(interval))
            assert cell["best_of"][-1] == pytest.approx(of.values.max())

    def test_lower_is_better_turns_verdict_and_chance_but_not_the_difference(self) -> None:
        for up, down in zip(
            analysed(runs()).as_dict()["comparisons"],
            analysed(runs(), direction="lower").as_dict()["comparisons"],
            strict=True,
        ):
            assert [up[name] for name in ("difference", "low", "high")] == [
                down[name] for name in ("difference", "low", "high")
            ]
            assert (up["verdict"], down["verdict"]) == ("better", "worse")
            assert down["probability_of_improvement"] == 1 - up["probability_of_improvement"]

    def test_paired_seeds_are_compared_as_pairs(self) -> None:
        shared = np.random.default_rng(3).normal(0, 0.05, 8)
        rows = [
            (depth, name, seed, 0.7 + shared[seed] + (0.01 + at if name == "l2" else 0))
            for depth, name in itertools.product((1, 2), ("none", "l2"))
            for seed, at in enumerate(np.linspace(-0.002, 0.002, 8))
        ]
        pairs = stats.ttest_rel(of_cell(rows, 1, "l2"), of_cell(rows, 1, "none"))
        [first, _] = analysed(rows, paired=True).as_dict()["comparisons"]
        assert [first["low95"], first["high95"]] == pytest.approx(list(pairs.confidence_interval(0.95)))
        assert first["verdict"] == "better"
        assert analysed(rows).as_dict()["comparisons"][0]["verdict"] == "undecided"

    @pytest.mark.parametrize(("primary", "estimate"), [("mean", np.mean), ("median", np.median)])
    def test_the_primary_estimand_decides(self, primary: str, estimate: Callable[..., float]) -> None:
        rows = [(*row[:3], 0.5 if row[1:3] == ("batchnorm", 0) else row[3]) for row in runs(9)]
        [first, *_] = analysed(rows, primary=primary).as_dict()["comparisons"]
        assert first["estimand"] == primary
        assert first["difference"] == pytest.approx(
            estimate(of_cell(rows, 1, "batchnorm")) - estimate(of_cell(rows, 1, "none"))
        )

    def test_primary_trained_compares_the_runs_that_trained(self) -> None:
        rows = [(*row[:3], 0.1 if row[1:3] == ("batchnorm", 0) else row[3]) for row in runs()]
        [first, *_] = analysed(rows, primary="trained", chance=0.1).as_dict()["comparisons"]
        wanted = of_cell(rows, 1, "batchnorm")[1:].mean() - of_cell(rows, 1, "none").mean()
        assert first["difference"] == first["trained_difference"] == pytest.approx(wanted)


def _bounds(interval: Any) -> list[float]:
    return [interval.estimate, interval.low, interval.high]


class TestInvariance:
    @settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.randoms(use_true_random=False), st.permutations(HEADER.split(",")))
    def test_neither_the_order_of_rows_nor_of_columns_changes_anything(
        self, tmp_path: Path, random: Any, columns: list[str]
    ) -> None:
        rows = [(*row[:3], 0.1 if row[2] == 3 else row[3]) for row in runs(8, ("none", "l2"))]
        shuffled = random.sample(rows, len(rows))
        path = tmp_path / "shuffled.csv"
        frame_of(shuffled)[columns].to_csv(path, index=False)
        assert analyze(path, **NAMED, chance=0.1).to_json() == analysed(rows, chance=0.1).to_json()

    @pytest.mark.parametrize(
        ("separator", "encoding"),
        [(",", "utf-8"), (";", "utf-8-sig"), ("\t", "utf-16"), ("|", "utf-8"), (", ", "utf-8")],
    )
    def test_separators_and_encodings_of_spreadsheets_are_read(
        self, separator: str, encoding: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "results.csv"
        path.write_bytes(text_of(runs(), separator=separator).replace("\n", "\r\n").encode(encoding))
        assert analyze(str(path), **NAMED).to_json() == analysed(runs()).to_json()

    def test_the_public_name_is_this_function(self) -> None:
        assert regulens.analyze is analyze


class TestLevels:
    def levels(self, texts: Sequence[str], tmp_path: Path) -> list[object]:
        """Return what the levels of a factor come out as, in JSON."""
        path = tmp_path / "levels.csv"
        path.write_text(
            text_of([(text, name, 0, 0.5) for text in texts for name in ("none", "l2")], "x,regularizer,s,y")
        )
        found = analyze(path, response="y", factors="x, regularizer", seed="s", compare="regularizer")
        cells = json.loads(found.to_json())["cells"]
        return list(dict.fromkeys((type(cell["levels"]["x"]), cell["levels"]["x"]) for cell in cells))

    @pytest.mark.parametrize(
        ("texts", "wanted"),
        [
            (["10", "9"], [(int, 9), (int, 10)]),
            (["1.0", "2.0"], [(int, 1), (int, 2)]),
            (["0.5", "0", "1e-3"], [(int, 0), (float, 0.001), (float, 0.5)]),
            (["True", "false"], [(bool, False), (bool, True)]),
            (["None", "NA", "null"], [(str, "NA"), (str, "None"), (str, "null")]),
            (["0.1", "off"], [(str, "0.1"), (str, "off")]),
            (["inf", "2"], [(str, "2"), (str, "inf")]),
            (["12345678901234567891"], [(int, 12345678901234567891)]),
        ],
    )
    def test_texts_of_a_file_become_their_natural_types(
        self, texts: list[str], wanted: list[object], tmp_path: Path
    ) -> None:
        assert self.levels(texts, tmp_path) == wanted

    def test_levels_of_a_frame_keep_their_types(self) -> None:
        frame = frame_of(runs())
        frame["depth"] = frame["depth"].astype(float)
        frame["regularizer"] = frame["regularizer"].astype("category")
        frame["seed"] = frame["seed"].astype("Int64")
        assert analyze(frame, **NAMED).to_json() == analysed(runs()).to_json()

    def test_numpys_own_booleans_are_levels(self) -> None:
        frame = frame_of(runs())
        frame["depth"] = np.array([np.bool_(depth == 1) for depth in frame["depth"]], object)
        places = [each["where"] for each in analyze(frame, **NAMED).as_dict()["comparisons"]]
        assert places == 2 * [{"depth": False}] + 2 * [{"depth": True}]

    @pytest.mark.parametrize("written", ["none", "None", "NONE"])
    def test_the_control_is_the_level_none_in_any_case(self, written: str) -> None:
        found = analysed((row[0], written if row[1] == "none" else row[1], *row[2:]) for row in runs())
        assert (found.compared, found.control) == ("regularizer", written)
        assert {each["b"] for each in found.as_dict()["comparisons"]} == {written}

    def test_the_factor_that_has_the_named_control_is_compared(self) -> None:
        found = analysed(((row[0], "base" if row[1] == "none" else row[1], *row[2:]) for row in runs()), control="base")
        assert (found.compared, found.control) == ("regularizer", "base")

    @pytest.mark.parametrize("control", [1, 1.0, "1"])
    def test_a_number_may_be_the_control(self, control: object) -> None:
        found = analysed(runs(), compare="depth", control=control).as_dict()["comparisons"]
        places = [{"regularizer": name} for name in sorted(REGULARIZERS)]
        assert [(each["a"], each["b"], each["where"]) for each in found] == [(2, 1, where) for where in places]


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (changed(3, 3, ""), "line 5: val_accuracy is NaN (an empty field)"),
            (changed(3, 3, "nan"), "line 5: val_accuracy is NaN (nan)"),
            (changed(3, 3, "NA"), "line 5: val_accuracy is NaN (NA)"),
            (changed(4, 3, "-inf"), "line 6: val_accuracy is infinite (-inf)"),
            (changed(4, 3, "1e999"), "line 6: val_accuracy is infinite (1e999)"),
            (changed(5, 3, "high"), 'line 7: val_accuracy "high" is non-numeric'),
            (changed(5, 3, "1_0"), 'line 7: val_accuracy "1_0" is non-numeric'),
            (changed(7, 3, "88.2"), "line 9: val_accuracy 88.2 is above 1, but that of line 2 is 0.816: a mix"),
            (changed(7, 3, "88.2 %"), "line 9: val_accuracy 88.2 % is in percent; write 0.882"),
            (
                text_of((*row[:3], 1000 * row[3]) for row in runs()),
                "line 2: val_accuracy 816 is above 100, which no accuracy can be, not even in percent; if it is",
            ),
            (
                text_of([*runs(), runs()[2]]),
                "line 32: is a duplicate of line 4, both depth 1, regularizer none, seed 2",
            ),
            (
                text_of([*((*row, 16) for row in runs()), *((*row, 64) for row in runs())], HEADER + ",filters"),
                "line 32: is a duplicate of line 2, both depth 1, regularizer none, seed 0; they differ in filters: is",
            ),
            (changed(3, 1, ""), "line 5: regularizer is NaN (an empty field)"),
            (changed(3, 0, "NaN"), "line 5: depth is NaN (NaN)"),
            (changed(3, 2, ""), "line 5: seed is NaN (an empty field)"),
            ("", "is empty"),
            ("\n \n", "is empty"),
            (HEADER, "is empty: there is no run in it"),
            (HEADER.replace("depth", "dept"), 'no column "depth"; did you mean dept?'),
            (text_of(runs(), HEADER.replace("seed", "depth")), 'column "depth" is there twice'),
            (text_of([*runs(), (1, "none", 7)]), "line 32: has 3 fields, the header has 4"),
            (text_of([*runs(), (1, "none", 7, "0,9")]), "line 32: has 5 fields, the header has 4; are these decimal"),
            (
                text_of([(*row[:3], str(row[3]).replace(".", ",")) for row in runs()], separator=";"),
                "line 2: val_accuracy 0,816 has a decimal comma; write 0.816",
            ),
            (text_of(runs()) + '1,"l2,3,4\n', "line 32: is not valid CSV"),
            (text_of(runs()).replace("l2(0.01)", "grün", 1).encode("latin-1"), "line 12: is not UTF-8"),
            (b"PK\x03\x04\xff\xfe\x00", "line 1: is not UTF-8"),
            (
                text_of((depth, name.replace("none", "base"), *rest) for depth, name, *rest in runs()),
                'control "none" is not a level of any factor; name the compared factor and its control (levels: 1, 2',
            ),
            (
                text_of(("none" if row[0] == 1 else "pool", *row[1:]) for row in runs()),
                'depth and regularizer have the level "none"; say which is compared: compare depth',
            ),
            (text_of((row[0], "None", row[2] + 9, row[3]) for row in runs() if row[1] == "none"), "has one level only"),
            (
                text_of([*runs(), *((row[0], "None", *row[2:]) for row in runs() if row[1] == "none")]).replace(
                    "none", "NONE"
                ),
                "regularizer has the levels NONE and None; say which is the control",
            ),
        ],
    )
    def test_a_wrong_file_is_one_line_with_the_row_and_the_word(
        self, content: str | bytes, words: str, refusal: Callable[..., str]
    ) -> None:
        message = refusal(content)
        assert message.startswith("results.csv: ")
        assert words in message

    def test_lines_are_counted_as_an_editor_does(self, refusal: Callable[..., str]) -> None:
        content = HEADER + ',note\n\n1,none,0,0.8,"two\nlines"\n,,,,\n1,l2,0,x,\n'
        assert 'results.csv: line 6: val_accuracy "x" is non-numeric' in refusal(content)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"response": "val_acuracy"}, 'no column "val_acuracy"; did you mean val_accuracy?'),
            ({"factors": "depth,regulariser"}, 'no column "regulariser"; did you mean regularizer?'),
            ({"seed": "sed"}, 'no column "sed"; did you mean seed?'),
            ({"compare": "dept"}, 'compare: "dept" is not one of the factors; did you mean depth?'),
            ({"compare": "depth"}, 'control "none" is not a level of depth; name the control (levels: 1, 2)'),
            ({"control": "nome"}, 'control "nome" is not a level of any factor; did you mean none?'),
            ({"compare": "regularizer", "control": "l2"}, 'control "l2" is not a level of regularizer; known: batch'),
            ({"factors": "depth,val_accuracy"}, "val_accuracy is the response and a factor as well"),
            ({"factors": "seed,regularizer"}, "seed is the seed and a factor as well"),
            ({"seed": "val_accuracy"}, "val_accuracy is the response and the seed as well"),
            ({"factors": "depth,depth"}, "factors name depth twice"),
            ({"factors": ""}, "factors must name a column"),
            ({"factors": []}, "factors must name a column"),
            ({"response": ""}, "response must name a column"),
            ({"chance": 10}, "chance must be between 0 and 1, got 10"),
            ({"chance": 0}, "chance must be between 0 and 1, got 0"),
            ({"chance": math.nan}, "chance must be between 0 and 1, got nan"),
            ({"chance": 0.95}, "chance 0.95: runs up to 1.1 times it count as collapsed"),
            ({"chance": 0.1, "direction": "lower"}, "chance is the accuracy of guessing, of which more is better"),
            ({"rope": [0.1, 0.2]}, "rope must have one value, or one for each of 1 response, got 2"),
            ({"direction": {"val_loss": "lower"}}, "direction: 'val_loss' is not one of the responses"),
            ({"trained_above": math.inf}, "trained_above must be a finite number, got inf"),
            ({"trained_above": 0.5, "collapsed": "depth"}, "collapsed and trained_above both say which runs collapsed"),
            ({"collapsed": "depth"}, "collapsed: depth has another role already; name the column of collapsed runs"),
            ({"collapsed": "colapsed"}, 'no column "colapsed"'),
            ({"comparisons": "some"}, 'comparisons must be "control", "all" or a list of pairs of levels, got'),
            ({"comparisons": [("none",)]}, 'comparisons must be "control", "all" or a list of pairs of levels, got'),
            ({"comparisons": [("none", "l3")]}, "comparisons: l3 is not a level of regularizer; it has none, batch"),
            ({"comparisons": [("none", "None")]}, "comparisons: none is compared with itself; name two levels of"),
            ({"comparisons": [("none", [1])]}, "comparisons must be a level (a text, a number or true/false), got [1]"),
            ({"looks": "5,5"}, "looks must be increasing numbers of seeds from 2 on, such as 5,10,20, got '5,5'"),
            ({"looks": [5.5]}, "looks must be increasing numbers of seeds"),
            ({"looks": 5}, "looks must be increasing numbers of seeds"),
            ({"looks": "5,10", "seed": None}, "looks are numbers of seeds: name their column with seed"),
            ({"over": "images"}, "over must be"),
            ({"over": "seeds,images"}, "results from elsewhere have no single images"),
            ({"over": "seeds,split"}, 'over "seeds,split" needs the column of the splits: name it with split'),
            ({"split": "seed"}, "verdicts over splits need test_ratio, evaluated over training images"),
            ({"split": "depth"}, "depth is the split and a factor as well"),
            ({"split": "val_accuracy"}, "val_accuracy is the response and the split as well"),
            ({"test_ratio": 0.2}, "test_ratio is used for verdicts over splits only"),
            ({"test_ratio": -1, "split": "seed"}, "test_ratio must be a finite number > 0, got -1"),
            ({"rope_rate": 1.5}, "rope_rate must be in [0, 1), got 1.5"),
            ({"rope_rate": math.nan}, "rope_rate must be in [0, 1), got nan"),
            ({"effect": 0}, "effect must be a finite number > 0, got 0"),
            ({"effect": 0.5}, "effect 0.5 is 50 percentage points of val_accuracy; for half a point write 0.005"),
            ({"rope": -0.1}, "rope must be a finite number >= 0, got -0.1"),
            ({"rope": math.nan}, "rope must be a finite number >= 0, got nan"),
            ({"direction": "up"}, 'direction must be higher or lower, got "up"'),
            ({"primary": "mode"}, 'primary must be trained or mean or median, got "mode"'),
            ({"paired": True, "seed": None}, "paired needs the seeds"),
        ],
    )
    def test_a_wrong_option_is_one_line(self, options: dict[str, Any], words: str, refusal: Callable[..., str]) -> None:
        assert words in refusal(text_of(runs()), **options)

    def test_paired_cells_need_the_same_seeds(self, refusal: Callable[..., str]) -> None:
        message = refusal(text_of([row for row in runs() if row[:3] != (2, "batchnorm", 3)]), paired=True)
        assert (
            "line 20: seed 3 of depth 2, regularizer none is not among those of depth 2, regularizer batch" in message
        )
        extra = refusal(text_of([*runs(), (1, "l2(0.01)", 9, 0.8)]), paired=True)
        assert "line 32: seed 9 of depth 1, regularizer l2(0.01) is not among those of depth 1, regul" in extra

    def test_files_that_are_not_there_or_not_files(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"absent\.csv: no such file"):
            analyze(tmp_path / "absent.csv", **NAMED)
        with pytest.raises(UserError, match="cannot be read: Is a directory"):
            analyze(tmp_path, **NAMED)

    @pytest.mark.parametrize(
        ("column", "value", "words"),
        [
            ("regularizer", None, r"row 4 \(index 13\): regularizer is NaN \(.*keep_default_na=False"),
            ("val_accuracy", pd.NA, r"row 4 \(index 13\): val_accuracy is NaN"),
            ("regularizer", pd.NA, r"row 4 \(index 13\): regularizer is NaN \(.*keep_default_na=False"),
            ("regularizer", " ", r"row 4 \(index 13\): regularizer is NaN \(an empty field\)"),
            ("regularizer", math.inf, r"row 4 \(index 13\): regularizer is infinite"),
            ("regularizer", (1, 2), r"row 4 \(index 13\): regularizer is a tuple"),
            ("val_accuracy", math.nan, r"row 4 \(index 13\): val_accuracy is NaN"),
            ("val_accuracy", True, r"row 4 \(index 13\): val_accuracy True is non-numeric"),
            ("val_accuracy", [1], r"row 4 \(index 13\): val_accuracy \[1\] is non-numeric"),
        ],
    )
    def test_a_row_of_a_frame_is_named_by_place_and_index(self, column: str, value: object, words: str) -> None:
        frame = frame_of(runs()).astype(object)
        frame.at[3, column] = value
        frame.index += 10
        with pytest.raises(UserError, match=words):
            analyze(frame, **NAMED)

    def test_an_error_rate_in_percent_is_nobodys_mistake(self) -> None:
        rows = frame_of((*row[:3], 100 * (1 - row[3])) for row in runs()).rename(columns={"val_accuracy": "error"})
        found = analyze(rows, **(NAMED | {"response": "error"}), direction="lower")
        assert {each["verdict"] for each in found.as_dict()["comparisons"]} == {"better"}


class TestWhatIsHandled:
    def check(self, found: OwnAnalysis) -> dict[str, Any]:
        """Return the JSON, in which there is no NaN and every null has its reason."""
        answer = json.loads(found.to_json(), parse_constant=lambda text: pytest.fail(f"{text} in JSON"))
        assert list(answer) == ["cells", "comparisons", "claims", "warnings", "effects"]
        assert answer["claims"] == []
        for each in answer["comparisons"]:
            assert each.keys() >= ALWAYS
            missing = {name for name, value in each.items() if value is None} - {"reason"}
            if not any("collapse_difference" in other for other in answer["comparisons"]):
                missing -= {"rate", "rope_rate", "sensitivity"}  # a warning says that collapse was not looked for
            assert missing <= ALWAYS | {"sensitivity"}
            assert not missing or each["reason"]
        for each in answer["cells"]:
            missing = [name for name, value in each.items() if value is None and name != "reason"]
            assert bool(missing) == bool(each["reason"])
        return answer

    def test_one_seed_leaves_no_interval_and_no_p(self) -> None:
        answer = self.check(analysed(runs(1), chance=0.1))
        for each in answer["comparisons"]:
            assert each["difference"] > 0
            assert each["verdict"] == "too few runs"
            bounds = ("low", "high", "low95", "high95", "poi_low", "poi_high")
            assert {each[name] for name in (*bounds, "p", "p_holm")} == {None}
            assert each["probability_of_improvement"] in {0, 0.5, 1}
            assert each["reason"] == "1 trained run of a cell; a verdict needs 3"
        assert [warning for warning in answer["warnings"] if "only one run of" in warning]

    def test_one_run_against_five(self) -> None:
        rows = [row for row in runs() if row[1] != "batchnorm" or row[2] == 0]
        answer = self.check(analysed(rows))
        [each] = [each for each in answer["comparisons"] if each["where"] == {"depth": 1} and each["a"] == "batchnorm"]
        assert (each["n_a"], each["n_b"], each["low"], each["p"]) == (1, 5, None, None)
        assert "cells have unequal numbers of runs (1 to 5)" in " ".join(answer["warnings"])

    def test_a_missing_cell_is_null_with_its_reason_and_a_warning(self) -> None:
        answer = self.check(analysed(row for row in runs() if row[:2] != (2, "none")))
        assert len(answer["cells"]) == 5
        missing = [each for each in answer["comparisons"] if each["where"] == {"depth": 2}]
        assert len(missing) == 2
        for each in missing:
            assert (each["n_a"], each["n_b"], each["difference"], each["verdict"]) == (5, 0, None, None)
            assert each["reason"] == "there are no runs of regularizer none at depth 2"
        assert answer["warnings"].count("there are no runs of regularizer none at depth 2") == 1

    def test_constant_cells_are_told_of(self) -> None:
        rows = [(*row[:3], 0.9 if row[1] == "none" else row[3]) for row in runs()]
        answer = self.check(analysed(rows))
        assert len([warning for warning in answer["warnings"] if "same value" in warning]) == 2
        self.check(analysed([(*row[:3], 0.9) for row in runs()]))

    @pytest.mark.parametrize("collapsing", [{"none"}, {"batchnorm"}, set(REGULARIZERS)])
    def test_cells_of_which_every_run_collapsed(self, collapsing: set[str]) -> None:
        rows = [(*row[:3], 0.1 if row[1] in collapsing else row[3]) for row in runs()]
        answer = self.check(analysed(rows, chance=0.1))
        for cell in answer["cells"]:
            gone = cell["levels"]["regularizer"] in collapsing
            assert cell["collapse_rate"] == gone
            assert (cell["trained_mean"] is None) == gone

    def test_a_run_collapsed_up_to_eleven_tenths_of_chance(self) -> None:
        rows = [(*row[:3], {0: 0.1, 1: 0.1375, 2: 0.1376}.get(row[2], row[3])) for row in runs()]
        answer = self.check(analysed(rows, chance=0.125))
        assert {(cell["collapsed"], cell["collapse_rate"]) for cell in answer["cells"]} == {(2, 0.4)}
        assert any(
            "not above 0.1375 (1.1 times chance) count as collapsed" in warning for warning in answer["warnings"]
        )

    def test_without_chance_no_collapse_is_looked_for_and_that_is_said(self) -> None:
        answer = self.check(analysed((*row[:3], 0.1 if row[2] == 0 else row[3]) for row in runs()))
        assert {cell["collapsed"] for cell in answer["cells"]} == {None}
        assert (
            "collapse was not checked: give the chance accuracy (--chance) to detect collapsed runs"
            in answer["warnings"]
        )
        assert not any("trained_difference" in each for each in answer["comparisons"])

    @pytest.mark.parametrize(
        ("response", "options", "rope"),
        [
            ("val_accuracy", {}, 0.005),
            ("Top1Acc", {}, 0.005),
            ("score", {"chance": 0.1}, 0.005),
            ("score", {}, 0.0),
            ("acceleration", {}, 0.0),
            ("val_accuracy", {"rope": 0.0}, 0.0),
            ("score", {"rope": 0.02}, 0.02),
        ],
    )
    def test_practical_equivalence_defaults_to_half_a_point_of_accuracies(
        self, response: str, options: dict[str, float], rope: float
    ) -> None:
        frame = frame_of(runs()).rename(columns={"val_accuracy": response})
        answer = self.check(analyze(frame, **(NAMED | {"response": response} | options)))
        assert {each["rope"] for each in answer["comparisons"]} == {rope}
        assert any("no equivalence margin (ROPE) was given" in warning for warning in answer["warnings"]) == (
            "rope" not in options
        )

    @pytest.mark.parametrize(
        ("response", "shift", "reaches"), [("val_accuracy", 0.05, False), ("acc_gap", 0.05, True), ("acc", 0, True)]
    )
    def test_no_interval_of_an_accuracy_reaches_below_zero(self, response: str, shift: float, reaches: bool) -> None:
        rows = [(1, name, seed, value + shift) for name in ("none", "l2") for seed, value in enumerate((-0.04, 0.04))]
        frame = frame_of(rows).rename(columns={"val_accuracy": response})
        answer = self.check(analyze(frame, **(NAMED | {"response": response})))
        assert (answer["cells"][0]["mean_low"] < 0) == reaches

    def test_without_seeds_a_repeated_run_is_not_seen_and_that_is_said(self) -> None:
        answer = self.check(analysed([*runs(), runs()[0]], seed=None))
        assert answer["cells"][0]["n"] == 6
        assert any("no column of seeds" in warning for warning in answer["warnings"])

    def test_seeds_may_be_texts(self) -> None:
        named = ((*row[:2], f"run-{row[2]}", row[3]) for row in runs())
        assert analysed(named, paired=True).to_json() == analysed(runs(), paired=True).to_json()


class TestFrames:
    def test_cells_and_comparisons_are_frames_indexed_by_levels(self) -> None:
        found = analysed(runs())
        assert found.cells.index.names == ["depth", "regularizer"]
        assert found.cells.loc[(1, "none"), "mean"] == pytest.approx(of_cell(runs(), 1, "none").mean())
        one = found.comparisons.loc[2]
        assert one["a"].tolist() == ["batchnorm", "l2(0.01)"]
        assert one["verdict"].tolist() == ["better", "better"]

    def test_a_single_factor_leaves_comparisons_nothing_to_be_indexed_by(self) -> None:
        found = analysed([row for row in runs() if row[0] == 1], factors=["regularizer"])
        assert found.cells.index.tolist() == ["none", "batchnorm", "l2(0.01)"]
        assert found.comparisons.index.tolist() == [0, 1]
        assert [each["where"] for each in found.as_dict()["comparisons"]] == [{}, {}]

    def test_a_factor_may_be_called_like_a_number_of_the_answer(self) -> None:
        found = analyze(frame_of(runs()).rename(columns={"depth": "mean"}), **(NAMED | {"factors": "mean,regularizer"}))
        assert found.cells.index.names == ["mean", "regularizer"]
        assert found.cells["mean"].iloc[0] == pytest.approx(of_cell(runs(), 1, "none").mean())

    def test_the_callers_frame_is_left_alone(self) -> None:
        frame = frame_of(runs())
        before = frame.copy(deep=True)
        analyze(frame, **NAMED)
        pd.testing.assert_frame_equal(frame, before)

    def test_all_columns_are_read(self, tmp_path: Path) -> None:
        path = tmp_path / "results.csv"
        path.write_text("a;b\n1;x\n\n 2 ;y\n")
        rows = read_rows(path, ["a"])
        assert (rows.names, rows.columns) == (("line 2", "line 4"), {"a": ["1", "2"], "b": ["x", "y"]})


class TestText:
    def test_tables_hold_the_numbers(self) -> None:
        rows = [(*row[:3], 0.1 if row[:3] == (2, "none", 0) else row[3]) for row in runs()]
        found = analysed(rows, chance=0.1)
        cells, comparisons = cell_table(found.analysis), comparison_table(found.analysis)
        assert cells.columns == (
            *("depth", "regularizer", "n", "collapsed", "trained [95 %]", "all runs [95 %]", "median", "sd"),
        )
        values = of_cell(rows, 2, "none")
        [row] = [row for row in cells.rows if row[:2] == ("2", "none")]
        assert row[2:4] == ("5", "1")
        low, high = stats.t.interval(0.95, 3, values[1:].mean(), stats.sem(values[1:]))
        assert row[4] == f"{values[1:].mean():.4f} [{low:.4f}, {high:.4f}]"
        assert row[5][:6] == f"{values.mean():.4f}"
        assert row[6:] == tuple(f"{x:.4f}" for x in (np.median(values), values.std(ddof=1)))
        assert [row[1] for row in comparisons.rows] == 2 * [
            *("batchnorm – none", "  collapse rate", "  all runs", "l2(0.01) – none", "  collapse rate", "  all runs")
        ]
        first = found.as_dict()["comparisons"][0]
        assert comparisons.rows[0][2:] == (
            f"{first['difference']:+.4f} [{first['low']:+.4f}, {first['high']:+.4f}]",
            f"{first['probability_of_improvement']:.2f} [{first['poi_low']:.2f}, {first['poi_high']:.2f}]",
            f"{first['p_holm']:.4f}",
            first["verdict"],
        )
        rate, overall = first["rate"], first["overall"]
        assert comparisons.rows[1][2:] == (
            f"{rate['difference']:+.2f} [{rate['low']:+.2f}, {rate['high']:+.2f}]",
            *("", "", rate["verdict"]),
        )
        assert comparisons.rows[2][2:] == (
            f"{overall['difference']:+.4f} [{overall['low']:+.4f}, {overall['high']:+.4f}]",
            *("", "", ""),
        )

    def test_what_is_unavailable_is_a_dash(self) -> None:
        analysis = analysed(row for row in runs(1) if row[:2] != (2, "none")).analysis
        assert cell_table(analysis).rows[0] == ("1", "none", "1", "0.8200", "0.8200", "–")
        assert comparison_table(analysis).rows[0] == (
            *("1", "batchnorm – none", "+0.0300", "1.00", "–", "too few runs"),
        )
        assert comparison_table(analysis).rows[-1] == ("2", "l2(0.01) – none", "–", "–", "–", "no runs")

    @pytest.mark.parametrize(
        ("values", "shown"),
        [
            ((101.0, 103.0), "102.00"),
            ((50.0, 250.0), "150.0"),
            ((0.1, 0.1), "0.1000"),
            ((1e-6, 3e-6), "0.000002000"),
            ((0.0, 0.0), "0"),
        ],
    )
    def test_means_show_as_many_decimals_as_they_need(self, values: tuple[float, float], shown: str) -> None:
        rows = [(1, name, seed, value) for name in ("none", "l2") for seed, value in enumerate(values)]
        frame = frame_of(rows).rename(columns={"val_accuracy": "y"})
        table = cell_table(analyze(frame, **(NAMED | {"response": "y"})).analysis)
        assert table.rows[0][3].split()[0] == shown

    def test_a_difference_of_nothing_has_no_minus(self) -> None:
        table = comparison_table(analysed((*row[:3], 0.8) for row in runs()).analysis)
        assert table.rows[0][2] == "+0.0000"

    def test_cells_in_which_no_run_trained_leave_the_rates_alone(self) -> None:
        table = comparison_table(analysed(((*row[:3], 0.1) for row in runs()), chance=0.1).analysis)
        assert table.rows[0][2:] == ("–", "0.50 [0.23, 0.77]", "–", "too few runs")
        assert table.rows[1][2].startswith("+0.00 [")

    def test_no_sentence_capitalizes_the_name_of_a_column(self) -> None:
        lone = [*runs(2), (1, "l1", 0, 0.5), (2, "l1", 0, 0.5), (2, "l1", 1, 0.5)]
        said = notes(analysed(lone).analysis)
        assert (
            "Only one run of depth 1, regularizer l1: its spread is unknown, and no interval can be computed." in said
        )
        assert "All 2 runs of depth 2, regularizer l1 have the same value: its spread may be underestimated." in said
        assert not [each for each in said if each.startswith(("Depth", "Regularizer", "Seed", "Val_"))]

    def test_collapse_is_advised_to_be_checked_of_accuracies_only(self) -> None:
        of_losses = analysed(runs(), direction="lower").warnings
        assert (
            "collapse was not checked: it is defined for accuracies only, unless a column tells (--collapsed)"
            in of_losses
        )
        assert any("give the chance accuracy (--chance)" in warning for warning in analysed(runs()).warnings)

    def test_notes_say_what_decides_over_how_many_and_what_stays_open(self) -> None:
        said = " ".join(notes(analysed(runs(spread=0.03), chance=0.1).analysis))
        assert "better or worse beyond ±0.005, equivalent within it" in said
        assert "The 4 comparisons, of means and of collapse rates, form one family: each interval has level 99" in said
        assert "the mean of the runs that trained" in said
        assert "Verdicts are about new seeds" in said
        assert "Undecided: the interval extends beyond the equivalence margin: batchnorm – none at depth 1" in said
        assert "No equivalence margin (ROPE) was given" in said
        other = " ".join(notes(analysed(runs(2), rope=0, paired=True, primary="median").analysis))
        assert "better or worse if the interval excludes zero" in other
        assert "the median of all runs" in other
        assert "on these images, and runs of the same seed are compared as pairs" in other
        assert "decided now, it is a deviation to report" in other
        assert "Too few runs: 2 blocks in common; a verdict needs 3" in other
