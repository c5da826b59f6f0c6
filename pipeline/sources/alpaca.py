"""The Alpaca form: `instruction` and `input` make the prompt, `output` answers it."""

from __future__ import annotations

import msgspec
import polars as pl

from pipeline.normalize import clean_text
from pipeline.sources.block import Block
from pipeline.sources.drafts import Cells, Drafts, conversation, joined, language_of
from pipeline.sources.source import Source

# An `input` that only says there is none, as a whole: "No input", "<noinput>", "No input required.", "N/A", …
NO_INPUT = (
    r"(?i)^[\s<(\[\"']*(?:no[ _-]?input(?: (?:is )?(?:required|needed|necessary|provided|given|available))?"
    r"|none|n/a|not applicable|nil|无|没有输入|无输入|不需要输入)[\s>)\]\"'.。]*$"
)


def adapt_alpaca(block: Block, source: Source) -> Drafts:
    """`instruction`, a blank line, `input` → user; `output` → assistant; `system` and `history` (a list of
    [question, answer] pairs) before them where a row has them. `meta` keeps `instruction` and `input`."""
    cells, columns = Cells(block), source.columns
    instruction = clean_text(cells.text(columns["instruction"]).fill_null(""))
    given = clean_text(cells.text(columns["input"], required=False).fill_null(""))
    given = (
        given.to_frame("x")
        .select(pl.when(pl.col("x").str.contains(NO_INPUT)).then(pl.lit("")).otherwise(pl.col("x")))
        .to_series()
    )
    output = cells.text(columns["output"])
    system = cells.text(columns["system"], required=False)
    user = joined(instruction, given, "\n\n")
    turns = conversation(
        [("system", system), ("user", user), ("assistant", output)], _history(cells, columns["history"])
    )
    tags = columns["tags"] if cells.has(columns["tags"]) else None
    rows = cells.rows(tags=tags, parts={"instruction": instruction, "input": given})
    chosen = source.options["language"]
    if chosen is not None:
        language = language_of(user + output) if chosen == "auto" else pl.repeat(chosen, cells.count, eager=True)
        rows = rows.with_columns(pl.concat_list(language, pl.col("tags").fill_null([])).alias("tags"))
    return cells.drafts(turns, rows)


def _history(cells: Cells, column: str) -> pl.DataFrame | None:
    """Earlier turns as `i`, `role`, `content`; a row with any other shape than pairs of texts is refused."""
    if not cells.has(column):
        return None
    pairs = cells.json(column)
    found: list[tuple[int, str, str]] = []
    wrong = [False] * len(pairs)
    for i, text in enumerate(pairs):
        try:
            history = msgspec.json.decode(text or "[]", type=list[tuple[str, str]])
        except msgspec.ValidationError:
            wrong[i] = True
            continue
        for question, answer in history:
            found += [(i, "user", question), (i, "assistant", answer)]
    cells.refuse(
        pl.Series(wrong, dtype=pl.Boolean), "wrong_type", f"column '{column}' must be a list of pairs of texts"
    )
    if not found:
        return None
    return pl.DataFrame(found, orient="row", schema={"i": pl.UInt32, "role": pl.String, "content": pl.String})
