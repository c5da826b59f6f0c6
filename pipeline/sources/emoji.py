"""Bilingual emoji chats: the answer in the first language that has one; also as preference pairs."""

from __future__ import annotations

import msgspec
import polars as pl

from pipeline.sources.block import Block
from pipeline.sources.drafts import Cells, Drafts, conversation, language_of
from pipeline.sources.source import Source


def adapt_emoji(block: Block, source: Source) -> Drafts:
    """`question` with `answer_zh`, else `answer_en` (option `languages` turns the order round); or, in a row that
    has `chosen`, `prompt` with the last of these messages. The language taken becomes a tag. Answers over
    `max_answer_chars` characters are cut, and the cuts counted as `answers_cut`."""
    cells, columns = Cells(block), source.columns
    pair = cells.json(columns["chosen"]).is_not_null()
    prompt, question = (cells.text(columns[role], required=False) for role in ("prompt", "question"))
    cells.refuse(pair & prompt.is_null(), "missing_column", f"no value in column '{columns['prompt']}'")
    cells.refuse(~pair & question.is_null(), "missing_column", f"no value in column '{columns['question']}'")
    chosen = _chosen(cells, columns["chosen"])
    answer, language = _first_language(cells, source, ~pair)
    rows = pl.select(
        question=pl.when(pair).then(prompt).otherwise(question),
        answer=pl.when(pair).then(chosen).otherwise(answer),
        language=pl.when(pair).then(language_of(chosen)).otherwise(language),
    )
    answer, cut = _shortened(rows["answer"], source.options["max_answer_chars"])
    tagged = cells.rows().with_columns(pl.concat_list(rows["language"]).alias("tags"))
    return cells.drafts(conversation([("user", rows["question"]), ("assistant", answer)]), tagged, {"answers_cut": cut})


def _first_language(cells: Cells, source: Source, needed: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Answer and language of each row; a row where it is `needed` and no column has a value is refused."""
    languages: list[str] = source.options["languages"]
    answers = {tag: cells.text(source.columns[f"answer_{tag}"], required=False) for tag in languages}
    frame = pl.DataFrame({tag: text.fill_null("") for tag, text in answers.items()})
    absent = pl.select(pl.all_horizontal(text.is_null() for text in answers.values())).to_series()
    names = " nor ".join(f"'{source.columns[f'answer_{tag}']}'" for tag in languages)
    cells.refuse(needed & absent, "missing_column", f"no value in column {names}")
    taken = pl.coalesce(pl.when(pl.col(tag).str.strip_chars() != "").then(pl.lit(tag)) for tag in languages)
    text = pl.coalesce(pl.when(pl.col(tag).str.strip_chars() != "").then(pl.col(tag)) for tag in languages)
    chosen = frame.select(text.fill_null("").alias("answer"), taken.fill_null(languages[0]).alias("language"))
    return chosen["answer"], chosen["language"]


def _chosen(cells: Cells, column: str) -> pl.Series:
    """The last assistant message of each list; a row with anything else than null or such a list is refused."""
    answers: list[str | None] = []
    wrong: list[bool] = []
    for text in cells.json(column):
        messages = msgspec.json.decode(text) if text else None
        last = messages[-1] if isinstance(messages, list) and messages else messages
        if isinstance(last, dict):
            last = last.get("content") if last.get("role") == "assistant" else None
        answers.append(last if isinstance(last, str) else None)
        wrong.append(text is not None and not isinstance(last, str))
    cells.refuse(
        pl.Series(wrong, dtype=pl.Boolean),
        "wrong_type",
        f"column '{column}' must be messages that end with the assistant",
    )
    return pl.Series(answers, dtype=pl.String)


def _shortened(texts: pl.Series, most: int) -> tuple[pl.Series, int]:
    cut = int((texts.str.len_chars() > most).sum())
    return (texts.str.head(most) if cut else texts), cut
