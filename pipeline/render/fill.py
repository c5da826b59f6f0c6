"""Rendering whole columns: rows of one form at a time, their texts put into the form's outline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from pipeline.render.follow import META
from pipeline.render.loss import Loss

# What Python's `str.strip()` takes away; Polars' own idea of whitespace differs in four characters.
_WHITESPACE = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
FIELDS = ("content", "reasoning_content", "name", "tool_call_id")


@dataclass(frozen=True)
class Conversations:
    """A batch of rows to render. `turns` has TURN_COLUMNS; row *k* is turns[offsets[k]:offsets[k + 1]].

    `rows` has `tools` (JSON text or null) and `meta` (JSON text or null), one line a row.
    """

    turns: pl.DataFrame
    offsets: np.ndarray
    rows: pl.DataFrame

    @cached_property
    def meta(self) -> pl.DataFrame:
        """META of each row; `kind`: ~ where there is no `meta`, null where one of its values is not text."""
        found = [json.loads(meta) if meta is not None else None for meta in self.rows["meta"]]
        values = {name: [None if meta is None else meta.get(name) for meta in found] for name in META}
        text = [all(isinstance(value, str | None) for value in pair) for pair in zip(*values.values(), strict=True)]
        kinds = ["~" if meta is None else "" if good else None for meta, good in zip(found, text, strict=True)]
        columns = {name: [value if isinstance(value, str) else None for value in own] for name, own in values.items()}
        return pl.DataFrame({**columns, "kind": kinds}, schema=dict.fromkeys((*META, "kind"), pl.String))

    def plain(self, at: Sequence[int]) -> list[dict[str, Any]]:
        """Rows as the template gets them: no nulls, tools and tool calls as objects."""
        rows = self.rows[at]
        return [
            {
                "messages": [plain_message(turn) for turn in turns],
                "tools": json.loads(tools) if tools is not None else None,
                "meta": json.loads(meta) if meta is not None else None,
            }
            for turns, tools, meta in zip(self._turns(at), rows["tools"], rows["meta"], strict=True)
        ]

    def weights(self, at: Sequence[int]) -> list[list[float | None]]:
        """The loss weights of the assistant's turns of these rows."""
        return [[turn["weight"] for turn in turns if turn["role"] == "assistant"] for turns in self._turns(at)]

    def _turns(self, at: Sequence[int]) -> list[list[dict[str, Any]]]:
        starts, ends = self.offsets[np.asarray(at, np.int64)], self.offsets[np.asarray(at, np.int64) + 1]
        flat = np.concatenate([np.arange(*pair) for pair in zip(starts, ends, strict=True)]) if len(at) else starts
        turns = self.turns[flat].to_dicts()
        bounds = np.append(0, np.cumsum(ends - starts)).tolist()
        return [turns[bounds[k] : bounds[k + 1]] for k in range(len(at))]


def plain_message(turn: Mapping[str, Any]) -> dict[str, Any]:
    """A message as templates expect it; the reasoning also under the name `thinking`, as transformers gives it."""
    message = {name: turn[name] for name in ("role", *FIELDS) if turn[name] is not None}
    if turn["reasoning_content"] is not None:
        message["thinking"] = turn["reasoning_content"]
    if turn["tool_calls"] is not None:
        message["tool_calls"] = json.loads(turn["tool_calls"])
    return message


def forms(batch: Conversations, reads_meta: bool) -> pl.Series:
    """The form of each row as text; null where the row has tools or calls, whose JSON only the template can write.

    For each turn its role, a sign for each of FIELDS (- null, 0 empty, 1 text), and x where it is not trained on;
    then, if the template reads `meta`, a sign for each of META (~ where there is no `meta`; null where it is not text).
    """
    signs = [_sign(name) if batch.turns[name].null_count() < len(batch.turns) else pl.lit("-") for name in FIELDS]
    untrained = pl.when(pl.col("weight") <= 0).then(pl.lit("x")).otherwise(pl.lit(""))
    each = batch.turns.select(pl.concat_str(pl.col("role"), *signs, untrained, pl.lit(" ")).alias("form"))["form"]
    lists = pl.DataFrame({"row": np.repeat(np.arange(len(batch.rows)), np.diff(batch.offsets)), "form": each})
    joined = lists.group_by("row", maintain_order=True).agg(pl.col("form").str.join(""))["form"]
    calls = batch.turns["tool_calls"]
    bare = batch.rows["tools"].is_null()
    if calls.null_count() < len(calls):
        calling = np.bincount(lists["row"].to_numpy(), weights=calls.is_not_null().to_numpy(), minlength=len(bare)) > 0
        bare = bare & ~pl.Series(calling)
    if reads_meta:
        signs = [pl.when(pl.col("kind") == "~").then(pl.lit("~")).otherwise(_sign(name)) for name in META]
        joined = joined + batch.meta.select(pl.concat_str("kind", *signs).alias("meta"))["meta"]
    return pl.select(pl.when(bare).then(joined).alias("form"))["form"]


def _sign(name: str) -> pl.Expr:
    column = pl.col(name)
    return pl.when(column.is_null()).then(pl.lit("-")).when(column == "").then(pl.lit("0")).otherwise(pl.lit("1"))


def form_fields(form: str) -> tuple[list[dict[str, Any]], dict[str, Any] | None, list[float | None]]:
    """A form as `Renderer.outline` takes it (None stands for a text), and the weights of the assistant's turns."""
    value = {"0": "", "1": None}
    *turns, meta = form.split(" ")
    messages: list[dict[str, Any]] = []
    weights: list[float | None] = []
    for turn in turns:
        role = turn.rstrip("-01x")
        signs = turn[len(role) : len(role) + len(FIELDS)]
        fields = {name: value[sign] for name, sign in zip(FIELDS, signs, strict=True) if sign != "-"}
        messages.append({"role": role} | fields)
        if role == "assistant":
            weights.append(0.0 if turn.endswith("x") else None)
    there = meta and "~" not in meta
    given = {name: value[sign] for name, sign in zip(META, meta, strict=True) if sign != "-"} if there else None
    return messages, given, weights


@dataclass(frozen=True)
class Filled:
    """Rows of one form: `at` in the batch, `text`, and `targets` (rows × ranges × 2, in characters).

    `exceptions` are the rows, by `at`, for which the outline does not hold.
    """

    at: np.ndarray
    text: pl.Series
    targets: np.ndarray
    exceptions: np.ndarray


def fill(
    batch: Conversations, at: np.ndarray, outline: Mapping[str, Any], weights: list[float | None], loss: Loss
) -> Filled | None:
    """The rows `at`, all of one form, with their texts put into its outline; None if its blocks belong to no turns."""
    columns = [_column(batch, at, *slot[:2]) for slot in outline["slots"]]
    holds = np.ones(len(at), dtype=bool)
    for slot, question, literal in outline["conditions"]:
        holds &= ~_answer(columns[slot], question, literal)
    exceptions, kept = at[~holds], at[holds]
    if len(exceptions):
        columns = [column.filter(pl.Series(holds)) for column in columns]
    columns = [_strip(column, *slot[2:]) for column, slot in zip(columns, outline["slots"], strict=True)]
    ranges = [(0, len(outline["parts"]))] if loss.targets == "text" else loss.chosen(outline["blocks"], weights)
    if ranges is None:
        return None
    lengths: list[Any] = [
        len(part) if isinstance(part, str) else columns[part].str.len_chars().to_numpy().astype(np.int64)
        for part in outline["parts"]
    ]
    starts: list[Any] = [np.zeros(len(kept), np.int64)]
    for length in lengths:
        starts.append(starts[-1] + length)
    targets = np.empty((len(kept), len(ranges), 2), np.int32)
    for k, (start, end) in enumerate(ranges):
        targets[:, k, 0], targets[:, k, 1] = starts[start], starts[end]
    pieces = [pl.lit(part) if isinstance(part, str) else pl.col(f"slot{part}") for part in outline["parts"]]
    nothing = pl.Series("nothing", [""] * len(kept), pl.String)  # there may be neither slots nor parts
    frame = pl.DataFrame([nothing, *(column.alias(f"slot{k}") for k, column in enumerate(columns))])
    text = frame.select(pl.concat_str("nothing", *pieces).alias("text"))["text"]
    return Filled(kept, text, targets, exceptions)


def _column(batch: Conversations, at: np.ndarray, message: int, field: str) -> pl.Series:
    if message >= 0:
        return batch.turns[field].gather(batch.offsets[at] + message)
    return batch.meta[field].gather(at)


def _strip(column: pl.Series, strip: str, characters: str | None) -> pl.Series:
    taken = _WHITESPACE if characters is None else characters
    if strip == "both":
        return column.str.strip_chars(taken)
    if strip == "start":
        return column.str.strip_chars_start(taken)
    return column.str.strip_chars_end(taken) if strip == "end" else column


def _answer(column: pl.Series, question: str, literal: str) -> np.ndarray:
    if question == "contains":
        return column.str.contains(literal, literal=True).to_numpy()
    return (column.str.starts_with(literal) if question == "starts" else column.str.ends_with(literal)).to_numpy()
