"""What is wrong with the `text` and `targets` of a written split, by themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.arrow import numbers
from pipeline.errors import SchemaError, StoreError
from pipeline.folder import DATA
from pipeline.places import batches
from pipeline.schema import RENDERED, bundle_schema, conform
from pipeline.store import open_table

_BATCH_ROWS = 1 << 15


def wrong_spans(folder: Path, split: str) -> list[str]:
    """A line for each fault. Memory: one batch of rows, and the ids with 8 bytes a row."""
    try:
        table = conform(open_table(folder / split / DATA), bundle_schema(rendered=True))
    except (SchemaError, StoreError) as error:
        return [f"{split}: {error}"]
    faults: list[str] = []
    seen = [pl.DataFrame(schema={"id": pl.String, "hash": pl.UInt64})]
    for batch in batches(table.select(["id", *RENDERED.names]), _BATCH_ROWS):
        frame = pl.DataFrame(pl.from_arrow(batch))
        for what, wrong in _of_batch(batch).items():
            faults += [f"{split} {row}: {what}" for row in frame["id"].filter(pl.Series(wrong))]
        seen.append(frame.select("id", frame.select(RENDERED.names).hash_rows().alias("hash")))
    repeats = pl.concat(seen).group_by("id").agg(pl.col("hash").n_unique()).filter(pl.col("hash") > 1)
    return faults + [f"{split} {row}: its repeats have other texts or targets" for row in repeats["id"].sort()]


def _of_batch(batch: pa.RecordBatch) -> dict[str, np.ndarray]:
    """Fault → which rows have it."""
    text = pl.Series(pl.from_arrow(batch.column("text")))
    lists = batch.column("targets")
    if lists.null_count:
        return {"its targets are null": np.asarray(lists.is_null())}
    starts, ends = (numbers(column).astype(np.int64) for column in lists.flatten().flatten())
    row = np.repeat(np.arange(len(text)), numbers(lists.value_lengths()))
    length = text.str.len_chars().fill_null(0).to_numpy().astype(np.int64)[row]
    near = (row[1:] == row[:-1]) & (starts[1:] <= ends[:-1])

    def rows(spans: np.ndarray) -> np.ndarray:
        return np.bincount(row[spans], minlength=len(text)) > 0

    return {
        "its text is empty": (text == "").fill_null(False).to_numpy(),
        "it has targets, but no text": rows(text.is_null().to_numpy()[row]),
        "a target is empty or not inside the text": rows((starts < 0) | (starts >= ends) | (ends > length)),
        "its targets are out of order, or touch": rows(np.append(False, near)[: len(row)]),
    }
