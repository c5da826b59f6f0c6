"""Writing a bundle and showing it in one step: splits, token ids, quarantine, card, and the manifest last."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import xxhash

from pipeline import report
from pipeline.bundle import JSONL, Outcome, copy_split, write_split
from pipeline.configuration import Build
from pipeline.folder import DATA, Folder
from pipeline.manifest import FORMAT, bundle_manifest, card
from pipeline.pool import DUPLICATES, LINES
from pipeline.room import require_room, writing
from pipeline.schema import REFUSED_COLUMNS
from pipeline.store import lock, new_folder, open_table, require_own, whole_manifest, write_pointer
from pipeline.tokens.cutting import EncodedRows
from pipeline.tokens.dataset import tokens_key, write_tokens
from pipeline.tokens.of_bundle import encode_table, rendered, rows_in_order
from pipeline.tools import Tools


def publish(settings: Build, outcome: Outcome, with_: Tools, command: str, sweep: bool, say: report.Say) -> Path:
    """Write the bundle beside its place and show it in one step."""
    own = address(settings, outcome, with_)
    name = f"{settings.mix.name}-{own[:8]}"
    folder = settings.paths.bundles / name
    if settings.out is not None:
        folder = settings.out / name if sweep else settings.out
    with writing(folder), lock(settings.paths.pools, folder) as waited:
        require_replaceable(folder)
        # What the process that was waited for made serves, but for a validation split that may have been another then.
        if not waited or outcome.earlier is not None or not _is_made(folder, own):
            require_room(folder, bundle_bytes(outcome))
            with new_folder(folder) as target, writing(folder):
                write(target, settings, outcome, with_, command, folder.name, say)
    inside = folder.parent == settings.paths.bundles
    with writing(settings.paths.bundles / "latest"):
        write_pointer(settings.paths.bundles / "latest", folder.name if inside else str(folder.resolve()))
    return folder


def require_replaceable(folder: Path) -> None:
    """Raises: StoreError if something else than a bundle stands there."""
    require_own(folder, FORMAT, "a bundle", signs=("dataset_dict.json", "train", "validation"))


def _is_made(folder: Path, own: str) -> bool:
    found = whole_manifest(folder, FORMAT)
    return found is not None and found.get("address") == own


def bundle_bytes(outcome: Outcome) -> float:
    """About how many bytes the bundle will have, by what its pools take for a row."""
    texts, ids = outcome.inputs.texts, outcome.inputs.ids
    orders = [outcome.train, outcome.validation]
    counts = [outcome.rows.count_by_source(order["at"]) for order in orders if len(order)]
    total = 0.0
    for k, pool in enumerate(outcome.pools):
        beside = [kept[k].folder / DATA for kept in (texts, ids) if kept]
        size = sum(path.stat().st_size for path in [pool.folder / DATA, pool.folder / LINES, *beside])
        rows = sum(count.get(pool.name, 0) for count in counts)
        total += rows * size / max(1, pool.manifest["rows"]) + pool.manifest["files"]["quarantine.jsonl"]["bytes"]
    if outcome.earlier is not None:
        found = outcome.earlier.manifest["files"]
        total += sum(found[name]["bytes"] for name in (f"validation/{DATA}", JSONL["validation"]))
    return total


def write(
    target: Folder, settings: Build, outcome: Outcome, with_: Tools, command: str, name: str, say: report.Say
) -> None:
    """Every file of the bundle, the manifest last."""
    earlier = outcome.earlier
    with ThreadPoolExecutor(1) as other:
        # Token ids of a reused validation split come from the split as it is written, all others from the pools.
        early = other.submit(write_inputs, target, settings, outcome, with_) if earlier is None else None
        digests = {"train": write_split(target, "train", outcome.rows, outcome.train)}
        if earlier is None:
            digests["validation"] = write_split(target, "validation", outcome.rows, outcome.validation)
            validation_rows = len(outcome.validation)
        else:
            renderer = with_.renderer
            render = partial(rendered, settings=settings.inputs, renderer=renderer) if renderer is not None else None
            try:
                copy_split(target, "validation", earlier.folder, render)
            finally:  # its rows were counted as those of the split when it was opened
                earlier.require_current()
            digests["validation"] = earlier.manifest["digest"]["validation"]
            validation_rows = earlier.manifest["rows"]["validation"]
        tokens = early.result() if early is not None else write_inputs(target, settings, outcome, with_)
    for line in report.token_lines(tokens["tokens"]) if "tokens" in tokens else []:
        say(line)
    refused = [pool.refused() for pool in outcome.pools] + [refused_rows(outcome)]
    target.write_text("quarantine.jsonl", pl.concat(refused).sort("source", "row").write_ndjson())
    if settings.dedup.kinds != ["within", "across"]:
        target.write_text(DUPLICATES, listed_copies(outcome).write_ndjson())
    if outcome.selection.clusters is not None:
        target.write_json("near.json", outcome.selection.clusters)
    manifest = bundle_manifest(settings, outcome, name, command, digests, validation_rows) | tokens
    manifest["address"] = address(settings, outcome, with_)
    target.write_text("README.md", card(manifest))
    target.write_json("dataset_dict.json", {"splits": ["train", "validation"]})
    target.write_manifest(manifest | {"files": dict(sorted(target.files.items()))})


def write_inputs(target: Folder, settings: Build, outcome: Outcome, with_: Tools) -> dict[str, Any]:
    """`tokens/KEY/`, where the build has a tokenizer; returns what the manifest says of template and tokens."""
    if with_.renderer is None:
        return {}
    template = {"name": with_.renderer.template.name, "key": with_.renderer.template.key()}
    if outcome.encoded is None:
        return {"template": template}
    key = tokens_key(settings.inputs, with_)
    splits = {"train": (outcome.encoded, outcome.train)}
    if settings.split.validation_from is None:
        splits["validation"] = (outcome.encoded, with_source(outcome, outcome.validation))
    else:
        table = open_table(target.path / "validation" / DATA)
        rows = EncodedRows([encode_table(table, settings.inputs, with_, has_text=True)], settings.inputs.cutting)
        splits["validation"] = (rows, rows_in_order(table))
    manifest = write_tokens(target, f"tokens/{key}/", splits, settings.inputs, with_)
    return {"template": template, "tokens": {"key": key, **{k: v for k, v in manifest.items() if k != "format"}}}


def with_source(outcome: Outcome, order: pl.DataFrame) -> pl.DataFrame:
    """Rows of the pools with their `source`, all in stage 0."""
    names = pl.Series(list(outcome.rows.starts))
    source = names.gather(outcome.rows.source_of(order["at"].to_numpy()))
    return order.with_columns(source.alias("source"), pl.lit(0, pl.UInt8).alias("stage"))


def refused_rows(outcome: Outcome) -> pl.DataFrame:
    """The rows that were refused after the pools were made, as quarantine rows: without file and line, which a pool
    does not keep."""
    found = outcome.refused
    at = found["at"].to_numpy().astype(np.int64)
    lines = pl.Series(pl.from_arrow(outcome.rows.lines.gather(at)["line"]))
    known = found.with_columns(lines.str.head(200).alias("text"), row=_row_number(_ids(outcome, at)))
    missing = [pl.lit(None).alias(name) for name in REFUSED_COLUMNS if name not in known.columns]
    return known.with_columns(missing).select(*REFUSED_COLUMNS).cast(REFUSED_COLUMNS)


def listed_copies(outcome: Outcome) -> pl.DataFrame:
    """`id`, `copy` and `kept` (the id of the row that stays, null where none does) of near copies and conflicts."""
    copies = outcome.selection.copies.filter(pl.col("copy").is_in(["near", "conflict"]))
    ids = _ids(outcome, copies["at"].to_numpy().astype(np.int64))
    order = copies.with_columns(ids.alias("id"), row=_row_number(ids)).sort("source", "row")
    return order.select("id", "copy", "kept")


def _ids(outcome: Outcome, at: np.ndarray) -> pl.Series:
    return pl.Series("id", pl.from_arrow(outcome.rows.rows.gather(at)["id"]))


def _row_number(ids: pl.Series) -> pl.Series:
    return ids.str.extract(r":(\d+)$").cast(pl.Int64)


def address(settings: Build, outcome: Outcome, with_: Tools) -> str:
    """16 hex digits over everything that decides the bundle's content: equal builds get the same folder."""
    config: dict[str, Any] = {
        name: value for name, value in settings.config.items() if name not in ("out", "paths", "threads")
    }
    what = [config, [(pool.name, pool.manifest["fingerprint"]) for pool in (*outcome.pools, *outcome.sets)]]
    what += [with_.renderer.template.key()] if with_.renderer is not None else []
    what += [with_.codec.file.digest] if with_.codec is not None else []
    return xxhash.xxh3_64_hexdigest(json.dumps(what, sort_keys=True, ensure_ascii=False, default=str).encode())
