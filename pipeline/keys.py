"""Identity of rows: canonical JSON, deduplication keys, prompt keys, ranks and digests.

A row's *canonical JSON* is `{"messages":[…],"tools":[…]}` in UTF-8: fields in the order of the schema,
no nulls, no `tools` where there are none. Its xxh3-128 is the row's `key`; the `prompt_key` is the same
over what stands before the last assistant message. Both ignore id, source, tags, answer and meta.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import polars as pl
import polars_hash  # noqa: F401  # pyright: ignore[reportUnusedImport]  registers the namespace `nchash`
import pyarrow as pa
import xxhash

from pipeline.schema import TURN_COLUMNS

_OPTIONAL = [name for name in TURN_COLUMNS if name not in ("i", "role", "content")]
_JSON_VALUED = ("tool_calls",)


def json_text(value: pl.Expr) -> pl.Expr:
    """Any value as JSON text, non-ASCII left as it is; null becomes `null`."""
    return pl.struct(value.alias("_")).struct.json_encode().str.strip_prefix('{"_":').str.strip_suffix("}")


def quoted(text: pl.Expr) -> pl.Expr:
    """The text as a JSON string literal with its quotes, non-ASCII left as it is; null stays null."""
    return pl.when(text.is_not_null()).then(json_text(text))


def json_object(fields: Iterable[tuple[str, pl.Expr]]) -> pl.Expr:
    """A JSON object from pairs of a name and an expression that gives JSON text; null fields are left out."""
    members = [
        pl.concat_str(pl.lit(f",{json.dumps(name, ensure_ascii=False)}:"), value)  # null where the value is null
        for name, value in fields
    ]
    if not members:
        return pl.lit("{}")
    body = pl.concat_str(members, ignore_nulls=True).str.strip_prefix(",")
    return pl.concat_str(pl.lit("{"), body, pl.lit("}"))


def turn_json(turns: pl.DataFrame) -> pl.Series:
    """Canonical JSON of each message (one a line of `turns`, all columns of TURN_COLUMNS)."""
    plain = pl.struct("role", "content").struct.json_encode()
    present = [name for name in _OPTIONAL if turns[name].null_count() < len(turns)]
    if not present:
        return turns.select(plain.alias("json"))["json"]
    fields = [
        pl.when(pl.col("weight").is_not_null()).then(pl.col(name).cast(pl.String))
        if name == "weight"
        else pl.col(name)
        if name in _JSON_VALUED
        else quoted(pl.col(name))
        for name in present
    ]
    extra = [pl.concat_str(pl.lit(f',"{name}":'), value) for name, value in zip(present, fields, strict=True)]
    return turns.select(
        pl.concat_str(plain.str.strip_suffix("}"), *extra, pl.lit("}"), ignore_nulls=True).alias("json")
    )["json"]


def canonical(turns: pl.DataFrame, offsets: np.ndarray, tools: pl.Series) -> pl.DataFrame:
    """Canonical JSON and keys of rows, each given as a stretch of `turns` that ends with the assistant.

    In: turns with TURN_COLUMNS; `offsets` (int64, rows + 1) where row *k* is turns[offsets[k]:offsets[k+1]];
    `tools` (JSON text or null, one a row). Out, one line a row: `canonical`, `key`, `prompt_key`.
    """
    each = turn_json(turns)
    last = each.gather(offsets[1:] - 1)
    rows = pl.DataFrame(
        {
            "before": _joined(each, offsets),
            "last": last,
            "tools": tools,
        }
    )
    tail = pl.concat_str(pl.lit(',"tools":'), "tools").fill_null("")
    comma = pl.when(pl.col("before") != "").then(pl.lit(",")).otherwise(pl.lit(""))
    texts = rows.select(
        pl.concat_str(pl.lit('{"messages":['), "before", comma, "last", pl.lit("]"), tail, pl.lit("}")).alias(
            "canonical"
        ),
        pl.concat_str(pl.lit('{"messages":['), "before", pl.lit("]"), tail, pl.lit("}")).alias("prompt"),
    )
    return texts.select("canonical", hex128("canonical").alias("key"), hex128("prompt").alias("prompt_key"))


def _joined(each: pl.Series, offsets: np.ndarray) -> pl.Series:
    """All but the last message of every row, joined by commas."""
    if len(offsets) > 1 and bool(np.all(np.diff(offsets) == 2)):  # question and answer: nothing to join
        return each.gather(offsets[:-1])
    keep = np.ones(len(each), dtype=bool)
    keep[offsets[1:] - 1] = False
    shorter = pl.Series(offsets - np.arange(len(offsets))).to_arrow()
    lists = pa.LargeListArray.from_arrays(shorter, each.filter(pl.Series(keep)).to_arrow())
    return pl.Series(pl.from_arrow(lists)).list.join(",")


def hex128(column: str) -> pl.Expr:
    """xxh3-128 of a text column as 32 hex digits, equal to `xxhash.xxh3_128_hexdigest`."""
    return pl.col(column).nchash.xxh3_128().map_batches(_hex, return_dtype=pl.String)  # type: ignore[attr-defined]


def _hex(numbers: pl.Series) -> pl.Series:
    high = pl.lit(2**64, dtype=pl.UInt128)
    halves = numbers.to_frame("n").select(
        (pl.col("n") // high).cast(pl.UInt64).alias("high"), (pl.col("n") % high).cast(pl.UInt64).alias("low")
    )
    digits = halves.to_numpy().astype(">u8").tobytes().hex().encode()
    offsets = np.arange(0, 32 * len(numbers) + 1, 32, dtype=np.int64)
    array = pa.LargeStringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(digits))
    return pl.Series(pl.from_arrow(array))


def rank(seed: int, purpose: str, column: str) -> pl.Expr:
    """The place of a row in a random-looking but reproducible order: xxh3_64(seed ‖ purpose ‖ key), uint64.

    The rank of a row depends on nothing but the row, so other rows that come or go do not move it.
    """
    prefix = pl.lit(f"{seed}\x1f{purpose}\x1f")
    return pl.concat_str(prefix, pl.col(column)).nchash.xxh3_64()  # type: ignore[attr-defined]


class ContentDigest:
    """xxh3-128 over (`id`, `key`, `epoch`) of rows in their order; never over paths, rendering or file bytes."""

    def __init__(self) -> None:
        self._state = xxhash.xxh3_128()

    def update(self, rows: pl.DataFrame) -> None:
        """Add rows: `id` and `key` (text), `epoch` (integer)."""
        text = pl.concat_str("id", pl.lit("\x1f"), "key", pl.lit("\x1f"), pl.col("epoch").cast(pl.String), pl.lit("\n"))
        self._state.update(text_bytes(rows.select(text).to_series().to_arrow().cast(pa.large_string())))

    def hexdigest(self) -> str:
        """32 hex digits."""
        return self._state.hexdigest()


def text_bytes(texts: pa.LargeStringArray) -> memoryview:
    """The characters of texts without nulls, one after the other, as they lie in memory."""
    if len(texts) == 0:
        return memoryview(b"")
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int64)[[texts.offset, texts.offset + len(texts)]]
    return memoryview(data)[bounds[0] : bounds[1]] if data is not None else memoryview(b"")
