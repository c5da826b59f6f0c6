"""Overlaps are what a plain loop over words finds."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import turns
from pipeline.decontaminate.grams import folded
from pipeline.decontaminate.overlap import overlaps, read_evaluation
from pipeline.schema import MESSAGE

Row = list[tuple[str, str]]


def table(rows: list[Row], name: str = "s") -> pa.Table:
    messages = [[{"role": role, "content": content} for role, content in row] for row in rows]
    ids = [f"{name}:{k}" for k in range(len(rows))]
    return pa.table({"id": pa.array(ids, pa.string()), "messages": pa.array(messages, pa.list_(MESSAGE))})


def asked(question: str, answer: str = "ok") -> Row:
    return [("user", question), ("assistant", answer)]


def found(rows: list[Row], against: list[Row], ngram: int = 13, ngram_chars: int = 25) -> dict[int, str]:
    evaluation = read_evaluation([table(against, "e")], ngram, ngram_chars)
    return {row: detail for row, _, detail in overlaps(table(rows)["messages"], evaluation).iter_rows()}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How many apples are left?", "how  many APPLES\nare left"),
        ("12 - 5 + 3 = ?", "12-5+3="),
        ("小明有３支铅笔，还剩几支？", "小明有 3 支铅笔, 还剩几支"),
        ("“Quoted” – text…", "quoted text"),
        ("ＡＢＣ", "abc"),
    ],
)
def test_case_width_space_and_punctuation_make_no_difference(one: str, other: str) -> None:
    assert found([asked(one)], [asked(other, "something else")]) == {0: "same prompt as e:0"}


@pytest.mark.parametrize(
    ("one", "other"),
    [("7 - 5", "7 + 5"), ("7-5", "7*5"), ("7 - 5", "7 / 5"), ("5%", "5"), ("grade 12", "grade 1 2"), ("?", "!")],
)
def test_what_asks_something_else_is_no_copy(one: str, other: str) -> None:
    assert found([asked(one)], [asked(other)]) == {}


@given(st.lists(st.text(max_size=20), max_size=8))
def test_folding_is_idempotent_and_row_by_row(texts: list[str]) -> None:
    once = folded(pl.Series("text", texts, pl.String))
    assert folded(once).to_list() == once.to_list()
    assert [folded(pl.Series([text])).item() for text in texts] == once.to_list()


words = st.lists(st.sampled_from(["a", "b", "c", "7", "+", "数", "学"]), max_size=12)


@given(st.lists(words, max_size=6), st.lists(words, max_size=4), st.integers(1, 4))
def test_rows_with_a_stretch_in_common_are_found(rows: list[list[str]], sets: list[list[str]], slice_: int) -> None:
    def grams(said: list[str]) -> set[tuple[str, ...]]:
        every = {
            (length, *said[k : k + length])
            for length, spaced in ((3, True), (4, False))
            for k in range(len(said) - length + 1)
            if spaced != any(word in "数学" for word in said[k : k + length])
            if 2 * sum(word.isalpha() for word in said[k : k + length]) >= length
        }
        return {tuple(map(str, gram)) for gram in every}

    evaluation = set().union(*map(grams, sets)) if sets else set()
    prompts = {tuple(said) for said in sets} - {()}
    expected = {k for k, said in enumerate(rows) if tuple(said) in prompts or grams(said) & evaluation}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "_SLICE", slice_)
        got = found([asked(" ".join(said)) for said in rows], [asked(" ".join(said)) for said in sets], 3, 4)
    assert set(got) == expected


LONG = "one evening the old keeper of the northern lighthouse counted every ship that passed before the storm"


def test_the_detail_names_the_evaluation_row_and_the_words() -> None:
    detail = found([asked(f"Tell me: {LONG}!")], [asked("else"), asked("x", LONG.upper())])[0]
    assert detail == f"13 words in common with e:1: “{' '.join(LONG.split()[:13])}”"
    text = "黄昏时分灯塔的老看守人数着暴风雨来临之前经过的每一艘大船和小船"
    assert found([asked(f"请问：{text}")], [asked(text)]) == {0: f"25 characters in common with e:0: “{text[:25]}”"}


def test_any_turn_counts_but_not_the_system_turn() -> None:
    assert found([[("system", LONG), *asked("q", "a")]], [asked(LONG)]) == {}
    assert found([asked("q")], [[("system", LONG), *asked("other")]]) == {}
    assert list(found([[*asked("hi"), *asked("fine", LONG)]], [asked(LONG)])) == [0]
    assert found([[*asked("hi"), *asked("What now?")]], [asked("what now")]) == {0: "same prompt as e:0"}
    assert found([[*asked("hi"), *asked("What now?")]], [[*asked("hi!"), *asked("what now")]]) == {
        0: "same prompt as e:0"
    }


def test_a_phrase_that_many_evaluation_rows_have_tells_nothing() -> None:
    few, many = ([asked(f"{LONG} {k}") for k in range(count)] for count in (10, 11))
    assert list(found([asked(f"{LONG} and more")], few)) == [0]
    assert found([asked(f"{LONG} and more")], many) == {}
    assert found([asked(f"{LONG} 3")], many) == {0: "same prompt as e:3"}


def test_counting_is_no_text_of_anyone() -> None:
    counting = " ".join(map(str, range(1, 40)))
    assert found([asked(f"Go on: {counting}")], [asked(f"Count: {counting}")]) == {}


def test_every_row_of_a_real_set_is_found_in_itself_and_none_in_alpaca(shared: Path) -> None:
    lines = (shared / "gsm8k" / "test.jsonl").read_text("utf-8").splitlines()
    rows = [asked(row["question"], row["answer"]) for row in map(json.loads, lines)]
    alpaca = json.loads((shared / "alpaca" / "alpaca_data.json").read_text("utf-8"))[:5000]
    others = [asked(f"{row['instruction']}\n{row['input']}", row["output"]) for row in alpaca]
    evaluation = read_evaluation([table(rows, "gsm8k")], 13, 25)
    assert overlaps(table(rows)["messages"], evaluation)["row"].to_list() == list(range(len(rows)))
    assert overlaps(table(others)["messages"], evaluation).is_empty()
    hidden = [asked("Please solve this.", f"Sure! {row[0][1]} So?") for row in rows if len(row[0][1].split()) > 30]
    assert len(overlaps(table(hidden)["messages"], evaluation)) > 0.97 * len(hidden) > 900
