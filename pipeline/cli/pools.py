"""List the pools (the normalized rows of each source, kept for every mix), make them, remove old ones.

Examples:
  python -m pipeline pools
  python -m pipeline pools make=true mix=math_heavy
  python -m pipeline pools make=true corpus=hub sources.alpaca.path=my_rows.json
  python -m pipeline pools make=true mix=custom '+sources.mine={path: f.csv, shape: alpaca}'
  python -m pipeline pools prune=true

Often used:
  make=true         read and normalize the sources of the mix, the first stage of a build: the
                    groups and settings of a build work with it only, and weights do not matter
  prune=true        remove what is not the newest pool of its source, and the texts and token ids
                    kept beside the newest. Bundles stay whole; what is needed again is made again
  paths.pools=DIR   the folder with the pools

The newest pool of a source, the one last made or used, has a star. The last line printed is the
pools' folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.cli.front import Job
from pipeline.errors import ConfigError, ConfigErrors, PoolmixError

# What may be set without make=true; everything else would have no effect.
_OF_THE_LIST = ("make", "prune", "paths", "hydra")


@dataclass(frozen=True)
class _Entry:
    """A pool: its folder, whether it is the newest of its source, and what its manifest says, if it has no `faults`."""

    folder: Path
    newest: bool
    bytes: int
    manifest: dict[str, Any]
    faults: list[str]


def run(config: dict[str, Any], job: Job) -> None:
    """Make and prune as asked, list the pools, and print their folder."""
    from pipeline.report import table
    from pipeline.room import writing
    from pipeline.settings import Settings, read_paths

    errors: list[PoolmixError] = []
    top = Settings(config, "", errors)
    make, prune = (
        bool(top.required(name, lambda value: isinstance(value, bool), "true or false", "true", False))
        for name in ("make", "prune")
    )
    pools = read_paths(config, errors).pools
    if not make:
        keys = {override: override.lstrip("+~").partition("=")[0] for override in job.overrides}
        errors += [
            ConfigError(override, "has no effect on a list of the pools", "add make=true to make the pools")
            for override, key in keys.items()
            if key.split(".")[0] not in _OF_THE_LIST
        ]
    if errors:
        raise ConfigErrors(errors)
    if make:
        _make(config)
    if prune:
        from pipeline.locks import removing

        with removing(pools) if pools.is_dir() else nullcontext(), writing(pools):
            _prune(pools)
    entries = list(_entries(pools))
    head = ["  pool", "rows", "raw rows", "quarantined", "bytes", "made", "raw files"]
    lines = table(head, [_cells(entry) for entry in entries]) if entries else ["no pools yet: make=true makes them"]
    print("\n".join(lines))
    print(pools)


def _make(config: dict[str, Any]) -> None:
    from pipeline.cli import prepare_libraries, root

    prepare_libraries(config.get("threads"))
    from pipeline.build import make_pools
    from pipeline.configuration import read_build
    from pipeline.locks import using

    mix: dict[str, Any] = config.get("mix") or {}
    weights = dict.fromkeys(config.get("sources") or {}, 1) | (mix.get("weights") or {})  # pools need none
    build = {name: value for name, value in config.items() if name not in ("make", "prune")}
    settings = read_build(build | {"mix": mix | {"weights": weights}}, root())
    with using(settings.paths.pools):
        make_pools(settings, lambda line: print(line, flush=True))


def _entries(pools: Path) -> Iterator[_Entry]:
    """The pools by name, the newest of each source first, then the youngest. Other folders are passed over."""
    from pipeline.verify.manifest import pool_folders, pool_manifest

    for source in sorted(pools.iterdir()) if pools.is_dir() else []:
        newest = _newest(source)
        found = [
            _Entry(folder, folder.name == newest, _size(folder), *pool_manifest(folder))
            for folder in pool_folders(source)
        ]
        there = [entry for entry in found if entry.folder.exists()]  # not removed by another process, just now
        yield from sorted(there, key=lambda entry: (not entry.newest, -_made(entry.folder), entry.folder.name))


def _newest(source: Path) -> str:
    from pipeline.pointer import read_pointer

    return read_pointer(source / "latest")


def _made(folder: Path) -> float:
    manifest = folder / "manifest.json"
    return (manifest if manifest.exists() else folder).stat().st_mtime


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _cells(entry: _Entry) -> list[str]:
    from pipeline.visible import visible

    name = f"{'*' if entry.newest else ' '} {visible(entry.folder.parent.name)}/{entry.folder.name}"
    made = datetime.fromtimestamp(_made(entry.folder)).strftime("%Y-%m-%d %H:%M")
    manifest = entry.manifest
    if entry.faults:
        return [name, "damaged", "–", "–", f"{entry.bytes:,}", made, visible(entry.faults[0])]
    files = [visible(file["path"]) for file in manifest["inputs"]] or ["(configuration)"]
    return [
        name,
        f"{manifest['rows']:,}",
        f"{manifest['raw_rows']:,}",
        f"{sum(manifest['quarantined'].values()):,}",
        f"{entry.bytes:,}",
        made,
        f"{files[0]} and {len(files) - 1:,} more" if len(files) > 1 else files[0],
    ]


def _is_pool(folder: Path) -> bool:
    """Whether a folder says of itself that it is this pool, damaged or not."""
    from pipeline.pool import FORMAT
    from pipeline.store import read_manifest

    manifest = read_manifest(folder, FORMAT)
    return manifest is not None and manifest.get("fingerprint") == folder.name


def _prune_beside(pools: Path, pool: Path) -> int:
    """Remove what is kept beside a pool's rows; returns its bytes."""
    from pipeline.pool import KEPT
    from pipeline.store import lock, remove_folder

    freed = 0
    for name in KEPT:
        freed += _clear(pool / name, pool.parent.name, ours=True)
        for kept in sorted((pool / name).glob("[!.]*")):
            with lock(pools, kept):
                if not kept.is_dir():  # by another process, just now
                    continue
                size = _size(kept)
                remove_folder(kept)
            print(f"removed  {pool.parent.name}/{name}/{kept.name}  {size:,} bytes")
            freed += size
    return freed


def _clear(folder: Path, source: str, ours: bool) -> int:
    """Remove what killed processes left half-written in a folder, which may be `ours` alone; returns its bytes."""
    from pipeline.leftovers import clear_leftovers

    found: list[int] = []

    def tell(path: Path) -> None:
        found.append(_size(path) if path.is_dir() else path.stat().st_size)
        print(f"removed  {source}/{path.name}  {found[-1]:,} bytes, half-written")

    clear_leftovers(folder, every=ours, tell=tell)
    return sum(found)


def _prune(pools: Path) -> None:
    """Remove every pool that is not the newest of its source, what is kept beside the newest, and what killed
    processes left half-written."""
    from pipeline.store import lock, remove_folder

    freed = 0
    for source in sorted(path for path in pools.glob("[!.]*") if path.is_dir()):
        freed += _clear(source, source.name, ours=(source / "latest").is_file())
    for entry in list(_entries(pools)):
        folder = entry.folder
        if not _is_pool(folder):  # it cannot be told whose it is
            continue
        if entry.newest or not _newest(folder.parent):
            freed += _prune_beside(pools, folder) if entry.newest else 0
            continue
        with lock(pools, folder):
            if _newest(folder.parent) == folder.name or not folder.is_dir():  # by another process, just now
                continue
            remove_folder(folder)
        print(f"removed  {folder.parent.name}/{folder.name}  {entry.bytes:,} bytes")
        freed += entry.bytes
    print(f"freed    {freed:,} bytes")
