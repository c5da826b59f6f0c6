from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.pack import Packing, fill_rate, pack, position_ids

Input = tuple[list[int], int]

TEMPLATE = 36


@st.composite
def inputs(draw: st.DrawFn) -> Input:
    """Lengths and a size; lengths from few values as well as from many, so that all kinds of ties come up."""
    size = draw(st.integers(1, 300))
    longest = draw(st.integers(1, size))
    length = draw(st.sampled_from([st.integers(1, longest), st.sampled_from([1, longest, (longest + 1) // 2])]))
    return draw(st.lists(length, max_size=150)), size


def sequences(packing: Packing) -> list[list[int]]:
    return [part.tolist() for part in np.split(packing.order, packing.bounds[1:-1])] if len(packing) else []


def packed(lengths: list[int], size: int) -> Packing:
    return pack(np.array(lengths, np.int64), size)


def with_template(rows: int) -> npt.NDArray[np.int64]:
    """Lengths of short chats: all rows have the tokens of the template, so none is very short."""
    lengths = np.random.default_rng(0).lognormal(np.log(100), 0.8, rows).astype(np.int64)
    return np.clip(lengths, 1, 1_024 - TEMPLATE) + TEMPLATE


def row_by_row(lengths: list[int], size: int) -> list[list[int]]:
    """Best-fit decreasing as a textbook has it: one row after the other, all open sequences looked at."""
    held: list[list[int]] = []
    room: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        fits = [number for number in range(len(held)) if room[number] >= lengths[row]]
        if not fits:
            held.append([])
            room.append(size)
            fits = [len(held) - 1]
        best = min(fits, key=lambda number: (room[number], number))
        held[best].append(row)
        room[best] -= lengths[row]
    return sorted(held)


@given(inputs())
@settings(max_examples=300)
def test_there_are_never_more_sequences_than_with_best_fit_decreasing(given: Input) -> None:
    assert len(packed(*given)) <= len(row_by_row(*given))


@pytest.mark.parametrize("seed", range(3))
def test_a_few_thousand_rows_need_no_more_sequences_than_with_best_fit_decreasing(seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths = np.clip(random.lognormal(np.log(100), 1, 2_000).astype(int), 1, 1_024)
    assert len(pack(lengths, 1_024)) <= len(row_by_row(lengths.tolist(), 1_024))


def test_rows_of_lengths_that_fill_no_sequence_alone_are_mixed_until_they_do() -> None:
    lengths = [63, 62, 61, 59, 58, 57] * 600
    best_fit = row_by_row(lengths, 1_024)
    packing = packed(lengths, 1_024)
    assert len(packing) < len(best_fit)
    assert fill_rate(np.array(lengths), packing, 1_024) > 0.99
    assert sum(lengths) / (len(best_fit) * 1_024) < 0.97


def test_rows_with_a_template_of_constant_length_leave_hardly_any_padding() -> None:
    lengths = with_template(50_000)
    assert fill_rate(lengths, pack(lengths, 1_024), 1_024) > 0.999


def test_long_sequences_of_rows_of_thousands_of_lengths_leave_hardly_any_padding() -> None:
    lengths = np.random.default_rng(0).integers(4_000, 12_000, 20_000)
    assert fill_rate(lengths, pack(lengths, 32_768), 32_768) > 0.99


@given(st.integers(1, 200), st.integers(1, 40), st.integers(0, 500))
def test_equal_rows_take_as_many_sequences_as_hold_them(size: int, length: int, count: int) -> None:
    length = min(length, size)
    assert len(packed([length] * count, size)) == -(-count // (size // length))


@given(inputs())
def test_every_row_stands_in_one_sequence_and_none_is_too_long(given: Input) -> None:
    lengths, size = given
    packing = packed(lengths, size)
    assert sorted(packing.order.tolist()) == list(range(len(lengths)))
    assert packing.bounds[0] == 0
    assert packing.bounds[-1] == len(lengths)
    assert packing.order.dtype == packing.bounds.dtype == np.int64
    for rows in sequences(packing):
        assert 0 < sum(lengths[row] for row in rows) <= size


@given(inputs())
def test_no_two_sequences_would_fit_into_one(given: Input) -> None:
    lengths, size = given
    used = sorted(sum(lengths[row] for row in rows) for rows in sequences(packed(lengths, size)))
    assert len(used) < 2 or used[0] + used[1] > size


@given(inputs())
def test_rows_stand_by_length_and_sequences_by_their_opener(given: Input) -> None:
    lengths, size = given
    parts = sequences(packed(lengths, size))
    for rows in parts:
        assert rows == sorted(rows, key=lambda row: (-lengths[row], row))
    assert [rows[0] for rows in parts] == sorted(rows[0] for rows in parts)


def test_a_hundred_thousand_rows_leave_hardly_any_padding_and_pack_the_same_again() -> None:
    lengths = np.clip(np.random.default_rng(0).lognormal(np.log(100), 0.8, 100_000).astype(int), 1, 1_024)
    packing = pack(lengths, 1_024)
    assert fill_rate(lengths, packing, 1_024) > 0.9998
    assert np.array_equal(np.sort(packing.order), np.arange(len(lengths)))
    assert np.add.reduceat(lengths[packing.order], packing.bounds[:-1]).max() <= 1_024
    again = pack(lengths.astype(np.uint32), 1_024)
    assert np.array_equal(again.order, packing.order)
    assert np.array_equal(again.bounds, packing.bounds)


@pytest.mark.parametrize("template", [False, True])
def test_training_does_not_go_from_long_rows_to_short_ones(template: bool) -> None:
    lengths = with_template(50_000) if template else with_template(50_000) - TEMPLATE
    packing = pack(lengths, 1_024)
    openers = lengths[packing.order[packing.bounds[:-1]]]
    tenths = [tenth.mean() for tenth in np.array_split(openers, 10)]
    assert max(tenths) < 1.25 * min(tenths)


def test_fill_is_the_share_of_tokens_that_are_not_padding() -> None:
    assert fill_rate(np.array([3, 5, 4]), packed([3, 5, 4], 8), 8) == 12 / 16
    assert fill_rate(np.array([], np.int64), packed([], 8), 8) == 1


def test_no_rows_are_no_sequences() -> None:
    packing = packed([], 8)
    assert len(packing) == 0
    assert packing.bounds.tolist() == [0]


@pytest.mark.parametrize(
    ("lengths", "found"),
    [
        ([8, 9, 10], "row 1 has 9 tokens"),
        ([8, 0], "row 1 has 0 tokens"),
        ([-1], "row 0 has -1 tokens"),
        ([1, 2_000], "row 1 has 2,000 tokens"),
    ],
)
def test_a_row_that_fits_nowhere_is_named(lengths: list[int], found: str) -> None:
    with pytest.raises(ValueError, match=f"^{found} \\(allowed: 1 to 8\\)$"):
        packed(lengths, 8)


@given(st.lists(st.integers(1, 20), max_size=20))
def test_positions_begin_at_zero_with_each_document(lengths: list[int]) -> None:
    positions = position_ids(np.array(lengths, np.int64))
    assert positions.tolist() == [position for length in lengths for position in range(length)]
    assert positions.dtype == np.int64
