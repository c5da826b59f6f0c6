"""One schema for every pool and bundle, and `datasets` reads it."""

import datasets
import polars as pl
import pyarrow as pa
import pytest

from pipeline.errors import SchemaError
from pipeline.schema import BUNDLE, MESSAGE, POOL, TURN_COLUMNS, conform, dataset_features, with_features


def test_large_strings_and_lists_are_cast() -> None:
    table = POOL.empty_table()
    large = pl.DataFrame(pl.from_arrow(table)).to_arrow()
    assert large.schema != POOL
    assert conform(large, POOL).schema == POOL


def test_other_columns_are_left_out_and_the_order_is_the_schema_s() -> None:
    table = POOL.empty_table().append_column("more", pa.array([], pa.int64()))
    assert conform(table.select(reversed(table.column_names)), POOL).schema == POOL


def test_a_missing_column_is_named() -> None:
    with pytest.raises(SchemaError, match="no column tags, key"):
        conform(POOL.empty_table().drop_columns(["tags", "key"]), POOL)


def test_a_column_of_another_type_is_refused() -> None:
    table = pa.table({name: pa.array(["x"]) for name in POOL.names})
    with pytest.raises(SchemaError):
        conform(table, POOL)


@pytest.mark.parametrize("schema", [POOL, BUNDLE], ids=["pool", "bundle"])
def test_datasets_understands_the_features(schema: pa.Schema) -> None:
    features = datasets.Features.from_dict(dataset_features(schema))
    assert list(features) == schema.names
    assert features.arrow_schema.types == schema.types
    assert datasets.Features.from_arrow_schema(with_features(schema)) == features


def test_the_turns_of_a_row_are_its_messages() -> None:
    assert [name for name in TURN_COLUMNS if name != "i"] == [field.name for field in MESSAGE]
    assert [name for name in BUNDLE.names if name not in POOL.names] == ["epoch"]
