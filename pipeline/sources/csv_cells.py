"""Where a CSV record ends, for one that is too long to be held: the cells are followed, not kept."""

from __future__ import annotations

import re

_QUOTED = re.compile(rb'(?:[^"]++|"")*+')


def end_of_record(data: bytes, state: str, delimiter: str) -> tuple[int | None, str]:
    """Where the record ends in `data`, behind its line break (None: not yet), and the state at that place.

    The state is `cell` at the beginning of one, then `plain`, `quoted`, `quote` (behind a quote in a quoted one),
    or `broken` (behind a CR that ends no line), as Python's `csv` goes through them.
    """
    at, sign = 0, re.compile(b"[%b\n\r]" % re.escape(delimiter.encode()))
    after = {delimiter.encode(): "cell", b"\r": "broken"}
    while at < len(data):
        if state == "cell":
            quoted = data[at : at + 1] == b'"'
            state, at = ("quoted", at + 1) if quoted else ("plain", at)
        elif state == "quoted":
            at = _QUOTED.match(data, at).end() + 1  # type: ignore[union-attr]  it matches everywhere
            if at > len(data):
                return None, state
            state = "quote"
        elif state == "quote" and data[at : at + 1] == b'"':
            state, at = "quoted", at + 1
        elif state == "broken":
            at = data.find(b"\n", at) + 1
            return (at or None), state
        else:
            found = sign.search(data, at)
            if found is None:
                return None, "plain"
            at = found.end()
            if found[0] == b"\n":
                return at, state
            state = after[found[0]]
    return None, state
