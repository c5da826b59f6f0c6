"""Ids by gigatoken, which gives no offsets, and where targets begin and end among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.arrow import integers, numbers
from pipeline.tokens.fast import Fast
from pipeline.tokens.reference import Span
from pipeline.tokens.tokenizer import TokenizerFile

# Characters newer than this version of Unicode may be letters for one library and nothing for the other, which then
# cut a text in different places.
_TOO_NEW = r"[^\p{Age:15.0}]"


@dataclass(frozen=True)
class Ids:
    """Ids and whether they are trained on, flat, and how many each row has."""

    ids: np.ndarray
    trained: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Targets:
    """`targets` flat: row *k* has starts[bounds[k]:bounds[k + 1]] and ends likewise, in characters."""

    bounds: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    @staticmethod
    def of(column: pa.Array) -> Targets:
        """Those of a batch's column `targets`."""
        lengths = numbers(column.value_lengths()).astype(np.int64)
        starts, ends = column.flatten().flatten()
        return Targets(np.append(0, np.cumsum(lengths)), numbers(starts), numbers(ends))

    def of_rows(self, at: np.ndarray) -> list[list[Span]]:
        """Those of some rows."""
        parts = [slice(self.bounds[k], self.bounds[k + 1]) for k in at]
        return [list(zip(self.starts[own].tolist(), self.ends[own].tolist(), strict=True)) for own in parts]


def quick_ids(
    text: pl.Series, targets: Targets, plain: np.ndarray, file: TokenizerFile, fast: Fast
) -> tuple[Ids | None, np.ndarray]:
    """gigatoken's ids of the rows `plain`, and the rows among them that the reference has to encode.

    It gives no offsets. But the bytes of the tokens laid end to end must be the text, byte for byte, and then say
    where each token begins and ends. Where they are not (a normalizer changed the text, say), or where a text has
    bytes that the vocabulary lacks or characters that are newer than some libraries, the reference decides. Raises:
    Differs if gigatoken ends.
    """
    texts = text.gather(plain)
    separator = next((token for token in file.special if not texts.str.contains(token, literal=True).any()), None)
    if separator is None:
        return None, plain
    mark = separator.encode()
    data, bounds = _joined(texts, mark)
    whole = fast.ids(data)
    at = np.flatnonzero(whole == file.special[separator])
    if len(at) != len(plain) - 1:
        return None, plain
    edges, written = _written(whole, fast)
    last = np.append(at, len(whole))  # the token after each row
    first = np.append(0, at + 1)
    own = np.stack([edges[first], edges[last]], axis=1)
    wrong = _wrong(written, np.frombuffer(data, np.uint8), own, bounds)
    row_of = np.repeat(np.arange(len(plain)), np.diff(np.append(first, len(whole))))
    wrong[row_of[whole >= file.size]] = True
    wrong |= texts.str.contains(_TOO_NEW).to_numpy()
    shift = (bounds - own)[:, 0]  # 0 unless a row before has other bytes than its text
    trained = _trained(texts, targets, plain, bounds[:, 0], edges[1:] + shift[row_of], np.diff(edges))
    kept = np.ones(len(whole), dtype=bool)
    kept[at] = False
    return Ids(whole[kept].astype(np.int32), trained[kept], last - first), plain[wrong]


def _joined(texts: pl.Series, mark: bytes) -> tuple[bytes, np.ndarray]:
    """The texts with marks between them, and where each begins and ends, in bytes (rows × 2)."""
    data = texts.str.join(mark.decode())[0].encode()
    lengths = texts.str.len_bytes().to_numpy().astype(np.int64)
    ends = np.cumsum(lengths + len(mark)) - len(mark)
    return data, np.stack([ends - lengths, ends], axis=1)


def _written(ids: np.ndarray, fast: Fast) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of tokens end to end, and where each begins, with the end."""
    if len(ids) == 0:
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    _, edges, data = fast.pieces.take(integers(ids)).buffers()
    return np.frombuffer(edges, np.int64, len(ids) + 1), np.frombuffer(data, np.uint8)


def _wrong(written: np.ndarray, data: np.ndarray, tokens: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Whether the bytes of each row's tokens are others than those of its text; both rows × (begin, end)."""
    if np.array_equal(tokens, texts) and np.array_equal(written[: len(data)], data):
        return np.zeros(len(texts), dtype=bool)
    pairs = zip(tokens.tolist(), texts.tolist(), strict=True)
    return np.array([not np.array_equal(written[a:b], data[c:d]) for (a, b), (c, d) in pairs])


def _trained(
    texts: pl.Series, targets: Targets, plain: np.ndarray, begins: np.ndarray, ends: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    """Whether each token, by where it ends and its length in bytes, holds a byte of a target of its row."""
    spans = np.diff(targets.bounds)[plain]
    row = np.repeat(np.arange(len(plain)), spans)
    flat = np.repeat(targets.bounds[plain] - np.cumsum(spans) + spans, spans) + np.arange(len(row))
    sizes = texts.str.len_bytes().to_numpy().astype(np.int64)
    start, end = (
        _bytes_before(texts, sizes, row, chars[flat].astype(np.int64)) + begins[row]
        for chars in (targets.starts, targets.ends)
    )
    changes = np.zeros(len(ends) + 1, np.int32)
    np.add.at(changes, np.searchsorted(ends, start, side="right"), 1)
    np.add.at(changes, np.searchsorted(ends - lengths, end, side="left"), -1)
    return np.cumsum(changes[:-1]) > 0


def _bytes_before(texts: pl.Series, lengths: np.ndarray, row: np.ndarray, chars: np.ndarray) -> np.ndarray:
    """The bytes that the first `chars` characters of a row's text take."""
    wide = lengths != texts.str.len_chars().to_numpy()
    if not wide.any():
        return chars
    at = np.flatnonzero(wide[row])
    frame = pl.DataFrame({"text": texts.gather(row[at]), "chars": chars[at]})
    found = chars.copy()
    found[at] = frame.select(pl.col("text").str.head(pl.col("chars")).str.len_bytes())["text"].to_numpy()
    return found
