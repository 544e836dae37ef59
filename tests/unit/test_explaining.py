"""Explanations of a study's networks: whose, of which class, against which controls; and the surest mistakes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from regulens.api import Study
from regulens.cli.options import Method
from regulens.data.dataset import Dataset
from regulens.errors import DataError, UserError
from regulens.interpret.agreement import seed_agreement
from regulens.interpret.attribution import METHODS, attribute
from regulens.report.document import Figure, Heading, Table
from regulens.report.inside import pixels
from regulens.report.inside.maps import Question, SeedAgreement, agreements, explain, maps_of, random_maps
from regulens.report.inside.pixels import pixel_blocks
from regulens.report.inside.scene import Network, networks_of, siblings
from regulens.study.protocol import selections_in_force
from regulens.study.runner import run_folder
from regulens.study.store import open_store
from regulens.training.predictions import PREDICTIONS, save_predictions


def networks(study: Study, label: str = "depth 1, none") -> list[Network]:
    """Return the networks of a cell that trained, by seed."""
    results = open_store(study.folder).results()
    found = networks_of(study.spec, study.folder, [run for run in results if run.spec.compared])
    [first, *_] = [each.run for each in found if each.label.startswith(label)]
    return networks_of(study.spec, study.folder, siblings(first, results, study.folder))


def question(network: Network, digits: Dataset, *methods: str) -> Question:
    indices = np.sort(network.parts.validation)[:2]
    return Question(digits.images[indices], digits.labels[indices].astype(np.int64), methods)


class TestExplanation:
    def test_speaks_for_the_class_that_is_predicted_unless_one_is_named(
        self, learned: Study, digits: Dataset, tmp_path: Path
    ) -> None:
        [network, *_] = networks(learned)
        kept = learned.predictions(network.run.run_id)
        index, says = int(kept.indices[0]), digits.class_names[int(kept.probabilities[0].argmax())]
        asked = {"run": network.run.run_id, "method": "gradient", "out": tmp_path}
        assert learned.explain(index, **asked).target == says
        assert learned.explain(index, target="7", **asked).target == "7"
        assert learned.explain(index, target=3, **asked).target == "3"
        with pytest.raises(UserError, match='no class is named "seven"; there are 0, 1, '):
            learned.explain(index, target="seven", **asked)
        with pytest.raises(UserError, match='no method of attribution is named "gradcam"; did you mean grad_cam'):
            learned.explain(index, method="gradcam", out=tmp_path)

    def test_has_maps_pictures_and_the_probability_of_its_class(self, learned: Study, tmp_path: Path) -> None:
        [network, *_] = networks(learned)
        kept = learned.predictions(network.run.run_id)
        found = learned.explain(int(kept.indices[0]), run=network.run.run_id, out=tmp_path)
        [explained] = found.explained
        assert explained.probabilities[0] == pytest.approx(float(kept.probabilities[0].max()), abs=1e-6)
        assert set(explained.maps) == set(METHODS) == {each.value for each in Method}
        assert all(maps.shape == (1, 28, 28) for maps in explained.maps.values())
        assert [picture.path.name.partition("-")[0] for picture in found.pictures] == [
            "explain",
            "faithfulness",
            "agreement",
        ]
        assert found.seeds == "depth 1, none"
        assert found.said[0].startswith(f"predicted: {found.target} (p = ")

    def test_is_the_same_whatever_else_is_asked_for(self, learned: Study, digits: Dataset) -> None:
        [network, *_] = networks(learned)
        methods = ("smoothgrad", "integrated_gradients", "grad_cam")
        whole = explain(network, question(network, digits, *methods))
        for asked in (methods[::-1], *((method,) for method in methods)):
            found = explain(network, question(network, digits, *asked))
            np.testing.assert_array_equal(
                found.faithfulness.random_insertion_areas, whole.faithfulness.random_insertion_areas
            )
            for method in asked:
                np.testing.assert_array_equal(found.maps[method], whole.maps[method])
                np.testing.assert_array_equal(found.sanity[method].correlations, whole.sanity[method].correlations)
            for method, curves in found.faithfulness.methods.items():
                np.testing.assert_array_equal(curves.deletions, whole.faithfulness.methods[method].deletions)

    def test_tells_by_how_much_integrated_gradients_miss_their_sum(self, learned: Study, digits: Dataset) -> None:
        [network, *_] = networks(learned)
        found = explain(network, question(network, digits, "integrated_gradients", "gradient"))
        assert found.completeness is not None
        assert found.completeness_error("integrated_gradients", 1) == found.completeness.error[1] <= 0.01
        assert found.completeness_error("gradient") is None
        assert found.predicted.shape == found.confidence.shape == (2,)

    def test_of_many_networks_is_on_several_pages(
        self, learned: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("regulens.report.inside.explaining.ROWS", 3)
        index = int(networks(learned)[0].parts.validation[0])
        steps: list[tuple[str, int, int]] = []
        found = learned.explain(
            index, cell="all", method="gradient", out=tmp_path, on_step=lambda *step: steps.append(step)
        )
        maps = [picture for picture in found.pictures if picture.path.name.startswith("explain-")]
        assert [picture.path.stem.rpartition("-page")[2] for picture in maps] == ["-1", "-2"]
        assert "page 2 of 2" in maps[1].caption
        assert {step[0] for step in steps} >= {"random weights", "explaining", "comparing seeds", "drawing maps"}
        assert all(0 <= done <= of for _, done, of in steps)

    @pytest.mark.parametrize("seed", [-1, 2**64])
    def test_a_seed_that_no_generator_takes_is_refused_first(
        self, learned: Study, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Study, "_networks", None)  # nothing is loaded
        for ask in (learned.maximised, learned.mistakes, lambda **options: learned.explain(0, **options)):
            with pytest.raises(UserError, match=rf"seed must be from 0 to 2\^64 - 1, got {seed}$"):
                ask(seed=seed, out=tmp_path)

    def test_the_greatest_seed_is_taken(self, learned: Study, tmp_path: Path) -> None:
        index = int(networks(learned)[0].parts.validation[0])
        found = learned.explain(index, method="smoothgrad", seed=2**64 - 1, out=tmp_path)
        assert np.isfinite(found.explained[0].maps["smoothgrad"]).all()

    def test_of_a_refit_compares_refits(self, learned: Study, tmp_path: Path) -> None:
        run = next(run for run in open_store(learned.folder).results() if run.spec.stage == "refit")
        index = int(networks(learned)[0].parts.validation[0])
        found = learned.explain(index, run=run.run_id, method="gradient", out=tmp_path)
        assert found.seeds.endswith(", refit")
        assert "in the validation set of a refit: trained on" in found.notes

    def test_says_where_seeds_cannot_be_compared(self, finished: Study, tmp_path: Path) -> None:
        index = int(
            networks_of(finished.spec, finished.folder, open_store(finished.folder).results()[:1])[0].parts.train[0]
        )
        found = finished.explain(index, method="gradient", out=tmp_path)
        assert found.agreement == {}
        assert "seeds are not compared: 0 can be, two are needed" in found.notes

    def test_without_captum_is_refused_in_one_line(
        self, learned: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "captum.attr", None)
        index = int(networks(learned)[0].parts.validation[0])
        with pytest.raises(UserError, match=r"need captum, which is not installed: pip install 'regulens\[explain\]'$"):
            learned.explain(index, method="gradient", out=tmp_path)

    def test_leaves_the_networks_as_they_were(self, learned: Study, digits: Dataset) -> None:
        [network, *_] = networks(learned, "depth 2, batchnorm")
        before = {name: tensor.clone() for name, tensor in network.model.state_dict().items()}
        drawn = torch.random.get_rng_state()
        explain(network, question(network, digits, "smoothgrad", "occlusion"))
        assert torch.equal(torch.random.get_rng_state(), drawn)
        assert all(torch.equal(before[name], tensor) for name, tensor in network.model.state_dict().items())
        assert all(parameter.grad is None and parameter.requires_grad for parameter in network.model.parameters())
        assert not network.model.training


class TestMaps:
    def test_are_those_of_the_method_from_black(self, learned: Study, digits: Dataset) -> None:
        [network, *_] = networks(learned)
        asked = question(network, digits, "integrated_gradients")
        maps = maps_of(network, asked)["integrated_gradients"]
        own = attribute(
            network.expanded, network.input(asked.pixels), asked.classes, "integrated_gradients", baseline=0
        )
        np.testing.assert_allclose(maps, own, rtol=1e-5, atol=1e-6)

    def test_of_random_weights_are_the_same_each_time_and_differ_between_copies(
        self, learned: Study, digits: Dataset
    ) -> None:
        [network, *_] = networks(learned)
        asked = question(network, digits, "gradient")
        first, again = (random_maps(network, asked, 2)["gradient"] for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert (first[0] != first[1]).any()

    def test_of_two_seeds_agree_as_their_magnitudes_ranks_do(self, learned: Study, digits: Dataset) -> None:
        found = networks(learned, "depth 1, batchnorm")
        assert len(found) == 2
        asked = question(found[0], digits, "gradient")
        maps = [np.abs(maps_of(network, asked)["gradient"][..., 0]) for network in found]
        for place, agreement in enumerate(agreements(found, asked)["gradient"]):
            expected = spearmanr(maps[0][place].ravel(), maps[1][place].ravel()).statistic
            assert agreement.seeds.mean == pytest.approx(expected)
            assert agreement.randomised.networks == 2

    def test_that_are_constant_are_not_followed(self, learned: Study, digits: Dataset) -> None:
        [network, *_] = networks(learned)
        with torch.no_grad():
            network.model.blocks[0].conv.bias.fill_(-1e6)  # every filter is silent
        found = explain(network, question(network, digits, "grad_cam", "gradient"))
        assert set(found.faithfulness.methods) == set()
        assert found.sanity["grad_cam"].verdict.startswith("cannot be checked")


class TestMistakes:
    def test_are_the_errors_on_validation_that_the_network_is_surest_of(self, learned: Study, tmp_path: Path) -> None:
        [network, *_] = networks(learned)
        kept = learned.predictions(network.run.run_id)
        wrong = kept.probabilities.argmax(1) != kept.labels
        [found] = learned.mistakes(3, run=network.run.run_id, method="gradient", out=tmp_path)
        assert found.errors == int(wrong.sum())
        surest = kept.indices[wrong][np.argsort(-kept.probabilities[wrong].max(1))]
        assert [each.index for each in found.mistakes] == surest[:3].tolist()
        assert all(each.predicted != each.true for each in found.mistakes)

    def test_of_many_are_on_several_pages(
        self, learned: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("regulens.report.inside.explaining._MISTAKES", 2)
        [network, *_] = networks(learned)
        [found] = learned.mistakes(3, run=network.run.run_id, method="gradient", out=tmp_path)
        assert len(found.mistakes) == 3
        assert [picture.path.stem.rpartition("gradient")[2] for picture in found.pictures] == ["-page-1", "-page-2"]

    def test_of_a_network_without_any_are_none(self, learned: Study, tmp_path: Path, digits: Dataset) -> None:
        [network, *_] = networks(learned)
        folder = tmp_path / "study"
        shutil.copytree(learned.folder, folder)
        kept = learned.predictions(network.run.run_id)
        perfect = np.eye(10, dtype=np.float32)[kept.labels]
        path = run_folder(folder, network.run.run_id) / PREDICTIONS
        save_predictions(path, perfect, kept.indices, digits)
        study = Study(learned.spec, folder)
        assert study.mistakes(run=network.run.run_id, out=tmp_path) == []
        path.unlink()
        with pytest.raises(DataError, match="cannot be read"):
            study.mistakes(run=network.run.run_id, out=tmp_path)

    def test_of_a_refit_or_of_none_are_refused(self, learned: Study, tmp_path: Path) -> None:
        refit = next(run for run in open_store(learned.folder).results() if run.spec.stage == "refit")
        with pytest.raises(UserError, match="was trained on validation too"):
            learned.mistakes(run=refit.run_id, out=tmp_path)
        with pytest.raises(UserError, match="mistakes must be at least 1, got 0"):
            learned.mistakes(0, out=tmp_path)


class TestBlocks:
    def test_show_maps_trust_agreement_and_mistakes(self, learned: Study, tmp_path: Path) -> None:
        shutil.copytree(learned.folder, tmp_path / "study")
        store = open_store(tmp_path / "study")
        blocks = pixel_blocks(learned.spec, tmp_path / "study", store.results(), selections_in_force(store))
        assert blocks[0] == Heading("Attribution maps", 2)
        names = [block.picture.path.name.partition("-")[0] for block in blocks if isinstance(block, Figure)]
        assert names == ["explain", "faithfulness", "agreement", "mistakes"]
        trust, cells = (block for block in blocks if isinstance(block, Table))
        assert trust.rows[-1][0] == "random orders"
        assert {row[0] for row in cells.rows} <= {f"depth {d}, {r}" for d in (1, 2) for r in ("none", "batchnorm")}

    def test_claim_agreement_by_intervals_alone(self) -> None:
        rng = np.random.default_rng(0)

        def rows(seeds: int, common: float) -> list[SeedAgreement]:
            images = [common * rng.normal(size=(1, 9, 9)) + rng.normal(size=(seeds, 9, 9)) for _ in range(4)]
            blanks = [rng.normal(size=(seeds, 9, 9)) for _ in range(4)]
            pairs = zip(images, blanks, strict=True)
            return [SeedAgreement(own, seed_agreement(own), seed_agreement(blank)) for own, blank in pairs]

        text = pixels._agreement_text({"gradient": rows(6, 3.0), "occlusion": rows(6, 0.0)})
        assert text == (
            "By unadjusted 95 % intervals over runs, the maps of seeds are more alike than those of networks "
            "with random weights in Gradient; not conclusively different from those in Occlusion."
        )
        assert "the table describes these runs only" in pixels._agreement_text({"gradient": rows(2, 3.0)})
        assert pixels._agreement_text({}) == ""
        interval = pixels._agreed(rows(6, 3.0), "seeds")
        assert interval.low < interval.estimate < interval.high

    def test_without_captum_are_one_sentence(self, learned: Study, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("regulens.report.inside.pixels.has_captum", lambda: False)
        [_, text] = pixel_blocks(learned.spec, learned.folder, [], [])
        assert text.text.startswith("Captum is not installed (pip install 'regulens[explain]')")

    def test_of_collapsed_networks_say_that_seeds_cannot_agree(self, finished: Study, tmp_path: Path) -> None:
        shutil.copytree(finished.folder, tmp_path / "study")
        store = open_store(tmp_path / "study")
        blocks = pixel_blocks(finished.spec, tmp_path / "study", store.results(), selections_in_force(store))
        texts = [getattr(block, "text", "") for block in blocks]
        assert any("agreement of seeds cannot be measured" in text for text in texts)
