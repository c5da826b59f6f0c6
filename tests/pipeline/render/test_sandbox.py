"""Templates that do harm, and templates that do not mark what is trained on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.errors import TemplateError
from pipeline.render import renderer as limits
from pipeline.render.renderer import Renderer
from pipeline.render.sandbox import Sandbox
from pipeline.render.template import Template

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parents[3]
ROW: Row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}
GOOD = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}"
)
FOREVER = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
# Seconds that a template gets here, and with it the whole question, its start included.
LIMIT, START_LIMIT, PATIENCE = 1.0, 3.0, 6.0
# What must not be computed, in which way: `TEXT` is not known when the template is compiled.
GREEDY = {
    "loops within loops": FOREVER,
    "a text repeated": "{{ TEXT * 10**10 }}",
    "a constant repeated": "{{ ('x' * (3 * 10**9)) | length }}",
    "a power": "{% set n = 10 * TEXT | length %}{{ n ** (n ** (n - 12)) }}",
    "a power of constants": "{{ 10 ** (10 ** 10) }}",
    "a text doubled again and again": (
        "{% set x = namespace(y=TEXT) %}{% for i in range(99) %}{% set x.y = x.y ~ x.y %}{% endfor %}"
    ),
    "a wide field": "{{ TEXT.center(10**12) }}",
    "two gigabytes written": "{% for i in range(20000) %}{{ TEXT * 50000 }}{% endfor %}",
    "too many loops to compile": "{% for a in [1] %}" * 30 + "{% endfor %}" * 30,
    "brackets": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
}
INVALID = {
    "a loop over nothing": "{% for %}\n{{ x",
    "an open expression": "first line\n{{ x ",
    "an unknown tag": "{% nosuch %}",
    "an unknown filter": "{{ x | nosuch }}",
    "an unknown test": "{{ x is nosuch }}",
    "a block twice": "{% block a %}{% endblock %}\n{% block a %}{% endblock %}",
}
# What a row may not do without harm to other rows.
FORBIDDEN = {
    "its class": "{{ ''.__class__.__mro__ }}",
    "its class by format": "{{ '{0.__class__.__mro__}'.format('') }}",
    "globals of cycler": "{{ cycler.__init__.__globals__ }}",
    "globals of namespace": "{{ namespace.__init__.__globals__ }}",
    "globals of joiner": "{{ joiner.__init__.__globals__['os'].environ }}",
    "the context": "{{ self._TemplateReference__context.environment }}",
    "the list of messages": "{{ messages.append(1) }}",
    "a message": "{{ messages[0].update({'content': 'x'}) }}",
    "a file included": "{% include '/etc/passwd' %}",
    "a file imported": "{% import '/etc/passwd' as x %}",
    "a file extended": "{% extends '/etc/passwd' %}",
    "a macro in itself": "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "an exception": "{{ raise_exception('no') }}",
    "a division by zero": "{{ 1 / (TEXT | length - 2) }}",
    "a rest of zero": "{{ 1 % (TEXT | length - 2) }}",
    "an unknown encoding": "{{ TEXT.encode('nosuch') }}",
    "an empty cycler": "{{ cycler() }}",
    "a missing format": "{{ '{x}'.format() }}",
    "a place beyond a format": "{{ '{5}'.format(1) }}",
    "an index of what is not there": "{{ TEXT.index('x') }}",
    "a wrong date": "{{ strftime_now(5) }}",
    "deep lists": (
        "{% set x = namespace(y=[]) %}{% for i in range(9999) %}{% set x.y = [x.y] %}{% endfor %}{{ x.y | tojson }}"
    ),
}


def template(text: str, **variables: Any) -> Template:
    return Template("hostile", text.replace("TEXT", "messages[0].content"), variables)


@pytest.fixture(autouse=True)
def _short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_ANSWER_SECONDS", LIMIT)
    monkeypatch.setattr(limits, "_START_SECONDS", START_LIMIT)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"q": f"question {k}", "a": f"answer {k}"}) for k in range(40)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    return tmp_path


SETTINGS = [
    *("mix=custom", "+mix.weights.mine=1"),
    "+sources.mine={path: rows.jsonl, shape: columns, columns: {user: q, assistant: a}}",
]


def children(process: int) -> list[int]:
    folder = Path(f"/proc/{process}/task")
    return [int(child) for task in folder.glob("*/children") for child in task.read_text().split()]


@pytest.mark.parametrize("what", GREEDY)
def test_a_greedy_template_ends_in_time_and_leaves_nothing_running(what: str) -> None:
    started = time.monotonic()
    with Renderer(template(GREEDY[what])) as renderer:
        with pytest.raises(TemplateError) as found:
            renderer.rows([ROW])
        assert len(str(found.value).splitlines()) == 2
    assert time.monotonic() - started < PATIENCE
    assert renderer._child._process is not None
    assert renderer._child._process.poll() is not None


def test_a_range_that_the_sandbox_refuses_is_an_error_of_the_row() -> None:
    with Renderer(template("{% for i in range(10**9) %}{% endfor %}")) as renderer:
        (answer,) = renderer.rows([ROW])
    assert "Range too big" in answer["error"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit of memory is one of Linux")
def test_compiling_takes_no_more_memory_than_rendering_may() -> None:
    """Jinja computes constants while it compiles."""
    code = (
        "import resource\nfrom pipeline.render.renderer import Renderer\n"
        "from pipeline.render.template import Template\nfrom pipeline.errors import TemplateError\n"
        "try:\n    with Renderer(Template('t', \"{{ ('x' * (2 * 10**9)) | length }}\", {})) as it: it.about()\n"
        "except TemplateError: pass\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert int(done.stdout) < 1_500, "megabytes"


@pytest.mark.parametrize("what", INVALID)
def test_what_is_no_template_is_refused_in_two_lines(what: str) -> None:
    with Renderer(template(INVALID[what])) as renderer, pytest.raises(TemplateError) as found:
        renderer.rows([ROW])
    assert len(str(found.value).splitlines()) == 2
    assert "ended the process" not in str(found.value)


@pytest.fixture(scope="module")
def rows_of() -> Callable[[str], list[Row]]:
    """rows_of(text) → what the template makes of two rows, in this process: no limit is needed."""

    def call(text: str) -> list[Row]:
        sandbox = Sandbox(template(text).text, {})
        other = {"messages": [{"role": "user", "content": "Longer"}, {"role": "assistant", "content": "x"}]}
        return [sandbox.row(ROW), sandbox.row(other)]

    return call


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_a_template_may_not_do_costs_the_row_alone(what: str, rows_of: Callable[[str], list[Row]]) -> None:
    first, second = rows_of(FORBIDDEN[what])
    assert "error" in first
    assert "limit" not in first
    assert ("error" in second) == (what not in ("a division by zero", "a rest of zero"))


@pytest.mark.parametrize(
    "text",
    [
        "{{ lipsum.__globals__ }}",
        "{{ raise_exception.__code__ }}",
        "{{ (messages | map('string')).gi_frame }}",
        "{{ '' | attr('__class__') }}",
        "{{ ''['__class__'] }}",
    ],
)
def test_what_lies_behind_a_value_is_not_there(text: str, rows_of: Callable[[str], list[Row]]) -> None:
    assert [row.get("text", "") for row in rows_of(text)] == ["", ""]


def test_what_a_row_does_is_forgotten_by_the_next(rows_of: Callable[[str], list[Row]]) -> None:
    """A refused row leaves no generation blocks behind."""
    _, second = rows_of("{% generation %}{{ TEXT }}{% endgeneration %}{{ raise_exception('no') if TEXT == 'Hi' }}")
    assert second == {"text": "Longer", "blocks": [(0, 6)]}


def test_no_secret_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "my_password", "OPENAI_API_KEY", "GOOGLE_APPLICATION_CREDENTIALS"]
    for name in secrets:
        monkeypatch.setenv(name, "s3cr3t")
    with Renderer(template(GOOD)) as renderer:
        assert renderer.rows([ROW])[0]["text"] == "HiHello."
        assert renderer._child._process is not None
        place = Path(f"/proc/{renderer._child._process.pid}/environ")
        if place.is_file():
            assert b"s3cr3t" not in place.read_bytes()


def test_a_folder_of_the_users_is_not_mistaken_for_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pipeline` is a likely name, and `jinja2.py` may lie about, too."""
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").write_text("")
    (tmp_path / "jinja2.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    with Renderer(template(GOOD)) as renderer:
        assert renderer.rows([ROW])[0]["text"] == "HiHello."


@pytest.mark.parametrize("text", [FOREVER, INVALID["an open expression"]], ids=["forever", "invalid"])
def test_a_build_ends_with_two_lines_and_its_pools_stay_usable(
    text: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "own.jinja").write_text(GOOD + text)
    before = set(children(os.getpid()))  # those of other tests
    started = time.monotonic()
    assert main(PROGRAM, ["build", *SETTINGS, "template.path=own.jinja"]) == 2
    assert time.monotonic() - started < PATIENCE
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("template own: ")
    assert lines[1].startswith("  fix: ")
    assert not set(children(os.getpid())) - before
    assert not (work / "data_pools" / "bundles").exists()
    assert not [place for place in work.rglob("*") if "writing" in place.name]
    (work / "own.jinja").write_text(GOOD)
    assert main(PROGRAM, ["build", *SETTINGS, "template.path=own.jinja"]) == 0
    assert "40 → 40         ready" in capsys.readouterr().out
    assert main(PROGRAM, ["verify"]) == 0


def test_rows_that_cannot_be_rendered_are_counted_and_told(
    work: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    refuse = "{{ raise_exception('a seven\nin it') if '7' in messages[0].content }}"
    (work / "own.jinja").write_text(GOOD + refuse)
    assert main(PROGRAM, ["build", *SETTINGS, "template.path=own.jinja"]) == 0
    assert "cannot be rendered 4" in capsys.readouterr().out
    [warning] = [line for line in caplog.messages if "4 rows of mine" in line]
    assert "(mine:7: TemplateError: a seven" in warning
    assert len(warning.splitlines()) == 1
    assert main(PROGRAM, ["verify"]) == 0


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks up processes in /proc")
def test_a_killed_build_leaves_no_template_running(work: Path) -> None:
    (work / "own.jinja").write_text(FOREVER)
    command = [sys.executable, "-m", "pipeline", "build", *SETTINGS, "template.path=own.jinja"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as build:
        deadline = time.monotonic() + 20
        while not (found := children(build.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(2.5)  # until it loops
        build.kill()
    assert found
    deadline = time.monotonic() + 5
    while (left := [pid for pid in found if running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


# Templates without generation blocks.

UNMARKED = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}{{ '[assistant]' if add_generation_prompt }}"
)


def blocks(text: str, messages: list[Row], **variables: Any) -> tuple[list[str], str]:
    """What the blocks hold, and the whole text."""
    answer = Sandbox(text, variables).row({"messages": messages})
    return [answer["text"][start:end] for start, end in answer["blocks"]], answer["text"]


def say(*texts: str) -> list[Row]:
    return [{"role": ("user", "assistant")[k % 2], "content": text} for k, text in enumerate(texts)]


def test_turns_are_found_by_the_generation_prompt() -> None:
    assert blocks(UNMARKED, say("a", "b", "c", " d\n"))[0] == ["b", " d"]
    assert blocks(UNMARKED, say("a", "", "c", " \n"))[0] == ["", ""]
    assert blocks(UNMARKED, say("a"))[0] == []


def test_a_turn_that_is_written_otherwise_later_is_no_target() -> None:
    last_only = "{% for m in messages %}[{{ m.role }}]{{ m.content if loop.last or m.role == 'user' }}\n{% endfor %}"
    prompt = "{{ '[assistant]' if add_generation_prompt }}"
    assert blocks(last_only + prompt, say("a", "b", "c", "d"))[0] == ["", "d"]
    assert blocks("{{ messages | length }}" + UNMARKED, say("a", "b"))[0] == [""]


def test_a_template_without_a_generation_prompt_trains_on_the_header_too() -> None:
    plain = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}"
    assert blocks(plain, say("a", "b"))[0] == ["[assistant]b"]


@pytest.mark.parametrize(
    ("given", "reasoning"),
    [({"enable_thinking": False}, None), ({}, "One and one."), ({"enable_thinking": True}, "两个\n一。")],
    ids=str,
)
@pytest.mark.parametrize(
    "texts", [("1+1?", "2"), ("一加一？", "二。\n"), ("👩‍👩‍👧", "☀️ <|im_end|>"), (" a ", "\n\n b ")]
)
def test_the_real_template_of_qwen3_has_the_targets_of_ours(
    given: Row, reasoning: str | None, texts: tuple[str, str], shared: Path
) -> None:
    config = json.loads((shared / "qwen3_tokenizer" / "tokenizer_config.json").read_text("utf-8"))
    ours = (ROOT / "conf" / "template" / "qwen3.jinja").read_text("utf-8")
    assert "chat_template" in config
    assert yaml.safe_load((ROOT / "conf" / "template" / "qwen3.yaml").read_text("utf-8"))["enable_thinking"] is None
    messages = say(*texts)
    if reasoning is not None:
        messages[-1]["reasoning_content"] = reasoning
    theirs, text = blocks(config["chat_template"], messages, **given)
    parts, same = blocks(ours, messages, **given)
    assert same == text
    assert theirs[-1] == "".join(parts[-4:])


def test_templates_that_are_not_the_projects_render_by_rows_of_a_process(tmp_path: Path) -> None:
    with Renderer(template(UNMARKED)) as renderer:
        about = renderer.about()
        assert (about["marked"], about["outlined"]) == (False, False)
        many = [{"messages": say(f"q{k}", f"a{k}")} for k in range(250)]
        found = renderer.rows(many)
    assert [row["text"][start:end] for row in found for start, end in row["blocks"]] == [f"a{k}" for k in range(250)]


@pytest.mark.parametrize("needs", ["", "from . import around", "from .. import around"], ids=["none", "inner", "outer"])
def test_the_module_of_chat_templates_is_found_whatever_it_needs_around_it(needs: str, tmp_path: Path) -> None:
    utils = tmp_path / "transformers" / "utils"
    utils.mkdir(parents=True)
    for package in (utils, utils.parent):
        (package / "__init__.py").write_text("around = 1")
    (utils / "chat_template_utils.py").write_text(f"{needs}\nprint('found')")
    command = "from pipeline.render.sandbox import _import_chat_templates as find; find()"
    found = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-c", command], env=os.environ | found, capture_output=True, check=True)
    assert done.stdout.split() == [b"found"]
