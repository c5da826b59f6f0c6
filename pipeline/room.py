"""Room on the disk: asked for before a folder is written, and what to say where the system refuses to write."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import StoreError

_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_ROOM = "make room (`python -m pipeline pools prune=true` removes what can be made again), or "
_FIXES = {
    errno.EIO: "check the disk (the system's log says more), or ",
    errno.EFBIG: "allow larger files (`ulimit -f unlimited`), or ",
}
_ELSEWHERE = "name another folder with out= or paths.…="


def require_place(setting: str, path: Path) -> None:
    """Raises: StoreError if a folder cannot be made at `path`, so that no work is done in vain."""
    above = _there(path)
    if not above.is_dir() or not os.access(above, os.W_OK):
        what = "is not a folder" if not above.is_dir() else "may not be written to"
        raise StoreError(f"{setting}={path}", f"{above} {what}", f"set {setting} to a folder that can be written")


def require_free(path: Path, fix: str = "name a new folder") -> None:
    """Raises: StoreError if something is there already; an empty folder is nothing."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise StoreError(f"out={path}", "there is something already", fix)


def require_room(path: Path, needed: float, fix: str = _ROOM + _ELSEWHERE) -> None:
    """Raises: StoreError if `needed` bytes, as far as one can tell, are more than is free where `path` will be."""
    free = free_bytes(path)
    if free is not None and needed > free:
        what = f"needs about {size_text(needed)}, and {size_text(free)} are free there"
        raise StoreError(str(path), what, fix)


def free_bytes(path: Path) -> int | None:
    """Bytes that may still be written where `path` is or will be; None where the system does not say."""
    above = _there(path)
    try:
        if not hasattr(os, "statvfs"):
            return shutil.disk_usage(above).free
        found = os.statvfs(above)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize if found.f_blocks else None  # some network folders have no sizes


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Raises: StoreError where the system refuses to write `path`, or below it."""
    try:
        yield
    except BrokenPipeError:  # of stdout, or of a process of ours
        raise
    except OSError as error:
        if error.errno is None:  # a library's own, not the system's
            raise
        raise refusal(path, error) from error


def refusal(path: Path, error: OSError, done: str = "written", elsewhere: str = _ELSEWHERE) -> StoreError:
    """What to say where `path` cannot be written, and what can be done: about the error, if that is known, or by
    going `elsewhere`."""
    fix = _ROOM if error.errno in _FULL else _FIXES.get(error.errno or 0, "")
    return StoreError(str(path), f"cannot be {done} ({_reason(path, error)})", fix + elsewhere)


def _reason(path: Path, error: OSError) -> str:
    """What the system says, and of a full disk how much is free where `path` is."""
    said = error.strerror or str(error)
    if error.errno not in _FULL:
        return said
    if error.errno == errno.ENOSPC and _without_inodes(path):
        return f"{said}: the file system can hold no more files"
    free = free_bytes(path)
    return said if free is None else f"{said}; {size_text(free)} are free there"


def _without_inodes(path: Path) -> bool:
    if not hasattr(os, "statvfs"):
        return False
    try:
        found = os.statvfs(_there(path))
    except OSError:
        return False
    return found.f_files > 0 and found.f_favail == 0


def _there(path: Path) -> Path:
    """The path, or the nearest above it that is there."""
    above = path.absolute()
    while not os.path.lexists(above) and above != above.parent:
        above = above.parent
    return above


def size_text(size: float) -> str:
    """`1.3 GiB`, `12 MiB`, `840 KiB`."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:,.{1 if size < 10 * unit else 0}f} {name}"
    return f"{size:,.0f} bytes"
