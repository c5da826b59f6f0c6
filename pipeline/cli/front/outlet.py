"""The one place that everything printed passes: no control character of data reaches a terminal, and no secret either.

`show` prints rows: these are harmless already, have colours, and stay what they are.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TextIO

from pipeline.secrets import without_secrets
from pipeline.visible import visible

# What a progress bar moves with: to the beginning of its line, or some lines up.
_MOVE = re.compile(r"(?:\x1b\[A)+|\r?")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[mK]")  # which libraries paint their bars and messages with


class _Outlet:
    """A stream that writes `clean` text; whatever else is asked of it is the stream's own."""

    def __init__(self, stream: TextIO, clean: Callable[[str], str]) -> None:
        self.stream, self.clean = stream, clean

    def write(self, text: str) -> int:
        self.stream.write(self.clean(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def outlets() -> Generator[None]:
    """stdout and stderr print what is safe, the traceback of a bug too; a terminal without UTF-8 shows what it can."""
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    out: Any = _Outlet(sys.stdout, _clean)
    err: Any = _Outlet(sys.stderr, _clean_but_bars)
    sys.stdout, sys.stderr, sys.excepthook = out, err, _tell_bug
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def prints_rows() -> None:
    """From now on stdout has rows, which were made safe and painted where they were laid out."""
    if isinstance(sys.stdout, _Outlet):
        sys.stdout.clean = str


def _clean(text: str) -> str:
    return visible(without_secrets(text), keep="\n\t")


def _clean_but_bars(text: str) -> str:
    text = _COLOUR.sub("", text.replace("\r\n", "\n"))
    move = _MOVE.match(text)
    start = move.end() if move else 0
    return text[:start] + _clean(text[start:])


def _tell_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    import traceback

    sys.stderr.write(_clean("".join(traceback.format_exception(kind, error, trace))))
