"""Any table by a mapping of its columns."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

CMATH = {"user": "question", "assistant": "golden", "answer": "golden"}


def test_cmath_s_golden_is_both_the_answer_and_what_the_assistant_says(adapt: Any) -> None:
    row = {"grade": 1, "question": "3支多少元？", "golden": "6", "reasoning_step": 1, "num_digits": 1.50}
    [found] = adapt("columns", [row], CMATH)
    assert found["turns"] == [{"role": "user", "content": "3支多少元？"}, {"role": "assistant", "content": "6"}]
    assert found["answer"] == "6"
    assert found["meta"] == '{"grade":1,"reasoning_step":1,"num_digits":1.5}'


@pytest.mark.parametrize("golden", ["2/6", "48.10", "1e5", "123456789012345678901234567890", "-0"])
def test_a_number_answers_as_it_was_written(adapt: Any, golden: str) -> None:
    for value in (golden, f'"{golden}"'):
        if value == "2/6":
            continue
        [found] = adapt("columns", b'{"question": "q", "golden": %b}' % value.encode(), CMATH)
        assert found["answer"] == found["turns"][-1]["content"] == golden


@pytest.mark.parametrize("value", [True, False, [1], {"a": 1}, []])
@pytest.mark.parametrize("column", ["question", "golden"])
def test_what_is_no_text_is_refused(adapt: Any, column: str, value: Any) -> None:
    good = {"question": "q", "golden": "1"}
    first, second, third = adapt("columns", [good, {**good, column: value}, good], CMATH)
    assert second == "wrong_type"
    assert first == third


@pytest.mark.parametrize("bad", [{"question": "q"}, {"question": "q", "golden": None}, {"golden": "1"}, {}])
def test_a_row_without_a_value_is_refused(adapt: Any, bad: dict[str, Any]) -> None:
    assert adapt("columns", [bad], CMATH) == ["missing_column"]
    assert adapt("columns", [{"question": "q", "golden": "1"}, bad], CMATH)[1] == "missing_column"


def test_a_system_column_speaks_first_where_it_has_text(adapt: Any) -> None:
    columns = {"user": "q", "assistant": "a", "system": "s"}
    rows = [{"q": "1", "a": "2", "s": " be brief "}, {"q": "1", "a": "2", "s": None}, {"q": "1", "a": "2", "s": ""}]
    found = adapt("columns", rows, columns)
    assert [[turn["role"] for turn in row["turns"]] for row in found] == [
        ["system", "user", "assistant"],
        ["user", "assistant"],
        ["user", "assistant"],
    ]
    assert found[0]["turns"][0]["content"] == "be brief"


def test_a_context_stands_below_the_question_and_apart_in_meta(adapt: Any) -> None:
    rows = [{"q": " ask ", "c": "about\r\nthis ", "a": "x"}, {"q": "ask", "c": " ", "a": "x"}, {"q": "ask", "a": "x"}]
    found = adapt("columns", [*rows, {"c": "only", "a": "x"}], {"user": "q", "assistant": "a", "context": "c"})
    assert [row["turns"][0]["content"] for row in found[:3]] == ["ask\n\nabout\nthis", "ask", "ask"]
    assert json.loads(found[0]["meta"]) == {"instruction": "ask", "input": "about\nthis"}
    assert found[3] == "missing_column"


@pytest.mark.parametrize(
    ("tags", "expected"), [(["a", "题"], ["a", "题"]), ("a", ["a"]), (None, None), ([], []), ([1], "wrong_type")]
)
def test_tags_are_a_list_or_one_text(adapt: Any, tags: Any, expected: Any) -> None:
    columns = {"user": "q", "assistant": "a", "tags": "t"}
    [found] = adapt("columns", [{"q": "1", "a": "2", "t": tags}], columns)
    assert found == expected if isinstance(expected, str) else found.get("tags") == expected


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab^$*", max_size=3), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=80)
@given(st.lists(st.dictionaries(st.sampled_from(["q", "a", "", "^q$", "*", "_", "part x", "题"]), values), max_size=5))
def test_no_row_of_any_shape_ends_in_a_traceback(adapt: Any, rows: list[dict[str, Any]]) -> None:
    found = adapt("columns", rows, {"user": "q", "assistant": "a"})
    assert len(found) == len(rows)
    for row, got in zip(rows, found, strict=True):
        if isinstance(got, str):
            continue
        rest = {name: value for name, value in row.items() if name not in ("q", "a") and value is not None}
        assert json.loads(got.get("meta", "{}")) == rest
