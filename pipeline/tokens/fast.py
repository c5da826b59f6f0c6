"""gigatoken, some fifty times as fast as the reference, which gives ids alone.

It runs in a process of its own (`python -m pipeline.tokens.fast`), since it holds Python's lock while it loads a
vocabulary, for most of a second, and while it encodes.
"""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from pipeline.child import Child, EndedError, answer_bytes, first_line, read_bytes
from pipeline.tokens.tokenizer import TokenizerFile, byte_letters, open_tokenizer

if TYPE_CHECKING:
    import pyarrow as pa

_ANSWER_SECONDS = 300.0
_SPACE = "▁".encode()  # how SentencePiece writes a space
# A vocabulary that lacks more single bytes than this is not a byte-level one.
_FEW_BYTES = 64


class Differs(Exception):
    """gigatoken gave something else than the reference, or nothing: the reference is to be asked."""


class Fast:
    """A tokenizer of gigatoken's, which starts to load with `start`, at the latest when first asked."""

    def __init__(self, file: TokenizerFile) -> None:
        where = {"path": str(file.path.resolve())}
        self._child = Child("pipeline.tokens.fast", where, {"OPENBLAS_NUM_THREADS": "1"})

    def start(self) -> None:
        """Start loading."""
        self._child.start()

    def close(self) -> None:
        """End the process."""
        self._child.close()

    @cached_property
    def pieces(self) -> pa.LargeBinaryArray:
        """What each token stands for, by id. None at all where gigatoken is absent or does not read this tokenizer.
        To be asked before `ids`."""
        import pyarrow as pa

        try:
            ends = np.frombuffer(self._child.ask_bytes(None, _ANSWER_SECONDS), np.int64)
            data = self._child.ask_bytes(None, _ANSWER_SECONDS)
        except EndedError:
            ends, data = np.zeros(1, np.int64), b""
        return pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), len(ends) - 1, [None, pa.py_buffer(ends), pa.py_buffer(data)]
        )

    def ids(self, text: bytes) -> np.ndarray:
        """The ids (uint32) of a text. Raises: Differs if there is no answer."""
        try:
            return np.frombuffer(self._child.ask_bytes(text, _ANSWER_SECONDS), np.uint32)
        except EndedError as error:
            raise Differs(str(error)) from error


def load(file: TokenizerFile) -> Any:
    """gigatoken's own object, or None where it is absent or does not read this tokenizer."""
    try:
        from gigatoken.gigatoken_rs import load_hf_json
    except ImportError:
        return None
    try:
        return load_hf_json(_all_bytes(file))
    except (RuntimeError, ValueError):  # a kind of tokenizer that it does not read
        return None


def _all_bytes(file: TokenizerFile) -> bytes:
    """tokenizer.json with a token for every byte: gigatoken wants them all.

    What it needs beyond the vocabulary gets ids from `size` on, so that a text with such a byte is told apart.
    """
    model = file.content.model
    if model.type != "BPE" or model.byte_fallback or not isinstance(model.vocab, dict):
        return file.data
    absent = [letter for letter in byte_letters() if letter not in model.vocab]
    if not 0 < len(absent) < _FEW_BYTES:
        return file.data
    whole = msgspec.json.decode(file.data)
    whole["model"]["vocab"] |= {letter: file.size + k for k, letter in enumerate(absent)}
    return msgspec.json.encode(whole)


def main() -> None:
    """Answer with the bytes of the tokens, then with the ids of each text, until there are no more."""
    tokenizer = load(open_tokenizer(first_line()["path"]))
    if tokenizer is None:
        return
    found: dict[int, bytes] = tokenizer.vocab
    pieces = [found.get(k, b"").replace(_SPACE, b" ") for k in range(max(found) + 1)]
    answer_bytes(np.cumsum([0, *map(len, pieces)], dtype=np.int64).tobytes())
    answer_bytes(b"".join(pieces))
    while (text := read_bytes(sys.stdin.buffer)) is not None:
        answer_bytes(memoryview(tokenizer.encode(text)).cast("B"))


if __name__ == "__main__":
    main()
