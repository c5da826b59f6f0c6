"""Texts without what tells no two apart (case, width, spaces, punctuation), and their long n-grams as numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import polars_hash  # noqa: F401  # pyright: ignore[reportUnusedImport]  registers the namespace `nchash`

# Scripts that put no spaces between words: each character counts by itself.
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_NOTHING = r"[[\p{P}\p{Z}\p{C}\s]--[%]]+"
# Before a number these are arithmetic and no punctuation: 7 - 5, 7 * 5 and 7 / 5 are different questions.
_SIGNS = {r"-\s*(\d)": "−$1", r"\*\s*(\d)": "×$1", r"/\s*(\d)": "÷$1", r"[\p{S}%]": " $0 "}
_BASE = 0x9E3779B97F4A7C15


def folded(texts: pl.Series) -> pl.Series:
    """The texts in lower case and plain width, punctuation and white space of any length as one space; signs like
    `+` and the characters of scripts without spaces are words of their own."""
    plain = texts.str.to_lowercase()
    wide = (texts.str.len_bytes() != texts.str.len_chars()).arg_true()
    if len(wide):
        narrow = plain.gather(wide).str.normalize("NFKC").str.to_lowercase().str.replace_all(_UNSPACED, " $0 ")
        plain = plain.scatter(wide, narrow)
    for sign, spaced in _SIGNS.items():
        plain = plain.str.replace_all(sign, spaced)
    return plain.str.replace_all(_NOTHING, " ").str.strip_chars(" ")


@dataclass(frozen=True)
class Grams:
    """Stretches of words, one a line of the arrays, in the order of the texts.

    `number` is the same for the same words; `text` says in which text a stretch stands, `start` at which of the
    `words` of all texts it begins, and `is_spaced` whether its words have spaces between them.
    """

    words: pl.Series
    number: np.ndarray
    text: np.ndarray
    start: np.ndarray
    is_spaced: np.ndarray


def grams_of(texts: pl.Series, words: int, characters: int) -> Grams:
    """The stretches of folded texts: of so many words without a character of a script without spaces, and of so many
    words and characters where there is one. At least half of a stretch begins with a letter: to count from 1 to 20
    is no text of anyone.
    """
    enough = (texts.str.count_matches(" ", literal=True) + 1 >= min(words, characters)).arg_true()
    lists = texts.gather(enough).str.split(" ")
    text = np.repeat(enough.to_numpy().astype(np.int64), lists.list.len().to_numpy())
    each = lists.explode()
    numbers = each.to_frame("word").select(pl.col("word").nchash.xxh3_64()).to_series().to_numpy()  # type: ignore[attr-defined]
    letters = _running(each.str.contains(r"^\p{L}"))
    unspaced = _running(each.str.contains(f"^{_UNSPACED}"))
    number: list[np.ndarray] = []
    start: list[np.ndarray] = []
    for length, is_spaced in ((words, True), (characters, False)):
        if len(each) >= length:
            fits = text[: len(text) - length + 1] == text[length - 1 :]
            fits &= (unspaced[length:] == unspaced[:-length]) == is_spaced
            fits &= 2 * (letters[length:] - letters[:-length]) >= length
            start.append(np.flatnonzero(fits))
            number.append(_rolled(numbers, length)[fits])
    starts = np.concatenate([*start, np.zeros(0, np.int64)])
    spaced = np.repeat([True, False][: len(start)], [len(part) for part in start])
    order = np.argsort(starts, kind="stable")
    every = np.concatenate([*number, np.zeros(0, np.uint64)])
    return Grams(each, every[order], text[starts[order]], starts[order], spaced[order].astype(bool))


def _running(flags: pl.Series) -> np.ndarray:
    """How many of the first 0, 1, 2 … are true."""
    return np.append(0, np.cumsum(flags.to_numpy()))


def _rolled(numbers: np.ndarray, length: int) -> np.ndarray:
    """A number for each stretch of `length` numbers: their polynomial in _BASE, modulo 2^64."""
    if length == 1:
        return numbers
    half = length // 2
    part = _rolled(numbers, half)
    whole = part[:-half] * np.uint64(pow(_BASE, half, 2**64)) + part[half:]
    return whole if length % 2 == 0 else whole[:-1] * np.uint64(_BASE) + numbers[length - 1 :]
