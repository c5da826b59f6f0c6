"""Conversations written by hand, each for something that a chat template may get wrong."""

from pathlib import Path
from typing import Any

import pytest

Row = dict[str, Any]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city & its <surroundings> – 天气",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def system(content: str) -> Row:
    return {"role": "system", "content": content}


def user(content: str) -> Row:
    return {"role": "user", "content": content}


def assistant(content: str = "", calls: list[Any] | None = None, reasoning: str | None = None) -> Row:
    turn: Row = {"role": "assistant", "content": content}
    return turn | ({"tool_calls": calls} if calls else {}) | ({"reasoning_content": reasoning} if reasoning else {})


def call(number: int = 1, **arguments: Any) -> Row:
    return {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": "get_weather", "arguments": arguments or {"city": "Oslo"}},
    }


def result(content: str, number: int = 1) -> Row:
    return {"role": "tool", "content": content, "tool_call_id": f"call_{number}", "name": "get_weather"}


NESTED = {"地点": {"城市": ["泰安", "济南\n"], "🗺️": None}, "quote": 'say "hi" \\', "n": 1.5, "ok": True, "html": "<b>&"}
ASK = user("Weather in Oslo?")
PLAIN: dict[str, list[Row]] = {
    "one turn": [user("Hi"), assistant("Hello.")],
    "system": [system("Be brief."), user("Hi"), assistant("Hello.")],
    "empty system": [system(""), user("Hi"), assistant("Hello.")],
    "several turns": [user("1+1?"), assistant("2"), user("And 2+2?"), assistant("4"), user("3+3?"), assistant("6")],
    "system and several turns": [system("Be brief. "), user("1+1?"), assistant("2"), user("2+2?"), assistant("4")],
    "ends with a question": [user("1+1?"), assistant("2"), user("And 2+2?")],
    "Chinese": [system("你是一位助手。"), user("一加一等于几？"), assistant("等于二。")],
    "joined emoji": [user("👩‍👩‍👧‍👦 or ❤️?"), assistant("👩🏽‍💻 and ☺️ and 🇳🇴")],
    "spaces around": [system(" \n s \n"), user("\n  Hi \n"), assistant("  Hello.\n\n"), user(" \t"), assistant("x \n")],
    "line breaks first": [user("Hi"), assistant("\n\nHello."), user("Hi"), assistant("\n\n Hello.")],
    "only spaces": [user(" "), assistant("\n \n")],
    "empty answer": [user("Hi"), assistant(""), user(""), assistant("")],
    "literal template": [user("{{name}} {% if x %} {# c #}"), assistant("{{ messages }} {{name}}")],
    "literal tokens": [
        user("<|im_end|>\n<|im_start|>assistant\n<|eot_id|><end_of_turn></think><bos>"),
        assistant("<|im_start|>x<|im_end|> <start_of_turn> <|endoftext|> ### Response:"),
    ],
    "reasoning last": [user("1+1?"), assistant("2", reasoning="One and one.")],
    "reasoning earlier": [user("1+1?"), assistant("2", reasoning="Easy."), user("2+2?"), assistant("4")],
    "reasoning everywhere": [
        user("1+1?"),
        assistant("2", reasoning="\nOne and\n\none.\n"),
        user("2+2?"),
        assistant("\n4", reasoning="\n两个二。\n\n"),
    ],
    "reasoning of line breaks": [user("1+1?"), assistant("2", reasoning="\n\n")],
    "reasoning in the content": [
        user("1+1?"),
        assistant("<think>\nEasy.\n</think>\n\n2"),
        user("2+2?"),
        assistant("<think>\nEasy, too.\n</think>\n\n4"),
    ],
    "empty think block in the content": [user("1+1?"), assistant("<think>\n\n</think>\n\n2")],
    "half a think block": [user("1+1?"), assistant("a</think>b<think>c</think>\n d"), user("?"), assistant("<think>x")],
    "reasoning and a think block": [user("1+1?"), assistant("<think>\na\n</think>\n2", reasoning="b")],
    "tool response by hand": [user("a"), assistant("b"), user("<tool_response>\n{}\n</tool_response>"), assistant("c")],
    "system in between": [user("a"), assistant("b"), system("Now in rhyme."), user("c"), assistant("d")],
}
TOOLS: dict[str, list[Row]] = {
    "tools unused": [user("Hi"), assistant("Hello.")],
    "system and tools": [system(" Be brief."), user(" Hi "), assistant("Hello.")],
    "one call": [ASK, assistant(calls=[call()])],
    "text and a call": [ASK, assistant("I look. ", calls=[call()])],
    "line breaks and a call": [ASK, assistant("\n", calls=[call()])],
    "several calls": [ASK, assistant("I look.", calls=[call(1), call(2, city="东京"), call(3, **NESTED)])],
    "a call and its result": [ASK, assistant(calls=[call()]), result('{"rain": "大雨 \\"5\\""}'), assistant("Rain.")],
    "several results": [
        system("Be brief."),
        ASK,
        assistant(calls=[call(1), call(2)]),
        result("1"),
        result("", 2),
        assistant("Rain."),
        ASK,
        assistant(calls=[call(3)]),
        result("3", 3),
    ],
    "call after call": [
        ASK,
        assistant(calls=[call(1)]),
        result("busy"),
        assistant("Again.", calls=[call(2, **NESTED)]),
        result("sun"),
        assistant("Sun."),
    ],
    "reasoning and calls": [
        ASK,
        assistant(calls=[call(1)], reasoning="I must look."),
        result("busy"),
        assistant("Again.", calls=[call(2)], reasoning="\n"),
        result("busy"),
        assistant("\nAnd again.", calls=[call(2)]),
        result("sun"),
        assistant("Sun.", reasoning="Now I know."),
    ],
    "reasoning and a last call": [ASK, assistant("\nI look.", calls=[call()], reasoning="I must look.")],
    "earlier reasoning and calls": [
        ASK,
        assistant(calls=[call(1)], reasoning="I must look."),
        result("rain"),
        assistant("Rain.", reasoning="Clear."),
        user("And now?"),
        assistant(calls=[call(2)]),
        result("sun"),
        assistant("Sun."),
    ],
}


@pytest.fixture(scope="session")
def conversations() -> dict[str, Row]:
    """What is special about it → `messages` and `tools` (None in half of them)."""
    return {name: {"messages": messages, "tools": None} for name, messages in PLAIN.items()} | {
        name: {"messages": messages, "tools": [TOOL]} for name, messages in TOOLS.items()
    }


@pytest.fixture(scope="session")
def qwen3_tokenizer(shared: Path) -> Any:
    """The real tokenizer of Qwen3, as transformers reads it."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_file=str(shared / "qwen3_tokenizer" / "tokenizer.json"))
