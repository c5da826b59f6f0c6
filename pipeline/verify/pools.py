"""What is wrong with pools and with what is kept beside them, by their files alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.decontaminate.found import FORMAT as OVERLAPS
from pipeline.dedup.found import FORMAT as NEAR
from pipeline.entries import KeptManifest
from pipeline.errors import SchemaError, StoreError
from pipeline.folder import DATA
from pipeline.pointer import read_pointer
from pipeline.pool import LINES, Pool
from pipeline.render.texts import FORMAT as TEXTS
from pipeline.schema import POOL, conform
from pipeline.store import open_table
from pipeline.tokens.ids import FORMAT as IDS
from pipeline.verify.checks import Check
from pipeline.verify.files import wrong_files
from pipeline.verify.manifest import pool_folders, pool_manifest, wrong_manifest

_KEPT = {"texts": TEXTS, "ids": IDS, "overlaps": OVERLAPS, "near": NEAR}


def verify_pools(pools: Path) -> Iterator[Check]:
    """A check for each pool, and one for each result kept beside it. Other folders are passed over."""
    for source in sorted(path for path in pools.glob("[!.]*") if path.is_dir()):
        found = pool_folders(source)
        for folder in found:
            name = f"{source.name}/{folder.name}"
            yield Check(name, "every file is as it was written, and every row is there", list(_of_pool(folder)))
            for kind, written_as in _KEPT.items():
                for kept in sorted((folder / kind).glob("[!.]*")):
                    faults = list(_of_kept(kept, written_as))
                    yield Check(f"{name}/{kind}/{kept.name}", "every file is as it was written", faults)
        if found:
            newest = read_pointer(source / "latest")
            faults = [] if newest in [folder.name for folder in found] else ["latest names no pool of this source"]
            yield Check(f"{source.name}/latest", "it names the newest pool", faults)


def _of_pool(folder: Path) -> Iterator[str]:
    manifest, faults = pool_manifest(folder)
    yield from faults
    if not manifest:
        return
    damaged = list(wrong_files(folder, manifest["files"], besides=list(_KEPT)))
    yield from damaged
    if damaged:
        return
    gone = sum(manifest["quarantined"].values())
    if manifest["raw_rows"] != manifest["rows"] + gone:
        yield f"{manifest['raw_rows']:,} raw rows, but {manifest['rows']:,} rows and {gone:,} quarantined"
    pool = Pool(manifest["name"], folder, manifest, made=False)
    try:
        counts = {DATA: len(conform(pool.rows(), POOL)), LINES: len(pool.lines())}
    except (SchemaError, StoreError) as error:
        yield str(error)
        return
    for name, count in counts.items():
        if count != manifest["rows"]:
            yield f"{name} has {count:,} rows, the manifest says {manifest['rows']:,}"
    if len(pool.refused()) != gone:
        yield f"quarantine.jsonl has {len(pool.refused()):,} rows, the manifest says {gone:,}"


def _of_kept(folder: Path, format: str) -> Iterator[str]:
    manifest, faults = wrong_manifest(folder, KeptManifest)
    yield from faults
    if not manifest:
        return
    if manifest["format"] != format:
        yield f"manifest.json is not of format '{format}'"
        return
    damaged = list(wrong_files(folder, manifest["files"]))
    yield from damaged
    if damaged:
        return
    try:
        rows = len(open_table(folder / DATA))
    except StoreError as error:
        yield str(error)
        return
    if rows != manifest["rows"]:
        yield f"{DATA} has {rows:,} rows, the manifest says {manifest['rows']:,}"
