"""Which column of results from elsewhere names the data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from regulens.errors import UserError
from regulens.stats.contrasts import Level


def with_datasets(factors: str | Sequence[str], datasets: object) -> str | Sequence[str]:
    """Return the factors with the column of the data sets in front, where it is not among them.

    Raises:
        UserError: if ``datasets`` is no name.
    """
    if datasets is None:
        return factors
    if not isinstance(datasets, str) or not datasets.strip():
        raise UserError(f"datasets must name a column, got {datasets!r}")
    names = factors.split(",") if isinstance(factors, str) else list(factors)
    known = {name.strip() for name in names if isinstance(name, str)}
    return names if datasets.strip() in known else [datasets, *names]


def refuse_datasets(place: str, datasets: str | None, compared: str, levels: Mapping[str, Sequence[Level]]) -> None:
    """Refuse data sets that are what is compared, or of which there is one only.

    Args:
        place: what to call the rows.
        datasets: the column, ``None`` if none is named.
        compared: the compared factor.
        levels: of each factor, by row.

    Raises:
        UserError: naming the column and the fix.
    """
    if datasets is None:
        return
    column = datasets.strip()
    if column == compared:
        raise UserError(
            f"{place}: {column} is compared and names the data sets as well; name another factor with compare"
        )
    if len(set(levels[column])) < 2:
        only = levels[column][0]
        raise UserError(f"{place}: {column} names one data set only, {only}; two or more are needed, or omit datasets")
