"""Rows cut to the length of a sequence: what is left of each, and what is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.arrow import numbers
from pipeline.input_settings import Cutting
from pipeline.places import Places
from pipeline.tokens.encode import IGNORED

DROPPED = ("no_text", "too_long", "no_target")  # why a row has no tokens in the sequences


@dataclass(frozen=True)
class Pieces:
    """What is left of rows after cutting: stretches of their tokens, those of row *k* from bounds[k] on.

    `start` and `length` are in tokens of the row, `targets` counts the tokens trained on. For each row: `tokens` it
    has, `targets` among them, and `dropped` (1 + place in DROPPED, 0: not dropped).
    """

    bounds: np.ndarray
    start: np.ndarray
    length: np.ndarray
    targets: np.ndarray
    row_tokens: np.ndarray
    row_targets: np.ndarray
    dropped: np.ndarray

    @cached_property
    def kept_tokens(self) -> np.ndarray:
        """Tokens of each row that are left."""
        return _sums(self.length, self.bounds)

    @cached_property
    def kept_targets(self) -> np.ndarray:
        """Tokens of each row that are left and trained on."""
        return _sums(self.targets, self.bounds)


def cut(tables: Sequence[pa.Table], cutting: Cutting) -> Pieces:
    """Cut the rows of tables with the columns ENCODED.

    The first token of a piece is never trained on, since nothing stands before it to predict it from. A piece without
    a token to train on is dropped.
    """
    lengths, targets = _measure(tables)
    size = cutting.max_length
    longer = lengths > size
    count = np.where(lengths == 0, 0, 1)
    if cutting.on_long == "drop":
        count[longer] = 0
    elif cutting.on_long == "split":
        count = -(-lengths // size)
    row = np.repeat(np.arange(len(lengths)), count)
    start = (np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)) * size
    length = np.minimum(lengths[row] - start, size)
    trained = _targets_of(tables, lengths, targets, row, start, length)
    good = trained > 0
    kept = np.bincount(row[good], minlength=len(lengths))
    dropped = np.zeros(len(lengths), np.int8)
    dropped[(kept == 0) & (count > 0)] = 1 + DROPPED.index("no_target")
    dropped[longer & (count == 0)] = 1 + DROPPED.index("too_long")
    dropped[lengths == 0] = 1 + DROPPED.index("no_text")
    bounds = np.append(0, np.cumsum(kept))
    return Pieces(bounds, start[good], length[good], trained[good], lengths, targets, dropped)


def _measure(tables: Sequence[pa.Table]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of each row, and how many of them are trained on."""
    lengths: list[np.ndarray] = [np.zeros(0, np.int64)]
    targets: list[np.ndarray] = [np.zeros(0, np.int64)]
    for labels in _label_chunks(tables):
        own = numbers(labels.value_lengths()).astype(np.int64)
        trained = np.append(0, np.cumsum(numbers(labels.flatten()) != IGNORED))
        bounds = np.append(0, np.cumsum(own))
        lengths.append(own)
        targets.append(trained[bounds[1:]] - trained[bounds[:-1]])
    return np.concatenate(lengths), np.concatenate(targets)


def _label_chunks(tables: Sequence[pa.Table]) -> list[pa.ListArray]:
    return [chunk for table in tables for chunk in table["labels"].chunks]


def _targets_of(
    tables: Sequence[pa.Table],
    lengths: np.ndarray,
    targets: np.ndarray,
    row: np.ndarray,
    start: np.ndarray,
    length: np.ndarray,
) -> np.ndarray:
    """How many tokens of each piece are trained on, its first token left out."""
    first = np.append(0, np.cumsum(lengths))
    chunks = _label_chunks(tables)
    rows = np.append(0, np.cumsum([len(chunk) for chunk in chunks]))
    found = targets[row].copy()
    for k, chunk in enumerate(chunks):
        labels = numbers(chunk.flatten())
        own = slice(*np.searchsorted(row, rows[k : k + 2]))
        at = first[row[own]] - first[rows[k]] + start[own]
        found[own] -= labels[at] != IGNORED
        part = np.flatnonzero(length[own] < lengths[row[own]])
        for piece in part.tolist():  # few: only rows longer than `max_length`
            begin = int(at[piece])
            found[own.start + piece] = np.count_nonzero(labels[begin + 1 : begin + int(length[own][piece])] != IGNORED)
    return found


def _sums(values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    total = np.append(0, np.cumsum(values))
    return total[bounds[1:]] - total[bounds[:-1]]


class EncodedRows:
    """Encoded rows end to end, and what cutting leaves of each."""

    def __init__(self, tables: Sequence[pa.Table], cutting: Cutting) -> None:
        self.places = Places(tables)
        self.pieces: Pieces = cut(tables, cutting)

    def sizes(self, unit: str, at: pl.Series) -> pl.Series:
        """How much each of these rows weighs in a mix: 1, or its tokens or target tokens left after cutting."""
        if unit == "rows":
            return pl.select(pl.repeat(1, len(at), dtype=pl.Int64)).to_series()
        counts = self.pieces.kept_tokens if unit == "tokens" else self.pieces.kept_targets
        return pl.Series(counts[at.to_numpy()])
