"""Ids by gigatoken, which gives no offsets, and where targets begin and end among them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.arrow import numbers
from pipeline.keys import text_bytes
from pipeline.tokens.codec import Codec, Span


@dataclass(frozen=True)
class Ids:
    """Ids and whether they are trained on, flat, and how many each row has."""

    ids: np.ndarray
    trained: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Targets:
    """`targets` flat: row *k* has starts[bounds[k]:bounds[k + 1]] and ends likewise, in characters."""

    bounds: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    @staticmethod
    def of(column: pa.Array) -> Targets:
        lengths = numbers(column.value_lengths()).astype(np.int64)
        starts, ends = column.flatten().flatten()
        return Targets(np.append(0, np.cumsum(lengths)), numbers(starts), numbers(ends))

    def of_rows(self, at: np.ndarray) -> list[list[Span]]:
        starts, ends = self.starts.tolist(), self.ends.tolist()
        pairs = [(int(self.bounds[k]), int(self.bounds[k + 1])) for k in at]
        return [list(zip(starts[a:b], ends[a:b], strict=True)) for a, b in pairs]


def quick_ids(text: pl.Series, targets: Targets, plain: np.ndarray, codec: Codec) -> tuple[Ids | None, np.ndarray]:
    """gigatoken's ids of the rows `plain`, and the rows among them for which it cannot say where targets begin.

    It gives no offsets. So each text is encoded twice, as a whole and cut at the borders of its targets; where both
    give the same ids, the borders lie between tokens, and which.
    """
    texts = text.gather(plain)
    separator = next((token for token in codec.file.special if not texts.str.contains(token, literal=True).any()), None)
    if separator is None:
        return None, plain
    number, mark = codec.file.special[separator], separator.encode()
    cuts, trained, each = _cuts(texts, targets, plain)
    data = bytes(text_bytes(texts.to_arrow().cast(pa.large_string())))
    bounds = np.append(0, np.cumsum(texts.str.len_bytes().to_numpy().astype(np.int64))).tolist()
    whole = codec.fast.encode(mark.join([data[a:b] for a, b in pairwise(bounds)]))
    parts = codec.fast.encode(mark.join([data[a:b] for a, b in pairwise(cuts)]))
    ids, counts = _without(whole, number)
    other, part_counts = _without(parts, number)
    if len(counts) != len(plain) or len(part_counts) != len(trained):
        return None, plain
    first = np.append(0, np.cumsum(each))[:-1]
    other_counts = np.add.reduceat(part_counts, first)
    wrong = _rows_that_differ(ids, counts, other, other_counts)
    wrong[_row_of(counts, np.flatnonzero(ids >= codec.size))] = True  # bytes that the vocabulary lacks
    flags = np.repeat(trained, part_counts)
    if wrong.any():  # their flags may be too many or too few
        keep = np.repeat(~np.repeat(wrong, each), part_counts)
        filled = np.zeros(len(ids), dtype=bool)
        filled[np.repeat(~wrong, counts)] = flags[keep]
        flags = filled
    return Ids(ids.astype(np.int32), flags, counts), plain[wrong]


def _cuts(texts: pl.Series, targets: Targets, plain: np.ndarray) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Where the joined texts are cut, in bytes: at each row and each border of a target.

    Also whether each piece is trained on, and how many pieces each row has: one more than twice its targets.
    """
    spans = np.diff(targets.bounds)[plain]
    row = np.repeat(np.arange(len(plain)), spans)
    inside = np.arange(len(row)) - np.append(0, np.cumsum(spans))[row]
    flat = targets.bounds[plain][row] + inside
    lengths = texts.str.len_bytes().to_numpy().astype(np.int64)
    starts = np.append(0, np.cumsum(lengths))
    borders = [
        _bytes_before(texts, lengths, row, chars[flat].astype(np.int64)) + starts[row]
        for chars in (targets.starts, targets.ends)
    ]
    each = 2 * spans + 1
    cuts = np.empty(int(each.sum()) + 1, np.int64)
    first = np.append(0, np.cumsum(each))
    cuts[first] = starts
    place = first[row] + 1 + 2 * inside
    cuts[place], cuts[place + 1] = borders
    trained = np.zeros(int(each.sum()), dtype=bool)
    trained[place] = True
    return cuts.tolist(), trained, each


def _bytes_before(texts: pl.Series, lengths: np.ndarray, row: np.ndarray, chars: np.ndarray) -> np.ndarray:
    """The bytes that the first `chars` characters of a row's text take."""
    wide = lengths != texts.str.len_chars().to_numpy()
    if not wide.any():
        return chars
    at = np.flatnonzero(wide[row])
    frame = pl.DataFrame({"text": texts.gather(row[at]), "chars": chars[at]})
    found = chars.copy()
    found[at] = frame.select(pl.col("text").str.head(pl.col("chars")).str.len_bytes())["text"].to_numpy()
    return found


def _without(ids: np.ndarray, separator: int) -> tuple[np.ndarray, np.ndarray]:
    """The ids without separators, and how many stood before, between and after these."""
    at = np.flatnonzero(ids == separator)
    counts = np.diff(np.concatenate([[-1], at, [len(ids)]])) - 1
    return np.delete(ids, at), counts


def _rows_that_differ(ids: np.ndarray, counts: np.ndarray, other: np.ndarray, other_counts: np.ndarray) -> np.ndarray:
    """Whether each row has other ids, or another number of them, the one way than the other way."""
    wrong = counts != other_counts
    if wrong.any():
        ids, other = ids[np.repeat(~wrong, counts)], other[np.repeat(~wrong, other_counts)]
    unequal = np.flatnonzero(ids != other)
    if len(unequal):
        same = np.flatnonzero(~wrong)
        wrong[same[_row_of(counts[same], unequal)]] = True
    return wrong


def _row_of(counts: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The row that each of these ids, by its place in all, belongs to."""
    return np.searchsorted(np.cumsum(counts), ids, side="right")
