"""MAWPS: placeholders filled in, numbers as a person writes them."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources.mawps import write_number

ROW = {
    "Question": "Ann has N_00 pens and buys N_01 . How many ?",
    "Equation": "N_00 + N_01",
    "Answer": "5.0",
    "Numbers": "2.0 3.0",
}


def said(found: Any) -> tuple[str, str]:
    return found["turns"][0]["content"], found["turns"][1]["content"]


@pytest.mark.parametrize("names", [("N_00", "N_01"), ("N_0", "N_1"), ("number0", "number1"), ("N_000", "number01")])
def test_placeholders_of_every_spelling_are_filled(adapt: Any, names: tuple[str, str]) -> None:
    row = {**ROW, "Question": f"{names[0]} pens, ({names[1]}) more, {names[0]}.", "Equation": f"{names[0]}+{names[1]}"}
    [found] = adapt("mawps", [row])
    assert said(found) == ("2 pens, (3) more, 2.", "5")
    assert found["answer"] == "5"
    assert found["meta"] == '{"equation":"2+3"}'


@settings(max_examples=60)
@given(st.integers(1, 25), st.sampled_from(["N_{}", "N_{:02}", "number{}"]), st.randoms())
def test_two_digit_placeholders_are_not_taken_for_one_digit_ones(
    adapt: Any, count: int, form: str, shuffled: random.Random
) -> None:
    order = shuffled.sample(range(count), count)
    row = {
        "Question": " and ".join(form.format(k) for k in order),
        "Answer": "1",
        "Numbers": " ".join(f"{k + 100}.0" for k in range(count)),
    }
    [found] = adapt("mawps", [row])
    assert said(found)[0] == " and ".join(str(k + 100) for k in order)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9.0", "9"),
        ("9", "9"),
        ("-8.0", "-8"),
        ("0.0", "0"),
        (".0", "0"),
        (".5", "0.5"),
        ("-.50", "-0.5"),
        ("5.", "5"),
        ("4.333333333333333", "4.33"),
        ("0.125", "0.125"),
        ("0.1250", "0.125"),
        ("0.00123456", "0.0012"),
        ("0.9999999", "1"),
        ("100.00001", "100"),
        ("12345678901234567890.0", "12345678901234567890"),
        ("1/3", "1/3"),
        ("1e5", "1e5"),
        ("nan", "nan"),
        ("three", "three"),
        ("", ""),
    ],
)
def test_a_number_is_written_as_a_person_would(text: str, expected: str) -> None:
    assert write_number(text) == expected


@given(st.decimals(-1000, 1000, places=3))
def test_three_decimals_lose_nothing(value: Any) -> None:
    written = write_number(str(value))
    assert float(written) == float(value)
    assert write_number(written) == written
    assert "." not in written or not written.endswith("0")


def test_the_answer_keeps_its_full_precision(adapt: Any) -> None:
    [found] = adapt("mawps", [{**ROW, "Answer": "4.333333333333333"}])
    assert said(found)[1] == "4.33"
    assert found["answer"] == "4.333333333333333"


def test_the_assistant_may_say_the_equation(adapt: Any) -> None:
    rows = [ROW, {**ROW, "Equation": None}, {**ROW, "Answer": " "}]
    found = adapt("mawps", rows, options={"assistant": "equation"})
    assert said(found[0])[1] == "2 + 3 = 5"
    assert found[0]["answer"] == "5"
    assert found[1:] == ["missing_column", "empty_answer"]


@pytest.mark.parametrize(
    "change",
    [
        {"Numbers": "2.0"},
        {"Numbers": ""},
        {"Question": "N_02 pens"},
        {"Question": "number7"},
        {"Equation": "N_00 + N_10"},
        {"Question": "N_00 and N_1x"[:-1] + "2"},
    ],
)
def test_a_placeholder_without_its_number_is_refused(adapt: Any, change: dict[str, str]) -> None:
    assert adapt("mawps", [{**ROW, **change}, ROW])[0] == "unfilled_placeholder"


@pytest.mark.parametrize("column", ["Question", "Answer", "Numbers"])
def test_a_row_without_a_column_it_needs_is_refused(adapt: Any, column: str) -> None:
    assert adapt("mawps", [ROW, {**ROW, column: None}])[1] == "missing_column"


def test_numbers_are_text_and_nothing_in_them_is_interpreted(adapt: Any) -> None:
    [found] = adapt("mawps", [{**ROW, "Numbers": "$5 ${1}"}])
    assert said(found)[0] == "Ann has $5 pens and buys ${1} . How many ?"


def test_numbers_may_stand_apart_by_any_white_space(adapt: Any) -> None:
    assert said(adapt("mawps", [{**ROW, "Numbers": " 2.0\t 3.0\n"}])[0])[0] == "Ann has 2 pens and buys 3 . How many ?"


def test_a_row_whose_numbers_stand_in_the_text_needs_no_numbers(adapt: Any) -> None:
    row = {"Question": "Ann has 2 pens and buys 3. How many?", "Equation": "( 2 + 3 )", "Answer": 5.0}
    for rest in ({}, {"Numbers": None}, {"Numbers": ""}):
        [found] = adapt("mawps", [{**row, **rest}])
        assert said(found) == (row["Question"], "5")
        assert found["answer"] == "5"


@pytest.mark.parametrize(
    ("body", "question", "whole"),
    [
        ("Ann has 2 pens.", "How many?", "Ann has 2 pens. How many?"),
        (" Ann has N_00 pens . \n", " How many ?", "Ann has 2 pens . How many ?"),
        ("Ann has N_00 pens .", "Ann has N_00 pens . How many ?", "Ann has 2 pens . How many ?"),
        ("", "How many?", "How many?"),
        (None, "How many?", "How many?"),
        ("Ann has 2 pens.", "", "Ann has 2 pens."),
    ],
)
def test_a_body_stands_before_a_question_that_does_not_repeat_it(
    adapt: Any, body: str | None, question: str, whole: str
) -> None:
    [found] = adapt("mawps", [{"Body": body, "Question": question, "Answer": "2", "Numbers": "2.0"}])
    assert said(found)[0] == whole
    assert "meta" not in found
