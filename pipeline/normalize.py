"""Cleaning of text and checking of roles: the same rules for every source.

Text: CRLF and lone CR become LF, control characters go (line break and tab stay), Unicode is brought to
NFC, white space at both ends goes. Text is data: nothing in it is ever interpreted.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from pipeline.schema import ROLES, TURN_COLUMNS
from pipeline.sources.drafts import REFUSAL, Drafts
from pipeline.sources.turns import MAX_TURNS

# Unicode category Cc without line break and tab.
_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\u{9f}]"
# Every character that NFC changes, or that NFC may join with the one before it; a test holds it to Unicode.
_NOT_SURELY_NFC = (
    r"[\p{M}\u{340}\u{341}\u{374}\u{37e}\u{387}\u{958}-\u{95f}\u{1100}-\u{11ff}\u{1f71}-\u{1fff}"
    r"\u{2000}\u{2001}\u{2126}-\u{212b}\u{2329}\u{232a}\u{2adc}\u{f900}-\u{fb4f}\u{1d15e}-\u{1d1ff}\u{2f800}-\u{2fa1f}"
    r"\u{9dc}-\u{9df}\u{a33}-\u{a5e}\u{b5c}-\u{b5d}\u{f43}-\u{fb9}]"
)

# Reasons in the order in which they are reported; a row is refused for the first that holds.
REASONS = ("bad_role", "empty_prompt", "ends_with_user", "turn_order", "empty_answer", "too_long")


def clean_text(texts: pl.Series) -> pl.Series:
    """The texts cleaned by the rules of this module; null stays null. Idempotent."""
    if _has_control_byte(texts):
        texts = _where(texts, texts.str.contains(_CONTROL), _without_controls)
    texts = _where(texts, texts.str.len_bytes() != texts.str.len_chars(), _clean_foreign)
    return texts.str.strip_chars()


def _has_control_byte(texts: pl.Series) -> bool:
    """Whether any text has an ASCII control character that must go; takes half as long as a regular expression."""
    data = texts.to_arrow().buffers()[2]
    codes = np.frombuffer(data if data is not None else b"", np.uint8)
    return bool((((codes < 32) & (codes != 10) & (codes != 9)) | (codes == 127)).any())


def _without_controls(texts: pl.Series) -> pl.Series:
    return texts.str.replace_all("\r\n?", "\n").str.replace_all(_CONTROL, "")


def _clean_foreign(texts: pl.Series) -> pl.Series:
    """What only texts beyond ASCII need: the other control characters out; NFC where it may be missing, since
    finding out is ten times as fast as composing."""
    texts = _where(texts, texts.str.contains(_CONTROL), _without_controls)
    return _where(texts, texts.str.contains(_NOT_SURELY_NFC), lambda some: some.str.normalize("NFC"))


def _where(texts: pl.Series, mask: pl.Series, change: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """The texts with `change` applied to those where `mask` is true."""
    index = mask.arg_true().to_numpy()
    if len(index) == 0:
        return texts
    places = np.arange(len(texts))
    places[index] = len(texts) + np.arange(len(index))
    return pl.concat([texts, change(texts.gather(index))]).gather(places)


def normalize(drafts: Drafts, max_chars: int) -> Drafts:
    """Clean all turns, check their roles, and keep the rows that hold.

    A conversation is an optional system turn, then user and assistant in turn, with tool turns after the
    assistant's tool calls, and ends with the assistant. A blank system turn is left out; a turn of only tool
    calls has the content "". Rows with more than `max_chars` characters of text,
    reasoning and tool calls are `too_long`, and so are those of more than MAX_TURNS turns.
    Returns: the same kind of frames, `i` as before, with the refused rows only in `refused` (one line each).
    """
    turns = drafts.turns.with_columns(clean_text(drafts.turns["content"]).fill_null(""))
    for name in ("reasoning_content", "name", "tool_call_id"):
        if turns[name].null_count() < len(turns):
            turns = turns.with_columns(clean_text(turns[name]).alias(name))
    turns = turns.filter((pl.col("role") != "system").fill_null(True) | (pl.col("content") != ""))
    refused = pl.concat([drafts.refused, _faults(turns, drafts.rows, max_chars)]).unique(
        "i", keep="first", maintain_order=True
    )
    if len(refused):
        turns = turns.join(refused.select("i"), on="i", how="anti", maintain_order="left")
    rows = drafts.rows.join(refused.select("i"), on="i", how="anti", maintain_order="left")
    return Drafts(turns.select(*TURN_COLUMNS), rows, refused.sort("i"), drafts.counts)


def _faults(turns: pl.DataFrame, rows: pl.DataFrame, max_chars: int) -> pl.DataFrame:
    role, before = pl.col("role"), pl.col("role").shift(1)
    first = (pl.col("i") != pl.col("i").shift(1)).fill_null(True)
    last = (pl.col("i") != pl.col("i").shift(-1)).fill_null(True)
    calls = pl.col("tool_calls").is_not_null()
    blank = pl.col("content") == ""
    in_place = (
        pl.when(role == "system")
        .then(first)
        .when(role == "user")
        .then(first | before.is_in(["system", "assistant"]))
        .when(role == "assistant")
        .then(~first & before.is_in(["user", "tool"]))
        .otherwise(~first & ((before == "tool") | ((before == "assistant") & calls.shift(1))))
    )
    holds = {
        "bad_role": ~role.is_in(ROLES).fill_null(False),
        "empty_prompt": (role == "user") & blank,
        "ends_with_user": last & (role != "assistant"),
        "turn_order": ~in_place.fill_null(False),
        "empty_answer": (role == "assistant") & blank & ~calls,
    }
    code = pl.lit(None, pl.Int8)
    for number, reason in reversed(list(enumerate(REASONS[:-1]))):
        code = pl.when(holds[reason]).then(pl.lit(number, pl.Int8)).otherwise(code)
    found = turns.select("i", "role", code.alias("code")).filter(pl.col("code").is_not_null())
    faults = (
        found.sort("code", maintain_order=True)
        .unique("i", keep="first", maintain_order=True)
        .select(
            "i",
            pl.col("code").replace_strict(dict(enumerate(REASONS)), return_dtype=pl.String).alias("reason"),
            pl.concat_str(pl.lit("role "), pl.col("role").fill_null("null")).alias("detail"),
        )
    )
    lengths = _lengths(turns)
    silent = rows.select("i").join(lengths, on="i", how="anti") if len(lengths) < len(rows) else rows.clear()
    return pl.concat(
        [
            faults,
            silent.select("i", pl.lit("empty_prompt").alias("reason"), pl.lit("no turns").alias("detail")),
            lengths.filter(pl.col("chars") > max_chars).select(
                "i",
                pl.lit("too_long").alias("reason"),
                pl.format("{} characters, at most {}", "chars", pl.lit(max_chars)).alias("detail"),
            ),
            lengths.filter(pl.col("turns") > MAX_TURNS).select(
                "i",
                pl.lit("too_long").alias("reason"),
                pl.format("{} turns, at most {}", "turns", pl.lit(MAX_TURNS)).alias("detail"),
            ),
        ]
    ).cast(REFUSAL)


def _lengths(turns: pl.DataFrame) -> pl.DataFrame:
    """`i` of each row, `chars`, the characters of its text, reasoning and tool calls, and how many `turns` it has."""
    texts = pl.col("content", "reasoning_content", "tool_calls").str.len_chars().fill_null(0)
    chars = turns.select(pl.sum_horizontal(texts)).to_series().to_numpy()
    rows = turns["i"].to_numpy().astype(np.int64)
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    if len(starts) == 0:
        return pl.DataFrame(schema={"i": pl.UInt32, "chars": pl.UInt32, "turns": pl.Int64})
    totals = np.add.reduceat(chars, starts)
    counts = np.diff(starts, append=len(rows))
    return pl.DataFrame({"i": rows[starts].astype(np.uint32), "chars": totals, "turns": counts})
