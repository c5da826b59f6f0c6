"""GSM8K: calculator marks go, the final answer is taken out."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

SOLUTION = "Ann buys 2*3=<<2*3=6>>6 pens.\nShe has $<<6+1=7>>7 in all.\n#### 7"


def one(adapt: Any, answer: Any, **options: Any) -> Any:
    [found] = adapt("gsm8k", [{"question": "How many?", "answer": answer}], options=options)
    return found


def test_marks_go_and_the_final_answer_is_the_gold(adapt: Any) -> None:
    found = one(adapt, SOLUTION)
    assert found["turns"][0] == {"role": "user", "content": "How many?"}
    assert found["turns"][1]["content"] == "Ann buys 2*3=6 pens.\nShe has $7 in all.\n#### 7"
    assert found["answer"] == "7"
    assert "meta" not in found


def test_the_final_line_may_be_left_out(adapt: Any) -> None:
    found = one(adapt, SOLUTION, final="drop")
    assert (found["turns"][1]["content"], found["answer"]) == ("Ann buys 2*3=6 pens.\nShe has $7 in all.", "7")
    assert one(adapt, "#### 7", final="drop") == "empty_answer"
    assert one(adapt, "#### 7")["answer"] == "7"


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("x\n#### 2,125", "2,125"),
        ("x\n#### -3.50 ", "-3.50"),
        ("x\r\n####7\r\n", "7"),
        ("#### Step 1\nx\n#### 3 apples", "3 apples"),
        ("#### 7\nand more", None),
        ("x #### 7", None),
        ("x\n####", None),
        ("no such line", None),
    ],
)
def test_only_the_last_line_is_the_gold_answer_as_it_was_written(adapt: Any, answer: str, gold: str | None) -> None:
    assert one(adapt, answer).get("answer") == gold


def test_rows_without_a_final_answer_are_kept_and_counted(adapt: Any) -> None:
    counts: dict[str, int] = {}
    rows = [{"question": "q", "answer": answer} for answer in (SOLUTION, "none here", None)]
    assert [isinstance(got, str) for got in adapt("gsm8k", rows, counts=counts)] == [False, False, True]
    assert counts == {"no_final_answer": 1}


@settings(max_examples=80)
@given(st.text("<>=#1,\n x", max_size=20))
def test_what_is_no_mark_stays(adapt: Any, text: str) -> None:
    found = one(adapt, f"a {text} z")
    rest = iter(f"a {text} z")
    assert all(sign in rest for sign in found["turns"][1]["content"])  # nothing is added or moved
    if "<<" not in text:
        assert found["turns"][1]["content"] == f"a {text} z"


def test_every_real_solution_has_a_gold_answer_and_no_marks(adapt: Any, shared: Path) -> None:
    rows = [json.loads(line) for line in (shared / "gsm8k" / "test.jsonl").read_text("utf-8").splitlines()]
    found = adapt("gsm8k", rows)
    for raw, got in zip(rows, found, strict=True):
        assert got["answer"] == raw["answer"].rpartition("####")[2].strip()
        assert "<<" not in got["turns"][1]["content"]
        assert got["turns"][1]["content"].endswith(f"#### {got['answer']}")
