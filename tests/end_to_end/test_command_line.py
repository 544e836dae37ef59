"""The command line as a user meets it: small studies from start to end, and every mistake in one line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
import torch
from rich.console import Console

from done import Done
from regulens.api import Study, load_study, run_study
from regulens.executors.local import LocalExecutor, available_cores
from regulens.kernels.paths import using_kernels
from regulens.results import EpochRecord
from regulens.study import protocol
from regulens.study.runner import EpochEnded, Note, RunEnded, RunStarted, StageStarted, StudyStarted
from regulens.study.store import open_store

Run = Callable[..., Done]
SECONDS = 300
SEALED = {"run_id", "stage", "depth", "filters", "regularizer", "seed", "parameters_total", "parameters_trainable"}
SEALED |= {
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "test_accuracy",
    "train_seconds",
    "status",
    "epochs",
}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from regulens.cli import main; main()", *arguments]


@pytest.fixture
def process(alone: None) -> Run:
    """Run the command in a process of its own, with these environment variables."""

    def run(*arguments: str | Path, **variables: str) -> Done:
        done = subprocess.run(
            command(*map(str, arguments)),
            env=os.environ | variables,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


def rows(run: Run, folder: Path | str) -> list[dict[str, object]]:
    printed = run("results", folder, "--format", "json")
    assert printed.returncode == 0, printed.stderr
    return json.loads(printed.stdout)


def test_a_study_runs_from_its_file_to_its_report(process: Run, tiny_file: Path, tmp_path: Path) -> None:
    done = process("run", tiny_file, "--seeds", "1")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "studies" / "tiny"
    assert done.stdout.strip().splitlines()[-1] == f"report: {folder / 'report.html'}"
    assert done.stdout.splitlines()[0] == f"starting {min(4, available_cores())} workers ..."
    assert "conv 3x3x1x4" in done.stdout
    assert "depth 2, batchnorm, seed 0: epoch 2/2: objective" in done.stdout
    found = rows(process, folder)
    assert all(row.keys() >= SEALED for row in found)
    assert [row["stage"] for row in found].count("train") == 4
    for row in found:
        assert (row["test_accuracy"] is None) == (row["stage"] == "train")
        assert (row["val_accuracy"] is None) == (row["stage"] == "refit")
        assert [set(epoch) for epoch in row["epochs"]] == 2 * [
            {"epoch", "objective", "accuracy", "val_objective", "val_accuracy", "seconds"}
        ]
        weights = folder / "runs" / str(row["run_id"])
        assert (weights / "weights.safetensors").is_file()
        assert (weights / "predictions.npz").is_file() == (row["stage"] == "train")
    again = process("run", tiny_file, "--seeds", "1")
    assert "0 runs to do, 4 finished before" in again.stdout
    assert "starting" not in again.stdout
    assert rows(process, folder) == found


def test_ctrl_c_stops_cleanly_and_the_same_command_resumes(regulens: Run, tiny_file: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.toml"
    long.write_text(tiny_file.read_text().replace("epochs = 2", "epochs = 20").replace("limit = 120", "limit = 400"))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background hands down that it is ignored
    process = subprocess.Popen(
        command("run", str(long), "--workers", "1"),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("[1/"):
            break
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the command and to its workers
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert errors.strip().splitlines() == ["stopped; what is finished is kept, the same command goes on from there"]
    folder = tmp_path / "studies" / "tiny"
    kept = {run.run_id for run in open_store(folder).results()}
    assert 1 <= len(kept) < 8
    status = regulens("status", folder)
    assert f"{len(kept)} of 8 runs finished" in status.stdout
    resumed = regulens("run", long)
    assert resumed.returncode == 0, resumed.stderr
    assert f"{8 - len(kept)} runs to do, {len(kept)} finished before" in resumed.stdout


def test_the_live_display_shows_bar_time_and_numbers_on_80_columns(finished: Study) -> None:
    from regulens.progress import study_display

    run = open_store(finished.folder).results()[-1].model_copy(update={"val_accuracy": 0.5})
    spec = next(spec for spec in finished.runs() if (spec.model.depth, spec.regularizer) == (2, "batchnorm"))
    console = Console(file=StringIO(), force_terminal=True, width=80, height=60)
    record = EpochRecord(epoch=1, objective=12.3456, accuracy=0.7, val_objective=1.25, val_accuracy=0.75, seconds=1.0)
    with study_display(console) as on_event:
        for event in (StudyStarted(finished.spec), StageStarted("train", (spec, spec), 0), RunStarted(spec)):
            on_event(event)
        on_event(Note("drawn before the first epoch"))
        on_event(EpochEnded(spec, record))
        on_event(Note("something to know"))  # what is printed above redraws the display
        on_event(RunEnded(spec, run))
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    assert re.search(r"training 2 runs [━╸╺]+ 1/4 epochs, [0-9:]+ elapsed, [-0-9:]+ remaining", shown)
    assert re.search(r"depth 2, batchnorm, seed 0 +1/2 +objective 12\.346/1\.250 acc 0\.700/0\.750", shown)
    assert "conv 3x3x1x4" in shown
    assert "note: something to know" in shown
    assert re.search(r"depth 2, batchnorm, seed 0 +0/2 +its worker is starting", shown)


def test_plan_of_a_run_study_counts_what_is_finished(regulens: Run, finished: Study) -> None:
    done = regulens("plan", finished.folder, "--seeds", "3")
    assert f"3 seeds = 12 runs (8 of them finished in {finished.folder})" in done.stdout


def test_init_writes_a_file_once(regulens: Run, tmp_path: Path) -> None:
    assert regulens("init", "quickstart", "--out", "mine.toml").returncode == 0
    assert (tmp_path / "mine.toml").read_text() == regulens("init", "quickstart").stdout
    regulens("init", "quickstart", "--out", "mine.toml").refused("exists already")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_as_windows_shells_write_them_are_read(
    encoding: str, regulens: Run, tiny_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "my.toml").write_bytes(tiny_file.read_text().encode(encoding))
    assert "4 networks x 2 seeds" in regulens("plan", "my.toml").stdout


def test_init_prints_a_file_that_plans_as_the_preset(regulens: Run, tmp_path: Path) -> None:
    printed = regulens("init", "lab")
    (tmp_path / "my.toml").write_text(printed.stdout)
    plan = regulens("plan", "my.toml", "--seeds", "3")
    assert plan.returncode == 0, plan.stderr
    for numbers in ("217,370", "217,754", "217,562", "35,370", "35,818", "35,594", "8 networks x 3 seeds = 24 runs"):
        assert numbers in plan.stdout
    assert "minutes with" in plan.stdout
    assert not (tmp_path / "studies").exists()


def test_results_are_printed_in_three_formats(regulens: Run, finished: Study) -> None:
    table = regulens("results", finished.folder)
    assert all(str(row["run_id"]) in table.stdout for row in finished.result_rows())
    frame = pd.read_csv(StringIO(regulens("results", finished.folder, "--format", "csv").stdout))
    assert frame["val_accuracy"].tolist() == pytest.approx(finished.results()["val_accuracy"].tolist(), nan_ok=True)
    assert rows(regulens, finished.folder) == json.loads(json.dumps(finished.result_rows()))


def test_kernels_of_the_refits_are_drawn_and_printed(regulens: Run, finished: Study) -> None:
    done = regulens("kernels", finished.folder)
    assert done.returncode == 0, done.stderr
    assert "conv1: 3x3x1x4" in done.stdout
    assert "conv2: 3x3x4x4" in done.stdout
    assert done.stdout.count("biases: ") >= 2
    for line in done.stdout.splitlines():
        if line.endswith(" and .png"):
            svg = Path(line.strip().removesuffix(" and .png"))
            assert svg.is_file()
            assert svg.with_suffix(".png").is_file()


def test_kernels_of_one_run_and_layer(regulens: Run, finished: Study) -> None:
    run = next(str(row["run_id"]) for row in finished.result_rows() if row["depth"] == 2 and row["stage"] == "train")
    done = regulens("kernels", finished.folder, "--run", run, "--layer", "conv2", "--scale", "layer")
    assert "conv1" not in done.stdout
    assert "layer-scale.svg" in done.stdout
    regulens("kernels", finished.folder, "--run", run, "--layer", "conv7").refused("conv7", "conv2")
    regulens("kernels", finished.folder, "--run", "zzz").refused("zzz", "regulens results")


def test_report_and_status_of_a_finished_study(regulens: Run, finished: Study) -> None:
    assert "report.html" in regulens("report", finished.folder).stdout
    status = regulens("status", finished.folder).stdout
    assert "8 of 8 runs finished, 0 failed" in status
    assert "selected: " in status
    assert "test set evaluated" in status


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("epochs = 2", "epoch = 2", ("unknown key train.epoch = 2", "did you mean epochs")),
        ('"batchnorm"]', '"batchnrom"]', ("batchnrom", "did you mean batchnorm")),
        ('"batchnorm"]', '"dropout(1.2)"]', ("dropout(1.2)", "rate of dropout must be in [0, 1)")),
        ("[1, 2]", "[1, 2, 12]", ("model.depth = 12 is too deep", "28x28")),
        ("epochs = 2", "epochs = 0", ("train.epochs = 0", "greater than or equal to 1")),
        ('name = "digits"', 'name = "digit"', ('data.name = "digit"', "did you mean digits")),
        ("[model]", "[model", ("not valid TOML",)),
        ("limit = 120", "limit = 120\nvalidation = 0.9", ("validation + test must stay below 1",)),
    ],
)
def test_a_mistake_in_the_file_is_one_line(
    old: str, new: str, words: Sequence[str], regulens: Run, tiny_file: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(tiny_file.read_text().replace(old, new, 1))
    regulens("plan", wrong).refused(*words)
    regulens("run", wrong).refused(*words)


def test_mistakes_on_the_command_line_are_one_line(regulens: Run, tmp_path: Path) -> None:
    regulens("run", "labb").refused("labb", "did you mean lab?")
    regulens("init", "lap").refused("lap", "did you mean lab")
    regulens("status", tmp_path).refused("holds no study")
    regulens("run", "quickstart", "--seeds", "0").refused("seeds must be at least 1")
    regulens("run", "quickstart", "--workers", "0").refused("workers must be at least 1")
    regulens("plan", "quickstart", "--workers", "-3").refused("workers must be at least 1, got -3")
    regulens("data", "check", "minst").refused("unknown data set")
    regulens("results").refused("Missing argument", "DIR")
    regulens("run", "lab", "--sedes", "3").refused("--sedes")
    regulens("run", tmp_path / "absent").refused("no such study file")
    power = ("plan", "quickstart", "--power")
    regulens(*power, "--effect", "1", "--sd", "0.5").refused("effect 1 is 100 percentage points", "write 0.01")
    regulens(*power, "--effect", "0.01", "--sd", "0.5").refused("sd 0.5 is 50 percentage points", "write 0.005")
    regulens(*power, "--effect", "0").refused("effect must be a number above 0, got 0")
    regulens(*power).refused("no runs yet", "--sd")


def test_few_seeds_are_told_what_they_cannot_decide_and_more_are_not(regulens: Run, tmp_path: Path) -> None:
    pair = tmp_path / "pair.toml"
    pair.write_text('name = "pair"\ndata.name = "digits"\n[factors]\nregularizer = ["none", "batchnorm"]\n')
    for seeds, told in (("1", True), ("3", True), ("4", False)):
        lines = regulens("plan", pair, "--seeds", seeds).stdout.splitlines()
        assert sum("can decide little" in line for line in lines) == told


def test_absent_data_offline_is_one_line_that_helps(regulens: Run, tmp_path: Path) -> None:
    for done in (regulens("run", "lab"), regulens("data", "get", "fashion-mnist")):
        done.refused(str(tmp_path / "cache" / "fashion-mnist"), "train-images-idx3-ubyte.gz", "quickstart")
    regulens("data", "check", "fashion-mnist").refused("not on this machine", "regulens data get")


def test_damaged_data_is_one_line(regulens: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine" / "fashion-mnist"
    folder.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{name}-ubyte").write_bytes(b"\0\0\x08\x03 too short")
    monkeypatch.setenv("REGULENS_DATA", str(tmp_path / "mine"))
    for arguments in (("run", "lab"), ("data", "check", "fashion-mnist")):
        regulens(*arguments).refused("train-images-idx3-ubyte", "cut off")


def test_data_list_names_every_set(regulens: Run) -> None:
    listed = regulens("data", "list").stdout
    assert "fashion-mnist" in listed
    assert "not here" in listed
    assert "digits" in listed


def test_a_file_that_ends_early_does_not_say_that_someone_stopped(
    regulens: Run, finished: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends_early(*_: object) -> None:
        raise EOFError("No data left in file")

    monkeypatch.setattr("regulens.study.table.result_rows", ends_early)
    done = regulens("results", finished.folder)
    assert done.returncode == 1
    assert done.stderr.strip() == "failed: a file ended too early: No data left in file (--debug shows where)"


def test_a_deviation_is_part_of_the_status(regulens: Run, folder: Path) -> None:
    path = folder / "study.toml"
    path.write_text(path.read_text().replace('primary = "trained"', 'primary = "median"'))
    regulens("report", folder, "--format", "json")
    assert "was evaluated: analysis.primary ('trained', not 'median')" in regulens("status", folder).stdout


def test_debug_shows_the_traceback(regulens: Run) -> None:
    for arguments in (("--debug", "run", "labb"), ("run", "labb", "--debug")):
        done = regulens(*arguments)
        assert done.returncode == 2
        assert "Traceback" in done.stderr


def test_help_does_not_import_torch() -> None:
    code = "import sys; sys.argv = ['regulens', '--help']\ntry:\n from regulens.cli import main; main()\n"
    code += "finally:\n print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.stdout.strip().splitlines()[-1] == "False False"


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import regulens, sys; regulens.RunSpec; print('torch' in sys.modules, 'run_study' in dir(regulens))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_a_script_needs_no_main_guard(tiny_file: Path, tmp_path: Path) -> None:
    script, out = tmp_path / "script.py", tmp_path / "study"
    script.write_text(
        f"import regulens\nprint(len(regulens.run_study({str(tiny_file)!r}, out={str(out)!r}).results()))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.stdout.strip() in {"10", "12"}, done.stderr  # 8 trainings, 2 or 4 refits


def test_doctor_names_kernels_versions_cores_and_data(process: Run) -> None:
    found = process("doctor")
    assert found.returncode == 0, found.stderr
    lines = dict(line.rstrip().split("  ", 1) for line in found.stdout.splitlines())
    assert lines["kernels"].strip().split()[0] == "native"
    assert lines["torch"].strip().startswith(torch.__version__)
    assert lines["workers"].strip().startswith(str(available_cores()))
    assert lines["data: fashion-mnist"].strip() == "not here"


def test_doctor_says_what_was_forced(process: Run) -> None:
    plain = process("doctor", REGULENS_KERNELS="reference").stdout
    assert "reference, as REGULENS_KERNELS=reference asks" in plain
    assert "native baseline" in process("doctor", REGULENS_ISA="baseline").stdout


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"REGULENS_KERNELS": "fast"}, 'error: REGULENS_KERNELS="fast": must be native or reference'),
        ({"REGULENS_ISA": "sse9"}, 'error: REGULENS_ISA="sse9": this processor and build have baseline'),
    ],
)
def test_a_wrong_choice_of_kernels_is_one_line(variables: dict[str, str], line: str, process: Run) -> None:
    answer = process("run", "quickstart", "--seeds", "1", **variables)
    assert answer.returncode == 2
    assert answer.stderr.startswith(line)
    assert len(answer.stderr.splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_line_and_nothing_is_made(process: Run, tmp_path: Path) -> None:
    answer = process("run", "quickstart", "--device", "cuda")
    assert answer.returncode == 2
    assert re.fullmatch(r'error: device "cuda": torch .* finds no CUDA device .*; use --device cpu\n', answer.stderr)
    assert not (tmp_path / "studies").exists()


def test_bench_tells_what_the_study_will_take(regulens: Run) -> None:
    told = regulens("bench", "quickstart", "--seeds", "3", "--workers", "2")
    assert told.returncode == 0, told.stderr
    assert len([line for line in told.stdout.splitlines() if line.startswith("depth ")]) == 8
    assert re.search(r"kernels: native \w+; 24 runs of quickstart at 3 seeds, .* with 2 workers", told.stdout)


def test_without_native_kernels_a_study_runs_and_says_so_once(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "why_not_native", "no compiler")
    notes: list[str] = []
    with using_kernels("reference"), LocalExecutor(1) as executor:
        run_study(
            load_study(tiny_file, tmp_path / "study"),
            seeds=1,
            executor=executor,
            on_event=lambda event: notes.append(event.text) if isinstance(event, Note) else None,
        )
    assert [note for note in notes if "no native kernels" in note] == [
        "there are no native kernels in this installation: several times slower (regulens doctor)"
    ]
