"""What a sample may be: one rule a shape, in the order in which they count where several fit alike.

A rule looks at names and values of columns and answers with a guess, or None. How well a guess fits is not its
business: `pipeline.sniff.fit` tries it on the rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.sniff.sample import Sample

_USER = ("question", "prompt", "instruction", "query", "problem", "input", "user", "问题", "提问", "指令", "输入")
_ASSISTANT = (
    *("response", "completion", "solution", "output", "answer", "target", "golden", "assistant"),
    *("回答", "答案", "回复", "输出"),
)
_GOLD = ("golden", "final_answer", "answer", "target")
_SYSTEM = ("system", "system_prompt")
_CONTEXT = ("context", "body", "passage")
_NUMBER = re.compile(r"[-+]?[\d.,/]*\d%?")
_GSM8K_END = re.compile(r"####\s*\S")
_PLACEHOLDER = re.compile(r"(?:N_|\bnumber)[0-9]+")
_MOST = 0.8  # share of the values looked at


@dataclass(frozen=True)
class Guess:
    """A shape, the column of each of its roles, the roles without which there is no row, and tags that are sure."""

    shape: str
    columns: Mapping[str, str]
    needs: tuple[str, ...]
    tags: tuple[str, ...] = ()


def guesses(sample: Sample) -> list[Guess]:
    """What the sample may be, by the rules in their order."""
    return [guess for rule in RULES if (guess := rule(sample)) is not None]


def preference(sample: Sample) -> Guess | None:
    """Answers chosen and rejected, as text or messages; the prompt may be the messages before them."""
    columns = _roles(
        sample,
        {
            "prompt": ("prompt", "question", "instruction", "query", "input", "conversations", "messages"),
            "chosen": ("chosen",),
            "rejected": ("rejected",),
            "system": _SYSTEM,
            "tags": ("tags",),
        },
    )
    return _guess("preference", columns, ("prompt", "chosen", "rejected"))


def messages(sample: Sample) -> Guess | None:
    """A column of lists of objects with a `role`."""
    columns = {"messages": _column_of(sample, lambda value: _objects(value, "role"))}
    columns |= _roles(sample, {"tools": ("tools", "functions"), "answer": ("answer", "golden"), "tags": ("tags",)})
    return _guess("messages", columns, ("messages",))


def sharegpt(sample: Sample) -> Guess | None:
    """A column of lists of objects with `from` and `value`."""
    columns = {"conversations": _column_of(sample, lambda value: _objects(value, "from", "value"))}
    others = {"tools": ("tools",), "system": _SYSTEM, "answer": ("answer", "golden"), "tags": ("tags",)}
    return _guess("sharegpt", columns | _roles(sample, others), ("conversations",))


def tree(sample: Sample) -> Guess | None:
    """A column of objects with a `text` and `replies`."""
    column = _column_of(sample, lambda value: isinstance(value, dict) and {"text", "replies"} <= value.keys())
    return _guess("tree", {"prompt": column}, ("prompt",))


def gsm8k(sample: Sample) -> Guess | None:
    """Answers that end with `#### n`."""
    columns = _roles(sample, {"question": _USER, "answer": ("answer", *_ASSISTANT)})
    if not _mostly(sample, columns["answer"], lambda value: isinstance(value, str) and bool(_GSM8K_END.search(value))):
        return None
    return _guess("gsm8k", columns, ("question", "answer"), ("math",))


def mawps(sample: Sample) -> Guess | None:
    """Questions with placeholders, and the numbers for them."""
    names = {name: (name,) for name in ("question", "equation", "answer", "numbers", "body")}
    columns = _roles(sample, names)

    def has_placeholder(value: Any) -> bool:
        return isinstance(value, str) and bool(_PLACEHOLDER.search(value))

    if not any(_mostly(sample, columns[role], has_placeholder) for role in ("question", "body")):
        return None
    return _guess("mawps", columns, ("question", "answer", "numbers"), ("math",))


def emoji(sample: Sample) -> Guess | None:
    """One question, answered in Chinese and in English."""
    columns = _roles(sample, {name: (name,) for name in ("question", "answer_zh", "answer_en", "prompt", "chosen")})
    return _guess("emoji", columns, ("question", "answer_zh", "answer_en"))


def alpaca(sample: Sample) -> Guess | None:
    """`instruction` and `output`, or with an `input` besides, an answer by another name."""
    named = sample.named
    output = ("output", "response", "completion", "answer") if "input" in named else ("output",)
    names = {name: (name,) for name in ("instruction", "input", "history", "tags")}
    columns = _roles(sample, names | {"output": output, "system": _SYSTEM})
    return _guess("alpaca", columns, ("instruction", "output"))


def question_and_answer(sample: Sample) -> Guess | None:
    """A column that asks and one that answers, by any of the usual names."""
    texts = {column.name for column in sample.columns.values() if {"text", "number"} & {*column.kind.split(" or ")}}
    columns = _roles(
        sample,
        {"user": _USER, "assistant": _ASSISTANT, "system": _SYSTEM, "context": _CONTEXT, "tags": ("tags",)},
        texts,
    )
    user, assistant, input_ = columns["user"], columns["assistant"], sample.named.get("input")
    if columns["context"] is None and input_ in texts - {user}:
        columns["context"] = input_
    gold = next((sample.named[name] for name in _GOLD if sample.named.get(name) in texts - {assistant}), assistant)
    if gold != assistant or _mostly(sample, gold, lambda value: bool(_NUMBER.fullmatch(str(value)))):
        columns["answer"] = gold
    return _guess("columns", columns, ("user", "assistant"))


def dialogue(sample: Sample) -> Guess | None:
    """A column of lists of texts."""
    column = _column_of(
        sample,
        lambda value: isinstance(value, list) and len(value) > 1 and all(isinstance(text, str) for text in value),
    )
    return _guess("dialogue", {"dialogue": column, **_roles(sample, {"tags": ("tags",)})}, ("dialogue",))


RULES: tuple[Callable[[Sample], Guess | None], ...] = (
    *(preference, messages, sharegpt, tree),
    *(gsm8k, mawps, emoji, alpaca, question_and_answer, dialogue),
)


def _guess(
    shape: str, columns: Mapping[str, str | None], needs: tuple[str, ...], tags: tuple[str, ...] = ()
) -> Guess | None:
    found = {role: name for role, name in columns.items() if name is not None}
    return Guess(shape, found, needs, tags) if found.keys() >= set(needs) else None


def _roles(
    sample: Sample, names: Mapping[str, Sequence[str]], allowed: set[str] | None = None
) -> dict[str, str | None]:
    """For each role the first column (of those allowed) that has one of its names, however it is capitalized."""
    named = {name: column for name, column in sample.named.items() if allowed is None or column in allowed}
    return {role: next((named[name] for name in usual if name in named), None) for role, usual in names.items()}


def _column_of(sample: Sample, is_one: Callable[[Any], bool]) -> str | None:
    """The first column of which most values are such."""
    kinds = ("list", "object", "text")
    columns = [column.name for column in sample.columns.values() if any(kind in column.kind for kind in kinds)]
    nested = [name for name in columns if sample.columns[name].example.lstrip()[:1] in ("[", "{")]
    return next((name for name in nested if _mostly(sample, name, is_one)), None)


def _mostly(sample: Sample, name: str | None, is_such: Callable[[Any], bool]) -> bool:
    values = sample.values(name) if name is not None else []
    return bool(values) and sum(map(is_such, values)) >= _MOST * len(values)


def _objects(value: Any, *keys: str) -> bool:
    """A list of objects that have these keys."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, dict) and item.keys() >= set(keys) for item in value)
    )
