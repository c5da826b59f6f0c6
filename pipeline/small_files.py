"""Files that are read as a whole: manifests, templates, what a model's folder says of itself. None has to be large."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 64 << 20


def require_regular(path: Path) -> Path:
    """The path itself. Raises: OSError for a device, a pipe or a socket, which may never begin or never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return path


def read_small(path: Path) -> bytes:
    """The bytes. Raises: OSError, also for a file of more than `MOST_BYTES`, and for a device, a pipe or a socket."""
    with require_regular(path).open("rb") as stream:
        return small(stream, path)


def small(stream: BinaryIO, path: Path) -> bytes:
    """What an open file has from here on. Raises: OSError, also for more than `MOST_BYTES`."""
    size = os.fstat(stream.fileno()).st_size
    if size > MOST_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MOST_BYTES >> 20} MiB", str(path))
    return stream.read(size)


def read_small_text(path: Path) -> str:
    """The text, its lines ended by a line feed. Raises: as `read_small`; UnicodeDecodeError if it is not UTF-8."""
    return io.TextIOWrapper(io.BytesIO(read_small(path)), encoding="utf-8").read()
