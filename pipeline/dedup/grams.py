"""Texts as sets of hashed n-grams, and as what they say in numbers: what near copies are measured by.

A token is a word, a number with its points and commas, a single character of a script without spaces (Chinese,
Japanese, Korean, Thai, Lao, Khmer, Burmese), or a sign: brackets, signs of arithmetic, currencies, emoji. Case,
white space, control characters and the marks of prose (`. , ; : ! ? …`, quotes, dashes) do not count; full-width
letters, digits and signs count as the usual ones.
"""

from __future__ import annotations

import sys
import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl
import polars_hash  # noqa: F401  # pyright: ignore[reportUnusedImport]  registers the namespace `nchash`

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_NUMBER = r"[0-9]+(?:[.,:][0-9]+)*"
_TOKEN = (
    rf"{_NUMBER}|[{_UNSPACED}]|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}0-9]]+"
    r"|[\p{S}*/%\\&@#()\[\]{}-]"
)
# 一 and "one" alone are rather words than numbers ("一起"); 十一 and "twenty one" still differ from 十 and "twenty".
_NUMERALS = "〇零二两三四五六七八九十百千万亿半"
_NUMBER_WORDS = (
    "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen"
    "|nineteen|(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:[ -]one)?|hundred|thousand|million|billion"
    "|half|quarter|third|dozen|once|twice|double|triple"
)
_SIGN = r"[-+*/^%=<>×÷()\[\]{}]"
_NUMBERS = (
    rf"(?:{_SIGN}\s*)*{_NUMBER}(?:\s*[)%^])*"
    rf"|[一{_NUMERALS}]{{2,}}|[{_NUMERALS}]"
    rf"|(?-u:\b)(?:{_NUMBER_WORDS})(?-u:\b)"
)
_ODD_FORMS = r"[\p{Nd}\u{ff01}-\u{ff5e}−--0-9]"
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Grams:
    """The n-grams of texts: `hashes[offsets[i]:offsets[i+1]]` (uint32, rising, none twice) are those of text *i*.

    `numbers` (uint64) is a hash of the text's sequence of numbers.
    """

    offsets: np.ndarray
    hashes: np.ndarray
    numbers: np.ndarray


def n_grams(texts: pl.Series, n: int) -> Grams:
    """The sets of n-grams of tokens of texts without nulls; a text of fewer tokens is one gram, its whole.

    A text without any token is one gram, too: the text as it stands.
    """
    plain = _fold(texts)
    frame = pl.DataFrame({"plain": plain}).select(
        "plain", pl.col("plain").str.extract_all(_TOKEN).alias("tokens"), _numbers(pl.col("plain")).alias("numbers")
    )
    bare = pl.col("tokens").list.len() == 0
    lists = frame.select(pl.when(bare).then(pl.concat_list("plain")).otherwise("tokens").alias("tokens"))
    tokens = lists.select(pl.col("tokens").explode().nchash.xxh3_64())  # type: ignore[attr-defined]
    lengths = lists["tokens"].list.len().to_numpy().astype(np.int64)
    hashes, offsets = _sets(*_hashed(tokens.to_series().to_numpy(), lengths, n))
    return Grams(offsets, hashes, frame["numbers"].to_numpy())


def _fold(texts: pl.Series) -> pl.Series:
    """The texts in lower case, with digits and full-width forms as the usual ones."""
    lower = texts.str.to_lowercase()
    if not lower.str.contains(_ODD_FORMS).any():
        return lower
    forms = _usual_forms()
    return lower.str.replace_many(list(forms), list(forms.values()))


@cache
def _usual_forms() -> dict[str, str]:
    """The ASCII character for each full-width one, for each digit of another script and for the minus sign."""
    digits = {sign: str(unicodedata.decimal(sign)) for sign in map(chr, range(128, sys.maxunicode)) if sign.isdecimal()}
    return {"−": "-", **{chr(code + 0xFEE0): chr(code) for code in range(0x21, 0x7F)}, **digits}


def _numbers(text: pl.Expr) -> pl.Expr:
    """A hash of the numbers of a text in their order, each with the signs and brackets beside it."""
    joined = text.str.extract_all(_NUMBERS).list.join("|")
    return joined.str.replace_all(r"\s", "").nchash.xxh3_64()  # type: ignore[attr-defined]


def _hashed(tokens: np.ndarray, lengths: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The hash (uint32) of every gram, and the number of grams of each text, from token hashes (uint64) end to end."""
    starts = np.cumsum(lengths) - lengths
    ahead = np.concatenate([tokens, np.zeros(n, np.uint64)])
    sums = np.zeros(len(tokens), np.uint64)
    short = np.flatnonzero(lengths < n)
    whole = np.zeros(len(short), np.uint64)
    for place in range(n):  # a polynomial in an odd factor, modulo 2^64: order counts
        sums = sums * _FACTOR + ahead[place : place + len(tokens)]
        whole = np.where(place < lengths[short], whole * _FACTOR + ahead[starts[short] + place], whole)
    sums[starts[short]] = whole
    counts = np.maximum(lengths - n + 1, 1)
    sums = sums[_stretches(starts, counts)]
    sums = (sums ^ (sums >> np.uint64(32))) * _FACTOR
    return ((sums ^ (sums >> np.uint64(29))) >> np.uint64(32)).astype(np.uint32), counts


def _sets(hashes: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each text's hashes rising and once only, end to end, and where each text begins (with the end of the last)."""
    keys = np.repeat(np.arange(len(counts), dtype=np.uint64) << np.uint64(32), counts) | hashes
    keys.sort()
    keys = keys[np.diff(keys, prepend=keys[:1] + np.uint64(1)) != 0]
    sizes = np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=len(counts))
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.uint32), np.concatenate([[0], np.cumsum(sizes)])


def _stretches(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The places start, start + 1, … of each stretch, one stretch after the other."""
    before = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) + np.repeat(starts - before, counts)


def joined(parts: list[Grams]) -> Grams:
    """The grams of texts of which parts were measured one after the other."""
    sizes = [np.diff(part.offsets) for part in parts]
    return Grams(
        np.concatenate([[0], np.cumsum(np.concatenate(sizes))]),
        np.concatenate([part.hashes for part in parts]),
        np.concatenate([part.numbers for part in parts]),
    )


def share_enough(grams: Grams, left: np.ndarray, right: np.ndarray, threshold: float) -> np.ndarray:
    """Whether the texts of each pair have equal numbers and n-grams of a Jaccard similarity of at least `threshold`.

    Exact, but for distinct grams whose 32-bit hashes agree (a chance of 1 in 400,000 for two texts of 100 grams).
    """
    sizes = np.diff(grams.offsets)
    small, large = np.minimum(sizes[left], sizes[right]), np.maximum(sizes[left], sizes[right])
    good = (small / large >= threshold) & (grams.numbers[left] == grams.numbers[right])
    some = np.flatnonzero(good)
    weights = (small + large)[some]
    ends = np.cumsum(weights)
    for part in np.split(some, np.flatnonzero(np.diff(ends // _PAIR_BLOCK)) + 1):
        common = _common(grams, left[part], right[part])
        good[part] = common / ((small + large)[part] - common) >= threshold
    return good


# Grams of pairs that are compared at a time; 8 bytes each.
_PAIR_BLOCK = 1_000_000


def _common(grams: Grams, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The number of grams that the two texts of each pair share."""
    texts = np.concatenate([left, right])
    starts, counts = grams.offsets[texts], grams.offsets[texts + 1] - grams.offsets[texts]
    pairs = np.tile(np.arange(len(left), dtype=np.uint64) << np.uint64(32), 2)
    keys = np.repeat(pairs, counts) | grams.hashes[_stretches(starts, counts)]
    keys.sort(kind="stable")  # which merges sorted stretches; these are two
    twice = keys[1:][keys[1:] == keys[:-1]]
    return np.bincount((twice >> np.uint64(32)).astype(np.int64), minlength=len(left))
