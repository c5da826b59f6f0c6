"""How well a guess fits: the shape's own adapter and the rules of every row, tried on the sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from pipeline.normalize import normalize
from pipeline.sniff.rules import Guess, guesses
from pipeline.sniff.sample import Sample
from pipeline.sources.block import Block
from pipeline.sources.drafts import Drafts, language_of
from pipeline.sources.shapes import SHAPES
from pipeline.sources.source import Source

# Guesses whose shares are no further apart fit alike; then the order of the rules counts.
_ALIKE = 0.1
_ONE_LANGUAGE = 0.95  # share of rows
_LANGUAGE_ROWS = 1000
_ENGLISH = r"(?i)\b(?:the|of|and|is|are|to|how|what|with|you)\b"
_KANA = r"[\p{Hiragana}\p{Katakana}]"


@dataclass(frozen=True)
class Fit:
    """What became of the sample's records under a guess: kept, or refused by reason. `tags` hold for the rows."""

    guess: Guess
    records: int
    kept: int
    refused: Mapping[str, int]
    tags: tuple[str, ...]

    @property
    def share(self) -> float:
        """Of the records, how many are kept."""
        return self.kept / self.records if self.records else 0.0


def best_fit(sample: Sample, max_chars: int) -> Fit | None:
    """The guess of which most rows are kept, the first of those that fit alike; None where no rule knows the sample."""
    fits = [fit(guess, sample, max_chars) for guess in guesses(sample)]
    best = max((found.share for found in fits), default=0.0)
    return next((found for found in fits if found.share >= best - _ALIKE), None)


def fit(guess: Guess, sample: Sample, max_chars: int) -> Fit:
    """Try a guess on all records of a sample."""
    refused = Counter(sample.unreadable)
    kept = 0
    texts: list[pl.Series] = []
    labels: set[str] = set()
    for block in sample.blocks:
        if not len(block.record):
            continue
        drafts = normalize(_adapted(guess, block), max_chars)
        kept += len(drafts.rows)
        refused.update(drafts.refused["reason"].to_list())
        texts.append(_texts(drafts))
        labels |= {*drafts.rows["tags"].explode().drop_nulls()}
    languages = _languages(pl.concat(texts) if texts else pl.Series(dtype=pl.String))
    tags = (*guess.tags, *(tag for tag in languages if tag not in labels))
    return Fit(guess, sample.records, kept, dict(sorted((+refused).items())), tags)


def _adapted(guess: Guess, block: Block) -> Drafts:
    """The block through the shape's adapter, without the columns that only `meta` would keep."""
    shape = SHAPES[guess.shape]
    columns = {**shape.usual_columns, **guess.columns}
    source = Source("sniff", guess.shape, (), columns=columns, options=shape.usual_options)
    used = {*columns.values()}
    frame = pl.DataFrame(
        [series for series in block.frame.get_columns() if series.name in used], height=len(block.record)
    )
    return shape.adapt(replace(block, frame=frame, json_columns=block.json_columns & used), source)


def _texts(drafts: Drafts) -> pl.Series:
    """What is said in each of the first conversations, system turns left aside."""
    turns = drafts.turns.filter(pl.col("role").is_in(["user", "assistant"]))
    said = turns.group_by("i", maintain_order=True).agg(pl.col("content").str.join("\n").alias("text"))
    return said["text"].head(_LANGUAGE_ROWS)


def _languages(texts: pl.Series) -> Sequence[str]:
    """`zh` or `en` where nearly all texts are in this language, else nothing."""
    if not len(texts):
        return ()
    chinese = (language_of(texts) == "zh") & ~texts.str.contains(_KANA)
    english = (language_of(texts) == "en") & texts.str.contains(_ENGLISH)
    for language, found in (("zh", chinese), ("en", english)):
        if found.sum() >= _ONE_LANGUAGE * len(texts):
            return (language,)
    return ()
