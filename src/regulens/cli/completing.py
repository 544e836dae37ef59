"""What the shell offers for an argument: presets, study files, folders of studies, data sets. Nothing needs torch."""

from __future__ import annotations

from pathlib import Path


def presets(incomplete: str) -> list[str]:
    """Return the presets that begin so."""
    from regulens.study.study_file import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]


def folders(incomplete: str) -> list[str]:
    """Return the folders of studies that begin so: in ``studies``, here, and in the folder that is typed already."""
    from regulens.study.store import DATABASE

    places = (
        f"{top}{path.parent.name}" for top in ("studies/", "", _typed(incomplete)) for path in _in(top, f"*/{DATABASE}")
    )
    return [place for place in dict.fromkeys(places) if place.startswith(incomplete)]


def studies(incomplete: str) -> list[str]:
    """Return the presets, the folders of studies and the study files that begin so."""
    typed = _typed(incomplete)
    files = [f"{typed}{path.name}" for path in _in(typed, "*.toml")]
    return [*presets(incomplete), *folders(incomplete), *(file for file in files if file.startswith(incomplete))]


def data_sets(incomplete: str) -> list[str]:
    """Return the data sets that begin so."""
    from regulens.data.catalog import CATALOG

    return [name for name in CATALOG if name.startswith(incomplete)]


def _typed(incomplete: str) -> str:
    """Return the folder that is typed already, with its slash; empty for the current one."""
    return incomplete[: incomplete.rfind("/") + 1]


def _in(folder: str, pattern: str) -> list[Path]:
    return sorted(Path(folder).glob(pattern))
