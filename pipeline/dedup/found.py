"""Clusters of near copies: found once for the same rows, kept beside the first of their pools."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import xxhash

from pipeline.arrow import integers, numbers
from pipeline.dedup.near import Near, near_clusters
from pipeline.folder import DATA, Folder
from pipeline.kept import keep
from pipeline.needs import require_for_near
from pipeline.pool import Pool

FORMAT = "poolmix near 1"
# Raise it when the same texts and settings would give other clusters than before.
_VERSION = 1
_SCHEMA = pa.schema([("first", pa.int64())])


def make_clusters(texts: pl.Series, keys: pl.Series, near: Near, pool: Pool, place: Path) -> np.ndarray:
    """What `near_clusters` gives for conversations with these keys; `place` is the folder of all pools."""
    state = xxhash.xxh3_64(json.dumps([_VERSION, asdict(near)], sort_keys=True).encode())
    state.update(keys.str.join("").item().encode())

    def write(target: Folder) -> dict[str, Any]:
        require_for_near(int(texts.str.len_bytes().sum()))
        first = near_clusters(texts, near)
        with target.table(DATA, _SCHEMA) as writer:
            writer.write_table(pa.table([integers(first)], schema=_SCHEMA))
        return {"rows": len(first)}

    kept = keep(place, pool.folder / "near" / state.hexdigest(), FORMAT, write)
    return numbers(kept.table()["first"].combine_chunks()).astype(np.int64)
