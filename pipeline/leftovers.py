"""Hidden names beside what is being written, and what killed processes leave under them.

Who writes NAME works on `.NAME.writing-PID` beside it, and holds the lock `.NAME.writing-PID.lock` from before its
first byte until nothing is left of it. So whoever gets that lock knows that the writer is dead, on whatever machine it
ran and whichever process has its number now.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from pipeline import ending

_HIDDEN = re.compile(r"\.(.+)\.writing-[0-9]+")
_LOCK, _OLD = ".lock", "-old"
_TRIES = 3
_open: dict[Path, Path] = {}  # hidden names in use by this process → what will stand there
_showing = threading.Lock()


@contextmanager
def hidden(target: Path) -> Generator[Path]:
    """A hidden name beside `target` that nobody else uses; what stands there when the block ends is removed.

    What dead writers left in the same folder goes first.
    """
    place = target.with_name(f".{target.name}.writing-{os.getpid()}")
    clear_leftovers(target.parent, target.name)
    with filelock.FileLock(f"{place}{_LOCK}"):
        _open[place] = target
        try:
            yield place
        finally:
            _clear(place, target)
            del _open[place]


@contextmanager
def showing() -> Generator[None]:
    """While a folder takes its place: the end of the program waits for that, and lets no other one begin."""
    with _showing:
        yield


def aside(place: Path) -> Path:
    """Where the old folder stands while the new one takes its place in two steps."""
    return Path(f"{place}{_OLD}")


def clear_leftovers(
    folder: Path, name: str | None = None, every: bool = False, tell: Callable[[Path], object] = lambda _: None
) -> None:
    """Remove what dead writers left in a folder; where one died between the two steps of an exchange, the old folder
    takes its place again.

    Only what has its lock beside it, as every writer leaves it, and all that is named like one of `name`'s (whose lock
    the caller holds); with `every`, where the folder is ours alone, whatever is named so. `tell` gets each that goes.
    """
    places: set[Path] = set()
    for found in _names(folder):
        base = found.removesuffix(_LOCK).removesuffix(_OLD)
        match = _HIDDEN.fullmatch(base)
        if match is not None and (every or match[1] == name or found.endswith(_LOCK)):
            places.add(folder / base)
    for place in sorted(places - _open.keys()):
        target = place.with_name(place.name[1:].rpartition(".writing-")[0])
        # What may not be removed, or is another user's, is left to those who may.
        with suppress(OSError), filelock.FileLock(f"{place}{_LOCK}").acquire(blocking=False):
            if os.path.lexists(place):
                tell(place)
            _clear(place, target)


def _names(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.startswith(".")]
    except OSError:
        return []


def _clear(place: Path, target: Path) -> None:
    """Put back what an unfinished exchange took away, and remove all hidden names of a writer, its lock the last."""
    if os.path.lexists(aside(place)) and not os.path.lexists(target):
        aside(place).rename(target)
    for path in (place, aside(place)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if not (os.path.lexists(place) or os.path.lexists(aside(place))):  # or nobody would look for the rest
        with suppress(OSError):
            os.unlink(f"{place}{_LOCK}")


def _clear_open() -> None:
    """The same for all that this process writes, as it ends while other threads may still write there."""
    if not _showing.acquire(timeout=0.2):  # never given back: nothing may be shown any more
        return
    for place, target in list(_open.items()):
        for _ in range(_TRIES):
            _clear(place, target)
            if not os.path.lexists(place):
                break


ending.at_end(_clear_open)
