"""What the generation blocks of a rendered conversation must be, judged by its messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from pipeline.render.loss import KINDS

Blocks = Sequence[Sequence[int]]
Messages = Sequence[Mapping[str, Any]]


def turns_of(messages: Messages) -> list[Mapping[str, Any]]:
    """The turns of the assistant."""
    return [message for message in messages if message["role"] == "assistant"]


def wrong_blocks(text: str, blocks: Blocks, messages: Messages) -> Iterator[tuple[str, str]]:
    """What is wrong with blocks that come four a turn (`KINDS`): the fault, and where it shows."""
    borders = [border for block in blocks for border in block]
    if borders != sorted(borders) or borders[-1] > len(text):
        yield "its blocks do not follow each other", f"{borders}"
        return
    ends = {text[block[0] : block[1]] for block in blocks[3::4]}
    if len(ends) > 1:
        yield "its turns have different ends", f"{sorted(ends)}"
    if "" in ends:
        yield "a turn has no end that is trained on", f"at character {blocks[3][0]:,}"
    for at, turn in enumerate(turns_of(messages)):
        written = [block for block in blocks[4 * at : 4 * at + 4] if block[0] < block[1]]
        if any(before[1] < after[0] for before, after in pairwise(written)):
            yield "text within a turn is in none of its blocks", f"turn {at + 1}: {written}"
        own = [text[block[0] : block[1]] for block in blocks[4 * at : 4 * at + 4]]
        for kind, good in zip(KINDS, (_is_reasoning, _is_content, _are_calls), strict=False):
            block = own[KINDS.index(kind)]
            if not good(block, turn):
                yield f"the block of a turn's {kind} holds something else", f"turn {at + 1}: {_shown(block)}"


def _is_reasoning(block: str, turn: Mapping[str, Any]) -> bool:
    """A template may leave reasoning out, and may find it between <think> tags in the content."""
    before, tag, _ = _content(turn).partition("</think>")
    inside = before.rpartition("<think>")[2].strip() if tag else ""
    known = [text for text in (turn.get("reasoning_content", "").strip(), inside) if text]
    return not block or any(text in block for text in known)


def _is_content(block: str, turn: Mapping[str, Any]) -> bool:
    """As it is or stripped, without the reasoning in it; a template may leave out what is said beside a call."""
    content = _content(turn)
    if block == content or (not block and turn.get("tool_calls")):
        return True
    ways = (content, content.rpartition("</think>")[2])
    return any(block in (way, way.strip(), way.lstrip(), way.rstrip(), way.lstrip("\n")) for way in ways)


def _content(turn: Mapping[str, Any]) -> str:
    return turn.get("content") or ""


def _are_calls(block: str, turn: Mapping[str, Any]) -> bool:
    return bool(block) == bool(turn.get("tool_calls"))


def begin_of_last(blocks: Blocks, turns: int) -> int:
    """Where the last turn of the assistant begins: with its first block that is not empty."""
    own = blocks[-len(blocks) // turns :]
    return next((start for start, end in own if start < end), own[0][0])


def part_at(blocks: Blocks, turns: int, at: int) -> str:
    """The part of a conversation that holds the character `at`."""
    each = len(blocks) // turns
    kind = next((k % each for k, (start, end) in enumerate(blocks) if start <= at < end), None)
    if kind is None:
        return "outside the assistant's turns"
    return f"in the {KINDS[kind]} of a turn" if each == len(KINDS) else "in a turn of the assistant"


def first_difference(found: str, wanted: str) -> tuple[int, str]:
    """The first character in which two texts differ, and both around it."""
    shorter = min(len(found), len(wanted))
    at = next((k for k in range(shorter) if found[k] != wanted[k]), shorter)
    before = repr(found[max(0, at - 20) : at])
    return at, f"at character {at:,}, after {before}: {_shown(found[at:])}, not {_shown(wanted[at:])}"


def _shown(text: str, characters: int = 30) -> str:
    return repr(text if len(text) <= characters else text[:characters] + "…")
