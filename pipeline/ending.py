"""How a program ends on SIGINT (ctrl-C) and SIGTERM: within two seconds, with one line, and nothing half-written.

The ordinary way is an exception in the main thread. Where that cannot be reached in time (Python handles signals
between its own instructions, not within a long call of a library), a small thread, which the signal wakes as well,
ends the program itself. Whatever is on the disk is whole at any moment, so this loses nothing but work at hand.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

GRACE = 1.5  # seconds for the ordinary way; the rest of the two is for tidying up
MORE = 0.3  # of a program that waits for another one, which ends in its own time
_STEP = 0.02
_WORDS: dict[int, str] = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
Act = Callable[[], None]


class Terminated(BaseException):
    """SIGTERM, as KeyboardInterrupt is SIGINT."""


class _State:
    """What is known of the signals of this process, and who wants to be asked."""

    def __init__(self) -> None:
        self.received: int | None = None  # the first signal that ends the program
        self.raised = self.told = False
        self.advice = ""
        self.instead: Act | None = None
        self.answered: set[int] = set()  # signals that a verb has an answer to
        self.grace = GRACE
        self.at_end: list[Act] = []
        self.ending = threading.Lock()


_state = _State()


@contextmanager
def signals() -> Generator[None]:
    """SIGINT and SIGTERM end the program while the block runs, unless the system or a host has said otherwise."""
    usual = (signal.SIG_DFL, signal.default_int_handler)
    own = [number for number in _WORDS if signal.getsignal(number) in usual]
    if os.name != "posix" or threading.current_thread() is not threading.main_thread() or not own:
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = {number: signal.signal(number, _raise) for number in own}
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), daemon=True).start()
    try:
        yield
    finally:
        if _state.received is None:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(woken)
            os.close(writer)


@contextmanager
def answered(number: int) -> Generator[None]:
    """A signal that does not end the program while the block runs: what runs there has an answer to the exception."""
    _state.answered.add(number)
    try:
        yield
    finally:
        _state.answered.discard(number)


@contextmanager
def instead(act: Act) -> Generator[None]:
    """While the block runs, a signal raises nothing: another thread calls `act`, and the program ends after it."""
    _state.instead = act
    try:
        yield
    finally:
        while _state.received is not None and _state.raised:  # `act` is at work
            time.sleep(_STEP)
        _state.instead = None


@contextmanager
def waiting() -> Generator[None]:
    """While another program runs for this one, which ends on the same signal."""
    _state.grace = GRACE + MORE
    try:
        yield
    finally:
        _state.grace = GRACE


def advise(text: str) -> None:
    """What to say besides, should the program be ended: how to go on."""
    _state.advice = text


def at_end(act: Act) -> None:
    """Call this when a signal ends the program."""
    _state.at_end.append(act)


def end(number: int) -> NoReturn:
    """End the program as this signal does, which was answered before."""
    _state.raised, _state.received = True, number
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def received() -> int | None:
    """The signal that is ending the program, if one is."""
    return _state.received


def told() -> None:
    """Another process has said it."""
    _state.told = True


def ended() -> int:
    """Tidy up, say it in a line, and return the exit status."""
    number = _state.received or signal.SIGINT
    with _state.ending:
        for act in _state.at_end:
            with suppress(Exception):  # the others have their turn
                act()
        if not _state.told and select.select([], [2], [], _STEP)[1]:  # nothing where nobody reads
            _state.told = True
            line = _WORDS[number] + (f"; {_state.advice}" if _state.advice else "")
            os.write(2, f"{line}\n".encode())
    return 128 + number


def _raise(number: int, _frame: FrameType | None) -> None:
    if number not in _state.answered:
        if _state.raised:  # one is enough: what tidies up is not to be interrupted again
            return
        _state.raised, _state.received = True, number
        # What other threads, or objects that go, run into from here on is no news.
        sys.unraisablehook = threading.excepthook = lambda _: None
        if _state.instead is not None:
            return
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def _watch(reader: int) -> None:
    """Wait for a signal, and then for the program to end; end it when it does not."""
    while (woken := os.read(reader, 1)) and (woken[0] not in _WORDS or woken[0] in _state.answered):
        continue
    if not woken:
        os.close(reader)
        return
    _state.received = woken[0]
    late = time.monotonic() + _state.grace
    while time.monotonic() < late:
        if _state.instead is not None:
            last = threading.Timer(late - time.monotonic(), _end)
            last.daemon = True
            last.start()
            with suppress(Exception):  # it was more than can be had; what is there stands
                _state.instead()
            break
        time.sleep(_STEP)
    _end()


def _end() -> None:
    os._exit(ended())
