"""A JSON array of objects as it streams by: where its elements end, and what is to be done with them.

A stretch up to the last place that looks like the end of a row is decoded at once; if that is valid JSON, the
guess was right. Otherwise what is held is taken element by element.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np

from pipeline.sources.block import Block, beginning, refused_alone, too_long
from pipeline.sources.json_block import of_elements, one_by_one
from pipeline.sources.nesting import Open, end_of_value
from pipeline.sources.unread import Unread

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_VALUE = msgspec.json.Decoder(msgspec.Raw)
_ELEMENT = json.JSONDecoder(parse_int=str, parse_float=str)
_WHITE = b" \t\r\n"
_GAP = re.compile(rb"[ \t\r\n,]*")
_NUMBER = re.compile(r"[-+.0-9eE]*")
_HALF_WORD = re.compile(rb"[-+.0-9A-Za-z]*\Z")
_FIRST_KEY = re.compile(rb'\{[ \t\r\n]*("(?:[^"\\]|\\.)*")', re.DOTALL)
_TRIES = 16  # places that look like the end of a row
_GROUP_BYTES = 4 << 20
_SHOWN_BYTES = 1 << 10  # enough for `beginning`

Work = Callable[[], list[Block]]
Element = tuple[bytes, int, int]  # with its line and offset


def array_work(pieces: Iterator[bytes], line: int, offset: int, max_record_bytes: int) -> Iterator[Work]:
    """What there is to do for each block of elements of an array, whose first piece has the opening bracket.

    An element that cannot be read reaches to what looks like the next row: a comma and an object with the first
    good row's first key. One that is longer than `max_record_bytes` is passed over as it streams by. An array
    that breaks off ends with a refused record, and so does one that something stands behind.
    """
    unread = Unread(pieces, line, offset)
    unread.more()
    unread.go(unread.data.index(b"[") + 1)
    group: list[Element] = []
    key: bytes | None = None
    slow_until = size = 0
    while True:
        alone, closed = None, False
        if key is not None and unread.offset >= slow_until:
            alone = _valid_stretch(unread, key, max_record_bytes)
            slow_until = unread.offset + (unread.left if alone is None else 0)
        if alone is None:
            unread.go(_GAP.match(unread.data, unread.at).end())  # type: ignore[union-attr]  it matches everywhere
            here = unread.line, unread.offset
            if (end := _end(unread, max_record_bytes)) is not None:
                key = key or _first_key(unread.data, unread.at)
                group.append((unread.take(end), *here))
            elif unread.data[unread.at : unread.at + 1] == b"]":
                alone, closed = _behind(unread), True
            elif not unread.ended and unread.left <= max_record_bytes:
                unread.more()
            elif unread.left == 0:
                alone, closed = partial(refused_alone, *here, "bad_json", "the array breaks off here", ""), True
            else:
                found = _pass_over(unread, key, max_record_bytes)
                if isinstance(found, bytes):
                    group.append((found, *here))
                else:
                    alone = partial(refused_alone, *here, *found)
                closed = unread.ended and unread.left == 0
            size += unread.offset - here[1]
        if group and (alone is not None or closed or size > _GROUP_BYTES):
            records, lines, offsets = zip(*group, strict=True)
            yield partial(one_by_one, records, np.array(lines), np.array(offsets), max_record_bytes)
            group, size = [], 0
        if alone is not None:
            yield alone
        if closed:
            return


def _valid_stretch(unread: Unread, key: bytes, max_record_bytes: int) -> Work | None:
    """The elements that are surely next in the array, or None where that is not plain to see."""
    data, begin = unread.data, _GAP.match(unread.data, unread.at).end()  # type: ignore[union-attr]  it matches everywhere
    for cut in _row_ends(data, key):
        if cut <= begin:
            return None
        try:
            elements = _ARRAY.decode(b"[%b]" % data[begin:cut])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        unread.go(begin)
        line, offset = unread.line, unread.offset
        data = unread.take(cut)
        return partial(_of_stretch, data, elements, line, offset, max_record_bytes)
    return None


def _of_stretch(data: bytes, elements: Sequence[Any], line: int, offset: int, max_record_bytes: int) -> list[Block]:
    starts, position = np.empty(len(elements), np.int64), 0
    for k, element in enumerate(elements):
        starts[k] = position = data.index(element, position)
        position += len(memoryview(element))
    breaks = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    lines = line + np.searchsorted(breaks, starts)
    return of_elements(elements, lines, offset + starts, max_record_bytes)


def _row_ends(data: bytes, key: bytes) -> Iterator[int]:
    """Commas before what looks like a row, the last first."""
    at = len(data)
    for _ in range(_TRIES):
        at = data.rfind(key, 0, at)
        if at < 0:
            return
        start = max(0, at - 1024)
        before = data[start:at].rstrip(_WHITE)
        if before.endswith(b"{"):
            before = before[:-1].rstrip(_WHITE)
            if before.endswith(b","):
                yield start + len(before) - 1


def _first_key(data: bytes, at: int = 0) -> bytes | None:
    """The first key of the object that begins there, in quotes and as it is written."""
    found = _FIRST_KEY.match(data, at)
    return found[1] if found else None


def _end(unread: Unread, max_record_bytes: int) -> int | None:
    """Where the element that is next ends, or None: not in what is held, no JSON, or longer than it may be."""
    try:
        end = _ELEMENT.raw_decode(unread.text, unread.at)[1]
    except (ValueError, RecursionError):
        return None
    if end - unread.at > max_record_bytes:
        return None
    plain = unread.text[unread.at] in '[{"'
    if not plain and not unread.ended and _NUMBER.match(unread.text, end).end() == len(unread.text):  # type: ignore[union-attr]
        return None  # a number may go on
    return end


def _pass_over(unread: Unread, key: bytes | None, max_record_bytes: int) -> bytes | tuple[str, str, str]:
    """Go on behind an element that cannot be read or is too long to be held.

    Returns: its bytes, or where it is too long: reason, detail and beginning.
    """
    start, begin = unread.offset, unread.at
    held = unread.data[begin : begin + max_record_bytes + 1]
    fault = _fault(held)
    if fault is None and len(held) > max_record_bytes:
        _go_to_end(unread)
    else:
        _go_to_next_row(unread, key, held)
    size = unread.offset - start
    if size <= max_record_bytes:
        return held[:size]
    return *(("bad_json", fault) if fault is not None else ("too_long", too_long(max_record_bytes))), beginning(held)


def _fault(data: bytes) -> str | None:
    """What is wrong with the beginning of a value, or None if it may go on to be a valid one."""
    if data[:1] not in (b"[", b"{", b'"'):
        return "no JSON"
    half = _HALF_WORD.search(data, max(1, len(data) - 64)).start()  # type: ignore[union-attr]  it matches everywhere
    try:
        _VALUE.decode(memoryview(data)[:half])
    except RecursionError:
        return "nested too deeply"
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return None if str(error) == "Input data was truncated" else str(error)
    return "no JSON"


def _go_to_next_row(unread: Unread, key: bytes | None, held: bytes) -> None:
    """Be done with everything before the next comma with an object behind it that begins with `key`.

    Before the first good row its key is not known: it is the bad one's own, if that comes again, or any.
    """
    sign = _row_sign(key or b"")
    if key is None and (own := _first_key(held)) and _row_sign(own).search(held, 1):
        sign = _row_sign(own)
    unread.go(unread.at + 1)
    while not (found := sign.search(unread.data, unread.at)):
        unread.go(max(unread.at, len(unread.data) - len(held)))  # a sign may have come in part
        if not unread.more():
            unread.go(len(unread.data))
            return
    unread.go(found.start())


def _row_sign(key: bytes) -> re.Pattern[bytes]:
    return re.compile(rb",(?=[ \t\r\n]*\{[ \t\r\n]*%b)" % re.escape(key))


def _go_to_end(unread: Unread) -> None:
    """Be done with a value that is too long to be held."""
    inside = Open()
    while True:
        end, inside = end_of_value(unread.data[unread.at :], inside)
        unread.go(len(unread.data) if end is None else unread.at + end)
        if end is not None or not unread.more():
            return


def _behind(unread: Unread) -> Work | None:
    """What is to be done with what stands behind the array: it is refused, as one record."""
    while unread.left < _SHOWN_BYTES and not unread.ended:
        unread.more()
    here, shown = (unread.line, unread.offset), beginning(unread.data[unread.at : unread.at + _SHOWN_BYTES])
    unread.go(unread.at + 1)
    while not unread.data[unread.at :].strip():
        unread.go(len(unread.data))
        if not unread.more():
            return None
    return partial(refused_alone, *here, "bad_json", "more stands behind the array", shown)
