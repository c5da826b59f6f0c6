"""Raw files to blocks of records, whatever the format: the one place that opens raw data."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from pipeline.errors import SourceError
from pipeline.sources.arrow_rows import read_arrow
from pipeline.sources.block import Block
from pipeline.sources.csv_rows import read_csv
from pipeline.sources.files import RawFile
from pipeline.sources.json_rows import read_json

_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_files(source: str, files: Sequence[RawFile], delimiter: str | None = None) -> Iterator[tuple[str, Block]]:
    """(file name, block) over all files in their order, records numbered from 0 through the whole source.

    Raises: SourceError where a whole file cannot be read (a single bad record is in `Block.refused`).
    """
    first = 0
    for file in files:
        total = 0
        for block in _read(source, file, delimiter):
            total += len(block.record) + len(block.refused)
            yield file.name, _shifted(block, first)
        first += total


def read_literal(rows: Sequence[Any]) -> Iterator[tuple[str, Block]]:
    """The same for rows that stand in the configuration itself."""
    data = b"\n".join(msgspec.json.encode(row) for row in rows)
    for block in read_json(io.BytesIO(data)):
        yield "(configuration)", block


def _read(source: str, file: RawFile, delimiter: str | None) -> Iterator[Block]:
    where = f"source {source}"
    if file.format in ("parquet", "arrow"):
        yield from read_arrow(file, where)
        return
    try:
        with file.open() as stream:
            head = stream.read(2)
        if head in _UTF16:
            raise SourceError(f"{where}, {file.name}", "the file is UTF-16", "write it as UTF-8 (iconv -t UTF-8)")
        with file.open() as stream:
            if file.format == "csv":
                tabs = ".tsv" in (suffix.lower() for suffix in file.path.suffixes)
                separator = delimiter or ("\t" if tabs else ",")
                yield from read_csv(stream, f"{where}, {file.name}", separator)
            else:
                yield from read_json(stream)
    except OSError as error:
        raise SourceError(f"{where}, {file.name}", f"cannot be read ({error})", "mend or replace the file") from error


def _shifted(block: Block, first: int) -> Block:
    if first == 0:
        return block
    refused = [dataclasses.replace(bad, record=bad.record + first) for bad in block.refused]
    return dataclasses.replace(block, record=block.record + first, refused=refused)
