"""Reasoning that stands in the assistant's text between <think> and </think>."""

from __future__ import annotations

import dataclasses

import polars as pl

from pipeline.sources.drafts import Drafts

# At the head of the text; what comes before it is white space, or goes when the text is cleaned.
_THINK = r"(?s)^[\s\p{Cc}]*<think>(.*?)</think>"


def split_think(drafts: Drafts) -> Drafts:
    """`<think>…</think>` at the head of an assistant's text moved to `reasoning_content` (null where it is blank).
    A turn that has reasoning already stays as it is, and so does a <think> that is not closed."""
    if not drafts.turns["content"].str.contains("</think>", literal=True).any():
        return drafts
    content, reasoning, found = pl.col("content"), pl.col("reasoning_content"), pl.col("found")
    silent = reasoning.str.strip_chars().fill_null("") == ""
    thought = pl.when((pl.col("role") == "assistant") & silent).then(content.str.extract(_THINK))
    turns = drafts.turns.with_columns(thought.alias("found")).with_columns(
        pl.when(found.is_not_null()).then(content.str.replace(_THINK, "")).otherwise(content).alias("content"),
        pl.when(found.str.strip_chars() != "").then(found).otherwise(reasoning).alias("reasoning_content"),
    )
    return dataclasses.replace(drafts, turns=turns.drop("found"))
