"""Writing a bundle: rows gathered from the pools into Arrow and JSONL, and its card."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.keys import ContentDigest, text_bytes
from pipeline.pool import Pool
from pipeline.schema import BUNDLE
from pipeline.store import Folder

JSONL = {"train": "train.jsonl", "validation": "val.jsonl"}
# Rows gathered at once: some tens of megabytes of ordinary chat.
_BATCH_ROWS = 1 << 15


@dataclass(frozen=True)
class Rows:
    """Rows of all pools end to end; `at` in the frames of a build is a place in them."""

    table: pa.Table
    lines: pa.Table
    starts: dict[str, int]


def stack(pools: Sequence[Pool]) -> Rows:
    """The pools one after the other, memory-mapped."""
    tables = [pool.rows() for pool in pools]
    starts = np.cumsum([0, *(table.num_rows for table in tables)])
    return Rows(pa.concat_tables(tables), pa.concat_tables(pool.lines() for pool in pools),
                {pool.name: int(start) for pool, start in zip(pools, starts, strict=False)})


def write_split(target: Folder, name: str, rows: Rows, order: pl.DataFrame) -> str:
    """Write one split, `train` or `validation`, as Arrow and as JSONL; returns its content digest.

    In: `order` with `at` and `epoch`, one line a row. Arrow and JSONL are written by a thread each, batch by
    batch, so memory does not grow with the split.
    """
    with ThreadPoolExecutor(1) as other:
        jsonl = other.submit(_write_jsonl, target, JSONL[name], rows.lines, order["at"].to_numpy())
        digest = ContentDigest()
        with target.dataset(name, BUNDLE) as writer:
            for start in range(0, len(order), _BATCH_ROWS):
                part = order.slice(start, _BATCH_ROWS)
                batch = rows.table.take(pa.array(part["at"].to_numpy()))
                batch = batch.append_column("epoch", pa.array(part["epoch"].to_numpy(), pa.int32()))
                digest.update(pl.DataFrame(pl.from_arrow(batch.select(["id", "key", "epoch"]))))
                writer.write_table(batch.cast(BUNDLE))
        jsonl.result()
    return digest.hexdigest()


def _write_jsonl(target: Folder, name: str, lines: pa.Table, at: np.ndarray) -> None:
    with target.open(name) as stream:
        for start in range(0, len(at), _BATCH_ROWS):
            for texts in lines["line"].take(pa.array(at[start : start + _BATCH_ROWS])).chunks:
                stream.write(text_bytes(texts))


def copy_split(target: Folder, name: str, bundle: Path) -> None:
    """The split of another bundle, file by file."""
    for path in [*sorted((bundle / name).iterdir()), bundle / JSONL[name]]:
        with target.open(path.relative_to(bundle).as_posix()) as stream, path.open("rb") as source:
            while chunk := source.read(8 << 20):
                stream.write(chunk)
