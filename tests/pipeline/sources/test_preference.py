"""Preference pairs: the chosen answer is taken, in whatever form it comes."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

USER, ASSISTANT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
SYSTEM = {"role": "system", "content": "s"}
HUMAN, GPT = {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}
EARLIER = [{"role": "user", "content": "q0"}, {"role": "assistant", "content": "a0"}]


def one(adapt: Any, **row: Any) -> Any:
    [found] = adapt("preference", [row])
    return found if isinstance(found, str) else found["turns"]


@pytest.mark.parametrize("prompt", ["q", [USER], USER, [HUMAN]])
@pytest.mark.parametrize("chosen", ["a", [ASSISTANT], ASSISTANT, GPT, [GPT], [USER, ASSISTANT], [HUMAN, GPT]])
def test_prompt_and_answer_of_every_form_make_one_conversation(adapt: Any, prompt: Any, chosen: Any) -> None:
    assert one(adapt, prompt=prompt, chosen=chosen, rejected="b") == [USER, ASSISTANT]


def test_a_whole_conversation_needs_no_prompt(adapt: Any) -> None:
    assert one(adapt, chosen=[*EARLIER, USER, ASSISTANT]) == [*EARLIER, USER, ASSISTANT]
    assert one(adapt, chosen=[SYSTEM, USER, ASSISTANT]) == [SYSTEM, USER, ASSISTANT]
    assert one(adapt, prompt=[*EARLIER, USER], chosen=[ASSISTANT]) == [*EARLIER, USER, ASSISTANT]


@pytest.mark.parametrize("row", [{"chosen": "a"}, {"prompt": "q"}, {"prompt": [], "chosen": "a"}, {"chosen": []}])
def test_half_a_pair_is_refused(adapt: Any, row: Any) -> None:
    assert one(adapt, **row) == "missing_column"


def test_a_system_text_comes_first_whether_of_a_column_or_of_the_prompt(adapt: Any) -> None:
    expected = [SYSTEM, USER, ASSISTANT]
    assert one(adapt, prompt="q", chosen="a", system="s") == expected
    assert one(adapt, chosen=[USER, ASSISTANT], system="s") == expected
    assert one(adapt, prompt=[SYSTEM, USER], chosen=[USER, ASSISTANT]) == expected
    assert one(adapt, prompt=[SYSTEM, USER], chosen=[SYSTEM, USER, ASSISTANT]) == expected
    [found] = adapt("preference", [{"prompt": [SYSTEM, USER], "chosen": "a", "system": "t"}])
    assert (found["turns"], json.loads(found["meta"])) == (expected, {"system": "t"})


@pytest.mark.parametrize("rejected", ["b", [USER, {"role": "assistant", "content": "b"}], {"n": 1}, 5])
@pytest.mark.parametrize("column", ["rejected", "loser"])
def test_what_was_rejected_stays_in_meta_as_it_was(adapt: Any, rejected: Any, column: str) -> None:
    rows = [{"prompt": "q", "chosen": "a", column: rejected, "score": 1}, {"prompt": "q", "chosen": "a"}]
    found = adapt("preference", rows, columns={"rejected": column})
    assert json.loads(found[0]["meta"]) == {"rejected": rejected, "score": 1}
    assert "meta" not in found[1]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("aб ", max_size=3) | st.sampled_from([USER, ASSISTANT, GPT]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content"]), inner, max_size=2)
    ),
    max_leaves=5,
)
pair = st.fixed_dictionaries({}, optional=dict.fromkeys(("prompt", "chosen", "rejected", "system", "tags"), anything))


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(pair, min_size=1, max_size=4))
def test_no_row_of_any_shape_ends_in_a_traceback(adapt: Any, rows: list[Any]) -> None:
    found = adapt("preference", rows)
    assert len(found) == len(rows)
    assert all(isinstance(got, str) or got["turns"][-1]["role"] == "assistant" for got in found)


def test_meta_does_not_depend_on_the_other_rows_of_a_block(adapt: Any) -> None:
    pair = {"prompt": "q", "chosen": "a"}
    rows = [{**pair, "rejected": "other"}, {**pair, "loser": "b", "rejected": "other"}, pair]
    alone = [adapt("preference", [each], {"rejected": "loser"})[0] for each in rows]
    assert adapt("preference", rows, {"rejected": "loser"}) == alone
    assert [each.get("meta") for each in alone] == [
        '{"raw_rejected":"other"}', '{"rejected":"b","raw_rejected":"other"}', None
    ]  # fmt: skip


def test_real_pairs_are_all_kept(adapt: Any, shared: Path) -> None:
    rows = json.loads((shared / "llamafactory" / "dpo_zh_demo.json").read_text("utf-8"))
    found = adapt("preference", rows, columns={"prompt": "conversations"})
    for raw, got in zip(rows, found, strict=True):
        assert len(got["turns"]) == len(raw["conversations"]) + 1
        assert json.loads(got["meta"])["rejected"] == raw["rejected"]
