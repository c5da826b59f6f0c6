"""Cleaning of text equals a plain reference over all of Unicode; roles are checked by a small state machine."""

import sys
import unicodedata
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.normalize import REASONS, clean_text, normalize
from pipeline.schema import ROW_COLUMNS, TURN_COLUMNS
from pipeline.sources.drafts import REFUSAL, Drafts

quick = settings(max_examples=120)


def reference(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(sign for sign in text if sign in "\n\t" or unicodedata.category(sign) != "Cc")
    return unicodedata.normalize("NFC", text).strip()


def assigned(sign: str) -> bool:
    """Whether this Python's Unicode knows the sign, so that both sides normalize by the same tables."""
    return unicodedata.category(sign) not in ("Cn", "Cs")


SIGNS = [sign for sign in map(chr, range(sys.maxunicode + 1)) if assigned(sign)]
COMBINING = [sign for sign in SIGNS if unicodedata.combining(sign) or unicodedata.category(sign)[0] == "M"]
# Signs that some composed sign ends with: what NFC may join with the sign before.
JOINING = sorted(
    {unicodedata.normalize("NFD", sign)[-1] for sign in SIGNS if unicodedata.normalize("NFD", sign) != sign}
)

odd = st.sampled_from([*JOINING, "\r", "\n", "\t", "\x00", "\x85", "\x9f", "\ufeff", "\u200b", "\xa0", "\u3000", "가"])
texts = st.text(st.characters(categories=["L", "M", "N", "P", "S", "Z", "Cc", "Cf", "Co"]) | odd, max_size=20)


@quick
@given(st.lists(st.none() | texts, max_size=6))
@example(["\r\x00\n", "e\x00\u0301", " \x1f ", "\ufeff x", "q\u0307\u0323"])
def test_cleaning_equals_the_plain_reference(some: list[str | None]) -> None:
    cleaned = clean_text(pl.Series(some, dtype=pl.String))
    assert cleaned.to_list() == [None if text is None else reference(text) for text in some]


@quick
@given(st.lists(texts, max_size=6))
def test_cleaning_twice_changes_nothing_more(some: list[str]) -> None:
    once = clean_text(pl.Series(some, dtype=pl.String))
    assert clean_text(once).equals(once)


def differences(some: list[str]) -> list[tuple[str, str]]:
    cleaned = clean_text(pl.Series(some)).to_list()
    return [(text, got) for text, got in zip(some, cleaned, strict=True) if got != reference(text)]


def test_every_sign_of_unicode_is_cleaned_like_the_reference() -> None:
    assert not differences(SIGNS)


def test_every_sign_beside_letters_is_cleaned_like_the_reference() -> None:
    assert not differences([f"a{sign}b" for sign in SIGNS])


def test_every_decomposition_is_composed_again() -> None:
    assert not differences([unicodedata.normalize("NFD", sign) for sign in SIGNS])
    assert not differences([f"x{unicodedata.normalize('NFD', sign)}" for sign in SIGNS])


def test_joining_signs_meet_each_other_as_in_the_reference() -> None:
    assert not differences([f"{before}{after}" for before in JOINING for after in COMBINING[::7]])


def test_text_is_never_interpreted() -> None:
    some = ["{{name}}", "{% for x in y %}", "<br>&amp;", r"\n \u0041", "${HOME} $1", "<|im_end|>", "\\", '"']
    assert clean_text(pl.Series(some)).to_list() == some


# --- roles


def drafts_of(rows: list[list[dict[str, Any]]], refused: list[tuple[int, str, str]] | None = None) -> Drafts:
    turns = [{"i": i, **turn} for i, row in enumerate(rows) for turn in row]
    nothing = {name: None for name in ROW_COLUMNS if name != "i"}
    return Drafts(
        pl.DataFrame([{name: turn.get(name) for name in TURN_COLUMNS} for turn in turns], schema=TURN_COLUMNS),
        pl.DataFrame([{"i": i, **nothing} for i in range(len(rows))], schema=ROW_COLUMNS),
        pl.DataFrame(refused or [], schema=REFUSAL, orient="row"),
    )


def verdict(turns: list[dict[str, Any]], max_chars: int) -> str | None:
    """The rules as a person would check them: the first reason in the order of REASONS, or None."""
    clean = [{**turn, "content": reference(turn.get("content") or "")} for turn in turns]
    clean = [turn for turn in clean if turn["role"] != "system" or turn["content"]]
    found: set[str] = set()
    state = "start"
    for turn in clean:
        role, blank, calls = turn["role"], not turn["content"], bool(turn.get("tool_calls"))
        after = {
            "system": ["start"],
            "user": ["start", "system", "assistant", "assistant calls"],
            "assistant": ["user", "tool"],
            "tool": ["assistant calls", "tool"],
        }
        if role not in after:
            found.add("bad_role")
        elif state not in after[role]:
            found.add("turn_order")
        if role == "user" and blank:
            found.add("empty_prompt")
        if role == "assistant" and blank and not calls:
            found.add("empty_answer")
        state = "assistant calls" if role == "assistant" and calls else role or "none"
    if not clean:
        found.add("empty_prompt")
    elif clean[-1]["role"] != "assistant":
        found.add("ends_with_user")
    if sum(len(turn["content"]) + len(turn.get("tool_calls") or "") for turn in clean) > max_chars:
        found.add("too_long")
    return next((reason for reason in REASONS if reason in found), None)


turn = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant"] * 4 + ["system", "tool", "User", "", None]),
        "content": st.sampled_from(["text", "text", "text", " \n", "", None, "longer than the rest"]),
        "tool_calls": st.sampled_from([None, None, '[{"type":"function","function":{"name":"f","arguments":{}}}]']),
    }
)
alternating = st.lists(
    st.sampled_from(["text", "text", " "]).map(
        lambda text: [{"role": "user", "content": text}, {"role": "assistant", "content": "a", "tool_calls": None}]
    ),
    max_size=2,
).map(lambda pairs: [turn for pair in pairs for turn in pair])
conversations = st.tuples(alternating, st.lists(turn, max_size=5)).map(lambda parts: parts[0] + parts[1])


@settings(quick, max_examples=250)
@given(st.lists(conversations, min_size=1, max_size=8), st.sampled_from([10, 100]))
def test_roles_are_checked_like_the_state_machine_says(rows: list[list[dict[str, Any]]], max_chars: int) -> None:
    done = normalize(drafts_of(rows), max_chars)
    expected = {i: reason for i, row in enumerate(rows) if (reason := verdict(row, max_chars))}
    assert {i: reason for i, reason, _ in done.refused.iter_rows()} == expected
    assert len(done.refused) == len(expected)
    assert done.rows["i"].to_list() == [i for i in range(len(rows)) if i not in expected]
    assert set(done.turns["i"]) == set(done.rows["i"])
    assert done.turns["i"].is_sorted()


@quick
@given(st.lists(conversations, min_size=1, max_size=5))
def test_normalizing_twice_changes_nothing_more(rows: list[list[dict[str, Any]]]) -> None:
    once = normalize(drafts_of(rows), 100)
    twice = normalize(Drafts(once.turns, once.rows, pl.DataFrame(schema=REFUSAL)), 100)
    assert twice.turns.equals(once.turns)
    assert twice.rows.equals(once.rows)
    assert len(twice.refused) == 0


def say(*roles: str, content: str = "x") -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role in roles]


CALL = {"role": "assistant", "content": None, "tool_calls": "[{}]"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (say("user", "assistant"), None),
        (say("system", "user", "assistant", "user", "assistant"), None),
        ([*say("user"), CALL, *say("tool", "tool", "assistant")], None),
        ([*say("user"), CALL], None),
        (say("human", "assistant"), "bad_role"),
        ([{"role": "user", "content": "\x00 "}, *say("assistant")], "empty_prompt"),
        ([], "empty_prompt"),
        (say("system", content=" "), "empty_prompt"),
        (say("system"), "ends_with_user"),
        (say("user", "assistant", "user"), "ends_with_user"),
        (say("user", "user", "assistant"), "turn_order"),
        (say("assistant"), "turn_order"),
        (say("user", "system", "assistant"), "turn_order"),
        (say("user", "assistant", "tool", "assistant"), "turn_order"),
        ([*say("user"), {"role": "assistant", "content": "\t"}], "empty_answer"),
        (say("user", "assistant", content="x" * 51), "too_long"),
    ],
)
def test_each_fault_has_its_reason(row: list[dict[str, Any]], reason: str | None) -> None:
    done = normalize(drafts_of([row]), 100)
    assert [found for _, found, _ in done.refused.iter_rows()] == ([reason] if reason else [])


def test_a_blank_system_turn_is_left_out_and_calls_have_empty_content() -> None:
    done = normalize(drafts_of([[*say("system", content=" \n"), *say("user"), CALL]]), 100)
    assert done.turns.select("role", "content").rows() == [("user", "x"), ("assistant", "")]


def test_a_row_refused_before_keeps_its_first_reason() -> None:
    refused = [(1, "wrong_type", "a"), (1, "missing_column", "b")]
    done = normalize(drafts_of([say("user", "assistant"), say("user")], refused), 100)
    assert done.refused.rows() == [(1, "wrong_type", "a")]
    assert done.rows["i"].to_list() == [0]


def test_all_texts_of_a_turn_are_cleaned() -> None:
    last = {
        "role": "assistant",
        "content": " a\r\n",
        "reasoning_content": "\x00b ",
        "name": " c",
        "tool_call_id": "d\x7f",
    }
    done = normalize(drafts_of([[*say("user"), last]]), 100)
    assert done.turns.row(1) == (0, "assistant", "a", "b", None, "d", "c", None)


def test_nothing_in_gives_nothing_out() -> None:
    done = normalize(drafts_of([]), 100)
    assert (len(done.turns), len(done.rows), len(done.refused)) == (0, 0, 0)
