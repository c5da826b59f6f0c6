"""Texts of prompts and replies as a report shows them: cut, folded, and without what no page can hold."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

MOST = 4_000  # characters that are shown of a text
_FOLDED, _LINES = 600, 12  # characters and lines of a text that is shown at once
_PREVIEW = 160  # characters shown of one that is folded
# What makes one character with the one before it: marks, joiners and skin tones.
_JOINING = ("Mn", "Mc", "Me", "Cf", "Sk")
_ZWJ = "\N{ZERO WIDTH JOINER}"
_LONGEST = 40  # such a character is not longer, or it is cut
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Text:
    """A text as it is shown: `more` characters were cut off; one that is `folded` shows its `preview` first."""

    text: str
    more: int
    folded: bool
    preview: str


def shorten(text: str, most: int = MOST) -> Text:
    """A text cut at `most` characters, not within one that is made of several; folded if it is long."""
    end = most
    least = max(0, most - _LONGEST)
    while least < end < len(text) and (unicodedata.category(text[end]) in _JOINING or text[end - 1] == _ZWJ):
        end -= 1
    kept = text[:end]
    folded = len(kept) > _FOLDED or len(kept.splitlines()) > _LINES
    return Text(kept, len(text) - len(kept), folded, " ".join(kept[: 2 * _PREVIEW].split())[:_PREVIEW])


def visible(text: str) -> str:
    """A text that any file in UTF-8 and any page can hold: control characters as their pictures (␛), and what is no
    character as \N{REPLACEMENT CHARACTER}. New lines and tabs stay."""
    return _HIDDEN.sub(_picture, text.replace("\r\n", "\n"))


def unturned(text: str) -> str:
    """A sentence without marks that turn the direction of what follows: names within it may hold such."""
    return _TURNING.sub("", text)


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\N{SYMBOL FOR DELETE}" if code == 0x7F else "\N{REPLACEMENT CHARACTER}"
