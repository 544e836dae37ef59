"""A study's analysis from made-up results whose truth is known, and its audit."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from regulens.api import audit_study, load_study
from regulens.errors import UserError
from regulens.executors.local import LocalExecutor
from regulens.report.audit import conclusions
from regulens.results import Environment, RunResult
from regulens.spec import MAX_SEEDS, RunSpec, StudySpec
from regulens.study.analysis import StudyAnalysis, analyse_study
from regulens.study.audited import compare_verdicts
from regulens.study.grid import cells
from regulens.study.store import open_store
from regulens.study.study_file import parse_study

FILE = """
name = "made-up"
seeds = 8
[factors]
model.depth = [1, 2]
regularizer = ["none", "l2(0.01)", "batchnorm"]
[[claims]]
id = "best"
text = "Batch norm is best."
kind = "best"
a = "batchnorm"
[[claims]]
id = "l2"
text = "L2 lowers both accuracies."
kind = "greater"
a = "none"
b = "l2(0.01)"
response = ["train_accuracy", "val_accuracy"]
[[claims]]
id = "more"
text = "Batch norm helps two blocks more."
kind = "interaction"
a = "batchnorm"
b = "none"
by = "model.depth"
between = [2, 1]
[[claims]]
id = "time"
text = "Two blocks take longer."
kind = "greater"
factor = "model.depth"
a = 2
b = 1
response = "train_seconds"
[[claims]]
id = "filters"
text = "More filters help."
kind = "greater"
factor = "model.filters"
a = 64
b = 16
needs = "regulens run lab-64"
"""
MEANS = {(1, "none"): 0.86, (1, "l2(0.01)"): 0.84, (1, "batchnorm"): 0.9}
MEANS |= {(2, "none"): 0.8, (2, "l2(0.01)"): 0.8, (2, "batchnorm"): 0.88}
HERE = Environment(
    regulens="0", python="3", torch="2", numpy="2", platform="here", cpu="one", device="cpu", kernels="reference"
)


@pytest.fixture(scope="module")
def study() -> StudySpec:
    return parse_study(FILE, "made-up")


def result(spec: RunSpec, accuracy: float, workers: int | None = 2) -> RunResult:
    return RunResult(
        run_id=f"{spec.model.depth}{spec.regularizer}{spec.seed}",
        cell_id=f"{spec.model.depth}{spec.regularizer}",
        dataset_digest="0",
        spec=spec,
        parameters_total=1,
        parameters_trainable=1,
        train_images=100,
        val_class_counts=(100,) * 10,
        train_loss=0.1,
        train_accuracy=min(1.0, accuracy + 0.01),
        val_loss=0.1,
        val_accuracy=accuracy,
        train_seconds=10.0 * spec.model.depth + 0.1 * spec.seed,
        workers=workers,
        epochs=(),
        environment=HERE,
    )


def results(study: StudySpec, seeds: int = 8, collapsed: float = 0.0, workers: int | None = 2) -> list[RunResult]:
    rng = np.random.default_rng(seeds)
    found = []
    for spec in cells(study):
        for seed in range(seeds):
            accuracy = MEANS[spec.model.depth, spec.regularizer] + 0.004 * rng.standard_normal()
            accuracy = 0.1 if spec.regularizer == "none" and seed < collapsed * seeds else accuracy
            found.append(result(spec.model_copy(update={"seed": seed}), accuracy, workers))
    return found


def verdicts(found: StudyAnalysis) -> dict[str, str]:
    return {
        claim.claim.spec.id: claim.judged.verdict if claim.judged else "not testable here" for claim in found.claims
    }


class TestAnalysis:
    def test_comparisons_are_those_declared_and_their_intervals_welchs(self, study: StudySpec) -> None:
        runs = results(study)
        found = analyse_study(study, runs)
        names = [(each.a, each.b, dict(each.where)) for each in found.analysis.comparisons]
        assert names == [(a, "none", {"model.depth": depth}) for depth in (1, 2) for a in ("l2(0.01)", "batchnorm")]
        values = {
            cell: np.array([run.val_accuracy for run in runs if (run.spec.model.depth, run.spec.regularizer) == cell])
            for cell in MEANS
        }
        first = found.analysis.comparisons[1].result
        assert first is not None
        a, b = values[1, "batchnorm"], values[1, "none"]
        level = 1 - 0.05 / 2 / (2 * 4)  # claims have the other half; each comparison has two answers
        welch = scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval(level)
        assert not found.analysis.data.shape.evident
        assert first.difference.estimate == pytest.approx(a.mean() - b.mean())
        assert welch.low * 1.0001 >= first.difference.low >= welch.low - 0.25 * (a.mean() - b.mean() - welch.low)
        assert [each.result.verdict for each in found.analysis.comparisons if each.result] == [
            "worse",
            "better",
            "undecided",
            "better",
        ]

    def test_claims_are_judged_and_say_what_cannot_be_tested_here(self, study: StudySpec) -> None:
        found = analyse_study(study, results(study))
        assert verdicts(found) == {
            "best": "supported",
            "l2": "undecided",
            "more": "supported",
            "time": "not testable here",
            "filters": "not testable here",
        }
        by_id = {claim.claim.spec.id: claim for claim in found.claims}
        assert "--workers 1" in by_id["time"].reason
        assert "regulens run lab-64" in by_id["filters"].reason
        assert by_id["best"].seeds is None
        assert by_id["l2"].seeds is not None
        assert len(by_id["l2"].parts) == 4

    def test_seconds_count_where_runs_were_made_one_at_a_time(self, study: StudySpec) -> None:
        assert verdicts(analyse_study(study, results(study, workers=1)))["time"] == "supported"

    def test_collapses_widen_what_is_said_of_all_runs_and_not_of_those_that_trained(self, study: StudySpec) -> None:
        clean, broken = (analyse_study(study, results(study, collapsed=share)) for share in (0.0, 0.25))
        before, after = (each.analysis.comparisons[1].result for each in (clean, broken))
        assert before is not None
        assert after is not None
        assert after.overall.interval.low < 0.005 < before.difference.low
        assert after.trained.interval == after.difference
        assert after.trained.runs == (8, 6)
        assert after.difference.high - after.difference.low < 2 * (before.difference.high - before.difference.low)
        assert (before.verdict, after.verdict) == ("better", "better")
        assert after.rate is not None
        assert after.rate.verdict == "undecided"

    def test_the_mean_of_all_runs_decides_only_where_it_is_declared(self, study: StudySpec) -> None:
        of_all = study.model_copy(update={"analysis": study.analysis.model_copy(update={"primary": "mean"})})
        found = analyse_study(of_all, results(study, collapsed=0.25)).analysis.comparisons[1].result
        assert found is not None
        assert found.verdict == "undecided"
        assert found.difference == found.overall.interval

    def test_a_stricter_level_widens_every_family(self, study: StudySpec) -> None:
        usual, strict = (analyse_study(study, results(study), level=level) for level in (0.95, 0.99))
        for one, other in zip(usual.analysis.comparisons, strict.analysis.comparisons, strict=True):
            assert one.result is not None
            assert other.result is not None
            assert other.result.difference.low < one.result.difference.low
        assert strict.claims[0].judged is not None
        assert usual.claims[0].judged is not None
        assert strict.claims[0].judged.parts[0].interval.low < usual.claims[0].judged.parts[0].interval.low

    def test_fresh_seeds_are_left_out_and_runs_that_diverged_are_not(self, study: StudySpec) -> None:
        fresh = result(cells(study)[0].model_copy(update={"seed": MAX_SEEDS}), 0.5)
        assert analyse_study(study, [*results(study), fresh]).analysis.cells[0].runs == 8
        by_loss = {"analysis": study.analysis.model_copy(update={"response": "val_loss"}), "claims": []}
        runs = results(study)
        runs[0] = runs[0].model_copy(update={"val_loss": math.nan})
        found = analyse_study(study.model_copy(update=by_loss), runs)
        first = found.analysis.cells[0]
        assert (first.runs, len(first.sample.values)) == (8, 8)
        assert first.collapse is not None
        assert first.collapse.estimate == 1 / 8
        assert first.sample.values[0] == pytest.approx(math.log(10))  # the entropy of ten classes of one size
        assert len(found.diverged) == 1
        assert "seed 0: its val_loss is not finite" in found.diverged[0]


def test_an_audit_judges_every_claim_under_every_variation(
    tiny_file: Path, tmp_path: Path, processes: LocalExecutor
) -> None:
    file = tmp_path / "audited.toml"
    claim = '[[claims]]\nid = "bn"\ntext = "Batch norm is better."\nkind = "greater"\na = "batchnorm"\nb = "none"\n'
    file.write_text(
        f'{tiny_file.read_text()}\n{claim}[[variations]]\nname = "quick"\nchange = {{ train.epochs = 1 }}\n'
    )
    found = audit_study(load_study(file, tmp_path / "audited"), executor=processes)
    assert [variation.name for variation in found.variations] == ["quick"]
    (claim_there,) = found.variations[0].claims
    assert len(claim_there.shifts) == 2  # one for each depth
    assert conclusions(found)[0].startswith("bn: ")
    page = (tmp_path / "audited" / "audit.html").read_text()
    assert "epochs 1" in page
    assert "claim x variation" in page
    assert open_store(tmp_path / "audited").ledger() == []
    with pytest.raises(UserError, match="declares no claims to audit"):
        audit_study(load_study(tiny_file, tmp_path / "none"), executor=processes)


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ("supported", "refuted", "flipped"),
        ("refuted", "supported", "flipped"),
        ("supported", "undecided", "no longer decided"),
        ("undecided", "refuted", "now decided"),
        ("refuted", "refuted", "same"),
        ("undecided", "undecided", "undecided before and after"),
        ("undecided", "too few runs", "undecided before and after"),
        ("supported", "true, smaller than the ROPE", "flipped"),
        ("true, smaller than the ROPE", "refuted", "flipped"),
        ("refuted", "smaller than the ROPE", "changed"),
        ("smaller than the ROPE", "true, smaller than the ROPE", "changed"),
    ],
)
def test_flipped_is_from_one_decided_verdict_to_one_that_contradicts_it(before: str, after: str, change: str) -> None:
    assert compare_verdicts(before, after) == change
