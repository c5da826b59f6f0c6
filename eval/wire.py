"""Prompts and replies as OpenAI's API writes them, in what is sent to a server and what it answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from train.generate import Reply

_ENDED = ("stop", "tool_calls", "function_call")
_GIVEN_UP = ("abort", "error")  # by vLLM and SGLang


def sent_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message of a bundle, or of the API itself: without nulls and loss weight, arguments of calls as JSON text."""
    sent = {name: value for name, value in message.items() if value is not None and name != "weight"}
    if calls := sent.get("tool_calls"):
        sent["tool_calls"] = [call | {"function": _with_text(call["function"])} for call in calls]
    return sent


def _with_text(function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = function["arguments"]
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {**function, "arguments": text}


def read_reply(answer: Any) -> Reply | None:
    """The first reply of an answer of /chat/completions or /completions; None if there is none, or the server gave up.

    `tokens` is None where the server did not count. What it took out of the text is put back as Qwen's templates write
    it: reasoning as a <think> block, left open if the tokens ran out in it, and tool calls as <tool_call> blocks, with
    their arguments letter for letter. No content at all is a reply only if no more than an end token was generated:
    otherwise the server keeps something to itself. Half a surrogate pair, which no file could hold, becomes `?`.
    """
    match answer:
        case {"choices": [{"message": {**message}, **choice}, *_]}:
            pass
        case {"choices": [{"text": str(text), **choice}, *_]}:
            message = {"content": text}
        case _:
            return None
    reason = choice.get("finish_reason")
    usage = answer.get("usage")
    counted = usage.get("completion_tokens") if isinstance(usage, dict) else None
    tokens: Any = counted if isinstance(counted, int) else None
    text = _text(message, reason in _ENDED, tokens)
    if text is None or reason in _GIVEN_UP:
        return None
    return Reply(text.encode(errors="replace").decode(), tokens, reason in _ENDED)


def _text(message: Mapping[str, Any], ended: bool, tokens: int | None) -> str | None:
    content, calls = message.get("content"), message.get("tool_calls") or []
    thought = message.get("reasoning") or message.get("reasoning_content")  # of some servers the one, the other or both
    if content is None and (calls or thought or tokens in (0, 1)):
        content = ""
    if not isinstance(content, str):
        return None
    try:
        text = "\n".join([*([content] if content else []), *(_call(call["function"]) for call in calls)])
    except (KeyError, TypeError, AttributeError):
        return None
    if not thought:
        return text
    return f"<think>\n{thought}\n</think>\n\n{text}" if text or ended else f"<think>\n{thought}"


def _call(function: Mapping[str, Any]) -> str:
    """A tool call as text. A slash is escaped where its end would be found within its arguments."""
    arguments = _with_text({"arguments": function.get("arguments") or {}})["arguments"]
    name = json.dumps(function["name"], ensure_ascii=False)
    block = f'{{"name": {name}, "arguments": {arguments}}}'.replace("</tool_call>", "<\\/tool_call>")
    return f"<tool_call>\n{block}\n</tool_call>"
