"""The processes that run what is not ours keep to their time and memory: just within it they answer, past it not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from eval import judge
from eval import sandbox as judging
from eval.judge import Judge, UndecidedError
from pipeline import child
from pipeline.child import Child
from pipeline.errors import TemplateError
from pipeline.render import renderer
from pipeline.render import sandbox as rendering
from pipeline.render.renderer import Renderer
from pipeline.render.template import Template

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these limits are Linux's")
MIB = 1 << 20
SLACK = 64 * MIB  # what such a process frees or takes by itself meanwhile
ROW: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}
# Seconds for an answer here, and for how long a process is held up: less than that, and more.
LIMIT, WITHIN, PAST = 1.0, 0.2, 3.0


@pytest.mark.parametrize("suffices", [True, False])
def test_a_template_may_use_its_memory_and_no_more(suffices: bool) -> None:
    size = rendering._MEMORY_BYTES + (-SLACK if suffices else SLACK)
    text = f"{{{{ (messages[0].content * {size // len('Hi')}) | length }}}}"
    with Renderer(Template("large", text, {})) as template:
        if suffices:
            assert template.rows([ROW])[0]["text"] == str(size)
        else:
            with pytest.raises(TemplateError, match="it needs too much memory"):
                template.rows([ROW])


@pytest.mark.parametrize("memory", [rendering._MEMORY_BYTES, judging._MEMORY_BYTES])
def test_a_confined_process_has_the_memory_it_was_given(memory: int) -> None:
    def status(size: int) -> int:
        code = f"import mmap; from pipeline.child import confine; confine({memory}); mmap.mmap(-1, {size})"
        return subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL).returncode

    assert status(memory - SLACK) == 0
    assert status(memory + SLACK) == 1


@contextmanager
def held_up(process: Child | None, seconds: float) -> Iterator[None]:
    """The process is stopped for so long."""
    assert process is not None
    assert process._process is not None
    number = process._process.pid
    goes_on = threading.Timer(seconds, os.kill, (number, signal.SIGCONT))
    os.kill(number, signal.SIGSTOP)
    goes_on.start()
    try:
        yield
    finally:
        goes_on.cancel()


def test_a_template_has_its_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    with Renderer(Template("slow", "{{ messages[0].content }}", {})) as template:
        assert template.rows([ROW])[0]["text"] == "Hi"
        monkeypatch.setattr(renderer, "_ANSWER_SECONDS", LIMIT)
        with held_up(template._child, WITHIN):
            assert template.rows([ROW])[0]["text"] == "Hi"
        with held_up(template._child, PAST), pytest.raises(TemplateError, match="more than 1 seconds"):
            template.rows([ROW])


def test_a_judge_has_its_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Judge()
    try:
        question: Callable[[], Any] = lambda: own.ask("conform", text="1", schema={"type": "integer"})  # noqa: E731
        assert question() == {"violation": None}
        monkeypatch.setattr(judge, "_SECONDS", LIMIT)
        with held_up(own._child, WITHIN):
            assert question() == {"violation": None}
        with held_up(own._child, PAST), pytest.raises(UndecidedError, match="more than 1 seconds"):
            question()
    finally:
        own.close()


def test_what_a_process_may_say_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads, writes = os.pipe()
    with os.fdopen(reads, "rb") as stream, os.fdopen(writes, "wb", buffering=0) as other:
        monkeypatch.setattr(child, "_MOST_LINE", 1000)
        monkeypatch.setattr(child, "_MOST_BYTES", 2000)
        other.write(b"x" * 999 + b"\n")
        assert child._read_line(stream) == b"x" * 999 + b"\n"
        other.write(b"2000\n" + b"y" * 2000)
        assert child.read_bytes(stream) == b"y" * 2000
        other.write(b"2001\n")
        assert child.read_bytes(stream) is None
        other.write(b"x" * 1000 + b"\n")
        assert child._read_line(stream) is None


def test_a_system_that_gives_no_larger_pipes_starts_a_process_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Linux does to a user who has many of them already."""
    import fcntl

    given, asked = fcntl.fcntl, list[int]()

    def refused(handle: int, what: int, *more: Any) -> Any:
        if what != fcntl.F_SETPIPE_SZ:
            return given(handle, what, *more)
        asked.append(handle)
        raise PermissionError

    monkeypatch.setattr(fcntl, "fcntl", refused)
    with Renderer(Template("small", "{{ messages[0].content }}", {})) as template:
        assert template.rows([ROW])[0]["text"] == "Hi"
    assert asked
