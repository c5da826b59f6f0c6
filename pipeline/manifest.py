"""What a bundle says of itself: `manifest.json`, its dataset card, and how to find a bundle again."""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from pipeline import __version__
from pipeline.bundle import Outcome
from pipeline.configuration import Build
from pipeline.entries import BundleManifest, misfit
from pipeline.errors import StoreError, known_names
from pipeline.folder import is_sealed
from pipeline.markdown import block, plain
from pipeline.mix.account import accounts
from pipeline.names import bundle_parts, require_parts
from pipeline.pointer import named_folder
from pipeline.pool import Pool
from pipeline.secrets import scrubbed
from pipeline.small_files import small
from pipeline.sources.source import Source

_LOG = logging.getLogger(__name__)
FORMAT = "poolmix bundle 1"
_TRIES = 20
Result = TypeVar("Result")
Version = tuple[int, int, int]


class ReplacedError(StoreError):
    """Another bundle took the place of one that was being read."""


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk. `version` is the file that its manifest was read from: a new bundle has another."""

    folder: Path
    manifest: dict[str, Any]
    version: Version

    def is_current(self) -> bool:
        """Whether the folder still is the bundle that was opened; what was read of it until then is of this one."""
        try:
            return _version(os.stat(self.folder / "manifest.json")) == self.version
        except OSError:
            return False

    def require_current(self) -> None:
        """Raises: ReplacedError if another bundle stands in its place, or none."""
        if not self.is_current():
            what = "another bundle took its place while this one was read"
            raise ReplacedError(f"bundle {self.folder}", what, "run the command again")


def read_whole(name: str, bundles: Path, read: Callable[[Bundle], Result]) -> Result:
    """What `read` finds in the bundle that `open_bundle` opens, all of it of one bundle: where another takes its
    place meanwhile, it is read again. No lock is taken: who reads neither waits nor keeps anyone waiting.
    Raises: ReplacedError where that goes on; what `open_bundle` and `read` raise.
    """
    for _ in range(_TRIES):
        bundle = open_bundle(name, bundles)
        try:
            found = read(bundle)
        except Exception:  # half of one bundle and half of another may lead to any
            if bundle.is_current():
                raise
        else:
            if bundle.is_current():
                return found
        _LOG.info("another bundle took the place of %s: reading that one", bundle.folder)
    what = f"another bundle took its place {_TRIES} times while it was read"
    raise ReplacedError(f"bundle {name}", what, "wait until nothing writes there, or build with another out=")


def open_bundle(name: str, bundles: Path) -> Bundle:
    """A bundle by its folder, by its name below `bundles`, or `latest`.

    Raises: StoreError if there is none, or if it is not a bundle that this version can read.
    """
    folder = named_folder(name, bundles)
    path = folder / "manifest.json"
    if not path.is_file():
        known = (
            [place.name for place in bundles.iterdir() if (place / "manifest.json").is_file()]
            if bundles.is_dir()
            else []
        )
        raise StoreError(
            f"bundle {name}",
            f"no bundle there ({known_names(name, known)})",
            "run `python -m pipeline build`, or name a bundle's folder",
        )
    try:
        with path.open("rb") as stream:
            version, data = _version(os.fstat(stream.fileno())), small(stream, path)
        if is_sealed(data) is False:
            raise StoreError(
                str(path), "manifest.json has other bytes than when it was written", "build the bundle again"
            )
        manifest = json.loads(data)
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise StoreError(str(path), what, "mend that, or build the bundle again") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(str(path), f"not valid JSON ({error})", "build the bundle again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(str(path), f"not a manifest of format '{FORMAT}'", "build the bundle again with this version")
    require_parts(path, bundle_parts(manifest), manifest.get("files"))
    fault = misfit(manifest, BundleManifest)
    if fault is not None:
        raise StoreError(str(path), fault, "build the bundle again")
    return Bundle(folder, manifest, version)


def _version(status: os.stat_result) -> Version:
    return status.st_dev, status.st_ino, status.st_mtime_ns


def bundle_manifest(
    settings: Build, outcome: Outcome, name: str, command: str, digests: Mapping[str, str], validation_rows: int
) -> dict[str, Any]:
    """All of the manifest but `files`, which the writer adds last."""
    train = outcome.unique.filter(pl.col("fate") == "train")
    validation = outcome.unique.filter(pl.col("fate") == "validation")
    overlap = int(train["prompt_key"].is_in(validation["prompt_key"].implode()).sum())
    manifest = {
        "format": FORMAT,
        "name": name,
        "command": command,
        "seed": settings.seed,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"poolmix": __version__, "python": platform.python_version()}
        | {package: version(package) for package in ("polars", "polars-hash", "pyarrow", "xxhash")},
        "digest": dict(digests),
        "rows": {"train": len(outcome.train), "validation": validation_rows},
        "sources": source_counts(settings, outcome),
        **({"evaluation_sets": evaluation_sets(settings, outcome)} if outcome.sets else {}),
        "checks": {
            "prompt_overlap": overlap,
            "validation_repeats": validation_rows - len(validation) if settings.split.validation_from is None else 0,
        },
        "warnings": list(outcome.warnings),
        "config": settings.config,
    }
    return scrubbed(manifest)


def source_counts(settings: Build, outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Per source: its files, and what became of each of its raw rows, asked and got side by side."""

    def tally(frame: pl.DataFrame, column: str) -> dict[tuple[str, str], int]:
        return {(source, value): count for source, value, count in frame.group_by("source", column).len().iter_rows()}

    copies, fate = tally(outcome.selection.copies, "copy"), tally(outcome.unique, "fate")
    refused = outcome.refused.group_by("source", "reason").len().sort("reason").rows_by_key("source")
    written = outcome.rows.count_by_source(outcome.train["at"])
    mixed = accounts(settings.mix, outcome.plan, outcome.train)
    counts: dict[str, dict[str, Any]] = {}
    for pool in sorted(outcome.pools, key=lambda pool: pool.name):
        name, manifest, source = pool.name, pool.manifest, settings.sources[pool.name]
        available = fate.get((name, "train"), 0)
        validation = fate.get((name, "validation"), 0)
        counts[name] = origin(source, pool) | {
            "raw_rows": manifest["raw_rows"],
            "quarantined": manifest["quarantined"] | dict(refused.get(name, [])),
            "duplicates": {copy: copies.get((name, copy), 0) for copy in settings.dedup.kinds},
            "unique": available + validation,
            "validation": validation,
            "available": available,
            "train_rows": written.get(name, 0),
            **mixed[name].entries(settings.mix),
            "counts": manifest["counts"],
            "licence": source.licence,
            "card": source.card,
        }
    return counts


def origin(source: Source, pool: Pool) -> dict[str, Any]:
    """Where the rows of a pool are from."""
    where = {"hub": source.hub, "revision": source.revision, "commit": pool.commit} if source.hub else {}
    return where | {"files": pool.manifest["inputs"], "pool": pool.manifest["fingerprint"]}


def evaluation_sets(settings: Build, outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Per evaluation set: its files, and how many of its rows the build's rows were held against."""
    sources = {source.name: source for source in settings.decontaminate.against}
    return {
        pool.name: origin(sources[pool.name], pool)
        | {name: pool.manifest[name] for name in ("raw_rows", "quarantined", "rows")}
        for pool in outcome.sets
    }


def card(manifest: Mapping[str, Any]) -> str:
    """The dataset card; its YAML makes `datasets.load_dataset(BUNDLE)` work."""
    splits = [split for split in ("train", "validation") if manifest["rows"][split]]
    files = "\n".join(f"  - split: {split}\n    path: {split}/*.arrow" for split in splits)
    sources = "\n".join(
        f"| {plain(name)} | {entry['train_rows']:,} | {entry['validation']:,} "
        f"| {plain(entry['licence'] or 'not stated')} |"
        for name, entry in manifest["sources"].items()
    )
    return f"""---
configs:
- config_name: default
  data_files:
{files}
---
# {plain(manifest["name"])}

Training rows: {manifest["rows"]["train"]:,}. Validation rows: {manifest["rows"]["validation"]:,}. Made by

{block(manifest["command"])}

| source | train | validation | licence |
|---|---|---|---|
{sources}

`manifest.json` says what became of every raw row, and which rows were refused stands in `quarantine.jsonl`.
"""
