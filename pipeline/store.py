"""Folders on disk: written beside, synced, and shown in one step; and reading them back.

Nothing half-written is ever visible: a folder is filled under a hidden name, its manifest (with the digest
of each file) comes last, everything is synced, and then the folder takes its place by one rename. Where a
folder stands there already, the two are exchanged (`renameat2` on Linux, two renames elsewhere).
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import xxhash

from pipeline.errors import StoreError, known_names
from pipeline.folder import DATA, Folder, damaged_manifest, file_digest, is_listing
from pipeline.leftovers import aside, hidden, showing
from pipeline.locks import locked
from pipeline.names import is_inside, require_parts
from pipeline.pointer import read_pointer
from pipeline.room import writing
from pipeline.small_files import read_small

_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


@contextmanager
def new_folder(target: Path, keep_cached: bool = False) -> Generator[Folder]:
    """A folder that appears at `target` when the block ends without an error, and leaves no trace otherwise.

    Hold `lock` for the target. What killed processes left half-written in the same folder is removed here.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with hidden(target) as place:
        place.mkdir()
        yield Folder(place, keep_cached)
        for folder in sorted({path.parent for path in place.rglob("*")} | {place}):
            _sync_folder(folder)
        with showing():
            _publish(place, target)
        _sync_folder(target.parent)


def remove_folder(target: Path) -> None:
    """Remove a folder: out of sight in one step, so that nobody sees a part of it."""
    with hidden(target) as place, showing():
        target.rename(place)


def _publish(place: Path, target: Path) -> None:
    if not target.exists():
        place.rename(target)
    elif not _exchange(place, target):
        target.rename(aside(place))
        place.rename(target)


def _exchange(a: Path, b: Path) -> bool:
    """Exchange two folders in one step, where the system can."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    return libc.renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def lock(pools: Path, target: Path) -> Generator[bool]:
    """Only one process at a time writes `target`; a dead process holds nothing. See `locked`, which it gives."""
    name = xxhash.xxh3_64_hexdigest(os.fsencode(target.resolve()))
    with locked(pools / ".locks" / f"{name}.lock", f"writes {target}") as waited:
        yield waited


def write_pointer(path: Path, text: str) -> None:
    """Replace a small text file of one line (`latest`) in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, text + "\n")


def replace_text(path: Path, text: str) -> None:
    """Replace a text file in one step: a reader sees the old one or the new one."""
    with hidden(path) as place:
        # never through a link that stands there; a path may have bytes that are no UTF-8
        with place.open("x", encoding="utf-8", errors="surrogateescape", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        place.replace(path)


def damaged_file(folder: Path, files: Any, names: Iterable[str] | None = None) -> str | None:
    """What is wrong with the first file that is not as its manifest says, or None."""
    if not is_listing(files):
        return "manifest.json does not list the files"
    for name in files if names is None else names:
        path = folder / name
        if not is_inside(name):
            return f"{name} is no file of its folder"
        if name not in files:
            return f"{name} is not in manifest.json"
        if not path.is_file():
            return f"{name} is missing"
        try:
            if path.stat().st_size != files[name]["bytes"]:
                return f"{name} has {path.stat().st_size:,} bytes, not {files[name]['bytes']:,}"
            if file_digest(path) != files[name]["xxh3_128"]:
                return f"{name} has other bytes than when it was written"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror or error})"
    return None


def read_manifest(folder: Path, format: str, name: str = "manifest.json") -> dict[str, Any] | None:
    """What the manifest in a folder says, or None if there is none of this format."""
    try:
        manifest = json.loads(read_small(folder / name))
    except (OSError, ValueError, RecursionError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("format") == format else None


def require_own(folder: Path, format: str, what: str, name: str = "manifest.json", signs: Sequence[str] = ()) -> None:
    """Raises: StoreError unless nothing is lost when `folder` is replaced: it is free, or has a manifest of this
    format, or, where that is damaged, what else tells such a folder (`signs`)."""
    if folder.is_symlink():
        raise StoreError(f"out={folder}", "is a link, which would be replaced", f"name the folder: {folder.resolve()}")
    if not folder.exists() or read_manifest(folder, format, name) is not None:
        return
    if not folder.is_dir():
        raise StoreError(f"out={folder}", "is no folder", "name a new or empty folder")
    with writing(folder):
        is_free = not any(folder.iterdir())
    if not is_free and not (signs and all((folder / sign).exists() for sign in signs)):
        fault = f"the folder holds something else than {what}"
        raise StoreError(f"out={folder}", fault, "name a new or empty folder")


def whole_manifest(folder: Path, format: str) -> dict[str, Any] | None:
    """The same, or None where one of the folder's files is not as it was written."""
    manifest = read_manifest(folder, format)
    if manifest is None or damaged_manifest(folder) or damaged_file(folder, manifest.get("files")):
        return None
    return manifest


def open_table(path: Path) -> pa.Table:
    """An Arrow stream file as a memory-mapped table. Raises: StoreError if it is none."""
    try:
        return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(str(path), f"not a readable Arrow stream ({error})", "build it again") from error


def pool_folder(name: str, pools: str | Path = "data_pools/pools") -> Path:
    """The newest pool of a source. Raises: StoreError if it has none."""
    root = Path(pools)
    pointer = root / name / "latest"
    if not pointer.is_file():
        known = [place.name for place in root.iterdir() if (place / "latest").is_file()] if root.is_dir() else []
        raise StoreError(
            f"pool {name}",
            f"not made yet in {root} ({known_names(name, known)})",
            "run `python -m pipeline build`, or name another folder with paths.pools=DIR",
        )
    newest = read_pointer(pointer)
    require_parts(pointer, [newest])
    return root / name / newest


def scan_pool(name: str, pools: str | Path = "data_pools/pools") -> pl.LazyFrame:
    """The newest pool of a source as a Polars LazyFrame, read lazily from the memory-mapped Arrow file.

    Columns and predicates are pushed down: only what a query asks for is touched, after the files' bytes were compared
    with their digests. Raises: StoreError if there is no pool, or if it is damaged.
    """
    from polars.io.plugins import register_io_source

    from pipeline.pool import open_pool

    path = open_pool(name, Path(pools)).folder / DATA
    first = pl.DataFrame(pl.from_arrow(open_table(path).schema.empty_table()))

    def batches(
        columns: Sequence[str] | None, predicate: pl.Expr | None, n_rows: int | None, _batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        left = n_rows
        for batch in pa.ipc.open_stream(pa.memory_map(str(path))):
            chosen = batch.select(columns) if columns is not None else batch
            frame = pl.DataFrame(pl.from_arrow(chosen))
            if left is not None:
                frame = frame.head(left)
                left -= len(frame)
            yield frame.filter(predicate) if predicate is not None else frame
            if left == 0:
                return

    return register_io_source(batches, schema=first.schema)
