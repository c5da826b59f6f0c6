"""Every shape is recognized by rows of it, whatever else its columns are called."""

from typing import Any

import pytest

TURNS = [{"role": "user", "content": "What is a pool?"}, {"role": "assistant", "content": "One source's rows."}]
PARTS = [
    {"role": "user", "content": [{"type": "text", "text": "Hi"}], "weight": 0.0},
    {"role": "assistant", "content": [{"type": "text", "text": "Hello"}], "weight": 1.0},
]
CALLS = [
    {"role": "user", "content": "How warm is it?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"type": "function", "function": {"name": "warmth", "arguments": "{}"}}],
    },
    {"role": "tool", "content": "21"},
    {"role": "assistant", "content": "21 degrees."},
]
SHARED = [
    {"from": "system", "value": "Be brief."},
    {"from": "human", "value": "How warm is it?"},
    {"from": "function_call", "value": '{"name": "warmth", "arguments": {}}'},
    {"from": "observation", "value": "21"},
    {"from": "gpt", "value": "21 degrees."},
]
REPLY = {"text": "Hello.", "role": "assistant", "rank": 0, "replies": []}
TREE = {"text": "Hi.", "role": "prompter", "replies": [REPLY, {**REPLY, "text": "What?", "rank": 1}]}
GOOD = [*TURNS[:1], {"role": "assistant", "content": "Good."}]

CASES: list[tuple[str, dict[str, Any], str, dict[str, str]]] = [
    ("alpaca", {"instruction": "Add.", "input": "1 2", "output": "3"}, "alpaca", {}),
    (
        "alpaca with history",
        {"instruction": "And 3?", "input": "", "output": "6", "history": [["1 + 2?", "3"]]},
        "alpaca",
        {},
    ),
    (
        "alpaca with response",
        {"Instruction": "Add.", "Input": "1 2", "Response": "3"},
        "alpaca",
        {"output": "Response"},
    ),
    ("messages", {"messages": TURNS}, "messages", {"messages": "messages"}),
    ("messages of parts", {"messages": PARTS}, "messages", {"messages": "messages"}),
    ("messages with calls", {"messages": CALLS, "tools": "[]"}, "messages", {"tools": "tools"}),
    ("messages by another name", {"id": 7, "conversations": TURNS}, "messages", {"messages": "conversations"}),
    ("sharegpt", {"conversations": SHARED, "tools": "[]"}, "sharegpt", {"conversations": "conversations"}),
    ("sharegpt by another name", {"chat": SHARED}, "sharegpt", {"conversations": "chat"}),
    (
        "preference",
        {"prompt": "Why?", "chosen": "Because.", "rejected": "No."},
        "preference",
        {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
    ),
    (
        "preference of messages",
        {"prompt": "What is a pool?", "chosen": GOOD, "rejected": TURNS},
        "preference",
        {"prompt": "prompt"},
    ),
    (
        "preference with system",
        {"system": "Be kind.", "question": "Why?", "chosen": "Because.", "rejected": "No."},
        "preference",
        {"prompt": "question", "system": "system"},
    ),
    (
        "gsm8k",
        {"question": "2 pens and 3 pens?", "answer": "2 + 3 = <<2+3=5>>5 pens.\n#### 5"},
        "gsm8k",
        {"question": "question", "answer": "answer"},
    ),
    (
        "mawps",
        {
            "Question": "Ann has N_00 pens and buys N_01 . How many ?",
            "Equation": "N_00 + N_01",
            "Answer": "5.0",
            "Numbers": "2 3",
        },
        "mawps",
        {"numbers": "Numbers"},
    ),
    (
        "svamp",
        {
            "Body": "Ann has number0 pens.",
            "Question": "How many after number1 more?",
            "Equation": "+ number0 number1",
            "Answer": "5",
            "Numbers": "2 3",
        },
        "mawps",
        {},
    ),
    ("emoji", {"question": "早上好！", "answer_zh": "早呀☀️", "answer_en": "Morning ☀️"}, "emoji", {}),
    (
        "open orca",
        {"id": "a.1", "system_prompt": "Be brief.", "question": "Why?", "response": "Because."},
        "columns",
        {"user": "question", "assistant": "response", "system": "system_prompt"},
    ),
    (
        "dolly",
        {"instruction": "When?", "context": "It was in May.", "response": "In May.", "category": "closed_qa"},
        "columns",
        {"user": "instruction", "assistant": "response", "context": "context"},
    ),
    (
        "completion",
        {"prompt": "Why?", "completion": "Because."},
        "columns",
        {"user": "prompt", "assistant": "completion"},
    ),
    (
        "golden",
        {"question": "3 × 2？", "golden": "6"},
        "columns",
        {"user": "question", "assistant": "golden", "answer": "golden"},
    ),
    ("target", {"INPUT": "say a", "Target": "a"}, "columns", {"user": "INPUT", "assistant": "Target"}),
    ("query", {"query": "say a", "output": "a"}, "columns", {"user": "query", "assistant": "output"}),
    (
        "solution",
        {"problem": "2 + 3?", "solution": "Count on from 2.", "answer": "5"},
        "columns",
        {"user": "problem", "assistant": "solution", "answer": "answer"},
    ),
    ("number", {"question": "2 + 3?", "answer": 5}, "columns", {"assistant": "answer", "answer": "answer"}),
    ("dialogue", {"dialogue": ["Hi.", "Hello.", "How are you?", "Well."]}, "dialogue", {"dialogue": "dialogue"}),
    ("dialogue by another name", {"act": [1, 2], "turns": ["Hi.", "Hello."]}, "dialogue", {"dialogue": "turns"}),
    ("tree", {"message_tree_id": "x", "prompt": TREE}, "tree", {"prompt": "prompt"}),
]


@pytest.mark.parametrize(("row", "shape", "columns"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
@pytest.mark.parametrize("count", [1, 3])
def test_a_shape_is_found(sniffed: Any, said: Any, row: Any, shape: str, columns: dict[str, str], count: int) -> None:
    finding = sniffed([row] * count)
    found, roles = said(finding)
    assert found == shape
    assert {role: roles.get(role) for role in columns} == columns
    assert (finding.kept, finding.records, dict(finding.refused)) == (count, count, {})


def test_a_number_answer_is_the_gold_answer_and_a_sentence_is_not(sniffed: Any) -> None:
    assert sniffed([{"prompt": "2 + 3?", "answer": "5"}]).kind.columns["answer"] == "answer"
    assert "answer" not in sniffed([{"prompt": "Why?", "answer": "Because it is."}]).kind.columns


def test_the_reasons_are_those_of_a_build(sniffed: Any) -> None:
    good = {"instruction": "Add.", "output": "3"}
    finding = sniffed([good, good, {**good, "output": " "}, {"instruction": "Add."}, good, good])
    assert (finding.kept, finding.records) == (4, 6)
    assert dict(finding.refused) == {"empty_answer": 1, "missing_column": 1}


def test_records_that_cannot_be_read_count(sniffed: Any) -> None:
    finding = sniffed(b'{"question": "a", "answer": "b"}\n{"question": \n{"question": "c", "answer": "d"}\n')
    assert (finding.kept, finding.records, dict(finding.refused)) == (2, 3, {"bad_json": 1})


def test_only_the_first_records_are_looked_at(sniffed: Any) -> None:
    rows = [{"question": "a", "answer": "b"}] * 5 + [{"question": "a", "answer": ""}] * 5
    finding = sniffed(rows, records=5)
    assert (finding.kept, finding.records, finding.whole) == (5, 5, False)
    assert sniffed(rows, records=10).whole


@pytest.mark.parametrize(
    ("question", "answer", "tags"),
    [
        ("天空为什么是蓝色的？", "因为空气散射蓝光。", ["zh"]),
        ("Why is the sky blue?", "Because of the air.", ["en"]),
        ("Pourquoi le ciel est-il bleu ?", "Parce que la lumière se disperse.", []),
        ("空はなぜ青いのですか。", "空気が青い光を散らすからです。", []),
    ],
)
def test_a_language_is_a_tag_where_all_rows_are_of_it(
    sniffed: Any, question: str, answer: str, tags: list[str]
) -> None:
    assert list(sniffed([{"question": question, "answer": answer}] * 3).tags) == tags


def test_mixed_languages_are_no_tag(sniffed: Any) -> None:
    rows = [
        {"question": "天空为什么是蓝色的？", "answer": "空气。"},
        {"question": "Why is the sky blue?", "answer": "Air."},
    ]
    assert not sniffed(rows * 5).tags
