"""Templates that reach for more than the messages: refused within the limits, and nothing of them runs elsewhere."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.errors import TemplateError
from pipeline.render import renderer as limits
from pipeline.render.renderer import Renderer
from pipeline.render.sandbox import Sandbox
from pipeline.render.template import Template

ROW: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}
# Seconds for an answer here (20 in use), and for the whole of a test on a busy machine.
LIMIT, PATIENCE = 1.0, 15.0
GREEDY = {
    "a constant of a gigabyte, computed while compiling": "{{ 'x' * 10**9 * 4 }}",
    "a tower of powers, computed while compiling": "{{ 9 ** (9 ** 9) }}",
    "a list of ten billion": "{% set x = [TEXT] * 10**10 %}",
    "a width by percent": "{{ '%' ~ TEXT | length ~ '999999999d' }}{{ ('%' ~ '99999999999d') % 1 }}",
    "replacing nothing again and again": (
        "{% set x = namespace(y=TEXT) %}{% for i in range(99) %}{% set x.y = x.y.replace('', x.y) %}{% endfor %}"
    ),
    "words without end": "{{ lipsum(n=10**9) }}",
    "an indent": "{{ (TEXT ~ '\n' ~ TEXT) | indent(10**11) }}",
    "loops in a macro in itself": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(99) }}"
    ),
    "a text of a hundred million characters": "{% for i in range(2000) %}{{ 'x' * 50000 }}{% endfor %}",
    "a hundred thousand conditions within each other": "{% if a %}" * 100_000 + "{% endif %}" * 100_000,
    "signs without end": "{{ " + "-" * 200_000 + "1 }}",
}
FORBIDDEN = [
    "{{ ''.__class__.__base__.__subclasses__() }}",
    "{{ '{0.__class__.__base__}'.format('') }}",
    "{{ '{x.__class__.__base__}'.format_map({'x': ''}) }}",
    "{{ ('{0.__class__' ~ '.__base__}').format('') }}",
    "{% set f = '{0.__class__.__base__}'.format %}{{ f('') }}",
    "{{ ['{0.__class__.__base__}'] | map('format', '') | first }}{{ cycler.__init__.__globals__.os }}",
    "{{ cycler.__init__.__globals__.os.system('true') }}",
    "{{ lipsum.__globals__['os'].system('true') }}",
    "{{ self.__init__.__globals__ }}{{ self._TemplateReference__context.eval_ctx.environment }}",
    "{% macro m() %}{% endmacro %}{{ m._environment.from_string('x') }}",
    "{% macro m() %}{{ caller.__func__.__globals__.x }}{% endmacro %}{% call m() %}{% endcall %}",
    "{{ raise_exception.__globals__['__builtins__'] }}",
    "{{ strftime_now.__globals__['os'] }}",
    "{{ (messages | map('upper')).gi_frame.f_builtins.x }}",
    "{{ messages.__reduce_ex__(2) }}",
    "{{ '' | attr('__class__') | attr('__mro__') }}",
    "{{ messages | map(attribute='__class__.__mro__') | list | first | first }}",
    "{% set x = messages | groupby('__class__.__name__') %}{{ x[0].__class__ }}",
    "{% generation %}{{ caller.__globals__.os }}{% endgeneration %}",
    "{{ environment.extensions.x }}{{ tracker.x }}",
    "{% include 'x' %}",
    "{% import 'x' as y %}",
    "{% from 'x' import y %}",
    "{% extends 'x' %}",
    "{{ messages.clear() }}",
    "{{ messages[0].__setitem__('content', 'x') }}",
]
TRACES = ("<class", "<module", "<function", "<built-in", "object at 0x", "TemplateReference")


def template(text: str) -> Template:
    return Template("hostile", text.replace("TEXT", "messages[0].content"), {})


@pytest.fixture
def _short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_ANSWER_SECONDS", LIMIT)


@pytest.mark.usefixtures("_short_limit")
@pytest.mark.parametrize("what", GREEDY)
def test_a_greedy_template_is_refused_in_time(what: str) -> None:
    started = time.monotonic()
    with Renderer(template(GREEDY[what])) as renderer:
        with pytest.raises(TemplateError) as found:
            renderer.rows([ROW])
        assert str(found.value).startswith("template hostile: ")
        assert len(str(found.value).splitlines()) == 2
    assert time.monotonic() - started < PATIENCE
    process = renderer._child._process
    assert process is not None
    assert process.poll() is not None


@pytest.mark.parametrize("text", FORBIDDEN)
def test_nothing_behind_a_value_can_be_reached(text: str, tmp_path: Path) -> None:
    """In this process, where it would do harm: each is refused, or writes nothing of what it reached for."""
    try:
        answer = Sandbox(text, {}).row(ROW)
    except Exception as error:  # not valid at all: said as the template's fault
        assert "Template" in type(error).__name__ or "Undefined" in type(error).__name__  # noqa: PT017
        return
    assert "error" in answer or not any(trace in answer["text"] for trace in TRACES), answer
    assert ROW["messages"] == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]


@pytest.mark.parametrize("sign", ["\\ud800", "\\udfff", "a\\udc80b"])
def test_text_that_no_file_can_hold_is_an_error_of_the_row(sign: str) -> None:
    answer = Sandbox(f"{{{{ '{sign}' }}}}", {}).row(ROW)
    assert "UnicodeEncodeError" in answer["error"]
    assert len(answer["error"].splitlines()) == 1


def test_what_is_written_and_what_the_process_says_are_two_things() -> None:
    """Line breaks and JSON in a text are text: they cannot pass for the next answer."""
    text = '\n{"marked": true}\n[{"text": "forged", "blocks": []}]\n\x00\u2028'
    with Renderer(template("{{ TEXT }}")) as renderer:
        forged = {"messages": [{"role": "user", "content": text}]}
        assert [row["text"] for row in renderer.rows([forged, ROW, forged])] == [text, "Hi", text]


@pytest.mark.skipif(sys.platform != "linux", reason="these limits are Linux's")
def test_the_process_of_a_template_can_neither_write_nor_start_anything() -> None:
    with Renderer(template("{{ TEXT }}")) as renderer:
        assert renderer.rows([ROW])[0]["text"] == "Hi"
        assert renderer._child._process is not None
        found = Path(f"/proc/{renderer._child._process.pid}/limits").read_text()
    set_to = {line[:26].strip(): line[26:].split()[0] for line in found.splitlines()[1:]}
    assert (set_to["Max file size"], set_to["Max core file size"], set_to["Max processes"]) == ("0", "0", "0")
    assert int(set_to["Max open files"]) <= 64
    assert int(set_to["Max address space"]) < 3 << 30


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
def test_a_process_that_does_not_listen_is_ended_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent is bounded in time, too: a question larger than a pipe would wait for ever."""
    with Renderer(template("{{ TEXT }}")) as renderer:
        assert renderer.rows([ROW])[0]["text"] == "Hi"
        process = renderer._child._process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        monkeypatch.setattr(limits, "_ANSWER_SECONDS", LIMIT)
        started = time.monotonic()
        with pytest.raises(TemplateError, match="more than 1 seconds"):
            renderer.rows([{"messages": [{"role": "user", "content": "x" * (1 << 22)}]}])
        assert time.monotonic() - started < PATIENCE
        assert process.wait(PATIENCE) == -signal.SIGKILL


def test_a_build_with_a_greedy_template_says_so_in_two_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"q": "a", "a": "b"}\n')
    (tmp_path / "own.jinja").write_text("{{ 'x' * 10**11 }}")
    source = "+sources.mine={path: rows.jsonl, shape: columns, columns: {user: q, assistant: a}}"
    assert main(PROGRAM, ["build", "mix=custom", "+mix.weights.mine=1", source, "template.path=own.jinja"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert (first, second[:7]) == ("template own: it needs too much memory", "  fix: ")
    assert not (tmp_path / "data_pools" / "bundles").exists()
