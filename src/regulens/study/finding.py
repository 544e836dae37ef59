"""Which study is meant, where its folder is, and how far it is there. Nothing here needs torch: it answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from types import NoneType

from regulens.errors import UserError, check_type
from regulens.spec import MAX_SEEDS, RunSpec, StudySpec
from regulens.study.folder import held_study, own_store
from regulens.study.grid import planned
from regulens.study.store import DATABASE, Deviation, Failure, Look, Selection, selections_in_force
from regulens.study.study_file import names_preset, read_study

REPORT = "report.html"


@dataclass(frozen=True)
class StudyProgress:
    """How far a study is: runs finished, failed and planned, what is selected, how often the test set was evaluated.

    ``deviations`` are the changes of what was declared, made after runs were there; ``looks`` the times that the whole
    study was looked at.
    """

    planned: int
    finished: int
    failures: tuple[Failure, ...]
    refits_finished: int
    selections: tuple[Selection, ...]
    test_openings: int
    report: Path | None
    deviations: tuple[Deviation, ...] = ()
    looks: tuple[Look, ...] = ()


def find_study(
    source: str | Path, out: str | Path | None = None, max_cells: int | None = None
) -> tuple[StudySpec, Path]:
    """Return a study and its folder: of a preset by name, of a study file, or of the folder of one that was run.

    Args:
        source: ``"lab"``, ``"my.toml"`` or ``"studies/lab"``. A preset comes before a file or folder of its name;
            ``"./lab"``, or any other path with a separator, is never a preset.
        out: the study's folder; by default ``studies/NAME``, or the folder itself.
        max_cells: how many networks a study file may have, those of its variations included; by default 10,000.

    Raises:
        UserError: if there is none, or naming what is wrong in the file.
    """
    check_type(source, (str, Path), "study", "a preset, or the path of a study file or folder")
    check_type(out, (str, Path, NoneType), "out", "the path of a folder")
    path = Path(source)
    if path.is_dir() and not names_preset(source):
        if out is not None:
            raise UserError(f"{path} is a study's folder and goes on there; omit --out, or name a study file")
        return held_study(path), path
    study = read_study(source, max_cells)
    return study, Path(out) if out is not None else Path("studies") / study.name


def with_seeds(study: StudySpec, seeds: int | None) -> StudySpec:
    """Return the study with so many seeds; ``None`` leaves it as it is.

    Raises:
        UserError: if there are fewer than one, or absurdly many.
    """
    if seeds is None:
        return study
    check_type(seeds, Integral, "seeds", "a whole number")
    if not 1 <= seeds <= MAX_SEEDS:
        raise UserError(f"seeds must be at least 1 and at most {MAX_SEEDS}, got {seeds}")
    return study.model_copy(update={"seeds": int(seeds)})


def check_auditable(study: StudySpec) -> None:
    """Check that a study has what an audit needs.

    Raises:
        UserError: if it declares no claims, or no variations to judge them under.
    """
    for needed in ("claims", "variations"):
        if not getattr(study, needed):
            raise UserError(f"{study.name}: declares no {needed} to audit; add [[{needed}]], or start from lab-audit")


def pending_runs(study: StudySpec, folder: Path) -> list[RunSpec]:
    """Return the runs of the first stage that are not finished in the study's folder."""
    if not (folder / DATABASE).is_file():
        return planned(study)
    finished = {result.spec for result in own_store(study, folder).results()}
    return [spec for spec in planned(study) if spec not in finished]


def progress_of(study: StudySpec, folder: Path) -> StudyProgress:
    """Return how far a study is in its folder.

    Raises:
        UserError: if it has not been run.
    """
    store = own_store(study, folder)
    specs = [result.spec for result in store.results()]
    report = folder / REPORT
    return StudyProgress(
        planned=len(planned(study)),
        finished=sum(spec.compared for spec in specs),
        failures=tuple(store.failures()),
        refits_finished=sum(spec.stage == "refit" for spec in specs),
        selections=tuple(selections_in_force(store)),
        test_openings=len(store.ledger()),
        report=report if report.is_file() else None,
        deviations=tuple(store.deviations()),
        looks=tuple(store.looks()),
    )
