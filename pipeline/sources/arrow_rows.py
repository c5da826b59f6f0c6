"""Parquet and Arrow files: text stays text, everything else becomes its JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.errors import SourceError, listed
from pipeline.keys import json_text
from pipeline.sources.block import MAX_COLUMNS, Block, Refused, beginning, repeated, too_long, too_wide
from pipeline.sources.files import RawFile

_BATCH_ROWS, _BATCH_CELLS = 1 << 14, 1 << 22
_FILE_MARK = b"ARROW1"  # what an Arrow file begins with, and no stream
_NUMBER_BYTES = 8  # of an entry's number in a dictionary: four at most, and as much for what is around it
# Characters of a block: rows with long texts come in smaller ones.
_BLOCK_BYTES = 32 << 20
# What a compressed file may expand to where it must be held as a whole.
_MOST_BYTES = 1 << 30
# A panic is no Exception: a date too far away for Polars, say.
_UNREADABLE = (
    *(pa.ArrowException, OSError, UnicodeDecodeError, RecursionError),
    *(pl.exceptions.PolarsError, pl.exceptions.PanicException),
)


def read_arrow(file: RawFile, where: str, max_record_bytes: int) -> Iterator[Block]:
    """Blocks of a Parquet file, or of an Arrow file or stream. Raises: SourceError if it is neither, or has
    what Polars cannot read; MemoryError.

    Every batch is validated before it is used: what others wrote may point anywhere.
    """
    record = 0
    try:
        for batch in _batches(file):
            batch.validate(full=True)
            _require_names(batch.schema)
            _require_text(batch.schema, f"{where}, {file.name}")
            columns = {name: _as_text(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
            frame = pl.DataFrame({name: text for name, (text, _) in columns.items()})
            json_columns = frozenset(name for name, (_, is_json) in columns.items() if is_json)
            for part in _parts(frame):
                yield _bounded(part, record, json_columns, max_record_bytes)
                record += len(part)
    except MemoryError:  # Arrow's is an ArrowException, too
        raise
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SourceError(
            f"{where}, {file.name}",
            f"not a readable {file.format} file ({reason})",
            "write the file again, or take it out",
        ) from error


def _parts(frame: pl.DataFrame) -> Iterable[pl.DataFrame]:
    """The rows in their order, in parts of not much more than `_BLOCK_BYTES`: a few bytes of a file may stand for
    gigabytes of text, where one value is that of many rows."""
    ends = np.cumsum(_sizes(frame), dtype=np.int64)
    starts = np.flatnonzero(np.diff(ends // _BLOCK_BYTES, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(frame)], strict=False):
        yield frame[int(start) : int(end)]


def _sizes(frame: pl.DataFrame) -> np.ndarray:
    """The bytes of each row's values."""
    return frame.select(pl.sum_horizontal(pl.all().str.len_bytes())).to_series().fill_null(0).to_numpy()


def _bounded(frame: pl.DataFrame, record: int, json_columns: frozenset[str], max_record_bytes: int) -> Block:
    """The rows as a block, those that are too long refused."""
    good = _sizes(frame) <= max_record_bytes
    numbers, refused = np.arange(record, record + len(frame)), list[Refused]()
    for k in np.flatnonzero(~good).tolist():
        text = next((value for value in frame.row(k) if value), "")
        shown = beginning(text[:200].encode())
        refused.append(Refused(record + k, 0, -1, "too_long", too_long(max_record_bytes), shown))
    if refused:
        frame, numbers = frame.filter(pl.Series(good)), numbers[good]
    nowhere = np.zeros(len(numbers), np.int64)
    return Block(frame, numbers, nowhere, nowhere - 1, json_columns, refused)


def _batches(file: RawFile) -> Iterable[pa.RecordBatch]:
    with file.open() as stream:
        if file.format == "parquet":
            import pyarrow.parquet as pq

            source = _held(file, stream) if file.compression else str(file.path)
            about = pq.ParquetFile(source).metadata
            table = pq.ParquetFile(source, read_dictionary=_repeating(about))
            rows = min(_rows_at_once(len(table.schema_arrow)), _BLOCK_BYTES // (_row_bytes(about) or 1))
            yield from table.iter_batches(max(1, rows))
            return
        data = _held(file, stream) if file.compression else pa.OSFile(str(file.path))
        batches: Iterable[pa.RecordBatch]
        if data.read(len(_FILE_MARK)) == _FILE_MARK:
            reader = pa.ipc.open_file(data)
            batches = (reader.get_batch(k) for k in range(reader.num_record_batches))
        else:
            data.seek(0)
            batches = pa.ipc.open_stream(data)
        for batch in batches:
            rows = _rows_at_once(batch.num_columns)
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows)


def _row_bytes(about: Any) -> int:
    """Of a Parquet file: the bytes of a row, on average in the row group where that is the most."""
    groups = [about.row_group(k) for k in range(about.num_row_groups)]
    return max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)


def _repeating(about: Any) -> list[str]:
    """The columns of texts of a Parquet file that are little more than numbers of the texts in a dictionary.

    Read as such, a long text that thousands of rows have is held once.
    """
    found: set[str] = set()
    for k in range(about.num_row_groups):
        for n in range(about.num_columns):
            column, is_text = about.row_group(k).column(n), about.schema.column(n).logical_type.type == "STRING"
            if is_text and "." not in column.path_in_schema and column.has_dictionary_page:
                numbers = column.total_compressed_size - (column.data_page_offset - column.dictionary_page_offset)
                if numbers <= _NUMBER_BYTES * column.num_values:
                    found.add(column.path_in_schema)
    return sorted(found)


def _rows_at_once(columns: int) -> int:
    return max(1, min(_BATCH_ROWS, _BATCH_CELLS // max(1, columns)))


def _held(file: RawFile, stream: BinaryIO) -> pa.BufferReader:
    data = stream.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise SourceError(file.name, f"expands to more than {_MOST_BYTES >> 30} GiB", "decompress the file")
    return pa.BufferReader(data)


def _require_names(fields: Iterable[pa.Field]) -> None:
    """Raises: UnicodeDecodeError if a name within the columns is no UTF-8, which Arrow does not look at."""
    for field in fields:
        _ = field.name, getattr(field.type, "tz", None)
        _require_names(field.type.field(k) for k in range(field.type.num_fields))


def _require_text(schema: pa.Schema, where: str) -> None:
    """Raises: SourceError if two columns have one name, or if a column's type has no text."""
    copies = repeated(schema.names)
    if len(schema.names) > MAX_COLUMNS:
        raise SourceError(where, f"the file has {too_wide(len(schema.names))}", "write those that are needed")
    if copies:
        raise SourceError(where, f"the file names {listed(copies)} twice", "give every column a name of its own")
    for field in schema:
        if not _has_text(field.type):
            raise SourceError(
                where,
                f"column '{field.name}' is {field.type}, which has no text",
                "write the file without it, or as text",
            )


def _has_text(kind: pa.DataType) -> bool:
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _has_text(kind.storage_type)
    if types.is_dictionary(kind):
        return _has_text(kind.value_type)
    if (
        types.is_struct(kind)
        or types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_map(kind)
        or (types.is_fixed_size_list(kind))
    ):
        return all(_has_text(kind.field(k).type) for k in range(kind.num_fields))
    return any(
        is_kind(kind)
        for is_kind in (
            types.is_null,
            types.is_boolean,
            types.is_integer,
            types.is_floating,
            types.is_decimal128,
            types.is_date,
            types.is_time,
            types.is_timestamp,
            types.is_duration,
            types.is_string,
            types.is_large_string,
            types.is_string_view,
        )
    )


def _as_text(column: pa.Array) -> tuple[pl.Series, bool]:
    """The column as text, and whether that text is JSON. NaN and infinity, which JSON has not, are null."""
    if pa.types.is_dictionary(column.type):
        values, is_json = _as_text(column.dictionary)
        return values.gather(pl.Series(pl.from_arrow(column.indices))), is_json
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    series = pl.Series("_", pl.from_arrow(column))
    if series.dtype == pl.String:
        return series, False
    if series.dtype.is_integer():
        return series.cast(pl.String), True
    if series.dtype == pl.Null:
        return series.cast(pl.String), False
    encoded = json_text(pl.col("_"))
    return series.to_frame().select(pl.when(encoded != "null").then(encoded)).to_series(), True
