"""Rows cut to the length of a sequence, against doing it row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.input_settings import ON_LONG, Cutting
from pipeline.schema import ENCODED
from pipeline.tokens.cutting import DROPPED, EncodedRows, cut
from pipeline.tokens.encode import IGNORED

# Whether each token of a row is trained on.
Row = list[bool]
row = st.one_of(st.lists(st.booleans(), max_size=14), st.integers(0, 14).map(lambda n: [False] * n))
tables = st.lists(st.lists(st.lists(row, max_size=5), min_size=1, max_size=3), min_size=1, max_size=3)
cuttings = st.builds(Cutting, st.integers(2, 9), st.sampled_from(ON_LONG), st.booleans())


def table(chunks: list[list[Row]]) -> pa.Table:
    """Rows as encoded, in several batches; ids are 1, 2, 3 …"""
    found: list[pa.RecordBatch] = []
    for rows in chunks:
        ids = [list(range(1, len(own) + 1)) for own in rows]
        labels = [
            [k if on else IGNORED for k, on in zip(own, trained, strict=True)]
            for own, trained in zip(ids, rows, strict=True)
        ]
        found.append(pa.record_batch([pa.array(ids, ENCODED.types[0]), pa.array(labels, ENCODED.types[1])], ENCODED))
    return pa.Table.from_batches(found, ENCODED)


def one_by_one(trained: Row, cutting: Cutting) -> tuple[list[tuple[int, int, int]], str | None]:
    """Start, length and trained tokens of each piece, and why there is none."""
    size = cutting.max_length
    if not trained:
        return [], "no_text"
    if len(trained) > size and cutting.on_long == "drop":
        return [], "too_long"
    starts = range(0, len(trained), size) if cutting.on_long == "split" else [0]
    pieces = [(start, len(trained[start : start + size]), sum(trained[start + 1 : start + size])) for start in starts]
    pieces = [piece for piece in pieces if piece[2]]
    return pieces, None if pieces else "no_target"


@given(tables, cuttings)
@settings(max_examples=300)
def test_each_row_is_cut_as_said(chunks: list[list[list[Row]]], cutting: Cutting) -> None:
    pieces = cut([table(own) for own in chunks], cutting)
    rows = [trained for own in chunks for batch in own for trained in batch]
    assert len(pieces.bounds) == len(rows) + 1
    assert pieces.row_tokens.tolist() == [len(trained) for trained in rows]
    assert pieces.row_targets.tolist() == [sum(trained) for trained in rows]
    for k, trained in enumerate(rows):
        own = slice(pieces.bounds[k], pieces.bounds[k + 1])
        found = zip(pieces.start[own].tolist(), pieces.length[own].tolist(), pieces.targets[own].tolist(), strict=True)
        expected, why = one_by_one(trained, cutting)
        assert list(found) == expected
        assert pieces.dropped[k] == (0 if why is None else 1 + DROPPED.index(why))


@given(tables, cuttings)
@settings(max_examples=100)
def test_nothing_is_lost_silently(chunks: list[list[list[Row]]], cutting: Cutting) -> None:
    pieces = cut([table(own) for own in chunks], cutting)
    kept = np.diff(pieces.bounds) > 0
    assert ((pieces.dropped > 0) != kept).all()
    assert (pieces.kept_tokens <= pieces.row_tokens).all()
    assert (pieces.kept_targets <= pieces.row_targets).all()
    assert pieces.kept_tokens.sum() == pieces.length.sum()
    assert pieces.kept_targets.sum() == pieces.targets.sum()
    assert (pieces.kept_tokens[~kept] == 0).all()
    assert (pieces.targets > 0).all()
    assert (pieces.length <= cutting.max_length).all()
    assert (pieces.targets < pieces.length).all(), "the first token has nothing before it"


@given(tables, cuttings, st.data())
@settings(max_examples=60)
def test_a_row_weighs_what_is_left_of_it(chunks: list[list[list[Row]]], cutting: Cutting, data: Any) -> None:
    encoded = EncodedRows([table(own) for own in chunks], cutting)
    rows = [trained for own in chunks for batch in own for trained in batch]
    at = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=6)) if rows else []
    places = pl.Series("at", at, pl.UInt32)
    pieces = [one_by_one(rows[k], cutting)[0] for k in at]
    assert encoded.sizes("rows", places).to_list() == [1] * len(at)
    assert encoded.sizes("tokens", places).to_list() == [sum(piece[1] for piece in own) for own in pieces]
    assert encoded.sizes("target_tokens", places).to_list() == [sum(piece[2] for piece in own) for own in pieces]


@given(st.lists(row, min_size=1, max_size=8), cuttings, st.integers(0, 7))
@settings(max_examples=60)
def test_batches_make_no_difference(rows: list[Row], cutting: Cutting, border: int) -> None:
    whole, parts = cut([table([rows])], cutting), cut([table([rows[:border], rows[border:]])], cutting)
    sliced = cut([table([rows]).slice(0, border), table([rows]).slice(border)], cutting)
    for name in ("bounds", "start", "length", "targets", "row_tokens", "row_targets", "dropped"):
        assert getattr(whole, name).tolist() == getattr(parts, name).tolist() == getattr(sliced, name).tolist()


@pytest.mark.parametrize(
    ("on_long", "pieces"), [("truncate", [(0, 4, 3)]), ("drop", []), ("split", [(0, 4, 3), (4, 4, 3)])]
)
def test_a_last_token_alone_is_no_piece(on_long: str, pieces: list[tuple[int, int, int]]) -> None:
    found = cut([table([[[True] * 9]])], Cutting(4, on_long, pack=True))
    assert list(zip(found.start.tolist(), found.length.tolist(), found.targets.tolist(), strict=True)) == pieces
