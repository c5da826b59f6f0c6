"""Parquet and Arrow files are read in a process of their own, `python -m pipeline.sources.arrow_process`.

A few bytes of such a file may stand for more text than there is memory, and what reads them is written in C++: there
it may take so much memory and no more, and nothing else breaks with it.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.child import Child, EndedError, answer, answer_bytes, confine, first_line
from pipeline.errors import SourceError
from pipeline.sources.arrow_rows import read_arrow
from pipeline.sources.block import Block, Refused
from pipeline.sources.files import RawFile

_MEMORY_BYTES = 4 << 30
# For one block: a large row group on a slow disk takes a while.
_ANSWER_SECONDS = 300.0
# Memory is taken as it is needed, and soon given back: Arrow's own pool and more arenas reserve much of it.
_ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "_RJEM_MALLOC_CONF": "narenas:1,dirty_decay_ms:500,muzzy_decay_ms:0",
    "POLARS_MAX_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_idle: list[Child] = []


def read_confined(file: RawFile, where: str, max_record_bytes: int) -> Iterator[Block]:
    """The blocks of `read_arrow`. Raises: SourceError, too, if the file takes more time or memory than it may."""
    named = (str(file.path.absolute()), file.name, file.format, file.compression)
    question: dict[str, Any] = {"file": named, "where": where, "most": max_record_bytes}
    process = _idle.pop() if _idle else Child("pipeline.sources.arrow_process", {"memory": _MEMORY_BYTES}, _ENVIRONMENT)
    is_idle = False
    try:
        while (said := process.ask(question, _ANSWER_SECONDS)) is not None and "error" not in said:
            block = _block(said, process.ask_bytes(None, _ANSWER_SECONDS))
            is_idle = bool(question)  # after the first block it waits, after others it makes the next one
            yield block
            is_idle, question = False, {}
        is_idle = True
        if said is not None:
            raise SourceError(*said["error"])
    except EndedError as error:
        limits = f"{_MEMORY_BYTES >> 30} GiB of memory and {_ANSWER_SECONDS:g} seconds for a batch"
        raise SourceError(
            f"{where}, {file.name}",
            f"cannot be read within {limits} ({error})",
            "write it again with fewer rows in a row group or batch",
        ) from error
    finally:
        if is_idle:
            _idle.append(process)
        else:
            process.close()


def end_idle() -> None:
    """End those that have nothing to do: they keep memory."""
    while _idle:
        _idle.pop().close()


def _block(said: dict[str, Any], data: bytes) -> Block:
    record = np.array(said["record"], np.int64)
    nowhere = np.zeros(len(record), np.int64)
    refused = [Refused(**bad) for bad in said["refused"]]
    return Block(pl.read_ipc_stream(data), record, nowhere, nowhere - 1, frozenset(said["json_columns"]), refused)


def _next(blocks: Iterator[Block]) -> list[Any]:
    """What is said of the next block, and its rows, for `_block` to put together; or of an error; or of the end."""
    try:
        block = next(blocks, None)
    except SourceError as error:
        return [{"error": [error.where, error.what, error.fix]}]
    if block is None:
        return [None]
    refused = [asdict(bad) for bad in block.refused]
    rows = io.BytesIO()
    block.frame.write_ipc_stream(rows, compat_level=pl.CompatLevel.oldest())  # texts of these rows, and no others
    about = {"record": block.record.tolist(), "json_columns": sorted(block.json_columns), "refused": refused}
    return [about, rows.getbuffer()]


def main() -> None:
    """Answer each question with the next block, of the file that it names, or else of the one before.

    While a block is being used, the next one is made, but for the first: who looks what a file is needs no more.
    Running out of memory ends the process.
    """
    confine(first_line()["memory"], threads=True)
    blocks: Iterator[Block] = iter(())
    ready: list[Any] = []
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        if asked:
            path, *named = asked["file"]
            blocks, ready = read_arrow(RawFile(Path(path), *named), asked["where"], asked["most"]), []
        about, *rows = ready or _next(blocks)
        answer(about)
        for data in rows:
            answer_bytes(data)
        ready = [] if asked else _next(blocks)


if __name__ == "__main__":
    main()
