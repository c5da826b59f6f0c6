"""Which script a text is written in: as much as can be told of its language without a model."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Any

OF_TAG = {"zh": "CJK", "en": "LATIN"}
_LEAST = 8  # bytes: units and names are written in Latin letters in any language
_JAPANESE = ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA")
# Code, addresses and commands of LaTeX are in no language.
_NO_PROSE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|\\[A-Za-z]+", re.DOTALL)

_NAMED = re.compile(
    r"translat|[译譯]|[中英日韩法德俄外]文|[汉漢英日韩法德俄外][语語]"
    r"|\b(?:english|chinese|mandarin|cantonese|japanese|korean|russian|french|german|spanish|italian|arabic|hindi)\b",
    re.IGNORECASE,
)


def main_script(text: str) -> str | None:
    """The script of most letters, each weighed by its bytes in UTF-8: LATIN, CJK, CYRILLIC, … (the first word of a
    letter's name in Unicode), JAPANESE where a fifth of CJK is kana. None for letters of fewer than 8 bytes.

    A Han character weighs three Latin letters, as in `pipeline.sources.drafts.language_of`, which makes the tags zh and
    en. Code, addresses and commands of LaTeX do not count.
    """
    text = _NO_PROSE.sub(" ", text)
    if text.isascii():
        return "LATIN" if sum(map(str.isalpha, text)) >= _LEAST else None
    weights: Counter[str] = Counter()
    for character, times in Counter(unicodedata.normalize("NFKC", text)).items():
        if character.isalpha():
            weights[_script(character)] += times * len(character.encode("utf-8"))
    if weights.total() < _LEAST:
        return None
    kana = weights.pop("KANA", 0)
    if 5 * kana >= weights["CJK"] + kana > 0:
        weights["JAPANESE"] = weights.pop("CJK", 0) + kana
    return max(weights, key=lambda script: weights[script])


def _script(character: str) -> str:
    first = unicodedata.name(character, "UNKNOWN").split(" ")[0]
    return "KANA" if first in _JAPANESE else "CJK" if first == "IDEOGRAPHIC" else first


def scripts_asked(row: Mapping[str, Any]) -> set[str]:
    """The scripts in which a row may be answered: those of its tags zh and en, of its own reply, and of its question,
    unless that, or a system text, names a language or wants a translation. Empty where nothing tells.

    That English was asked for and French came is not seen.
    """
    messages = row.get("messages") or [{}]
    texts = {
        role: [m.get("content") or "" for m in messages[:-1] if m.get("role") == role] for role in ("system", "user")
    }
    question = texts["user"][-1:]
    scripts = {main_script(messages[-1].get("content") or "")}
    if not any(_NAMED.search(text) for text in (*texts["system"], *question)):
        scripts |= set(map(main_script, question))
    return {OF_TAG[tag] for tag in row.get("tags") or () if tag in OF_TAG} | {script for script in scripts if script}
