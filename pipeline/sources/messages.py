"""Rows that are conversations already: lists of messages with roles, tool calls among them."""

from __future__ import annotations

from typing import Any

import msgspec
import polars as pl

from pipeline.schema import TURN_COLUMNS
from pipeline.sources.block import BadRecordError, Block, beginning
from pipeline.sources.drafts import Cells, Drafts
from pipeline.sources.source import Source


class Message(msgspec.Struct):
    """One message as found. Tool calls stay JSON text, so that their arguments survive as they were."""

    role: str | None = None
    content: str | list[dict[str, Any]] | None = None
    reasoning_content: str | None = None
    tool_calls: msgspec.Raw = msgspec.Raw(b"null")
    tool_call_id: str | None = None
    name: str | None = None
    weight: float | None = None


_MESSAGES = msgspec.json.Decoder(list[Message])


def adapt_messages(block: Block, source: Source) -> Drafts:
    """`messages` as it is; `tools`, a list of tool schemas or that list as text; `answer` and `tags` where
    a row has them. Content given in parts is joined; tool calls become
    `[{"id", "type": "function", "function": {"name", "arguments": {…}}}]`."""
    cells, columns = Cells(block), source.columns
    texts = cells.json(columns["messages"])
    cells.refuse(texts.is_null(), "missing_column", f"no value in column '{columns['messages']}'")
    turns: list[tuple[Any, ...]] = []
    for i, text in enumerate(texts):
        try:
            turns += [(i, *_turn(message)) for message in _MESSAGES.decode(text)] if text else []
        except (BadRecordError, msgspec.ValidationError) as error:
            cells.refused.append(_refusal(i, "wrong_type", str(error)))
    tools = _tools(cells, columns["tools"])
    answer = cells.text(columns["answer"], required=False)
    tags = columns["tags"] if cells.has(columns["tags"]) else None
    frame = pl.DataFrame(turns, schema=TURN_COLUMNS, orient="row")
    return cells.drafts(frame, cells.rows(tags=tags, tools=tools, answer=answer))


def _refusal(i: int, reason: str, detail: str) -> pl.DataFrame:
    return pl.DataFrame(
        {"i": [i], "reason": [reason], "detail": [detail]},
        schema={"i": pl.UInt32, "reason": pl.String, "detail": pl.String},
    )


def _turn(message: Message) -> tuple[Any, ...]:
    content = message.content
    if isinstance(content, list):
        content = "".join(_part(part) for part in content)
    calls = tool_calls(bytes(message.tool_calls))
    return (message.role, content, message.reasoning_content, calls, message.tool_call_id, message.name, message.weight)


def _part(part: dict[str, Any]) -> str:
    text = part.get("text", part.get("value"))
    if part.get("type", "text") != "text" or not isinstance(text, str):
        raise BadRecordError("wrong_type", f"a part of type {part.get('type')!r}; only text can be used")
    return text


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class _Call(_Function):
    """A call as found: name and arguments stand in `function`, or in the call itself."""

    function: _Function | None = None
    id: str | None = None


def tool_calls(data: bytes) -> str | None:
    """Tool calls in one spelling, arguments as an object; null where there are none.

    Arguments given as JSON text are unpacked; their numbers and texts stay as they were written.
    Raises: BadRecordError, msgspec.ValidationError if they have another shape.
    """
    if data in (b"null", b"[]", b'""'):
        return None
    calls: list[dict[str, Any]] = []
    for call in msgspec.json.decode(data, type=list[_Call]):
        function = call.function or call
        if function.name is None:
            raise BadRecordError("wrong_type", "a tool call without a name")
        head = {"id": call.id} if call.id is not None else {}
        arguments = msgspec.Raw(_arguments(bytes(function.arguments)))
        calls.append({**head, "type": "function", "function": {"name": function.name, "arguments": arguments}})
    return msgspec.json.encode(calls).decode()


def _arguments(data: bytes) -> bytes:
    if data[:1] == b'"':
        data = msgspec.json.decode(data, type=str).strip().encode()
    if data in (b"", b"null"):
        return b"{}"
    try:
        data = msgspec.json.format(data, indent=-1)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRecordError("wrong_type", f"tool call arguments are not JSON ({error})") from error
    if data[:1] != b"{":
        raise BadRecordError("wrong_type", f"tool call arguments must be an object, not {beginning(data)[:40]}")
    return data


def _tools(cells: Cells, column: str) -> pl.Series:
    found: list[str | None] = []
    for i, text in enumerate(cells.json(column)):
        try:
            found.append(_tool_list(text))
        except (msgspec.MsgspecError, RecursionError) as error:
            found.append(None)
            cells.refused.append(_refusal(i, "wrong_type", f"column '{column}' must be a list of tools ({error})"))
    return pl.Series(found, dtype=pl.String)


def _tool_list(text: str | None) -> str | None:
    if text is not None and text[0] == '"':
        text = msgspec.json.decode(text, type=str).strip()
    if not text or text == "null":
        return None
    msgspec.json.decode(text, type=list[dict[str, msgspec.Raw]])
    tools = msgspec.json.format(text, indent=-1)
    return tools if tools != "[]" else None
