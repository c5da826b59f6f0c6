"""Results kept beside a pool: made once, addressed by what they depend on, and made again when damaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.folder import DATA, Folder
from pipeline.store import lock, new_folder, open_table, whole_manifest


@dataclass(frozen=True)
class Kept:
    """A table on disk with its manifest, a row for each row of the pool."""

    folder: Path
    manifest: dict[str, Any]
    made: bool  # by this command, not found ready

    def table(self) -> pa.Table:
        """The table, memory-mapped."""
        return open_table(self.folder / DATA)


def keep(pools: Path, folder: Path, format: str, make: Callable[[Folder], dict[str, Any]]) -> Kept:
    """What lies in `folder` if it is whole; otherwise `make` writes it and returns what its manifest should say.

    `make` may be called again after it raised. Whatever it raises passes through, and nothing is left behind.
    """
    with lock(pools, folder):
        found = whole_manifest(folder, format)
        if found is not None:
            return Kept(folder, found, made=False)
        with new_folder(folder, keep_cached=True) as target:
            manifest = {"format": format, **make(target), "files": dict(target.files)}
            target.write_json("manifest.json", manifest)
    return Kept(folder, manifest, made=True)
