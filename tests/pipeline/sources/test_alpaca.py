"""The Alpaca form: instruction and input make the prompt."""

import json
from typing import Any

import pytest

ROW = {"instruction": "Name the capital.", "input": "Peru", "output": "Lima"}


def said(found: Any) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in found["turns"]]


@pytest.mark.parametrize(
    ("instruction", "given", "prompt"),
    [
        ("A", "B", "A\n\nB"),
        (" A\r\n", "\n B", "A\n\nB"),
        ("A", "", "A"),
        ("A", " \t", "A"),
        ("A", None, "A"),
        ("", "B", "B"),
        ("A {{x}}", "{% y %} $1", "A {{x}}\n\n{% y %} $1"),
    ],
)
def test_instruction_and_input_are_joined_by_a_blank_line(
    adapt: Any, instruction: str, given: Any, prompt: str
) -> None:
    [found] = adapt("alpaca", [{"instruction": instruction, "input": given, "output": "C"}])
    assert said(found) == [("user", prompt), ("assistant", "C")]


@pytest.mark.parametrize(
    "given",
    [
        "No input", "no input.", "NO INPUT", "<no input>", "<noinput>", "<No Input>", "[no_input]", "(no-input)",
        '"No input"', "No input required", "No input required.", "no input needed", "No input is needed.",
        "No input necessary.", "No input provided.", "No input given", "no input available", "None", "none.", "N/A",
        "n/a", "Not applicable", "nil", "无", "无。", "没有输入", "无输入", "不需要输入", " No input \n",
    ],
)  # fmt: skip
def test_an_input_that_only_says_there_is_none_is_none(adapt: Any, given: str) -> None:
    [found] = adapt("alpaca", [{"instruction": "A", "input": given, "output": "C"}])
    assert said(found)[0] == ("user", "A")
    assert json.loads(found["meta"]) == {"instruction": "A", "input": ""}


@pytest.mark.parametrize(
    "given",
    ["No input file was found", "None of these", "There is no input", "N/A values: 3", "无锡", "nilpotent", "no", "0"],
)
def test_an_input_that_says_more_stays(adapt: Any, given: str) -> None:
    [found] = adapt("alpaca", [{"instruction": "A", "input": given, "output": "C"}])
    assert said(found)[0] == ("user", f"A\n\n{given}")


def test_meta_keeps_the_parts_and_the_other_columns(adapt: Any) -> None:
    [found] = adapt("alpaca", [{**ROW, "text": "x", "schema": {"type": "object"}, "n": 1.50, "none": None}])
    parts = {"instruction": "Name the capital.", "input": "Peru"}
    assert json.loads(found["meta"]) == {**parts, "text": "x", "schema": {"type": "object"}, "n": 1.5}


def test_system_and_history_come_before_the_question(adapt: Any) -> None:
    row = {**ROW, "system": "Be brief.", "history": [["q1", "a1"], ["q2", "a2"]]}
    found = adapt("alpaca", [row, ROW, {**ROW, "history": []}, {**row, "system": " "}])
    before = [("user", "q1"), ("assistant", "a1"), ("user", "q2"), ("assistant", "a2")]
    last = [("user", "Name the capital.\n\nPeru"), ("assistant", "Lima")]
    assert [said(row) for row in found] == [[("system", "Be brief."), *before, *last], last, last, [*before, *last]]


@pytest.mark.parametrize(
    "history",
    ["text", 5, True, {"a": "b"}, [["only one"]], [["a", "b", "c"]], [["a", None]], [[1, 2]], ["ab"], [[["a", "b"]]]],
)
def test_a_history_of_another_shape_is_refused(adapt: Any, history: Any) -> None:
    found = adapt("alpaca", [ROW, {**ROW, "history": history}, {**ROW, "history": [["q", "a"]]}])
    assert found[1] == "wrong_type"
    assert [len(row["turns"]) for row in (found[0], found[2])] == [2, 4]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"instruction": "", "input": "No input", "output": "C"}, "empty_prompt"),
        ({"instruction": "A", "output": " "}, "empty_answer"),
        ({"instruction": "A"}, "missing_column"),
        ({"input": "B", "output": "C"}, "missing_column"),
        ({"instruction": "A", "output": {"a": 1}}, "wrong_type"),
        ({"instruction": ["A"], "output": "C"}, "wrong_type"),
        ({"instruction": "A", "input": False, "output": "C"}, "wrong_type"),
        ({"instruction": "A", "output": "C", "tags": {"a": 1}}, "wrong_type"),
    ],
)
def test_a_flawed_row_is_refused(adapt: Any, row: dict[str, Any], reason: str) -> None:
    assert adapt("alpaca", [ROW, row])[1] == reason


@pytest.mark.parametrize(
    ("language", "row", "tags"),
    [
        ("auto", ROW, ["en"]),
        ("auto", {"instruction": "首都是？", "output": "利马"}, ["zh"]),
        (
            "auto",
            {"instruction": "翻译：How are you today, my friend?", "output": "Very well indeed, thank you"},
            ["en"],
        ),
        ("auto", {"instruction": "1 + 1", "output": "2"}, ["en"]),
        ("zh", {**ROW, "tags": ["json", "x"]}, ["zh", "json", "x"]),
        ("en", {**ROW, "tags": None}, ["en"]),
        (None, {**ROW, "tags": ["json"]}, ["json"]),
        (None, {**ROW, "tags": "json"}, ["json"]),
    ],
)
def test_the_language_is_a_tag_before_a_row_s_own(adapt: Any, language: str | None, row: Any, tags: list[str]) -> None:
    [found] = adapt("alpaca", [row], options={"language": language})
    assert found["tags"] == tags


def test_columns_may_have_other_names(adapt: Any) -> None:
    columns = {"instruction": "prompt", "input": "context", "output": "^response$"}
    [found] = adapt("alpaca", [{"prompt": "A", "context": "B", "^response$": "C", "*": 1}], columns)
    assert said(found) == [("user", "A\n\nB"), ("assistant", "C")]
    assert json.loads(found["meta"]) == {"instruction": "A", "input": "B", "*": 1}
