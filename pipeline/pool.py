"""A pool on disk: the rows of one source after normalizing, kept for good and shared by every mix.

Beside the rows it keeps the line of each row as it will stand in a bundle's JSONL, so that a mix only has to
put lines in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from pipeline.damage import damage
from pipeline.errors import StoreError
from pipeline.folder import DATA
from pipeline.schema import REFUSED_COLUMNS
from pipeline.store import open_table, pool_folder, read_manifest, whole_manifest

FORMAT = "poolmix pool 1"  # of the manifest
LINES = "lines.arrow"
KEPT = ("texts", "ids", "overlaps", "near")  # folders beside the rows, with what was made of them
DUPLICATES = "duplicates.jsonl"  # of a bundle that looks for near copies or conflicts


@dataclass(frozen=True)
class Pool:
    """A pool on disk. `manifest` has the counts; the tables are memory-mapped."""

    name: str
    folder: Path
    manifest: dict[str, Any]
    made: bool  # by this command, not found ready
    commit: str | None = None  # of a data set on the hub

    def rows(self) -> pa.Table:
        """The rows, with the columns of `POOL`."""
        return open_table(self.folder / DATA)

    def lines(self) -> pa.Table:
        """One column `line`: the row as it stands in JSONL, line break included."""
        return open_table(self.folder / LINES)

    def refused(self) -> pl.DataFrame:
        """The quarantined rows, with REFUSED_COLUMNS."""
        return read_quarantine(self.folder)


def open_pool(name: str, pools: Path) -> Pool:
    """The newest pool of a source, or one by NAME/FINGERPRINT. Raises: StoreError if there is no whole one."""
    folder = pools / name if (pools / name / "manifest.json").is_file() else pool_folder(name, pools)
    manifest = read_manifest(folder, FORMAT)
    if manifest is None:
        what = f"{folder} is no pool of this version ({FORMAT})"
        raise StoreError(f"pool {name}", what, "run `python -m pipeline build`")
    fault = damage(folder, FORMAT)
    if fault is not None:
        raise StoreError(f"pool {name}", f"{folder}: {fault}", "run `python -m pipeline build`, which makes it again")
    return Pool(manifest["name"], folder, manifest, made=False)


def read_quarantine(folder: Path) -> pl.DataFrame:
    """The quarantined rows of a pool or bundle, with REFUSED_COLUMNS."""
    path = folder / "quarantine.jsonl"
    return pl.read_ndjson(path, schema=REFUSED_COLUMNS) if path.stat().st_size else pl.DataFrame(schema=REFUSED_COLUMNS)


def read_duplicates(folder: Path) -> pl.DataFrame:
    """`id`, `copy` and `kept` of the near copies and conflicts that a bundle left out; none where it has no list."""
    path, schema = folder / DUPLICATES, pl.Schema({"id": pl.String, "copy": pl.String, "kept": pl.String})
    listed = path.is_file() and path.stat().st_size
    return pl.read_ndjson(path, schema=schema) if listed else pl.DataFrame(schema=schema)


def whole_pool(folder: Path) -> Pool | None:
    """The pool in a folder, or None where there is none or one of its files is not as it was written."""
    manifest = whole_manifest(folder, FORMAT)
    return Pool(manifest["name"], folder, manifest, made=False) if manifest is not None else None
