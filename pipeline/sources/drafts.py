"""What an adapter makes of a block: conversations not yet checked, and the tools to build them.

An adapter is a function `(block, settings) -> Drafts`. It only moves values to where they belong; cleaning
the text and checking the roles is `pipeline.normalize`, the same for every source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import polars as pl

from pipeline.keys import json_object, quoted
from pipeline.schema import ROW_COLUMNS, TURN_COLUMNS
from pipeline.sources.block import Block

REFUSAL = pl.Schema({"i": pl.UInt32, "reason": pl.String, "detail": pl.String})


@dataclass(frozen=True)
class Drafts:
    """Conversations of one block. `i` numbers its rows from 0.

    `turns` has TURN_COLUMNS sorted by `i`, `rows` has ROW_COLUMNS one a row, `refused` names the rows that
    cannot be used (`i`, `reason`, `detail`; several lines a row are fine, the first one counts), `counts`
    what else happened to rows (`answers_cut`: 3).
    """

    turns: pl.DataFrame
    rows: pl.DataFrame
    refused: pl.DataFrame
    counts: Mapping[str, int] = field(default_factory=dict)


class Cells:
    """The columns of one block, taken out one by one; what was not taken goes to `meta`."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.frame = block.frame
        self.count = len(block.record)
        self.taken: set[str] = set()
        self.refused: list[pl.DataFrame] = []

    def has(self, name: str) -> bool:
        """Whether the block has this column at all."""
        return name in self.frame.columns

    def text(self, name: str, required: bool = True) -> pl.Series:
        """A column as text: numbers as they were written, null where the row has none.

        A row without a value is refused as `missing_column` if it is `required`; true, false, a list or an
        object where text should be is refused as `wrong_type`.
        """
        self.taken.add(name)
        if not self.has(name):
            values = pl.Series([None] * self.count, dtype=pl.String)
        elif name in self.block.json_columns:
            values = self._unquoted(name)
        else:
            values = self._column(name)
        if required:
            self.refuse(values.is_null(), "missing_column", f"no value in column '{name}'")
        return values

    def json(self, name: str) -> pl.Series:
        """A column as JSON text (text becomes a JSON string), null where the row has none."""
        self.taken.add(name)
        if not self.has(name):
            return pl.Series([None] * self.count, dtype=pl.String)
        values = self._column(name)
        return values if name in self.block.json_columns else values.to_frame().select(quoted(pl.col("_"))).to_series()

    def refuse(self, mask: pl.Series, reason: str, detail: str) -> None:
        """Refuse the rows where `mask` (boolean, one a row) is true."""
        index = mask.arg_true()
        if len(index):
            self.refused.append(pl.DataFrame({"i": index, "reason": reason, "detail": detail}, schema=REFUSAL))

    def rows(
        self,
        *,
        tags: str | None = None,
        answer: pl.Series | None = None,
        tools: pl.Series | None = None,
        parts: Mapping[str, pl.Series] | None = None,
        json_parts: Mapping[str, pl.Series] | None = None,
    ) -> pl.DataFrame:
        """The frame `Drafts.rows`: what was not taken, `parts` (text) and `json_parts` (JSON text) go into `meta`."""
        nothing = pl.Series([None] * self.count, dtype=pl.String)
        labels = self._labels(tags) if tags else pl.Series([None] * self.count, dtype=pl.List(pl.String))
        meta = self._meta(parts or {}, json_parts or {})
        return pl.DataFrame(
            {
                "i": pl.int_range(self.count, dtype=pl.UInt32, eager=True),
                "tags": labels,
                "tools": nothing if tools is None else tools,
                "answer": nothing if answer is None else answer,
                "meta": meta,
            },
            schema=ROW_COLUMNS,
        )

    def drafts(self, turns: pl.DataFrame, rows: pl.DataFrame, counts: Mapping[str, int] | None = None) -> Drafts:
        """Put together what the adapter made."""
        refused = pl.concat(self.refused) if self.refused else pl.DataFrame(schema=REFUSAL)
        return Drafts(turns, rows, refused, counts or {})

    def _column(self, name: str) -> pl.Series:
        """The column under another name: a raw one may have any, and Polars takes "*" and "^…$" for patterns."""
        return self.frame[name].alias("_")

    def _unquoted(self, name: str) -> pl.Series:
        values = self._column(name)
        wrong = values.str.contains(r"^[\[{tf]").fill_null(False)
        self.refuse(wrong, "wrong_type", f"column '{name}' must be text")
        texts = values.str.starts_with('"').fill_null(False)
        if not texts.any():
            return values
        plain = [msgspec.json.decode(value) if value and value[0] == '"' else value for value in values]
        return pl.Series(plain, dtype=pl.String)

    def _labels(self, name: str) -> pl.Series:
        """A column of tags: a JSON list of texts, or one text."""
        values = self.json(name)
        labels: list[list[str] | None] = []
        wrong: list[bool] = []
        for value in values:
            decoded = None if value is None else msgspec.json.decode(value)
            decoded = [decoded] if isinstance(decoded, str) else decoded
            good = decoded is None or (isinstance(decoded, list) and all(isinstance(tag, str) for tag in decoded))
            labels.append(decoded if good else None)
            wrong.append(not good)
        self.refuse(pl.Series(wrong, dtype=pl.Boolean), "wrong_type", f"column '{name}' must be a list of texts")
        return pl.Series(labels, dtype=pl.List(pl.String))

    def _meta(self, parts: Mapping[str, pl.Series], json_parts: Mapping[str, pl.Series]) -> pl.Series:
        rest = [name for name in self.frame.columns if name not in self.taken]
        columns = [(name, values, False) for name, values in parts.items()]
        columns += [(name, values, True) for name, values in json_parts.items()]
        made = {*parts, *json_parts}
        columns += [
            (f"raw_{name}" if name in made else name, self._column(name), name in self.block.json_columns)
            for name in rest
        ]
        if not columns:
            return pl.Series([None] * self.count, dtype=pl.String)
        frame = pl.DataFrame({str(k): values for k, (_, values, _) in enumerate(columns)})
        if not any(is_json or values.null_count() for _, values, is_json in columns):  # twice as fast
            members = [pl.col(str(k)).alias(name) for k, (name, _, _) in enumerate(columns)]
            return frame.select(pl.struct(members).struct.json_encode()).to_series()
        fields = [
            (name, pl.col(str(k)) if is_json else quoted(pl.col(str(k))))
            for k, (name, _, is_json) in enumerate(columns)
        ]
        meta = json_object(fields)
        return frame.select(pl.when(meta != "{}").then(meta).alias("meta")).to_series()


def refusal(i: int, reason: str, detail: str) -> pl.DataFrame:
    """One line of `Drafts.refused`."""
    return pl.DataFrame({"i": [i], "reason": [reason], "detail": [detail]}, schema=REFUSAL)


def joined(first: pl.Series, second: pl.Series, between: str) -> pl.Series:
    """Two columns of text without nulls as one, with `between` only where both have text."""
    both = (first != "") & (second != "")
    gap = pl.when(both).then(pl.lit(between)).otherwise(pl.lit(""))
    return pl.select(pl.concat_str(first, gap, second)).to_series()


def conversation(parts: Sequence[tuple[str, pl.Series]], between: pl.DataFrame | None = None) -> pl.DataFrame:
    """Turns from columns: (role, content, one a row) in speaking order; a null content is no turn.

    `between` (columns `i`, `role`, `content`, in order) are turns that stand before the last two parts.
    """
    frames: list[pl.DataFrame] = []
    for place, (role, content) in enumerate(parts):
        late = 2 if place >= len(parts) - 2 else 0
        frames.append(
            pl.DataFrame({"i": pl.int_range(len(content), dtype=pl.UInt32, eager=True), "content": content.alias("c")})
            .select("i", pl.lit(role).alias("role"), "content", pl.lit(late * 1000 + place, pl.UInt32).alias("at"))
            .filter(pl.col("content").is_not_null())
        )
    if between is not None:
        frames.append(between.select("i", "role", "content", pl.lit(1000, pl.UInt32).alias("at")))
    return as_turns(pl.concat(frames).sort("i", "at", maintain_order=True))


def language_of(texts: pl.Series) -> pl.Series:
    """`zh` where Han characters are at least a third of the Latin letters in number, else `en`."""
    foreign = texts.str.len_bytes() != texts.str.len_chars()  # counting letters costs more than all else here
    some = texts.filter(foreign)
    han, latin = some.str.count_matches(r"\p{Han}"), some.str.count_matches("[A-Za-z]")
    languages = pl.repeat("en", len(texts), eager=True)
    return languages.scatter(foreign.arg_true().filter((han * 3 >= latin) & (han > 0)), "zh")


def as_turns(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with all TURN_COLUMNS, absent ones null."""
    columns = [
        pl.col(name).cast(kind) if name in frame.columns else pl.lit(None, kind).alias(name)
        for name, kind in TURN_COLUMNS.items()
    ]
    return frame.select(columns)
