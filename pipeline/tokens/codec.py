"""Text → token ids, by two ways that must agree.

The reference is Hugging Face's `tokenizers`: it knows for each token which characters it stands for. gigatoken is
some fifty times as fast and gives ids alone. It is used where it is installed and reads the tokenizer, and it is
compared with the reference on texts made to tell tokenizers apart, and on rows of every batch.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from pipeline.errors import ConfigError
from pipeline.tokens.tokenizer import TokenizerFile

# Where tokenizers differ: emoji joined by ZWJ and with VS16, combining characters, scripts, digits, runs of blanks.
_PROBES = (
    "a  b\n\n\n c\t\td \r\n  ",
    "It's 2024, we'LL pay 1234567.89 at 12:05 — OK?",
    "👩‍👩‍👧 ☀️ 🇩🇪 👍🏽 e\u0301 n\u0303o \u1112\u1161\u11ab ﬁ Å",
    "一块橡皮8角，一把尺子15角。日本語 한국어 العربية हिन्दी ไทย",
    "def f(x):\n    return {'a': [x, x**2]}  # <b>bold</b> __init__ http://a.b/c?d=e&f=%20",
    "\u00a0\u2003\u3000 \u200b…‘’“”\U000e0041\U00040000",
)
_SPACE = "▁".encode()  # how SentencePiece writes a space
# A vocabulary that lacks more single bytes than this is not a byte-level one.
_FEW_BYTES = 64
Span = tuple[int, int]


def _byte_letters() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary (GPT-2's `bytes_to_unicode`)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


class Codec:
    """A tokenizer, loaded when first used; threads may share it.

    `backend`: `auto` uses gigatoken where it agrees, `tokenizers` never.
    """

    def __init__(self, file: TokenizerFile, backend: str = "auto") -> None:
        self.file, self.backend = file, backend
        self._lock = threading.Lock()

    def load(self) -> None:
        """Load both ways now, each in a thread of its own."""
        other = threading.Thread(target=lambda: self._gigatoken)
        other.start()
        self.slow  # noqa: B018
        other.join()

    @cached_property
    def slow(self) -> Any:
        """The reference. Raises: ConfigError if the file is not valid."""
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(self.file.data)
        except Exception as error:
            raise ConfigError(f"tokenizer={self.file.name}", f"cannot be loaded ({error})", "name another") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def _plain(self) -> Any:
        """The reference with special tokens read as the text they are."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.file.data)
        tokenizer.encode_special_tokens = True
        return tokenizer

    @cached_property
    def _gigatoken(self) -> Any:
        if self.backend != "auto":
            return None
        try:
            from gigatoken.gigatoken_rs import load_hf_json
        except ImportError:
            return None
        try:
            return load_hf_json(self._all_bytes())
        except (RuntimeError, ValueError):  # a kind of tokenizer that it does not read
            return None

    def _all_bytes(self) -> str:
        """tokenizer.json with a token for every byte: gigatoken wants them all.

        What it needs beyond the vocabulary gets ids from `size` on, so that a text with such a byte is told apart.
        """
        model = self.file.content.model
        if model.type != "BPE" or model.byte_fallback or not isinstance(model.vocab, dict):
            return self.file.data
        absent = [letter for letter in _byte_letters() if letter not in model.vocab]
        if not 0 < len(absent) < _FEW_BYTES:
            return self.file.data
        whole = msgspec.json.decode(self.file.data)
        whole["model"]["vocab"] |= {letter: self.file.size + k for k, letter in enumerate(absent)}
        return msgspec.json.encode(whole).decode()

    @cached_property
    def fast(self) -> Any:
        """gigatoken, or None where it is absent, refuses the tokenizer, or does not agree with the reference."""
        with self._lock:
            found = self._gigatoken
        return found if found is not None and all(self._agrees(found, probe) for probe in _PROBES) else None

    def _agrees(self, fast: Any, text: str) -> bool:
        ids = fast.encode(text).tolist()
        foreign = max(ids) >= self.file.size  # such texts are left to the reference
        return foreign or ids == self.slow.encode(text, add_special_tokens=False).ids

    @cached_property
    def lengths(self) -> np.ndarray:
        """The bytes that each token of gigatoken's stands for, by id: how many (int64)."""
        pieces: dict[int, bytes] = self.fast.vocab
        found = np.zeros(max(pieces) + 1, np.int64)
        found[list(pieces)] = [len(piece.replace(_SPACE, b" ")) for piece in pieces.values()]
        return found

    def with_spans(self, texts: Sequence[str], spans: Sequence[Sequence[Span]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Ids of each text, and for each id whether its token holds a character of the text's spans."""
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for own, encoding in zip(spans, self.slow.encode_batch(list(texts), add_special_tokens=False), strict=True):
            trained = np.zeros(len(encoding.ids), dtype=bool)
            for start, end in own:
                first, last = _first(encoding, start, end), _last(encoding, start, end)
                if first is not None and last is not None:
                    trained[first : last + 1] = True
            found.append((np.array(encoding.ids, np.int32), trained))
        return found

    def with_literals(
        self, text: str, spans: Sequence[Span], literal: Sequence[Span]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """The same for a text in which special tokens at `literal` are meant as text.

        None if this tokenizer reads a text differently when it is cut at special tokens.
        """
        if not self._can_be_cut:
            return None
        ids: list[int] = []
        places: list[Span] = []
        for start, end, token in self._cut(text, literal):
            if token is not None:
                ids.append(token)
                places.append((start, end))
            elif start < end:
                encoding = self._plain.encode(text[start:end], add_special_tokens=False)
                ids += encoding.ids
                places += [(start + begin, start + stop) for begin, stop in encoding.offsets]
        trained = [any(begin < end and start < stop for start, end in spans) for begin, stop in places]
        return np.array(ids, np.int32), np.array(trained, bool)

    def _cut(self, text: str, literal: Sequence[Span]) -> list[tuple[int, int, int | None]]:
        """Stretches of text, and between them the special tokens that are not meant as text, with their ids."""
        inside = {at for start, end in literal for at in range(start, end)}
        cuts: list[tuple[int, int, int | None]] = []
        at = 0
        for found in self.special_texts.finditer(text):
            if found.start() not in inside:
                cuts += [(at, found.start(), None), (found.start(), found.end(), self.file.special[found[0]])]
                at = found.end()
        return [*cuts, (at, len(text), None)]

    @cached_property
    def special_texts(self) -> re.Pattern[str]:
        """Matches the special tokens, the longest first."""
        return re.compile("|".join(map(re.escape, self.file.special)) or "(?!)")

    @cached_property
    def _can_be_cut(self) -> bool:
        token = next(iter(self.file.special), None)
        if token is None:
            return False
        probe = f"{token}user\nOne {token}\n two{token}three"
        pieces: list[int] = []
        for start, end, number in self._cut(probe, []):
            plain = self._plain.encode(probe[start:end], add_special_tokens=False).ids
            pieces += plain if number is None else [number]
        return pieces == self.slow.encode(probe, add_special_tokens=False).ids


def _first(encoding: Any, start: int, end: int) -> int | None:
    """The token of the first character of the span that has one."""
    return next((token for at in range(start, end) if (token := encoding.char_to_token(at)) is not None), None)


def _last(encoding: Any, start: int, end: int) -> int | None:
    """The last token that holds a piece of the last character of the span that has any."""
    places = range(end - 1, start - 1, -1)
    token = next((token for at in places if (token := encoding.char_to_token(at)) is not None), None)
    if token is None:
        return None
    while (chars := encoding.token_to_chars(token + 1) if token + 1 < len(encoding) else None) and chars[0] < end:
        token += 1  # `char_to_token` names the first of the several tokens that an emoji may take
    return token
