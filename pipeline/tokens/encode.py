"""The stage: texts and targets → `input_ids` and `labels`.

A label is the id itself where the token is trained on, else -100. A token is trained on if it holds any character of
a target, so one that straddles the border of a target is (as transformers' assistant mask has it). Special tokens
that stand literally in what people wrote are read as text, never as special tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.arrow import integers
from pipeline.render.fill import Conversations
from pipeline.render.render import conversations
from pipeline.render.renderer import Renderer
from pipeline.schema import ENCODED
from pipeline.tokens.codec import Codec, Sample
from pipeline.tokens.quick import Ids, Targets, quick_ids
from pipeline.tokens.reference import Span

IGNORED = -100  # the label of a token that is not trained on, as PyTorch's cross entropy has it
_SAMPLED = 4  # rows of each batch and of each kind that both ways encode
# Noncharacters, which no text has: they stand around special tokens that are meant as text while a row is rendered.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"


@dataclass(frozen=True)
class Encoded:
    """`columns` (ENCODED) of a batch, `slow` rows that the reference encoded, `unmarked` rows left without tokens
    because special tokens in their text could not be told from those of the template.

    What gigatoken gave is right if `Codec.confirm` finds nothing against the `samples`.
    """

    columns: pa.RecordBatch
    slow: int
    unmarked: int
    samples: list[Sample]


def encode(
    rows: pa.RecordBatch, rendered: pa.RecordBatch, codec: Codec, renderer: Renderer, fast: bool = True
) -> Encoded:
    """Ids and labels of rows with `messages`, `tools`, `meta`, as rendered; none for a row without text.

    Raises: Differs if gigatoken, used where `fast`, ends.
    """
    text = pl.Series("text", pl.from_arrow(rendered.column("text")))
    targets = Targets.of(rendered.column("targets"))
    batch = conversations(rows)
    literal = _with_literals(batch, list(codec.file.special)) & text.is_not_null()
    plain = np.flatnonzero((text.is_not_null() & ~literal).to_numpy())
    done: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    quick, slow = None, plain
    samples: list[Sample] = []
    if fast and codec.fast is not None and len(plain):
        quick, slow = quick_ids(text, targets, plain, codec.file, codec.fast)
        if quick is not None:
            samples = _sampled(text, targets, plain, slow, quick)
    done |= zip(slow.tolist(), codec.with_spans(text.gather(slow).to_list(), targets.of_rows(slow)), strict=True)
    unmarked = 0
    for row, found in _literals(batch, np.flatnonzero(literal.to_numpy()), text, targets, codec, renderer):
        unmarked += found is None
        done |= {row: found} if found is not None else {}
    return Encoded(_columns(len(text), plain, quick, done), len(done), unmarked, samples)


def _with_literals(batch: Conversations, special: Sequence[str]) -> pl.Series:
    """Whether a row holds, in anything that people wrote, the text of a special token."""
    rows = np.zeros(len(batch.rows), dtype=bool)
    if not special:
        return pl.Series(rows)
    at = np.repeat(np.arange(len(rows)), np.diff(batch.offsets))
    for name in ("content", "reasoning_content", "tool_calls", "name", "tool_call_id"):
        column = batch.turns[name]
        if column.null_count() < len(column):
            rows[at[_holds(column, special, in_json=name == "tool_calls")]] = True
    for name in ("tools", "meta"):
        rows |= _holds(batch.rows[name], special, in_json=True)
    return pl.Series(rows)


def _holds(column: pl.Series, special: Sequence[str], in_json: bool) -> np.ndarray:
    """Whether each text holds a special token; in JSON one may be spelt with escapes, so any of these will do."""
    found = column.str.contains_any(list(special))
    if in_json:
        found = found | column.str.contains("\\u", literal=True)
    return found.fill_null(False).to_numpy()


def _sampled(text: pl.Series, targets: Targets, plain: np.ndarray, slow: np.ndarray, quick: Ids) -> list[Sample]:
    """Some rows that gigatoken encoded: the longest, those with most bytes beyond ASCII, and some between."""
    own = pl.col("text")
    sizes = pl.DataFrame({"text": text.gather(plain)}).select(
        own.str.len_bytes().alias("bytes"), (own.str.len_bytes() - own.str.len_chars()).alias("wide")
    )
    some = {int(k) for k in np.linspace(0, len(plain) - 1, _SAMPLED)}
    for name in ("bytes", "wide"):
        some |= set(sizes[name].arg_sort(descending=True).head(_SAMPLED).to_list())
    rows = sorted(some - set(np.searchsorted(plain, slow).tolist()))
    bounds = np.append(0, np.cumsum(quick.counts))
    parts = [slice(bounds[k], bounds[k + 1]) for k in rows]
    texts, spans = text.gather(plain[rows]).to_list(), targets.of_rows(plain[rows])
    return [
        Sample(own_text, own_spans, quick.ids[part].tolist(), quick.trained[part].tolist())
        for own_text, own_spans, part in zip(texts, spans, parts, strict=True)
    ]


def _literals(
    batch: Conversations, at: np.ndarray, text: pl.Series, targets: Targets, codec: Codec, renderer: Renderer
) -> list[tuple[int, tuple[np.ndarray, np.ndarray] | None]]:
    """Rows that hold special tokens as text: rendered once more with marks around these."""
    found: list[tuple[int, tuple[np.ndarray, np.ndarray] | None]] = []
    marked = [_marked(row, codec) for row in batch.plain(at.tolist())]
    for row, answer, spans in zip(at.tolist(), renderer.rows(marked), targets.of_rows(at), strict=True):
        own = text[row]
        literal: list[Span] = []
        pieces = answer.get("text", "").split(_OPEN)
        length = len(pieces[0])
        for piece in pieces[1:]:
            inside, _, after = piece.partition(_CLOSE)
            literal.append((length, length + len(inside)))
            length += len(inside) + len(after)
        same = answer.get("text", "").replace(_OPEN, "").replace(_CLOSE, "") == own
        found.append((row, codec.with_literals(own, spans, literal) if same else None))
    return found


def _marked(value: Any, codec: Codec) -> Any:
    """The value with marks around each special token in its texts, the names of fields among them."""
    if isinstance(value, str):
        bare = value.replace(_OPEN, "").replace(_CLOSE, "")
        return codec.file.special_texts.sub(lambda match: f"{_OPEN}{match[0]}{_CLOSE}", bare)
    if isinstance(value, Mapping):
        return {_marked(name, codec): _marked(item, codec) for name, item in value.items()}
    return [_marked(item, codec) for item in value] if isinstance(value, list) else value


def _columns(
    rows: int, plain: np.ndarray, quick: Ids | None, done: Mapping[int, tuple[np.ndarray, np.ndarray]]
) -> pa.RecordBatch:
    """All rows in their order: what gigatoken gave, but for the rows that the reference did."""
    counts = np.zeros(rows, np.int64)
    if quick is not None:
        counts[plain] = quick.counts
    for row, (ids, _) in done.items():
        counts[row] = len(ids)
    bounds = np.append(0, np.cumsum(counts))
    ids = np.empty(bounds[-1], np.int32)
    trained = np.empty(bounds[-1], dtype=bool)
    if quick is not None:
        if not done:
            ids, trained = quick.ids, quick.trained
        else:
            from_quick = np.zeros(rows, dtype=bool)
            from_quick[plain] = True
            from_quick[list(done)] = False
            into, out = np.repeat(from_quick, counts), np.repeat(from_quick[plain], quick.counts)
            ids[into], trained[into] = quick.ids[out], quick.trained[out]
    for row, (own, flags) in done.items():
        ids[bounds[row] : bounds[row + 1]], trained[bounds[row] : bounds[row + 1]] = own, flags
    labels = np.where(trained, ids, np.int32(IGNORED))
    return lists(bounds, {"input_ids": ids, "labels": labels}, ENCODED)


def lists(bounds: np.ndarray, values: Mapping[str, np.ndarray], schema: pa.Schema) -> pa.RecordBatch:
    """Columns of int32 lists; row *k* of each is values[bounds[k]:bounds[k + 1]]."""
    offsets = integers(bounds.astype(np.int32))
    columns = [pa.ListArray.from_arrays(offsets, integers(values[field.name]), type=field.type) for field in schema]
    return pa.record_batch(columns, schema=schema)
