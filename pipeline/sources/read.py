"""Raw files to blocks of records, whatever the format: the one place that opens raw data."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from pipeline.errors import SourceError
from pipeline.sources.arrow_process import read_confined
from pipeline.sources.block import HEAD_BYTES, MAX_RECORD_BYTES, Block, later
from pipeline.sources.csv_rows import read_csv
from pipeline.sources.encodings import seems_to_be, transcoded
from pipeline.sources.files import RawFile
from pipeline.sources.json_rows import read_json


def read_files(
    source: str,
    files: Sequence[RawFile],
    delimiter: str | None = None,
    encoding: str | None = None,
    max_record_bytes: int = MAX_RECORD_BYTES,
) -> Iterator[tuple[str, Block]]:
    """(file name, block) over all files in their order, records numbered from 0 through the whole source.

    Raises: SourceError where a whole file cannot be read (a single bad record is in `Block.refused`).
    """
    first = 0
    for file in files:
        total = 0
        for block in _read(source, file, delimiter, encoding, max_record_bytes):
            total += len(block.record) + len(block.refused)
            yield file.name, later(block, first)
        first += total


def read_literal(rows: Sequence[Any], max_record_bytes: int = MAX_RECORD_BYTES) -> Iterator[tuple[str, Block]]:
    """The same for rows that stand in the configuration itself."""
    data = b"\n".join(msgspec.json.encode(row) for row in rows)
    for block in read_json(io.BytesIO(data), max_record_bytes):
        yield "(configuration)", block


def _read(
    source: str, file: RawFile, delimiter: str | None, encoding: str | None, max_record_bytes: int
) -> Iterator[Block]:
    where = f"source {source}"
    if file.format in ("parquet", "arrow"):
        yield from read_confined(file, where, max_record_bytes)
        return
    where = f"{where}, {file.name}"
    try:
        if encoding is None:
            with file.open() as stream:
                found = seems_to_be(stream.read(HEAD_BYTES))
            if found:
                raise SourceError(
                    where, f"the file seems to be {found.upper()}", f"set ++sources.{source}.encoding={found}"
                )
        with file.open() as raw:
            stream = transcoded(raw, encoding) if encoding not in (None, "utf-8") else raw
            if file.format == "csv":
                yield from read_csv(stream, where, delimiter or file.delimiter, max_record_bytes)
            else:
                yield from read_json(stream, max_record_bytes)
    except OSError as error:
        raise SourceError(where, f"cannot be read ({error})", "mend or replace the file") from error
