"""GSM8K: worked solutions with calculator marks, the final answer on a line of its own."""

from __future__ import annotations

import polars as pl

from pipeline.normalize import clean_text
from pipeline.sources.block import Block
from pipeline.sources.drafts import Cells, Drafts, conversation
from pipeline.sources.source import Source

_MARK = r"<<[^<>\n]*>>"
_FINAL = r"(?:^|\n)[ \t]*####[ \t]*([^\n]*)$"


def adapt_gsm8k(block: Block, source: Source) -> Drafts:
    """`question` → user; `answer` without its calculator marks (`<<2*3=6>>`) → assistant; what stands behind `####`
    in its last line → `answer`, as it was written (`2,125`). With `final: drop` that line is left out of the text.
    Rows without such a line have no `answer`, and are counted as `no_final_answer`."""
    cells, columns = Cells(block), source.columns
    question = cells.text(columns["question"])
    solution = clean_text(cells.text(columns["answer"])).str.replace_all(_MARK, "")
    final = solution.str.extract(_FINAL).to_frame("x").select(pl.when(pl.col("x") != "").then("x")).to_series()
    if source.options["final"] == "drop":
        solution = solution.str.replace(_FINAL, "")
    missing = int((final.is_null() & solution.is_not_null()).sum())
    rows = cells.rows(answer=final)
    return cells.drafts(conversation([("user", question), ("assistant", solution)]), rows, {"no_final_answer": missing})
