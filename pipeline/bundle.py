"""Writing a bundle: rows gathered from the pools into Arrow and JSONL, and its card."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.folder import Folder
from pipeline.keys import ContentDigest, text_bytes
from pipeline.mix.strategies import Plan
from pipeline.pool import Pool
from pipeline.schema import BUNDLE

JSONL = {"train": "train.jsonl", "validation": "val.jsonl"}
# Rows gathered at once: some megabytes of ordinary chat.
_BATCH_ROWS = 1 << 13


class Places:
    """Record batches end to end, from which rows are gathered by their place."""

    def __init__(self, tables: Sequence[pa.Table]) -> None:
        self.schema = tables[0].schema
        self._batches = [batch for table in tables for batch in table.to_batches()]
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])

    def gather(self, at: np.ndarray) -> pa.RecordBatch:
        """The rows at these places, in this order.

        Batch by batch: taking from the whole table would first copy all of its nested columns into one piece.
        """
        batch = np.searchsorted(self._starts, at, side="right") - 1
        order = np.argsort(batch, kind="stable")
        bounds = np.searchsorted(batch[order], np.arange(len(self._batches) + 1))
        local = (at - self._starts[batch])[order]
        parts = [
            self._batches[k].take(_integers(local[bounds[k] : bounds[k + 1]])) for k in np.flatnonzero(np.diff(bounds))
        ]
        if not parts:
            return pa.record_batch([pa.nulls(0, field.type) for field in self.schema], schema=self.schema)
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return pa.concat_batches(parts).take(_integers(back))


def _integers(numbers: np.ndarray) -> pa.Array:
    """NumPy integers as an Arrow array. (`pa.array` would import pandas, which takes a third of a second.)"""
    return pl.Series(numbers).to_arrow()


@dataclass(frozen=True)
class Rows:
    """Rows of all pools end to end; `at` in the frames of a build is a place in them."""

    rows: Places
    lines: Places
    starts: dict[str, int]

    def count_by_source(self, at: pl.Series) -> dict[str, int]:
        """How many of these places lie in each pool."""
        pool = np.searchsorted(list(self.starts.values()), at.to_numpy(), side="right") - 1
        return dict(zip(self.starts, np.bincount(pool, minlength=len(self.starts)).tolist(), strict=True))


def stack(pools: Sequence[Pool]) -> Rows:
    """The pools one after the other, memory-mapped."""
    tables = [pool.rows() for pool in pools]
    starts = np.cumsum([0, *(table.num_rows for table in tables)])
    return Rows(
        Places(tables),
        Places([pool.lines() for pool in pools]),
        {pool.name: int(start) for pool, start in zip(pools, starts, strict=False)},
    )


@dataclass(frozen=True)
class Outcome:
    """What the stages decided, ready to be written.

    `copies` has `source` and `copy` (within, across) of each duplicate; `unique` has `at`, `source`, `key`,
    `prompt_key` and `fate` (train, validation, prompt_in_validation) of every other row; `train` and
    `validation` have `at` and `epoch` in their written order.
    """

    pools: Sequence[Pool]
    rows: Rows
    copies: pl.DataFrame
    unique: pl.DataFrame
    plan: Plan
    train: pl.DataFrame
    validation: pl.DataFrame
    warnings: Sequence[str]


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
        with target.dataset(name, BUNDLE) as writer:
            for start in range(0, len(at), _BATCH_ROWS):
                batch = rows.rows.gather(at[start : start + _BATCH_ROWS])
                batch = batch.append_column("epoch", _integers(epoch[start : start + _BATCH_ROWS]))
                digest.update(pl.DataFrame(pl.from_arrow(batch.select(["id", "key", "epoch"]))))
                writer.write_batch(batch.cast(BUNDLE))
        jsonl.result()
    return digest.hexdigest()


def _write_jsonl(target: Folder, name: str, lines: Places, at: np.ndarray) -> None:
    with target.open(name) as stream:
        for start in range(0, len(at), _BATCH_ROWS):
            stream.write(text_bytes(lines.gather(at[start : start + _BATCH_ROWS]).column(0)))


def copy_split(target: Folder, name: str, bundle: Path) -> None:
    """The split of another bundle, file by file."""
    for path in [*sorted((bundle / name).iterdir()), bundle / JSONL[name]]:
        with target.open(path.relative_to(bundle).as_posix()) as stream, path.open("rb") as source:
            while chunk := source.read(8 << 20):
                stream.write(chunk)
