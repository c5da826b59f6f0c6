"""Which generation blocks are trained on."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import PoolmixError
from pipeline.render.loss import KINDS, Loss, read_loss

Blocks = list[tuple[int, int]]
losses = st.builds(Loss, st.sampled_from(["all", "last"]), st.booleans(), st.booleans())
weights = st.sampled_from([None, 0.0, -1.0, 0.5, 1.0])


@st.composite
def conversations(draw: st.DrawFn, each: int) -> tuple[Blocks, list[float | None]]:
    """Blocks as a template writes them: one after the other, some empty, text between the turns or none."""
    blocks: Blocks = []
    at = 0
    own = draw(st.lists(weights, min_size=1, max_size=5))
    for _ in own:
        at += draw(st.integers(0, 3))
        for _ in range(each):
            end = at + draw(st.sampled_from([0, 0, 1, 4]))
            blocks.append((at, end))
            at = end
    return blocks, own


def trained(blocks: Blocks, own: list[float | None], loss: Loss) -> set[int]:
    """The characters trained on, block by block as the documentation has it."""
    found: set[int] = set()
    each = len(blocks) // len(own)
    for turn, weight in enumerate(own):
        if (weight is not None and weight <= 0) or (loss.targets == "last" and turn < len(own) - 1):
            continue
        before = True
        for kind, block in zip(KINDS, blocks[turn * each : (turn + 1) * each], strict=False):
            wanted = {"reasoning": loss.reasoning, "content": True, "tool_calls": loss.tool_calls, "end": before}[kind]
            if wanted or each == 1:
                found.update(range(*block))
            if block[0] < block[1]:
                before = wanted
    return found


@pytest.mark.parametrize("each", [1, 4])
@given(st.data(), losses)
@settings(max_examples=200)
def test_just_the_parts_asked_for_are_trained_on(each: int, data: st.DataObject, loss: Loss) -> None:
    blocks, own = data.draw(conversations(each))
    ranges = loss.chosen(blocks, own)
    assert ranges is not None
    assert {at for start, end in ranges for at in range(start, end)} == trained(blocks, own, loss)


@pytest.mark.parametrize("each", [1, 4])
@given(st.data(), losses)
@settings(max_examples=100)
def test_ranges_go_up_are_not_empty_and_do_not_touch(each: int, data: st.DataObject, loss: Loss) -> None:
    ranges = loss.chosen(*data.draw(conversations(each)))
    assert ranges is not None
    assert all(start < end for start, end in ranges)
    assert all(end < start for (_, end), (start, _) in pairwise(ranges))


@given(conversations(4))
def test_more_parts_never_train_on_less(conversation: tuple[Blocks, list[float | None]]) -> None:
    """But for the end of a turn, which goes with the part before it, as a further part may stand there."""
    blocks, own = conversation
    few, many = trained(blocks, own, Loss("last")), trained(blocks, own, Loss("all"))
    assert few <= many
    ends = {at for block in blocks[3::4] for at in range(*block)}
    assert trained(blocks, own, Loss(reasoning=False)) - ends <= trained(blocks, own, Loss(tool_calls=True))


#         reasoning, content, tool calls, end
TURN = [(0, 5), (5, 9), (9, 14), (14, 15)]


@pytest.mark.parametrize(
    ("loss", "blocks", "found"),
    [
        (Loss(), TURN, [(0, 9)]),
        (Loss(tool_calls=True), TURN, [(0, 15)]),
        (Loss(reasoning=False), TURN, [(5, 9)]),
        (Loss(reasoning=False, tool_calls=True), TURN, [(5, 15)]),
        (Loss(), [(0, 5), (5, 9), (9, 9), (9, 10)], [(0, 10)]),
        (Loss(), [(0, 0), (0, 0), (0, 5), (5, 6)], []),
        (Loss(), [(0, 0), (0, 0), (0, 0), (0, 1)], [(0, 1)]),
        (Loss(reasoning=False), [(0, 5), (5, 5), (5, 5), (5, 6)], []),
        (Loss(reasoning=False), [(0, 5), (7, 9), (9, 9), (9, 10)], [(7, 10)]),
    ],
)
def test_the_end_of_a_turn_goes_with_what_stands_before_it(loss: Loss, blocks: Blocks, found: Blocks) -> None:
    assert loss.chosen(blocks, [None]) == found


@pytest.mark.parametrize(("blocks", "turns"), [(1, 0), (4, 0), (2, 1), (3, 1), (5, 1), (8, 1), (3, 2), (1, 2), (0, 1)])
def test_blocks_that_belong_to_no_turns_are_refused(blocks: int, turns: int) -> None:
    assert Loss().chosen([(k, k + 1) for k in range(blocks)], [None] * turns) is None


def test_a_source_overrides_the_build_key_by_key() -> None:
    errors: list[PoolmixError] = []
    usual = read_loss({"loss": {"targets": "last", "reasoning": False}}, "loss", errors)
    assert usual == Loss("last", False, False)
    assert read_loss({}, "sources.a.loss", errors, usual) == usual
    assert read_loss({"loss": {"tool_calls": True}}, "sources.a.loss", errors, usual) == Loss("last", True, False)
    assert read_loss({"loss": {"targets": "text"}}, "sources.a.loss", errors, usual) == Loss("text", False, False)
    assert not errors


@pytest.mark.parametrize("loss", [{"targets": "none"}, {"target": "all"}, {"tool_calls": "yes"}, {"reasoning": 1}])
def test_a_mistake_names_the_setting(loss: dict[str, Any]) -> None:
    errors: list[PoolmixError] = []
    read_loss({"loss": loss}, "sources.a.loss", errors)
    assert len(errors) == 1
    assert "sources.a.loss" in errors[0].where
    assert next(iter(loss)) in str(errors[0])
