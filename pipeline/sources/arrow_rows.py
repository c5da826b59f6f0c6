"""Parquet and Arrow files: text stays text, everything else becomes its JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import SourceError
from pipeline.sources.block import Block
from pipeline.sources.files import RawFile

_BATCH_ROWS = 1 << 14


def read_arrow(file: RawFile, where: str) -> Iterator[Block]:
    """Blocks of a Parquet file, or of an Arrow file or stream. Raises: SourceError if it is neither."""
    record = 0
    try:
        for batch in _batches(file):
            batch.validate(full=True)
            columns = [_as_text(name, column) for name, column in zip(batch.schema.names, batch.columns, strict=True)]
            frame = pl.DataFrame([text for text, _ in columns])
            json_columns = frozenset(text.name for text, is_json in columns if is_json)
            numbers = np.arange(record, record + len(frame))
            yield Block(frame, numbers, np.zeros(len(frame), np.int64), json_columns)
            record += len(frame)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise SourceError(f"{where}, {file.name}", f"not a readable {file.format} file ({error})",
                          "write the file again, or take it out") from error


def _batches(file: RawFile) -> Iterable[pa.RecordBatch]:
    with file.open() as stream:
        if file.format == "parquet":
            source = pa.BufferReader(stream.read()) if file.compression else str(file.path)
            yield from pq.ParquetFile(source).iter_batches(_BATCH_ROWS)
            return
        data = pa.BufferReader(stream.read()) if file.compression else pa.memory_map(str(file.path))
        try:
            batches: Iterable[pa.RecordBatch] = pa.ipc.open_stream(data)
        except pa.ArrowInvalid:
            data.seek(0)
            reader = pa.ipc.open_file(data)
            batches = (reader.get_batch(k) for k in range(reader.num_record_batches))
        for batch in batches:
            for start in range(0, batch.num_rows, _BATCH_ROWS):
                yield batch.slice(start, _BATCH_ROWS)


def _as_text(name: str, column: pa.Array) -> tuple[pl.Series, bool]:
    """The column as text, and whether that text is JSON."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    series = pl.Series(name, pl.from_arrow(column))
    if series.dtype == pl.String:
        return series, False
    if series.dtype.is_integer():
        return series.cast(pl.String), True
    if series.dtype == pl.Null:
        return series.cast(pl.String), False
    encoded = pl.struct(series.alias("_")).struct.json_encode().str.strip_prefix('{"_":').str.strip_suffix("}")
    return series.to_frame().select(pl.when(series.is_not_null()).then(encoded).alias(name)).to_series(), True


