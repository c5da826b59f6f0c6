"""Outlines: whatever a template does with the texts, filling gives what the template itself gives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.render.loss import Loss
from pipeline.render.outline import outline
from pipeline.render.render import Rendered, Rendering, render
from pipeline.render.renderer import Renderer
from pipeline.render.sandbox import Sandbox
from pipeline.render.template import Template
from pipeline.schema import MESSAGE, POOL

Row = dict[str, Any]
FOLDER = Path(__file__).resolve().parents[3] / "conf" / "template"
NAMES = sorted(path.stem for path in FOLDER.glob("*.jinja"))
LOSSES = [
    Loss(targets, calls, reasoning)
    for targets in ("all", "last", "text")
    for calls in (False, True)
    for reasoning in (False, True)
]
SNIPPETS = [
    *("", " ", "\n", "\n\n", "\t", "\r\n", "\u3000", "\xa0", "\x85", "\x1c", "\u200b", "\ufeff", "\u2028"),
    *("一加一等于几？", "👩‍👩‍👧‍👦", "☀️", "e\u0301", "\u0301", "🇳🇴", "Hello", "x", '"', "\\", "&lt;"),
    *("</think>", "<think>", "<think>\n", "\n</think>\n\n", "<tool_response>", "</tool_response>"),
    *("{{x}}", "{% if %}", "{#", '\ue000"0\ue001', '\n\t \ue000"0\ue001 \t\n', "\ue000", "$1", "\\1", "{0}", "%s"),
    *("<|im_end|>", "<|im_start|>assistant\n", "<|eot_id|>", "<end_of_turn>", "### Response:", "\ufdd0", "\x00"),
]


class Here(Renderer):
    """The template in this very process: one of its own takes half a second to start."""

    def __init__(self, template: Template) -> None:
        super().__init__(template)
        self._sandbox = Sandbox(template.text, template.variables)
        self.asked = 0

    def about(self) -> dict[str, Any]:
        box = self._sandbox
        return {"marked": box.marked, "outlined": box.outlined, "reads_meta": box.reads_meta}

    def _ask(self, do: str, what: Any) -> Any:
        what = json.loads(json.dumps(what))
        if do == "rows":
            self.asked += len(what)
            return [self._sandbox.row(row) for row in what]
        return json.loads(json.dumps(outline(self._sandbox.render, what["messages"], what["meta"])))


@cache
def project(name: str) -> Here:
    variables = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))
    given = {key: value for key, value in variables.items() if key not in ("name", "path") and value is not None}
    return Here(Template(name, (FOLDER / f"{name}.jinja").read_text("utf-8"), given))


def batch(rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows with the columns of a pool; each has `messages`, and `tools` and `meta` as JSON text."""
    empty: Row = {"source": "t", "tags": [], "answer": None, "key": "", "prompt_key": "", "tools": None, "meta": None}
    turn = dict.fromkeys(field.name for field in MESSAGE)
    filled = [
        empty | {"id": f"t:{k}"} | row | {"messages": [turn | message for message in row["messages"]]}
        for k, row in enumerate(rows)
    ]
    return pa.RecordBatch.from_pylist(filled, schema=POOL)


def talk(*texts: str, **more: Any) -> Row:
    """User and assistant by turns."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[k % 2], "content": text} for k, text in enumerate(texts)], **more}


def both_ways(renderer: Renderer, rows: Sequence[Row], loss: Loss) -> tuple[Rendering, Rendered, Rendered]:
    columns = batch(rows)
    rendering = Rendering(renderer, loss)
    return rendering, render(columns, rendering), render(columns, Rendering(renderer, loss, outlines=False))


def assert_same(one: Rendered, other: Rendered) -> None:
    assert one.columns.column("text").to_pylist() == other.columns.column("text").to_pylist()
    assert one.columns.column("targets").to_pylist() == other.columns.column("targets").to_pylist()
    assert one.refused == other.refused


texts = st.one_of(
    st.lists(st.sampled_from(SNIPPETS), max_size=4).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)
CALL = json.dumps([{"type": "function", "function": {"name": "f", "arguments": {"城": ["<|im_end|>", 1.5, None]}}}])
TOOLS = json.dumps([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])


@st.composite
def turns(draw: st.DrawFn, role: str) -> dict[str, st.SearchStrategy[Any]]:
    """A form of turn: for each field what values it has."""
    fields: dict[str, st.SearchStrategy[Any]] = {"role": st.just(role), "content": texts}
    if draw(st.integers(0, 5)) == 0:
        fields["content"] = st.just("")
    if role == "assistant":
        if draw(st.integers(0, 3)) == 0:
            fields["reasoning_content"] = texts
        fields["weight"] = draw(st.sampled_from([st.none(), st.sampled_from([0.0, 0.5, 1.0, None])]))
        if draw(st.integers(0, 7)) == 0:
            fields["tool_calls"] = st.sampled_from([CALL, None])
    if role == "tool" or draw(st.integers(0, 7)) == 0:
        fields["name"] = texts
        fields["tool_call_id"] = st.one_of(st.none(), texts)
    return fields


@st.composite
def batches(draw: st.DrawFn) -> list[Row]:
    """Rows of a few forms, several of each, in any order."""
    rows: list[Row] = []
    for _ in range(draw(st.integers(1, 3))):
        roles = draw(
            st.one_of(
                st.integers(1, 2).map(lambda pairs: ["user", "assistant"] * pairs),
                st.integers(1, 2).map(lambda pairs: ["system"] + ["user", "assistant"] * pairs),
                st.lists(st.sampled_from(["system", "user", "assistant", "tool"]), min_size=1, max_size=4),
            )
        )
        form = [draw(turns(role)) for role in roles]
        more: dict[str, st.SearchStrategy[Any]] = {}
        if draw(st.integers(0, 5)) == 0:
            more["tools"] = st.sampled_from([None, TOOLS])
        if draw(st.booleans()):
            parts = st.fixed_dictionaries({"instruction": texts, "input": texts})
            more["meta"] = st.one_of(st.none(), parts.map(json.dumps), st.just('{"input": "x"}'))
        row = st.fixed_dictionaries({"messages": st.tuples(*map(st.fixed_dictionaries, form)).map(list), **more})
        rows += draw(st.lists(row, min_size=4, max_size=9))
    return draw(st.permutations(rows))


@pytest.mark.parametrize("name", NAMES)
@given(rows=batches(), loss=st.sampled_from(LOSSES))
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
def test_outlines_give_what_the_projects_templates_give(name: str, rows: list[Row], loss: Loss) -> None:
    rendering, filled, plain = both_ways(project(name), rows, loss)
    assert rendering.differing is None
    assert_same(filled, plain)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_plain_conversations_are_rendered_by_outlines(name: str, loss: Loss) -> None:
    """All but the rows that are compared, three of each form and batch; questions that some texts answer with yes
    send just these rows to the template."""
    rows = [talk(f"{k}+1?", f"{k + 1}") for k in range(50)]
    rows += [talk("a?", f"{k}.", "b?", "4", system="") for k in range(50)]
    rows[7] = talk("7+1?", "<think>\nx\n</think>\n\n8")
    renderer = project(name)
    columns = batch([{key: value for key, value in row.items() if key != "system"} for row in rows])
    before = renderer.asked
    rendering = Rendering(renderer, loss)
    rendered = render(columns, rendering)
    assert all(rendering._known.values())
    assert len(rendering._known) == 2
    assert renderer.asked - before <= 7
    assert rendered.columns.column("text").null_count == 0


@given(st.lists(texts, min_size=8, max_size=8))
@settings(max_examples=10)
def test_rows_of_a_rare_form_are_rendered_too(some: list[str]) -> None:
    rows = [talk(*some[:2]), talk(*some[:4]), talk(*some[:6]), talk(some[0]), *(talk(*some[6:]) for _ in range(5))]
    _, filled, plain = both_ways(project("chatml"), rows, Loss())
    assert_same(filled, plain)


# Templates that look into texts, one way each. `TEXT` is the text of a user.
LOOKS = {
    "upper": "{{ TEXT.upper() }}",
    "upper as a filter": "{{ TEXT | upper }}",
    "length": "{{ TEXT | length }}",
    "replace": "{{ TEXT.replace('foo', 'bar') }}",
    "replace as a filter": "{{ TEXT | replace('foo', 'bar') }}",
    "put in by replace": "{{ 'A' if 'foo' in 'x'.replace('x', TEXT) else 'B' }}",
    "put in by replace, as an item": "{{ 'A' if 'foo' in 'x'['replace']('x', TEXT) else 'B' }}",
    "slice": "{{ TEXT[:3] }}",
    "index": "{{ TEXT[0] }}",
    "equal": "{{ 'A' if TEXT == 'foo' else 'B' }}",
    "equal from the left": "{{ 'A' if 'foo' == TEXT else 'B' }}",
    "unequal": "{{ 'A' if TEXT != 'foo' else 'B' }}",
    "less": "{{ 'A' if TEXT < 'foo' else 'B' }}",
    "equal in a list": "{{ 'A' if [TEXT] == ['foo'] else 'B' }}",
    "is equal": "{{ 'A' if TEXT is equalto('foo') else 'B' }}",
    "in a list": "{{ 'A' if TEXT in ['foo', 'no'] else 'B' }}",
    "in a text": "{{ 'A' if TEXT in 'no foo' else 'B' }}",
    "not in a text": "{{ 'A' if TEXT not in 'no foo' else 'B' }}",
    "is in a text": "{{ 'A' if TEXT is in('no foo') else 'B' }}",
    "key": "{{ {'foo': 'A'}[TEXT] or 'B' }}",
    "key by get": "{{ {'foo': 'A'}.get(TEXT, 'B') }}",
    "is lower": "{{ 'A' if TEXT is lower else 'B' }}",
    "is upper": "{{ 'A' if TEXT is upper else 'B' }}",
    "is upper, joined": "{{ 'A' if TEXT + 'X' is upper else 'B' }}",
    "method isupper": "{{ 'A' if TEXT.isupper() else 'B' }}",
    "chosen by upper": "{{ messages | selectattr('content', 'upper') | list | length }}",
    "chosen by in": "{{ messages | selectattr('content', 'in', 'no foo') | list | length }}",
    "rejected by equal": "{{ messages | rejectattr('content', 'equalto', 'foo') | list | length }}",
    "tilde": "{{ 'A' if 'foo' in TEXT ~ 'x' else 'B' }}",
    "tilde twice": "{{ (TEXT ~ TEXT) | length }}",
    "plus": "{{ 'A' if 'foo' in 'x' + TEXT else 'B' }}",
    "times": "{{ TEXT * 2 }}",
    "set block": "{% set x %}{{ TEXT }}{% endset %}{{ 'A' if 'foo' in x else x }}",
    "set block with a filter": "{% set x | upper %}{{ TEXT }}{% endset %}{{ x }}",
    "filter block": "{% filter upper %}{{ TEXT }}{% endfilter %}",
    "macro": "{% macro f(x) %}{{ x }}{% endmacro %}{{ 'A' if 'foo' in f(TEXT) else 'B' }}",
    "call": "{% macro f() %}{{ caller() | upper }}{% endmacro %}{% call f() %}{{ TEXT }}{% endcall %}",
    "a block's text": "{% block b scoped %}{{ TEXT }}{% endblock %}{{ 'A' if 'foo' in self.b() else 'B' }}",
    "recursion": "{% for x in [[TEXT]] recursive %}{{ x if x is string else 'AB'['foo' in loop(x)] }}{% endfor %}",
    "tojson": "{{ TEXT | tojson }}",
    "tojson of the message": "{{ message | tojson }}",
    "printed list": "{{ [TEXT] }}",
    "printed message": "{{ message }}",
    "printed pair": "{{ (TEXT, 1) }}",
    "join": "{{ 'A' if 'foo' in ''.join([TEXT]) else 'B' }}",
    "join as an item": "{{ 'A' if 'foo' in ''['join']([TEXT]) else 'B' }}",
    "join as a filter": "{{ 'A' if 'foo' in [TEXT] | join else 'B' }}",
    "format": "{{ 'A' if 'foo' in '{}'.format(TEXT) else 'B' }}",
    "format as an item": "{{ 'A' if 'foo' in '{}'['format'](TEXT) else 'B' }}",
    "format as a filter": "{{ 'A' if 'foo' in '%s' | format(TEXT) else 'B' }}",
    "percent": "{{ 'A' if 'foo' in '%s' % TEXT else 'B' }}",
    "percent of a name": "{% set f = '%s' %}{{ 'A' if 'foo' in f % TEXT else 'B' }}",
    "percent of a name and a tuple": "{% set f = '%s' %}{{ 'A' if 'foo' in f % (TEXT,) else 'B' }}",
    "percent of a name and a mapping": "{% set f = '%(x)s' %}{{ 'A' if 'foo' in f % {'x': TEXT} else 'B' }}",
    "percent, cut": "{% set f = '%.2s' %}{{ f % (TEXT,) }}",
    "characters": "{% for a in TEXT %}{% for b in TEXT %}{{ a + b }}{% endfor %}{% endfor %}",
    "characters as a list": "{{ TEXT | list }}",
    "reversed": "{{ TEXT | reverse }}",
    "first": "{{ TEXT | first }}",
    "last": "{{ TEXT | last }}",
    "split": "{{ TEXT.split('foo') | length }}",
    "splits": "{{ 'no foo yes'.split(TEXT)[0] }}",
    "begins another": "{{ 'A' if 'foo bar'.startswith(TEXT) else 'B' }}",
    "ends another": "{{ 'A' if 'bar foo'.endswith(TEXT) else 'B' }}",
    "found in another": "{{ 'no foo'.find(TEXT) }}",
    "counted in another": "{{ 'no foo foo'.count(TEXT) }}",
    "strips another": "{{ 'foo bar'.strip(TEXT) }}",
    "strips another's end": "{{ 'bar foo'.rstrip(TEXT) }}",
    "prefix of another": "{{ 'foo bar'.removeprefix(TEXT) }}",
    "parts another": "{{ 'no foo bar'.partition(TEXT)[2] }}",
    "translates": "{{ 'foo'.translate({102: TEXT}) | length }}",
    "stripped by a text": "{{ 'A' if TEXT.strip(messages[0].content) == '' else 'B' }}",
    "stripped and asked": "{{ 'A' if TEXT.strip() else 'B' }}",
    "stripped twice": "{{ TEXT.strip().lstrip('f') }}",
    "stripped of nothing": "{{ TEXT.strip('') }}",
    "stripped of characters": "{{ TEXT.strip('fo \n') }}",
    "trimmed of characters": "{{ TEXT | trim('fo') }}",
    "asked for two beginnings": "{{ 'A' if TEXT.startswith(('fo', 'x')) else 'B' }}",
    "asked from a place": "{{ 'A' if TEXT.startswith('o', 1) else 'B' }}",
    "asked for nothing": "{{ 'A' if '' in TEXT else 'B' }}",
    "contains": "{{ 'A' if 'foo' in TEXT else TEXT }}",
    "begins": "{{ 'A' if TEXT.startswith('fo') else TEXT }}",
    "ends": "{{ 'A' if TEXT.endswith('oo') else TEXT }}",
    "contains a wildcard": "{{ 'A' if '.' in TEXT or '$' in TEXT else TEXT }}",
    "refuses some": "{{ raise_exception('no') if 'foo' in TEXT else TEXT }}",
    "refuses with the text": "{{ raise_exception(TEXT) if 'foo' in TEXT else TEXT }}",
    "default": "{{ TEXT | default('x', true) }}",
    "changed": "{{ 'A' if loop.changed(TEXT) else 'B' }}",
    "kept in a namespace": "{% set n = namespace(x='') %}{% set n.x = n.x + TEXT %}{{ 'A' if 'foo' in n.x else n.x }}",
    "joiner": "{% set j = joiner(TEXT) %}{{ j() }}{{ 'A' if 'foo' in j() else 'B' }}",
    "cycler": "{% set c = cycler(TEXT, 'x') %}{{ 'A' if 'foo' in c.next() else 'B' }}",
    "autoescape": "{% autoescape true %}{{ TEXT }}{% endautoescape %}",
    "escape": "{{ TEXT | e }}",
    "fill": "{{ 'x'.center(8, TEXT) }}",
    "a number": "{{ TEXT | int }}",
    "in a date": "{{ 'A' if 'foo' in strftime_now(TEXT) else 'B' }}",
    "thinking": "{{ message.thinking or TEXT }}",
    "fields": "{{ message | length }}{{ TEXT }}",
    "names of fields": "{% for name in message %}{{ name }}{% endfor %}{{ TEXT }}",
    "values": "{% for value in message.values() %}{{ value }}{% endfor %}",
    "set in a conversation": "{{ 'A' if message in [messages[0]] else 'B' }}{{ TEXT }}",
}
ODD = ["foo", " foo\n", "FOO", "no", "y", "o", "f.o", "$", "%d", "x foo x", "\n", "", "\u3000foo\x85"]


def looking(text: str) -> Here:
    """A template that does this with each user's text, and writes what the assistant says as it is."""
    text = text.replace("TEXT", "message.content")
    turn = "{% generation %}{{ message.content }}{% endgeneration %}"
    body = f"{{% if message.role == 'user' %}}{text}{{% else %}}{turn}{{% endif %}}"
    return Here(Template("looking", f"{{% for message in messages %}}{body}{{% endfor %}}", {}))


@pytest.mark.parametrize("what", LOOKS)
def test_a_look_into_a_text_is_noticed(what: str) -> None:
    """A few odd texts among many, none at a place that is compared anyway. Either all rows are right, or it is known
    that outlines are wrong, and nothing made with them is used."""
    plain = [talk(f"Plain {k:02}", "Said. " * 3) for k in range(20)]
    rows = [*plain, *(talk(odd, "Said.") for odd in ODD), *plain]
    rendering, filled, slow = both_ways(looking(LOOKS[what]), rows, Loss())
    if rendering.differing is None:
        assert_same(filled, slow)


@given(
    st.sampled_from([text for text in LOOKS.values() if "strftime" not in text]),
    st.lists(st.one_of(texts, st.sampled_from(ODD)), min_size=6, max_size=12),
)
@settings(max_examples=60)
def test_looks_into_any_texts_are_noticed(look: str, some: list[str]) -> None:
    rows = [talk(text, "Said.") for text in ["a plain one, the longest of all texts here", *some, "a plain one"]]
    rendering, filled, slow = both_ways(looking(look), rows, Loss())
    if rendering.differing is None:
        assert_same(filled, slow)


META = {
    "another field": "{{ meta.title or '-' }}",
    "another field's presence": "{{ 'A' if meta.title is defined else 'B' }}",
    "defined": "{{ meta is defined }}",
    "a mapping": "{{ meta is mapping }}",
    "length": "{{ meta | length if meta is defined }}",
    "a field": "{{ meta.instruction if meta is mapping and meta.instruction is string else '-' }}",
    "a true field": "{{ meta.input if meta is mapping and meta.input else '-' }}",
}


@pytest.mark.parametrize("what", META)
def test_meta_is_to_an_outline_what_it_is_to_the_template(what: str) -> None:
    """Rows with other fields, with fields that are no text, and without any, among many with fields of no account."""
    odd = [
        *(None, {"title": "T"}, {"instruction": 5}, {"instruction": None, "input": ""}, {"input": True}),
        *({"instruction": "I", "input": "J"}, {"instruction": 'é "😀" \\', "title": "T"}),
    ]
    plain = [talk(f"Plain {k:02}", "Said. " * 3, meta='{"a": 1}') for k in range(20)]
    rows = [*plain, *(talk("x", "y", meta=meta and json.dumps(meta)) for meta in odd), *plain]
    rendering, filled, slow = both_ways(looking(META[what] + "{{ TEXT }}"), rows, Loss())
    if rendering.differing is None:
        assert_same(filled, slow)


@pytest.mark.parametrize("value", [["z"], {"z": 1}, [], 5, 1.5, True, None, "z"], ids=repr)
def test_meta_may_have_columns_of_any_kind(value: Any) -> None:
    """A table's own column `input` need not be text."""
    rows = [talk(f"Q{k}", "A", meta=json.dumps({"instruction": "I", "input": value})) for k in range(6)]
    rendering, filled, slow = both_ways(project("alpaca"), rows, Loss())
    assert rendering.differing is None
    assert_same(filled, slow)


NOTHING = {
    "no text at all": "",
    "no text of theirs": "constant",
    "only targets": "{% generation %}x{% endgeneration %}",
}


@pytest.mark.parametrize("what", NOTHING)
@pytest.mark.parametrize("loss", [Loss(), Loss("text")], ids=str)
def test_a_template_may_write_nothing_of_the_messages(what: str, loss: Loss) -> None:
    whole = "{% for m in messages if m.role == 'assistant' %}{% generation %}{% endgeneration %}{% endfor %}"
    renderer = Here(Template("t", NOTHING[what] if "generation" in NOTHING[what] else whole + NOTHING[what], {}))
    rows = [talk(f"{k}?", "A") for k in range(9)]
    _, filled, slow = both_ways(renderer, rows, loss)
    assert_same(filled, slow)


def test_a_form_is_outlined_once_for_all_batches() -> None:
    rendering = Rendering(project("chatml"), Loss())
    found: list[Any] = []
    for some in (9, 4, 12):
        render(batch([talk(f"{k}?", "A") for k in range(some)]), rendering)
        found += rendering._known.values()
    assert found[0] is not None
    assert all(one is found[0] for one in found)
