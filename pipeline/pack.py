"""Packing: which rows share a training sequence, so that hardly a token of it is padding."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Lengths = npt.NDArray[np.integer]
Int64s = npt.NDArray[np.int64]

# With so many lengths nearly every sum can be made up: more of them fill a sequence no better, and cost time.
_TRIED = 32
# Multiples of it, without their whole part, are spread over 0 to 1, however many there are.
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True)
class Packing:
    """Rows in packed order: sequence k holds rows `order[bounds[k]:bounds[k + 1]]`."""

    order: Int64s
    bounds: Int64s

    def __len__(self) -> int:
        return len(self.bounds) - 1


class _Pattern(NamedTuple):
    """Sequences that hold rows of the same lengths: how many, with how much room, and (length, rows) in each."""

    room: int
    sequences: int
    rows: tuple[tuple[int, int], ...]


def pack(lengths: Lengths, size: int) -> Packing:
    """Pack rows of `lengths` tokens into sequences of at most `size` tokens: as few sequences as can be had quickly.

    Best-fit decreasing comes first. It has used up the short rows when it comes to the end, and there fills whole
    sequences with rows of one length, even if no multiple of it is near `size`. So all sequences with a gap are
    unpacked, and their rows mixed so that they fill each sequence best. Unless that saves a sequence, best fit stays.

    Only lengths matter for this, so counts of rows by length are packed. In the end rows of one length are given
    out by position, to sequences that hold different lengths in turn. Nothing is random. In a sequence rows stand
    by length, the longest first, and equal ones by position.

    Sequences stand where their opener, which is their longest row, stood among the rows. In the order of packing,
    training would go from long rows to short ones. But where a row stands in a mix has nothing to do with how long
    it is, so openers of all lengths alternate as they did in the mix.

    Time: Python steps for each distinct length, not for each row; rows are sorted three times.
    Memory: some 55 bytes a row.
    Raises: ValueError that names the first row that is empty or longer than `size`.
    """
    lengths = lengths.astype(np.int64, casting="same_kind")
    if len(unfit := np.flatnonzero((lengths < 1) | (lengths > size))):
        raise ValueError(f"row {unfit[0]} has {lengths[unfit[0]]:,} tokens (allowed: 1 to {size:,})")
    if not len(lengths):
        return Packing(np.empty(0, np.int64), np.zeros(1, np.int64))
    rows = _by_length(lengths, size)
    sequence, wanted = _slots(_refill(_best_fit(np.bincount(lengths), size), size))
    sequence = sequence[_by_length(wanted, size)]
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


def _by_length(lengths: Int64s, size: int) -> Int64s:
    """Rows by length, the longest first, and equal ones by position."""
    # the narrowest type: up to 16 bits are sorted by radix
    return np.argsort((size - lengths).astype(np.min_scalar_type(size)), kind="stable")


def _best_fit(counts: Int64s, size: int) -> list[_Pattern]:
    """Best-fit decreasing: the longest row first, each into the least room that holds it, else a new sequence.

    In: the number of rows of each length. Rows of one length are placed together: the best fit remains the best fit
    until it has no room for another, so sequences take a full share each, and only the last may get fewer. A full
    share leaves less than half the room, so a pattern has few lengths; and a length adds at most two patterns.
    """
    patterns: list[_Pattern] = []  # by room
    for length in np.flatnonzero(counts)[::-1].tolist():
        missing = int(counts[length])
        best = bisect_left(patterns, length, key=attrgetter("room"))
        placed: list[_Pattern] = []
        while missing:
            opened = _Pattern(size, -(-missing // (size // length)), ())
            room, sequences, rows = patterns.pop(best) if best < len(patterns) else opened
            share = room // length
            full, fewer = divmod(missing, share) if missing < sequences * share else (sequences, 0)
            if full:
                placed.append(_Pattern(room - share * length, full, (*rows, (length, share))))
            if fewer:
                placed.append(_Pattern(room - fewer * length, 1, (*rows, (length, fewer))))
            if untouched := sequences - full - (fewer > 0):
                placed.append(_Pattern(room, untouched, rows))
            missing -= full * share + fewer
        for pattern in placed:
            insort(patterns, pattern, key=attrgetter("room"))
    return patterns


def _refill(patterns: list[_Pattern], size: int) -> list[_Pattern]:
    """Pack the rows of all sequences with room again, if that saves a sequence.

    Minimum bin slack (Gupta and Ho 1999) on counts: the longest row left and the rows that fill its sequence best,
    as often as there are rows for it. It ends early once the padding is too much for it to save a sequence.
    """
    left: Counter[int] = Counter()
    for pattern in patterns:
        if pattern.room:
            left.update({length: number * pattern.sequences for length, number in pattern.rows})
    lengths = sorted(left)
    spare = sum(pattern.room * pattern.sequences for pattern in patterns) - size
    refilled = [pattern for pattern in patterns if not pattern.room]
    while lengths and spare >= 0:
        rows = _fullest(lengths, left, size)
        sequences = min(left[length] // number for length, number in rows.items())
        for length, number in rows.items():
            left[length] -= number * sequences
            if not left[length]:
                del lengths[bisect_left(lengths, length)]
        room = size - sum(length * number for length, number in rows.items())
        refilled.append(_Pattern(room, sequences, tuple(rows.items())))
        spare -= room * sequences
    return refilled if spare >= 0 else patterns


def _fullest(lengths: list[int], left: Counter[int], size: int) -> Counter[int]:
    """The longest row left and the rows that fill its sequence best: how many of each length.

    In: the lengths, ascending, and how many rows of each are left. Bit s of `sums` says that rows of the lengths
    tried so far can sum to s. Long ones are tried first, and no more than it takes: short ones are of use later.
    """
    longest = lengths[-1]
    gap = size - longest
    fitting = bisect_right(lengths, gap)
    sums = 1
    tried: list[tuple[int, int]] = []
    for at in range(fitting - 1, -1, -(fitting // _TRIED + 1)):
        length = lengths[at]
        tried.append((length, sums))
        number = min(left[length] - (length == longest), gap // length)
        while number:
            # halves, quarters … make up every number of rows
            half = (number + 1) // 2
            sums |= sums << half * length
            number -= half
        sums &= (2 << gap) - 1
        if sums >> gap:
            break
    total = sums.bit_length() - 1
    rows = Counter([longest])
    for length, before in reversed(tried):
        while not before >> total & 1:
            total -= length
            rows[length] += 1
    return rows


def _slots(patterns: list[_Pattern]) -> tuple[Int64s, Int64s]:
    """The sequence and the length of each row that the sequences are to hold, sequence by sequence.

    Sequences of a pattern are spread evenly over all, and each pattern begins elsewhere: if they stood together,
    the first rows of a length would all open sequences and the last all fill them up, or the other way round.
    """
    length, number = np.array([row for pattern in patterns for row in pattern.rows]).T
    held = np.array([sum(number for _, number in pattern.rows) for pattern in patterns])
    times = np.array([pattern.sequences for pattern in patterns])
    begin = np.arange(len(patterns)) * _GOLDEN % 1
    kind = np.repeat(np.arange(len(patterns)), times)
    kind = kind[np.argsort((position_ids(times) + begin[kind]) / times[kind], kind="stable")]
    slot = np.repeat((np.cumsum(held) - held)[kind], held[kind]) + position_ids(held[kind])
    return np.repeat(np.arange(len(kind)), held[kind]), np.repeat(length, number)[slot]
