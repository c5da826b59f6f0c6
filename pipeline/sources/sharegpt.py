"""ShareGPT: lists of {from, value}, with calls and their results as turns of their own."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pipeline.sources.block import BadRecordError, Block
from pipeline.sources.calls import tool_calls, tool_lists
from pipeline.sources.drafts import Cells, Drafts
from pipeline.sources.nesting import require_shallow
from pipeline.sources.source import Source
from pipeline.sources.turns import (
    Part,
    Said,
    Turn,
    cut_last_user,
    few_enough,
    joined_parts,
    turns_of,
    unpacked,
    weight_of,
    with_system,
)

# Names of speakers, in lower case. Any other name stays, and its row is refused as `bad_role`.
_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "bot", "chatgpt"), "assistant"),
    "system": "system",
    **dict.fromkeys(("observation", "tool", "function_response", "tool_response"), "tool"),
}
_CALLING = ("function_call", "tool_call")
_Value = str | list[msgspec.Raw] | dict[str, msgspec.Raw] | None


class Utterance(Said):
    """One turn as found: {from, value}, or {role, content}."""

    speaker: str | None = msgspec.field(name="from", default=None)
    value: _Value = None
    role: str | None = None
    content: _Value = None


_UTTERANCES = msgspec.json.Decoder(list[Utterance])


def adapt_sharegpt(block: Block, source: Source) -> Drafts:
    """`conversations` → turns; `system` (a column) before them where they do not begin with a system turn, else
    in `meta`; `tools`, `answer` and `tags` where a row has them. A call, whose text is JSON, becomes a tool call of
    the assistant, and joins the assistant's turn right before it. With `last_user: cut` what stands after the last
    answer goes, and the rows it went from are counted as `last_user_cut`."""
    cells, columns = Cells(block), source.columns
    turns = turns_of(cells, cells.json(columns["conversations"]), read_utterances, columns["conversations"])
    turns, unused = with_system(turns, cells.text(columns["system"], required=False))
    turns, counts = cut_last_user(turns) if source.options["last_user"] == "cut" else (turns, {})
    tools = tool_lists(cells, columns["tools"])
    answer = cells.text(columns["answer"], required=False)
    tags = columns["tags"] if cells.has(columns["tags"]) else None
    rows = cells.rows(tags=tags, tools=tools, answer=answer, parts={"system": unused})
    return cells.drafts(turns, rows, counts)


def read_utterances(text: str) -> list[Turn]:
    """The turns of a JSON list of utterances.

    Raises: BadRecordError, msgspec.MsgspecError, RecursionError if it is no such list.
    """
    turns: list[Turn] = []
    calls: list[list[str | None]] = []  # of each turn, put together at the end: there may be thousands
    for found in few_enough(_UTTERANCES.decode(unpacked(text))):
        turn, is_call = _turn(found)
        if is_call and turns and _may_join(turns[-1], turn):
            calls[-1].append(turn.tool_calls)
        else:
            turns.append(turn)
            calls.append([turn.tool_calls])
    return [turn._replace(tool_calls=_joined(own)) for turn, own in zip(turns, calls, strict=True)]


def _joined(calls: Sequence[str | None]) -> str | None:
    """Lists of calls as one list; null where there are none."""
    there = [each for each in calls if each is not None]
    return f"[{','.join(each[1:-1] for each in there)}]" if len(there) > 1 else next(iter(there), None)


def _turn(found: Utterance) -> tuple[Turn, bool]:
    """The turn, and whether it is a call alone."""
    said = found.speaker if found.speaker is not None else found.role
    value = found.value if found.value is not None else found.content
    if said is not None and said.lower() in _CALLING:
        calls = tool_calls(_list_of_calls(value))
        turn = Turn("assistant", "", found.reasoning_content, calls, weight=weight_of(found, "assistant"))
        return turn, calls is not None
    role = _ROLES.get(said.lower(), said) if said is not None else None
    return Turn(
        role,
        _content(value, role),
        found.reasoning_content,
        tool_calls(bytes(found.tool_calls)),
        found.tool_call_id,
        found.name,
        weight_of(found, role),
    ), False


def _content(value: _Value, role: str | None) -> str | None:
    """Text as it is; parts joined; what a tool gave back as its JSON."""
    if value is None or isinstance(value, str):
        return value
    if role == "tool":
        return msgspec.json.format(msgspec.json.encode(value), indent=-1).decode()
    if isinstance(value, dict):
        raise BadRecordError("wrong_type", f"an object where the text of {role} should be")
    return joined_parts(msgspec.json.decode(part, type=Part) for part in value)


def _list_of_calls(value: _Value) -> bytes:
    data = value.strip().encode() if isinstance(value, str) else msgspec.json.encode(value)
    require_shallow(data)
    return b"[%b]" % data if data[:1] == b"{" else data or b"null"


def _may_join(before: Turn, call: Turn) -> bool:
    return before.role == "assistant" and before.weight == call.weight and call.reasoning_content is None
