"""`regulens analyze` as a user meets it: tables, JSON alone on stdout, and every mistake in one line."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from regulens.cli import main
from regulens.study.own_numbers import analyze

COLUMNS = ("--response", "val_accuracy", "--factors", "depth,regularizer", "--seed", "seed")
Answer = tuple[int, str, str]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Runs of which batch norm is better at one block, and one without it collapsed at two."""
    lines = ["depth,regularizer,seed,val_accuracy,host"]
    for depth, name, seed in itertools.product((1, 2), ("none", "batchnorm"), range(8)):
        value = 0.84 + 0.05 * (name == "batchnorm") + 0.001 * ((seed * 5) % 8)
        lines.append(f"{depth},{name},{seed},{0.1 if (depth, name, seed) == (2, 'none', 3) else value:.4f},here")
    path = tmp_path / "results.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run the command in this process: exit code, stdout, stderr."""

    def run(*arguments: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["regulens", "analyze", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "100")
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return code or 0, printed.out, printed.err

    return run


def test_json_stands_alone_on_stdout_and_torch_stays_out(results: Path) -> None:
    code = "import sys\nfrom regulens.cli import main\ntry:\n main()\nfinally:\n"
    code += " print('torch' in sys.modules, file=sys.stderr)"
    arguments = ["analyze", str(results), *COLUMNS, "--chance", "0.1", "--format", "json"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.split() == ["False"]
    found = json.loads(done.stdout)
    wanted = analyze(results, response="val_accuracy", factors="depth,regularizer", seed="seed", chance=0.1)
    assert found == wanted.as_dict()
    assert [cell["collapsed"] for cell in found["cells"]] == [0, 0, 1, 0]


def test_every_option_reaches_the_analysis(results: Path, answer: Callable[..., Answer]) -> None:
    code, out, _ = answer(
        *(results, *COLUMNS, "--compare", "depth", "--control", "2", "--rope", "0.01", "--direction", "lower"),
        *("--paired", "--primary", "median", "--format", "json"),
    )
    assert code == 0
    found = json.loads(out)["comparisons"]
    assert [(each["a"], each["b"], each["where"]) for each in found] == [
        (1, 2, {"regularizer": name}) for name in ("batchnorm", "none")
    ]
    for each in found:
        assert (each["rope"], each["direction"], each["estimand"]) == (0.01, "lower", "median")
    assert answer(results, *COLUMNS[:4], "--paired")[0] == 2


def test_the_tables_fit_100_columns_and_say_what_they_mean(results: Path, answer: Callable[..., Answer]) -> None:
    code, out, err = answer(results, *COLUMNS, "--chance", "0.1")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 100
    assert lines[0] == "val_accuracy of each cell"
    assert "val_accuracy: regularizer against none" in lines
    compared = [line for line in lines if "batchnorm – none" in line and line.startswith(("1 ", "2 "))]
    assert len(compared) == 2 + 2  # with the posterior shares
    assert len([line for line in lines if line.lstrip().startswith(("collapse rate", "all runs"))]) == 4
    assert "val_accuracy: effects of each factor (exploratory)" in lines
    told = " ".join(out.split())
    assert "count as collapsed: an exact bound needs the number of evaluated images, which is unknown." in told
    assert "The 2 comparisons, of means and of collapse rates, form one family" in told
    assert "0/8 and 1/8 runs collapsed" in told


def test_without_chance_the_answer_says_that_no_collapse_is_looked_for(
    results: Path, answer: Callable[..., Answer]
) -> None:
    _, out, _ = answer(results, *COLUMNS)
    assert "Collapse was not checked" in out
    assert "collapse rate" not in out


def test_two_calls_print_the_same(results: Path, answer: Callable[..., Answer]) -> None:
    assert answer(results, *COLUMNS, "--format", "json") == answer(results, *COLUMNS, "--format", "json")


@pytest.mark.parametrize(
    ("old", "new", "arguments", "words"),
    [
        ("1,none,2,", "1,none,2,nan#", COLUMNS, 'line 4: val_accuracy "nan#'),
        ("1,none,2,0.8420", "1,none,2,", COLUMNS, "line 4: val_accuracy is NaN"),
        ("1,none,2,", "1,none,1,", COLUMNS, "line 4: is a duplicate of line 3"),
        (",0.8", ",8.8", COLUMNS, "accuracies in percent"),
        ("", "", ("--response", "acc", *COLUMNS[2:]), 'no column "acc"'),
        ("", "", ("--response", "regularizer", "--factors", "depth"), "column regularizer is not numeric"),
        ("", "", (*COLUMNS, "--scale", "points"), "scale must be fraction or percent or none"),
        (",host", ",epoch", (*COLUMNS, "--last-of", "epoch"), "epoch is here, no number"),
        ("", "", (*COLUMNS, "--control", "nome"), "did you mean none?"),
        ("", "", (*COLUMNS, "--chance", "10"), "chance must be between 0 and 1"),
        ("", "", (*COLUMNS, "--rope", "much"), "--rope"),
        ("", "", (*COLUMNS, "--rope", "0.5"), "for half a point write 0.005"),
        ("", "", (*COLUMNS, "--direction", "up"), "direction must be higher or lower"),
        ("", "", COLUMNS[2:], "Missing option '--response'"),
        ("", "", (*COLUMNS, "--format", "csv"), "--format"),
    ],
)
@pytest.mark.parametrize("output", ["table", "json"])
def test_a_mistake_is_exit_code_2_and_one_line(
    old: str,
    new: str,
    arguments: tuple[str, ...],
    words: str,
    output: str,
    results: Path,
    answer: Callable[..., Answer],
) -> None:
    results.write_text(results.read_text().replace(old, new) if old else results.read_text())
    code, out, err = answer(results, "--format", output, *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
    assert words in err


def test_a_log_of_percentages_is_analysed_by_its_last_epochs(
    results: Path, tmp_path: Path, answer: Callable[..., Answer]
) -> None:
    log = tmp_path / "log.csv"
    header, *runs = results.read_text().splitlines()
    lines = [f"{header.removesuffix(',host')},epoch,state"]
    for run, epoch in itertools.product(runs, (1, 2, 3)):
        *levels, value, _ = run.split(",")
        lines.append(",".join([*levels, f"{100 * float(value) - (3 - epoch):.2f}", str(epoch), "finished"]))
    log.write_text("\n".join([*lines, "1,none,99,3.0,3,crashed"]) + "\n")
    assert "has a row per epoch, not per run" in answer(log, *COLUMNS)[2]
    code, out, _ = answer(log, *COLUMNS, "--last-of", "epoch", "--scale", "percent", "--format", "json")
    wanted = json.loads(answer(results, *COLUMNS, "--format", "json")[1])
    found = json.loads(out)
    assert code == 0
    assert [cell["mean"] for cell in found["cells"]] == pytest.approx([cell["mean"] for cell in wanted["cells"]])
    assert found["warnings"][:2] == [
        "1 of 97 rows was left out: state is crashed in 1 (line 98)",
        "96 rows were reduced to 32 runs: the last epoch of each",
    ]


def test_pairs_claims_looks_and_effects_are_options(
    results: Path, tmp_path: Path, answer: Callable[..., Answer]
) -> None:
    claims = tmp_path / "claims.toml"
    claims.write_text('[[claims]]\nid = "bn"\ntext = "Batch norm is best."\nkind = "best"\na = "batchnorm"\n')
    asked = (results, *COLUMNS, "--chance", "0.1", "--pair", "batchnorm vs none", "--claims", claims)
    code, out, err = answer(*asked, "--looks", "8,20", "--effect", "0.01", "--rope-rate", "0.1")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 100
    assert "val_accuracy: seeds of each cell to decide 0.01 (80 % power)" in lines
    assert lines[-3].split()[0] == "bn"
    assert lines[-3].endswith("supported")
    told = " ".join(out.split())
    assert "Looks at 8, 20 seeds were declared" in told
    assert "Claims and comparisons share the error" in told
    found = json.loads(answer(*asked, "--looks", "8,20", "--effect", "0.01", "--format", "json")[1])
    assert [claim["verdict"] for claim in found["claims"]] == ["supported"]
    assert [each["seeds_max"] for each in found["power"]] == [200, 200]


def test_several_responses_have_tables_of_their_own_and_one_family(
    results: Path, answer: Callable[..., Answer]
) -> None:
    header, *runs = results.read_text().splitlines()
    lines = [f"{header},val_loss", *(f"{run},{1 - float(run.split(',')[3]):.4f}" for run in runs)]
    results.write_text("\n".join(lines) + "\n")
    responses = (
        "--response",
        "val_accuracy,val_loss",
        *COLUMNS[2:],
        "--direction",
        "higher,lower",
        "--rope",
        "0.01,0.02",
    )
    code, out, err = answer(results, *responses, "--comparisons", "all")
    assert (code, err) == (0, "")
    assert "val_accuracy: regularizer against none" in out
    assert "val_loss of each cell" in out
    told = " ".join(out.split())
    assert told.count("The comparisons of 2 responses are one family") == 1
    assert "beyond ±0.01" in told
    assert "beyond ±0.02" in told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--pair", "batchnorm"), '--pair must be two levels, as in "dropout vs none", got "batchnorm"'),
        (("--pair", "batchnorm vs none", "--comparisons", "all"), "--pair names the comparisons"),
        (("--pair", "batchnorm vs l2"), "l2 is not a level of regularizer"),
        (("--effect", "1,2"), "effect must have one value, or one for each of 1 response, got 2"),
        (("--effect", "few"), "--effect must be a number"),
        (("--claims", "absent.toml"), "absent.toml: cannot be read"),
        (("--looks", "5;10"), "looks must be increasing numbers of seeds"),
        (("--collapsed", "host"), 'line 2: host "here" is neither true nor false'),
        (("--trained-above", "0.5", "--collapsed", "host"), "both say which runs collapsed"),
        (("--split", "host"), "verdicts over splits need test_ratio"),
        (("--over", "worlds"), 'over must be "seeds" or "seeds,split"'),
    ],
)
def test_a_mistake_in_a_newer_option_is_one_line(
    arguments: tuple[str, ...], words: str, results: Path, answer: Callable[..., Answer]
) -> None:
    code, out, err = answer(results, *COLUMNS, *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert words in err


def test_costs_are_shown_drawn_and_in_the_json(results: Path, answer: Callable[..., Answer], tmp_path: Path) -> None:
    lines = results.read_text().splitlines()
    results.write_text("\n".join([f"{lines[0]},seconds", *(f"{line},{12 + len(line)}" for line in lines[1:])]) + "\n")
    code, out, _ = answer(results, *COLUMNS, "--cost", "seconds", "--figures", tmp_path / "pictures")
    assert code == 0
    assert "cost of a run, descriptive" in out
    assert "posterior shares, Bayesian and exploratory" in out
    assert f"figure: {tmp_path / 'pictures' / 'pareto-seconds.png'}" in out
    assert (tmp_path / "pictures" / "pareto-seconds.png").is_file()
    found = json.loads(answer(results, *COLUMNS, "--cost", "seconds", "--format", "json")[1])
    assert [cost["cost"] for cost in found["costs"]] == ["seconds"]
    code, _, err = answer(results, *COLUMNS, "--figures", tmp_path)
    assert code == 2
    assert "with --datasets or --cost" in err
