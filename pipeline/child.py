"""A module of this package as a process of its own, which answers lines of JSON, or bytes.

Bytes stand behind a line with their number.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from pipeline.ending import at_end
from pipeline.secrets import names_secret

# Large pages for what the process allocates: thousands of small ones cost more than the work itself in places.
_ENVIRONMENT = {"PYTHONUTF8": "1", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
_NICE = 5
_PIPE_BYTES = 1 << 20  # fewer changes from one process to the other
_running: set[subprocess.Popen[bytes]] = set()
_MOST_LINE, _MOST_BYTES = 1 << 30, 1 << 32  # of one answer
_MOST_FILES = 64  # open at once, of a process that only reads modules


class EndedError(Exception):
    """The process took too long, or ended before it answered; the message says which."""


class Child:
    """Starts when it is first asked, or before, with `start`; one question at a time, whichever thread asks.

    `first` is the first line it gets. It ends with `close`, at the latest with the program.
    """

    def __init__(self, module: str, first: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> None:
        self._module, self._first, self._environment = module, first, environment or {}
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, if it has not been started."""
        with self._lock:
            self._started()

    def ask(self, value: Any, seconds: float) -> Any:
        """The answer to a question. Raises: EndedError, after `seconds` at the latest, if there is none."""
        with self._lock:
            process = self._started()
            line = _exchange(process, [] if value is None else [_line(value)], _read_line, seconds)
        return json.loads(line)

    def ask_bytes(self, data: bytes | None, seconds: float) -> bytes:
        """The same for a process that is sent bytes and answers with bytes."""
        with self._lock:
            process = self._started()
            return _exchange(process, [] if data is None else [b"%d\n" % len(data), data], read_bytes, seconds)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            if self._process is not None:
                _end(self._process)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            keep = {name: value for name, value in os.environ.items() if not names_secret(name)}
            package = str(Path(__file__).resolve().parents[1])
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", self._module],  # never from the folder that the program is called in
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**keep, **_ENVIRONMENT, "PYTHONPATH": package, **self._environment},
            )
            _widen(self._process)
            _running.add(self._process)
            weakref.finalize(self, _end, self._process)
            _send(self._process, _line(self._first))
        return self._process


def _widen(process: subprocess.Popen[bytes]) -> None:
    """A larger pipe for what the process says, where there is such a thing, and the user may have one more."""
    if sys.platform == "linux" and process.stdout is not None:
        import fcntl

        with suppress(OSError):
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _send(process: subprocess.Popen[bytes], data: bytes) -> None:
    if process.stdin is not None:
        try:
            process.stdin.write(data)
            process.stdin.flush()
        except BrokenPipeError as error:
            raise EndedError("it ended the process it ran in") from error


def _exchange(
    process: subprocess.Popen[bytes],
    question: Sequence[bytes],
    read: Callable[[IO[bytes]], bytes | None],
    seconds: float,
) -> bytes:
    """What the process says to a question. One that does not listen, or says too much, is ended as one that is late."""
    alarm = threading.Timer(seconds, process.kill)
    alarm.start()
    try:
        for data in question:
            _send(process, data)
        found = read(process.stdout) if process.stdout is not None else None
    except EndedError:
        found = None
    late = not alarm.is_alive()
    alarm.cancel()
    if found is None:
        process.kill()
        raise EndedError(f"it took more than {seconds:g} seconds" if late else "it ended the process it ran in")
    return found


def _kill_all() -> None:
    for process in list(_running):
        process.kill()


at_end(_kill_all)


def _end(process: subprocess.Popen[bytes]) -> None:
    _running.discard(process)
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            try:
                stream.close()
            except BrokenPipeError:  # what was still to be sent
                continue


def first_line() -> Any:
    """What the process is started with. From then on it gives way to the one that asks, which has work to do, too."""
    if hasattr(os, "nice"):
        os.nice(_NICE)
    return json.loads(sys.stdin.buffer.readline())


def confine(memory: int, threads: bool = False) -> None:
    """From now on this process may take `memory` bytes more than it has, write no file, leave no dump of itself and
    start no other process (nor a thread, unless it needs them), where the system can see to it."""
    if sys.platform != "linux":
        return
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = {
        resource.RLIMIT_AS: used + memory,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _MOST_FILES,
    }
    if not threads:
        limits[resource.RLIMIT_NPROC] = 0
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def answer(value: Any) -> None:
    """What the process itself says."""
    sys.stdout.buffer.write(_line(value))
    sys.stdout.buffer.flush()


def answer_bytes(data: bytes | memoryview) -> None:
    """The same for one that is asked for bytes."""
    sys.stdout.buffer.write(b"%d\n" % len(data))
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def read_bytes(stream: IO[bytes]) -> bytes | None:
    """The next bytes from the other side, or None if nothing whole comes."""
    number = _read_line(stream)
    if number is None:
        return None
    size = int(number) if number.strip().isdigit() else _MOST_BYTES + 1
    data = stream.read(size) if size <= _MOST_BYTES else b""
    return data if len(data) == size else None


def _read_line(stream: IO[bytes]) -> bytes | None:
    line = stream.readline(_MOST_LINE)
    return line if line.endswith(b"\n") else None
