"""Whether a reply could be handed to the person who asked, whatever it is worth."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, cast

from eval.languages import main_script, scripts_asked
from eval.repetition import repeats
from eval.reply import Reply, Verdicts
from eval.tool_calls import NoCallError, read_tools, split_calls

# What only a template or a tokenizer writes, of whichever model.
_MARKS = re.compile(r"<\|[\w-]{1,40}\|>|</?(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|\[/?TOOL_CALLS\]")
_TOOL_MARKS = ("<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]")
_INVISIBLE = ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp")
_BROKEN = "\N{REPLACEMENT CHARACTER}"  # of bytes that make no character
_ASKING = ("system", "user")
_LEAST = 16  # bytes: shorter texts, greetings above all, are often answered in kind


def usability(reply: Reply) -> Verdicts:
    """`usable` if a reply passes every check; and each check, 1 where it is passed:

    - `not_empty`: more than white space, invisible characters and broken ones;
    - `ended`: by itself within the tokens that it was allowed;
    - `no_leak`: no special token and no mark of a template in it, see `leaks`;
    - `no_loop`: it does not go round in circles (`eval.repetition`), or the row's own reply does;
    - `language`: in the script asked for (`eval.languages`), or too short to tell;
    - `not_prompt`: not the prompt again, see `is_prompt_again`.

    All but `ended` judge the reply without the reasoning before it.
    """
    text = reply.content
    leaked = leaks(reply)
    loop = repeats(text, reply.ended)
    found, asked = main_script(_prose(reply)), scripts_asked(reply.row)
    checks = {
        "not_empty": any(unicodedata.category(character) not in _INVISIBLE for character in text.replace(_BROKEN, "")),
        "ended": reply.ended,
        "no_leak": not leaked,
        "no_loop": loop is None or repeats(_content(reply.gold)) is not None,
        "language": found is None or not asked or found in asked,
        "not_prompt": not is_prompt_again(reply),
    }
    notes: dict[str, Any] = {} if checks["no_leak"] else {"leaked": leaked}
    notes |= {} if checks["no_loop"] else {"loop": loop}
    notes |= {} if checks["language"] else {"language": {"asked": sorted(asked), "found": found}}
    scores = {"usable": all(checks.values()), **checks}
    return Verdicts({name: float(score) for name, score in scores.items()}, notes)


def leaks(reply: Reply) -> list[str]:
    """The special tokens and marks of templates in a reply: those of `reply.special`, and those of other models.

    What the row's own messages hold literally is not held against it, nor are the marks of tool calls where the row has
    tools.
    """
    text = reply.content
    found = [mark for mark in map(str.strip, reply.special) if mark and mark in text]
    found += [mark[0] for mark in _MARKS.finditer(text)]
    if not found:
        return []
    allowed = _TOOL_MARKS if read_tools(reply) else ()
    said = "\n".join(map(_content, reply.row.get("messages") or ()))
    return [mark for mark in dict.fromkeys(found) if mark not in allowed and mark not in said]


def is_prompt_again(reply: Reply) -> bool:
    """Whether a reply is nothing but one text of the prompt: once, several times, or at least four fifths of it from
    its beginning on.

    The texts are those of the system and of users, and Alpaca's `instruction` and `input`. Letters and digits alone are
    compared, in lower case. Texts of fewer than 16 bytes do not count, nor those that the row's own reply repeats.
    """
    text, gold = _letters(reply.content), _letters(_content(reply.gold))
    given = [_content(message) for message in reply.row.get("messages") or () if message.get("role") in _ASKING]
    meta = reply.value("meta")
    if isinstance(meta, dict):
        parts = cast("dict[str, Any]", meta)
        given += [part for part in (parts.get("instruction"), parts.get("input")) if isinstance(part, str)]
    texts = [same for same in map(_letters, given) if len(same.encode("utf-8", "replace")) >= _LEAST]
    return any(_repeats_only(text, same) and not _repeats_only(gold, same) for same in texts)


def _repeats_only(text: str, same: str) -> bool:
    rest = text.replace(same, "")
    return same.startswith(rest) and (len(rest) < len(text) or len(rest) >= 0.8 * len(same))


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)).lower()


def _content(message: Mapping[str, Any]) -> str:
    return message.get("content") or ""


def _prose(reply: Reply) -> str:
    """The reply without its tool calls."""
    if not read_tools(reply):
        return reply.content
    try:
        return split_calls(reply.content)[0]
    except NoCallError:
        return reply.content
