"""Dialogues: two speakers in turn, the user first."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def talk(count: int) -> list[str]:
    return [f"line {k}" for k in range(count)]


def lines(found: Any) -> Any:
    return found if isinstance(found, str) else [turn["content"] for turn in found["turns"]]


@settings(max_examples=40)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=5))
def test_speakers_alternate_and_only_a_last_user_line_is_cut(adapt: Any, counts: list[int]) -> None:
    rows = [{"dialogue": talk(count)} for count in counts]
    cut: dict[str, int] = {}
    refused, shorter = adapt("dialogue", rows), adapt("dialogue", rows, options={"last_user": "cut"}, counts=cut)
    for count, first, second in zip(counts, refused, shorter, strict=True):
        assert lines(first) == ("empty_prompt" if not count else "ends_with_user" if count % 2 else talk(count))
        assert lines(second) == (talk(count // 2 * 2) if count > 1 else lines(first))
        if not isinstance(second, str):
            assert [turn["role"] for turn in second["turns"]] == ["user", "assistant"] * (count // 2)
    assert cut.get("last_user_cut") == sum(count % 2 for count in counts if count > 1)


@pytest.mark.parametrize("bad", ["text", 5, {"a": "b"}, ["a", None], ["a", 5], ["a", ["b"]], True])
def test_what_is_no_list_of_texts_is_refused(adapt: Any, bad: Any) -> None:
    found = adapt("dialogue", [{"dialogue": talk(2)}, {"dialogue": bad}, {"dialogue": None}, {"dialogue": talk(2)}])
    assert found[1:3] == ["wrong_type", "missing_column"]
    assert lines(found[0]) == lines(found[3]) == talk(2)


def test_a_blank_line_is_refused_and_the_rest_is_meta(adapt: Any) -> None:
    rows = [{"dialogue": [" ", "a"]}, {"dialogue": ["q", " "]}, {"dialogue": talk(2), "tags": ["x"], "emotion": [0, 1]}]
    found = adapt("dialogue", rows)
    assert found[:2] == ["empty_prompt", "empty_answer"]
    assert (found[2]["tags"], json.loads(found[2]["meta"])) == (["x"], {"emotion": [0, 1]})


def test_the_list_may_stand_in_a_cell_as_text(adapt: Any) -> None:
    cell = json.dumps(talk(2)).replace('"', '""')
    [found] = adapt("dialogue", f'turns\n"{cell}"\n'.encode(), columns={"dialogue": "turns"}, name="rows.csv")
    assert lines(found) == talk(2)
