"""What to show of near copies: the largest clusters, each with the row that stays and one that goes."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

_CLUSTERS = 20
_IDS = 100  # of the rows of one cluster that go
_CHARS = 400  # of a text


def largest_clusters(first: np.ndarray, gone: np.ndarray, ids: pl.Series, texts: pl.Series) -> dict[str, Any]:
    """How many clusters and rows that go there are, and the largest clusters, of equal ones the earlier first.

    In: for each row the index of its cluster's first row, whether it goes, its id and text.
    """
    index = np.flatnonzero(gone)
    firsts, counts = np.unique(first[index], return_counts=True)
    largest = firsts[np.argsort(-counts, kind="stable")][:_CLUSTERS]

    def row(at: int) -> dict[str, str]:
        return {"id": ids[at], "text": texts[at][:_CHARS]}

    listed: list[dict[str, Any]] = []
    for kept in largest.tolist():
        dropped = index[first[index] == kept]
        listed.append(
            {
                "dropped_rows": len(dropped),
                "kept": row(kept),
                "dropped": row(int(dropped[0])),
                "dropped_ids": ids.gather(dropped[:_IDS]).to_list(),
            }
        )
    return {"clusters": len(firsts), "dropped_rows": len(index), "largest": listed}
