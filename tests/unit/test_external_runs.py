"""Which rows are finished runs of their own: what columns say is heeded, and nothing else is taken for it."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from regulens.errors import UserError
from regulens.study.external.finished import finished_runs
from regulens.study.external.logs import Runs, refuse_logs
from regulens.study.own_numbers import analyze
from regulens.study.own_rows import Rows, read_rows

NAMED = {"response": "val_accuracy", "factors": "regularizer", "seed": "seed"}
RUNS = Runs("val_accuracy", ("regularizer",), "seed")
UNNAMED = Runs("val_accuracy", ("regularizer",), None)


def frame(seeds: int = 4, **columns: Sequence[object]) -> pd.DataFrame:
    """Return runs of two levels, and further columns of theirs."""
    rows = [
        (name, seed, 0.8 + 0.1 * (name == "bn") + 0.001 * seed)
        for name, seed in itertools.product(("none", "bn"), range(seeds))
    ]
    return pd.DataFrame(rows, columns=["regularizer", "seed", "val_accuracy"]).assign(**columns)


def log(name: str = "epoch", counts: Sequence[int] = range(5), seeds: int = 3) -> pd.DataFrame:
    """Return a row for each count of every run, as loggers write."""
    every = frame(seeds).loc[np.repeat(np.arange(2 * seeds), len(counts))].reset_index(drop=True)
    every[name] = list(counts) * (2 * seeds)
    every["val_accuracy"] -= 0.1 / (1 + every.groupby(["regularizer", "seed"]).cumcount())
    return every


def rows_of(data: pd.DataFrame) -> Rows:
    return read_rows(data, ["regularizer", "val_accuracy"])


def left(column: str, values: Sequence[object]) -> Rows:
    return finished_runs(rows_of(frame(**{column: values})), ["regularizer"], RUNS.declared)


class TestStates:
    @pytest.mark.parametrize(
        ("column", "finished", "unfinished"),
        [
            ("state", "COMPLETE", "PRUNED"),
            ("state", "TrialState.COMPLETE", "TrialState.FAIL"),
            ("status", "FINISHED", "KILLED"),
            ("attributes.status", "FINISHED", "FAILED"),
            ("info.status", "finished", "running"),
            ("State", "finished", "crashed"),
            ("Status", "Completed", "In Progress"),
            ("trial_status", "TERMINATED", "ERROR"),
            ("status", "completed", "terminated"),
            ("status", "COMPLETED", "INTERRUPTED"),
            ("State", "", "Queued"),
            ("State", "COMPLETED", "CANCELLED by 1000"),
            ("State", "COMPLETED", "OUT_OF_ME+"),
            ("State", "COMPLETED", "NODE_FAIL"),
            ("runState", "Done", "Not started"),
            ("status", "JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED"),
            ("status", "finished (early stopping)", "failed: out of memory"),
            ("status", "ok", "fail"),
            ("sys/state", "Inactive", "Active"),
            ("sys/failed", False, True),
            ("done", True, False),
            ("is_finished", "TRUE", "FALSE"),
            ("has_failed", False, True),
            ("is_running", 0, 1),
            ("run_completed", True, False),
            ("finished", "yes", "no"),
            ("exit_code", 0, 137),
            ("ExitCode", "0:0", "0:9"),
            ("error", None, "CUDA out of memory"),
            ("stage", "train", "refit"),
        ],
    )
    def test_rows_that_are_no_finished_runs_are_left_out_and_counted(
        self, column: str, finished: object, unfinished: object
    ) -> None:
        rows = left(column, [finished, unfinished, *[finished] * 4, unfinished, finished])
        assert rows.columns["seed"] == [0, 2, 3, 0, 1, 3]
        [note] = rows.notes
        assert note.startswith("2 of 8 rows were left out: ")
        assert f"{column} is {unfinished} in 2 (row 2 (index 1), row 7 (index 6))" in note

    @pytest.mark.parametrize(
        ("column", "values"),
        [
            ("state", ["", "complete"]),
            ("optimizer_state", ["new", "kept"]),
            ("early_stopped", [True, False]),
            ("converged", [True, False]),
            ("error", [0.1, 0.2]),
            ("error", ["mse", "mae"]),
            ("failed", [3, 0]),
            ("exit_code", ["a", "b"]),
            ("params.status", ["failed", "finished"]),
            ("stage", ["train", "train"]),
        ],
    )
    def test_columns_about_something_else_leave_all_rows(self, column: str, values: Sequence[object]) -> None:
        rows = left(column, list(values) * 4)
        assert len(rows.names) == 8
        assert rows.notes == ()

    @pytest.mark.parametrize(
        ("column", "values", "listed"),
        [
            ("status", ["frozen", "trained"], "frozen and trained"),
            ("state", ["CA", "OK"], "CA and OK"),
            ("status", [0, 1], "0 and 1"),
            ("status", ["ok", "diverged"], "ok and diverged"),
            ("Status", ["fertig", "abgebrochen"], "fertig and abgebrochen"),
            ("pruned", [True, False], "True and False"),
            ("is_pruned", [True, False], "True and False"),
            ("success", [True, False], "True and False"),
        ],
    )
    def test_columns_that_may_be_states_leave_all_rows_and_are_named(
        self, column: str, values: Sequence[object], listed: str
    ) -> None:
        rows = left(column, list(values) * 4)
        assert len(rows.names) == 8
        said = f"column {column} was not read ({listed}): if it marks unfinished runs, remove their rows"
        assert rows.notes == (said,)

    def test_without_a_finished_run_the_way_out_is_told(self) -> None:
        with pytest.raises(UserError, match="if these runs are finished all the same, remove the column done"):
            left("done", [False] * 8)

    def test_a_state_that_is_a_factor_is_a_factor(self) -> None:
        data = frame().rename(columns={"regularizer": "state"}).replace({"none": "finished", "bn": "failed"})
        found = analyze(data, response="val_accuracy", factors="state", seed="seed", control="finished")
        assert found.cells["n"].tolist() == [4, 4]

    @pytest.mark.parametrize("word", ["early_stopped", "weird", "completed with errors"])
    def test_a_state_that_is_not_known_is_refused(self, word: str) -> None:
        with pytest.raises(
            UserError, match=rf'row 2 .*: status "{word}" does not tell whether the run finished; write'
        ):
            left("status", ["finished", word, *["failed"] * 6])

    def test_levels_without_a_run_left_are_named(self) -> None:
        rows = left("state", ["COMPLETE"] * 4 + ["PRUNED"] * 4)
        assert rows.notes[0].endswith("; no run is left of regularizer bn")

    def test_no_finished_run_at_all_is_refused(self) -> None:
        with pytest.raises(
            UserError, match=r"no row is a finished run: state is FAIL in 5 \(.*\), state is RUNNING in 3"
        ):
            left("state", ["FAIL"] * 5 + ["RUNNING"] * 3)

    def test_the_analysis_says_what_it_left_out_and_does_not_read_it(self) -> None:
        data = frame(status=["FINISHED"] * 7 + ["FAILED"])
        data.loc[7, "val_accuracy"] = np.nan
        found = analyze(data, **NAMED)
        assert found.cells["n"].tolist() == [4, 3]
        assert found.as_dict()["warnings"][0].startswith("1 of 8 rows was left out: status is FAILED in 1")

    def test_rows_of_refits_name_the_option_that_leaves_them_out(self) -> None:
        own = {"stage": ["train"] * 7 + ["refit"], "run_id": range(8), "network": "x", "status": "finished"}
        rows = finished_runs(rows_of(frame().assign(**own)), ["regularizer"], RUNS.declared)
        assert "`regulens results --compared`" in rows.notes[0]


class TestLogs:
    @pytest.mark.parametrize(
        ("column", "counts"),
        [
            ("epoch", range(5)),
            ("Epoch", range(20, 40)),
            ("epoch", [0, 1]),
            ("_step", [0, 37, 74, 120, 163, 201]),
            ("trainer/global_step", [99, 199, 299]),
            ("metrics.epoch", [1, 2, 3]),
            ("Step", [10, 20, 30]),
            ("training_iteration", range(1, 8)),
            ("epoch_idx", range(3)),
        ],
    )
    @pytest.mark.parametrize("runs", [RUNS, UNNAMED], ids=["seed declared", "seed not declared"])
    def test_a_row_per_epoch_is_refused_and_never_a_factor(
        self, column: str, counts: Sequence[int], runs: Runs
    ) -> None:
        with pytest.raises(UserError) as caught:
            refuse_logs(rows_of(log(column, counts)), runs)
        message = str(caught.value)
        assert f"has a row per {column}, not per run: regularizer none, seed 0 has {len(counts)} (row 1" in message
        assert f"--last-of {column} keeps the last row of each run; for another rule" in message
        assert "factor" not in message

    @pytest.mark.parametrize("column", ["epochs", "Epochs", "steps"])
    def test_a_plural_that_counts_by_ones_is_a_log(self, column: str) -> None:
        with pytest.raises(UserError, match=rf"has a row per {column[:-1]}, .*--last-of {column}"):
            refuse_logs(rows_of(log(column)), RUNS)
        with pytest.raises(UserError, match=rf"has a row per {column[:-1]}, .*--last-of {column}"):
            refuse_logs(rows_of(log(column).drop(columns="seed")), UNNAMED)
        refuse_logs(rows_of(log(column, [10, 20, 40, 80, 160])), RUNS)  # as one chooses them

    def test_whatever_counts_the_rows_of_each_run_may_be_an_epoch(self) -> None:
        with pytest.raises(
            UserError, match=r"they differ in tour, which counts.*\(--last-of tour\); if not, is it a fac"
        ):
            analyze(log("tour"), **NAMED)
        with pytest.raises(UserError, match="give each run the mean over its folds"):
            analyze(log("fold"), **NAMED)
        with pytest.raises(UserError, match=r"they differ in epoch: keep one row per run, such as that of the last; "):
            analyze(log("epoch").replace({"epoch": dict(enumerate("abcde"))}), **NAMED)

    @pytest.mark.parametrize(("column", "named"), [("tour", "column tour"), ("", "the column without a name")])
    def test_without_seeds_what_counts_a_cell_more_than_once_is_remarked_on(self, column: str, named: str) -> None:
        found = analyze(log(column).drop(columns="seed"), **(NAMED | {"seed": None}))
        assert any(warning.startswith(f"{named} counts the rows of each cell more") for warning in found.warnings)
        once = analyze(log(column, seeds=1).drop(columns="seed"), **(NAMED | {"seed": None}))
        assert not [warning for warning in once.warnings if "more than once" in warning]

    def test_runs_that_end_before_others_are_remarked_on(self) -> None:
        found = analyze(log().drop(index=[13, 14]), **NAMED, last_of="epoch")
        assert found.warnings[1] == (
            "the runs end at epoch 2 (row 13 (index 12)) to 4 (row 5 (index 4)): if some of them did not finish, "
            "remove their rows"
        )

    @pytest.mark.parametrize("order", ["of runs", "of epochs", "none"])
    def test_a_log_without_any_column_of_runs_is_seen(self, order: str) -> None:
        data = log().drop(columns="seed")
        if order == "of epochs":
            data = data.sort_values("epoch", kind="stable")
        if order == "none":
            data = data.sample(frac=1, random_state=0)
        with pytest.raises(
            UserError, match=r"has a row per epoch.*if each row is a run of its own, remove the column epoch"
        ):
            refuse_logs(rows_of(data), UNNAMED)

    def test_runs_that_stopped_early_are_a_log_as_well(self) -> None:
        data = log()
        data = data[data["epoch"] <= 2 + data["seed"]]
        with pytest.raises(UserError, match="has a row per epoch"):
            refuse_logs(rows_of(data), RUNS)
        with pytest.raises(UserError, match="has a row per epoch"):
            refuse_logs(rows_of(data.drop(columns="seed")), UNNAMED)

    def test_rows_without_a_response_do_not_hide_a_log(self) -> None:
        data = log()
        training = data.assign(val_accuracy="", loss=1.0)
        data = pd.concat([data, training, training]).sort_values(["regularizer", "seed", "epoch"], kind="stable")
        with pytest.raises(UserError, match="has a row per epoch"):
            analyze(data, **NAMED)
        assert analyze(data, **NAMED, last_of="epoch").cells["n"].tolist() == [3, 3]

    @pytest.mark.parametrize(
        "data",
        [
            frame(epoch=39),
            frame(epoch=[10] * 4 + [20] * 4),
            frame(epoch=[17, 23, 19, 30, 17, 22, 41, 18]),
            frame(best_epoch=range(8)),
            frame(epochs=[10, 20] * 4),
            frame(lr_step=[0, 1] * 4),
            frame(**{"params.epoch": [1, 2] * 4}),
            frame(epoch=range(8), run_id=list("abcdefgh")),
            frame(split="val"),
        ],
    )
    @pytest.mark.parametrize("runs", [RUNS, UNNAMED], ids=["seed declared", "seed not declared"])
    def test_what_differs_between_runs_only_is_no_log(self, data: pd.DataFrame, runs: Runs) -> None:
        refuse_logs(rows_of(data), runs)
        refuse_logs(rows_of(data if runs.seed else data.drop(columns="seed")), runs)

    def test_epochs_at_which_runs_stopped_are_seldom_mistaken(self) -> None:
        rng = np.random.default_rng(0)
        mistaken = 0
        for _ in range(300):
            try:
                refuse_logs(rows_of(frame(3, epoch=rng.integers(12, 40, 6)).drop(columns="seed")), UNNAMED)
            except UserError:
                mistaken += 1
        assert mistaken <= 3

    def test_a_factor_that_is_missing_is_asked_for_though_runs_stopped_at_epochs(self) -> None:
        data = pd.concat([frame(filters=16), frame(filters=64)]).assign(epoch=[9, 14, 31, 8, 27, 11, 15, 22] * 2)
        data.iloc[8:, -1] += [3, 8, -4, 2, 7, 9, -1, 4]
        with pytest.raises(UserError, match=r"is a duplicate of .*they differ in filters: is it a factor"):
            analyze(data, **NAMED)

    @pytest.mark.parametrize("runs", [RUNS, UNNAMED], ids=["seed declared", "seed not declared"])
    def test_rows_per_split_are_refused(self, runs: Runs) -> None:
        data = pd.concat([frame(split="train"), frame(split="val")])
        with pytest.raises(UserError, match=r"rows of train and of val \(split\) of the same runs; keep those of one"):
            refuse_logs(rows_of(data), runs)

    def test_the_last_epoch_of_each_run_is_what_a_table_of_runs_says(self, tmp_path: Path) -> None:
        data = log()
        data = data[data["epoch"] <= 2 + data["seed"]]
        last = data.loc[data.groupby(["regularizer", "seed"])["epoch"].idxmax()]
        data.sample(frac=1, random_state=1).to_csv(tmp_path / "log.csv", index=False)
        found = analyze(tmp_path / "log.csv", **NAMED, last_of="epoch")
        assert found.as_dict()["cells"] == analyze(last, **NAMED).as_dict()["cells"]
        assert found.warnings[0] == "24 rows were reduced to 6 runs: the last epoch of each"

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"last_of": "epoch", "seed": None}, "last_of needs the seeds"),
            ({"last_of": "seed"}, "last_of: seed is the response, the seed or a factor"),
            ({"last_of": "epohc"}, 'no column "epohc"; did you mean epoch?'),
            ({"last_of": "note"}, "row 1 (index 0): note is x, no number; the last row of each run is found by it"),
        ],
    )
    def test_what_the_last_is_of_must_be_a_number_of_a_run(self, options: dict[str, str | None], words: str) -> None:
        with pytest.raises(UserError) as caught:
            analyze(log().assign(note="x"), **(NAMED | options))
        assert words in str(caught.value)

    def test_epochs_as_a_factor_are_warned_of_where_they_are_of_the_same_runs(self) -> None:
        options = NAMED | {"factors": "regularizer,epoch", "compare": "regularizer"}
        wanted = (
            "the levels of epoch look like stages of the same runs, which are not independent: then epoch is not a "
        )
        wanted += "factor"
        assert wanted in analyze(log(counts=range(3)), **options).warnings
        trained = pd.concat([frame(epoch=10), frame(epoch=20).assign(seed=range(8))])
        assert wanted not in analyze(trained, **options).warnings

    def test_folds_are_to_be_averaged(self) -> None:
        data = pd.concat([frame(fold=fold) for fold in range(3)])
        with pytest.raises(UserError, match="they differ in fold: give each run the mean over its folds"):
            analyze(data, **NAMED)


def test_a_tracker_file_and_its_frame_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "trials.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "number", "value", "params_dropout", "user_attrs_seed", "state"])
        for number, (dropout, seed) in enumerate(itertools.product((0.0, 0.5), range(6))):
            pruned = dropout > 0 and seed > 3
            value = 0.62 if pruned else 0.87 + dropout / 100 + 0.001 * seed
            writer.writerow([number, number, value, dropout, seed, "PRUNED" if pruned else "COMPLETE"])
    options = {"response": "value", "factors": "params_dropout", "seed": "user_attrs_seed", "control": "0.0"}
    found, of_frame = (analyze(data, **options) for data in (path, pd.read_csv(path)))
    assert found.cells["mean"].tolist() == pytest.approx([0.8725, 0.8765])
    assert found.cells.equals(of_frame.cells)
