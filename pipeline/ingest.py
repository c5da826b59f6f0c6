"""From raw files to a pool: read, adapt, normalize, hash, write.

A pool is addressed by what went into it (the bytes of the raw files, the source's settings, the version of
this code), so it is made once.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import xxhash

from pipeline.damage import warn_if_damaged
from pipeline.errors import SourceError, StoreError, listed
from pipeline.folder import Folder
from pipeline.leftovers import clear_leftovers
from pipeline.normalize import normalize
from pipeline.pool import FORMAT, KEPT, LINES, Pool, whole_pool
from pipeline.quarantine import quarantined
from pipeline.raw import inputs_of, pool_bytes, raw_files, require_unchanged, traces_of
from pipeline.room import require_room, writing
from pipeline.rows import pool_rows
from pipeline.schema import POOL
from pipeline.sources.arrow_process import end_idle
from pipeline.sources.block import MAX_RECORD_BYTES, Block
from pipeline.sources.files import RawFile
from pipeline.sources.read import read_files, read_literal
from pipeline.sources.shapes import SHAPES, make_drafts
from pipeline.sources.source import Source
from pipeline.store import lock, new_folder, read_manifest, write_pointer
from pipeline.workers import in_order

# Raise it when the same raw bytes and settings would give other rows than before.
POOL_VERSION = 3
_LINE = pa.schema([("line", pa.large_string())])
# Where the bytes came from changes no row; a bundle's manifest says it, a pool may serve many places.
_ORIGIN = ("path", "hub", "revision", "files", "licence", "card")


def make_pool(
    source: Source,
    pools: Path,
    max_chars: int,
    progress: Callable[[int], None] = lambda _: None,
    max_record_bytes: int = MAX_RECORD_BYTES,
) -> Pool:
    """The pool of a source: found if it is there and whole, made otherwise.

    Raises: SourceError if the raw data cannot be read at all, or if a column is missing from all of it.
    """
    files, commit = raw_files(source)
    traces, inputs = traces_of(source, files), inputs_of(source, files)
    limits = Limits(max_chars, max_record_bytes)
    address = fingerprint(source, inputs, limits)
    folder = pools / source.name / address
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        for pool in os.listdir(folder.parent):
            for kept in KEPT:
                clear_leftovers(folder.parent / pool / kept)
    with writing(folder), lock(pools, folder):
        found = whole_pool(folder)
        if found is None:
            warn_if_damaged(f"pool {source.name}", folder, FORMAT)
            require_room(folder, pool_bytes(files, inputs))
            with new_folder(folder, keep_cached=True) as target, writing(folder):  # what is free, before it goes again
                _write(target, source, files, inputs, address, limits, progress)
                require_unchanged(source, files, traces, inputs)
            manifest = read_manifest(folder, FORMAT)
            if manifest is None:
                raise StoreError(str(folder), "is gone although it was just written", "check the disk, build again")
            found = Pool(source.name, folder, manifest, made=True)
        write_pointer(folder.parent / "latest", address)
    return dataclasses.replace(found, commit=commit)


def fingerprint(source: Source, inputs: Sequence[dict[str, Any]], limits: Limits) -> str:
    """16 hex digits over everything that the pool's content depends on."""
    raw = [(file["path"], file["xxh3_128"]) for file in inputs]
    what = [POOL_VERSION, _settings(source), raw, dataclasses.astuple(limits)]
    return xxhash.xxh3_64_hexdigest(json.dumps(what, sort_keys=True, ensure_ascii=False).encode())


def _settings(source: Source) -> dict[str, Any]:
    """The settings of a source that the rows depend on."""
    return {name: value for name, value in dataclasses.asdict(source).items() if name not in _ORIGIN}


@dataclass(frozen=True)
class Limits:
    """The longest row (characters of its turns) and the longest raw record (bytes)."""

    max_chars: int
    max_record_bytes: int


@dataclass(frozen=True)
class _Made:
    """What became of one block."""

    columns: Sequence[str]
    raw_rows: int
    unreadable: int
    refused: pl.DataFrame
    counts: Mapping[str, int]
    rows: pa.RecordBatch | None
    lines: pa.Array | None


def _make(source: Source, file: str, block: Block, max_chars: int) -> _Made:
    """One block through adapting, normalizing and hashing."""
    columns, unreadable = block.frame.columns, len(block.refused)
    raw_rows = len(block.record) + unreadable
    if len(block.record) == 0:
        return _Made(columns, raw_rows, unreadable, quarantined(source.name, file, block, None), {}, None, None)
    drafts = normalize(make_drafts(block, source), max_chars)
    refused = quarantined(source.name, file, block, drafts)
    if len(drafts.rows) == 0:
        return _Made(columns, raw_rows, unreadable, refused, drafts.counts, None, None)
    rows, lines = pool_rows(drafts, source.name, list(source.tags), block.record)
    return _Made(columns, raw_rows, unreadable, refused, drafts.counts, rows, lines)


def _write(
    target: Folder,
    source: Source,
    files: Sequence[RawFile],
    inputs: Sequence[dict[str, Any]],
    address: str,
    limits: Limits,
    progress: Callable[[int], None],
) -> None:
    blocks = (
        read_literal(source.literal, limits.max_record_bytes)
        if source.literal is not None
        else read_files(source.name, files, source.delimiter, source.encoding, limits.max_record_bytes)
    )
    raw_rows, unreadable, kept, counts, reasons = 0, 0, 0, Counter[str](), Counter[str]()
    columns: dict[str, None] = {}
    missing = ""
    with (
        target.dataset("", POOL) as rows,
        target.table(LINES, _LINE) as lines,
        target.open("quarantine.jsonl") as quarantine,
    ):
        for made in in_order(lambda item: _make(source, item[0], item[1], limits.max_chars), blocks):
            columns |= dict.fromkeys(made.columns)
            if len(made.refused):
                quarantine.write(made.refused.write_ndjson().encode())
                reasons.update(made.refused["reason"].to_list())
                missing = missing or _detail(made.refused, "missing_column")
            counts.update(made.counts)
            raw_rows += made.raw_rows
            unreadable += made.unreadable
            if made.rows is not None:
                rows.write_batch(made.rows)
                lines.write_batch(pa.record_batch([made.lines], schema=_LINE))
                kept += made.rows.num_rows
            progress(made.raw_rows)
    end_idle()
    _require_columns(source, list(columns), reasons["missing_column"], missing, raw_rows - unreadable)
    target.write_manifest(
        {
            "format": FORMAT,
            "name": source.name,
            "fingerprint": address,
            "settings": _settings(source),
            "inputs": list(inputs),
            "raw_rows": raw_rows,
            "rows": kept,
            "quarantined": dict(sorted(reasons.items())),
            "counts": dict(sorted(counts.items())),
            "files": dict(target.files),
        },
    )


def _detail(refused: pl.DataFrame, reason: str) -> str:
    """The first detail of a reason, "" if there is none."""
    return next(iter(refused.filter(pl.col("reason") == reason)["detail"]), "")


def _require_columns(source: Source, have: Sequence[str], missing: int, detail: str, readable: int) -> None:
    """Raises: SourceError for a wrong setting, no flaw of the rows: every row that could be read lacks a column, or
    none has one that the source names otherwise than is usual. `missing` rows lack one, the first of them as `detail`
    says."""
    if readable == 0:
        return
    usual = SHAPES[source.shape].columns
    named = {role: column for role, column in source.columns.items() if column not in have}
    if missing == readable:
        absent = [role for role, column in named.items() if f"'{column}'" in detail]
    else:
        absent = [role for role, column in named.items() if column != usual[role]]
    if not absent and missing < readable:
        return
    role = absent[0] if absent else SHAPES[source.shape].needs[0]
    what = f"no column '{source.columns[role]}'" if absent else detail
    raise SourceError(
        f"source {source.name}",
        f"{what} (have: {listed(have)})",
        f"set ++sources.{source.name}.columns.{role}=NAME",
    )
