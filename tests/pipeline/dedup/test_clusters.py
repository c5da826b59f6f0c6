from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dedup.clusters import largest_clusters


@given(st.lists(st.integers(0, 60), max_size=120))
def test_the_largest_clusters_come_first_and_all_are_counted(labels: list[int]) -> None:
    first = np.array([labels.index(label) for label in labels], np.int64)
    gone = first != np.arange(len(first))
    ids = pl.Series("id", [f"s:{k}" for k in range(len(labels))], pl.String)
    found = largest_clusters(first, gone, ids, pl.Series("text", [str(label) for label in labels], pl.String))
    assert found["dropped_rows"] == gone.sum()
    assert found["clusters"] == len(set(first[gone]))
    sizes = [cluster["dropped_rows"] for cluster in found["largest"]]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == min(20, found["clusters"])
    for cluster in found["largest"]:
        assert cluster["kept"]["text"] == cluster["dropped"]["text"]
        assert cluster["dropped"]["id"] == cluster["dropped_ids"][0] != cluster["kept"]["id"]
        assert len(cluster["dropped_ids"]) == min(100, cluster["dropped_rows"])
