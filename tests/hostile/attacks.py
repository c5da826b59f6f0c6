"""Commands run as a user runs them, in a process and in a terminal, and what hostile files hold."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120  # until a command counts as stuck
SHAPE = "shape: columns, columns: {user: q, assistant: a}"


def environment(more: Mapping[str, str] = {}) -> dict[str, str]:
    """The one that commands run in: nothing of the hub."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "COV_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1", **more}


def run(
    arguments: Sequence[str], work: Path, program: str = "pipeline", **more: str
) -> subprocess.CompletedProcess[str]:
    """`python -m PROGRAM …` in a folder."""
    return subprocess.run(
        [sys.executable, "-m", program, *arguments],
        cwd=work,
        env=environment(more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def captured(arguments: Sequence[str], work: Path, program: str = "pipeline", **more: str) -> str:
    """All that the command sends to the terminal it runs in."""
    terminal, side = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", program, *arguments],
        cwd=work,
        env=environment({"TERM": "xterm-256color", **more}),
        stdin=side,
        stdout=side,
        stderr=side,
    ) as process:
        os.close(side)
        data = b""
        with alarm(SECONDS):
            while chunk := _read(terminal):
                data += chunk
        os.close(terminal)
        process.wait(SECONDS)
    return data.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # what Linux says where nobody writes any more
        return b""


@contextmanager
def alarm(seconds: int) -> Generator[None]:
    """Fails where what is inside never ends, such as opening a pipe that nobody writes to."""

    def late(*_: object) -> None:
        raise AssertionError(f"not done within {seconds} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def write_rows(path: Path, count: int = 12, **of: str) -> Path:
    """JSON lines of `q` and `a`; `of` puts a text in place of one."""
    rows = [{"q": f"{of.get('q', 'question')} {at}", "a": of.get("a", "answer")} for at in range(count)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def build_of(file: str, *more: str, name: str = "mine") -> list[str]:
    """The arguments that build a bundle of one file, quickly."""
    return ["build", "mix=custom", f"+sources.{name}={{path: '{file}', {SHAPE}}}", f"+mix.weights.{name}=1", *more]


def all_bytes(folder: Path) -> bytes:
    """Every byte of every file below a folder, hidden ones too, and the names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return b"\0".join(str(path).encode() + b"\0" + path.read_bytes() for path in files)


CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
