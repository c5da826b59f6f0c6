"""Bilingual emoji chats, in both of their forms."""

import json
from typing import Any

import pytest

from pipeline.sources import json_rows

ROW = {"question": "早上好！", "answer_zh": "早呀☀️", "answer_en": "Good morning ☀️"}
PAIR = {
    "prompt": "Hi",
    "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello 👋🏻"}],
    "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
}


@pytest.mark.parametrize(
    ("row", "languages", "answer", "tag"),
    [
        (ROW, ["zh", "en"], "早呀☀️", "zh"),
        (ROW, ["en", "zh"], "Good morning ☀️", "en"),
        (ROW, ["en"], "Good morning ☀️", "en"),
        ({**ROW, "answer_zh": None}, ["zh", "en"], "Good morning ☀️", "en"),
        ({**ROW, "answer_zh": " \n"}, ["zh", "en"], "Good morning ☀️", "en"),
        ({"question": "x", "answer_zh": "早"}, ["en", "zh"], "早", "zh"),
    ],
)
def test_the_answer_is_in_the_first_language_that_has_one(
    adapt: Any, row: Any, languages: list[str], answer: str, tag: str
) -> None:
    [found] = adapt("emoji", [row], options={"languages": languages})
    assert found["turns"][-1]["content"] == answer
    assert found["tags"] == [tag]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**ROW, "answer_zh": "", "answer_en": " "}, "empty_answer"),
        ({"question": "x"}, "missing_column"),
        ({"answer_zh": "x"}, "missing_column"),
        ({**ROW, "question": " "}, "empty_prompt"),
        ({**ROW, "answer_zh": ["x"]}, "wrong_type"),
    ],
)
def test_a_row_without_question_or_answer_is_refused(adapt: Any, row: Any, reason: str) -> None:
    assert adapt("emoji", [ROW, row])[1] == reason


def test_of_a_preference_pair_the_chosen_answer_is_taken(adapt: Any) -> None:
    [found] = adapt("emoji", [PAIR])
    assert [turn["content"] for turn in found["turns"]] == ["Hi", "Hello 👋🏻"]
    assert found["tags"] == ["en"]
    assert json.loads(found["meta"]) == {"rejected": PAIR["rejected"]}


@pytest.mark.parametrize(
    "chosen",
    [[], [{"role": "user", "content": "Hi"}], {"role": "user"}, [1], 5, True, [{"role": "assistant", "content": None}]],
)
def test_a_pair_without_a_chosen_answer_is_refused(adapt: Any, chosen: Any) -> None:
    assert adapt("emoji", [PAIR, {**PAIR, "chosen": chosen}])[1] == "wrong_type"


def test_a_pair_without_a_prompt_is_refused(adapt: Any) -> None:
    assert adapt("emoji", [PAIR, {"chosen": PAIR["chosen"]}])[1] == "missing_column"


def test_both_forms_may_stand_in_one_file_whatever_the_blocks(adapt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [ROW, PAIR, PAIR, ROW]
    whole = adapt("emoji", rows)
    assert [found["turns"][-1]["content"] for found in whole] == ["早呀☀️", "Hello 👋🏻", "Hello 👋🏻", "早呀☀️"]
    monkeypatch.setattr(json_rows, "BLOCK_BYTES", 64)
    assert adapt("emoji", rows) == whole


@pytest.mark.parametrize("most", [1, 5, 6, 7])
def test_long_answers_are_cut_and_the_cuts_counted(adapt: Any, most: int) -> None:
    counts: dict[str, int] = {}
    rows = [{"question": "q", "answer_zh": "☀️" * 3}, {"question": "q", "answer_zh": "x"}]
    found = adapt("emoji", rows, options={"max_answer_chars": most}, counts=counts)
    assert found[0]["turns"][-1]["content"] == ("☀️" * 3)[:most]
    assert found[1]["turns"][-1]["content"] == "x"
    assert counts == {"answers_cut": int(most < 6)}
