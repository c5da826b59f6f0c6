"""Whether a text goes round in circles, as models do that find no end."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import regex

# A loop has so many copies end to end, of which those after the first have so many bytes together.
_LOOPS = ((10, 120), (4, 160), (3, 400))
_LOOPS_WITHOUT_LETTERS = ((10, 400),)  # rulers, rows of a table, long numbers
_LOOP_AT_END = (3, 40)
_LONGEST = 4096  # bytes of one copy
_SENTENCES, _SENTENCE_BYTES = 6, 20
_SHOWN = 60  # characters of what is repeated
_BROKEN = "\N{REPLACEMENT CHARACTER}"  # the bytes of a character that was cut off

_ITEM = re.compile(r"^[\s>*#-]*(?:\(?\d{1,4}[.)、:：]|[*•-])\s*", re.MULTILINE)
_SENTENCE_END = re.compile(r"[\n.!?;。！？；…]+")
_LETTER = regex.compile(r"\p{L}|\p{Extended_Pictographic}")


def repeats(text: str, ended: bool = True) -> dict[str, Any] | None:
    """The loop in a text, `unit` and `times`, or None. Numbers of list items and white space do not count.

    A text loops
    - where one stretch of it stands end to end in at least 10 copies, or 4, or 3, those after the first at least 120,
      160 or 400 bytes long together (in UTF-8 a Han character weighs as much as a short syllable, so one rule serves
      every script); a stretch without letters and emoji in at least 10 copies and 400 bytes;
    - where one sentence or line of at least 20 bytes occurs six times, and makes two thirds of it;
    - if it was cut off (not `ended`), where a stretch stands at its end in at least 3 copies, those after the first at
      least 40 bytes long together.

    Numbers are not folded, so a multiplication table is no loop; nor is a song whose refrain comes back after a verse.
    The measures of Gopher (Rae et al. 2021, table A1: shares of repeated lines and n-grams) are made for documents, and
    reject tables and songs.
    """
    lean = "".join(_ITEM.sub("", text).split()).rstrip(_BROKEN)
    data = np.frombuffer(lean.encode("utf-8", "replace"), np.uint8)
    if len(data) <= _LOOP_AT_END[1]:
        return None
    words = np.zeros(len(data) - 7, np.uint64)  # eight bytes from each place on
    for k in range(8):
        words |= data[k : len(data) - 7 + k].astype(np.uint64) << np.uint64(8 * k)
    return _end_to_end(data, words) or _again_and_again(text, lean) or (None if ended else _at_end(data, words))


def _end_to_end(data: np.ndarray, words: np.ndarray) -> dict[str, Any] | None:
    needed = min(size for _, size in _LOOPS)
    for size in range(1, min(_LONGEST, len(data) // 3) + 1):
        same = words[size:] == words[:-size]
        if np.count_nonzero(same) + 7 < needed:
            continue
        start, length = _longest_run(same)
        repeated = length + 7  # bytes that are those before them, `size` bytes earlier
        copies = repeated // size + 1
        unit = data[start : start + 2 * size].tobytes().decode(errors="ignore")
        rules = _LOOPS if _LETTER.search(unit) else _LOOPS_WITHOUT_LETTERS
        if any(copies >= times and repeated >= least for times, least in rules):
            return _told(unit, copies)
    return None


def _at_end(data: np.ndarray, words: np.ndarray) -> dict[str, Any] | None:
    times, least = _LOOP_AT_END
    for size in (np.flatnonzero(words[-1 - _LONGEST : -1][::-1] == words[-1]) + 1).tolist():
        same = (words[size:] == words[:-size])[::-1]
        repeated = (len(same) if same.all() else int(same.argmin())) + 7
        if repeated >= max(least, (times - 1) * size):
            unit = data[len(data) - repeated - size :][: 2 * size].tobytes().decode(errors="ignore")
            return _told(unit, repeated // size + 1)
    return None


def _told(twice: str, times: int) -> dict[str, Any]:
    return {"unit": twice[: min(_SHOWN, max(1, len(twice) // 2))], "times": times}


def _longest_run(same: np.ndarray) -> tuple[int, int]:
    """Where the longest stretch of True begins, and how long it is."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], same, [False])).astype(np.int8)))
    lengths = edges[1::2] - edges[::2]
    longest = int(lengths.argmax())
    return int(edges[2 * longest]), int(lengths[longest])


def _again_and_again(text: str, lean: str) -> dict[str, Any] | None:
    sentences = Counter("".join(part.split()) for part in _SENTENCE_END.split(_ITEM.sub("", text)))
    for sentence, times in sentences.most_common():
        if times < _SENTENCES:
            break
        size = _bytes(sentence)
        if size >= _SENTENCE_BYTES and _LETTER.search(sentence) and 3 * times * size >= 2 * _bytes(lean):
            return _told(2 * sentence, times)
    return None


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
