"""JSON lines and JSON arrays, read exactly.

Two ways to the same result. The fast one hands a whole block to Arrow's JSON reader with the types fixed
beforehand, so that it refuses duplicate keys, lone surrogates, NaN, unknown fields and values of another
type instead of bending them. Whatever it refuses is read again record by record, and only the bad records
are lost, each with its reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.json as pa_json

from pipeline.sources.block import BLOCK_BYTES, MAX_RECORD_BYTES, BadRecordError, Block, Refused, beginning, block_of

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_TO_LINES = bytes.maketrans(b"\r\n\0", b"  \n")
_GAP = re.compile(r"[ \t\r\n,]*")
_FIRST_KEY = re.compile(r'[^\[]*\[[ \t\r\n]*\{[ \t\r\n]*("(?:[^"\\]|\\.)*")')
_NEXT_OBJECT = r",(?=[ \t\r\n]*\{{[ \t\r\n]*{})"
# A key (or a text in a list) spelled with an escape: `{"\u0061":` is the key `a`.
_ESCAPED_KEY = re.compile(rb'[{,][ \t\r\n]*"[^"\\]*\\')


def read_json(stream: BinaryIO) -> Iterator[Block]:
    """Blocks of a file that holds either one array of objects or one object a line."""
    head = stream.read(BLOCK_BYTES).removeprefix(b"\xef\xbb\xbf")
    if head.lstrip()[:1] == b"[":
        yield from _array(head + stream.read())
    else:
        yield from _lines(head, stream)


def _lines(head: bytes, stream: BinaryIO) -> Iterator[Block]:
    record, line, rest, chunk = 0, 1, b"", head
    while chunk or rest:
        data = rest + chunk
        cut = data.rfind(b"\n") + 1 if chunk else len(data)
        if cut:
            whole = data[:cut]
            breaks = whole.count(b"\n")
            numbers = np.arange(line, line + breaks + (not chunk))
            block = _fast(whole, record, numbers)
            if block is None:
                block = _one_by_one(whole.split(b"\n"), record, line)
            yield block
            record += len(block.record) + len(block.refused)
            line += breaks
            rest = data[cut:]
        elif len(data) > MAX_RECORD_BYTES:
            yield block_of([], [Refused(record, line, "too_long", _TOO_LONG, beginning(data))])
            record, line, rest = record + 1, line + 1, _after_newline(stream)
        else:
            rest = data
        chunk = stream.read(BLOCK_BYTES) if chunk else b""


_TOO_LONG = f"a record of more than {MAX_RECORD_BYTES >> 20} MiB"


def _after_newline(stream: BinaryIO) -> bytes:
    while chunk := stream.read(BLOCK_BYTES):
        if b"\n" in chunk:
            return chunk[chunk.index(b"\n") + 1 :]
    return b""


def _array(data: bytes) -> Iterator[Block]:
    """An array of objects; the file is held in memory as a whole, the rows block by block."""
    try:
        elements: Sequence[Any] = _ARRAY.decode(data)
        valid = closed = True
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        elements, closed = _scan_array(data)
        valid = False
    record, line, position = 0, 1, 0
    for first, last in _groups(elements):
        group = elements[first:last]
        numbers, line, position = _line_numbers(data, group, line, position)
        yield (_fast(_a_line_each(group), record, numbers) if valid else None) or _one_by_one(
            [bytes(element) for element in group], record, numbers
        )
        record += len(group)
    if not closed:
        yield block_of([], [Refused(record, line, "bad_json", "the array breaks off here", "")])


def _line_numbers(data: bytes, group: Sequence[Any], line: int, position: int) -> tuple[np.ndarray, int, int]:
    """The line on which each element begins, then the line and the position after the last of them.

    `line` is that of `position`, from where on the elements stand in `data`.
    """
    starts = np.empty(len(group), np.int64)
    begin = position
    for k, element in enumerate(group):
        starts[k] = position = data.index(element, position)
        position += len(memoryview(element))
    breaks = np.flatnonzero(np.frombuffer(data, np.uint8)[begin:position] == ord("\n"))
    return line + np.searchsorted(breaks, starts - begin), line + len(breaks), position


def _a_line_each(group: Sequence[Any]) -> bytes:
    """The elements of a valid array as lines. A line break in one is white space: a string cannot hold one."""
    return b"\0".join(group).translate(_TO_LINES)  # nor can valid JSON hold a NUL


def _groups(elements: Sequence[Any]) -> Iterator[tuple[int, int]]:
    first, size = 0, 0
    for k, element in enumerate(elements):
        size += len(memoryview(element))
        if size > BLOCK_BYTES:
            yield first, k + 1
            first, size = k + 1, 0
    if first < len(elements):
        yield first, len(elements)


def _scan_array(data: bytes) -> tuple[list[bytes], bool]:
    """The elements of an array that is not valid as a whole, the bad ones among them, and whether it ends.

    What cannot be read reaches to what looks like the next row: a comma and an object with the first row's
    first key. What stands after the array is an element too, a bad one.
    """
    text = data.decode("latin-1")  # one character a byte
    decode = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode
    key = _FIRST_KEY.match(text)
    next_row = re.compile(_NEXT_OBJECT.format(re.escape(key[1]) if key else ""))
    if not next_row.search(text):  # the first row may be the bad one
        next_row = re.compile(_NEXT_OBJECT.format(""))
    elements: list[bytes] = []
    position = text.index("[") + 1
    while True:
        start = position = _GAP.match(text, position).end()  # type: ignore[union-attr]  it matches everywhere
        if position == len(text):
            return elements, False
        if text[position] == "]":
            rest = data[position:].strip()
            return [*elements, rest] if len(rest) > 1 else elements, True
        try:
            position = decode(text, position)[1]
        except (ValueError, RecursionError):
            found = next_row.search(text, position + 1)
            if not found:
                return [*elements, data[start:]], True
            position = found.start()
        elements.append(data[start:position])


def _fast(data: bytes, record: int, lines: np.ndarray) -> Block | None:
    """The block through Arrow's JSON reader, or None if it is not plainly text and whole numbers throughout."""
    types = _types(data)
    if types is None:
        return None
    schema = pa.schema([(name, kind) for name, kind in types.items()])
    options = pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    try:
        table = pa_json.read_json(
            pa.BufferReader(data), parse_options=options, read_options=pa_json.ReadOptions(block_size=4 << 20)
        )
        table.validate(full=True)  # Arrow's reader does not look at UTF-8
    except pa.ArrowInvalid:
        return None
    if not table.num_rows == len(lines) == _line_ends(data):  # blank lines, or two records on one line
        return None
    numbers = frozenset(name for name, kind in types.items() if kind == pa.int64())
    columns = {name: pl.Series(pl.from_arrow(column)) for name, column in zip(types, table.columns, strict=True)}
    if numbers and b"-0" in data and any((columns[name] == 0).any() for name in numbers):  # Arrow reads -0 as 0
        return None
    texts = {name: column.cast(pl.String) for name, column in columns.items()}
    frame = pl.DataFrame(texts or None, height=len(lines))
    return Block(frame, np.arange(record, record + len(lines)), lines, numbers)


def _line_ends(data: bytes) -> int:
    """How many lines end with a closing brace."""
    codes = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(codes == ord("\n"))
    before = codes[np.maximum(ends - 1, 0)]
    if (before == ord("\r")).any():
        before = np.where(before == ord("\r"), codes[np.maximum(ends - 2, 0)], before)
    return int((before == ord("}")).sum()) + data.endswith(b"}")


def _types(data: bytes) -> dict[str, pa.DataType] | None:
    """The types of the first record's values, or None where they are not only text, whole numbers and null."""
    try:
        first = _OBJECT.decode(data[: data.find(b"\n") % (len(data) + 1)])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    types: dict[str, pa.DataType] = {}
    for name, raw in first.items():
        value = bytes(raw)
        if value[:1] == b'"' or value == b"null":
            types[name] = pa.string()
        elif re.fullmatch(rb"-?[1-9][0-9]{0,17}|0", value):
            types[name] = pa.int64()
        else:
            return None
    return types


def _one_by_one(records: Sequence[bytes], record: int, lines: int | np.ndarray) -> Block:
    """The block record by record. Blank lines are no records."""
    good: list[tuple[int, int, dict[str, bytes]]] = []
    refused: list[Refused] = []
    for k, data in enumerate(records):
        line = lines + k if isinstance(lines, int) else int(lines[k])
        if not data.strip():
            continue
        number = record + len(good) + len(refused)
        try:
            good.append((number, line, _object(data)))
        except BadRecordError as bad:
            refused.append(Refused(number, line, bad.reason, bad.detail, beginning(data)))
    return block_of(good, refused)


def _object(data: bytes) -> dict[str, bytes]:
    """The JSON text of each value of one object.

    Raises: BadRecordError `bad_utf8`, `bad_json`, `too_deep`, `too_long`, `duplicate_key`, `wrong_type`.
    """
    if len(data) > MAX_RECORD_BYTES:
        raise BadRecordError("too_long", _TOO_LONG)
    try:
        data.decode("utf-8")
        values = {name: bytes(raw) for name, raw in _OBJECT.decode(data).items()}
        escaped = (b"\\u" in data or b"\\/" in data) and _ESCAPED_KEY.search(data)
        if escaped or any(data.count(b'"%b"' % name.encode()) > 1 for name in values):
            _refuse_duplicate_keys(data)
    except UnicodeDecodeError as error:
        raise BadRecordError("bad_utf8", f"byte 0x{data[error.start]:02x} at position {error.start}") from error
    except RecursionError as error:
        raise BadRecordError("too_deep", "more levels of nesting than can be read") from error
    except msgspec.ValidationError as error:
        raise BadRecordError("wrong_type", str(error)) from error
    except msgspec.DecodeError as error:
        raise BadRecordError("bad_json", str(error)) from error
    return values


def _refuse_duplicate_keys(data: bytes) -> None:
    """Raises: BadRecordError if one of the record's own keys stands twice (objects inside it stay as they are)."""
    names: list[str] = []

    def names_of(pairs: list[tuple[str, Any]]) -> None:  # the outermost object comes last
        names[:] = [name for name, _ in pairs]

    json.loads(data, object_pairs_hook=names_of, parse_int=str)
    copies = sorted({name for name in names if names.count(name) > 1})
    if copies:
        raise BadRecordError("duplicate_key", f"the key {', '.join(copies)} stands twice")
