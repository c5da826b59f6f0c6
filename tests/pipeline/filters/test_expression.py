"""Filters: what they mean, and what they refuse before anything runs."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.filters.columns import NAMES
from pipeline.filters.expression import read_filter

ROWS = pl.DataFrame(
    {
        "source": ["a", "b", "b"],
        "tags": [["zh"], ["en", "math"], []],
        "answer": ["5", None, "7"],
        "prompt": ["Ab", "b", "c"],
        "reply": ["Abx", "q", "zcz"],
        "len_prompt": [0, 2, 3],
        "len_answer": [1, 3000, 5],
        "has_tools": [True, False, False],
    }
)


def passes(text: str, rows: pl.DataFrame = ROWS) -> list[bool]:
    asked = read_filter(text)
    return (
        rows.select(asked.names)
        .with_columns(asked.keep.alias("passes") if asked.names else pl.lit(1))["passes"]
        .to_list()
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("len_answer < 2000 and 'zh' in tags", [True, False, False]),
        ("not ('zh' in tags)", [False, True, True]),
        ("'zh' not in tags", [False, True, True]),
        ("prompt in reply", [True, False, True]),
        ("answer in reply", [False, False, False]),
        ("answer == '5'", [True, False, False]),
        ("answer != '5'", [False, True, True]),
        ("not answer == '5'", [False, True, True]),
        ("answer in ['5', '7']", [True, False, True]),
        ("answer not in ('5', '7')", [False, True, False]),
        ("len_answer in [1, 5.0, -3]", [True, False, True]),
        ("len_answer / len_prompt > 1", [False, True, True]),
        ("len_prompt - len_answer * 2 + 1 <= -2", [False, True, True]),
        ("1 < len_answer <= 3000", [False, True, True]),
        ("len(tags) >= 1 and len(prompt) == 2", [True, False, False]),
        ("startswith(lower(prompt), 'a') or endswith(reply, 'cz')", [True, False, True]),
        ("has_tools == False", [False, True, True]),
        ("has_tools", [True, False, False]),
        ("source == 'b' or has_tools and len_answer > 1", [False, True, True]),
        ("(len_answer > 1\n and source == 'b')", [False, True, True]),
        ("'\\u0062' == prompt", [False, True, False]),
    ],
)
def test_what_passes(text: str, expected: list[bool]) -> None:
    assert passes(text) == expected


@given(st.lists(st.integers(0, 9), min_size=1), st.integers(-9, 9), st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
def test_comparisons_are_those_of_numbers(values: list[int], bound: int, sign: str) -> None:
    said: dict[str, Any] = {"<": int.__lt__, "<=": int.__le__, ">": int.__gt__, ">=": int.__ge__}
    said |= {"==": int.__eq__, "!=": int.__ne__}
    found = passes(f"turns {sign} {bound}", pl.DataFrame({"turns": values}))
    assert found == [said[sign](value, bound) for value in values]


@given(st.text(max_size=5), st.lists(st.text(max_size=5), min_size=1))
def test_any_text_can_be_looked_for(wanted: str, replies: list[str]) -> None:
    # Lone surrogates cannot stand in a row; the parser takes every other text as Python writes it.
    text = ascii(wanted)
    rows = pl.DataFrame({"reply": replies})
    assert passes(f"{text} in reply", rows) == [wanted in reply for reply in replies]
    assert passes(f"reply == {text}", rows) == [wanted == reply for reply in replies]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("len_anser < 3", "character 1: no name len_anser (did you mean len_answer"),
        ("source == 'é' and 'zh' < 3", "character 26: < and > compare numbers"),
        ("tags == 'zh'", "never equal"),
        ("3 in tags", "a number is never in a list of texts"),
        ("'a' in ['a', 1]", "texts only, or numbers only"),
        ("'a' in [prompt]", "texts only, or numbers only"),
        ("len_answer in []", "texts only, or numbers only"),
        ("len_answer", "true or false for a row, this is a number"),
        ("tags", "true or false for a row, this is a list of texts"),
        ("len_answer and has_tools", "`and` joins conditions, this is a number"),
        ("not prompt", "`not` stands before a condition"),
        ("prompt + 'a' == 'b'", "+ - * / are for numbers, this is a text"),
        ("len_answer ** 2 > 3", "no such operator"),
        ("len(len_answer) > 3", "len takes a text or a list of texts"),
        ("len(tags, tags) > 3", "len takes 1 value"),
        ("lower > 3", "lower is a function"),
        ("prompt is 'x'", "write == or !="),
        ("answer == None", "neither True nor False"),
        ("len_answer < 1e999", "no number up to 2^53"),
        ("len_answer <", "cannot be read"),
        ("a b", "character 3: cannot be read"),
        ("", "cannot be read"),
        ("\0", "cannot be read"),
        ("__import__('os').system('true')", "no function of filters"),
        ("prompt.upper == 'A'", "Attribute"),
        ("__import__('os')", "no function of filters"),
        ("prompt.lower() == 'a'", "no function of filters"),
        ("tags[0] == 'a'", "Subscript"),
        ("(lambda: True)()", "no function of filters"),
        ("[x for x in tags]", "ListComp"),
        ("f'{prompt}' == 'a'", "JoinedStr"),
        ("len(x := prompt) > 1", "NamedExpr"),
        ("not " * 400 + "has_tools", "at most 200"),
        ("-" * 1990 + "1 == 1", "at most 200"),
        ("(" * 150 + "1" + ")" * 300, "cannot be read"),
        ("has_tools" + " or has_tools" * 300, "at most 2,000"),
    ],
)
def test_what_is_no_filter_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_filter(text)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 2


@given(st.text(max_size=60) | st.lists(st.sampled_from([*NAMES, *"<>=+-*/()[],'1", "in", "not", "and"])).map(" ".join))
def test_any_text_is_a_filter_or_a_mistake(text: str) -> None:
    try:
        asked = read_filter(text)
    except ConfigError:
        return
    assert asked.names <= NAMES.keys()
