"""Which networks and images are looked at, what is drawn of them, and what a report says where something is missing."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import regulens
import regulens.report.inside.looking
from regulens.api import Study
from regulens.data.dataset import Dataset
from regulens.errors import DataError, UserError
from regulens.models.cnn import build_model
from regulens.report.document import Figure, Heading, Paragraph, Table
from regulens.report.inside import pictures as inside_pictures
from regulens.report.inside.pictures import answer_blocks, kernel_blocks, scene_of
from regulens.report.inside.scene import named_runs, networks_of, runs_by_cell, siblings, subject_of
from regulens.spec import ModelSpec
from regulens.study.inside.analysis import typical_run
from regulens.study.protocol import selections_in_force
from regulens.study.runner import run_folder
from regulens.study.store import open_store
from regulens.training.checkpoint import WEIGHTS


def results_of(study: Study) -> list[regulens.results.RunResult]:
    return open_store(study.folder).results()


def named(study: Study, *, runs: list[str] | None = None, labels: list[str] | None = None) -> list[str]:
    store = open_store(study.folder)
    found = named_runs(
        study.spec, study.folder, store.results(), selections_in_force(store), runs=runs or (), labels=labels or ()
    )
    return [run.run_id for run in found]


def part(study: Study, name: str) -> int:
    """Return the first image of a part of the study's split."""
    results = results_of(study)
    [network] = networks_of(study.spec, study.folder, results[:1])
    return int(np.sort(getattr(network.parts, name))[0])


class TestNetworks:
    def test_the_one_that_stands_for_the_selected_cell_is_the_default(self, learned: Study) -> None:
        store = open_store(learned.folder)
        [selection] = selections_in_force(store)
        runs = runs_by_cell(learned.spec, learned.folder, store.results())[selection.label]
        assert named(learned) == [typical_run(runs).run_id]

    def test_are_named_by_run_by_cell_or_all_of_them(self, learned: Study) -> None:
        results = results_of(learned)
        compared = [run.run_id for run in results if run.spec.compared]
        assert named(learned, runs=[results[0].run_id[:10]]) == [results[0].run_id]
        assert sorted(named(learned, runs=["all"])) == sorted(compared)
        assert len(named(learned, labels=["all"])) == 4
        deep = named(learned, labels=["Depth 2,  none"])
        assert [run.spec.model.depth for run in results if run.run_id in deep] == [2]
        assert named(learned, runs=deep * 2) == deep

    def test_that_are_not_there_are_named_in_one_line(self, learned: Study, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r'no run begins with "zz"; see `regulens results'):
            named(learned, runs=["zz"])
        with pytest.raises(UserError, match=r'no network is named "depth 3, none"; known: "depth 1, none", '):
            named(learned, labels=["depth 3, none"])
        with pytest.raises(UserError, match="no network is selected yet"):
            named_runs(learned.spec, tmp_path, [], [])

    def test_of_one_seed_more_are_siblings_of_the_same_stage(self, learned: Study) -> None:
        results = results_of(learned)
        for run in results:
            found = siblings(run, results, learned.folder)
            assert [each.spec.seed for each in found] == sorted({each.spec.seed for each in found})
            assert {(each.cell_id, each.spec.stage) for each in found} <= {(run.cell_id, run.spec.stage)}


class TestImages:
    def test_of_the_sealed_part_are_refused(self, learned: Study, digits: Dataset) -> None:
        networks = networks_of(learned.spec, learned.folder, results_of(learned)[:1])
        with pytest.raises(
            UserError, match=r"belongs to the held-out test set of depth \d, \w+, seed \d and .* e.g. \d+$"
        ):
            subject_of(part(learned, "test"), digits, networks)

    @pytest.mark.parametrize(("name", "word"), [("train", ": trained on"), ("validation", ": not trained on")])
    def test_say_whether_they_were_trained_on(self, name: str, word: str, learned: Study, digits: Dataset) -> None:
        networks = networks_of(learned.spec, learned.folder, results_of(learned)[:1])
        subject = subject_of(str(part(learned, name)), digits, networks)
        assert subject.notes[-1].endswith(word)
        assert subject.notes[0] == f"true class: {digits.class_names[subject.truth]}"

    def test_that_the_study_does_not_use_say_so(self, learned: Study, digits: Dataset) -> None:
        [network] = networks_of(learned.spec, learned.folder, results_of(learned)[:1])
        used = set(np.concatenate([network.parts.train, network.parts.validation, network.parts.test]).tolist())
        outside = next(index for index in range(len(digits.labels)) if index not in used)
        assert subject_of(outside, digits, [network]).notes[-1] == "not among the images that the study uses"

    def test_that_are_unlike_the_training_images_say_so(self, learned: Study, digits: Dataset, tmp_path: Path) -> None:
        networks = networks_of(learned.spec, learned.folder, results_of(learned)[:1])
        own = digits.images[part(learned, "train")]
        notes = {}
        for name, pixels in {"own": own, "inverted": 255 - own, "black": 0 * own}.items():
            Image.fromarray(pixels[..., 0]).save(tmp_path / f"{name}.png")
            notes[name] = subject_of(tmp_path / f"{name}.png", digits, networks).notes
        outside = ("a picture from outside the data set", "true class unknown")
        assert notes["own"] == outside
        assert notes["inverted"][2] == "its border is bright (255), that of the data set dark (0): inverted?"
        assert "unlike the training images: the nearest differs by" in notes["inverted"][3]
        assert any(note.startswith("unlike all training images in contrast: 0, theirs ") for note in notes["black"])

    def test_whose_names_are_not_text_are_called_what_can_be_printed(
        self, learned: Study, digits: Dataset, tmp_path: Path
    ) -> None:
        networks = networks_of(learned.spec, learned.folder, results_of(learned)[:1])
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff\n\x1b.png"))
        Image.fromarray(digits.images[0, ..., 0]).save(path)
        assert subject_of(path, digits, networks).label == "a\N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}.png"

    @pytest.mark.parametrize("name", ["\N{SUPERSCRIPT TWO}", "--5", "9" * 5000, "12 "])
    def test_that_are_no_index_are_files(self, name: str, learned: Study, digits: Dataset) -> None:
        networks = networks_of(learned.spec, learned.folder, results_of(learned)[:1])
        with pytest.raises(DataError, match=r"there is no such file|File name too long"):
            subject_of(name, digits, networks)

    def test_that_do_not_exist_are_named(self, learned: Study, digits: Dataset) -> None:
        networks = networks_of(learned.spec, learned.folder, results_of(learned)[:1])
        for index in (-1, 1797):
            with pytest.raises(UserError, match=rf"image {index}: digits has images 0 to 1796"):
                subject_of(index, digits, networks)


class TestLook:
    def test_sees_what_the_run_said_of_that_image(self, learned: Study, tmp_path: Path) -> None:
        run = results_of(learned)[0].run_id
        kept = learned.predictions(run)
        found = learned.look(int(kept.indices[3]), run=run, out=tmp_path)
        [seen] = found.seen
        np.testing.assert_allclose(seen.activations.probabilities, kept.probabilities[3], atol=1e-6)
        assert seen.probability == pytest.approx(float(kept.probabilities[3].max()), abs=1e-6)
        assert found.pictures[0].path.with_suffix(".png").is_file()
        assert not (learned.folder / "figures" / found.pictures[0].path.name).exists()

    def test_compares_one_layer_of_all_networks_that_have_it(self, learned: Study, tmp_path: Path) -> None:
        index = part(learned, "validation")
        found = learned.look(index, cell="all", layer="relu2", out=tmp_path)
        assert len(found.seen) == 4
        assert "2 of 4 networks have no layer relu2" in found.notes
        assert len(found.pictures) == 1
        with pytest.raises(UserError, match=r'no maps of a layer "relu9"'):
            learned.look(index, cell="all", layer="relu9", out=tmp_path)

    def test_parts_many_networks_into_pages(
        self, learned: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("regulens.report.inside.looking.ROWS", 3)
        found = learned.look(part(learned, "validation"), run="all", layer="relu1", out=tmp_path)
        assert [picture.path.name.partition("relu1")[2] for picture in found.pictures] == [
            "-page-1.svg",
            "-page-2.svg",
            "-page-3.svg",
        ]

    def test_names_what_excites_each_filter(self, learned: Study, tmp_path: Path, digits: Dataset) -> None:
        [found] = learned.exciting(cell="depth 1, none", out=tmp_path)
        model = learned.model(found.run_id)
        [network] = networks_of(
            learned.spec, learned.folder, [r for r in results_of(learned) if r.run_id == found.run_id]
        )
        with torch.no_grad():
            images = network.input(digits.images[network.parts.validation])
            maps = model.expanded()[:3](images)  # to_nchw1, conv1, relu1
        assert found.responses.exciting[0, 0] == int(maps.amax((2, 3))[:, 0].argmax())
        with pytest.raises(UserError, match=r'no convolution is named "conv2"; there is "conv1"$'):
            learned.exciting(cell="depth 1, none", layer="conv2", out=tmp_path)

    def test_a_pattern_names_layers(self, learned: Study, tmp_path: Path) -> None:
        [found] = learned.exciting(cell="depth 1, none", layer="conv*", out=tmp_path)
        assert found.responses.layer == "conv1"

    def test_draws_the_filters_that_are_named(self, learned: Study, tmp_path: Path) -> None:
        whole = learned.maximised(cell="depth 1, none", layer="conv1", out=tmp_path)[0]
        [excited] = learned.exciting(cell="depth 1, none", filters=[4, 2, 4], out=tmp_path)
        [made] = learned.maximised(cell="depth 1, none", filters=[4, 2, 4], out=tmp_path)
        assert [each.unit for each in made.found] == [1, 3]
        np.testing.assert_array_equal(made.found[1].image, whole.found[3].image)  # no matter what else is made
        for each in (excited, made):
            assert "filters 2, 4 of 4" in each.picture.caption
            assert each.picture.path.stem.endswith("conv1-filters-2-4")
        [one] = learned.exciting(cell="depth 1, none", filters=3, out=tmp_path)
        assert "filter 3 of 4" in one.picture.caption
        for number in (0, 5, -1):
            with pytest.raises(UserError, match=rf"filter {number}: conv1 of .* has filters 1 to 4$"):
                learned.exciting(cell="depth 1, none", filters=number, out=tmp_path)
        with pytest.raises(UserError, match="the units of output are classes"):
            learned.maximised(layer="output", filters=1, out=tmp_path)

    def test_parts_many_filters_into_pictures(
        self, learned: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("regulens.report.inside.looking.MOST", 2)
        monkeypatch.setattr("regulens.report.inside.looking.MOST_UNITS", 3)
        of_layer = {"cell": "depth 1, none", "layer": "conv1", "out": tmp_path}
        assert len(learned.exciting(**of_layer)) == 1  # by default the first of them
        excited = learned.exciting(**of_layer, filters=[1, 2, 3, 4])
        assert [each.picture.path.stem.partition("conv1-")[2] for each in excited] == [
            "filters-1-to-2",
            "filters-3-to-4",
        ]
        made = learned.maximised(**of_layer, filters=[1, 2, 3, 4])
        assert [[unit.unit for unit in each.found] for each in made] == [[0, 1, 2], [3]]
        classes = learned.maximised(cell="depth 1, none", layer="output", out=tmp_path)
        assert [len(each.found) for each in classes] == [3, 3, 3, 1]
        assert "page 4 of 4" in classes[-1].picture.caption

    def test_says_how_far_it_is(self, learned: Study, tmp_path: Path) -> None:
        steps: list[tuple[str, int, int]] = []
        learned.maximised(cell="depth 1, none", out=tmp_path, filters=1, on_step=lambda *step: steps.append(step))
        assert steps == [("making inputs", 0, 1), ("making inputs", 1, 1)]
        steps.clear()
        learned.look(part(learned, "validation"), cell="all", out=tmp_path, on_step=lambda *step: steps.append(step))
        assert [step for step in steps if step[0] == "following the image"] == [
            ("following the image", done, 4) for done in range(5)
        ]

    @pytest.mark.parametrize("layer", ["conv1", "output"])
    def test_the_real_image_is_the_one_whose_number_stands_beside_it(
        self, layer: str, learned: Study, tmp_path: Path, digits: Dataset
    ) -> None:
        [made] = learned.maximised(cell="depth 1, none", layer=layer, out=tmp_path)
        [network] = networks_of(
            learned.spec, learned.folder, [r for r in results_of(learned) if r.run_id == made.run_id]
        )
        with torch.no_grad():
            images = network.input(digits.images[np.sort(network.parts.validation)])
            values = network.expanded[:3](images).mean((2, 3)) if layer == "conv1" else network.model(images)
            shown = network.input(digits.images[list(made.real)])
            own = network.expanded[:3](shown).mean((2, 3)) if layer == "conv1" else network.model(shown)
        for place, each in enumerate(made.found):
            assert each.real == pytest.approx(float(own[place, each.unit]), rel=1e-4, abs=1e-6)
            assert each.real == pytest.approx(float(values[:, each.unit].max()), rel=1e-4, abs=1e-6)

    def test_makes_the_same_inputs_from_the_same_seed(self, learned: Study, tmp_path: Path) -> None:
        pairs = [learned.maximised(layer="output", seed=seed, out=tmp_path)[0].found for seed in (3, 3, 4)]
        first, again, other = (np.stack([each.image for each in found]) for found in pairs)
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()
        assert len(first) == 10

    def test_leaves_networks_as_they_were(self, learned: Study, tmp_path: Path) -> None:
        [network] = networks_of(learned.spec, learned.folder, results_of(learned)[:1])
        before = {name: tensor.clone() for name, tensor in network.model.state_dict().items()}
        regulens.report.inside.looking.look_at([network], int(network.parts.validation[0]), tmp_path)
        regulens.report.inside.looking.maximised_inputs([network], tmp_path, "conv1")
        assert all(torch.equal(before[name], tensor) for name, tensor in network.model.state_dict().items())
        assert all(parameter.grad is None for parameter in network.model.parameters())
        assert not network.model.training


class TestKernels:
    def test_stand_side_by_side_where_their_shapes_agree(self, learned: Study, tmp_path: Path) -> None:
        found = learned.kernels_side_by_side(out=tmp_path)
        assert [(each.layer, len(each.runs)) for each in found] == [("conv1", 2), ("conv1", 2), ("conv2", 2)]
        assert [each.runs[0].spec.model.depth for each in found] == [1, 2, 2]

    def test_of_seeds_are_matched_beside_chance(self, learned: Study, tmp_path: Path) -> None:
        for each in learned.matched_kernels("all", out=tmp_path):
            assert len(each.runs) == 2
            similarity = each.matched.filter_similarity.mean()
            assert -1 <= similarity <= 1
            assert each.random.low <= each.random.mean <= each.random.high

    def test_are_not_matched_where_fewer_than_two_trained(self, finished: Study, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="nowhere did two"):
            finished.matched_kernels("all", out=tmp_path)
        with pytest.raises(UserError, match="none of its runs trained; two are needed"):
            finished.matched_kernels("depth 1, none", out=tmp_path)

    def test_of_any_file_are_drawn(self, tmp_path: Path) -> None:
        state = {"features.0.weight": torch.randn(70, 3, 3, 3), "features.0.bias": torch.zeros(70)}
        torch.save(state, tmp_path / "net.pth")
        found = regulens.kernels_of_file(tmp_path / "net.pth", rgb=True, page=2, out=tmp_path)
        [drawn] = found.pictures
        assert drawn.picture.path.name == "1-features.0-rgb-page-2.svg"
        assert regulens.read_kernels(str(tmp_path / "net.pth")).kernels[0].weight.shape == (70, 3, 3, 3)
        for words, options in (
            ("page must be from 1 to 2, got 3", {"page": 3}),
            ('no convolution is named "x"; there is "features.0"', {"layer": "x"}),
        ):
            with pytest.raises(UserError, match=words):
                regulens.kernels_of_file(tmp_path / "net.pth", out=tmp_path, **options)

    def test_in_colours_need_three_channels(self, learned: Study, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="only a layer with 3 input channels can be drawn in colors; conv1 has 1"):
            learned.kernels(run="all", rgb=True, out=tmp_path)


class TestBlocks:
    def test_show_what_is_there(self, learned: Study, tmp_path: Path) -> None:
        shutil.copytree(learned.folder, tmp_path / "study")
        store = open_store(tmp_path / "study")
        results, selections = store.results(), selections_in_force(store)
        arguments = (learned.spec, tmp_path / "study", results, selections)
        for blocks in (kernel_blocks(*arguments), answer_blocks(*arguments)):
            assert isinstance(blocks[0], Heading)
            assert blocks[0].level == 2
            assert all(block.picture.path.is_file() for block in blocks if isinstance(block, Figure))
            assert sum(isinstance(block, Figure) for block in blocks) >= 4
        [table] = [block for block in kernel_blocks(*arguments) if isinstance(block, Table)]
        assert table.rows[0][:3] == ("depth 1, none", "conv1", "2")

    def test_the_image_is_that_of_median_confidence(self, learned: Study) -> None:
        store = open_store(learned.folder)
        scene = scene_of(learned.spec, learned.folder, store.results(), selections_in_force(store))
        assert not isinstance(scene, str)
        kept = learned.predictions(scene.network.run.run_id)
        right = kept.probabilities.argmax(1) == kept.labels
        confidence = dict(zip(kept.indices[right].tolist(), kept.probabilities.max(1)[right].tolist(), strict=True))
        above = sum(each > confidence[scene.index] for each in confidence.values())
        below = sum(each < confidence[scene.index] for each in confidence.values())
        assert above - below in {0, 1}
        assert {int(scene.dataset.labels[index]) for index in scene.by_class} == set(kept.labels[right].tolist())

    def test_of_nothing_that_trained_say_so(self, finished: Study, tmp_path: Path) -> None:
        shutil.copytree(finished.folder, tmp_path / "study")
        store = open_store(tmp_path / "study")
        arguments = (finished.spec, tmp_path / "study", store.results(), selections_in_force(store))
        texts = [block.text for block in kernel_blocks(*arguments) if isinstance(block, Paragraph)]
        assert texts[-1].startswith("No network has two non-collapsed runs")
        assert any("did not train" in block.text for block in answer_blocks(*arguments) if isinstance(block, Paragraph))

    def test_say_in_a_sentence_what_is_missing(
        self, learned: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        results, selections = results_of(learned), selections_in_force(open_store(learned.folder))
        for blocks, words in (
            (kernel_blocks(learned.spec, tmp_path, results, selections), "No run's weights"),
            (answer_blocks(learned.spec, tmp_path, results, selections), "its weights are lost"),
            (answer_blocks(learned.spec, learned.folder, results, []), "No network is selected"),
        ):
            assert len(blocks) == 2
            assert words in blocks[1].text
        monkeypatch.setattr(inside_pictures, "dataset_here", lambda _: None)
        [_, missing] = answer_blocks(learned.spec, learned.folder, results, selections)
        assert "digits is not on this machine (`regulens data get digits`)" in missing.text

    def test_of_a_network_that_is_never_right_show_no_image(
        self, learned: Study, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def diverged(*arguments: object) -> list[regulens.report.inside.scene.Network]:
            [network] = networks_of(*arguments)
            model = build_model(ModelSpec(filters=4, dense=8), network.model.image_shape, 10)
            with torch.no_grad():
                model.output.bias.fill_(float("nan"))
            return [replace(network, model=model)]

        monkeypatch.setattr(inside_pictures, "networks_of", diverged)
        arguments = (learned.spec, learned.folder, results_of(learned), selections_in_force(open_store(learned.folder)))
        [_, text] = answer_blocks(*arguments)
        assert "gets no validation image right" in text.text


def test_a_study_without_weights_has_no_networks_to_show(learned: Study, tmp_path: Path) -> None:
    results = results_of(learned)
    assert runs_by_cell(learned.spec, tmp_path, results) == {}
    target = run_folder(tmp_path, results[0].run_id)
    target.mkdir(parents=True)
    shutil.copy(run_folder(learned.folder, results[0].run_id) / WEIGHTS, target)
    assert [len(runs) for runs in runs_by_cell(learned.spec, tmp_path, results).values()] == [1]
