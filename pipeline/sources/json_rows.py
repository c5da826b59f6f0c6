"""JSON lines and JSON arrays, read exactly, a block at a time: memory holds some blocks and one record."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import BinaryIO

import numpy as np

from pipeline.sources.block import BLOCK_BYTES, Block, beginning, later, refused_alone, too_long
from pipeline.sources.files import chunks
from pipeline.sources.json_array import Work, array_work
from pipeline.sources.json_block import of_lines
from pipeline.workers import in_order

BOM = b"\xef\xbb\xbf"


def read_json(stream: BinaryIO, max_record_bytes: int) -> Iterator[Block]:
    """Blocks of a file that holds either one array of objects or one object a line.

    Finding where records end is done here, reading them in as many threads as Polars has.
    """
    pieces = chunks(stream, BLOCK_BYTES)
    head, line, offset = next(pieces, b""), 1, 0
    if head.startswith(BOM):
        head, offset = head[len(BOM) :], len(BOM)
    while head and not head.strip():
        line, offset = line + head.count(b"\n"), offset + len(head)
        head = next(pieces, b"")
    work = array_work if head.lstrip()[:1] == b"[" else _line_work
    record = 0
    for blocks in in_order(_done, work(chain([head], pieces), line, offset, max_record_bytes)):
        for block in blocks:
            yield later(block, record)
        record += sum(len(block.record) + len(block.refused) for block in blocks)


def _done(work: Work) -> list[Block]:
    return work()


def _line_work(pieces: Iterator[bytes], line: int, offset: int, max_record_bytes: int) -> Iterator[Work]:
    """What there is to do for each block of lines. A line that is too long is passed over as it streams by."""
    rest, skipping = b"", False
    for piece in pieces:
        start, cut = 0, piece.rfind(b"\n") + 1
        if skipping:
            start = piece.find(b"\n") + 1
            skipping, line, offset = not start, line + bool(start), offset + (start or len(piece))
            if skipping:
                continue
        if cut > start or (rest and cut):
            data = b"".join((rest, memoryview(piece)[start:cut]))
            ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
            yield partial(of_lines, data, ends, line, offset, max_record_bytes)
            line, offset, rest = line + len(ends), offset + len(data), b""
        rest += piece[max(start, cut) :]
        if len(rest) > max_record_bytes:
            yield partial(refused_alone, line, offset, "too_long", too_long(max_record_bytes), beginning(rest))
            offset, rest, skipping = offset + len(rest), b"", True
    if rest:
        yield partial(of_lines, rest, np.array([len(rest)]), line, offset, max_record_bytes)
