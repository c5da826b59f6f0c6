"""What every reader of raw files yields: blocks of records, and the records that could not be read."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import polars as pl

from pipeline.memory import budget

# A block is what is parsed at once: large enough to be fast, small enough for the memory there is.
BLOCK_BYTES = budget().block
# What of a file is looked at to tell what it is.
HEAD_BYTES = 4 << 20
# What `normalize.max_record_bytes` is in conf/build.yaml, for those who read files without a build.
MAX_RECORD_BYTES = 16 << 20
# Wider records and tables are refused.
MAX_COLUMNS = 4096
# Rows times columns of a block: where each record has keys of its own, blocks have fewer rows.
MAX_CELLS = 1 << 18


class BadRecordError(Exception):
    """A record that cannot be read: a snake_case reason and what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Refused:
    """A record kept out: its number in the file from 0, its line from 1 (0: none), the byte of the decompressed
    file (or of its UTF-8, where it has another encoding) at which it begins (-1: none), why, and its beginning."""

    record: int
    line: int
    offset: int
    reason: str
    detail: str
    text: str


@dataclass(frozen=True)
class Block:
    """Records of one file, as text columns.

    A column holds plain text, or, where it is named in `json_columns`, the JSON text of each value exactly
    as it stood (so `1.50` and integers of any length survive). Null: the record has no such value.
    `record`, `line` and `offset` say where the rows of `frame` are, as in `Refused`.
    """

    frame: pl.DataFrame
    record: np.ndarray
    line: np.ndarray
    offset: np.ndarray
    json_columns: frozenset[str] = frozenset()
    refused: Sequence[Refused] = field(default_factory=tuple)


def later(block: Block, first: int) -> Block:
    """The same block with `first` records before it."""
    if first == 0:
        return block
    refused = [dataclasses.replace(bad, record=bad.record + first) for bad in block.refused]
    return dataclasses.replace(block, record=block.record + first, refused=refused)


def too_long(max_record_bytes: int) -> str:
    """What is said of a record that has more bytes than that."""
    return f"a record of more than {max_record_bytes:,} bytes"


def too_wide(columns: int) -> str:
    """What is said of so many columns."""
    return f"{columns:,} columns, at most {MAX_COLUMNS:,} can be used"


def repeated(names: Iterable[str]) -> list[str]:
    """The names that stand more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def beginning(data: bytes) -> str:
    """The first 200 characters of a record, for the quarantine file."""
    return data[:800].decode("utf-8", "replace").strip()[:200]


def block_of(rows: Sequence[tuple[int, int, int, dict[str, bytes]]], refused: Sequence[Refused]) -> Block:
    """A block from records read one by one: (record, line, offset, JSON text of each value)."""
    names = list(dict.fromkeys(name for *_, values in rows for name in values))
    columns: dict[str, pl.Series] = {}
    json_columns: set[str] = set()
    for name in names:
        texts = [values.get(name) for *_, values in rows]
        present = [text for text in texts if text is not None and text != b"null"]
        if all(text[:1] == b'"' for text in present):
            columns[name] = pl.Series(name, [_plain(text) for text in texts], dtype=pl.String)
        else:
            columns[name] = pl.Series(name, [_canonical(text) for text in texts], dtype=pl.String)
            json_columns.add(name)
    frame = pl.DataFrame(columns or None, height=len(rows))
    return Block(frame, *places([row[:3] for row in rows]), frozenset(json_columns), refused)


def refused_alone(line: int, offset: int, reason: str, detail: str, text: str) -> list[Block]:
    """One record that is refused, in a block of its own."""
    return [block_of([], [Refused(0, line, offset, reason, detail, text)])]


def places(found: Sequence[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`record`, `line` and `offset` of a block, from (record, line, offset) of each row."""
    numbers = np.array(found, np.int64).reshape(-1, 3)
    return numbers[:, 0], numbers[:, 1], numbers[:, 2]


def _plain(text: bytes | None) -> str | None:
    return None if text is None else msgspec.json.decode(text, type=str | None)


def _canonical(text: bytes | None) -> str | None:
    """JSON text without white space between its parts; strings in one spelling, numbers as they stand."""
    if text is None or text == b"null":
        return None
    if text[:1] == b'"':
        return msgspec.json.encode(msgspec.json.decode(text)).decode()
    return msgspec.json.format(text, indent=-1).decode() if text[:1] in b"[{" else text.decode()


def utf8_error(text: str) -> str | None:
    """What is wrong with text that was decoded with `surrogateescape`, or None."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"byte 0x{ord(text[error.start]) & 0xFF:02x} is not UTF-8"
    return None
