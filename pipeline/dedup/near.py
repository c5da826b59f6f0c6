"""Near copies: texts that share most of their n-grams and say the same numbers.

Texts that meet in a band of their MinHash are compared by their whole sets of n-grams, so chance decides only
which alike texts are missed, never which are joined.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from pipeline.dedup.grams import Grams, joined, n_grams, share_enough
from pipeline.dedup.minhash import band_keys, rows_a_band
from pipeline.workers import in_order

# Bytes of text that are hashed at a time: small enough that the numbers stay in the processor's cache.
_BLOCK = 1 << 20
# Members of a band's bucket, in order, that each member is compared with, besides the first.
_NEIGHBOURS = 4


@dataclass(frozen=True)
class Near:
    """What makes two texts near copies.

    `threshold` is the least Jaccard similarity (0 to 1) of their sets of grams, a gram being `tokens` tokens (words,
    or characters of a script without spaces) in a row. `permutations` is the number of hashes that a text is found
    by: more find more of the pairs just above the threshold.
    """

    threshold: float = 0.8
    tokens: int = 5
    permutations: int = 128


def near_clusters(texts: pl.Series, near: Near) -> np.ndarray:
    """For each text the index of the first text of its cluster (its own where it is alone): int64, len(texts).

    Near copies are texts with the same numbers in the same order (digits and number words, with the signs beside
    them) whose sets of grams are at least as similar as `near.threshold`. A cluster is what is connected by such
    pairs. Texts have no nulls. Memory: 4 bytes a token and 8 a band.
    """
    clusters = np.arange(len(texts))
    if len(texts) < 2:
        return clusters
    grams, keys = _measure(texts, near)
    met, gone, compared = clusters, np.zeros(len(texts), bool), 0
    while True:
        crowded = np.zeros(len(texts), bool)
        for band in keys:
            left, right, crowd = _meetings(band, met, gone, compared)
            crowded[crowd] = True
            apart = clusters[left] != clusters[right]
            left, right = left[apart], right[apart]
            good = share_enough(grams, left, right, near.threshold)
            clusters = _connected(clusters, left[good], right[good])
        # Where others between them went, texts of a crowded bucket meet that did not before.
        met = met[crowded[met]]
        gone = clusters != np.arange(len(texts))
        if not gone[met].any():
            return clusters
        compared = _NEIGHBOURS


def _measure(texts: pl.Series, near: Near) -> tuple[Grams, np.ndarray]:
    """The grams of texts, and their keys (uint64, bands × texts)."""
    rows = rows_a_band(near.threshold, near.permutations)

    def measure(block: pl.Series) -> tuple[Grams, np.ndarray]:
        grams = n_grams(block, near.tokens)
        return grams, band_keys(grams, rows, near.permutations // rows)

    ends = np.cumsum(texts.str.len_bytes().to_numpy().astype(np.int64) + 1)
    cuts = [0, *(np.flatnonzero(np.diff(ends // _BLOCK)) + 1).tolist(), len(texts)]
    blocks = (texts.slice(start, end - start) for start, end in pairwise(cuts))
    parts = list(in_order(measure, blocks))
    return joined([grams for grams, _ in parts]), np.concatenate([keys for _, keys in parts], axis=1)


def _meetings(
    band: np.ndarray, texts: np.ndarray, gone: np.ndarray, compared: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of texts that one band puts into one bucket, and the texts of the buckets too crowded to pair all.

    A text is paired with the _NEIGHBOURS before it in its bucket and with the bucket's first, so that the work grows
    with the number of texts only. Texts that are `gone` do not count; left out are pairs that met while they did:
    with the same first, or at most `compared` places apart.
    """
    order = texts[np.argsort(band[texts], kind="stable")]
    was_first = _changes(band[order])
    places = np.flatnonzero(~gone[order])
    order, was_first = order[places], was_first[places]
    keys = band[order]
    left: list[np.ndarray] = []
    right: list[np.ndarray] = []
    for apart in range(1, _NEIGHBOURS + 1):
        one = np.flatnonzero((keys[apart:] == keys[:-apart]) & (places[apart:] - places[:-apart] > compared))
        left.append(order[one])
        right.append(order[one + apart])
    new = _changes(keys)
    starts = np.flatnonzero(new)
    bucket = np.cumsum(new) - 1
    first = starts[bucket]
    far = np.flatnonzero((np.arange(len(keys)) - first > _NEIGHBOURS) & ~(was_first[first] & (compared > 0)))
    left.append(order[first[far]])
    right.append(order[far])
    crowded = np.diff(starts, append=len(keys)) > _NEIGHBOURS + 1
    return np.concatenate(left), np.concatenate(right), order[crowded[bucket]]


def _changes(keys: np.ndarray) -> np.ndarray:
    """Whether each key differs from the one before it; the first does."""
    return np.diff(keys, prepend=keys[:1] + np.uint64(1)) != 0


def _connected(clusters: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The clusters with those of each pair made one: each text's cluster is its smallest index, before and after."""
    clusters = clusters.copy()
    while True:
        one, other = clusters[left], clusters[right]
        if np.array_equal(one, other):
            return clusters
        np.minimum.at(clusters, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(further := clusters[clusters], clusters):
            clusters = further
