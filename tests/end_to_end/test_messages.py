"""What a mistake gets: one line that names the value, the place and the fix; and what is printed is what was meant."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer.main

import regulens as package
from done import Done
from regulens import DataSpec, ModelSpec, RunSpec, StudySpec, TrainSpec, UserError
from regulens.api import Study
from regulens.cli.commands import app

Run = Callable[..., Done]
HOSTILE = "x\x1b[31m\x07\x9b\u202eevil"


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its path, those of groups included."""
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        yield from ((f"{name} {each}", inner[each]) for each in inner) if inner else [(name, command)]


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=[name for name, _ in commands()])
def test_every_help_text_is_a_full_phrase_with_its_brackets(name: str, command: Any, regulens: Run) -> None:
    texts = [command.help] + [each.help for each in command.params if each.name != "help"]
    for text in filter(None, texts):
        assert text[0].isupper(), text
        assert text.rstrip().endswith((".", ")", "?")), text
        assert not re.match(r"(Of|Again|So many|With --\w+ and|For)\b (?!--)", text), text
    shown = re.sub(r"[\s│]+", "", regulens(*name.split(), "--help").stdout)
    for text in filter(None, texts[1:]):
        assert re.sub(r"\s+", "", text.replace("\\[", "[")) in shown, text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "quickstart", "--seeds", "five"), ("'--seeds'", "must be a whole number, got five")),
        (("run", "quickstart", "--seeds", "2.5"), ("must be a whole number, got 2.5",)),
        (("plan", "quickstart", "--effect", "1"), ("--effect, --sd and --collapse need --power",)),
        (("plan", "quickstart", "--power", "--sd", "wide"), ("'--sd'", "must be a number, got wide")),
        (("report", "DIR", "--format", "docx"), ("'docx' is not one of 'html', 'md', 'tex', 'pdf', 'json'",)),
        (("kernels", "DIR", "--scale", "log"), ("'log' is not one of",)),
        (("explain", "DIR", "--image", "1", "--method", "gradcam"), ("'gradcam' is not one of",)),
        (("run", "quickstart", "--seeds", "1", "--seeds=2"), ("--seeds is given 2 times; give it once",)),
        (("look", "DIR", "--image", "1", "--layer", "conv1", "--layer", "relu1"), ("--layer is given 2 times",)),
        (("status", "nowhere"), ("nowhere: no such folder",)),
        (("inside", "nowhere"), ("nowhere: no such folder",)),
        (("run", "nowhere.toml"), ("nowhere.toml: no such study file or folder",)),
    ],
)
def test_a_mistake_on_the_command_line_is_said_in_plain_words(
    arguments: tuple[str, ...], words: tuple[str, ...], regulens: Run, finished: Study
) -> None:
    done = regulens(*(str(finished.folder) if each == "DIR" else each for each in arguments))
    done.refused(*words)
    for foreign in ("Value error", "Input should", "unable to parse", "pydantic"):
        assert foreign not in done.stderr


@pytest.mark.parametrize("command", ["look", "explain", "inside", "status", "results", "report", "measures", "run"])
def test_a_model_in_place_of_a_folder_is_told_what_can_be_done_with_it(
    command: str, regulens: Run, tmp_path: Path
) -> None:
    own = tmp_path / "own.pt"
    torch.save({"conv.weight": torch.zeros(2, 1, 3, 3)}, own)
    arguments = ("--image", "1") if command in {"look", "explain"} else ()
    done = regulens(command, own, *arguments)
    done.refused("own.pt: is not a study", f"regulens kernels {own}")
    assert "UTF-8" not in done.stderr


def test_the_database_and_the_file_of_a_study_are_told_from_its_folder(
    regulens: Run, finished: Study, tiny_file: Path
) -> None:
    for command in ("run", "status"):
        regulens(command, finished.folder / "study.db").refused("is a study's database", str(finished.folder))
    regulens("status", tiny_file).refused("is a study file", f"regulens run {tiny_file}")


def test_names_that_hold_commas_are_listed_in_quotes(regulens: Run, finished: Study) -> None:
    done = regulens("look", finished.folder, "--image", "1", "--cell", "none")
    done.refused('"depth 1, none", "depth 1, batchnorm", "depth 2, none"')


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('[data]\nvary = ["split"]', "vary is a top-level key; move it above the first [table]"),
        ("[train]\nseeds = 3", "seeds is a top-level key; move it above the first [table]"),
        ("[factors]\nseeds = 3", "seeds is a top-level key; move it above the first [table]"),
        ('[factors]\nvary = ["split"]', "vary is a top-level key; move it above the first [table]"),
        ('factors.regularizer = "none"', 'must be a list, such as factors.regularizer = ["none"]'),
        ('factors.regularizer = ["none", "l2"]', 'factors.regularizer[1] = "l2": l2 needs its strength'),
        ('regularizer = "layernorm"', '"layernorm" is not available; available: l2, dropout, batchnorm, none'),
        ('data.name = "./photos"', "images of your own cannot be used in studies yet"),
        ('data.path = "photos/"', "images of your own cannot be used in studies yet"),
        ('data.name = "digist"', "did you mean digits?"),
    ],
)
def test_a_mistake_in_a_study_file_names_file_place_and_fix(
    body: str, words: str, regulens: Run, tmp_path: Path
) -> None:
    path = tmp_path / "m.toml"
    path.write_text(f'name = "m"\n{body}\n')
    regulens("plan", path).refused("m.toml: ", words)


def test_a_folder_with_brackets_is_printed_as_it_is(regulens: Run, finished: Study, tmp_path: Path) -> None:
    folder = tmp_path / "run [draft]"
    shutil.copytree(finished.folder, folder)
    for command in ("status", "report", "run"):
        assert f"{folder}/report.html" in regulens(command, folder).stdout


def test_a_hostile_title_and_name_reach_neither_terminal_nor_report(
    regulens: Run, finished: Study, tmp_path: Path
) -> None:
    folder = tmp_path / HOSTILE
    shutil.copytree(finished.folder, folder)
    file = folder / "study.toml"
    title = HOSTILE.encode("unicode_escape").decode().replace("\\x", "\\u00")
    file.write_text(re.sub(r"^title = .*$", lambda _: f'title = "{title}"', file.read_text(), count=1, flags=re.M))
    unprintable = set(HOSTILE) - set("x[31mevil")
    for form in ("html", "md", "tex"):
        done = regulens("report", folder, "--format", form)
        assert not unprintable & set(done.stdout + done.stderr)
        assert not unprintable & set((folder / f"report.{form}").read_text())
        assert "evil" in (folder / f"report.{form}").read_text()
    for arguments in (("status", folder), ("run", folder, "--seeds", "x"), ("look", folder, "--image", "nowhere.png")):
        done = regulens(*arguments)
        assert not unprintable & set(done.stdout + done.stderr)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: RunSpec(regularizer="l3(0.1)"),
        lambda: RunSpec(epochs=3),
        lambda: RunSpec(3),
        lambda: RunSpec(data=3),
        lambda: DataSpec(name="photos"),
        lambda: DataSpec(name=3),
        lambda: TrainSpec(learning_rate="fast"),
        lambda: ModelSpec(depth=True),
        StudySpec,
        lambda: StudySpec(name="x", factors={"model.depth": 3}),
        lambda: package.build_model(torch.nn.Sequential(), (28, 28, 1), 10),
        lambda: package.build_model(ModelSpec(), 28, 10),
        lambda: package.build_model(ModelSpec(), (28, 28, 1), "ten"),
        lambda: package.build_model(ModelSpec(), (28, 28, 1), 10, 3),
        lambda: package.build_regularizer(3),
        lambda: package.load_dataset(3),
        lambda: package.Dataset("x", [1], np.zeros(1, np.uint8), ("a",)),
        lambda: package.train(3, package.load_dataset("digits")),
        lambda: package.train(RunSpec(), 3),
        lambda: package.load_study(3),
        lambda: package.run_study(3),
        lambda: package.run_study("quickstart", seeds="three"),
        lambda: package.run_study("quickstart", workers="two"),
        lambda: package.load_study("quickstart").power("big"),
        lambda: package.load_study("quickstart").report(3),
        lambda: package.bench_study(3),
        lambda: package.audit_study(3),
        lambda: package.read_kernels(3),
        lambda: package.kernels_of_file(3),
        lambda: RunSpec.model_validate({"seed": "three"}),
        lambda: RunSpec.model_validate(3),
        lambda: StudySpec.model_validate({"name": "x", "bogus": 1}),
        lambda: package.load_study("quickstart", 3),
        lambda: package.load_study("quickstart", max_cells="many"),
        lambda: package.load_study("quickstart").power_notes("big"),
        lambda: package.load_study("quickstart").power_notes(0.01, "wide"),
        lambda: package.run_study("quickstart", out=3),
        lambda: package.run_study("quickstart", looks=5),
        lambda: package.run_study("quickstart", looks="5,10"),
        lambda: package.run_study("quickstart", looks=b"x"),
        lambda: package.run_study("quickstart", looks=[5, "ten"]),
        lambda: package.run_study("quickstart", executor=3),
        lambda: package.run_study("quickstart", on_event=3),
        lambda: package.audit_study("lab-audit", on_event=3),
    ],
)
def test_every_mistake_in_python_is_a_user_error_of_one_line(mistake: Callable[[], object]) -> None:
    with pytest.raises(UserError) as caught:
        mistake()
    assert str(caught.value).isprintable()
    assert "pydantic" not in str(caught.value)
    assert "Input should" not in str(caught.value)


def test_arguments_of_a_finished_study_are_checked_too(finished: Study) -> None:
    for mistake in (
        lambda: finished.model(3),
        lambda: finished.report("docx"),
        lambda: finished.look(3.5),
        lambda: finished.kernels(run=3),
        lambda: finished.with_seeds("many"),
    ):
        with pytest.raises(UserError):
            mistake()


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "LONG.toml"),
        ("plan", "lab", "--out", "LONG"),
        ("kernels", "LONG"),
        ("look", "DIR", "--image", "0", "--cell", "LONG"),
        ("status", "LONG"),
        ("LONG",),
    ],
)
def test_no_length_of_a_word_makes_a_message_that_cannot_be_read(
    arguments: tuple[str, ...], regulens: Run, finished: Study
) -> None:
    given = [word.replace("LONG", "long " * 1_000).replace("DIR", str(finished.folder)) for word in arguments]
    done = regulens(*given)
    assert done.returncode
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) < 1_300
    assert "OSError" not in done.stderr


def test_a_long_value_in_a_study_file_is_quoted_without_its_middle(regulens: Run, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(f'name = "m"\nt = {{ levels = {list(range(3_000))} }}\n')
    regulens("plan", tmp_path / "m.toml").refused("unknown key t = {'levels': [0, 1, 2", "…", "2999]}; known: name")


def test_help_is_broken_where_the_terminal_ends(regulens: Run) -> None:
    shown = regulens("explain", "--help").stdout
    assert 'non-collapsed seeds are compared. Requires the extra "explain"' in " ".join(shown.split())
    assert len(min((line for line in shown.splitlines() if "Requires" in line), key=len).strip()) > 50


def test_results_of_a_preset_over_the_folder_of_another_study_are_refused(
    regulens: Run, finished: Study, tmp_path: Path
) -> None:
    shutil.copytree(finished.folder, tmp_path / "studies" / "quickstart")
    regulens("results", "quickstart").refused("holds a study with other")
