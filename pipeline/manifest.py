"""What a bundle says of itself: `manifest.json`, its dataset card, and how to find a bundle again."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from pipeline import __version__
from pipeline.bundle import Outcome
from pipeline.configuration import Build
from pipeline.errors import StoreError, known_names
from pipeline.mix.account import accounts
from pipeline.pool import Pool
from pipeline.sources.source import Source

FORMAT = "poolmix bundle 1"


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk."""

    folder: Path
    manifest: dict[str, Any]


def open_bundle(name: str, bundles: Path) -> Bundle:
    """A bundle by its folder, by its name below `bundles`, or `latest`.

    Raises: StoreError if there is none, or if it is not a bundle that this version can read.
    """
    folder = Path(name).expanduser()
    if name == "latest" and (bundles / "latest").is_file():
        folder = bundles / (bundles / "latest").read_text(encoding="utf-8").strip()
    elif not folder.is_dir() and (bundles / name).is_dir():
        folder = bundles / name
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
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(str(path), f"not valid JSON ({error})", "build the bundle again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(str(path), f"not a manifest of format '{FORMAT}'", "build the bundle again with this version")
    return Bundle(folder, manifest)


def bundle_manifest(
    settings: Build, outcome: Outcome, name: str, command: str, digests: Mapping[str, str], validation_rows: int
) -> dict[str, Any]:
    """All of the manifest but `files`, which the writer adds last."""
    train = outcome.unique.filter(pl.col("fate") == "train")
    validation = outcome.unique.filter(pl.col("fate") == "validation")
    overlap = int(train["prompt_key"].is_in(validation["prompt_key"].implode()).sum())
    return {
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
        f"| {name} | {entry['train_rows']:,} | {entry['validation']:,} | {entry['licence'] or 'not stated'} |"
        for name, entry in manifest["sources"].items()
    )
    return f"""---
configs:
- config_name: default
  data_files:
{files}
---
# {manifest["name"]}

Training rows: {manifest["rows"]["train"]:,}. Validation rows: {manifest["rows"]["validation"]:,}. Made by

    {manifest["command"]}

| source | train | validation | licence |
|---|---|---|---|
{sources}

`manifest.json` says what became of every raw row, and which rows were refused stands in `quarantine.jsonl`.
"""
