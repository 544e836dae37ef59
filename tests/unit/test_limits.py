"""How large a study may be is counted before any of it is made."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from done import Done
from regulens.api import Study, bench_study, load_study, run_study
from regulens.errors import UserError
from regulens.spec import StudySpec
from regulens.study import grid, plan, study_file
from regulens.study.limits import check_size, count_cells
from regulens.study.protocol import planned
from regulens.study.study_file import parse_study, read_study

Run = Callable[..., Done]


def levels(path: str, count: int) -> str:
    return f"{path} = {list(range(1, count + 1))}\n"


def million() -> str:
    """Return a study file of two kilobytes for a million networks."""
    return (
        'name = "big"\n[factors]\n'
        + "".join(levels(f"model.{each}", 100) for each in ("filters", "dense"))
        + (levels("train.batch_size", 100))
    )


def test_a_million_networks_are_counted_and_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a network was made")

    monkeypatch.setattr(grid, "with_levels", never)
    with pytest.raises(UserError, match=r"big: the study has 1,000,000 networks \(100 x 100 x 100 levels\)") as raised:
        parse_study(million(), "big")
    assert "more than 10,000" in str(raised.value)
    assert "--max-cells 1000000" in str(raised.value)


def test_variations_count_as_networks() -> None:
    text = 'name = "many"\n[factors]\n' + levels("model.filters", 20)
    for number in range(500):
        text += f'[[variations]]\nname = "v{number}"\nchange = {{ train.momentum = 0.{number + 1:04} }}\n'
    with pytest.raises(UserError, match=r"10,020 networks \(20 levels x \(1 \+ 500 variations\)\), more than 10,000"):
        parse_study(text, "many")


def test_a_study_of_as_many_networks_as_allowed_is_read() -> None:
    text = 'name = "some"\n[factors]\n' + levels("model.filters", 30)
    assert count_cells(parse_study(text, "some", max_cells=30)) == 30
    with pytest.raises(UserError, match="more than 29"):
        parse_study(text, "some", max_cells=29)


@pytest.mark.parametrize("command", ["plan", "run", "audit", "bench"])
def test_every_command_refuses_too_many_networks_and_names_the_option(
    command: str, regulens: Run, tmp_path: Path
) -> None:
    (tmp_path / "big.toml").write_text(million())
    regulens(command, "big.toml").refused("1,000,000 networks", "more than 10,000", "--max-cells 1000000")
    (tmp_path / "two.toml").write_text('name = "two"\n[data]\nname = "digits"\n[factors]\nmodel.depth = [1, 2]\n')
    regulens(command, "two.toml", "--max-cells", 1).refused("2 networks", "more than 1;")
    assert not (tmp_path / "studies").exists()


def test_python_refuses_too_many_networks_too(tmp_path: Path) -> None:
    spec = StudySpec(name="big", factors={"model.filters": list(range(1, 102)), "model.dense": list(range(1, 101))})
    for use in (run_study, bench_study):
        with pytest.raises(UserError, match="10,100 networks"):
            use(Study(spec, tmp_path / "study"))
    assert not (tmp_path / "study").exists()
    check_size(spec, 10_100)


def test_runs_are_counted_and_not_made() -> None:
    spec = StudySpec(name="long", seeds=10_000, factors={"model.filters": list(range(1, 102))})
    with pytest.raises(UserError, match=r"101 networks x 10,000 seeds are 1,010,000 runs, more than 1,000,000"):
        planned(spec)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('[[claims]]\nid = "c{n}"\ntext = "t"\nkind = "greater"\na = 1\nb = 2\n', "claims: the study has 1,001"),
        ("[[also_refit]]\nmodel.filters = 1\n", "also_refit: the study has 1,001"),
    ],
)
def test_long_lists_are_refused(more: str, words: str) -> None:
    text = 'name = "lists"\n[factors]\n' + levels("model.filters", 3)
    with pytest.raises(UserError, match=words):
        parse_study(text + "".join(more.replace("{n}", str(number)) for number in range(1001)), "lists")


def test_claims_about_too_many_differences_are_refused() -> None:
    text = 'name = "claims"\n[factors]\n' + levels("model.filters", 100) + levels("model.dense", 100)
    claim = '[[claims]]\nid = "c{n}"\ntext = "t"\nkind = "greater"\nfactor = "model.dense"\na = 1\nb = 2\n'
    with pytest.raises(UserError, match="rest on 110,000 differences between networks, more than 100,000"):
        parse_study(text + "".join(claim.replace("{n}", str(number)) for number in range(11)), "claims")


@pytest.mark.parametrize("part", [".a", '."!"', r'."\""', ".'x y'", " . a"])
def test_a_key_of_very_many_parts_takes_no_memory(part: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="keys are nested too deeply"):
            parse_study(f'name = "deep"\nt = {{ s = """\n"""", b{part * 20_000} = 1 }}\n', "deep")
        with pytest.raises(UserError, match="keys are nested too deeply"):
            parse_study(f"a{part * 20_000} = 1", "deep")
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_dots_that_are_no_keys_are_free() -> None:
    title = "a." * 300
    rates = [number + 0.5 for number in range(1, 200)]
    text = f'# don\'t {title}\nname = "dots"\ntitle = """{title}\n"{title}" ..."""\n[factors]\n'
    assert count_cells(parse_study(f"{text}train.learning_rate = {rates}", "dots")) == 199


def test_a_number_of_thousands_of_digits_is_one_line() -> None:
    with pytest.raises(UserError, match="holds a number of thousands of digits"):
        parse_study(f'name = "long"\nseeds = {"9" * 5000}', "long")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.toml"
    path.write_bytes(b"#" * (study_file.MAX_BYTES + 1))
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it was read"))
    with pytest.raises(UserError, match=r"large\.toml: has 1,000,001 bytes, more than a study file may have"):
        read_study(path)


def test_a_folder_of_more_networks_than_usual_is_read_as_it_was_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regulens.study.limits.MAX_CELLS", 3)
    monkeypatch.setattr("regulens.study.folder.MAX_CELLS", 3)
    assert len(load_study(folder).plan(estimate=False)) == 4


def test_a_plan_counts_the_runs_of_each_network(finished: Study) -> None:
    pending = [spec for spec in finished.runs() if spec.seed == 1 or spec.model.depth == 2]
    assert [cell.pending for cell in plan.plan_study(finished.spec, pending, estimate=False)] == [1, 1, 2, 2]
