"""Token ids as text for people: every token by itself, no character lost and none printed in halves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from pipeline.tokens.codec import Codec
from pipeline.tokens.encode import IGNORED
from pipeline.tokens.tokenizer import byte_letters

_BYTE = re.compile("<0x([0-9A-F]{2})>")  # a byte as a vocabulary with byte fallback names it


@dataclass(frozen=True)
class Tokens:
    """Tokens that stand one after the other. `lost` ones are not in the sequences of the bundle.

    The texts of all tokens end to end are the text, but for the bytes `<0x…>` of characters that several tokens
    share: such a character stands with the last of them.
    """

    ids: list[int]
    texts: list[str]
    trained: list[bool]
    special: list[bool]
    lost: list[bool]

    def kept(self, pieces: Sequence[tuple[int, int]]) -> Tokens:
        """The same where only these stretches (first token, number of tokens) went into sequences.

        The first token of a stretch is not trained on.
        """
        lost, trained = [True] * len(self.ids), [False] * len(self.ids)
        for start, length in pieces:
            end = start + length
            lost[start:end] = [False] * length
            trained[start + 1 : end] = self.trained[start + 1 : end]
        return replace(self, trained=trained, lost=lost)


class _Decoder(msgspec.Struct):
    """The part of a tokenizer.json that says how tokens become text."""

    decoder: dict[str, Any] | None = None


class Spelling:
    """What each token of a tokenizer stands for."""

    def __init__(self, codec: Codec) -> None:
        self._tokenizer: Any = codec.slow
        added: dict[int, Any] = self._tokenizer.get_added_tokens_decoder()
        self._added = {token: str(own.content) for token, own in added.items()}
        self._special = {token for token, own in added.items() if own.special}
        byte_level = "ByteLevel" in _decoders(msgspec.json.decode(codec.file.data, type=_Decoder).decoder)
        self._letters = {letter: bytes([byte]) for byte, letter in enumerate(byte_letters())} if byte_level else None

    def tokens(self, ids: Sequence[int], labels: Sequence[int]) -> Tokens:
        """The tokens of one row or stretch, with their labels."""
        return Tokens(
            ids=list(ids),
            texts=list(_texts([self._bytes(token) for token in ids])),
            trained=[label != IGNORED for label in labels],
            special=[token in self._special for token in ids],
            lost=[False] * len(ids),
        )

    def _bytes(self, token: int) -> bytes:
        if token in self._added:
            return self._added[token].encode()
        name: str | None = self._tokenizer.id_to_token(token)
        if name is None:
            return f"<no token {token}>".encode()
        if self._letters is not None:
            return b"".join(self._letters.get(letter) or letter.encode() for letter in name)
        byte = _BYTE.fullmatch(name)
        return bytes([int(byte[1], 16)]) if byte else name.replace("\u2581", " ").encode()


def _decoders(decoder: dict[str, Any] | None) -> list[str]:
    """The type of a decoder, and those of its parts."""
    if decoder is None:
        return []
    return [decoder["type"], *(name for inner in decoder.get("decoders", []) for name in _decoders(inner))]


def _texts(tokens: Sequence[bytes]) -> Iterator[str]:
    """The text of each token. A character of several tokens comes with the last, and each shows its bytes of it."""
    signs = _signs(b"".join(tokens))
    sign, start, end = next(signs, ("", 0, 0))
    at = 0
    for token in tokens:
        stop, text = at + len(token), ""
        while at < stop:
            own = token[at - stop :][: end - at]
            whole = sign and at == start and end <= stop
            text += "" if whole else "".join(f"<0x{byte:02X}>" for byte in own)
            text += sign if end <= stop else ""
            at += len(own)
            if at == end:
                sign, start, end = next(signs, ("", 0, 0))
        yield text


def _signs(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Characters with their first byte and the byte after their last; a byte that belongs to none has no character."""
    at = 0
    for sign in data.decode("utf-8", "surrogateescape"):
        stray = "\udc80" <= sign <= "\udcff"
        end = at + (1 if stray else len(sign.encode()))
        yield "" if stray else sign, at, end
        at = end
