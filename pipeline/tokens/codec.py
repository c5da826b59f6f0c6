"""Text → token ids, by two ways that must agree.

The reference (`reference.py`) is Hugging Face's `tokenizers`: it knows for each token which characters it stands for.
gigatoken (`fast.py`) is some fifty times as fast and gives ids alone. It is used where it is installed and reads the
tokenizer, and then compared with the reference on texts made to tell tokenizers apart, and on rows of every batch: one
difference, and the reference does it all.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.tokens.fast import Differs, Fast
from pipeline.tokens.reference import Reference, Remote, Span
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
# So many rows are sent to the reference's own process; more are worth loading it here, where it has all cores.
_FEW_ROWS = 2000


@dataclass(frozen=True)
class Sample:
    """A text, its targets as ranges of characters, and what gigatoken made of it."""

    text: str
    spans: Sequence[Span]
    ids: list[int]
    trained: list[bool]


class Codec(AbstractContextManager["Codec"]):
    """A tokenizer, loaded when first used; threads may share it.

    `backend`: `auto` uses gigatoken where it agrees, `tokenizers` never.
    """

    def __init__(self, file: TokenizerFile, backend: str = "auto") -> None:
        self.file, self.backend = file, backend
        self.local = Reference(file)
        self._remote: Remote | None = None
        self._fast = Fast(file) if backend == "auto" else None
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the processes that it has started."""
        for process in (self._remote, self._fast):
            if process is not None:
                process.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin to load what encoding many rows takes."""
        if self._fast is not None:
            self._fast.start()
            self._asked_elsewhere().start()
        threading.Thread(target=self._load, daemon=True).start()

    def _load(self) -> None:
        with suppress(Exception):  # said where the tokenizer is used, if it still is
            if self.fast is None:
                self.local.slow  # noqa: B018

    def _asked_elsewhere(self) -> Remote:
        if self._remote is None:
            self._remote = Remote(self.file)
        return self._remote

    @property
    def slow(self) -> Any:
        """The reference: a `tokenizers.Tokenizer`. Raises: ConfigError if the file is not valid."""
        return self.local.slow

    def with_spans(self, texts: Sequence[str], spans: Sequence[Sequence[Span]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Ids of each text by the reference, and for each id whether its token holds a character of a span."""
        if not texts:
            return []
        far = self._remote if len(texts) <= _FEW_ROWS else None
        found = (far or self.local).with_spans(texts, spans)
        return [(np.array(ids, np.int32), np.array(trained, bool)) for ids, trained in found]

    def with_literals(
        self, text: str, spans: Sequence[Span], literal: Sequence[Span]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """The same for a text in which special tokens at `literal` are meant as text; None if that cannot be told."""
        found = (self._remote or self.local).with_literals(text, spans, literal)
        return (np.array(found[0], np.int32), np.array(found[1], bool)) if found is not None else None

    @cached_property
    def fast(self) -> Fast | None:
        """gigatoken, or None where it is absent or does not read the tokenizer. Its ids are to be confirmed."""
        with self._lock:
            return self._fast if self._fast is not None and len(self._fast.pieces) else None

    def confirm(self, samples: Sequence[Sample]) -> None:
        """Compare gigatoken with the reference, on these samples and on texts made to tell tokenizers apart.

        Raises: Differs if the reference gives other ids, or finds others to be trained on.
        """
        if not samples or self.fast is None:
            return
        spans = [*(sample.spans for sample in samples), *([] for _ in _PROBES)]
        expected = self._asked_elsewhere().with_spans([*(sample.text for sample in samples), *_PROBES], spans)
        for sample, (ids, trained) in zip(samples, expected, strict=False):
            if ids != sample.ids or trained != sample.trained:
                raise Differs(sample.text)
        for probe, (ids, _) in zip(_PROBES, expected[len(samples) :], strict=True):
            own = self.fast.ids(probe.encode()).tolist()
            if own != ids and max(own) < self.file.size:  # texts with foreign ids are left to the reference
                raise Differs(probe)
