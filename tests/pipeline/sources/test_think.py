"""<think> at the head of an answer becomes reasoning."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def split(adapt: Any, *texts: str, **more: Any) -> list[Any]:
    rows = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": text, **more}]}
        for text in texts
    ]
    found = adapt("messages", rows, split_think=True)
    return [got if isinstance(got, str) else (got["turns"][1].get("reasoning_content"), got["turns"][1]["content"])
            for got in found]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "reasoning", "content"),
    [
        ("<think>why</think>so", "why", "so"),
        ("\r\n <think>\nwhy\n\nnot\n</think>\n\nso\n", "why\n\nnot", "so"),
        ("\x00<think>why</think>so", "why", "so"),
        ("<think>\n\n</think>\n\nso", None, "so"),
        ("<think></think>so", None, "so"),
        ("<think>a</think>b<think>c</think>d", "a", "b<think>c</think>d"),
        ("<think>a<think>b</think>c", "a<think>b", "c"),
        ("<think>not closed", None, "<think>not closed"),
        ("said <think>late</think> so", None, "said <think>late</think> so"),
        ("only closed</think>so", None, "only closed</think>so"),
        ("<think>$1 ${2}</think>$0", "$1 ${2}", "$0"),
        ("so", None, "so"),
    ],
)
def test_only_a_closed_think_at_the_head_is_split_off(
    adapt: Any, text: str, reasoning: str | None, content: str
) -> None:
    assert split(adapt, text) == [(reasoning, content)]
    assert split(adapt, "so", text, "so")[1] == (reasoning, content)


def test_an_answer_of_nothing_but_thought_is_empty(adapt: Any) -> None:
    assert split(adapt, "<think>why</think> \n", "so") == ["empty_answer", (None, "so")]


def test_reasoning_that_is_there_stays(adapt: Any) -> None:
    assert split(adapt, "<think>b</think>c", reasoning_content="a") == [("a", "<think>b</think>c")]
    assert split(adapt, "<think>b</think>c", reasoning_content=" ") == [("b", "c")]


@pytest.mark.parametrize(
    ("shape", "row"),
    [
        ("columns", {"q": "q", "a": "<think>b</think>c"}),
        ("alpaca", {"instruction": "q", "output": "<think>b</think>c"}),
        (
            "sharegpt",
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "<think>b</think>c"}]},
        ),
        ("preference", {"prompt": "q", "chosen": "<think>b</think>c"}),
        ("gsm8k", {"question": "q", "answer": "<think>b</think>c"}),
        ("dialogue", {"dialogue": ["q", "<think>b</think>c"]}),
    ],
)
def test_it_works_in_every_shape_and_only_where_it_is_asked_for(adapt: Any, shape: str, row: Any) -> None:
    columns = {"user": "q", "assistant": "a"} if shape == "columns" else {}
    [asked] = adapt(shape, [row], columns, split_think=True)
    assert asked["turns"][1] == {"role": "assistant", "reasoning_content": "b", "content": "c"}
    [plain] = adapt(shape, [row], columns)
    assert plain["turns"][1] == {"role": "assistant", "content": "<think>b</think>c"}


def test_what_the_user_says_stays(adapt: Any) -> None:
    [found] = adapt("dialogue", [{"dialogue": ["<think>a</think>b", "c"]}], split_think=True)
    assert found["turns"][0]["content"] == "<think>a</think>b"


@settings(max_examples=80)
@given(st.lists(st.sampled_from(["<think>", "</think>", "a", " ", "\n", "b c"]), max_size=7).map("".join))
def test_it_equals_a_plain_reference(adapt: Any, text: str) -> None:
    match = re.match(r"\s*<think>(.*?)</think>(.*)", text, re.DOTALL)
    reasoning, content = (match[1].strip() or None, match[2].strip()) if match else (None, text.strip())
    assert split(adapt, text) == ["empty_answer" if not content else (reasoning, content)]
