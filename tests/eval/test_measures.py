"""The measures together: which rows they measure, and how their scores are to be read."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval import judge, sandbox
from eval.judge import JUDGE, UndecidedError
from eval.measures import MEASURES, METRICS, SCALES, measure_of
from eval.reply import Reply, read_value
from eval.scores import SCORES, headlines, measures_of
from tests.eval.replies import make_reply

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
ROWS: list[dict[str, Any]] = [
    {},
    {"tags": ["json"], "meta": {"schema": SCHEMA}},
    {"tags": ["json", "zh"], "meta": {"schema": {"type": "list"}}},
    {"tags": ["math", "zh"], "answer": "1/2", "gold": "1/2"},
    {"answer": r"\sqrt{2}"},
    {"tools": [{"name": "tide", "parameters": SCHEMA}], "calls": [{"name": "tide", "arguments": {}}], "gold": None},
]


def row_reply(text: str, row: dict[str, Any]) -> Reply:
    """A reply to one of `ROWS`."""
    calls = row.get("calls")
    reply = make_reply(text, **{name: value for name, value in row.items() if name != "calls"})
    if calls:
        reply.row["messages"][-1]["tool_calls"] = calls
    return reply


def test_every_score_has_its_scale() -> None:
    good = ['{"a": 1}', "{'a': 1}", '{"name": "tide", "arguments": {"a": 1}}', "1/2"]
    seen: set[str] = set()
    for text in good:
        for row in ROWS:
            for measure in MEASURES.values():
                found = measure(row_reply(text, row))
                seen |= set(found.scores) if found else set()
    assert seen | {"perplexity", "bits_per_byte"} == set(SCALES)
    assert all(name == scale.name and scale.worth > 0 for name, scale in SCALES.items())
    assert METRICS[0] == "perplexity"


def test_a_score_of_ones_own_is_read_by_its_values() -> None:
    assert measure_of("usable", share=False) is SCALES["usable"]
    assert (measure_of("rhymes", share=True).scale, measure_of("rhymes", share=True).better) == ("share", 1)
    assert (measure_of("commas", share=False).scale, measure_of("commas", share=False).better) == ("amount", 0)


@pytest.mark.parametrize("row", ROWS)
def test_verdicts_are_numbers_and_notes_can_be_written(row: dict[str, Any]) -> None:
    for text in ("", "1/2", '{"a": "b"}', "<|im_end|>" * 30, "\\boxed{\\sqrt{2}}", "\u0000\ufffe"):
        for name, measure in MEASURES.items():
            found = measure(row_reply(text, row))
            if found is not None:
                assert all(isinstance(score, float) for score in found.scores.values()), name
                assert all(score in (0, 1) for key, score in found.scores.items() if SCALES[key].scale == "share")
                json.dumps(found.notes)


@settings(max_examples=200)  # the first question starts a process
@given(st.text(max_size=60), st.sampled_from(ROWS))
def test_no_reply_raises_and_verdicts_repeat(text: str, row: dict[str, Any]) -> None:
    for measure in MEASURES.values():
        assert measure(row_reply(text, row)) == measure(row_reply(text, row))


@pytest.mark.parametrize("text", ["", "x" * 100_000, "[" * 100_000, "9" * 5000, "\ud800", "9**9**9", "Infinity"])
@pytest.mark.parametrize("row", ROWS)
def test_dirty_replies_are_judged_by_all(text: str, row: dict[str, Any]) -> None:
    for measure in MEASURES.values():
        measure(row_reply(text, row))


def test_a_row_with_nothing_in_it_is_judged() -> None:
    for measure in MEASURES.values():
        measure(replace(make_reply("Twelve."), row={}))
        measure(replace(make_reply("Twelve."), row={"messages": [], "tags": None, "tools": None, "meta": "{"}))


def test_threads_share_the_judge() -> None:
    found: dict[int, Any] = {}

    def ask(number: int) -> None:
        for _ in range(20):
            found[number] = JUDGE.ask("conform", text=str(number), schema={"const": number})

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: {"violation": None} for number in range(8)}


def test_the_judge_comes_back_after_it_was_kept_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "_SECONDS", 0.5)
    with pytest.raises(UndecidedError):
        JUDGE.ask("conform", text=json.dumps("a" * 40 + "!"), schema={"pattern": "^(a+)+$"})
    monkeypatch.undo()
    assert JUDGE.ask("conform", text="1", schema={}) == {"violation": None}


def test_what_a_library_runs_into_is_said_and_a_missing_one_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sandbox.answered({"do": "conform", "what": {"text": "NaN", "schema": {}}}) == {
        "undecided": "NotJsonError: nan: NaN is no JSON"
    }
    monkeypatch.setitem(sys.modules, "json_repair", None)
    assert sandbox.answered({"do": "repair", "what": {"text": "{"}}) == {"missing": "json_repair"}


@pytest.mark.parametrize("value", [None, 7, [1], {"a": 1}])
def test_columns_of_json_come_as_values_or_as_text(value: Any) -> None:
    assert read_value(value) == read_value(json.dumps(value)) == value
    assert read_value("{") is None
    assert read_value("[" * 100_000) is None


@pytest.mark.parametrize("module", ["measures", "compare"])
def test_measures_and_comparisons_load_none_of_the_heavy_libraries(module: str) -> None:
    code = f"import sys, eval.{module}; print([n for n in sys.modules if n in sys.argv[1:]])"
    heavy = ["torch", "sympy", "math_verify", "json_repair", "jsonschema", "transformers", "datasets"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_bits_per_byte_stand_for_perplexity_where_models_have_other_target_tokens() -> None:
    def scores(tokens: float) -> pl.DataFrame:
        lines = [
            ("m", "a", "perplexity", 4.0, tokens),
            ("m", "a", "bits_per_byte", 5.8, 9.0),
            ("m", "a", "usable", 1, 1),
        ]
        return pl.DataFrame(lines, SCORES, orient="row")

    def names(*arms: pl.DataFrame) -> list[str]:
        return [measure.name for measure in headlines(measures_of(arms[0]), [[arm] for arm in arms])]

    assert names(scores(3), scores(3)) == ["perplexity", "usable"]
    assert names(scores(3), scores(4)) == ["bits_per_byte", "usable"]
