"""Whether a reply that should call a tool calls one, and with arguments that the tool takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, cast

from eval.judge import conforming
from eval.reply import Reply, Verdicts, read_value
from eval.schemas import NotJsonError, strict_json

_BLOCK = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_BARE = ("<|python_tag|>", "[TOOL_CALLS]")  # of Llama and of Mistral, before calls that are the whole reply
Call = tuple[str, dict[str, Any]]


class NoCallError(ValueError):
    """A reply that is no tool call: a snake_case reason."""


def tool_calls(reply: Reply) -> Verdicts | None:
    """Of a row with tools whose own reply calls one, all 0 or 1, each presupposing the one before:

    - `tool_parsable`: the reply is one or more tool calls, as `split_calls` reads them;
    - `tool_known`: every one calls a tool that the row has;
    - `tool_conforms`: the arguments of every one conform to its tool's `parameters`.

    Where the schema of a called tool is none (note `schema`) there is no score for its arguments. Whether the calls are
    those of the row is not judged.
    """
    tools = read_tools(reply)
    if not tools or not read_value(reply.gold.get("tool_calls")):
        return None
    notes: dict[str, Any] = {}
    try:
        _, calls = split_calls(reply.content)
    except NoCallError as error:
        return Verdicts({"tool_parsable": 0.0, "tool_known": 0.0, "tool_conforms": 0.0}, {"unparsable": str(error)})
    notes["calls"] = [{"name": name, "arguments": arguments} for name, arguments in calls]
    unknown = [name for name, _ in calls if name not in tools]
    if unknown:
        return Verdicts({"tool_parsable": 1.0, "tool_known": 0.0, "tool_conforms": 0.0}, notes | {"unknown": unknown})
    conform = _all_conform(calls, tools, notes)
    scores = {"tool_parsable": 1.0, "tool_known": 1.0}
    return Verdicts(scores if conform is None else scores | {"tool_conforms": float(conform)}, notes)


def read_tools(reply: Reply) -> dict[str, Any]:
    """The tools of a row, name → JSON Schema of the arguments (a tool without one takes any object)."""
    listed = reply.value("tools")
    found: dict[str, Any] = {}
    for tool in cast("list[Any]", listed) if isinstance(listed, list) else []:
        function = tool.get("function", tool) if isinstance(tool, dict) else None  # type: ignore[reportUnknownMemberType]
        if isinstance(function, dict) and isinstance(function.get("name"), str):  # type: ignore[reportUnknownMemberType]
            found[function["name"]] = cast("dict[str, Any]", function).get("parameters") or {}
    return found


def split_calls(text: str) -> tuple[str, list[Call]]:
    """A reply's plain text and its tool calls, as the templates write them.

    Qwen: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, one or more, with text before them and nothing but
    white space between and after them. Llama: `{"name": …, "parameters": {…}}` as the whole reply, `<|python_tag|>`
    before it or not. Mistral: `[TOOL_CALLS]` and a list of calls. Each call is strict JSON, its name a text, its
    arguments (`arguments` or `parameters`, not both) an object.

    Raises: NoCallError with what is wrong.
    """
    if "<tool_call>" in text or "</tool_call>" in text:
        rest = _BLOCK.split(text)
        before, between = rest[0], "".join(rest[2::2])
        if len(rest) == 1 or "tool_call>" in before + between or between.strip():
            raise NoCallError("a <tool_call> block that is not closed, or text after it")
        return before.strip(), [_call(_read(block)) for block in rest[1::2]]
    mark = next((mark for mark in _BARE if text.lstrip().startswith(mark)), "")
    value = _read(text.lstrip().removeprefix(mark))
    calls = cast("list[Any]", value) if isinstance(value, list) else [value]
    if not calls:
        raise NoCallError("an empty list of calls")
    return "", [_call(call) for call in calls]


def _read(text: str) -> Any:
    try:
        return strict_json(text)
    except NotJsonError as error:
        raise NoCallError(str(error)) from error


def _call(value: Any) -> Call:
    if not isinstance(value, dict):
        raise NoCallError("a call must be an object")
    call = cast("dict[str, Any]", value)
    given = [name for name in ("arguments", "parameters") if name in call]
    if not isinstance(call.get("name"), str) or len(given) != 1 or not isinstance(call[given[0]], dict):
        raise NoCallError("a call must have a name, and arguments or parameters that are an object")
    return call["name"], call[given[0]]


def _all_conform(calls: Iterable[Call], tools: dict[str, Any], notes: dict[str, Any]) -> bool | None:
    verdicts = [conforming(json.dumps(arguments), tools[name], notes) for name, arguments in calls]
    return False if False in verdicts else None if None in verdicts else True
