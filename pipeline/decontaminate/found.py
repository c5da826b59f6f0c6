"""What of a pool the evaluation sets have: found once, kept beside the pool's rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from pipeline import report
from pipeline.decontaminate.overlap import Evaluation, overlaps, read_evaluation
from pipeline.decontaminate.settings import Decontaminate
from pipeline.folder import DATA, Folder
from pipeline.kept import Kept, keep
from pipeline.pool import Pool

FORMAT = "poolmix overlaps 1"
# Raise it when the same pools and settings would give other overlaps than before.
_VERSION = 1
_SCHEMA = pa.schema([("row", pa.int64()), ("evaluation", pa.string()), ("detail", pa.string())])


def make_overlaps(pools: Sequence[Pool], sets: Sequence[Pool], settings: Decontaminate, place: Path) -> list[Kept]:
    """A table with the columns OVERLAPS for each pool; none where there are no evaluation sets.

    `place` is the folder of all pools.
    """
    if not sets:
        return []
    what = [_VERSION, [pool.manifest["fingerprint"] for pool in sets], settings.ngram, settings.ngram_chars]
    key = xxhash.xxh3_64_hexdigest(json.dumps(what).encode())

    @cache
    def evaluation() -> Evaluation:
        return read_evaluation([pool.rows() for pool in sets], settings.ngram, settings.ngram_chars)

    def write(target: Folder, pool: Pool) -> dict[str, Any]:
        with report.progress(f"overlap  {pool.name}") as advance:
            found = overlaps(pool.rows()["messages"], evaluation(), advance)
        with target.table(DATA, _SCHEMA) as writer:
            writer.write_table(found.to_arrow().cast(_SCHEMA))
        return {"rows": len(found)}

    def kept(pool: Pool) -> Kept:
        return keep(place, pool.folder / "overlaps" / key, FORMAT, lambda target: write(target, pool))

    return [kept(pool) for pool in pools]
