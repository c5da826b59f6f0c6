"""Rows that are conversations already: lists of messages with roles, tool calls among them."""

from __future__ import annotations

import msgspec

from pipeline.sources.block import Block
from pipeline.sources.calls import tool_calls, tool_lists
from pipeline.sources.drafts import Cells, Drafts
from pipeline.sources.source import Source
from pipeline.sources.turns import Part, Said, Turn, few_enough, joined_parts, turns_of, unpacked, weight_of


class Message(Said):
    """One message as found."""

    role: str | None = None
    content: str | list[Part] | None = None


_MESSAGES = msgspec.json.Decoder(list[Message])


def adapt_messages(block: Block, source: Source) -> Drafts:
    """`messages` as it is; `tools`, a list of tool schemas or that list as text; `answer` and `tags` where
    a row has them. Content given in parts is joined; tool calls become
    `[{"id", "type": "function", "function": {"name", "arguments": {…}}}]`."""
    cells, columns = Cells(block), source.columns
    turns = turns_of(cells, cells.json(columns["messages"]), _read, columns["messages"])
    tools = tool_lists(cells, columns["tools"])
    answer = cells.text(columns["answer"], required=False)
    tags = columns["tags"] if cells.has(columns["tags"]) else None
    return cells.drafts(turns, cells.rows(tags=tags, tools=tools, answer=answer))


def _read(text: str) -> list[Turn]:
    return [_turn(message) for message in few_enough(_MESSAGES.decode(unpacked(text)))]


def _turn(message: Message) -> Turn:
    content = message.content
    return Turn(
        message.role,
        joined_parts(content) if isinstance(content, list) else content,
        message.reasoning_content,
        tool_calls(bytes(message.tool_calls)),
        message.tool_call_id,
        message.name,
        weight_of(message, message.role),
    )
