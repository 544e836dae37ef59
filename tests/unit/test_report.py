"""The report says what the store holds, and nothing else."""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from regulens.api import Study, load_study
from regulens.errors import UserError
from regulens.files import slug
from regulens.report.content import report_content
from regulens.report.inside.kernel_pictures import kernels_of_runs, shown_refits
from regulens.report.networks import place_among
from regulens.report.render import mean_sd, number, render, write_report
from regulens.report.written import ranking_sentence
from regulens.stats.estimates import summarize
from regulens.stats.selection import SingleRunRanking
from regulens.study.store import Store, open_store
from regulens.study.study_file import write_study


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.images += tag == "img"
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_the_page_is_self_contained(finished: Study) -> None:
    page = Links()
    page.feed((finished.folder / "report.html").read_text())
    assert page.images >= 8
    assert all(link.startswith(("data:image/svg+xml;base64,", "#")) for link in page.links)


def test_the_table_holds_each_cells_median_and_range(finished: Study) -> None:
    page = (finished.folder / "report.html").read_text().partition("<h2>Every network</h2>")[2]
    frame = finished.results()
    for network, runs in frame[frame["stage"] == "train"].groupby("network"):
        values = runs["val_accuracy"]
        row = re.search(rf"<tr[^>]*><td>{re.escape(str(network))}</td>.*?</tr>", page, re.DOTALL)
        assert row is not None
        for text in (f"{values.median():.4f}", f"{values.min():.4f} to {values.max():.4f}", f"± {values.std():.4f}"):
            assert text in row.group()


def test_sentences_follow_from_the_results(finished: Study) -> None:
    content = report_content(finished.spec, finished.folder, open_store(finished.folder))
    assert content is not None
    frame = finished.results()
    trained = frame[frame["stage"] == "train"]
    medians = trained.groupby("network")["val_accuracy"].median()
    for extreme in (medians.max(), medians.min()):
        assert f"({extreme:.4f})" in content.sentences[0]
        assert all(f"“{network}”" in content.sentences[0] for network in medians[medians == extreme].index)
    means = trained.groupby("network")["val_accuracy"].mean()
    assert [selection.mean_val_accuracy for selection in content.selections] == [pytest.approx(means.max())]
    collapsed = trained[trained["collapsed"].astype(bool)]
    assert (len(collapsed) == 0) == ("No run collapsed" in content.sentences[1])
    assert not any("significant" in sentence for sentence in content.sentences)


def test_every_opening_of_the_test_part_is_listed(finished: Study) -> None:
    page = (finished.folder / "report.html").read_text()
    for record in open_store(finished.folder).ledger():
        assert record.run_id in page
        assert f"{record.test_accuracy:.4f}" in page


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.1, "below all 3 of our runs"), (0.9, "above all 3 of our runs"), (0.5, "within our range, above 1 of 3")],
)
def test_a_published_figure_is_placed_among_our_runs(value: float, words: str) -> None:
    assert place_among(value, [0.5, 0.4, 0.6]) == words


def test_a_published_figure_beside_one_run() -> None:
    assert place_among(0.9, [0.5]) == "above our one run"


def test_numbers_that_are_not_finite_are_dashes() -> None:
    assert number(float("nan")) == number(float("inf")) == "–"
    assert mean_sd(summarize([0.25])) == "0.2500"
    assert mean_sd(summarize([0.25, 0.75])) == f"0.5000 ± {np.std([0.25, 0.75], ddof=1):.4f}"


def test_collapsed_runs_are_counted_and_named(finished: Study, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for result in open_store(finished.folder).results():
        guessing = result.spec.model.depth == 2 and result.spec.regularizer == "none" and result.spec.stage == "train"
        store.save_result(
            result.model_copy(update={"val_accuracy": 0.05, "val_loss": float("nan")}) if guessing else result
        )
    content = report_content(finished.spec, tmp_path, _with_file(finished, tmp_path, store))
    assert content is not None
    assert [cell.collapsed for cell in content.cells if cell.label == "depth 2, none"] == [2]
    assert "“depth 2, none” 2 of 2" in content.sentences[1]
    page = render(content)
    assert "– (2 not finite)" in page


def test_equal_medians_have_no_highest(finished: Study, tmp_path: Path) -> None:
    store = _with_file(finished, tmp_path, Store(tmp_path))
    for result in open_store(finished.folder).results():
        if result.spec.stage == "train":
            store.save_result(result.model_copy(update={"val_accuracy": 0.75}))
    content = report_content(finished.spec, tmp_path, store)
    assert content is not None
    assert content.sentences[0] == "All 4 networks have the same median validation accuracy (0.7500)."


def test_nothing_finished_gives_no_report(finished: Study, tmp_path: Path) -> None:
    _with_file(finished, tmp_path, Store(tmp_path))
    assert write_report(tmp_path) is None


def test_a_report_is_rebuilt_from_the_folder_alone(finished: Study) -> None:
    before = (finished.folder / "report.html").read_text()
    assert load_study(finished.folder).report().read_text() == before


def _with_file(study: Study, folder: Path, store: Store) -> Store:
    write_study(folder, study.spec)
    return store


def test_models_and_predictions_of_a_study_are_those_of_its_runs(finished: Study) -> None:
    for row in finished.result_rows():
        predictions = finished.predictions(str(row["run_id"]))
        right = (predictions.probabilities.argmax(1) == predictions.labels).mean()
        assert right == pytest.approx(row["val_accuracy"] if row["stage"] == "train" else row["test_accuracy"])
        assert not finished.model(str(row["run_id"])[:12]).training


def test_a_named_layer_is_drawn_of_each_run_that_has_it(finished: Study) -> None:
    both = [run for run in open_store(finished.folder).results() if run.spec.seed == 0 and run.spec.stage == "train"]
    drawn = kernels_of_runs(finished.spec, finished.folder, both, layer="conv2")
    deep = {run.run_id for run in both if run.spec.model.depth == 2}
    assert {item.run_id for item in drawn} == deep
    assert {item.kernels.weight.shape for item in drawn} == {(4, 4, 3, 3)}
    with pytest.raises(UserError, match=r'^no convolution is named "dense"; there are "conv1", "conv2"$'):
        kernels_of_runs(finished.spec, finished.folder, both, layer="dense")


def test_lost_weights_of_a_refit_leave_its_kernels_out_not_the_report(finished: Study, tmp_path: Path) -> None:
    refits = [run for run in open_store(finished.folder).results() if run.spec.stage == "refit" and run.spec.seed == 0]
    kept = refits[-1]
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / kept.run_id).symlink_to(finished.folder / "runs" / kept.run_id)
    assert shown_refits(refits, finished.folder) == refits
    assert shown_refits(refits, tmp_path) == [kept]


def test_a_study_of_sixteen_factors_has_a_report_with_every_figure(finished: Study, tmp_path: Path) -> None:
    one = ("filters", "kernel_size", "padding", "pool", "dense")
    factors = {f"model.{name}": [getattr(finished.spec.model, name)] for name in one}
    factors |= {f"train.{name}": [getattr(finished.spec.train, name)] for name in ("epochs", "batch_size", "momentum")}
    shared = ("name", "scale", "standardize", "validation", "test", "split_seed")
    factors |= {f"data.{name}": [getattr(finished.spec.data, name)] for name in shared}
    copy = tmp_path / "sixteen"
    shutil.copytree(finished.folder, copy, ignore=shutil.ignore_patterns("figures", "report*"))
    with closing(sqlite3.connect(copy / "study.db")) as database, database:
        database.execute("DELETE FROM declared")  # as in a folder of version 0.1: the same networks, written otherwise
    write_study(copy, finished.spec.model_copy(update={"factors": finished.spec.factors | factors}))
    assert len(finished.spec.factors | factors) == 16
    assert write_report(copy) is not None
    names = {path.name for path in (copy / "figures").iterdir()}
    assert max(map(len, names)) < 143
    assert sum(name.startswith("curves-") and name.endswith(".svg") for name in names) == 4
    assert any(name.startswith("kernels-") and name.endswith("-conv1.svg") for name in names)


def test_names_of_figures_tell_labels_apart() -> None:
    labels = ["l2(1e-05)", "l2(1e+05)", "batchnorm + dropout(0.1)", "batchnorm, dropout(0.1)", "depth 1, none"]
    assert len({slug(label) for label in labels}) == len(labels)


def test_the_ranking_by_single_runs_is_of_the_runs_at_hand() -> None:
    found = SingleRunRanking(best=0.9999, order=0.61, studies=20_000)
    assert ranking_sentence(found, [10, 10, 8]) == (
        "Had each network been trained only once, with one of its 8 to 10 runs, the one with the best mean would have "
        "come out first in more than 99 % of the possible choices, and the full ranking of 3 would have been "
        "reproduced in 61 %."
    )
    few = ranking_sentence(SingleRunRanking(best=1.0, order=0.001, studies=20_000), [2, 2])
    assert "of its 2 runs, the one" in few
    assert "reproduced in fewer than 1 %." in few
    assert few.endswith("These are shares of the runs at hand: 2 runs of a network say little about further runs.")
