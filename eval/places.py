"""Where a reply has its final answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from eval.notation import plain_text

_TAIL = 4000  # characters of a reply, its last, in which an answer is sought
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_HASHES = re.compile(r"####[ \t]*(?!\d{1,2}[.)、]\s)([-−+*.($¥€£\\\d][^\n]*|[A-H]\b)")  # not a heading
_MARK = re.compile(
    r"\b(?:answer|result)(?:\s+to\s[^.\n]{1,60}?)?\**\s*(?:is|equals|would be|should be|[=:：])[:：]?"
    r"|(?:答案|结果)\s*[应该就]{0,2}\s*(?:是|为|等于|[=:：])[:：]?|(?P<sentence>答\s*[:：])",
    re.IGNORECASE,
)
_END = re.compile(r"\n|[。！？!?；;]|\.(?=\s|$)")
_ITEM = re.compile(r"^\s*(?:\d{1,3}[.)、]|\(\d{1,3}\))(?=\s*[^\d\s])", re.MULTILINE)


@dataclass(frozen=True)
class Place:
    """Where an answer may stand: by which rule, its text as `plain_text` makes it, and whether its first number counts
    or its last."""

    rule: str
    text: str
    first: bool = False


def places(text: str) -> Iterator[Place]:
    """Where a reply may have its answer, the likeliest place first; see `answer`."""
    text = text[-_TAIL:]
    for opened in list(_BOXED.finditer(text))[-1:]:
        yield Place("boxed", behind_equals(plain_text(_in_braces(text[opened.end() :]))))
    for line in list(_HASHES.finditer(text))[-1:]:
        yield Place("hashes", plain_text(line[1]), first=True)
    for mark in list(_MARK.finditer(text))[-1:]:
        rest = plain_text(text[mark.end() :]).lstrip()
        sentence = _END.split(rest, maxsplit=1)[0]
        if mark["sentence"]:
            yield Place("marked", sentence)
        else:
            yield Place("marked", behind_equals(sentence), first=True)
            yield Place("marked", rest, first=True)
    yield Place("last", plain_text(_ITEM.sub(" ", text)))


def behind_equals(text: str) -> str:
    """What the last equals sign says, all of the text if there is none."""
    return re.split("[=≈]", text)[-1]


def _in_braces(text: str) -> str:
    """The text up to the brace that closes it."""
    depth = 1
    for brace in re.finditer(r"(?<!\\)[{}]", text):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[: brace.start()]
    return text
