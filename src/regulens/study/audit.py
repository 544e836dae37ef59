"""The confound audit: a study's whole grid run again under each of its variations."""

from __future__ import annotations

from pathlib import Path

from regulens.data.catalog import load_dataset
from regulens.errors import UserError
from regulens.executors.base import Executor
from regulens.spec import StudySpec, VariationSpec
from regulens.study.grid import cells, level_label, varied
from regulens.study.protocol import check_fit, run_protocol
from regulens.study.runner import Note, OnEvent

VARIATIONS = "variations"


def variation_folder(folder: Path, name: str) -> Path:
    """Return where the runs of a variation lie, below the folder of the study that it varies."""
    return folder / VARIATIONS / name


def run_variations(
    study: StudySpec, folder: Path, executor: Executor, on_event: OnEvent, device: str = "cpu"
) -> list[tuple[str, StudySpec]]:
    """Train the study's grid under each variation, in a study folder of its own; nothing is refitted or tested.

    What is finished is not repeated. The unvaried study is not run here.

    Returns:
        The name of each variation and its study as run.

    Raises:
        UserError: if the study has no variations, or a network does not fit its images under one of them: before
            anything is trained.
        DataError: if a data set is absent or damaged.
        RegulensError: if a run failed, after the others of its variation; the next call goes on from there.
    """
    planned = varied(study)
    if not planned:
        raise UserError(
            f"{study.name}: declares no variations to audit; add [[variations]], or start from the preset lab-audit"
        )
    names = {spec.data.name for _, variation in planned for spec in cells(variation)}
    datasets = {name: load_dataset(name) for name in sorted(names)}
    for _, variation in planned:
        check_fit(variation, datasets)
    done = []
    for number, (name, variation) in enumerate(planned, start=1):
        on_event(Note(f"variation {number} of {len(planned)}, {name}: {change_text(study.variations[number - 1])}"))
        place = variation_folder(folder, name)
        done.append((name, run_protocol(variation, place, executor, on_event, device, only_train=True)))
    return done


def change_text(variation: VariationSpec) -> str:
    """Say what a variation changes: ``scale 1/255, learning rate 0.03``."""
    return ", ".join(level_label(path, level) for path, level in variation.change.items())
