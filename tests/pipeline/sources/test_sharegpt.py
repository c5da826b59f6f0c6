"""ShareGPT: speakers by many names, calls and results as turns of their own."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HUMAN, GPT = {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}
USER, ASSISTANT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
CALL = {"name": "f", "arguments": {"x": 1}}
RESULT = {"from": "observation", "value": "{}"}


def row(*turns: Any, **more: Any) -> dict[str, Any]:
    return {"conversations": list(turns), **more}


def one(adapt: Any, *turns: Any, **more: Any) -> Any:
    [found] = adapt("sharegpt", [row(*turns, **more)])
    return found


def calling(call: Any, speaker: str = "function_call") -> dict[str, Any]:
    return {"from": speaker, "value": call if isinstance(call, str) else json.dumps(call)}


def called(turn: dict[str, Any]) -> list[Any]:
    return [call["function"] for call in json.loads(turn["tool_calls"])]


@pytest.mark.parametrize("user", ["human", "user", "Human"])
@pytest.mark.parametrize("assistant", ["gpt", "assistant", "bot", "chatgpt", "GPT"])
def test_speakers_of_every_name_become_roles(adapt: Any, user: str, assistant: str) -> None:
    found = one(adapt, {"from": user, "value": "q"}, {"from": assistant, "value": "a"}, id=7)
    assert found == {"turns": [USER, ASSISTANT], "meta": '{"id":7}'}


def test_turns_of_both_vocabularies_are_read(adapt: Any) -> None:
    for turns in ([HUMAN, ASSISTANT], [USER, GPT], [USER, ASSISTANT]):
        assert one(adapt, *turns)["turns"] == [USER, ASSISTANT]
    parts = [{"type": "text", "text": "a"}]
    assert one(adapt, USER, {"role": "assistant", "content": parts})["turns"] == [USER, ASSISTANT]


@pytest.mark.parametrize("role", ["narrator", "", "call", "tools", None])
def test_an_unknown_speaker_is_refused(adapt: Any, role: Any) -> None:
    found = adapt("sharegpt", [row(HUMAN, GPT), row(HUMAN, {"from": role, "value": "a"}), row(HUMAN, GPT)])
    assert found[1] == "bad_role"
    assert found[0] == found[2]


@pytest.mark.parametrize("result", ["observation", "tool", "function_response"])
def test_a_call_is_answered_by_a_tool(adapt: Any, result: str) -> None:
    turns = one(adapt, HUMAN, calling(CALL), {"from": result, "value": "5"}, GPT)["turns"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "tool", "assistant"]
    assert (turns[1]["content"], called(turns[1]), turns[2]["content"]) == ("", [CALL], "5")


def test_several_calls_are_one_turn_and_join_what_was_said_before(adapt: Any) -> None:
    other = {"name": "g", "arguments": {}}
    for turns in ([calling([CALL, other])], [calling(CALL), calling(other)]):
        assert called(one(adapt, HUMAN, *turns, RESULT, GPT)["turns"][1]) == [CALL, other]
        joined = one(adapt, HUMAN, GPT, *turns, RESULT, GPT)["turns"]
        assert (joined[1]["content"], called(joined[1])) == ("a", [CALL, other])
    assert one(adapt, HUMAN, {**GPT, "weight": 0}, calling(CALL), RESULT, GPT) == "turn_order"


ARGUMENTS = [
    "{}",
    '{"b":1,"a":2}',
    '{"n":123456789012345678901234567890,"x":1.50,"y":1E5,"z":-0}',
    '{"deep":{"list":[1,[2,{"k":null}],true],"题":"🎉"},"s":" a  b "}',
]


@pytest.mark.parametrize("arguments", ARGUMENTS)
@pytest.mark.parametrize("form", ["object", "text", "list", "not as text"])
def test_arguments_and_tools_are_kept_to_the_letter(adapt: Any, arguments: str, form: str) -> None:
    inner = json.dumps(arguments) if form == "text" else arguments
    call = f'{{"name": "f", "arguments": {inner}}}'
    value = f"[{call}]" if form == "list" else call
    value = value if form == "not as text" else json.dumps(value)
    tools = f'[{{"name":"f","parameters":{arguments}}}]'
    for told in (tools, json.dumps(tools)):
        turns = f'[{json.dumps(HUMAN)}, {{"from": "function_call", "value": {value}}}]'
        [found] = adapt("sharegpt", f'{{"conversations": {turns}, "tools": {told}}}'.encode())
        function = f'{{"name":"f","arguments":{arguments}}}'
        assert found["turns"][1]["tool_calls"] == f'[{{"type":"function","function":{function}}}]'
        assert found["tools"] == tools


def test_what_a_tool_gave_back_may_be_an_object(adapt: Any) -> None:
    text = json.dumps(row(HUMAN, calling(CALL), {"from": "tool", "value": "X"}, GPT))
    [found] = adapt("sharegpt", text.replace('"X"', '{"x" : 1.50, "题": [ ] }').encode())
    assert found["turns"][2]["content"] == '{"x":1.50,"题":[]}'


def test_the_system_column_speaks_where_the_conversation_has_no_system(adapt: Any) -> None:
    own = {"from": "system", "value": "own"}
    rows = [
        row(HUMAN, GPT, system="s"),
        row(own, HUMAN, GPT, system="s"),
        row(HUMAN, GPT, system=" "),
        row(own, HUMAN, GPT),
    ]
    found = adapt("sharegpt", rows)
    said = [[turn["content"] for turn in each["turns"]] for each in found]
    assert said == [["s", "q", "a"], ["own", "q", "a"], ["q", "a"], ["own", "q", "a"]]
    assert [each.get("meta") for each in found] == [None, '{"system":"s"}', None, None]


@pytest.mark.parametrize(("key", "weight"), [("weight", 0), ("loss", False), ("loss_weight", 0.0)])
def test_a_turn_may_have_a_loss_weight(adapt: Any, key: str, weight: Any) -> None:
    turns = one(adapt, HUMAN, {**GPT, key: weight}, HUMAN, GPT)["turns"]
    assert [turn.get("weight") for turn in turns] == [None, 0.0, None, None]


def test_what_follows_the_last_answer_is_refused_or_cut(adapt: Any) -> None:
    rows = [row(HUMAN, GPT), row(HUMAN, GPT, HUMAN), row(HUMAN), row(HUMAN, GPT, HUMAN, GPT)]
    whole = adapt("sharegpt", rows)
    assert whole[1:3] == ["ends_with_user", "ends_with_user"]
    counts: dict[str, int] = {}
    cut = adapt("sharegpt", rows, options={"last_user": "cut"}, counts=counts)
    assert cut == [whole[0], whole[0], "ends_with_user", whole[3]]
    assert counts == {"last_user_cut": 1}


def test_a_conversation_may_stand_in_a_cell_as_text(adapt: Any) -> None:
    cell = json.dumps([HUMAN, GPT]).replace('"', '""')
    assert adapt("sharegpt", f'conversations\n"{cell}"\n'.encode(), name="rows.csv") == [one(adapt, HUMAN, GPT)]


DEEP = "[" * 20_000 + "]" * 20_000


@pytest.mark.parametrize(
    "bad",
    [
        row(HUMAN, 5),
        row(HUMAN, {"from": "gpt", "value": 5}),
        row(HUMAN, {"from": "gpt", "value": {"a": 1}}),
        row(HUMAN, {"from": "gpt", "value": [1]}),
        row(HUMAN, {"from": 5, "value": "a"}),
        row(HUMAN, calling("f(x=1)")),
        row(HUMAN, calling("[1]")),
        row(HUMAN, calling('{"arguments": {}}')),
        row(HUMAN, calling('{"name": "f", "arguments": [1]}')),
        row(HUMAN, calling('{"name": "f", "arguments": {"a": "\\ud800"}}')),
        row(HUMAN, calling(f'{{"name": "f", "arguments": {{"a": {DEEP}}}}}')),
        row(HUMAN, {**GPT, "weight": "1"}),
        row(HUMAN, GPT, tools="text"),
        row(HUMAN, GPT, system=["s"]),
        {"conversations": "text"},
        {"conversations": {"from": "gpt"}},
        {"conversations": f'[{{"from": "gpt", "x": {DEEP}}}]'},
    ],
)
def test_a_bad_shape_is_refused_alone(adapt: Any, bad: dict[str, Any]) -> None:
    first, second, third = adapt("sharegpt", [row(HUMAN, GPT), bad, row(HUMAN, GPT)])
    assert second == ("too_deep" if DEEP in str(bad) else "wrong_type")
    assert first["turns"] == third["turns"] == [USER, ASSISTANT]


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["human", "gpt", "function_call", "[]", "{}", '{"name": "f"}', '[{"name": "f"}]', "", " "])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "arguments", "type", "text", "題"]), inner, max_size=3)
    ),
    max_leaves=6,
)
speakers = st.sampled_from(["human", "gpt", "system", "function_call", "observation", "tool", "user", "assistant"])
turn = st.fixed_dictionaries(
    {},
    optional={
        "from": speakers | anything,
        "role": speakers,
        "value": st.sampled_from(["x", '{"name": "f"}']) | anything,
        "content": anything,
        "tool_calls": anything,
        "weight": anything,
    },
)
likely = st.lists(st.sampled_from([HUMAN, GPT, calling(CALL), RESULT, {"from": "system", "value": "s"}]), max_size=6)
whole = st.fixed_dictionaries(
    {},
    optional={
        "conversations": likely | st.lists(turn | anything, max_size=4) | anything,
        "tools": anything,
        "system": anything,
        "tags": anything,
    },
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(whole, min_size=1, max_size=4), st.sampled_from(["refuse", "cut"]))
def test_no_row_of_any_shape_ends_in_a_traceback(adapt: Any, rows: list[Any], last_user: str) -> None:
    found = adapt("sharegpt", rows, options={"last_user": last_user})
    assert len(found) == len(rows)
    for got in found:
        if isinstance(got, str):
            continue
        assert got["turns"][-1]["role"] == "assistant"
        for each in got["turns"]:
            for call in json.loads(each.get("tool_calls", "[]")):
                assert isinstance(call["function"]["arguments"], dict)


def test_meta_does_not_depend_on_the_other_rows_of_a_block(adapt: Any) -> None:
    own = {"from": "system", "value": "own"}
    rows = [row(own, HUMAN, GPT, sys="s", system="other"), row(HUMAN, GPT, system="other"), row(HUMAN, GPT, sys="s")]
    alone = [adapt("sharegpt", [each], {"system": "sys"})[0] for each in rows]
    assert adapt("sharegpt", rows, {"system": "sys"}) == alone
    assert [each.get("meta") for each in alone] == [
        '{"system":"s","raw_system":"other"}', '{"raw_system":"other"}', None
    ]  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.lists(st.text("ab ", min_size=1, max_size=3), min_size=2, max_size=6), min_size=1, max_size=4))
def test_it_is_what_messages_would_be(adapt: Any, talks: list[list[str]]) -> None:
    share = [row(*({"from": ("human", "gpt")[k % 2], "value": text} for k, text in enumerate(talk))) for talk in talks]
    plain = [
        {"messages": [{"role": ("user", "assistant")[k % 2], "content": text} for k, text in enumerate(talk)]}
        for talk in talks
    ]
    assert adapt("sharegpt", share) == adapt("messages", plain)


def test_real_tool_conversations_are_kept_but_for_results_without_a_call(adapt: Any, shared: Path) -> None:
    rows = json.loads((shared / "llamafactory" / "glaive_toolcall_zh_demo.json").read_text("utf-8"))
    found = adapt("sharegpt", rows)
    assert [got for got in found if isinstance(got, str)] == ["turn_order"] * 2
    for raw, got in zip(rows, found, strict=True):
        if isinstance(got, str):
            continue
        calls = [json.loads(turn["value"]) for turn in raw["conversations"] if turn["from"] == "function_call"]
        assert [call for turn in got["turns"] if "tool_calls" in turn for call in called(turn)] == calls
        assert json.loads(got.get("tools", "[]")) == json.loads(raw["tools"] or "[]")
