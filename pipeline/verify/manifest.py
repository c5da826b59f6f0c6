"""What a manifest must say to be relied on: its entries and their types, and that its bytes are its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import msgspec

from pipeline.bundle import JSONL
from pipeline.errors import ConfigError
from pipeline.folder import DATA, SEAL, is_sealed
from pipeline.mix.plan import relative_weights
from pipeline.small_files import read_small

MANIFEST = "manifest.json"


class Entry(TypedDict):
    """What a manifest says of a file."""

    bytes: int
    xxh3_128: str


class _Size(TypedDict):
    train: float
    available: float
    largest: float


class _Source(TypedDict):
    raw_rows: int
    quarantined: dict[str, int]
    duplicates: dict[str, int]
    unique: int
    validation: int
    available: int
    train_rows: int
    requested_weight: float
    quota: int
    achieved_weight: float
    epochs: float
    size: NotRequired[_Size]
    stages: NotRequired[list[int]]
    stage_rows: NotRequired[list[int]]


class _Stage(TypedDict):
    until: float
    weights: dict[str, float]


class _Mix(TypedDict):
    weights: dict[str, float]
    strategy: str
    stop: str
    replacement: bool
    max_epochs: float | None
    on_shortage: str
    schedule: NotRequired[list[_Stage] | None]


class _Config(TypedDict):
    mix: _Mix


class _Splits(TypedDict):
    train: int
    validation: int


class _Digests(TypedDict):
    train: str
    validation: str


class _Template(TypedDict):
    name: str
    key: str


class _Key(TypedDict):
    key: str


class BundleManifest(TypedDict):
    """What `verify` relies on in a bundle's manifest."""

    digest: _Digests
    rows: _Splits
    sources: dict[str, _Source]
    config: _Config
    files: dict[str, Entry]
    template: NotRequired[_Template]
    tokens: NotRequired[_Key]


class PoolManifest(TypedDict):
    """What a build relies on in a pool's manifest."""

    format: str
    name: str
    fingerprint: str
    settings: dict[str, Any]
    inputs: list[dict[str, Any]]
    raw_rows: int
    rows: int
    quarantined: dict[str, int]
    counts: dict[str, int]
    files: dict[str, Entry]


class KeptManifest(TypedDict):
    """What stands in the manifest of anything kept beside a pool."""

    format: str
    rows: int
    files: dict[str, Entry]


class _SourceTokens(TypedDict):
    rows: int
    tokens: int
    target_tokens: int
    dropped: dict[str, int]


class _SplitTokens(TypedDict):
    sequences: int
    fill: float
    rows: int
    tokens: int
    target_tokens: int
    dropped: dict[str, int]
    sources: dict[str, _SourceTokens]


class TokensManifest(TypedDict):
    """What `verify` relies on in the manifest of sequences."""

    format: str
    max_length: int
    on_long: str
    pack: bool
    splits: dict[str, _SplitTokens]
    files: dict[str, Entry]


def wrong_manifest(folder: Path, kind: Any) -> tuple[dict[str, Any], list[str]]:
    """The manifest in a folder, and a line for each fault: its own bytes, and entries that are not what `kind` says."""
    try:
        data = read_small(folder / MANIFEST)
        manifest = msgspec.json.decode(data)
        msgspec.convert(manifest, kind)
    except FileNotFoundError:
        return {}, [f"{MANIFEST} is missing"]
    except OSError as error:
        return {}, [f"{MANIFEST} cannot be read ({error.strerror or error})"]
    except (ValueError, RecursionError) as error:
        return {}, [f"{MANIFEST} is not as it is written ({error})"]
    sealed = is_sealed(data)
    if sealed is None:
        return manifest, [f"{MANIFEST} has no {SEAL} of its own as its last entry"]
    return manifest, [] if sealed else [f"{MANIFEST} has other bytes than when it was written"]


def wrong_numbers(manifest: Mapping[str, Any]) -> list[str]:
    """Entries of a bundle's manifest that other entries need, and that are not there."""
    entries, files, mix = manifest["sources"], manifest["files"], manifest["config"]["mix"]
    needed = ["quarantine.jsonl", *JSONL.values(), *(f"{split}/{DATA}" for split in JSONL)]
    faults = [f"{MANIFEST} does not list {name}" for name in needed if name not in files]
    schedule = mix.get("schedule") or []
    for weights in [mix["weights"], *(stage["weights"] for stage in schedule)]:
        faults += [f"{MANIFEST} has a weight for {name}, which is no source" for name in weights if name not in entries]
        try:
            relative_weights(weights)
        except ConfigError as error:
            faults.append(f"{MANIFEST}: {error.what}")
    for name, entry in entries.items():
        if any(len(entry.get(what, [])) != len(schedule) for what in ("stages", "stage_rows")):
            faults.append(f"{MANIFEST} has other stages for {name} than the configuration")
        if name not in mix["weights"] and entry["quota"]:
            faults.append(f"{MANIFEST} has a quota for {name}, but no weight")
    return faults
