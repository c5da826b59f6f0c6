"""Where a row went: what became of one raw row in a bundle or pool, and its raw record."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.bundle import JSONL
from pipeline.damage import require_whole
from pipeline.dedup.exact import preference
from pipeline.errors import ConfigError, PoolmixError
from pipeline.folder import DATA
from pipeline.manifest import Bundle
from pipeline.pool import Pool, open_pool, read_duplicates, read_quarantine
from pipeline.show.rows import plain_row, require_source
from pipeline.sources.files import find_files
from pipeline.sources.read import read_files, read_literal
from pipeline.sources.settings import read_sources
from pipeline.sources.source import Source
from pipeline.store import open_table
from pipeline.visible import visible

_LISTED = 8  # places of a repeated row


@dataclass(frozen=True)
class Found:
    """What became of one raw row.

    `place` is train, validation, pool, quarantine, duplicate, not_drawn or unknown; `note` says it in words.
    `row` is the normalized row and `refused` the line of the quarantine, where there is one; `raw` is the raw
    record as text columns and `raw_note` its file and line, or why it cannot be shown.
    """

    id: str
    place: str
    note: str
    row: dict[str, Any] | None = None
    refused: dict[str, Any] | None = None
    epochs: list[int] = field(default_factory=list[int])
    raw: dict[str, Any] | None = None
    raw_note: str = ""


def split_id(id: str) -> tuple[str, int]:
    """`cmath:17` → cmath, 17. Raises: ConfigError."""
    source, _, number = id.rpartition(":")
    if not source or not re.fullmatch(r"[0-9]{1,18}", number):
        raise ConfigError(f"id={visible(id)}", "must be a source and a row number, counted from 0", "set id=cmath:17")
    return source, int(number)


def find_in_bundle(bundle: Bundle, pools: Path, id: str, root: Path) -> Found:
    """What became of a row in a bundle. `root` is the folder that the sample data lies below.

    Raises: ConfigError if the source is not in the bundle or has no such row.
    """
    source, number = split_id(id)
    entries = bundle.manifest["sources"]
    require_whole(bundle)
    require_source(f"id={visible(id)}", source, list(entries))
    _require_row(id, number, entries[source]["raw_rows"])
    found = _in_splits(bundle, id) or _in_quarantine(bundle.folder, id) or _in_pools(bundle, pools, id)
    errors: list[PoolmixError] = []
    sources = read_sources(bundle.manifest["config"], root, errors)
    if errors:
        return _with_raw(found, None, f"no raw record: {errors[0].where}: {errors[0].what}")
    return _with_raw(found, *raw_record(sources[source], entries[source]["files"], number))


def find_in_pool(pool: Pool, id: str) -> Found:
    """The same in a pool. Raises: ConfigError if it is a row of another source, or there is no such row."""
    source, number = split_id(id)
    require_source(f"id={visible(id)}", source, [pool.name])
    _require_row(id, number, pool.manifest["raw_rows"])
    table = pool.rows()
    at = _places(table, "id", id)
    if len(at):
        found = Found(id, "pool", "in the pool", plain_row(table, int(at[0])))
    else:
        found = _in_quarantine(pool.folder, id) or Found(id, "unknown", "neither in the pool nor in its quarantine")
    settings, inputs = Source(**pool.manifest["settings"]), pool.manifest["inputs"]
    if settings.literal is None:
        where = "a pool does not keep where its raw files are; a bundle does: id= without pool="
        return _with_raw(found, None, f"no raw record: {where}")
    return _with_raw(found, *raw_record(settings, inputs, number))


def _require_row(id: str, number: int, raw_rows: int) -> None:
    if number >= raw_rows:
        raise ConfigError(
            f"id={visible(id)}",
            f"there is no such row (raw rows: {raw_rows:,}, counted from 0)",
            f"name a row below {raw_rows}",
        )


def _with_raw(found: Found, raw: dict[str, Any] | None, note: str) -> Found:
    return dataclasses.replace(found, raw=raw, raw_note=note)


def _places(table: pa.Table, column: str, value: str) -> np.ndarray:
    return (pl.Series(pl.from_arrow(table[column])) == value).arg_true().to_numpy()


def _in_splits(bundle: Bundle, id: str) -> Found | None:
    for split in ("train", "validation"):
        if split == "validation" and _reused(bundle):
            continue
        table = open_table(bundle.folder / split / DATA)
        at = _places(table, "id", id)
        if len(at):
            epochs: list[int] = table["epoch"].take(pa.array(at)).to_pylist()
            times = f"{len(at):,} times, lines" if len(at) > 1 else "line"
            lines = ", ".join(f"{k + 1:,}" for k in at[:_LISTED]) + (" …" if len(at) > _LISTED else "")
            note = f"in {split}: {times} {lines} of {JSONL[split]}"
            return Found(id, split, note, plain_row(table, int(at[0])), epochs=epochs)
    return None


def _reused(bundle: Bundle) -> bool:
    """Whether the validation rows are those of another bundle, where rows may have other numbers."""
    return bundle.manifest["config"]["split"].get("validation_from") is not None


def _in_quarantine(folder: Path, id: str) -> Found | None:
    source, number = split_id(id)
    rows = read_quarantine(folder).filter((pl.col("source") == source) & (pl.col("row") == number))
    if not len(rows):
        return None
    return Found(id, "quarantine", f"refused: {rows['reason'][0]}", refused=rows.row(0, named=True))


def _in_pools(bundle: Bundle, pools: Path, id: str) -> Found:
    """A row that no file of the bundle has: a copy of another one, or not drawn. The pools still know it."""
    source, _ = split_id(id)
    entries = bundle.manifest["sources"]
    folder = pools / source / entries[source]["pool"]
    if not (folder / DATA).is_file():
        return Found(id, "unknown", f"neither in the bundle nor in its quarantine; its pool is not in {pools} any more")
    table = open_pool(f"{source}/{entries[source]['pool']}", pools).rows()
    at = _places(table, "id", id)
    if not len(at):
        return Found(id, "unknown", "neither in the bundle nor in its pool")
    row = plain_row(table, int(at[0]))
    left = _in_duplicates(bundle, id, row)
    if left is not None:
        return left
    kept = _kept(bundle, pools, row["key"])
    if kept is not None and kept != id:
        there = _in_splits(bundle, kept) or _in_reused(bundle, kept, row) or _in_quarantine(bundle.folder, kept)
        there = there or _in_duplicates(bundle, kept, row)
        return Found(id, "duplicate", f"a copy of {kept}, which is {there.note if there else 'not drawn'}", row)
    available, quota = entries[source]["available"], entries[source]["quota"]
    note = f"available for training but not drawn: {source} has {available:,} available rows and a quota of {quota:,}"
    return _in_reused(bundle, id, row) or Found(id, "not_drawn", note, row)


def _in_duplicates(bundle: Bundle, id: str, row: dict[str, Any]) -> Found | None:
    """A row that left as a near copy or a conflict."""
    found = read_duplicates(bundle.folder).filter(pl.col("id") == id)
    if not len(found):
        return None
    copy, kept = found["copy"][0], found["kept"][0]
    if copy == "near":
        return Found(id, "duplicate", f"nearly a copy of {kept}", row)
    note = f"another answer to the prompt of {kept}" if kept is not None else "its prompt has several answers"
    return Found(id, "duplicate", f"{note}, and dedup.on_conflict keeps no two", row)


def _kept(bundle: Bundle, pools: Path, key: str) -> str | None:
    """The row that the build kept of those with this key: the first by preference that its filter let pass."""
    entries = bundle.manifest["sources"]
    refused = read_quarantine(bundle.folder).filter(pl.col("reason") == "filtered").select("source", "row")
    filtered = {f"{source}:{row}" for source, row in refused.iter_rows()}
    for name in preference(list(entries), bundle.manifest["config"]["dedup"].get("prefer") or []):
        path = pools / name / entries[name]["pool"] / DATA
        if path.is_file():
            table = open_pool(f"{name}/{entries[name]['pool']}", pools).rows()
            same: list[str] = [table["id"][int(at)].as_py() for at in _places(table, "key", key)]
            if passing := [one for one in same if one not in filtered]:
                return passing[0]
    return None


def _in_reused(bundle: Bundle, id: str, row: dict[str, Any]) -> Found | None:
    """The row in a validation split that was reused, where it may stand under another number."""
    if not _reused(bundle):
        return None
    table = open_table(bundle.folder / "validation" / DATA)
    same = _places(table, "key", row["key"])
    if not len(same):
        return None
    other = table["id"][int(same[0])].as_py()
    note = f"in validation: line {same[0] + 1:,} of {JSONL['validation']}, reused from a bundle where it is {other}"
    return Found(id, "validation", note, row)


def raw_record(source: Source, inputs: Sequence[dict[str, Any]], number: int) -> tuple[dict[str, Any] | None, str]:
    """A record as it was read, its columns as text, and where it stands (or why it cannot be shown)."""
    if source.literal is not None:
        blocks = read_literal(source.literal)
    elif source.path is None:
        return None, f"no raw record: the raw files are those of {source.hub} on the hub"
    else:
        try:
            files = find_files(source.name, source.path, source.format)
            there = [(file.name, *file.digest()) for file in files]
        except (PoolmixError, OSError) as error:
            return None, f"no raw record: {error.what if isinstance(error, PoolmixError) else error}"
        if there != [(file["path"], file["bytes"], file["xxh3_128"]) for file in inputs]:
            return None, f"no raw record: the files at {source.path} have changed since"
        blocks = read_files(source.name, files, source.delimiter, source.encoding)
    for file, block in blocks:
        at = np.flatnonzero(block.record == number)
        if len(at):
            values = block.frame.row(int(at[0]), named=True)
            return {name: value for name, value in values.items() if value is not None}, _line(
                file, int(block.line[at[0]])
            )
        for bad in block.refused:
            if bad.record == number:
                return None, f"no raw record: it cannot be read ({_line(file, bad.line)})"
    return None, "no raw record: the files have fewer records"


def _line(file: str, line: int) -> str:
    return f"{file}, line {line:,}" if line else file
