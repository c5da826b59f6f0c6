"""Locks between processes: held by the kernel for as long as their process lives, and waited for in the open.

Which are held together, and in which order: `using` (by many), inside it that of a pool or of what is kept beside
one, or that of a bundle; never two of the latter at a time, but for that of a run and in it that of its merged model.
So no two processes wait for each other.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import filelock

from pipeline.room import refusal

_LOG = logging.getLogger(__name__)
_SAY_SECONDS, _POLL_SECONDS = 1.0, 0.05


@contextmanager
def locked(path: Path, other: str) -> Generator[bool]:
    """Hold the lock of this file alone; gives whether another process had it first.

    `other` says what another process does that holds it, for who waits for long.

    Raises: StoreError where the file system has no locks: a file that only stands for one would outlive its process.
    """
    guard = filelock.FileLock(str(path), timeout=0)
    with _reported(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        waited = _wait(lambda: _tried(guard), other)
    try:
        yield waited
    finally:
        with suppress(OSError):
            guard.release()


def _close(handle: int) -> None:
    """Give up a lock. Nothing was written to its file, so that what its end may run into does not matter."""
    with suppress(OSError):
        os.close(handle)


@contextmanager
def using(pools: Path) -> Generator[None]:
    """Nothing is removed from the folder of pools meanwhile: as many as like use it, `removing` waits for them."""
    try:
        import fcntl
    except ImportError:  # Windows, which removes no file that is open
        yield
        return
    path = _use(pools)
    with ExitStack() as stack:

        def tried() -> bool:
            """Each time by the name: a file that was removed meanwhile holds nobody back."""
            with ExitStack() as own:
                handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
                own.callback(_close, handle)
                try:
                    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                if os.fstat(handle).st_nlink == 0:
                    return False
                stack.push(own.pop_all())
            return True

        with _reported(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _wait(tried, f"removes pools from {pools}")
        yield


@contextmanager
def removing(pools: Path) -> Generator[None]:
    """Nobody else uses the pools, and who begins to waits."""
    with locked(_use(pools), f"uses the pools in {pools}"):
        yield


def _use(pools: Path) -> Path:
    return pools / ".locks" / "use.lock"


def _tried(guard: filelock.BaseFileLock) -> bool:
    """Raises: OSError where filelock takes a file that merely exists for a lock."""
    try:
        guard.acquire()
    except filelock.Timeout:
        return False
    finally:
        if isinstance(guard, filelock.SoftFileLock):
            guard.release()
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    return True


def _wait(tried: Callable[[], bool], other: str) -> bool:
    """Try until it works; who waits for long is told why, once. Returns whether the first try did not."""
    start, waited, said = time.monotonic(), False, False
    while not tried():
        waited = True
        if not said and time.monotonic() - start >= _SAY_SECONDS:
            _LOG.info("waiting for another process that %s", other)
            said = True
        time.sleep(_POLL_SECONDS)
    return waited


@contextmanager
def _reported(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise refusal(path, error, "locked", "set paths.pools to a folder on another disk") from error
