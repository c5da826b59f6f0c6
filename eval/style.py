"""How a reply is written: with emoji or without, and how long."""

from __future__ import annotations

import regex

from eval.reply import Reply, Verdicts

# UTS #51: what is shown as an emoji by itself, what a variation selector makes one, keycaps and flags. A digit, © or ™
# alone is text, and so is an emoji with the selector of text behind it; parts of sequences are found as one.
_EMOJI = regex.compile(
    r"[0-9#*]\uFE0F?\u20E3"
    r"|\p{Regional_Indicator}{2}"
    r"|(?:[\p{Emoji_Presentation}--\p{Regional_Indicator}](?!\uFE0E)|(?![0-9#*])\p{Emoji}(?:\uFE0F|\p{Emoji_Modifier}))"
    r"[\uFE0F\p{Emoji_Modifier}\U000E0020-\U000E007F]*(?:\u200D\p{Extended_Pictographic}\uFE0F?\p{Emoji_Modifier}?)*",
    regex.V1,
)


def style(reply: Reply) -> Verdicts:
    """`emoji`: 1 for a reply with one; `characters` (Unicode code points) and `tokens`, its length.

    The characters are those without the reasoning before the reply, the tokens all that were generated.
    """
    found = count_emoji(reply.content)
    scores = {"emoji": float(found > 0), "characters": float(len(reply.content))}
    scores |= {"tokens": float(reply.tokens)} if reply.tokens is not None else {}
    return Verdicts(scores, {"emoji": found} if found else {})


def count_emoji(text: str) -> int:
    """The emoji in a text, a family or a flag counted once."""
    return 0 if text.isascii() else sum(1 for _ in _EMOJI.finditer(text))
