"""MAWPS: word problems whose numbers stand apart and are filled into the text."""

from __future__ import annotations

import math

import polars as pl

from pipeline.normalize import clean_text
from pipeline.sources.block import Block
from pipeline.sources.drafts import Cells, Drafts, conversation, joined
from pipeline.sources.source import Source

# `N_0`, `N_00` and `number0`, all counted from 0.
_PLACEHOLDER = r"(?:N_|\bnumber)[0-9]+"


def adapt_mawps(block: Block, source: Source) -> Drafts:
    """`Question`, below `Body` where that has its beginning (SVAMP), with its placeholders filled from `Numbers` →
    user; the answer as a person would write it, or with `assistant: equation` the filled equation (`8 - 2 = 6`) →
    assistant; `answer` in full precision. A row without placeholders needs no `Numbers`; one with a placeholder that
    has no number is refused as `unfilled_placeholder`."""
    cells, columns = Cells(block), source.columns
    given = cells.text(columns["numbers"], required=False)
    numbers = given.fill_null("").str.strip_chars().str.split(" ").list.eval(pl.element().filter(pl.element() != ""))
    exact = cells.text(columns["answer"])
    question = _filled(_whole(cells, source), numbers)
    equation = _filled(cells.text(columns["equation"], required=False), numbers)
    unfilled = (question.str.contains(_PLACEHOLDER) | equation.str.contains(_PLACEHOLDER).fill_null(False)).fill_null(
        False
    )
    cells.refuse(unfilled & given.is_null(), "missing_column", f"no value in column '{columns['numbers']}'")
    cells.refuse(unfilled, "unfilled_placeholder", "more placeholders than numbers")
    answer = written(exact)
    if source.options["assistant"] == "equation":
        cells.refuse(equation.is_null(), "missing_column", f"no value in column '{columns['equation']}'")
        answer = pl.select(
            pl.when(answer.str.strip_chars() != "")
            .then(pl.concat_str(equation, pl.lit(" = "), answer))
            .otherwise(answer)
        ).to_series()
    rows = cells.rows(answer=exact.str.replace(r"^(-?\d+)\.0$", "$1"), parts={"equation": equation})
    return cells.drafts(conversation([("user", question), ("assistant", answer)]), rows)


def _whole(cells: Cells, source: Source) -> pl.Series:
    """The question after its body, unless it repeats the body itself."""
    question = cells.text(source.columns["question"])
    body = cells.text(source.columns["body"], required=False)
    texts = pl.DataFrame({"question": clean_text(question), "body": clean_text(body).fill_null("")})
    apart = ~pl.col("question").str.starts_with(pl.col("body"))
    before = texts.select(pl.when(apart).then("body").otherwise(pl.lit("")).alias("body"))["body"]
    return joined(before, texts["question"].fill_null(""), " ")


def _filled(texts: pl.Series, numbers: pl.Series) -> pl.Series:
    """Each text with placeholder k replaced by its row's k-th number, written as a person would."""
    frame = pl.DataFrame({"text": texts, "numbers": numbers})
    for k in range(max(numbers.list.len().to_list(), default=0)):
        number = written(frame["numbers"].list.get(k, null_on_oob=True))
        number = number.str.replace_all("$", "$$", literal=True)  # "$" refers to a group where it replaces
        frame = frame.with_columns(number.alias("number"))
        filled = pl.col("text").str.replace_all(rf"(?:N_|\bnumber)0*{k}(\D|$)", pl.concat_str("number", pl.lit("${1}")))
        frame = frame.with_columns(pl.when(pl.col("number").is_not_null()).then(filled).otherwise("text").alias("text"))
    return frame["text"]


def written(numbers: pl.Series) -> pl.Series:
    """Number texts as a person would write them; what is no number stays, null stays null."""
    distinct = numbers.drop_nulls().unique()
    shown = pl.Series([write_number(text) for text in distinct], dtype=pl.String)
    return numbers.replace_strict(distinct, shown, return_dtype=pl.String, default=None)


def write_number(text: str) -> str:
    """`9.0` → `9`, `4.333333333333333` → `4.33`, `0.125` → `0.125`, `0.00123456` → `0.0012`.

    Up to three decimals are kept as they are; longer fractions get two, or two significant digits.
    """
    try:
        value = float(text)
    except ValueError:
        return text
    if not math.isfinite(value) or "e" in text.lower():
        return text
    whole, _, decimals = text.strip().partition(".")
    whole = whole if whole[-1:].isdigit() else f"{whole}0"
    if not decimals.strip("0"):
        return whole
    if len(decimals.rstrip("0")) <= 3:
        return f"{whole}.{decimals.rstrip('0')}"
    digits = 2 if abs(value) >= 0.1 else 1 - math.floor(math.log10(abs(value)))
    return f"{value:.{digits}f}".rstrip("0").rstrip(".")
