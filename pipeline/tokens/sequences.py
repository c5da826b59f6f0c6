"""Pieces of rows packed into sequences for training, and written."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.arrow import numbers
from pipeline.folder import Folder
from pipeline.input_settings import Cutting
from pipeline.pack import Packing, fill_rate, pack
from pipeline.places import Places
from pipeline.schema import ENCODED, SEQUENCES
from pipeline.tokens.cutting import DROPPED, Pieces
from pipeline.tokens.encode import IGNORED, lists

# Tokens gathered at once: 16 MB of ids and as much of labels.
_BATCH_TOKENS = 1 << 22


def write_sequences(
    target: Folder, name: str, encoded: Places, pieces: Pieces, order: pl.DataFrame, cutting: Cutting
) -> dict[str, Any]:
    """Write the sequences of one split below `name`; returns what became of its rows, in all and per source.

    In: for each row of the split, in order, its place `at` among the encoded rows, its `source`, and its `stage`
    (rows of different stages never share a sequence, and stages follow each other).
    """
    at, stage = order["at"].to_numpy().astype(np.int64), order["stage"].to_numpy()
    counts = np.diff(pieces.bounds)[at]
    row = np.repeat(np.arange(len(at)), counts)
    piece = np.repeat(pieces.bounds[at], counts) + np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    length = pieces.length[piece]
    packing = _packed(length, stage[row], cutting)
    with target.dataset(name, SEQUENCES) as writer:
        ends = np.append(0, np.cumsum(length[packing.order]))[packing.bounds]
        begin = 0
        while begin < len(packing):
            stop = max(begin + 1, int(np.searchsorted(ends, ends[begin] + _BATCH_TOKENS, side="right")) - 1)
            chosen = packing.order[packing.bounds[begin] : packing.bounds[stop]]
            bounds = packing.bounds[begin : stop + 1] - packing.bounds[begin]
            writer.write_batch(_sequences(encoded, at[row[chosen]], row[chosen], pieces, piece[chosen], bounds))
            begin = stop
    sources = order["source"].cast(pl.String)
    return {
        "sequences": len(packing),
        "fill": round(fill_rate(length, packing, cutting.max_length), 6),
        **_tally(pieces, at),
        "sources": {
            str(source): _tally(pieces, at[(sources == source).to_numpy()]) for source in sources.unique().sort()
        },
    }


def _packed(length: np.ndarray, stage: np.ndarray, cutting: Cutting) -> Packing:
    if not cutting.pack:
        return Packing(np.arange(len(length)), np.arange(len(length) + 1))
    orders, bounds = [np.zeros(0, np.int64)], [np.zeros(1, np.int64)]
    for number in np.unique(stage):
        own = np.flatnonzero(stage == number)
        packing = pack(length[own], cutting.max_length)
        bounds.append(packing.bounds[1:] + bounds[-1][-1])
        orders.append(own[packing.order])
    return Packing(np.concatenate(orders), np.concatenate(bounds))


def _sequences(
    encoded: Places, at: np.ndarray, row: np.ndarray, pieces: Pieces, piece: np.ndarray, bounds: np.ndarray
) -> pa.RecordBatch:
    """Sequences with the columns SEQUENCES; sequence *k* has the pieces bounds[k]:bounds[k + 1]."""
    rows = encoded.gather(at)
    start, length = pieces.start[piece], pieces.length[piece]
    lengths = pieces.row_tokens[at]
    values = {name: numbers(rows.column(name).flatten()) for name in ENCODED.names}
    first = np.append(0, np.cumsum(length))
    if not np.array_equal(length, lengths):
        begin = np.cumsum(lengths) - lengths + start
        index = np.repeat(begin - first[:-1], length) + np.arange(first[-1])
        values = {name: column[index] for name, column in values.items()}
    labels = values["labels"].copy()
    labels[first[:-1]] = IGNORED
    tokens = lists(first[bounds], {"input_ids": values["input_ids"], "labels": labels}, ENCODED)
    more = {"seq_lengths": length.astype(np.int32), "rows": row.astype(np.int32), "starts": start.astype(np.int32)}
    back = lists(bounds, more, pa.schema([SEQUENCES.field(name) for name in more]))
    return pa.record_batch([*tokens.columns, *back.columns], schema=SEQUENCES)


def _tally(pieces: Pieces, at: np.ndarray) -> dict[str, Any]:
    """Rows, tokens and target tokens in the sequences, and what was lost on the way there."""
    dropped = np.bincount(pieces.dropped[at], minlength=len(DROPPED) + 1)
    tokens, targets = int(pieces.kept_tokens[at].sum()), int(pieces.kept_targets[at].sum())
    return {
        "rows": int(dropped[0]),
        "tokens": tokens,
        "target_tokens": targets,
        "dropped": {reason: int(count) for reason, count in zip(DROPPED, dropped[1:], strict=True) if count},
        "lost_tokens": int(pieces.row_tokens[at].sum()) - tokens,
        "lost_target_tokens": int(pieces.row_targets[at].sum()) - targets,
    }
