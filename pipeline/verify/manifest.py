"""Whether a manifest can be relied on: its entries are of the types that they must be, and its bytes are its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pipeline.bundle import JSONL
from pipeline.entries import PoolManifest, misfit
from pipeline.errors import ConfigError
from pipeline.folder import DATA, SEAL, is_sealed
from pipeline.mix.plan import relative_weights
from pipeline.pool import FORMAT
from pipeline.small_files import read_small

MANIFEST = "manifest.json"


def wrong_manifest(folder: Path, kind: Any) -> tuple[dict[str, Any], list[str]]:
    """The manifest in a folder, and a line for each fault: its own bytes, and entries that are not what `kind` says."""
    try:
        data = read_small(folder / MANIFEST)
        manifest = msgspec.json.decode(data)
    except FileNotFoundError:
        return {}, [f"{MANIFEST} is missing"]
    except OSError as error:
        return {}, [f"{MANIFEST} cannot be read ({error.strerror or error})"]
    except (ValueError, RecursionError) as error:
        return {}, [f"{MANIFEST} is not as it is written ({error})"]
    fault = misfit(manifest, kind)
    if fault is not None:
        return {}, [f"{MANIFEST} is {fault}"]
    sealed = is_sealed(data)
    if sealed is None:
        return manifest, [f"{MANIFEST} has no {SEAL} of its own as its last entry"]
    return manifest, [] if sealed else [f"{MANIFEST} has other bytes than when it was written"]


def pool_manifest(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """What the manifest of a pool says, {} where nothing in it can be relied on, and a line for each fault."""
    manifest, faults = wrong_manifest(folder, PoolManifest)
    own = (FORMAT, folder.name, folder.parent.name)
    if manifest and (manifest["format"], manifest["fingerprint"], manifest["name"]) != own:
        return {}, [*faults, f"{MANIFEST} is that of another pool, or of another version"]
    return manifest, faults


def pool_folders(source: Path) -> list[Path]:
    """The folders of a source's pools by name, a fingerprint; damaged ones too."""
    return sorted(source.glob("[0-9a-f]" * 16))


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
