"""The measures over generated replies, by name, and how their scores are to be read.

One of your own is a function from a `Reply` to `Verdicts` (or None where it does not apply to a row) and a line in
`MEASURES`.
"""

from __future__ import annotations

from collections.abc import Callable

from eval.answers import answer
from eval.json_validity import json_validity
from eval.reply import Reply, Verdicts
from eval.style import style
from eval.telling import Measure
from eval.tool_calls import tool_calls
from eval.usability import usability

__all__ = ["DETAILS", "MEASURES", "METRICS", "SCALES", "SCORES_OF", "Reply", "Verdicts", "measure_of"]

MEASURES: dict[str, Callable[[Reply], Verdicts | None]] = {
    "usability": usability,
    "json": json_validity,
    "tools": tool_calls,
    "answer": answer,
    "style": style,
}
METRICS = ("perplexity", *MEASURES)  # what `eval.metrics` may name

# The scores that each of them gives.
SCORES_OF = {
    "perplexity": ("perplexity", "bits_per_byte"),
    "usability": ("usable", "not_empty", "ended", "no_leak", "no_loop", "language", "not_prompt"),
    "json": ("json_valid", "json_conforms", "json_repairable", "json_repaired_conforms"),
    "tools": ("tool_parsable", "tool_known", "tool_conforms"),
    "answer": ("correct",),
    "style": ("emoji", "characters", "tokens"),
}
# What `usable` and `tool_conforms` sum up, or another score says as well: shown, but no verdict is made of it.
DETAILS = {
    *("not_empty", "ended", "no_leak", "no_loop", "language", "not_prompt"),
    *("json_repairable", "json_repaired_conforms", "tool_parsable", "tool_known", "tokens"),
}
_SHARES = [score for name in ("usability", "json", "tools", "answer") for score in SCORES_OF[name]]
# Every score, and which way is better; a difference of 3 points, say, is worth knowing of.
SCALES = {
    "perplexity": Measure("perplexity", "nats", better=-1, worth=2),
    "bits_per_byte": Measure("bits_per_byte", "amount", better=-1, worth=0.02, unit="bits"),
    **{name: Measure(name, "share", better=1, worth=3) for name in _SHARES},
    "emoji": Measure("emoji", "share", better=0, worth=3, more="more often"),
    "characters": Measure("characters", "amount", better=0, worth=20, unit="characters", more="longer"),
    "tokens": Measure("tokens", "amount", better=0, worth=10, unit="tokens", more="longer"),
}


def measure_of(score: str, share: bool) -> Measure:
    """How a score is to be read.

    One that has no line in `SCALES` is taken for a share of replies, the more the better, if all its values are 0 or 1
    (`share`), else for an amount of which more is neither better nor worse.
    """
    other = Measure(score, "share", better=1, worth=3) if share else Measure(score, "amount", better=0, worth=1)
    return SCALES.get(score, other)
