"""Results kept beside a pool: made once, addressed by what they depend on, and made again when damaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.damage import warn_if_damaged
from pipeline.folder import DATA, Folder
from pipeline.room import require_room, writing
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


def keep(pools: Path, folder: Path, format: str, make: Callable[[Folder], dict[str, Any]], needed: float = 0) -> Kept:
    """What lies in `folder` if it is whole; otherwise `make` writes it and returns what its manifest should say.

    `needed` is about how many bytes it will write. `make` may be called again after it raised. Whatever it raises
    passes through, and nothing is left behind. Raises: StoreError if the folder cannot be written.
    """
    with writing(folder), lock(pools, folder):
        found = whole_manifest(folder, format)
        if found is not None:
            return Kept(folder, found, made=False)
        warn_if_damaged(folder.relative_to(pools).as_posix(), folder, format)
        require_room(folder, needed)
        with new_folder(folder, keep_cached=True) as target, writing(folder):
            manifest = target.write_manifest({"format": format, **make(target), "files": dict(target.files)})
    return Kept(folder, manifest, made=True)
