"""The first records of a file, and what its columns are."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from pipeline.errors import SourceError
from pipeline.sniff.content import Content
from pipeline.sources.block import Block
from pipeline.sources.files import RawFile
from pipeline.sources.read import read_files

_VALUES = 200  # of a column, looked at
_KINDS = {"[": "list", "{": "object", "t": "true or false", "f": "true or false", '"': "text"}


@dataclass(frozen=True)
class Column:
    """A column as found: `kind` is text, number, list, object …, `example` its first value (JSON if no text)."""

    name: str
    kind: str
    example: str


@dataclass(frozen=True)
class Sample:
    """The first records of one file: those that can be read, as blocks, and the others by reason.

    `whole`: there are no more. `named` finds a column by its name in lower case.
    """

    blocks: Sequence[Block]
    columns: Mapping[str, Column]
    unreadable: Mapping[str, int]
    whole: bool

    @property
    def records(self) -> int:
        """Records read, those that cannot be used among them."""
        return sum(len(block.record) for block in self.blocks) + sum(self.unreadable.values())

    @property
    def named(self) -> dict[str, str]:
        """Name in lower case → name. Of several the first one counts."""
        return {name.strip().casefold(): name for name in reversed(list(self.columns))}

    def values(self, name: str) -> list[Any]:
        """The first values of a column that are not null, decoded; text that holds a JSON list or object, too."""
        found: list[Any] = []
        for block in self.blocks:
            column = block.frame.get_column(name, default=None)
            if column is not None:
                texts = column.drop_nulls().head(_VALUES - len(found))
                found += [_value(text, name in block.json_columns) for text in texts]
        return found


def _value(text: str, is_json: bool) -> Any:
    if not is_json and text.lstrip()[:1] not in ("[", "{"):
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return text


def take_sample(file: RawFile, content: Content, records: int) -> Sample:
    """The first `records` records of a file. Raises: SourceError if it cannot be read, or has no records."""
    blocks: list[Block] = []
    whole = True
    for block in _blocks(file, content):
        kept = _first(block, records)
        blocks.append(kept)
        count = len(block.record) + len(block.refused)
        if len(kept.record) + len(kept.refused) < count:
            whole = False
            break
    sample = Sample(blocks, _columns(blocks), Counter(bad.reason for block in blocks for bad in block.refused), whole)
    if not sample.records:
        raise SourceError(file.name, "the file has no rows", "give a file with rows")
    if not any(len(block.record) for block in blocks):
        bad = next(bad for block in blocks for bad in block.refused)
        what = f"none of the first {sample.records:,} records can be read ({bad.reason}: {bad.detail})"
        raise SourceError(file.name, what, "write one array of JSON objects, one object a line, or a CSV with a header")
    return sample


def _blocks(file: RawFile, content: Content) -> Iterator[Block]:
    file = dataclasses.replace(file, format=content.format)
    for _, block in read_files("sniff", [file], content.delimiter, content.encoding):
        yield block


def _first(block: Block, records: int) -> Block:
    """The block without the records whose number is `records` or more."""
    count = int(np.searchsorted(block.record, records))
    refused = [bad for bad in block.refused if bad.record < records]
    places = (block.record[:count], block.line[:count], block.offset[:count])
    return Block(block.frame.head(count), *places, block.json_columns, refused)


def _columns(blocks: Sequence[Block]) -> dict[str, Column]:
    """The columns by name, in the order in which they appear."""
    kinds: dict[str, dict[str, None]] = {}
    examples: dict[str, str] = {}
    for block in blocks:
        for name, series in zip(block.frame.columns, block.frame.get_columns(), strict=True):
            seen = kinds.setdefault(name, {})
            texts = series.drop_nulls().head(_VALUES)
            if len(texts):
                examples.setdefault(name, texts[0])
                is_json = name in block.json_columns
                signs = texts.str.head(1).unique(maintain_order=True) if is_json else ['"']
                seen |= dict.fromkeys(_KINDS.get(sign, "number") for sign in signs)
    return {name: Column(name, " or ".join(seen) or "null", examples.get(name, "")) for name, seen in kinds.items()}
