"""The methods of a study that look inside its networks: kernels, feature maps, what excites, which pixels decide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Literal

from regulens.errors import UserError, check_type
from regulens.executors.local import LocalExecutor
from regulens.interpret.kernels import Scaling
from regulens.report.inside.explaining import MISTAKES_METHOD, Explanation, MistakesPicture, explain_image, mistakes_of
from regulens.report.inside.kernel_layers import KernelView, Layers
from regulens.report.inside.kernel_pictures import (
    KernelPicture,
    MatchedPicture,
    PanelsPicture,
    kernels_by_cell,
    kernels_of_runs,
    matched_kernels,
    shown_refits,
)
from regulens.report.inside.looking import (
    ExcitingPicture,
    Look,
    MaximisedPicture,
    dataset_of,
    exciting_images,
    look_at,
    maximised_inputs,
)
from regulens.report.inside.scene import ALL, Network, matchable, named_runs, networks_of, siblings
from regulens.report.inside.steps import OnStep, stepped, unwatched
from regulens.report.pictures import FIGURES
from regulens.results import RunResult
from regulens.spec import StudySpec
from regulens.study.folder import own_store
from regulens.study.inside.analysis import InsideAnalysis, measured_rows, stored_analysis
from regulens.study.inside.measuring import OnMeasured, measurable, measure_inside, quietly
from regulens.study.inside.similarity import StageSimilarity, similarities_of
from regulens.study.store import selections_in_force
from regulens.study.workers import check_workers

if TYPE_CHECKING:
    import pandas as pd

Names = str | Sequence[str] | None
"""One name, several, or none."""
Filters = int | Sequence[int] | None
"""One filter, several, or none, numbered from 1."""
Place = str | Path | None
_SEEDS = 2**64
"""Seeds that torch's and numpy's generators both take, from 0 on."""


class InsideMethods:
    """What ``api.Study`` inherits. Where nothing is named, the run that stands for the selected cell is meant.

    ``run`` is a run_id or the beginning of one, or several, or ``"all"`` for every compared run; ``cell`` is a label
    such as ``"depth 2, batchnorm"``, or several, or ``"all"``: of each the run that stands for it (``typical_run``).
    Figures are saved into ``figures/`` of the study's folder, or into ``out``. ``on_step`` is called with what is being
    done, how often it is done, and how often it will be.
    """

    spec: StudySpec
    folder: Path

    def inside(self, workers: int | None = None, on_measured: OnMeasured = quietly) -> InsideAnalysis:
        """Measure what is not measured yet inside each run's network, and compare the networks in it.

        Args:
            workers: processes at work at once; by default one per core.
            on_measured: called with the number of runs measured, and of all.

        Raises:
            UserError: if the study has not been run, or no run is finished.
            DataError: if the data set or a run's weights are damaged.
            RegulensError: if a run could not be measured; the others are kept.
        """
        if not measurable(own_store(self.spec, self.folder).results(), self.folder):
            raise UserError(f"{self.folder}: no run is finished yet, there is nothing to look into")
        with LocalExecutor(check_workers(workers)) as executor:
            measure_inside(self.folder, executor, on_measured)
        return self.measured()

    def measured(self) -> InsideAnalysis:
        """Return the comparison of what is measured already; nothing is measured.

        Raises:
            UserError: if the study has not been run, or nothing is measured yet.
        """
        return stored_analysis(self.spec, self.folder)

    def measures(self) -> pd.DataFrame:
        """Return what is measured inside the networks: one row per run, place (a layer, a stage, the network), measure.

        Raises:
            UserError: if the study has not been run, or nothing is measured yet.
        """
        import pandas as pd

        return pd.DataFrame(measured_rows(self.spec, self.measured()))

    def similarity(self) -> list[StageSimilarity]:
        """Return how alike the measured non-collapsed runs represent the same images, stage by stage.

        Raises:
            UserError: if the study has not been run, or nothing is measured yet.
            DataError: if the data set or a run's weights are damaged or absent.
        """
        return similarities_of(self.measured(), self.folder)

    def kernels(
        self,
        run: Names = None,
        layer: Layers = None,
        scaling: Scaling = "kernel",
        *,
        rgb: bool = False,
        page: int = 1,
        sample: bool = False,
        out: Place = None,
    ) -> list[KernelPicture]:
        """Draw the kernels of the runs named, by default of each refitted network (lowest seed).

        ``layer`` is a convolution's name, a pattern such as ``conv*``, or several. ``rgb`` draws layers with three
        input channels in colours; ``page`` and ``sample`` choose filters and input channels of a layer that has more
        than a picture holds.

        Raises:
            UserError: if there is no such run, layer or page, or no refit yet.
        """
        results = own_store(self.spec, self.folder).results()
        names = _names(run)
        chosen = self._chosen(results, names, ()) if names else shown_refits(results, self.folder)
        if not chosen:
            raise UserError(f"{self.folder}: no network is refitted yet; name a trained one with --run RUN_ID")
        view = KernelView(scaling, rgb, page, sample)
        return kernels_of_runs(self.spec, self.folder, chosen, layer=layer, view=view, out=self._place(out))

    def kernels_side_by_side(
        self, layer: Layers = None, scaling: Scaling = "kernel", *, out: Place = None
    ) -> list[PanelsPicture]:
        """Draw each layer of the runs that stand for the cells beside each other, networks of one shape together.

        Raises:
            UserError: if there is no such layer, or no run yet.
        """
        results = own_store(self.spec, self.folder).results()
        return kernels_by_cell(self.spec, self.folder, results, layer=layer, scaling=scaling, out=self._place(out))

    def matched_kernels(
        self,
        cell: Names = None,
        layer: Layers = None,
        scaling: Scaling = "kernel",
        *,
        out: Place = None,
        on_step: OnStep = unwatched,
    ) -> list[MatchedPicture]:
        """Match the filters of a cell's non-collapsed seeds, by default of the selected cell, and draw them.

        Raises:
            UserError: if there is no such cell or layer, or fewer than two of its runs trained.
        """
        store = own_store(self.spec, self.folder)
        results = store.results()
        cells = _names(cell) or tuple(selection.label for selection in selections_in_force(store))
        if not cells:
            raise UserError(f"{self.folder}: no network is selected yet; name one with --cell LABEL")
        if ALL in cells:
            cells = matchable(self.spec, self.folder, results)
        return [
            picture
            for each in stepped(cells, "matching filters", on_step)
            for picture in matched_kernels(
                self.spec, self.folder, results, each, layer=layer, scaling=scaling, out=self._place(out)
            )
        ]

    def look(
        self,
        image: int | str | Path,
        *,
        run: Names = None,
        cell: Names = None,
        layer: str | None = None,
        scaling: Literal["shared", "own"] = "shared",
        out: Place = None,
        on_step: OnStep = unwatched,
    ) -> Look:
        """Follow an image through every layer of the networks, or compare one ``layer`` of theirs.

        ``image`` is an index into the data set, the held-out test set excepted, or the path of a picture file.

        Raises:
            UserError: if there is no such run, cell, layer or image, or the image is of the test set.
        """
        networks, place = self._networks(run, cell), self._place(out)
        return look_at(networks, image, place, layer=layer, scaling=scaling, on_step=on_step)

    def exciting(
        self,
        *,
        run: Names = None,
        cell: Names = None,
        layer: str | None = None,
        filters: Filters = None,
        out: Place = None,
        on_step: OnStep = unwatched,
    ) -> list[ExcitingPicture]:
        """Draw the validation images that excite each filter most, 16 filters to a picture.

        ``filters`` are numbered from 1 as in the pictures; by default the first 16 of each layer.

        Raises:
            UserError: if there is no such run, cell, layer or filter.
        """
        networks, place = self._networks(run, cell), self._place(out)
        return exciting_images(networks, place, layer, filters=_numbers(filters), on_step=on_step)

    def maximised(
        self,
        *,
        run: Names = None,
        cell: Names = None,
        layer: str | None = None,
        filters: Filters = None,
        seed: int = 0,
        out: Place = None,
        on_step: OnStep = unwatched,
    ) -> list[MaximisedPicture]:
        """Make inputs that excite the filters of each convolution and the classes (``layer="output"``).

        ``filters`` are numbered from 1 as in the pictures; by default the first 32 of each layer, and all classes.
        Where filters are named no classes are made. ``seed`` is that of the noise they begin at.

        Raises:
            UserError: if there is no such run, cell, layer or filter, ``filters`` are named of ``output``, or the seed
                is not from 0 to 2^64 - 1.
        """
        _check_seed(seed)
        networks, place = self._networks(run, cell), self._place(out)
        return maximised_inputs(networks, place, layer, seed, filters=_numbers(filters), on_step=on_step)

    def explain(
        self,
        image: int | str | Path,
        *,
        run: Names = None,
        cell: Names = None,
        method: Names = None,
        target: str | int | None = None,
        seed: int = 0,
        out: Place = None,
        on_step: OnStep = unwatched,
    ) -> Explanation:
        """Draw which pixels of an image speak for a class, how far to trust that, and whether the cell's seeds agree.

        The seeds are those of the first network's cell that trained; ``target`` is a class, by default the one that
        the first network predicts, ``seed`` that of the noise, the random orders and the random weights. A picture of
        maps holds 12 networks.

        Raises:
            UserError: if there is no such run, cell, image, class or method, the image is of the test set, the seed
                is not from 0 to 2^64 - 1, or Captum is missing.
        """
        _check_seed(seed)
        results = own_store(self.spec, self.folder).results()
        networks = self._networks(run, cell)
        dataset = dataset_of(networks)
        seeds = networks_of(self.spec, self.folder, siblings(networks[0].run, results, self.folder), dataset)
        return explain_image(
            networks,
            image,
            self._place(out),
            seeds=seeds,
            methods=_names(method),
            target=target,
            seed=seed,
            dataset=dataset,
            on_step=on_step,
        )

    def mistakes(
        self,
        count: int = 8,
        *,
        run: Names = None,
        cell: Names = None,
        method: str = MISTAKES_METHOD,
        seed: int = 0,
        out: Place = None,
        on_step: OnStep = unwatched,
    ) -> list[MistakesPicture]:
        """Draw the most confident errors on validation, with the maps of the predicted and the true class.

        A network without errors is left out; a picture holds 24 errors. ``seed`` is that of the noise, where the method
        adds any.

        Raises:
            UserError: if there is no such run, cell or method, count is below 1, the seed is not from 0 to 2^64 - 1, or
                Captum is missing.
        """
        _check_seed(seed)
        if count < 1:
            raise UserError(f"mistakes must be at least 1, got {count}")
        place = self._place(out)
        found = [
            mistakes_of(network, self.folder, place, count=count, method=method, seed=seed)
            for network in stepped(self._networks(run, cell), "mistakes", on_step)
        ]
        return [each for each in found if each is not None]

    def _networks(self, run: Names, cell: Names) -> list[Network]:
        results = own_store(self.spec, self.folder).results()
        return networks_of(self.spec, self.folder, self._chosen(results, _names(run), _names(cell)))

    def _chosen(self, results: Sequence[RunResult], runs: Sequence[str], labels: Sequence[str]) -> list[RunResult]:
        selections = selections_in_force(own_store(self.spec, self.folder))
        return named_runs(self.spec, self.folder, results, selections, runs=runs, labels=labels)

    def _place(self, out: Place) -> Path:
        return self.folder / FIGURES if out is None else Path(out)


def _names(value: Names) -> tuple[str, ...]:
    check_type(value, (str, Iterable, NoneType), "run, cell or method", "a name, or several")
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def _numbers(value: Filters) -> tuple[int, ...]:
    check_type(value, (int, Iterable, NoneType), "filters", "a whole number, or several")
    return () if value is None else (value,) if isinstance(value, int) else tuple(value)


def _check_seed(seed: int) -> None:
    check_type(seed, Integral, "seed", "a whole number")
    if not 0 <= seed < _SEEDS:
        raise UserError(f"seed must be from 0 to 2^64 - 1, got {seed}")
