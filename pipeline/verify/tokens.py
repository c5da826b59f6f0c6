"""What is wrong with the sequences in `tokens/`, by their files, their manifest and the rows of the bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.arrow import numbers
from pipeline.entries import TokensManifest
from pipeline.errors import SchemaError, StoreError
from pipeline.folder import DATA
from pipeline.schema import SEQUENCES, conform
from pipeline.store import open_table
from pipeline.tokens.dataset import FORMAT
from pipeline.tokens.encode import IGNORED
from pipeline.verify.files import wrong_files
from pipeline.verify.manifest import MANIFEST, wrong_manifest

# Tokens looked at once, or one sequence: 16 MB of ids and as much of labels.
_BATCH_TOKENS = 1 << 22


def wrong_tokens(folder: Path, manifest: Mapping[str, Any], sources: Mapping[str, pl.Series]) -> list[str]:
    """A line for each fault. `sources` has the source of every row of each split, in their order.

    Memory: one batch of sequences, and 16 bytes for every stretch of a row.
    """
    place = folder / "tokens"
    said = manifest.get("tokens")
    # What a killed process left half-written is hidden.
    names = sorted(path.name for path in place.glob("[!.]*"))
    faults = [f"tokens/{said['key']} is missing"] if said is not None and said["key"] not in names else []
    for name in names:
        own = said if said is not None and said["key"] == name else None
        faults += [f"tokens/{name}{fault}" for fault in _of_folder(place / name, own, sources)]
    return faults


def _of_folder(folder: Path, said: Mapping[str, Any] | None, sources: Mapping[str, pl.Series]) -> Iterator[str]:
    manifest, faults = wrong_manifest(folder, TokensManifest)
    if manifest and manifest["format"] != FORMAT:
        faults = [f"{MANIFEST} is not of format '{FORMAT}'"]
    elif manifest:
        faults += wrong_files(folder, manifest["files"])
    yield from (f"/{fault}" for fault in faults)
    if faults:
        return
    if differing := [name for name, value in (said or {}).items() if name != "key" and value != manifest.get(name)]:
        yield f"/manifest.json has another {', '.join(differing)} than the bundle's manifest"
    for split in manifest["splits"]:
        known = split in sources
        faults = _of_split(folder / split, manifest, split, sources[split]) if known else ["no split of the bundle"]
        yield from (f"/{split}: {fault}" for fault in faults)


def _of_split(folder: Path, manifest: Mapping[str, Any], split: str, sources: pl.Series) -> list[str]:
    try:
        table = conform(open_table(folder / DATA), SEQUENCES)
    except (SchemaError, StoreError) as error:
        return [str(error)]
    if any(chunk.null_count or chunk.flatten().null_count for column in table.columns for chunk in column.chunks):
        return ["there are nulls in it"]
    found: list[Stretches] = []
    faults: dict[str, str] = {}
    lines, first = list[str](), 0
    for part in _parts(table):
        stretches, wrong = _of_part(part, manifest["max_length"], first)
        faults, first = wrong | faults, first + part.num_rows
        lines = [f"{what} ({where})" for what, where in faults.items()]
        if stretches is None:
            return lines
        found.append(stretches)
    stretches = Stretches.joined(found)
    return lines + _of_rows(stretches, manifest, sources) + _of_counts(stretches, len(table), manifest, split, sources)


def _parts(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """The sequences, so many at once as have `_BATCH_TOKENS`."""
    for batch in table.to_batches():
        ends = np.append(0, np.cumsum(numbers(batch.column("input_ids").value_lengths()).astype(np.int64)))
        begin = 0
        while begin < batch.num_rows:
            stop = max(begin + 1, int(np.searchsorted(ends, ends[begin] + _BATCH_TOKENS, side="right")) - 1)
            yield batch.slice(begin, stop - begin)
            begin = stop


@dataclass(frozen=True)
class Stretches:
    """The stretches of rows in their order: the `row`, its token that is the first, tokens, and targets of these."""

    row: np.ndarray
    start: np.ndarray
    length: np.ndarray
    targets: np.ndarray

    @staticmethod
    def joined(parts: list[Stretches]) -> Stretches:
        names = ("row", "start", "length", "targets")
        return Stretches(
            *(np.concatenate([np.zeros(0, np.int32), *(getattr(p, name) for p in parts)]) for name in names)
        )


def _of_part(part: pa.RecordBatch, max_length: int, first: int) -> tuple[Stretches | None, dict[str, str]]:
    """The stretches of some sequences, and fault → where it first is; none where lists do not belong together."""
    count = {name: numbers(part.column(name).value_lengths()).astype(np.int64) for name in SEQUENCES.names}
    flat = {name: numbers(part.column(name).flatten()) for name in SEQUENCES.names}
    ids, labels, lengths = flat["input_ids"], flat["labels"], flat["seq_lengths"].astype(np.int64)
    tokens = count["input_ids"]
    of_stretch = np.repeat(np.arange(part.num_rows), count["seq_lengths"])
    faults: dict[str, str] = {}

    def fault(what: str, sequences: np.ndarray) -> None:
        if len(sequences):
            faults[what] = f"sequence {first + int(sequences[0]):,} and {len(np.unique(sequences)) - 1:,} more"

    sums = np.bincount(of_stretch, weights=lengths, minlength=part.num_rows)
    fault("not as many labels as ids", np.flatnonzero(count["labels"] != tokens))
    pieces = (count["rows"] != count["seq_lengths"]) | (count["starts"] != count["seq_lengths"])
    fault("not as many rows or starts as seq_lengths", np.flatnonzero(pieces))
    fault("seq_lengths below 1", of_stretch[lengths < 1])
    fault("seq_lengths do not sum to the sequence", np.flatnonzero(sums != tokens))
    if faults:
        return None, faults
    of_token = np.repeat(np.arange(part.num_rows), tokens)
    begins = np.cumsum(lengths) - lengths
    trained = labels != IGNORED
    targets = np.add.reduceat(trained, begins, dtype=np.int32) if len(begins) else np.zeros(0, np.int32)
    fault("without tokens", np.flatnonzero(tokens == 0))
    fault(f"longer than {max_length:,} tokens", np.flatnonzero(tokens > max_length))
    fault("negative ids", of_token[ids < 0])
    fault("labels that are neither the id nor -100", of_token[trained & (labels != ids)])
    fault("the first token of a row's stretch is trained on", of_stretch[trained[begins]])
    fault("a stretch without a token that is trained on", of_stretch[targets == 0])
    return Stretches(flat["rows"], flat["starts"], flat["seq_lengths"], targets), faults


def _of_rows(stretches: Stretches, manifest: Mapping[str, Any], sources: pl.Series) -> list[str]:
    """Rows and starts against the split: stretches of a row neither repeat nor overlap."""
    row, start = stretches.row, stretches.start
    if len(outside := row[(row < 0) | (row >= len(sources)) | (start < 0)]):
        return [f"{len(outside):,} stretches are of no row or start of the split, the first of row {outside[0]:,}"]
    order = np.lexsort((start, row))
    row, start, length = row[order], start[order], stretches.length[order]
    over = row[1:][(row[1:] == row[:-1]) & (start[1:] < start[:-1] + length[:-1])]
    faults = [f"{len(over):,} stretches of a row come twice, the first of row {over[0]:,}"] if len(over) else []
    if manifest["on_long"] != "split" and (start.any() or len(np.unique(row)) < len(row)):
        faults.append(f"a row is in several stretches or not from its start, but on_long is {manifest['on_long']}")
    return faults


def _of_counts(
    stretches: Stretches, sequences: int, manifest: Mapping[str, Any], split: str, sources: pl.Series
) -> list[str]:
    """The manifest's numbers against those found, in all and for each source."""
    said = manifest["splits"][split]
    size = sequences * manifest["max_length"]
    found: dict[str, float] = {
        "sequences": sequences,
        "fill": round(int(stretches.length.sum()) / size, 6) if size else 1.0,
    }
    faults = [
        f"{name} {found[name]:,}, its manifest says {said.get(name)}" for name in found if found[name] != said.get(name)
    ]
    if not manifest["pack"] and sequences != len(stretches.row):
        faults.append(f"{len(stretches.row):,} stretches in {sequences:,} sequences, but pack is false")
    inside = (stretches.row >= 0) & (stretches.row < len(sources))
    names = sources.cast(pl.String)
    of_row = names.gather(stretches.row[inside])
    for name in [None, *names.unique().sort()]:
        own = np.flatnonzero(inside)[(of_row == name).to_numpy()] if name is not None else np.flatnonzero(inside)
        wanted = said if name is None else said.get("sources", {}).get(name, {})
        rows = len(sources) if name is None else int((names == name).sum())
        where = "" if name is None else f"{name}: "
        faults += [f"{where}{fault}" for fault in _off_tally(stretches, own, wanted, rows)]
    return faults


def _off_tally(stretches: Stretches, own: np.ndarray, said: Mapping[str, Any], rows: int) -> Iterator[str]:
    found = {
        "rows": len(np.unique(stretches.row[own])),
        "tokens": int(stretches.length[own].sum()),
        "target_tokens": int(stretches.targets[own].sum()),
    }
    off = [name for name in found if found[name] != said.get(name)]
    yield from (f"{name} {found[name]:,}, its manifest says {said.get(name)}" for name in off)
    if said.get("rows", 0) + sum(said.get("dropped", {}).values()) != rows:
        yield f"rows and dropped do not sum to the {rows:,} rows of the split"
