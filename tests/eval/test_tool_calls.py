"""Tool calls in replies, as the templates write them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.reply import Reply, Verdicts
from eval.tool_calls import NoCallError, split_calls, tool_calls
from pipeline.render.renderer import Renderer
from pipeline.render.template import Template
from tests.conftest import ROOT
from tests.eval.replies import make_reply

FERRY = {
    "name": "next_ferry",
    "description": "When the next ferry leaves",
    "parameters": {
        "type": "object",
        "properties": {"pier": {"type": "string"}, "seats": {"type": "integer", "minimum": 1}},
        "required": ["pier"],
    },
}
TIDE = {"name": "tide"}
TOOLS = [{"type": "function", "function": FERRY}, TIDE]
GOLD = [{"type": "function", "function": {"name": "next_ferry", "arguments": {"pier": "north"}}}]
GOOD = '{"name": "next_ferry", "arguments": {"pier": "north", "seats": 2}}'


def asked(text: str, tools: Any = TOOLS, calls: Any = GOLD) -> Reply:
    """A reply in a row with tools whose own reply calls one."""
    reply = make_reply(text, tools=tools, gold=None)
    reply.row["messages"][-1]["tool_calls"] = calls
    return reply


def scores(text: str, tools: Any = TOOLS) -> tuple[float | None, ...]:
    """Parsable, known, conforming."""
    found = tool_calls(asked(text, tools))
    assert found is not None
    return tuple(found.scores.get(f"tool_{name}") for name in ("parsable", "known", "conforms"))


def block(call: str) -> str:
    """A call as Qwen writes it."""
    return f"<tool_call>\n{call}\n</tool_call>"


@pytest.mark.parametrize(
    "text",
    [
        block(GOOD),
        block(GOOD) + "\n" + block('{"name": "tide", "arguments": {}}'),
        "I will look.\n" + block(GOOD),
        "<think>\nA ferry.\n</think>\n\n" + block(GOOD),
        f"<tool_call>{GOOD}</tool_call>",
        GOOD,
        GOOD.replace("arguments", "parameters"),
        "<|python_tag|>" + GOOD.replace("arguments", "parameters"),
        f"[{GOOD}]",
        f"[TOOL_CALLS] [{GOOD}]",
        block('{"name": "tide", "arguments": {"anything": [1]}}'),
    ],
)
def test_calls_in_the_formats_of_the_templates_pass(text: str) -> None:
    assert scores(text) == (1, 1, 1)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (GOOD.replace("next_ferry", "ferry"), (1, 0, 0)),
        (GOOD.replace("next_ferry", ""), (1, 0, 0)),
        (GOOD.replace("pier", "port"), (1, 1, 0)),
        (GOOD.replace("2", "0"), (1, 1, 0)),
        (GOOD.replace("2", '"2"'), (1, 1, 0)),
        (GOOD.replace("2", "1e999"), (1, 1, 0)),
        ('{"name": "next_ferry", "arguments": {}}', (1, 1, 0)),
        ('{"name": "next_ferry"}', (0, 0, 0)),
        ('{"name": "next_ferry", "arguments": "{\\"pier\\": \\"north\\"}"}', (0, 0, 0)),
        ('{"name": "next_ferry", "arguments": ["north"]}', (0, 0, 0)),
        ('{"name": "next_ferry", "arguments": null}', (0, 0, 0)),
        ('{"name": 7, "arguments": {}}', (0, 0, 0)),
        ('{"arguments": {"pier": "north"}}', (0, 0, 0)),
        ('{"name": "tide", "arguments": {}, "parameters": {}}', (0, 0, 0)),
        ("{'name': 'next_ferry', 'arguments': {'pier': 'north'}}", (0, 0, 0)),
        ('{"name": "next_ferry", "arguments": {"pier": "north"}', (0, 0, 0)),
        ('{"name": "next_ferry", "name": "tide", "arguments": {}}', (0, 0, 0)),
        ("[]", (0, 0, 0)),
        ("7", (0, 0, 0)),
        ("", (0, 0, 0)),
        ("The next ferry leaves at noon.", (0, 0, 0)),
        ("[" * 100_000, (0, 0, 0)),
    ],
)
def test_what_is_wrong_is_told_apart(call: str, expected: tuple[int, int, int]) -> None:
    assert scores(call) == expected
    assert scores(block(call)) == expected or call == "[]"


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\n" + GOOD,
        GOOD + "\n</tool_call>",
        block(GOOD) + " There you are.",
        block(GOOD) + "\n<tool_call>",
        block(block(GOOD)),
        block(GOOD) + "and" + block(GOOD),
        f"```json\n{GOOD}\n```",
        f"{GOOD} {GOOD}",
        "<think>\n" + block(GOOD),
        "[TOOL_CALLS] " + "[]",
    ],
)
def test_what_a_server_would_not_read_is_not_parsable(text: str) -> None:
    assert scores(text) == (0, 0, 0)


def test_one_bad_call_spoils_the_reply() -> None:
    assert scores(block(GOOD) + block(GOOD.replace("pier", "port"))) == (1, 1, 0)
    assert scores(block(GOOD) + block(GOOD.replace("next_ferry", "ferry"))) == (1, 0, 0)


def test_tools_and_calls_come_as_objects_or_as_text() -> None:
    assert scores(block(GOOD), json.dumps(TOOLS)) == (1, 1, 1)
    assert tool_calls(asked(block(GOOD), TOOLS, json.dumps(GOLD))) is not None


@pytest.mark.parametrize("parameters", [{"type": "dict"}, {"$ref": "#/nowhere"}, "none"])
def test_a_tool_whose_schema_is_none_takes_nothing_away(parameters: Any) -> None:
    tools = [{**FERRY, "parameters": parameters}, TIDE]
    assert scores(block(GOOD), tools) == (1, 1, None)
    assert scores(block('{"name": "tide", "arguments": {}}'), tools) == (1, 1, 1)


def test_rows_without_tools_or_without_a_call_are_not_measured() -> None:
    assert tool_calls(make_reply(GOOD)) is None
    assert tool_calls(make_reply(GOOD, tools=None)) is None
    assert tool_calls(make_reply(GOOD, tools=TOOLS)) is None
    assert tool_calls(asked(GOOD, [])) is None
    assert tool_calls(asked(GOOD, "no tools")) is None
    assert tool_calls(asked(GOOD, TOOLS, [])) is None


def test_notes_say_what_was_called() -> None:
    found = tool_calls(asked(block(GOOD.replace("2", "0"))))
    assert isinstance(found, Verdicts)
    assert found.notes["calls"] == [{"name": "next_ferry", "arguments": {"pier": "north", "seats": 0}}]
    assert "seats" in found.notes["violation"]
    unknown = tool_calls(asked(block(GOOD.replace("next_ferry", "ferry"))))
    assert unknown is not None
    assert unknown.notes["unknown"] == ["ferry"]
    text = tool_calls(asked("At noon."))
    assert text is not None
    assert "not_json" in text.notes["unparsable"]


CALLS = st.lists(
    st.tuples(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
        st.dictionaries(
            st.text(st.characters(codec="utf-8"), max_size=5),
            st.integers() | st.text(st.characters(codec="utf-8"), max_size=8) | st.lists(st.booleans(), max_size=2),
            max_size=3,
        ),
    ),
    min_size=1,
    max_size=3,
)


@given(CALLS)
def test_calls_are_read_as_they_are_written(calls: list[tuple[str, dict[str, Any]]]) -> None:
    texts = [json.dumps({"name": name, "arguments": arguments}) for name, arguments in calls]
    assert split_calls("\n".join(map(block, texts))) == ("", calls)
    assert split_calls(f"[{', '.join(texts)}]") == ("", calls)


@given(st.lists(st.sampled_from(["<tool_call>", "</tool_call>", GOOD, "[", "]", "{", "<|python_tag|>", " ", "é"])))
def test_no_text_raises_anything_else(parts: list[str]) -> None:
    try:
        split_calls("".join(parts))
    except NoCallError:
        return


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "qwen3_instruct_2507", "llama3"])
def test_what_a_template_writes_for_a_call_is_read_as_that_call(name: str) -> None:
    arguments = {"pier": 'north "old" 码头', "seats": 2}
    call = {"type": "function", "function": {"name": "next_ferry", "arguments": arguments}}
    messages = [{"role": "user", "content": "When?"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    variables = {"bos_token": "<|begin_of_text|>", "date_string": "26 Jul 2024", "enable_thinking": None}
    template = Template(name, (ROOT / "conf" / "template" / f"{name}.jinja").read_text("utf-8"), variables)
    with Renderer(template) as renderer:
        (row,) = renderer.rows([{"messages": messages, "tools": TOOLS, "meta": None}])
    *reply, _ = [row["text"][start:end] for start, end in row["blocks"]]
    assert split_calls("".join(reply)) == ("", [("next_ferry", arguments)])
    assert scores("".join(reply)) == (1, 1, 1)
