"""A folder being written: each file synced, its size and digest noted for the manifest."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import xxhash

from pipeline.schema import dataset_features, with_features
from pipeline.small_files import read_small

DATA = "data-00000-of-00001.arrow"
# So much is written before it is synced and dropped from the page cache: a large result then neither piles
# up unwritten nor pushes out what is read.
_SYNC_BYTES = 16 << 20
# Read at once for a digest: what fits into a processor's cache is read fastest.
_READ_BYTES = 1 << 20
SEAL = "xxh3_128"  # of a manifest: the digest of its own bytes


class _DigestWriter:
    """A file being written, with its size and xxh3-128 as it grows."""

    closed = False

    def __init__(self, stream: BinaryIO, keep_cached: bool) -> None:
        self.stream, self.bytes, self.state = stream, 0, xxhash.xxh3_128()
        self._keep_cached, self._synced = keep_cached, 0

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self.stream.write(view)
        self.state.update(view)
        self.bytes += view.nbytes
        if not self._keep_cached and self.bytes - self._synced >= _SYNC_BYTES:
            self.sync()
        return view.nbytes

    def flush(self) -> None:
        self.stream.flush()

    def sync(self) -> None:
        """Bring everything so far to the disk."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        if not self._keep_cached and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self._synced = self.bytes


class Folder:
    """A folder being written; `files` collects what its manifest says of each file.

    `keep_cached` says that its files are read again at once and should stay in the page cache.
    """

    def __init__(self, path: Path, keep_cached: bool = False) -> None:
        self.path, self.keep_cached = path, keep_cached
        self.files: dict[str, dict[str, Any]] = {}

    @contextmanager
    def open(self, name: str) -> Generator[_DigestWriter]:
        """A new file in the folder, synced when closed."""
        target = self.path / name
        if not self.path.is_dir():  # removed by who ends the program: it is not made again
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path))
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as stream:
            writer = _DigestWriter(stream, self.keep_cached)
            yield writer
            writer.sync()
        self.files[name] = {"bytes": writer.bytes, "xxh3_128": writer.state.hexdigest()}

    def adopt(self) -> None:
        """Take the files that a library wrote here for the folder's own: synced, noted, and readable by whoever may
        read the others (safetensors writes for the owner alone)."""
        mode = self.path.stat().st_mode & 0o666
        for path in sorted(self.path.rglob("*")):
            name = path.relative_to(self.path).as_posix()
            if path.is_file() and name not in self.files:
                path.chmod(mode)
                with path.open("rb+") as stream:
                    os.fsync(stream.fileno())
                self.files[name] = file_entry(path)

    def write_text(self, name: str, text: str) -> None:
        """A text file in UTF-8."""
        with self.open(name) as stream:
            stream.write(text.encode())

    def write_manifest(self, value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        """`manifest.json`, sealed; returns what it says."""
        text = sealed(value)
        self.write_text(f"{prefix}manifest.json", text)
        del self.files[f"{prefix}manifest.json"]  # it answers for itself
        return json.loads(text)

    def write_json(self, name: str, value: Any) -> None:
        """An indented JSON file in UTF-8."""
        self.write_text(name, json.dumps(value, ensure_ascii=False, indent=2) + "\n")

    @contextmanager
    def table(self, name: str, schema: pa.Schema) -> Generator[pa.ipc.RecordBatchStreamWriter]:
        """A file of record batches, an Arrow stream."""
        with self.open(name) as stream, pa.ipc.new_stream(pa.PythonFile(stream, mode="w"), schema) as writer:
            yield writer

    @contextmanager
    def dataset(self, name: str, schema: pa.Schema) -> Generator[pa.ipc.RecordBatchStreamWriter]:
        """A split as `datasets.save_to_disk` lays it out, in the subfolder `name` ("" for the folder itself)."""
        prefix = f"{name}/" if name else ""
        with self.table(prefix + DATA, with_features(schema)) as writer:
            yield writer
        fingerprint = self.files[prefix + DATA]["xxh3_128"][:16]
        self.write_json(
            prefix + "state.json",
            {
                "_data_files": [{"filename": DATA}],
                "_fingerprint": fingerprint,
                "_format_columns": None,
                "_format_kwargs": {},
                "_format_type": None,
                "_output_all_columns": False,
                "_split": name.rpartition("/")[2] or None,
            },
        )
        self.write_json(
            prefix + "dataset_info.json",
            {"citation": "", "description": "", "features": dataset_features(schema), "homepage": "", "license": ""},
        )


def file_entry(path: Path) -> dict[str, Any]:
    """What a manifest says of a file."""
    return {"bytes": path.stat().st_size, "xxh3_128": file_digest(path)}


def file_digest(path: Path) -> str:
    """xxh3-128 of a file's bytes, as 32 hex digits."""
    return read_digest(path)[1]


def read_digest(path: Path) -> tuple[int, str]:
    """How many bytes a file has, and their xxh3-128.

    Read, not mapped: what cannot be read is an OSError so, and not the end of the process.
    """
    state, size = xxhash.xxh3_128(), 0
    with path.open("rb", buffering=0) as stream:
        piece = memoryview(bytearray(min(_READ_BYTES, os.fstat(stream.fileno()).st_size + 1)))
        while count := stream.readinto(piece):
            state.update(piece[:count])
            size += count
    return size, state.hexdigest()


def sealed(value: dict[str, Any]) -> str:
    """A manifest as text, its last entry the digest of all bytes before that."""
    own = {name: entry for name, entry in value.items() if name != SEAL}
    head = json.dumps(own, ensure_ascii=False, indent=2).removesuffix("\n}") + ",\n"
    return head + _seal(head.encode())


def _seal(head: bytes) -> str:
    return f'  "{SEAL}": "{xxhash.xxh3_128_hexdigest(head)}"\n}}\n'


def is_sealed(data: bytes) -> bool | None:
    """Whether the bytes of a manifest are those that were written; None for one that does not say."""
    begin = data.rfind(b'  "' + SEAL.encode())
    if begin < 0 or data[begin - 2 : begin] != b",\n":
        return None
    return data[begin:] == _seal(data[:begin]).encode()


def damaged_manifest(folder: Path) -> str | None:
    """What is wrong with `manifest.json` by its own digest, or None; an older one has none."""
    try:
        data = read_small(folder / "manifest.json")
    except OSError as error:
        return f"manifest.json cannot be read ({error.strerror or error})"
    return "manifest.json has other bytes than when it was written" if is_sealed(data) is False else None


def is_listing(files: Any) -> bool:
    """Whether this is what a manifest says of files: name → bytes and xxh3_128."""
    return isinstance(files, dict) and all(
        isinstance(entry, dict) and isinstance(entry.get("bytes"), int) and isinstance(entry.get("xxh3_128"), str)
        for entry in files.values()
    )
