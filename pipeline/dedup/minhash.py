"""MinHash with banding: texts whose sets of n-grams are alike meet in a band.

The least hash of a set under a random order is that of another set as often as the sets' Jaccard similarity. A band
joins several of these, so that it agrees for alike sets only; several bands give alike sets several chances.
"""

from __future__ import annotations

import numpy as np

from pipeline.dedup.grams import Grams

# Of two texts just as alike as the threshold asks for, so many meet in some band.
_RECALL = 0.99
_FACTOR = np.uint64(0xD6E8FEB86659FD93)


def rows_a_band(threshold: float, permutations: int) -> int:
    """The most hashes that a band may join if texts of this similarity are still to meet (see _RECALL)."""
    fits = [rows for rows in range(1, permutations + 1) if _meet(threshold, rows, permutations // rows) >= _RECALL]
    return max(fits, default=1)


def _meet(similarity: float, rows: int, bands: int) -> float:
    return 1 - (1 - similarity**rows) ** bands


def band_keys(grams: Grams, rows: int, bands: int) -> np.ndarray:
    """The key of each text in each band: uint64, bands × texts; texts of other numbers never have the same."""
    starts = grams.offsets[:-1]
    factors, shifts = _permutations(rows * bands)
    keys = np.empty((bands, len(starts)), np.uint64)
    moved = np.empty_like(grams.hashes)
    for band in range(bands):
        key = grams.numbers
        for number in range(band * rows, (band + 1) * rows):
            np.multiply(grams.hashes, factors[number], out=moved)
            np.add(moved, shifts[number], out=moved)
            key = (key ^ (key >> np.uint64(32))) * _FACTOR + np.minimum.reduceat(moved, starts)
        keys[band] = key
    return keys


def _permutations(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Odd factors and shifts (uint32): hash → factor × hash + shift modulo 2^32 puts the hashes in another order.

    The numbers are those of SplitMix64, the same on every machine and with every version.
    """
    mixed = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(32)).astype(np.uint32) | np.uint32(1), mixed.astype(np.uint32)
