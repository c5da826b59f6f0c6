"""Rows that are conversations already: content in parts, tool calls kept exactly, bad shapes refused."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.sources.messages import tool_calls

USER, ASSISTANT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def row(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


def one(adapt: Any, *messages: Any, **more: Any) -> Any:
    [found] = adapt("messages", [row(*messages, **more)])
    return found


def calling(*calls: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def test_a_conversation_comes_through_as_it_is(adapt: Any) -> None:
    last = {"role": "assistant", "content": "a", "reasoning_content": "r", "name": "n", "weight": 0.5}
    found = one(adapt, {"role": "system", "content": "s"}, USER, last, id="x1")
    assert found["turns"] == [{"role": "system", "content": "s"}, USER, last]
    assert found["meta"] == '{"id":"x1"}'


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ([{"text": "a "}, {"type": "text", "value": "b"}], "a b"),
        ([{"type": "text", "text": "{{x}}"}], "{{x}}"),
    ],
)
def test_content_in_parts_is_joined(adapt: Any, content: Any, text: str) -> None:
    assert one(adapt, {"role": "user", "content": content}, ASSISTANT)["turns"][0]["content"] == text


@pytest.mark.parametrize(
    ("given", "weight"),
    [({"weight": 0}, 0.0), ({"loss_weight": 0.25}, 0.25), ({"loss": False}, 0.0), ({"loss": True}, 1.0),
     ({"weight": 0, "loss": True}, 0.0), ({}, None)],
)  # fmt: skip
def test_a_turn_s_loss_weight_has_several_names(adapt: Any, given: dict[str, Any], weight: float | None) -> None:
    turns = one(adapt, USER, {**ASSISTANT, **given})["turns"]
    assert turns[1].get("weight") == weight


def test_a_weight_of_what_is_never_trained_on_makes_no_other_prompt(adapt: Any) -> None:
    assert one(adapt, {**USER, "loss_weight": 0.0}, ASSISTANT) == one(adapt, USER, ASSISTANT)


def test_messages_may_stand_in_a_cell_as_text(adapt: Any) -> None:
    assert one(adapt, USER, ASSISTANT) == adapt("messages", [{"messages": json.dumps([USER, ASSISTANT])}])[0]


ARGUMENTS = [
    "{}",
    '{"city":"Bergen"}',
    '{"b":1,"a":2}',
    '{"n":123456789012345678901234567890,"x":1.50,"y":1E5,"z":-0}',
    '{"deep":{"list":[1,[2,{"k":null}],true],"题":"🎉"}}',
    '{"quote":"\\" \\\\ \\n","kind":"function"}',
]


@pytest.mark.parametrize("arguments", ARGUMENTS)
@pytest.mark.parametrize("form", ["object", "text", "bare", "bare text", "flat"])
def test_arguments_of_every_form_are_kept_to_the_letter(arguments: str, form: str) -> None:
    given = json.dumps(arguments, ensure_ascii=False) if "text" in form else arguments
    function = f'{{"name": "f", "arguments": {given}}}'
    call = function if form.startswith("bare") else f'{{"type": "function", "id": "c1", "function": {function}}}'
    if form == "flat":
        call = f'{{"type": "function", "name": "f", "arguments": {given}}}'
    head = "" if form in ("bare", "bare text", "flat") else '"id":"c1",'
    expected = f'[{{{head}"type":"function","function":{{"name":"f","arguments":{arguments}}}}}]'
    assert tool_calls(f"[{call}]".encode()) == expected


@pytest.mark.parametrize("arguments", ["null", '""', '" "', '"null"', " {} "])
def test_no_arguments_are_an_empty_object(arguments: str) -> None:
    calls = tool_calls(f'[{{"function": {{"name": "f", "arguments": {arguments}}}}}]'.encode())
    assert calls == '[{"type":"function","function":{"name":"f","arguments":{}}}]'
    assert tool_calls(b'[{"function": {"name": "f"}}]') == calls


@pytest.mark.parametrize("nothing", [None, [], ""])
def test_no_calls_are_none(adapt: Any, nothing: Any) -> None:
    assert "tool_calls" not in one(adapt, USER, {**ASSISTANT, "tool_calls": nothing})["turns"][1]


def test_white_space_between_the_parts_of_calls_goes_and_their_order_stays(adapt: Any) -> None:
    text = b"""{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [
        {"function": {"arguments": {"b" : [ 1 , 2 ] , "a" : " x  y " } , "name": "f"} , "id": "1" } ] } ] }"""
    [found] = adapt("messages", text.replace(b"\n", b" "))
    assert found["turns"][1] == {
        "role": "assistant",
        "content": "",
        "tool_calls": '[{"id":"1","type":"function","function":{"name":"f","arguments":{"b":[1,2],"a":" x  y "}}}]',
    }


def test_calls_are_answered_by_tools(adapt: Any) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": {}}}
    answer = {"role": "tool", "tool_call_id": "c", "name": "f", "content": "{}"}
    found = one(adapt, USER, calling(call), answer, ASSISTANT, tools=[WEATHER])
    assert found["turns"][2] == answer
    assert json.loads(found["turns"][1]["tool_calls"]) == [call]


@pytest.mark.parametrize("tools", [[WEATHER], json.dumps([WEATHER]), json.dumps([WEATHER], indent=2)])
def test_tools_may_be_a_list_or_its_text(adapt: Any, tools: Any) -> None:
    assert one(adapt, USER, ASSISTANT, tools=tools)["tools"] == json.dumps([WEATHER], separators=(",", ":"))


@pytest.mark.parametrize("tools", [None, [], "", " ", "[]", "[ ]", "null"])
def test_no_tools_are_null(adapt: Any, tools: Any) -> None:
    assert "tools" not in one(adapt, USER, ASSISTANT, tools=tools)


DEEP = "[" * 20_000 + "]" * 20_000


@pytest.mark.parametrize(
    "bad",
    [
        row(USER, {"role": "assistant", "content": 5}),
        row(USER, {"role": "assistant", "content": ["a"]}),
        row(USER, {"role": "assistant", "content": [{"type": "image_url", "image_url": "x"}]}),
        row(USER, {"role": "assistant", "content": [{"type": "text"}]}),
        row({"role": 5, "content": "x"}, ASSISTANT),
        row(USER, "text"),
        row(USER, {**ASSISTANT, "weight": "1"}),
        row(USER, {**ASSISTANT, "name": ["n"]}),
        row(USER, {**ASSISTANT, "tool_calls": "text"}),
        row(USER, {**ASSISTANT, "tool_calls": {"name": "f"}}),
        row(USER, calling(5)),
        row(USER, calling({})),
        row(USER, calling({"function": {"arguments": {}}})),
        row(USER, calling({"function": {"name": 5}})),
        row(USER, calling({"function": {"name": "f", "arguments": "not JSON"}})),
        row(USER, calling({"function": {"name": "f", "arguments": [1]}})),
        row(USER, calling({"function": {"name": "f", "arguments": "[1]"}})),
        row(USER, calling({"function": {"name": "f", "arguments": 5}})),
        row(USER, calling({"function": {"name": "f", "arguments": '"text"'}})),
        row(USER, calling({"function": {"name": "f", "arguments": '{"a": "\\ud800"}'}})),
        row(USER, calling({"function": {"name": "f", "arguments": f'{{"a": {DEEP}}}'}})),
        {"messages": {"role": "user"}},
        {"messages": 5},
        {"messages": "text"},
        {"messages": ""},
        {"messages": '[{"role": "user", "content": "\\ud800"}]'},
        {"messages": f'[{{"role": "user", "x": {DEEP}}}]'},
        row(USER, {**ASSISTANT, "loss_weight": "1"}),
        row(USER, ASSISTANT, tools={"a": 1}),
        row(USER, ASSISTANT, tools=[1]),
        row(USER, ASSISTANT, tools="text"),
        row(USER, ASSISTANT, tools=5),
        row(USER, ASSISTANT, tools=True),
        row(USER, ASSISTANT, tools='[{"a": "\\ud800"}]'),
        row(USER, ASSISTANT, tools=f'[{{"a": {DEEP}}}]'),
        row(USER, ASSISTANT, answer=["x"]),
        row(USER, ASSISTANT, tags=[1]),
    ],
)  # fmt: skip
def test_a_bad_shape_is_refused_alone(adapt: Any, bad: dict[str, Any]) -> None:
    good = row(USER, ASSISTANT)
    first, second, third = adapt("messages", [good, bad, good])
    assert second == ("too_deep" if DEEP in str(bad) else "wrong_type")
    assert first["turns"] == third["turns"] == [USER, ASSISTANT]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [({}, "missing_column"), ({"messages": None}, "missing_column"), ({"messages": []}, "empty_prompt")],
)
def test_a_row_without_messages_is_refused(adapt: Any, bad: dict[str, Any], reason: str) -> None:
    assert adapt("messages", [row(USER, ASSISTANT), bad])[1] == reason


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["user", "assistant", "tool", "[]", "{}", '{"a": 1}', "", "function"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["function", "name", "arguments", "type", "text", "id", "題"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
message = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "system", "tool"]) | anything,
        "content": st.sampled_from(["x", ""]) | anything,
        "tool_calls": st.lists(anything, max_size=2) | anything,
        "tool_call_id": anything,
        "weight": anything,
        "name": anything,
        "other": anything,
    },
)
whole = st.fixed_dictionaries(
    {}, optional={"messages": st.lists(message | anything, max_size=4) | anything, "tools": anything, "tags": anything}
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(whole, min_size=1, max_size=4))
def test_no_row_of_any_shape_ends_in_a_traceback(adapt: Any, rows: list[Any]) -> None:
    found = adapt("messages", rows)
    assert len(found) == len(rows)
    for got in found:
        if isinstance(got, str):
            continue
        assert got["turns"][-1]["role"] == "assistant"
        for turn in got["turns"]:
            for call in json.loads(turn.get("tool_calls", "[]")):
                assert isinstance(call["function"]["arguments"], dict)
                assert isinstance(call["function"]["name"], str)
        assert all(isinstance(tool, dict) for tool in json.loads(got.get("tools", "[]")))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80)
@given(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), json_values, max_size=4),
    st.booleans(),
)
def test_arguments_survive_as_object_and_as_text(adapt: Any, arguments: dict[str, Any], as_text: bool) -> None:
    given_as = json.dumps(arguments) if as_text else arguments
    found = one(adapt, USER, calling({"id": "1", "function": {"name": "f", "arguments": given_as}}))
    [call] = json.loads(found["turns"][1]["tool_calls"])
    assert call["function"]["arguments"] == arguments
    assert list(call["function"]["arguments"]) == list(arguments)
