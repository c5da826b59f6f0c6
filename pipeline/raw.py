"""The raw files of a source: found, noted with their bytes and digests, and compared once more when they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pipeline.errors import SourceError
from pipeline.sources.files import RawFile, find_files
from pipeline.sources.source import Source

# Bytes of a pool for a byte of its raw files, as measured: JSON 1.5 to 3.1, short rows the most; Parquet is compressed
# in itself. And of a file for a byte of it under gzip or zstd: 3.2 to 4.
_GROWTH = {"json": 2.2, "csv": 2.9, "parquet": 8.0, "arrow": 2.6}
_EXPANSION = 3.5
_Read = TypeVar("_Read")


def raw_files(source: Source) -> tuple[list[RawFile], str | None]:
    """The files of a source, and for one on the hub its resolved commit."""
    if source.hub is not None:
        from pipeline.sources.hub import fetch

        found = fetch(source.name, source.hub, source.revision, source.files, source.format)
        return found.files, found.commit
    return (find_files(source.name, source.path, source.format) if source.path is not None else []), None


def pool_bytes(files: Sequence[RawFile], inputs: Sequence[dict[str, Any]]) -> float:
    """About how many bytes a pool of these raw files will have: rows, and lines for JSONL."""
    return sum(
        said["bytes"] * _GROWTH[file.format] * (_EXPANSION if file.compression else 1)
        for file, said in zip(files, inputs, strict=True)
    )


def inputs_of(source: Source, files: Sequence[RawFile]) -> list[dict[str, Any]]:
    """What a manifest says of the raw files. Raises: SourceError if one cannot be read."""
    inputs: list[dict[str, Any]] = []
    for file in files:
        size, digest = _read_of(source, file, file.digest)
        inputs.append({"path": file.name, "bytes": size, "xxh3_128": digest})
    return inputs


def traces_of(source: Source, files: Sequence[RawFile]) -> list[tuple[int, ...]]:
    """What tells without reading that a file was changed. Raises: SourceError if one cannot be read."""
    return [_read_of(source, file, file.trace) for file in files]


def _read_of(source: Source, file: RawFile, read: Callable[[], _Read]) -> _Read:
    """What `read` gives. Raises: SourceError if the file cannot be read."""
    try:
        return read()
    except OSError as error:
        raise SourceError(
            f"source {source.name}, {file.name}", f"cannot be read ({error})", "mend or replace the file"
        ) from error


def require_unchanged(
    source: Source, files: Sequence[RawFile], traces: Sequence[tuple[int, ...]], inputs: Sequence[dict[str, Any]]
) -> None:
    """Raises: SourceError if a raw file is not the one any more that the pool's address was made of.

    Neither suffices alone: a clock may be too coarse for two changes, and bytes may be put back.
    """
    for file, trace, said in zip(files, traces, inputs, strict=True):
        same = _read_of(source, file, file.trace) == trace
        if not same or _read_of(source, file, file.digest) != (said["bytes"], said["xxh3_128"]):
            raise SourceError(
                f"source {source.name}, {file.name}",
                "changed while it was being read",
                "run the command again when nothing writes to the file any more",
            )
