"""Keys are hashes of canonical JSON that anyone can write with `json.dumps`."""

import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.keys import ContentDigest, canonical, hex128, json_object, quoted, rank, text_bytes
from pipeline.schema import TURN_COLUMNS

quick = settings(max_examples=80)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
calls = st.sampled_from(
    [None, '[{"id":"c1","type":"function","function":{"name":"f","arguments":{"题":[1,"x"],"a":null}}}]', "[1,2]"]
)
messages = st.fixed_dictionaries(
    {"role": texts, "content": texts},
    optional={
        "reasoning_content": texts,
        "tool_calls": calls,
        "tool_call_id": texts,
        "name": texts,
        "weight": st.sampled_from([0.0, 0.5, 1.0, -2.25, None]),
    },
)
rows = st.fixed_dictionaries(
    {"messages": st.lists(messages, min_size=1, max_size=4)},
    optional={"tools": st.sampled_from(['[{"type":"function","function":{"name":"f"}}]', '[{"题":"x"}]'])},
)
ORDER = [name for name in TURN_COLUMNS if name != "i"]


def frames(some: list[dict[str, Any]]) -> tuple[pl.DataFrame, np.ndarray, pl.Series]:
    turns = [
        {name: turn.get(name) for name in ORDER} | {"i": i} for i, row in enumerate(some) for turn in row["messages"]
    ]
    offsets = np.cumsum([0, *(len(row["messages"]) for row in some)]).astype(np.int64)
    tools = pl.Series([row.get("tools") for row in some], dtype=pl.String)
    return pl.DataFrame(turns, schema=TURN_COLUMNS), offsets, tools


def plain(row: dict[str, Any], last: int | None = None) -> str:
    """The definition: what `json.dumps` says of the row without nulls, in the order of the schema."""
    turns = []
    for turn in row["messages"][:last]:
        present = {name: turn[name] for name in ORDER if turn.get(name) is not None}
        if "tool_calls" in present:
            present["tool_calls"] = json.loads(present["tool_calls"])
        turns.append(present)
    tools = {"tools": json.loads(row["tools"])} if row.get("tools") else {}
    return json.dumps({"messages": turns, **tools}, ensure_ascii=False, separators=(",", ":"))


def digest(text: str) -> str:
    return xxhash.xxh3_128_hexdigest(text.encode())


@quick
@given(st.lists(rows, min_size=1, max_size=5))
def test_canonical_json_is_what_json_dumps_writes(some: list[dict[str, Any]]) -> None:
    done = canonical(*frames(some))
    assert done["canonical"].to_list() == [plain(row) for row in some]


@quick
@given(st.lists(rows, min_size=1, max_size=5))
def test_keys_are_hashes_of_the_row_and_of_what_stands_before_its_last_message(some: list[dict[str, Any]]) -> None:
    done = canonical(*frames(some))
    assert done["key"].to_list() == [digest(plain(row)) for row in some]
    assert done["prompt_key"].to_list() == [digest(plain(row, -1)) for row in some]


@quick
@given(rows, st.lists(rows, max_size=3), st.lists(rows, max_size=3))
def test_a_key_depends_on_nothing_but_the_row(
    row: dict[str, Any], before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> None:
    alone = canonical(*frames([row])).row(0)
    assert canonical(*frames([*before, row, *after])).row(len(before)) == alone


@quick
@given(rows, rows)
def test_equal_keys_mean_equal_content(a: dict[str, Any], b: dict[str, Any]) -> None:
    keys = canonical(*frames([a, b]))["key"]
    assert (keys[0] == keys[1]) == (plain(a) == plain(b))


def test_the_boundary_between_messages_counts() -> None:
    one = {"messages": [{"role": "user", "content": 'a"},{"role":"user","content":"b'}]}
    two = {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}
    assert canonical(*frames([one, two]))["key"].n_unique() == 2


def test_many_question_and_answer_rows_have_the_keys_they_have_one_by_one() -> None:
    some = [
        {"messages": [{"role": "user", "content": f"q{k}"}, {"role": "assistant", "content": "a"}]} for k in range(50)
    ]
    longer = {"messages": [{"role": "system", "content": "s"}, *some[0]["messages"]]}
    together = canonical(*frames([*some, longer]))
    assert together["key"].to_list()[:50] == canonical(*frames(some))["key"].to_list()


@quick
@given(st.lists(st.none() | texts, min_size=1, max_size=5))
def test_quoted_text_is_a_json_literal(some: list[str | None]) -> None:
    done = pl.DataFrame({"x": pl.Series(some, dtype=pl.String)}).select(quoted(pl.col("x"))).to_series().to_list()
    assert done == [None if text is None else json.dumps(text, ensure_ascii=False) for text in some]


@quick
@given(st.lists(texts, max_size=4, unique=True), st.data())
def test_an_object_leaves_nulls_out_and_keeps_the_order(names: list[str], data: st.DataObject) -> None:
    values = [data.draw(st.none() | texts) for _ in names]
    frame = pl.DataFrame({str(k): pl.Series([value], dtype=pl.String) for k, value in enumerate(values)})
    fields = [(name, quoted(pl.col(str(k)))) for k, name in enumerate(names)]
    [done] = frame.select(json_object(fields).alias("o"))["o"].to_list() if names else ["{}"]
    expected = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    assert done == json.dumps(expected, ensure_ascii=False, separators=(",", ":"))


@quick
@given(st.lists(texts, min_size=1, max_size=6))
def test_hashes_are_those_of_the_xxhash_package(some: list[str]) -> None:
    assert pl.DataFrame({"x": some}).select(hex128("x"))["x"].to_list() == [digest(text) for text in some]


@quick
@given(st.lists(texts, min_size=1, max_size=6), st.lists(texts, max_size=3), st.integers(0, 2**63), texts)
def test_ranks_do_not_move_when_rows_come(some: list[str], more: list[str], seed: int, purpose: str) -> None:
    ranks = pl.DataFrame({"key": some}).select(rank(seed, purpose, "key")).to_series()
    with_more = pl.DataFrame({"key": more + some}).select(rank(seed, purpose, "key")).to_series()
    expected = [xxhash.xxh3_64_intdigest(f"{seed}\x1f{purpose}\x1f{key}".encode()) for key in some]
    assert ranks.to_list() == with_more.to_list()[len(more) :] == expected


def test_ranks_of_another_seed_or_purpose_are_another_order() -> None:
    keys = pl.DataFrame({"key": [digest(str(k)) for k in range(100)]})
    orders = {
        tuple(keys.select(rank(seed, purpose, "key")).to_series().arg_sort())
        for seed in (1, 2)
        for purpose in ("train", "validation")
    }
    assert len(orders) == 4


digest_rows = st.lists(st.tuples(texts, texts, st.integers(0, 5)), max_size=8)


def digest_frame(some: list[tuple[str, str, int]]) -> pl.DataFrame:
    return pl.DataFrame(some, schema={"id": pl.String, "key": pl.String, "epoch": pl.Int32}, orient="row")


@quick
@given(digest_rows, st.lists(st.integers(0, 8), max_size=3))
def test_a_digest_does_not_depend_on_how_it_is_fed(some: list[tuple[str, str, int]], cuts: list[int]) -> None:
    state = ContentDigest()
    places = sorted([0, *(min(cut, len(some)) for cut in cuts), len(some)])
    for start, end in pairwise(places):
        state.update(digest_frame(some)[start:end])
    assert state.hexdigest() == digest("".join(f"{i}\x1f{key}\x1f{epoch}\n" for i, key, epoch in some))


def test_a_digest_sees_order_and_epoch() -> None:
    def of(*some: tuple[str, str, int]) -> str:
        state = ContentDigest()
        state.update(digest_frame(list(some)))
        return state.hexdigest()

    a, b = ("s:0", "k0", 0), ("s:1", "k1", 0)
    assert len({of(a, b), of(b, a), of(a), of(a, ("s:1", "k1", 1)), of()}) == 5


@quick
@given(st.lists(texts, max_size=6), st.integers(0, 6), st.integers(0, 6))
def test_text_bytes_are_the_characters_of_a_slice(some: list[str], start: int, count: int) -> None:
    array = pl.Series(some, dtype=pl.String).to_arrow().cast("large_string").slice(min(start, len(some)), count)
    assert bytes(text_bytes(array)) == "".join(some[start : start + count]).encode()


def test_a_weight_is_a_json_number() -> None:
    weights = [1e-7, 1e16, 1e300, 0.1, 1 / 3, 5e-324, 123456789.123]
    some = [{"messages": [{"role": "user", "content": "x", "weight": weight}]} for weight in weights]
    done = [json.loads(text)["messages"][0]["weight"] for text in canonical(*frames(some))["canonical"]]
    assert all(math.isclose(got, weight, rel_tol=0) for got, weight in zip(done, weights, strict=True))
