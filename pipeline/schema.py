"""The one place that says what a row looks like: the columns of pools and bundles.

A pool has the columns of `POOL`; a bundle adds `epoch`, and those of `RENDERED` unless it is built with
`template=none`. Inside the pipeline the same rows travel as two
flat Polars frames, because flat columns are what vectorizes: one line per row (`ROW_COLUMNS`), and one
line per message (`TURN_COLUMNS`), the messages of a row standing together in their order.
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pyarrow as pa

from pipeline.errors import SchemaError

ROLES = ("system", "user", "assistant", "tool")

_JSON = pa.json_(pa.string())


def _message(tool_calls: pa.DataType) -> pa.StructType:
    return pa.struct(
        [
            ("role", pa.string()),
            ("content", pa.string()),
            ("reasoning_content", pa.string()),
            ("tool_calls", tool_calls),
            ("tool_call_id", pa.string()),
            ("name", pa.string()),
            ("weight", pa.float64()),  # a turn's loss weight where the data has one
        ]
    )


def _rows(json_text: pa.DataType) -> pa.Schema:
    return pa.schema(
        [
            ("id", pa.string()),
            ("source", pa.string()),
            ("tags", pa.list_(pa.field("item", pa.string()))),
            ("messages", pa.list_(pa.field("item", _message(json_text)))),
            ("tools", json_text),
            ("answer", pa.string()),
            ("meta", pa.string()),
            ("key", pa.string()),
            ("prompt_key", pa.string()),
        ]
    )


# In a pool `tools` and `tool_calls` are plain text; in a bundle the same text is typed as JSON, which
# `datasets` reads as objects.
MESSAGE = _message(pa.string())
POOL = _rows(pa.string())
BUNDLE = _rows(_JSON).append(pa.field("epoch", pa.int32()))

# What rendering adds: the conversation as one text, and the character ranges of it that are trained on.
_SPAN = pa.struct([("start", pa.int32()), ("end", pa.int32())])
RENDERED = pa.schema([("text", pa.string()), ("targets", pa.list_(pa.field("item", _SPAN)))])

# What tokenizing makes of a row: token ids, and the same as labels, -100 where a token is not trained on.
_NUMBERS = pa.list_(pa.field("item", pa.int32()))
ENCODED = pa.schema([("input_ids", _NUMBERS), ("labels", _NUMBERS)])
# A sequence of tokens for training, one row or several packed: `seq_lengths` has the tokens of each stretch, `rows`
# the number of the row in its split that it came from, `starts` the first of the row's tokens in it.
SEQUENCES = pa.schema([*ENCODED, ("seq_lengths", _NUMBERS), ("rows", _NUMBERS), ("starts", _NUMBERS)])

TURN_COLUMNS = pl.Schema(
    {
        "i": pl.UInt32,  # position of the row in its block
        "role": pl.String,
        "content": pl.String,
        "reasoning_content": pl.String,
        "tool_calls": pl.String,
        "tool_call_id": pl.String,
        "name": pl.String,
        "weight": pl.Float64,
    }
)

ROW_COLUMNS = pl.Schema(
    {
        "i": pl.UInt32,
        "tags": pl.List(pl.String),
        "tools": pl.String,
        "answer": pl.String,
        "meta": pl.String,
    }
)

# A refused row: where it stood, why, and what it looked like (the first 200 characters).
REFUSED_COLUMNS = pl.Schema(
    {
        "source": pl.String,
        "row": pl.Int64,
        "file": pl.String,
        "line": pl.Int64,  # counted from 1; null where the format has no lines
        "offset": pl.Int64,  # byte of the decompressed file (as UTF-8) from 0; null where the format has none
        "reason": pl.String,
        "detail": pl.String,
        "text": pl.String,
    }
)


def bundle_schema(rendered: bool) -> pa.Schema:
    """The columns of a bundle, `text` and `targets` among them where its rows are rendered."""
    return pa.schema([*BUNDLE, *RENDERED]) if rendered else BUNDLE


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the columns and types of `schema` (large strings and lists are cast).

    Raises: SchemaError that names the columns which are missing or of another type.
    """
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise SchemaError(
            "table",
            f"no column {', '.join(missing)} (have: {', '.join(table.column_names)})",
            "write it again with `python -m pipeline build`",
        )
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise SchemaError("table", str(error), "write it again with `python -m pipeline build`") from error


def dataset_features(schema: pa.Schema) -> dict[str, Any]:
    """The schema as a `datasets` features dictionary, the form kept in dataset_info.json."""
    return {field.name: _feature(field.type) for field in schema}


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    if kind == _JSON:
        return {"_type": "Json"}
    return {"dtype": "float64" if kind == pa.float64() else str(kind), "_type": "Value"}


def with_features(schema: pa.Schema) -> pa.Schema:
    """The schema carrying its `datasets` features in the metadata, as `datasets` itself writes it."""
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": dataset_features(schema)}})})
