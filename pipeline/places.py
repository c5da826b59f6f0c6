"""Rows of several pools end to end, and gathering them by their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.arrow import integers
from pipeline.kept import Kept
from pipeline.pool import Pool


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
            self._batches[k].take(integers(local[bounds[k] : bounds[k + 1]])) for k in np.flatnonzero(np.diff(bounds))
        ]
        if not parts:
            return pa.record_batch([pa.nulls(0, field.type) for field in self.schema], schema=self.schema)
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return pa.concat_batches(parts).take(integers(back))


@dataclass(frozen=True)
class Rows:
    """Rows of all pools end to end; `at` in the frames of a build is a place in them."""

    rows: Places
    lines: Places
    starts: dict[str, int]
    texts: Places | None = None  # the columns RENDERED, where rows are rendered

    def count_by_source(self, at: pl.Series) -> dict[str, int]:
        """How many of these places lie in each pool."""
        pools = self.source_of(at.to_numpy())
        return dict(zip(self.starts, np.bincount(pools, minlength=len(self.starts)).tolist(), strict=True))

    def source_of(self, at: np.ndarray) -> np.ndarray:
        """Which pool each place lies in, counted from 0."""
        return np.searchsorted(list(self.starts.values()), at, side="right") - 1


def stack(pools: Sequence[Pool], texts: Sequence[Kept] = ()) -> Rows:
    """The pools one after the other, and their texts if they have any, memory-mapped."""
    tables = [pool.rows() for pool in pools]
    starts = np.cumsum([0, *(table.num_rows for table in tables)])
    return Rows(
        Places(tables),
        Places([pool.lines() for pool in pools]),
        {pool.name: int(start) for pool, start in zip(pools, starts, strict=False)},
        Places([kept.table() for kept in texts]) if texts else None,
    )


def batches(table: pa.Table, rows: int = 1 << 13) -> list[pa.RecordBatch]:
    """A table in batches of so many rows, each in one piece."""
    parts = (table.slice(start, rows).combine_chunks() for start in range(0, table.num_rows, rows))
    return [batch for part in parts for batch in part.to_batches()]
