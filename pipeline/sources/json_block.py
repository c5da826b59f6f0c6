"""A block of whole JSON records to columns, exactly.

Two ways to the same result. The fast one hands a whole block to Arrow's JSON reader with the types fixed
beforehand, so that it refuses duplicate keys, lone surrogates, NaN, unknown fields and values of another
type instead of bending them. Whatever it refuses is read again record by record, and only the bad records
are lost, each with its reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.json as pa_json

from pipeline.errors import listed
from pipeline.memory import require_for_block
from pipeline.sources.block import (
    MAX_CELLS,
    MAX_COLUMNS,
    BadRecordError,
    Block,
    Refused,
    beginning,
    block_of,
    repeated,
    too_long,
    too_wide,
)
from pipeline.sources.nesting import TOO_DEEP, is_deep

# So many keys can be looked for one by one.
_FEW = 64

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TO_LINES = bytes.maketrans(b"\r\n\0", b"  \n")
# A key (or a text in a list) spelled with an escape: `{"\u0061":` is the key `a`.
_ESCAPED_KEY = re.compile(rb'[{,][ \t\r\n]*"[^"\\]*\\')


def of_lines(data: bytes, ends: np.ndarray, line: int, offset: int, max_record_bytes: int) -> list[Block]:
    """The records of whole lines, the first of them on `line` and at `offset`, numbered from 0; `ends` is where
    they end. One block, or several where the records have many columns."""
    require_for_block(len(data))
    starts = np.append(0, ends[:-1] + 1)
    lines, offsets = np.arange(line, line + len(ends)), offset + starts
    if int((ends - starts).max()) <= max_record_bytes:
        block = _fast(data, ends, lines, offsets)
        if block is not None:
            return [block]
    records = [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return one_by_one(records, lines, offsets, max_record_bytes)


def of_elements(elements: Sequence[Any], lines: np.ndarray, offsets: np.ndarray, max_record_bytes: int) -> list[Block]:
    """The records that are elements of a valid array, as a line each. A line break in one is white space: a
    string cannot hold one, nor can valid JSON hold a NUL."""
    lengths = np.fromiter((len(memoryview(element)) for element in elements), np.int64, len(elements))
    block = None
    if lengths.max() <= max_record_bytes:
        ends = np.cumsum(lengths + 1) - 1
        block = _fast(b"\0".join(elements).translate(_TO_LINES), ends, lines, offsets)
    if block is not None:
        return [block]
    return one_by_one([bytes(element) for element in elements], lines, offsets, max_record_bytes)


def one_by_one(records: Iterable[bytes], lines: np.ndarray, offsets: np.ndarray, max_record_bytes: int) -> list[Block]:
    """The same record by record. Blank records are none."""
    blocks: list[Block] = []
    good: list[tuple[int, int, int, dict[str, bytes]]] = []
    refused: list[Refused] = []
    names: set[str] = set()
    record = 0
    for data, line, offset in zip(records, lines.tolist(), offsets.tolist(), strict=True):
        if not data.strip():
            continue
        try:
            values = _object(data, max_record_bytes)
        except BadRecordError as bad:
            refused.append(Refused(record, line, offset, bad.reason, bad.detail, beginning(data)))
        else:
            if good and len(names | values.keys()) * (len(good) + 1) > MAX_CELLS:
                blocks.append(block_of(good, refused))
                good, refused, names = [], [], set()
            good.append((record, line, offset, values))
            names |= values.keys()
        record += 1
    return [*blocks, block_of(good, refused)]


def _fast(data: bytes, ends: np.ndarray, lines: np.ndarray, offsets: np.ndarray) -> Block | None:
    """The block through Arrow's JSON reader, or None if it is not plainly text and whole numbers throughout."""
    types = _types(data[: int(ends[0])])
    if types is None or len(types) > MAX_COLUMNS or len(types) * len(ends) > MAX_CELLS:
        return None
    schema = pa.schema(list(types.items()))
    options = pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    whole = pa_json.ReadOptions(use_threads=False, block_size=len(data))
    try:
        table = pa_json.read_json(pa.BufferReader(data), parse_options=options, read_options=whole)
        table.validate(full=True)  # Arrow's reader does not look at UTF-8
    except pa.ArrowInvalid:
        return None
    if not table.num_rows == len(lines) == _closing_lines(data, ends):  # blank lines, or two records on one line
        return None
    columns = {name: pl.Series(pl.from_arrow(column)) for name, column in zip(types, table.columns, strict=True)}
    numbers = frozenset(name for name, kind in types.items() if kind == pa.int64())
    if any((columns[name] == 0).any() for name in numbers) and b"-0" in data:  # Arrow reads -0 as 0
        return None
    texts = {name: column.cast(pl.String) for name, column in columns.items()}
    frame = pl.DataFrame(texts or None, height=len(lines))
    return Block(frame, np.arange(len(lines)), lines, offsets, numbers)


def _closing_lines(data: bytes, ends: np.ndarray) -> int:
    """How many lines end with a closing brace."""
    codes = np.frombuffer(data, np.uint8)
    before = codes[np.maximum(ends - 1, 0)]
    if (before == ord("\r")).any():
        before = np.where(before == ord("\r"), codes[np.maximum(ends - 2, 0)], before)
    return int((before == ord("}")).sum())


def _types(record: bytes) -> dict[str, pa.DataType] | None:
    """The types of a record's values, or None where they are not only text, whole numbers and null."""
    try:
        first = _OBJECT.decode(record)
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


def _object(data: bytes, max_record_bytes: int) -> dict[str, bytes]:
    """The JSON text of each value of one object.

    Raises: BadRecordError `bad_utf8`, `bad_json`, `too_deep`, `too_long`, `too_wide`, `duplicate_key`, `wrong_type`.
    """
    if len(data) > max_record_bytes:
        raise BadRecordError("too_long", too_long(max_record_bytes))
    try:
        data.decode("utf-8")
        values = {name: bytes(raw) for name, raw in _OBJECT.decode(data).items()}
        if len(values) > MAX_COLUMNS:
            raise BadRecordError("too_wide", too_wide(len(values)))
        if is_deep(data):
            raise BadRecordError("too_deep", TOO_DEEP)
        escaped = (b"\\u" in data or b"\\/" in data) and _ESCAPED_KEY.search(data)
        if escaped or len(values) > _FEW or any(data.count(b'"%b"' % name.encode()) > 1 for name in values):
            _refuse_duplicate_keys(data)
    except UnicodeDecodeError as error:
        raise BadRecordError("bad_utf8", f"byte 0x{data[error.start]:02x} at position {error.start}") from error
    except RecursionError as error:
        raise BadRecordError("too_deep", TOO_DEEP) from error
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
    copies = repeated(names)
    if copies:
        raise BadRecordError("duplicate_key", f"the key {listed(copies)} stands twice")
