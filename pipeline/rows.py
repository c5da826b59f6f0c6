"""Rows in their three forms: flat frames, the Arrow columns of a pool, and JSONL lines."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.arrow import integers, numbers
from pipeline.keys import canonical, json_text, quoted
from pipeline.schema import MESSAGE, POOL, TURN_COLUMNS
from pipeline.sources.drafts import Drafts


def pool_rows(drafts: Drafts, source: str, tags: list[str], numbers: np.ndarray) -> tuple[pa.RecordBatch, pa.Array]:
    """Normalized rows with the columns of `POOL`, and their JSONL lines (large strings).

    `numbers` gives the number in the raw source of each row of the block; `tags` go before a row's own.
    """
    rows, turns = drafts.rows, drafts.turns
    offsets = _offsets(turns["i"].to_numpy())
    keys = canonical(turns, offsets, rows["tools"])
    named = rows.select(
        pl.concat_str(pl.lit(f"{source}:"), pl.Series(numbers[rows["i"].to_numpy()]).cast(pl.String)).alias("id"),
        pl.lit(source).alias("source"),
        pl.concat_list(pl.lit(tags, pl.List(pl.String)), pl.col("tags").fill_null([]))
        .list.unique(maintain_order=True)
        .alias("tags"),
        "tools",
        "answer",
        "meta",
        keys["canonical"],
        keys["key"],
        keys["prompt_key"],
    )
    columns = [
        messages_array(turns, offsets) if field.name == "messages" else arrow(named[field.name], field.type)
        for field in POOL
    ]
    return pa.record_batch(columns, schema=POOL), jsonl_lines(named)


def jsonl_lines(rows: pl.DataFrame) -> pa.LargeStringArray:
    """Each row as it stands in a bundle's JSONL, line break included: no nulls, tool calls as objects.

    In: `id`, `source`, `tags` and `canonical` (the canonical JSON of `pipeline.keys`).
    """
    tags = json_text(pl.col("tags"))
    lines = rows.select(
        pl.concat_str(
            pl.lit('{"id":'),
            quoted(pl.col("id")),
            pl.lit(',"source":'),
            quoted(pl.col("source")),
            pl.lit(',"tags":'),
            tags,
            pl.lit(","),
            pl.col("canonical").str.strip_prefix("{"),
            pl.lit("\n"),
        )
    )
    return lines.to_series().to_arrow().cast(pa.large_string())


def messages_array(turns: pl.DataFrame, offsets: np.ndarray) -> pa.ListArray:
    """Flat turns as the `messages` column; row *k* is turns[offsets[k]:offsets[k+1]]."""
    fields = [arrow(turns[field.name], field.type) for field in MESSAGE]
    bounds = integers(offsets.astype(np.int32))
    return pa.ListArray.from_arrays(bounds, pa.StructArray.from_arrays(fields, fields=list(MESSAGE)))


def flat_turns(messages: pa.ChunkedArray) -> tuple[pl.DataFrame, np.ndarray]:
    """The inverse of `messages_array`: TURN_COLUMNS and the offsets (int64, rows + 1)."""
    lists = messages.combine_chunks()
    lengths = numbers(lists.value_lengths())
    fields = dict(zip((field.name for field in MESSAGE), lists.flatten().flatten(), strict=True))
    plain = {name: array.storage if isinstance(array, pa.ExtensionArray) else array for name, array in fields.items()}
    turns = pl.DataFrame(
        {"i": np.repeat(np.arange(len(lists), dtype=np.uint32), lengths)}
        | {name: pl.Series(pl.from_arrow(array)) for name, array in plain.items()}
    )
    return turns.select(*TURN_COLUMNS).cast(TURN_COLUMNS), np.append(0, np.cumsum(lengths)).astype(np.int64)


def arrow(column: pl.Series, kind: pa.DataType) -> pa.Array:
    """A Polars column as an Arrow array of this type (Polars' large strings and lists are cast)."""
    if column.null_count() == len(column):
        return pa.nulls(len(column), kind)
    return column.to_arrow().cast(kind)


def _offsets(rows: np.ndarray) -> np.ndarray:
    """Where each row's turns begin, and the end (int64); `rows` numbers the turns' rows, ascending."""
    starts = np.flatnonzero(np.diff(rows.astype(np.int64), prepend=-1))
    return np.append(starts, len(rows)).astype(np.int64)
