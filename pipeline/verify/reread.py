"""One pass over a written split, which makes keys, digest and JSONL anew from its messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import xxhash

from pipeline.folder import DATA
from pipeline.keys import ContentDigest, canonical, text_bytes
from pipeline.normalize import normalize
from pipeline.rows import flat_turns, jsonl_lines
from pipeline.schema import BUNDLE, ROW_COLUMNS, conform
from pipeline.sources.drafts import REFUSAL, Drafts
from pipeline.store import open_table

_SLICE = 1 << 15


@dataclass
class Reread:
    """What one pass over a split collects. `frame` has the small columns of all rows."""

    frame: pl.DataFrame
    digest: str
    jsonl: str
    wrong_keys: list[str] = field(default_factory=list[str])
    wrong_rows: list[str] = field(default_factory=list[str])


def reread(folder: Path, name: str) -> Reread:
    """One pass over a split: rebuild keys and JSONL lines from its messages and compare."""
    table = conform(open_table(folder / name / DATA), BUNDLE)
    digest, jsonl = ContentDigest(), xxhash.xxh3_128()
    split = Reread(pl.DataFrame(), "", "")
    frames: list[pl.DataFrame] = []
    for start in range(0, table.num_rows, _SLICE):
        part = table.slice(start, _SLICE)
        frame = _plain(part, ["id", "source", "tags", "tools", "key", "prompt_key", "epoch"])
        turns, offsets = flat_turns(part["messages"])
        frame = frame.hstack(
            canonical(turns, offsets, frame["tools"]).rename({"key": "own", "prompt_key": "own_prompt"})
        )
        wrong = frame.filter((pl.col("key") != pl.col("own")) | (pl.col("prompt_key") != pl.col("own_prompt")))
        split.wrong_keys += [f"{name} {row}: other keys than its messages have" for row in wrong["id"]]
        split.wrong_rows += [f"{name} {fault}" for fault in _not_normalized(frame, turns)]
        digest.update(frame)
        jsonl.update(text_bytes(jsonl_lines(frame)))
        frames.append(frame.select("id", "source", "key", "prompt_key", "epoch"))
    empty = pl.DataFrame(
        schema={"id": pl.String, "source": pl.String, "key": pl.String, "prompt_key": pl.String, "epoch": pl.Int32}
    )
    split.frame = pl.concat([empty, *frames])
    split.digest, split.jsonl = digest.hexdigest(), jsonl.hexdigest()
    return split


def _plain(table: pa.Table, columns: list[str]) -> pl.DataFrame:
    """Columns of a bundle in Polars, JSON as its text."""
    plain = [
        table[name].cast(pa.string())
        if isinstance(table.schema.field(name).type, pa.BaseExtensionType)
        else table[name]
        for name in columns
    ]
    return pl.DataFrame(pl.from_arrow(pa.table(plain, names=columns)))


def _not_normalized(frame: pl.DataFrame, turns: pl.DataFrame) -> list[str]:
    """Normalizing what is normalized must change nothing."""
    rows = pl.DataFrame({"i": np.arange(len(frame), dtype=np.uint32)}).with_columns(
        pl.lit(None, kind).alias(name) for name, kind in ROW_COLUMNS.items() if name != "i"
    )
    again = normalize(Drafts(turns, rows, pl.DataFrame(schema=REFUSAL)), max_chars=2**62)
    faults = [f"{frame['id'][i]}: {reason}" for i, reason, _ in again.refused.iter_rows()]
    if not faults and not again.turns.equals(turns):
        differs = (
            turns.with_row_index().filter(
                pl.struct(turns.columns).ne_missing(pl.struct(*(again.turns[column] for column in turns.columns)))
            )
            if len(again.turns) == len(turns)
            else turns.head(1)
        )
        faults = [f"{frame['id'][differs['i'][0]]}: its text is not clean"]
    return faults
