"""What the name of a column says, whatever program wrote it."""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|%")
_HYPER_PARAMETERS = {"params", "param", "config", "hparams", "hyperparameters", "args"}


def words(name: str) -> list[str]:
    """Return the words of a name in lower case: ``val, acc, top, 5`` of ``valAcc_top5``."""
    return [word.lower() for word in _WORD.findall(name)]


def last_part(name: str) -> str:
    """Return a name without the groups in front of it: ``epoch`` of ``metrics.epoch`` and ``train/epoch``."""
    return re.split(r"[./]", name)[-1]


def is_hyper_parameter(name: str) -> bool:
    """Tell whether a program put a column among what was set rather than measured, as in ``params.epoch``."""
    parts = re.split(r"[./]", name.lower())
    return len(parts) > 1 and bool(_HYPER_PARAMETERS.intersection(parts[:-1]))
