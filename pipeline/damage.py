"""What is wrong with a folder that was written whole, said before it is used or made again."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from pipeline.errors import StoreError
from pipeline.folder import damaged_manifest
from pipeline.store import damaged_file, open_table

_LOG = logging.getLogger(__name__)


def damage(folder: Path, format: str) -> str | None:
    """What is wrong with a folder that should hold a result of this format.

    None where it is whole, where nothing is there, and where it is of another format.
    """
    if not os.path.lexists(folder):
        return None
    if fault := damaged_manifest(folder):
        return fault
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return "manifest.json is no JSON"
    if not isinstance(manifest, dict) or manifest.get("format") != format:
        return None if isinstance(manifest, dict) and isinstance(manifest.get("format"), str) else "no manifest"
    return damaged_file(folder, manifest.get("files"))


def warn_if_damaged(name: str, folder: Path, format: str) -> None:
    """Say that what is made now was there, and what was wrong with it."""
    if fault := damage(folder, format):
        _LOG.warning("warning: %s was damaged (%s): made again", name, fault)


class Place(Protocol):
    """A bundle, a pool or sequences: a folder with a manifest that lists its files."""

    @property
    def folder(self) -> Path: ...
    @property
    def manifest(self) -> Mapping[str, Any]: ...


def require_whole(place: Place, names: Sequence[str] | None = None) -> None:
    """Raises: StoreError if a file (of `names`, or any) is not the one that the manifest tells of.

    Arrow trusts what it maps, and changed bytes could end the process: ask this of a file before it is opened.
    """
    fault = damaged_file(place.folder, place.manifest.get("files"), names)
    if fault is not None:
        raise StoreError(str(place.folder), fault, "build it again")


def whole_table(place: Place, name: str) -> pa.Table:
    """A table of a folder, memory-mapped, after its bytes were compared. Raises: StoreError as `require_whole`."""
    require_whole(place, [name])
    return open_table(place.folder / name)
