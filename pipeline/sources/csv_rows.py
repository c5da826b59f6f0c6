"""CSV and TSV: every cell is text, nothing is guessed; quoted cells may hold line breaks."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv

from pipeline.errors import SourceError, listed
from pipeline.sources.block import (
    BLOCK_BYTES,
    MAX_COLUMNS,
    Block,
    Refused,
    beginning,
    later,
    places,
    refused_alone,
    repeated,
    too_long,
    too_wide,
    utf8_error,
)
from pipeline.sources.csv_cells import end_of_record
from pipeline.sources.files import chunks
from pipeline.sources.unread import Unread

_BOM = b"\xef\xbb\xbf"
csv.field_size_limit(1 << 30)  # `max_record_bytes` is what counts


def read_csv(stream: BinaryIO, where: str, delimiter: str, max_record_bytes: int) -> Iterator[Block]:
    """Blocks of a file with a header line. Rows of another length than the header are `ragged_row`; one that is
    longer than `max_record_bytes` is passed over as it streams by.

    Raises: SourceError if the header names a column twice, is empty or too long.
    """
    unread = Unread(chunks(stream, BLOCK_BYTES), 1, 0)
    unread.more()
    unread.go(len(_BOM) if unread.data.startswith(_BOM) else 0)
    names: list[str] | None = None
    record = 0
    while True:
        data, block, used, before = unread.data[unread.at :], None, 0, unread.offset
        end = len(data) if unread.ended else _record_end(data)
        if end and names is None:
            names, used = _header(data[:end], where, delimiter, max_record_bytes)
        elif end and names is not None:
            block, used = _read(data[:end], names, unread, delimiter, max_record_bytes)
        if used == 0 and len(data) > max_record_bytes:
            if names is None:
                raise _too_long_a_header(where, max_record_bytes)
            end = data.rfind(b"\n") + 1
            block, used = _one_by_one(data[:end], names, unread, delimiter, max_record_bytes)
            if used == 0:
                (block,) = refused_alone(
                    unread.line, unread.offset, "too_long", too_long(max_record_bytes), beginning(data)
                )
                _pass_over(unread, delimiter)
        unread.go(unread.at + used)
        if block is not None:
            yield later(block, record)
            record += len(block.record) + len(block.refused)
        if unread.offset == before:
            if unread.ended:
                return
            unread.more()


def _pass_over(unread: Unread, delimiter: str) -> None:
    """Be done with a record that is too long to be held."""
    state = "cell"
    while True:
        end, state = end_of_record(unread.data[unread.at :], state, delimiter)
        unread.go(len(unread.data) if end is None else unread.at + end)
        if end is not None or not unread.more():
            return


def _record_end(data: bytes) -> int:
    """The end of the last whole record, as a guess: after a line break with an even number of quotes before it.

    A quote in the middle of an unquoted cell makes the guess wrong; then the last record is read again.
    """
    odd = data.count(b'"') % 2
    cut = len(data)
    while (end := data.rfind(b"\n", 0, cut) + 1) > 0:
        odd ^= data.count(b'"', end, cut) % 2
        if not odd:
            return end
        cut = end - 1
    return 0


def _header(data: bytes, where: str, delimiter: str, max_record_bytes: int) -> tuple[list[str], int]:
    """The names of the columns, and how many bytes the header takes."""
    text = io.StringIO(data[: max_record_bytes + 1].decode("utf-8", "replace"), newline="\n")
    reader = csv.reader(text, delimiter=delimiter)
    try:
        names = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise SourceError(
            where,
            f"the header line cannot be read, or lines end with CR alone ({error})",
            "write the file with LF or CRLF at the end of each line",
        ) from error
    copies = repeated(names)
    if len(names) > MAX_COLUMNS:
        raise SourceError(
            where, f"the header has {too_wide(len(names))}", "set ++sources.NAME.delimiter, or write fewer"
        )
    if copies or not any(names):
        what = f"the header names {listed(copies)} twice" if any(names) else "the file has no header line"
        raise SourceError(where, what, "give every column a name of its own in the first line")
    used = 0
    for _ in range(reader.line_num):
        used = data.find(b"\n", used) + 1 or len(data)
    if used > max_record_bytes + 1:
        raise _too_long_a_header(where, max_record_bytes)
    return names, used


def _too_long_a_header(where: str, max_record_bytes: int) -> SourceError:
    return SourceError(
        where,
        f"the header line has more than {max_record_bytes:,} bytes",
        "close its quotes, and end it with LF or CRLF",
    )


def _read(data: bytes, names: list[str], unread: Unread, delimiter: str, max_record_bytes: int) -> tuple[Block, int]:
    """The block, and how many bytes it took."""
    block = _fast(data, names, unread, delimiter, max_record_bytes)
    return (block, len(data)) if block else _one_by_one(data, names, unread, delimiter, max_record_bytes)


def _fast(data: bytes, names: list[str], unread: Unread, delimiter: str, max_record_bytes: int) -> Block | None:
    convert = pa_csv.ConvertOptions(column_types={name: pa.string() for name in names}, strings_can_be_null=False)
    parse = pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=False)
    read = pa_csv.ReadOptions(column_names=names, block_size=max(len(data), 1 << 10))
    try:
        _require_utf8(data)
        table = pa_csv.read_csv(pa.BufferReader(data), read_options=read, parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid:
        return None
    frame = pl.DataFrame(
        {name: pl.Series(pl.from_arrow(cells)) for name, cells in zip(names, table.columns, strict=True)}
    )
    breaks = frame.select(pl.sum_horizontal(pl.all().str.count_matches("\n", literal=True))).to_series()
    ends = np.cumsum(breaks.to_numpy(), dtype=np.int64)
    lines = np.arange(len(frame)) + np.append(0, ends[:-1])
    breaks = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    if len(frame) - 1 + ends[-1] + data.endswith(b"\n") != len(breaks) or _blank_rows(frame):
        return None
    starts = np.append(0, breaks + 1)[lines]
    if int(np.diff(starts, append=len(data) + (not data.endswith(b"\n"))).max()) - 1 > max_record_bytes:
        return None
    if not _closed(data, frame.item(-1, -1), delimiter):
        return None
    return Block(frame, np.arange(len(frame)), unread.line + lines, unread.offset + starts)


def _require_utf8(data: bytes) -> None:
    """Raises: ArrowInvalid. Arrow's reader looks at cells only, where a quote has gone from between two bytes."""
    ends = pa.py_buffer(np.array([0, len(data)], np.int64))
    pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(data)]).validate(full=True)


def _closed(data: bytes, last: str, delimiter: str) -> bool:
    """Whether the last cell stands at the end of the data without quotes or with both of them."""
    cell, end = last.encode(), data.rstrip(b"\r\n")
    quoted = b'"%b"' % cell.replace(b'"', b'""')
    return end == cell or end.endswith((delimiter.encode() + cell, b"\n" + cell, quoted))


def _blank_rows(frame: pl.DataFrame) -> bool:
    return bool(frame.select(pl.all_horizontal(pl.all() == "").any()).item())


def _one_by_one(
    data: bytes, names: list[str], unread: Unread, delimiter: str, max_record_bytes: int
) -> tuple[Block, int]:
    """The block row by row, and how many bytes it took: a record that does not end waits for what follows, as
    long as anything does."""
    lines = _Lines(data)
    reader = csv.reader(lines, delimiter=delimiter)
    rows: list[list[str]] = []
    found: list[tuple[int, int, int]] = []
    refused: list[Refused] = []
    cells: list[str] = []
    while True:
        start = lines.stream.tell()
        here = len(rows) + len(refused), unread.line + lines.count, unread.offset + start
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            bad = "bad_csv", str(error)
        else:
            if lines.ended and not unread.ended:
                return _block(rows, names, found, refused), start
            bad = ("bad_csv", "a quote is never closed") if lines.ended else _fault(cells, names)
        end = lines.stream.tell()
        if end - start - (data[end - 1 : end] == b"\n") > max_record_bytes:
            bad = "too_long", too_long(max_record_bytes)
        if bad:
            refused.append(Refused(*here, *bad, beginning(data[start:end])))
        elif cells:
            rows.append(cells)
            found.append(here)
    return _block(rows, names, found, refused), len(data)


def _block(rows: list[list[str]], names: list[str], found: list[tuple[int, int, int]], refused: list[Refused]) -> Block:
    frame = pl.DataFrame({name: pl.Series([row[k] for row in rows], dtype=pl.String) for k, name in enumerate(names)})
    return Block(frame, *places(found), refused=refused)


class _Lines:
    """Lines for `csv.reader`, which asks beyond the last one within a record only if a quote is open."""

    def __init__(self, data: bytes) -> None:
        self.stream = io.BytesIO(data)
        self.count, self.ended = 0, False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.stream.readline()
        if not line:
            self.ended = True
            raise StopIteration
        self.count += 1
        return line.decode("utf-8", "surrogateescape")


def _fault(cells: list[str], names: list[str]) -> tuple[str, str] | None:
    if cells and len(cells) != len(names):
        return "ragged_row", f"{len(cells)} cells, the header has {len(names)}"
    broken = next((error for cell in cells if (error := utf8_error(cell))), None)
    return ("bad_utf8", broken) if broken else None
