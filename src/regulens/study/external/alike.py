"""Levels that are probably one, but are written differently."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence

from regulens.stats.contrasts import Level
from regulens.study.external.rounding import in_single_precision
from regulens.study.external.values import NUMBER, WHOLE

_NEARLY_ZERO = 16 * sys.float_info.epsilon  # relative: what sums such as 0.1 + 0.2 - 0.3 leave
_NUMBER_WITHIN = re.compile(r"(\d+\.?\d*|\.\d+)(e[+-]?\d+)?")
_LOOK_ALIKE = str.maketrans(
    "аеорсухіјѕАВЕКМНОРСТХΑΒΕΖΗΙΚΜΝΟΡΤΥΧο‐‑‒–—−",  # Cyrillic, Greek, dashes
    "aeopcyxijsABEKMHOPCTXABEZHIKMNOPTYXo------",
)


def alike(column: str, levels: Sequence[Level]) -> list[str]:
    """Warn of levels that are probably one, but are written differently."""
    groups: dict[str, list[Level]] = {}
    for level in levels if any(isinstance(level, str) for level in levels) else ():
        groups.setdefault(text_key(level), []).append(level)
    numbers = [level for level in levels if not isinstance(level, bool | str)]
    least = _NEARLY_ZERO * max(map(abs, numbers), default=0)
    if 0 in numbers and any(0 < abs(number) < least for number in numbers):
        groups["nearly 0"] = [number for number in numbers if abs(number) < least]
    return [
        f"levels {_listed(group)} of {column} differ only {_how(group)}: if they are the same level, write them alike"
        for group in groups.values()
        if len(group) > 1
    ]


def _listed(group: Sequence[Level]) -> str:
    """Return levels in words; if they look the same, with the codes of the signs that are not ASCII."""
    texts = [str(level) for level in group]
    looks = {unicodedata.normalize("NFKC", text).translate(_LOOK_ALIKE) for text in texts}
    visible = len(looks) == len(texts) and all(text.isprintable() for text in texts)
    written = [f'"{level}"' if isinstance(level, str) else str(level) for level in group]
    named = written if visible else [ascii(text) for text in texts]
    return f"{', '.join(named[:-1])} and {named[-1]}"


def _how(group: Sequence[Level]) -> str:
    texts = [str(level) for level in group]
    if not any(isinstance(level, str) for level in group):
        return "by rounding"
    if len({text.casefold() for text in texts}) == 1:
        return "in case"
    if len({"".join(text.split()) for text in texts}) == 1:
        return "in spaces"
    if any(NUMBER.fullmatch(text) for text in texts):
        return "in how a number is written"
    return "in case, spaces, signs or how numbers are written"


def text_key(level: Level) -> str:
    """Return what two ways to write one level have in common."""
    text = unicodedata.normalize("NFKC", str(level)).translate(_LOOK_ALIKE).casefold()
    text = "".join(sign for sign in text if unicodedata.category(sign) not in {"Cf", "Cc"} or sign.isspace())
    text = text.strip().strip("'\"`")
    text = {"true": "1", "false": "0"}.get(text, text)
    text = re.sub(r"(?<=\d),(?=\d)", ".", re.sub(r",\s+", ",", text))
    text = re.sub(r"(?<=[^\W\d])[_(=:](?=\.?\d)", " ", text).rstrip(")")
    text = re.sub(r"(?<=[^\W\d])[\s_-]+(?=[^\W\d])", "", text)
    return "".join(_NUMBER_WITHIN.sub(_written_number, text).split())


def _written_number(found: re.Match[str]) -> str:
    if WHOLE.fullmatch(found[0]):
        return found[0].lstrip("0") or "0"
    return in_single_precision(float(found[0]))
