"""Packing: which rows share a training sequence, so that hardly a token of it is padding."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Lengths = npt.NDArray[np.integer]
Int64s = npt.NDArray[np.int64]

# An open sequence is one number: its room, and in the low bits when it was opened. Sorted, the best fit comes first.
_OPENED = 32


@dataclass(frozen=True, slots=True)
class Packing:
    """Rows in packed order: sequence k holds rows `order[bounds[k]:bounds[k + 1]]`."""

    order: Int64s
    bounds: Int64s

    def __len__(self) -> int:
        return len(self.bounds) - 1


def pack(lengths: Lengths, size: int) -> Packing:
    """Pack rows of `lengths` tokens into sequences of at most `size` tokens: best-fit decreasing over all rows.

    Rows come by length, the longest first, and equal ones by position. Each goes into the open sequence with the
    least room that still holds it, of several the one opened first, and else opens a new one. That is the order of
    rows within a sequence. Nothing is random.

    Sequences stand where their opener, which is their longest row, stood among the rows. In the order of opening,
    training would go from long rows to short ones. But where a row stands in a mix has nothing to do with how long
    it is, so openers of all lengths alternate as they did in the mix. (Not quite evenly: of equal rows the earlier
    fill gaps and the later open sequences, so openers are longest at the beginning.)

    Time: a few operations on arrays for each distinct length, and in all as much work as there are rows to sort.
    Memory: some 50 bytes a row.
    Raises: ValueError that names the first row that is empty or longer than `size`.
    """
    lengths = lengths.astype(np.int64, casting="same_kind")
    if len(unfit := np.flatnonzero((lengths < 1) | (lengths > size))):
        raise ValueError(f"row {unfit[0]} has {lengths[unfit[0]]:,} tokens (allowed: 1 to {size:,})")
    if not len(lengths):
        return Packing(np.empty(0, np.int64), np.zeros(1, np.int64))
    # the narrowest type: up to 16 bits are sorted by radix
    rows = np.argsort((size - lengths).astype(np.min_scalar_type(size)), kind="stable")
    sequence = _best_fit(lengths[rows], size)
    held = np.bincount(sequence)
    # written from behind, so a sequence's opener is what remains
    opener = np.empty(len(held), np.int64)
    opener[sequence[::-1]] = rows[::-1]
    by_opener = np.argsort(opener)
    rank = np.empty_like(opener)
    rank[by_opener] = np.arange(len(rank))
    bounds = np.concatenate([[0], np.cumsum(held[by_opener])])
    return Packing(rows[np.argsort(rank[sequence], kind="stable")], bounds)


def fill_rate(lengths: Lengths, packing: Packing, size: int) -> float:
    """The share of the sequences' `len(packing) * size` tokens that rows fill; 1 where there is no sequence."""
    return int(lengths.sum()) / (len(packing) * size) if len(packing) else 1.0


def position_ids(seq_lengths: Lengths) -> Int64s:
    """Positions of the tokens of documents laid end to end: 0, 1, 2 … and from 0 again where the next begins."""
    ends = np.cumsum(seq_lengths, dtype=np.int64)
    starts = ends - seq_lengths
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(starts, seq_lengths)


def _best_fit(lengths: Int64s, size: int) -> Int64s:
    """The sequence of each row, numbered as they are opened. In: at least one length, in descending order.

    Rows of one length are placed together. The best fit remains the best fit until it has no room for another row
    of that length: nothing has less room and could still hold one. So sequences, in their order, each take all that
    they hold, and then new ones are opened that do the same.
    """
    begins = np.flatnonzero(np.diff(lengths, prepend=0))
    distinct: list[int] = lengths[begins].tolist()
    counts: list[int] = np.diff(begins, append=len(lengths)).tolist()
    sequences = _OpenSequences(distinct, len(lengths))
    opened = 0
    placed: list[Int64s] = []
    for length, count in zip(distinct, counts, strict=True):
        keys = sequences.best_fits(length, count)
        rows = (keys >> _OPENED) // length
        if (missing := count - int(rows.sum())) > 0:
            more = -(-missing // (size // length))
            keys = np.concatenate([keys, (size << _OPENED) + np.arange(opened, opened + more)])
            rows = np.concatenate([rows, np.full(more, size // length)])
            opened += more
        rows[-1] -= int(rows.sum()) - count
        placed.append(np.repeat(keys & ((1 << _OPENED) - 1), rows))
        sequences.give_back(keys - (rows * length << _OPENED), length)
    return np.concatenate(placed)


class _OpenSequences:
    """The sequences that are not full, while the length of the rows to place goes down.

    Those with room for the present length are a stack with the best fit on top. One that has taken what it holds is
    below all of these, and comes back as the new top when the length has gone down to its room. Until then it waits
    unsorted: near the present length, or far below it, so that most are not looked at with every length.
    """

    def __init__(self, distinct: list[int], rows: int) -> None:
        window = math.isqrt(len(distinct))
        self._floors = [*distinct[:-1:window], distinct[-1]][::-1]
        self._floor = self._floors.pop()
        self._shortest = distinct[-1]
        self._stack = np.empty(rows, np.int64)
        self._height = 0
        self._near: list[Int64s] = []
        self._far: list[Int64s] = []

    def best_fits(self, length: int, count: int) -> Int64s:
        """Take out the sequences that `count` rows of `length` go into, the best first: all there are, if too few."""
        while length < self._floor:
            self._floor = self._floors.pop()
            near, self._far = _with_room(self._far, self._floor)
            self._near.append(near)
        fitting, self._near = _with_room(self._near, length)
        self._push(np.sort(fitting)[::-1])
        top = self._stack[max(0, self._height - count) : self._height][::-1]
        enough = int(np.searchsorted(np.cumsum((top >> _OPENED) // length), count)) + 1
        taken = top[:enough].copy()
        self._height -= len(taken)
        return taken

    def give_back(self, keys: Int64s, length: int) -> None:
        """Take back sequences that rows of `length` were placed in. The last may have room for more of them."""
        if keys[-1] >= length << _OPENED:
            self._push(keys[-1:])
            keys = keys[:-1]
        near, rest = _with_room([keys], self._floor)
        useful, _ = _with_room(rest, self._shortest)
        self._near.append(near)
        self._far.append(useful)

    def _push(self, keys: Int64s) -> None:
        self._stack[self._height : self._height + len(keys)] = keys
        self._height += len(keys)


def _with_room(waiting: list[Int64s], room: int) -> tuple[Int64s, list[Int64s]]:
    """Those with at least this room, and the others."""
    if not waiting:
        return np.empty(0, np.int64), []
    keys = np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
    enough = keys >= room << _OPENED
    return keys[enough], [keys[~enough]]
