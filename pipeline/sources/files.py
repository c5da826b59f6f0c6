"""Finding raw files and opening them: one file, a glob or a folder; plain, .gz or .zst."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from pipeline.errors import SourceError, known_names, nearest
from pipeline.folder import read_digest

FORMATS = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True)
class RawFile:
    """One raw file: its path, its name as reported (relative to the folder or glob), format and compression."""

    path: Path
    name: str
    format: str
    compression: str | None

    def open(self) -> BinaryIO:
        """The decompressed bytes as a stream."""
        return pa.input_stream(str(self.path), compression=self.compression, buffer_size=1 << 20)

    @property
    def delimiter(self) -> str:
        """What separates the cells of a CSV with this ending, unless the settings say otherwise."""
        return "\t" if ".tsv" in (suffix.lower() for suffix in self.path.suffixes) else ","

    def digest(self) -> tuple[int, str]:
        """Size in bytes and xxh3-128 of the file as it lies on disk."""
        return read_digest(self.path)

    def trace(self) -> tuple[int, ...]:
        """What changes where the file is written to or replaced: bytes, time of change in ns, and which file it is."""
        found = self.path.stat()
        return (found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev)


def find_files(source: str, path: str, format: str | None = None) -> list[RawFile]:
    """The raw files behind `path`, sorted by name, so that a listing's order never matters.

    A folder stands for the files directly inside it that have a known ending; hidden ones are left out. A link to a
    file counts as that file, wherever it lies (the hub's cache is made of such).
    Raises: SourceError if there is nothing to read.
    """
    where, place = f"source {source}", Path(path).expanduser()
    if _ADDRESS.match(path):
        what = f"{path} is an address, and raw data are read from files"
        raise SourceError(where, what, f"set sources.{source}.hub=ORG/NAME for a data set on the hub, or path=FILE")
    if place.is_dir():
        found = [
            file
            for file in place.iterdir()
            if is_regular(file) and format_of(file)[0] and not file.name.startswith(".")
        ]
        if not found:
            raise SourceError(
                where,
                f"no data files in the folder {path} (known endings: {' '.join(FORMATS)})",
                f"set sources.{source}.path to a file, a glob or a folder with data",
            )
        root = place
    elif is_regular(place):
        found, root = [place], place.parent
    elif glob.has_magic(path):
        found = [file for file in _matches(str(place)) if is_regular(file)]
        if not found:
            raise SourceError(where, f"no file matches {path}", f"set sources.{source}.path to an existing file")
        root = Path(glob_root(str(place)))
    else:
        if place.exists():
            what = f"{path} is a device, a pipe or of the system, no regular file"
            raise SourceError(where, what, f"copy its content to a file, and set sources.{source}.path to that")
        if place.is_symlink():
            raise SourceError(where, f"{path} is a link that leads nowhere", f"set sources.{source}.path to a file")
        siblings = [file.name for file in place.parent.iterdir()] if place.parent.is_dir() else []
        hint = f" ({known_names(place.name, siblings)})" if nearest(place.name, siblings) else ""
        raise SourceError(where, f"no file {path}{hint}", f"set sources.{source}.path to an existing file")
    files = [_raw_file(source, file, root, format) for file in found]
    return sorted(files, key=lambda file: file.name.encode())


def is_regular(path: Path) -> bool:
    """A file, or a link to one, that has an end: no device, no pipe, and nothing in /proc, where the environment of a
    process is a file, too."""
    return path.is_file() and not path.resolve().is_relative_to("/proc")


def _matches(pattern: str) -> set[Path]:
    """What a glob matches. `**` goes into folders, but not through links to them, which may lead round in circles."""
    every = "/*" if f"/{pattern}".endswith("/**") else ""
    before, wild, after = f"/{pattern}{every}".partition("/**/")
    if not wild:
        return {Path(name) for name in glob.glob(pattern)}
    found: set[Path] = set()
    for root in glob.glob(before[1:] or ("/" if pattern.startswith("/") else ".")):
        for folder, inside, _ in os.walk(root):
            inside[:] = [name for name in inside if not name.startswith(".")]
            found |= _matches(f"{glob.escape(folder)}/{after}")
    return found


def glob_root(pattern: str) -> str:
    """The longest folder of a pattern that has no wildcard."""
    parts: list[str] = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return str(Path(*parts)) if parts else "."


def format_of(path: Path) -> tuple[str | None, str | None]:
    """The format and the compression that a file's ending stands for."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression:
        suffixes.pop()
    return (FORMATS.get(suffixes[-1]) if suffixes else None), compression


def _raw_file(source: str, path: Path, root: Path, format: str | None) -> RawFile:
    known, compression = format_of(path)
    chosen = format or known
    if chosen is None:
        raise SourceError(
            f"source {source}",
            f"cannot tell the format of {path} (known endings: {' '.join(FORMATS)})",
            f"set ++sources.{source}.format to one of {', '.join(sorted(set(FORMATS.values())))}",
        )
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode("utf-8", "backslashreplace").decode()
        raise SourceError(f"source {source}", f"the name of {shown} is no UTF-8", "rename the file") from error
    name = path.relative_to(root) if path.is_relative_to(root) else path
    return RawFile(path, name.as_posix(), chosen, compression)


def chunks(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """The stream in pieces of `size` bytes, the last one shorter."""
    while chunk := stream.read(size):
        yield chunk
