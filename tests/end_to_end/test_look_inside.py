"""Kernels, feature maps and explanations through the command line, and every mistake in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from done import Done
from regulens.api import Study
from regulens.report.inside.scene import networks_of
from regulens.study.store import open_store

Run = Callable[..., Done]


def drawn(done: Done, folder: Path) -> list[str]:
    """Return the names of the pictures that a command says it has drawn, all of them there in both formats."""
    assert done.returncode == 0, done.stderr
    named = [line.strip().removesuffix(" and .png") for line in done.stdout.splitlines() if line.endswith(" and .png")]
    paths = [folder / name for name in named]
    assert all(path.is_file() and path.with_suffix(".png").is_file() for path in paths)
    return [path.name for path in paths]


def image_of(study: Study, part: str) -> str:
    [network] = networks_of(study.spec, study.folder, open_store(study.folder).results()[:1])
    return str(int(np.sort(getattr(network.parts, part))[0]))


def test_kernels_side_by_side_matched_and_in_a_folder_of_ones_own(
    regulens: Run, learned: Study, tmp_path: Path
) -> None:
    beside = regulens("kernels", learned.folder, "--side-by-side", "--scale", "signed", "--out", "pictures")
    assert len(drawn(beside, tmp_path)) == 3
    matched = regulens("kernels", learned.folder, "--match", "--cell", "depth 2, batchnorm", "--out", "pictures")
    assert drawn(matched, tmp_path) == ["matched-depth-2-batchnorm-conv1.svg", "matched-depth-2-batchnorm-conv2.svg"]
    assert "of random kernels" in matched.stdout
    assert {path.parent.name for path in tmp_path.rglob("*.svg")} == {"pictures"}


def test_kernels_of_a_torchvision_style_state_dict(regulens: Run, tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {
        "features.0.weight": torch.randn(64, 3, 3, 3),
        "features.0.bias": torch.randn(64),
        "features.2.weight": torch.randn(128, 64, 3, 3),
        "features.2.bias": torch.randn(128),
        "classifier.0.weight": torch.randn(10, 128),
    }
    torch.save(state, tmp_path / "vgg.pth")
    done = regulens("kernels", "vgg.pth", "--out", "out")
    assert drawn(done, tmp_path) == ["1-features.0.svg", "2-features.2.svg"]
    assert "features.2: 3x3x64x128" in done.stdout
    assert drawn(regulens("kernels", "vgg.pth", "--layer", "features.0", "--rgb"), tmp_path) == ["1-features.0-rgb.svg"]
    assert drawn(regulens("kernels", "vgg.pth", "--page", "2"), tmp_path) == ["2-features.2-page-2.svg"]


def test_a_large_network_is_listed_and_its_first_layer_drawn(regulens: Run, tmp_path: Path) -> None:
    state = {f"layer{place}.conv.weight": torch.full((4, 2, 1, 1), float(place)) for place in range(12)}
    state["layer3.conv.weight"][1] = float("nan")
    torch.save(state, tmp_path / "net.pt")
    done = regulens("kernels", "net.pt")
    assert drawn(done, tmp_path) == ["01-layer0.conv.svg"]
    lines = done.stdout.splitlines()
    assert " ".join(lines[1].split()) == "layer shape filters parameters mean sd max |w| zero filters not finite"
    assert lines[2].split() == ["layer0.conv", "1x1x2x4", "4", "8", "0", "0", "0", "4", "0"]
    assert lines[5].split() == ["layer3.conv", "1x1x2x4", "4", "8", "3", "0", "3", "0", "2"]
    assert lines[14].startswith("12 layers; drawn: the first; --layer NAME")
    some = regulens("kernels", "net.pt", "--layer", "layer2.conv", "--layer", "layer1*", "--out", "some")
    assert drawn(some, tmp_path) == [f"{place + 1:02}-layer{place}.conv.svg" for place in (1, 2, 10, 11)]
    every = regulens("kernels", "net.pt", "--all", "--sample", "--out", "all")
    assert len(drawn(every, tmp_path)) == 12
    regulens("kernels", "net.pt", "--layer", "layer2").refused('and 2 more; did you mean "layer2.conv"?')


def test_a_tall_layer_and_long_names_are_drawn_within_bounds(regulens: Run, tmp_path: Path) -> None:
    torch.save({"/a/" + "b/" * 150 + "0.weight": torch.randn(512, 1, 128, 1)}, tmp_path / "A b.pt")
    torch.save({"0.weight": torch.randn(2, 70, 3, 3)}, tmp_path / "a-b.pt")
    folders = set()
    for name in ("A b.pt", "a-b.pt"):
        done = regulens("kernels", name)
        [path] = [
            tmp_path / line.strip().removesuffix(" and .png") for line in done.stdout.splitlines() if ".svg" in line
        ]
        folders.add(path.parent)
        with Image.open(path.with_suffix(".png")) as picture:
            assert max(picture.size) <= 1600
    assert len(folders) == 2
    assert "drawn: filters 1-2 of 2" not in done.stdout
    assert "drawn: input channels 1-64 of 70 (page 1 of 2); --page 2 draws the next" in done.stdout


SAVED_BY_KERAS = """
import keras
image = keras.Input((8, 8, 3))
maps = keras.layers.Conv2D(4, 3, name="second")(keras.layers.Conv2D(5, 3, name="first")(image))
keras.Model(image, keras.layers.Flatten()(maps)).save("a.keras")
"""


def test_kernels_of_a_file_that_keras_saved(regulens: Run, tmp_path: Path) -> None:
    settings = {"KERAS_BACKEND": "torch", "KERAS_HOME": str(tmp_path / "keras")}
    subprocess.run([sys.executable, "-c", SAVED_BY_KERAS], cwd=tmp_path, env=os.environ | settings, check=True)
    done = regulens("kernels", "a.keras")
    assert drawn(done, tmp_path) == ["1-first.svg", "2-second.svg"]
    assert "first: 3x3x3x5" in done.stdout


def test_a_look_follows_an_image_and_a_picture_file(regulens: Run, learned: Study, tmp_path: Path) -> None:
    index = image_of(learned, "validation")
    done = regulens("look", learned.folder, "--image", index, "--out", "out")
    assert len(drawn(done, tmp_path)) == 1
    assert "in the validation set: not trained on" in done.stdout
    Image.new("RGB", (40, 30), "white").save(tmp_path / "white.png")
    across = regulens(
        "look", learned.folder, "--image", "white.png", "--cell", "all", "--layer", "pool1", "--out", "out"
    )
    assert drawn(across, tmp_path) == ["look-white-pool1.svg"]
    assert "converted from 30x40 to 28x28 (height x width), RGB to gray" in across.stdout
    assert "its border is bright (255), that of the data set dark (0): inverted?" in across.stdout


def test_a_look_at_what_excites(regulens: Run, learned: Study, tmp_path: Path) -> None:
    done = regulens("look", learned.folder, "--exciting", "--maximize", "--layer", "conv1", "--out", "out")
    assert [name.partition("-")[0] for name in drawn(done, tmp_path)] == ["exciting", "maximised"]
    named = regulens("look", learned.folder, "--exciting", "--filter", "2", "--filter", "3", "--layer", "conv1")
    assert [name.rpartition("conv1")[2] for name in drawn(named, tmp_path)] == ["-filters-2-to-3.svg"]
    assert "filters 2-3 of 4" in named.stdout


def test_an_explanation_with_its_controls_and_the_mistakes(regulens: Run, learned: Study, tmp_path: Path) -> None:
    index = image_of(learned, "validation")
    done = regulens(
        *("explain", learned.folder, "--image", index, "--cell", "depth 1, batchnorm", "--method", "gradient"),
        *("--method", "occlusion", "--class", "3", "--out", "out"),
    )
    assert [name.partition("-")[0] for name in drawn(done, tmp_path)] == ["explain", "faithfulness", "agreement"]
    for words in ("evidence for 3", "random orders", "random weights", "seeds of depth 1, batchnorm"):
        assert words in done.stdout
    mistakes = regulens("explain", learned.folder, "--mistakes", "2", "--cell", "depth 1, none", "--out", "out")
    assert [name.partition("-")[0] for name in drawn(mistakes, tmp_path)] == ["mistakes"]


def test_images_of_the_test_set_are_not_looked_at(regulens: Run, learned: Study, tmp_path: Path) -> None:
    index = image_of(learned, "test")
    for name in ("look", "explain"):
        regulens(name, learned.folder, "--image", index).refused(f"image {index}", "held-out test set")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["kernels", "nothing.pt"], "nothing.pt: no such file or folder"),
        (["kernels", "DIR", "--all"], "--all is for a weights file"),
        (["kernels", "FILE", "--all", "--layer", "a"], "--all and --layer contradict each other"),
        (["kernels", "DIR", "--match", "--side-by-side"], "ask for one of them"),
        (["kernels", "DIR", "--cell", "depth 1, none"], "--cell requires --match"),
        (["kernels", "DIR", "--match", "--rgb"], "of single networks"),
        (["kernels", "DIR", "--rgb"], "3 input channels"),
        (["kernels", "FILE", "--match"], "--match applies to study folders only"),
        (["kernels", "FILE"], "is not a weights file"),
        (["look", "DIR"], "--image N"),
        (["look", "DIR", "--image", "1", "--exciting"], "omit --image"),
        (["look", "DIR", "--image", "99999"], "has images 0 to 1796"),
        (["look", "DIR", "--image", "FILE"], "is not a picture"),
        (["look", "DIR", "--exciting", "--layer", "dense"], 'no convolution is named "dense"'),
        (["look", "DIR", "--exciting", "--cell", "deep"], 'no network is named "deep"'),
        (["look", "DIR", "--image", "1", "--filter", "2"], "--filter requires --exciting or --maximize"),
        (["look", "DIR", "--exciting", "--filter", "99"], "has filters 1 to 4"),
        (["look", "DIR", "--maximize", "--seed", "-1"], "seed must be from 0 to 2^64 - 1, got -1"),
        (["explain", "DIR"], "--mistakes COUNT"),
        (["explain", "DIR", "--image", "1", "--seed", "-1"], "seed must be from 0 to 2^64 - 1, got -1"),
        (["explain", "DIR", "--image", "1", "--method", "magic"], "'magic' is not one of"),
        (["explain", "DIR", "--mistakes", "0"], "mistakes must be at least 1, got 0"),
        (["explain", "DIR", "--mistakes", "2", "--method", "gradient", "--method", "occlusion"], "by one method"),
    ],
)
def test_every_mistake_is_one_line(
    arguments: list[str], words: str, regulens: Run, learned: Study, tmp_path: Path
) -> None:
    (tmp_path / "file.txt").write_text("no weights, no picture")
    places = {"DIR": str(learned.folder), "FILE": "file.txt"}
    regulens(*(places.get(each, each) for each in arguments)).refused(words)
