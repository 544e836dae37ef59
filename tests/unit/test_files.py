"""Names that every file system takes and that tell labels apart; files written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regulens.errors import UserError
from regulens.files import LONGEST_NAME, file_name, file_slug, is_reserved, slug, write_atomically
from regulens.spec import StudySpec


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("depth 2, batchnorm, seed 0, refit", "depth-2-batchnorm-seed-0-refit"),
        ("dropout(0.1), scale 1/255", "dropout-0.1-scale-1-255"),
        ("Ankle boot", "ankle-boot"),
        ("l2(1e-05)", "l2-1e-05"),
        ("l2(1e+05)", "l2-1e+05"),
        ("features.0", "features.0"),
    ],
)
def test_short_names_are_the_words_of_the_label(label: str, name: str) -> None:
    assert slug(label) == name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x" * 300, "x" * 301),
        ("сеть", "модель"),
        ("卷积", "网络"),
        ("caf\u00e9", "caf\u00e8"),
        ("/node/" + "a/" * 150 + "1", "/node/" + "a/" * 150 + "2"),
        ("🙂", "🙃"),
    ],
)
def test_labels_whose_letters_are_lost_or_cut_stay_apart(one: str, other: str) -> None:
    assert slug(one) != slug(other)
    assert slug(one) == slug(one)


def test_labels_that_look_alike_are_told_apart_beside_each_other() -> None:
    labels = ["A b", "a-b", "a b", "other"]
    names = [slug(label, labels) for label in labels]
    assert len(set(names)) == 4
    assert names[3] == "other"


def test_a_file_is_told_from_one_beside_it_with_a_like_name(tmp_path: Path) -> None:
    for name in ("A b.pt", "a-b.pt", "net.pt", "net.onnx"):
        (tmp_path / name).touch()
    assert file_slug(tmp_path / "A b.pt") != file_slug(tmp_path / "a-b.pt")
    assert file_slug(tmp_path / "net.pt") == file_slug(tmp_path / "net.onnx") == "net"
    assert file_slug(tmp_path / "not there" / "net.pt") == "net"


@pytest.mark.parametrize("name", ["con", "NUL", "aux.txt", "com1", "lpt9.svg", "lab.", "prn"])
def test_names_of_devices_on_windows_are_avoided(name: str) -> None:
    assert is_reserved(name)
    assert not is_reserved(slug(name) or "x")
    with pytest.raises(UserError, match="device's name on Windows"):
        StudySpec(name=name)


@pytest.mark.parametrize("name", ["lab", "console", "com", "auxiliary", "lab.v2", "null"])
def test_other_names_are_a_studys(name: str) -> None:
    assert not is_reserved(name)
    assert StudySpec(name=name).name == name


def test_the_longest_label_of_a_name_is_cut_and_the_others_stay() -> None:
    name = file_name("kernels", ", ".join(f"factor {number} {number / 7}" for number in range(16)), "conv1")
    assert len(name) == LONGEST_NAME
    assert name.startswith("kernels-factor-0-0.0-factor-1")
    assert name.endswith("-conv1")
    assert file_name("look", "image 7", "depth 1, none") == "look-image-7-depth-1-none"


@given(st.lists(st.text(max_size=400), min_size=1, max_size=4))
def test_every_name_is_taken_by_every_file_system(labels: list[str]) -> None:
    name = file_name("kernels", *labels)
    assert len(name.encode()) <= LONGEST_NAME
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789.+-")
    assert not is_reserved(name)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "make its folder writable"),
        (errno.EACCES, "make its folder writable"),
        (errno.EIO, "see to its folder and disk"),
    ],
)
def test_what_cannot_be_written_leaves_the_old_file_and_says_why(
    number: int, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "study.toml"
    write_atomically(path, "old")

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=f"study.toml: cannot be written.*{advice}"):
        write_atomically(path, "new")
    assert [each.name for each in tmp_path.iterdir()] == ["study.toml"]
    assert path.read_text() == "old"
