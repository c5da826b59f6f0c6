"""Where JSON opens and closes, found without reading it: how deep it is nested, and where a value ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.sources.block import BadRecordError

# Deeper records are refused: how deep one can read depends on how deep the program itself is at that moment.
MAX_DEPTH = 256
TOO_DEEP = f"more than {MAX_DEPTH} levels of nesting"

_STEPS = np.zeros(256, np.int8)
_STEPS[[ord("["), ord("{")]] = 1
_STEPS[[ord("]"), ord("}")]] = -1


@dataclass(frozen=True)
class Open:
    """What is open after some bytes of a value: brackets, a text, and whether the last byte begins an escape."""

    depth: int = 0
    text: bool = False
    escape: bool = False


def depth_of(data: bytes) -> int:
    """The most brackets that are open at one place."""
    return int(_depths(data, Open())[0].max(initial=0))


def is_deep(data: bytes) -> bool:
    """Whether more brackets are open at one place than `MAX_DEPTH`."""
    return data.count(b"[") + data.count(b"{") > MAX_DEPTH and depth_of(data) > MAX_DEPTH


def require_shallow(data: bytes) -> None:
    """For JSON that was taken out of a text, where the record's own depth says nothing of it.

    Raises: BadRecordError `too_deep`.
    """
    if is_deep(data):
        raise BadRecordError("too_deep", TOO_DEEP)


def end_of_value(data: bytes, before: Open) -> tuple[int | None, Open]:
    """Where the value that `before` leaves open ends in `data` (None: not yet), and what is open at that place.

    The value is a text, a list or an object. Takes some 20 bytes of memory for each of `data`.
    """
    if not data:
        return None, before
    depths, texts, escape = _depths(data, before)
    closed = np.flatnonzero((depths <= 0) & ~texts)
    if len(closed):
        return int(closed[0]) + 1, Open()
    return None, Open(int(depths[-1]), bool(texts[-1]), escape)


def _depths(data: bytes, before: Open) -> tuple[np.ndarray, np.ndarray, bool]:
    """After each byte: how many brackets are open, and whether it stands in a text; then whether the last byte
    begins an escape."""
    if before.escape:
        data = b"_" + data[1:]
    codes = np.frombuffer(data, np.uint8)
    quotes, slashes = codes == ord('"'), codes == ord("\\")
    escape = False
    if slashes.any():  # a quote is one of the text where it stands behind an odd number of them
        places = np.arange(len(codes), dtype=np.int32)
        run = places - np.maximum.accumulate(np.where(slashes, np.int32(-1), places))
        escape = bool(run[-1] % 2)
        quotes[1:] &= run[:-1] % 2 == 0
    texts = np.logical_xor.accumulate(quotes) ^ before.text
    steps = np.where(texts, 0, _STEPS[codes])
    return before.depth + np.cumsum(steps, dtype=np.int32), texts, escape
