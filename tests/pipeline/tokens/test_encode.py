"""Ids and labels: those of the reference, whichever way they are made."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.render.loss import Loss
from pipeline.tokens.codec import Codec
from pipeline.tokens.encode import IGNORED, encode
from pipeline.tokens.fast import Differs
from pipeline.tokens.tokenizer import TokenizerFile

Row = dict[str, Any]
Find = Callable[..., Codec]
BYTE_LEVEL = ("bytes", "bytes, composed", "bytes missing", "qwen3")
SENTENCES = ("sentences", "sentences always", "sentences never", "sentences by normalizer", "sentences of words")
# An answer right after the text of a template, where tokens like to reach over the border.
TIGHT = {
    "a line break": "{{ m.content }}\n",
    "two line breaks": "{{ m.content }}\n\n",
    "a space": "{{ m.content }}: ",
    "half a word": "{{ m.content }}He",
    "half a character": "{{ m.content }}e",
}
SNIPPETS = [
    *("Hello", " Hello", "  Hello", "\n\nHello", "\n", " ", "\t", "llo", "llo world", "", "a ", "x  \n\n", "\r\n"),
    *(
        "\u0301x",
        "e\u0301",
        "\u0308",
        "👩‍👩‍👧",
        "\u200d👧",
        "\ufe0f",
        "👍🏽",
        "🇳🇴",
        "一块橡皮8角。",
        "等于二",
        "\u3000二",
        "\ufeff",
    ),
    *(
        "1+1 = 2",
        "12345",
        "it's",
        "<b>",
        "</think>",
        "<|im",
        "\x00\x07",
        "Å ﬁ",
        "\u1112\u1161\u11ab",
        "​",
        "▁x",
        "<0x0A>",
    ),
]
texts = st.lists(st.one_of(st.sampled_from(SNIPPETS), st.text(st.characters(exclude_categories=["Cs"]), max_size=4)))
texts = texts.filter(lambda parts: len(parts) < 6).map("".join)


def talk(*said: str, **more: Any) -> Row:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[k % 2], "content": text} for k, text in enumerate(said)], **more}


def tight(after: str) -> str:
    """A template that writes this after a user's text, and the bare answer as the target."""
    answer = "{% generation %}{{ m.content }}{% endgeneration %}"
    return (
        f"{{% for m in messages %}}{{% if m.role == 'user' %}}{after}{{% else %}}{answer}|{{% endif %}}{{% endfor %}}"
    )


def columns(found: pa.RecordBatch) -> list[tuple[list[int], list[int]]]:
    return list(zip(found.column("input_ids").to_pylist(), found.column("labels").to_pylist(), strict=True))


def transformers_mask(encoding: Any, spans: list[tuple[int, int]]) -> list[bool] | None:
    """As `apply_chat_template(return_assistant_tokens_mask=True)` has it; None where it gives up."""
    mask = [False] * len(encoding.ids)
    for start, end in spans:
        first, last = encoding.char_to_token(start), encoding.char_to_token(end - 1)
        if first is None or not last:
            return None
        mask[first : last + 1] = [True] * (last + 1 - first)
    return mask


@cache
def written(data: str) -> dict[int, bytes]:
    """The bytes that each token of a byte-level tokenizer stands for."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    byte_of = {chr(byte): byte for byte in plain}
    byte_of |= {chr(256 + k): byte for k, byte in enumerate(byte for byte in range(256) if byte not in plain)}
    content = json.loads(data)
    known = {number: name for name, number in content["model"]["vocab"].items()}
    own = {number: bytes(byte_of.get(letter, 0) for letter in name) for number, name in known.items()}
    return own | {token["id"]: token["content"].encode() for token in content["added_tokens"]}


def held(text: str, ids: list[int], file: TokenizerFile) -> list[tuple[int, int]] | None:
    """For each byte-level token the bytes of the text it stands for; None where the text was changed first."""
    pieces = [written(file.data)[number] for number in ids]
    if b"".join(pieces) != text.encode():
        return None
    ends = np.cumsum([len(piece) for piece in pieces]).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


def assert_right(name: str, rows: list[Row], template: str, codec: Find, rendered: Any, loss: Loss) -> None:
    """Ids are those of the whole text, labels those of transformers where these say something, the rest by bytes."""
    reference = codec(name, "tokenizers")
    file = reference.file
    batch, made, renderer = rendered(template, rows, loss)
    slow = encode(batch, made, reference, renderer)
    try:
        quick = encode(batch, made, codec(name), renderer)
        codec(name).confirm(quick.samples)
    except Differs:  # noticed, so the pool would be made by the reference
        assert name in SENTENCES
        quick = encode(batch, made, codec(name), renderer, fast=False)
    assert columns(quick.columns) == columns(slow.columns)
    assert quick.unmarked == slow.unmarked == 0
    kept = zip(columns(slow.columns), made.column("text").to_pylist(), made.column("targets").to_pylist(), strict=True)
    for (ids, labels), text, targets in kept:
        spans = [(target["start"], target["end"]) for target in targets]
        encoding = reference.slow.encode(text, add_special_tokens=False)
        assert ids == encoding.ids
        trained = [label != IGNORED for label in labels]
        assert [label for label in labels if label != IGNORED] == [k for k, on in zip(ids, trained, strict=True) if on]
        theirs = transformers_mask(encoding, spans)
        places = held(text, ids, file) if name.startswith(("bytes", "qwen3")) else None
        if places is not None:
            inside = [(len(text[:start].encode()), len(text[:end].encode())) for start, end in spans]
            assert trained == [any(a < end and start < b for start, end in inside) for a, b in places]
        if theirs is not None:
            assert all(ours or not one for ours, one in zip(trained, theirs, strict=True))


@pytest.mark.parametrize("name", BYTE_LEVEL)
@given(
    st.lists(st.tuples(texts, texts), min_size=1, max_size=12), st.sampled_from([Loss(), Loss("text"), Loss("last")])
)
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
def test_ids_are_the_references_and_targets_the_tokens_that_hold_them(
    name: str, codec: Find, rendered: Any, said: list[tuple[str, str]], loss: Loss
) -> None:
    assert_right(name, [talk(*pair) for pair in said], "chatml", codec, rendered, loss)


# Letters of Unicode 17, which not every library has: a letter before "<b" leaves that in one piece.
@pytest.mark.parametrize("letter", ["\U000323b0", "\U00016ea0", "\ua7ce", "\U0001e6c0"])
def test_a_text_with_characters_newer_than_some_libraries_is_the_references(
    codec: Find, rendered: Any, letter: str
) -> None:
    rows = [talk("Hello", "<b>"), talk(f"{letter}<b>", f"<b>{letter}<b>"), talk("Hello", "1+1 = 2")]
    batch, made, renderer = rendered("chatml", rows, Loss())
    quick, slow = (encode(batch, made, codec("qwen3", *how), renderer) for how in ([], ["tokenizers"]))
    assert columns(quick.columns) == columns(slow.columns)
    assert quick.slow == 1


@pytest.mark.parametrize("name", SENTENCES)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=8), st.sampled_from([Loss(), Loss("text")]))
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
def test_tokenizers_with_byte_fallback_give_the_references_ids_too(
    name: str, codec: Find, rendered: Any, said: list[tuple[str, str]], loss: Loss
) -> None:
    assert_right(name, [talk(*pair) for pair in said], "chatml", codec, rendered, loss)


@pytest.mark.parametrize("after", TIGHT)
@pytest.mark.parametrize("name", [*BYTE_LEVEL, "sentences always"])
def test_a_token_that_reaches_over_the_border_of_a_target_is_trained_on(
    name: str, after: str, codec: Find, rendered: Any
) -> None:
    rows = [talk(before, snippet, "and", snippet) for before in ("x", "x\n") for snippet in SNIPPETS]
    assert_right(name, rows, tight(TIGHT[after]), codec, rendered, Loss())


def test_a_tokenizer_whose_offsets_leave_out_blanks_trains_on_them_all_the_same(codec: Find, rendered: Any) -> None:
    """The ids are those of the tokenizer that does not trim, and so must be the labels."""
    rows = [talk("x", snippet) for snippet in SNIPPETS]
    batch, made, renderer = rendered("chatml", rows)
    found = [
        encode(batch, made, codec(name, "tokenizers"), renderer).columns for name in ("bytes", "bytes, offsets trimmed")
    ]
    assert columns(found[0]) == columns(found[1])
    quick = encode(batch, made, codec("bytes, offsets trimmed"), renderer)
    assert columns(quick.columns) == columns(found[0])


# Rows in which what people wrote holds special tokens, each beside the same row without.
END = "<|im_end|>"


def calling(arguments: str, tools: str = "[]", result: str = "r") -> Row:
    call = f'[{{"type":"function","function":{{"name":"f","arguments":{arguments}}}}}]'
    turns = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "", "tool_calls": call},
        {"role": "tool", "content": result},
        {"role": "assistant", "content": "done"},
    ]
    return {"messages": turns, "tools": tools if tools != "[]" else None}


def schema(properties: Row, description: str = "d") -> str:
    function = {"name": "f", "description": description, "parameters": {"type": "object", "properties": properties}}
    return json.dumps([{"type": "function", "function": function}])


LITERALS: dict[str, Callable[[str], Row]] = {
    "question": lambda x: talk(f"a {x} b", "c"),
    "answer": lambda x: talk("a", f"b {x} c"),
    "whole answer": lambda x: talk("a", x),
    "several": lambda x: talk(f"{x}{x} a{x}", f"{x}b"),
    "system": lambda x: {"messages": [{"role": "system", "content": x}, *talk("a", "b")["messages"]]},
    "think block": lambda x: talk("a", f"<think>\nb {x}\n</think>\n\n{x} c"),
    "tool result": lambda x: calling('{"a":1}', result=f"x{x}y"),
    "argument": lambda x: calling(json.dumps({"a": {"b": [x]}})),
    "argument called role": lambda x: calling(json.dumps({"role": x})),
    "name of an argument": lambda x: calling(json.dumps({x: 1})),
    "argument with JSON's escapes": lambda x: calling(json.dumps({"a": x}).replace("<", "\\u003c")),
    "description of a tool": lambda x: talk("a", "b", tools=schema({}, x)),
    "property of a tool": lambda x: talk("a", "b", tools=schema({x: {"type": "string"}})),
    "property called role": lambda x: talk("a", "b", tools=schema({"role": {"description": x}, "x": {"role": x}})),
    "description with JSON's escapes": lambda x: talk("a", "b", tools=schema({}, x).replace("<", "\\u003c")),
}


@pytest.mark.parametrize("token", [END, "<|im_start|>", "<|endoftext|>"])
@pytest.mark.parametrize("name", ["bytes", "qwen3", "sentences always"])
def test_special_tokens_in_what_people_wrote_are_text(name: str, token: str, codec: Find, rendered: Any) -> None:
    """The template's own stay. So a row has as many special ids as with another text there, or no tokens at all."""
    reference = codec(name, "tokenizers")
    file = reference.file
    rows = [make(text) for make in LITERALS.values() for text in (token, "[other]")]
    batch, made, renderer = rendered("qwen3", rows)
    wrong: list[str] = []
    found = encode(batch, made, codec(name), renderer)
    ids = found.columns.column("input_ids").to_pylist()
    numbers = set(file.special.values())
    for k, what in enumerate(LITERALS):
        with_, without = ids[2 * k], ids[2 * k + 1]
        specials = [Counter(number for number in row if number in numbers) for row in (with_, without)]
        text = made.column("text")[2 * k].as_py()
        same = name.startswith("sentences") or reference.slow.decode(with_, skip_special_tokens=False) == text
        if specials[0] != specials[1] or not same:
            wrong.append(what)
    assert not wrong
    assert found.unmarked == 0


def test_the_rest_of_a_row_with_a_literal_token_is_as_ever(codec: Find, rendered: Any) -> None:
    """Between the template's special tokens, texts without the literal have the ids that they have elsewhere."""
    file = codec("bytes").file
    said = ["Hello world", "  It's 2.\n\n", "一块 e\u0301 👩‍👩‍👧", " \n "]
    batch, made, renderer = rendered("chatml", [row for text in said for row in (talk(END, text), talk("x", text))])
    found = encode(batch, made, codec("bytes"), renderer)
    start = file.special["<|im_start|>"]
    for (ids, labels), (plain, plain_labels) in zip(*[iter(columns(found.columns))] * 2, strict=True):
        own, other = len(ids) - ids[::-1].index(start), len(plain) - plain[::-1].index(start)
        assert ids[own:] == plain[other:]
        assert labels[own:] == plain_labels[other:]
    assert found.unmarked == 0


@pytest.mark.parametrize("strip", ["lstrip", "rstrip"])
def test_a_special_token_that_takes_blanks_along_does_so_in_every_row(
    strip: str, tokenizer: Any, codec: Find, rendered: Any
) -> None:
    def change(data: Any) -> None:
        new = {"id": len(data["model"]["vocab"]), "content": "<m>", "special": True}
        new |= {"single_word": False, "normalized": False, "lstrip": False, "rstrip": False} | {strip: True}
        data["added_tokens"].append(new)

    own = codec(tokenizer("bytes", change), "tokenizers")
    text = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}|a <m> \n{% else %}"
    text += "{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>{% endif %}{% endfor %}"
    batch, made, renderer = rendered(text, [talk("x", "y"), talk(END, "y")])
    found = encode(batch, made, own, renderer)
    (plain, _), (ids, _) = columns(found.columns)
    assert found.unmarked == 1 or ids[-len(plain) + 1 :] == plain[1:]


def test_a_row_whose_special_tokens_cannot_be_told_apart_is_counted_and_has_no_tokens(
    codec: Find, rendered: Any
) -> None:
    """A template that looks into the text writes something else once marks stand in it."""
    text = tight("{{ m.content | length }}")
    batch, made, renderer = rendered(text, [talk(END, "x"), talk("plain", "x"), talk("\ufdd0" + END, "x")])
    found = encode(batch, made, codec("bytes"), renderer)
    assert found.unmarked == 2
    assert [bool(ids) for ids, _ in columns(found.columns)] == [False, True, False]


def test_rows_without_text_have_no_tokens(codec: Find, rendered: Any) -> None:
    calls = calling('{"a":1}')  # chatml refuses them
    batch, made, renderer = rendered("chatml", [calls, talk("a", "b"), calls])
    for backend in ("auto", "tokenizers"):
        found = encode(batch, made, codec("bytes", backend), renderer)
        assert [bool(ids) for ids, _ in columns(found.columns)] == [False, True, False]
    nothing = encode(batch.slice(0, 1), made.slice(0, 1), codec("bytes"), renderer)
    assert columns(nothing.columns) == [([], [])]


@pytest.mark.parametrize("cut", [(0, 3), (1, 4), (3, 7)])
def test_a_part_of_a_batch_is_encoded_as_in_the_whole(cut: tuple[int, int], codec: Find, rendered: Any) -> None:
    """Slices of Arrow columns keep what stands before them."""
    rows = [talk("a", snippet) for snippet in SNIPPETS[:5]] + [talk(END, "b"), talk("c", "é" * 9)]
    batch, made, renderer = rendered("chatml", rows)
    own = codec("bytes")
    whole = columns(encode(batch, made, own, renderer).columns)
    part = slice(*cut)
    some = encode(batch.slice(cut[0], cut[1] - cut[0]), made.slice(cut[0], cut[1] - cut[0]), own, renderer)
    assert columns(some.columns) == whole[part]


class Wrong:
    """gigatoken, but for another id in texts with a rare sign."""

    def __init__(self, codec: Codec, sign: str) -> None:
        self.fast, self.number = codec.fast, codec.slow.encode(sign, add_special_tokens=False).ids[-1]

    def ids(self, data: bytes) -> np.ndarray:
        ids = np.array(self.fast.ids(data))
        ids[ids == self.number] = 0 if self.number else 1
        return ids

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fast, name)


def test_a_way_that_disagrees_is_not_silently_used(codec: Find, rendered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own, reference = codec("bytes"), codec("bytes", "tokenizers")
    if own.fast is None:
        pytest.skip("gigatoken is not installed")
    rows = [talk(f"q{k}", "Hello world") for k in range(200)]
    rows[77] = talk("q77", "一块橡皮8角 Å")
    batch, made, renderer = rendered("chatml", rows)
    right = columns(encode(batch, made, reference, renderer).columns)
    monkeypatch.setitem(own.__dict__, "fast", Wrong(own, "Å"))
    try:
        encoded = encode(batch, made, own, renderer)
        own.confirm(encoded.samples)
        found = columns(encoded.columns)
    except Differs:
        found = columns(encode(batch, made, own, renderer, fast=False).columns)
    assert found == right


def test_threads_may_share_a_codec(codec: Find, rendered: Any) -> None:
    own = codec("bytes")
    batch, made, renderer = rendered("chatml", [talk(f"question {k}", f"answer {k} 一块橡皮") for k in range(400)])
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: columns(encode(batch, made, own, renderer).columns), range(60)))
    assert all(other == found[0] for other in found)
