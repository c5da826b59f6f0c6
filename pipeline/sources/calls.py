"""Tool calls and the tools they call, kept to the letter as JSON text."""

from __future__ import annotations

from typing import Any

import msgspec
import polars as pl

from pipeline.sources.block import BadRecordError, beginning
from pipeline.sources.drafts import Cells, refusal
from pipeline.sources.nesting import require_shallow


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class _Call(_Function):
    """A call as found: name and arguments stand in `function`, or in the call itself."""

    function: _Function | None = None
    id: str | None = None


_CALLS = msgspec.json.Decoder(list[_Call])


def tool_calls(data: bytes) -> str | None:
    """Tool calls in one spelling, arguments as an object; null where there are none.

    Arguments given as JSON text are unpacked; their numbers and texts stay as they were written.
    Raises: BadRecordError, msgspec.MsgspecError if they have another shape.
    """
    if data in (b"null", b"[]", b'""'):
        return None
    calls: list[dict[str, Any]] = []
    for call in _CALLS.decode(data):
        function = call.function or call
        if function.name is None:
            raise BadRecordError("wrong_type", "a tool call without a name")
        head = {"id": call.id} if call.id is not None else {}
        arguments = msgspec.Raw(_arguments(bytes(function.arguments)))
        calls.append({**head, "type": "function", "function": {"name": function.name, "arguments": arguments}})
    return msgspec.json.encode(calls).decode() if calls else None


def _arguments(data: bytes) -> bytes:
    if data[:1] == b'"':
        data = msgspec.json.decode(data, type=str).strip().encode()
    if data in (b"", b"null"):
        return b"{}"
    require_shallow(data)
    try:
        data = msgspec.json.format(data, indent=-1)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRecordError("wrong_type", f"tool call arguments are not JSON ({error})") from error
    if data[:1] != b"{":
        raise BadRecordError("wrong_type", f"tool call arguments must be an object, not {beginning(data)[:40]}")
    return data


def tool_lists(cells: Cells, column: str) -> pl.Series:
    """A column of tool schemas, lists or the text of lists, as JSON text; a row with anything else is refused."""
    found: list[str | None] = []
    for i, text in enumerate(cells.json(column)):
        try:
            found.append(_tool_list(text))
        except BadRecordError as error:
            found.append(None)
            cells.refused.append(refusal(i, error.reason, error.detail))
        except (msgspec.MsgspecError, RecursionError) as error:
            found.append(None)
            cells.refused.append(refusal(i, "wrong_type", f"column '{column}' must be a list of tools ({error})"))
    return pl.Series(found, dtype=pl.String)


def _tool_list(text: str | None) -> str | None:
    if text is not None and text[0] == '"':
        text = msgspec.json.decode(text, type=str).strip()
        require_shallow(text.encode())
    if not text or text == "null":
        return None
    msgspec.json.decode(text, type=list[dict[str, msgspec.Raw]])
    tools = msgspec.json.format(text, indent=-1)
    return tools if tools != "[]" else None
