"""Writing a bundle: rows gathered from the pools into Arrow and JSONL, and its card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.arrow import integers
from pipeline.folder import DATA, Folder
from pipeline.inputs import Inputs
from pipeline.keys import ContentDigest, text_bytes
from pipeline.mix.plan import Plan
from pipeline.places import Places, Rows, batches
from pipeline.pool import Pool
from pipeline.schema import BUNDLE, bundle_schema
from pipeline.selection import Selection
from pipeline.store import open_table
from pipeline.tokens.cutting import EncodedRows

if TYPE_CHECKING:
    from pipeline.manifest import Bundle

JSONL = {"train": "train.jsonl", "validation": "val.jsonl"}
# Rows gathered at once: some megabytes of ordinary chat.
_BATCH_ROWS = 1 << 13


@dataclass(frozen=True)
class Outcome:
    """What the stages decided, ready to be written.

    `sets` are the pools of the evaluation sets; `selection` says what left before the split; `unique` has `at`,
    `source`, `key`, `prompt_key` and `fate` (train, validation, prompt_in_validation) of every other row; `train`
    and `validation` have `at` and `epoch` in their written order.
    """

    pools: Sequence[Pool]
    sets: Sequence[Pool]
    rows: Rows
    selection: Selection
    unique: pl.DataFrame
    plan: Plan
    train: pl.DataFrame
    validation: pl.DataFrame
    warnings: Sequence[str]
    inputs: Inputs
    encoded: EncodedRows | None = None  # of all pools, where the build has a tokenizer
    earlier: Bundle | None = None  # whose validation split is reused, where one is

    @property
    def refused(self) -> pl.DataFrame:
        """`at`, `source`, `reason`, `detail` of the rows that are refused after the pools were made."""
        leaked = self.unique.filter(pl.col("fate") == "prompt_in_validation").select(
            "at",
            "source",
            pl.lit("prompt_in_validation").alias("reason"),
            pl.lit("the reused validation split has this prompt").alias("detail"),
        )
        return pl.concat([self.selection.refused, leaked])


def write_split(target: Folder, name: str, rows: Rows, order: pl.DataFrame) -> str:
    """Write one split, `train` or `validation`, as Arrow and as JSONL; returns its content digest.

    In: `order` with `at` and `epoch`, one line a row. Arrow and JSONL are written by a thread each, batch by
    batch, so memory does not grow with the split.
    """
    at = order["at"].to_numpy().astype(np.int64)
    epoch = order["epoch"].to_numpy()
    with ThreadPoolExecutor(1) as other:
        jsonl = other.submit(_write_jsonl, target, JSONL[name], rows.lines, at)
        digest = ContentDigest()
        schema = bundle_schema(rows.texts is not None)
        with target.dataset(name, schema) as writer:
            for start in range(0, len(at), _BATCH_ROWS):
                batch = rows.rows.gather(at[start : start + _BATCH_ROWS])
                batch = batch.append_column("epoch", integers(epoch[start : start + _BATCH_ROWS]))
                digest.update(pl.DataFrame(pl.from_arrow(batch.select(["id", "key", "epoch"]))))
                if rows.texts is not None:
                    rendered = rows.texts.gather(at[start : start + _BATCH_ROWS])
                    batch = pa.record_batch(
                        [*batch.columns, *rendered.columns], names=[*batch.schema.names, *rendered.schema.names]
                    )
                writer.write_batch(batch.cast(schema))
        jsonl.result()
    return digest.hexdigest()


def _write_jsonl(target: Folder, name: str, lines: Places, at: np.ndarray) -> None:
    with target.open(name) as stream:
        for start in range(0, len(at), _BATCH_ROWS):
            stream.write(text_bytes(lines.gather(at[start : start + _BATCH_ROWS]).column(0)))


def copy_split(
    target: Folder,
    name: str,
    bundle: Path,
    render: Callable[[Sequence[pa.RecordBatch]], Sequence[pa.RecordBatch]] | None,
) -> None:
    """The split of another bundle: the same rows and JSONL, rendered by `render`, or not at all."""
    schema = bundle_schema(render is not None)
    parts = batches(open_table(bundle / name / DATA).select(BUNDLE.names))
    texts = render(parts) if render is not None else [None] * len(parts)
    with target.dataset(name, schema) as writer:
        for part, text in zip(parts, texts, strict=True):
            columns = [*part.columns, *(text.columns if text is not None else [])]
            writer.write_batch(pa.record_batch(columns, names=schema.names).cast(schema))
    with target.open(JSONL[name]) as stream, (bundle / JSONL[name]).open("rb") as source:
        while chunk := source.read(8 << 20):
            stream.write(chunk)
