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

from pipeline.errors import SourceError
from pipeline.sources.block import BLOCK_BYTES, MAX_RECORD_BYTES, Block, Refused, beginning, utf8_error

csv.field_size_limit(MAX_RECORD_BYTES)


def read_csv(stream: BinaryIO, where: str, delimiter: str) -> Iterator[Block]:
    """Blocks of a file with a header line. Rows of another length than the header are `ragged_row`.

    Raises: SourceError if the header names a column twice or is empty.
    """
    names: list[str] | None = None
    record, line, rest = 0, 1, b""
    chunk = stream.read(BLOCK_BYTES).removeprefix(b"\xef\xbb\xbf")
    while chunk or rest:
        data = rest + chunk
        cut = _record_end(data) if chunk else len(data)
        body = data[:cut]
        if cut and names is None:
            names, used = _header(body, where, delimiter)
            line += body.count(b"\n", 0, used)
            body = body[used:]
        if body and names is not None:
            block, used = _fast(body, names, record, line, delimiter), len(body)
            if block is None:
                block, used = _one_by_one(body, names, record, line, delimiter, last=not chunk)
            yield block
            record += len(block.record) + len(block.refused)
            line += body.count(b"\n", 0, used)
            cut -= len(body) - used
        rest = data[cut:]
        chunk = stream.read(BLOCK_BYTES) if chunk else b""


def _record_end(data: bytes) -> int:
    """The end of the last whole record, as a guess: after a line break with an even number of quotes before it.

    A quote in the middle of an unquoted cell makes the guess wrong; then the last record is read again. Where
    quotes are so broken that there is no such place within a record's longest length: the last line break.
    """
    odd = data.count(b'"') % 2
    cut = len(data)
    while (end := data.rfind(b"\n", 0, cut) + 1) > 0:
        odd ^= data.count(b'"', end, cut) % 2
        if not odd:
            return end
        cut = end - 1
    return data.rfind(b"\n") + 1 if len(data) > MAX_RECORD_BYTES + BLOCK_BYTES else 0


def _header(data: bytes, where: str, delimiter: str) -> tuple[list[str], int]:
    text = io.StringIO(data[:MAX_RECORD_BYTES].decode("utf-8", "replace"), newline="\n")
    reader = csv.reader(text, delimiter=delimiter)
    try:
        names = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise SourceError(
            where,
            f"the header line cannot be read, or lines end with CR alone ({error})",
            "write the file with LF or CRLF at the end of each line",
        ) from error
    copies = sorted({name for name in names if names.count(name) > 1})
    if copies or not any(names):
        what = f"the header names {', '.join(copies)} twice" if any(names) else "the file has no header line"
        raise SourceError(where, what, "give every column a name of its own in the first line")
    used = 0
    for _ in range(reader.line_num):
        used = data.find(b"\n", used) + 1 or len(data)
    return names, used


def _fast(data: bytes, names: list[str], record: int, line: int, delimiter: str) -> Block | None:
    convert = pa_csv.ConvertOptions(column_types={name: pa.string() for name in names}, strings_can_be_null=False)
    parse = pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=False)
    read = pa_csv.ReadOptions(column_names=names, block_size=max(len(data), 1 << 10))
    try:
        table = pa_csv.read_csv(pa.BufferReader(data), read_options=read, parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid:
        return None
    frame = pl.DataFrame(
        {name: pl.Series(pl.from_arrow(cells)) for name, cells in zip(names, table.columns, strict=True)}
    )
    breaks = frame.select(pl.sum_horizontal(pl.all().str.count_matches("\n", literal=True))).to_series()
    ends = np.cumsum(breaks.to_numpy(), dtype=np.int64)
    lines = line + np.arange(len(frame)) + np.append(0, ends[:-1])
    if line + len(frame) - 1 + ends[-1] + data.endswith(b"\n") != line + data.count(b"\n") or _blank_rows(frame):
        return None
    if not _closed(data, frame.item(-1, -1), delimiter):
        return None
    return Block(frame, np.arange(record, record + len(frame)), lines)


def _closed(data: bytes, last: str, delimiter: str) -> bool:
    """Whether the last cell stands at the end of the data without quotes or with both of them."""
    cell, end = last.encode(), data.rstrip(b"\r\n")
    quoted = b'"%b"' % cell.replace(b'"', b'""')
    return end == cell or end.endswith((delimiter.encode() + cell, b"\n" + cell, quoted))


def _blank_rows(frame: pl.DataFrame) -> bool:
    return bool(frame.select(pl.all_horizontal(pl.all() == "").any()).item())


def _one_by_one(data: bytes, names: list[str], record: int, line: int, delimiter: str, last: bool) -> tuple[Block, int]:
    """The block row by row, and how many bytes it took: a record that does not end waits for what follows,
    unless this is the `last` block."""
    lines = _Lines(data)
    used = len(data)
    reader = csv.reader(lines, delimiter=delimiter)
    rows: list[list[str]] = []
    places: list[tuple[int, int]] = []
    refused: list[Refused] = []
    while True:
        number, here = record + len(rows) + len(refused), line + lines.count
        lines.taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            bad = "bad_csv", str(error)
        else:
            if lines.ended and not last:
                used -= len("".join(lines.taken).encode("utf-8", "surrogateescape"))
                break
            bad = ("bad_csv", "a quote is never closed") if lines.ended else _fault(cells, names)
            if not bad and cells:
                rows.append(cells)
                places.append((number, here))
        if bad:
            shown = beginning("".join(lines.taken).encode("utf-8", "surrogateescape"))
            refused.append(Refused(number, here, *bad, shown))
    frame = pl.DataFrame({name: pl.Series([row[k] for row in rows], dtype=pl.String) for k, name in enumerate(names)})
    numbers = np.array(places, np.int64).reshape(-1, 2)
    return Block(frame, numbers[:, 0], numbers[:, 1], refused=refused), used


class _Lines:
    """Lines for `csv.reader`, which asks beyond the last one within a record only if a quote is open."""

    def __init__(self, data: bytes) -> None:
        self.lines = io.StringIO(data.decode("utf-8", "surrogateescape"), newline="\n")
        self.count, self.ended = 0, False
        self.taken: list[str] = []  # of the present record

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        text = self.lines.readline()
        if not text:
            self.ended = True
            raise StopIteration
        self.count += 1
        self.taken.append(text)
        return text


def _fault(cells: list[str], names: list[str]) -> tuple[str, str] | None:
    if cells and len(cells) != len(names):
        return "ragged_row", f"{len(cells)} cells, the header has {len(names)}"
    broken = next((error for cell in cells if (error := utf8_error(cell))), None)
    return ("bad_utf8", broken) if broken else None
