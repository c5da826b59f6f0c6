"""Hugging Face's `tokenizers`, the reference: it knows for each token which characters it stands for.

`Reference` is used where it is loaded; as `python -m pipeline.tokens.reference` it answers from a process of its own,
so that loading it holds up nothing else.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from pipeline.child import Child, EndedError, answer, first_line
from pipeline.errors import ConfigError
from pipeline.tokens.tokenizer import TokenizerFile, open_tokenizer

# For the first answer it may have to load a large vocabulary, which takes about a second.
_ANSWER_SECONDS = 300.0
_TRIM = re.compile(rb'("trim_offsets":\s*)true')
Span = tuple[int, int]
# Ids, and for each whether it is trained on.
Ids = tuple[list[int], list[bool]]


class Reference:
    """A tokenizer, loaded when first used."""

    def __init__(self, file: TokenizerFile) -> None:
        self.file = file

    @cached_property
    def slow(self) -> Any:
        """A `tokenizers.Tokenizer` that cuts nothing. Raises: ConfigError if the file is not valid."""
        return self._load()

    @cached_property
    def _plain(self) -> Any:
        """The same with special tokens read as the text they are."""
        tokenizer = self._load()
        tokenizer.encode_special_tokens = True
        return tokenizer

    def _load(self) -> Any:
        from tokenizers import Tokenizer

        data = self.file.data
        self.file.content  # noqa: B018  what is wrong with it is said before it is loaded
        if b'"trim_offsets":' in data:  # of a token with blanks at its ends, all characters are its own
            data = _TRIM.sub(rb"\1false", data)
        with self._said("loaded"):
            tokenizer = Tokenizer.from_buffer(data)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @contextmanager
    def _said(self, what: str) -> Generator[None]:
        """While `tokenizers` works. Raises: ConfigError for whatever it runs into, a panic among it."""
        try:
            yield
        except ConfigError:
            raise
        except BaseException as error:  # it raises nothing more exact; a panic is no Exception
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            reason = " ".join(str(error).split())[:200]
            where = f"tokenizer={self.file.name}"
            raise ConfigError(where, f"cannot be {what} ({reason})", "name another") from error

    def with_spans(self, texts: Sequence[str], spans: Sequence[Sequence[Span]]) -> list[Ids]:
        """Ids of each text, and for each id whether its token holds a character of the text's spans.

        Raises: ConfigError if the tokenizer cannot encode one.
        """
        found: list[Ids] = []
        with self._said("used"):
            encodings = self.slow.encode_batch(list(texts), add_special_tokens=False)
        for own, encoding in zip(spans, encodings, strict=True):
            trained = [False] * len(encoding.ids)
            for start, end in own:
                first, last = _first(encoding, start, end), _last(encoding, start, end)
                if first is not None and last is not None:
                    trained[first : last + 1] = [True] * (last + 1 - first)
            found.append((encoding.ids, trained))
        return found

    def with_literals(self, text: str, spans: Sequence[Span], literal: Sequence[Span]) -> Ids | None:
        """The same for a text in which special tokens at `literal` are meant as text.

        None if this tokenizer reads a text differently when it is cut at special tokens.
        """
        with self._said("used"):
            return self._with_literals(text, spans, literal)

    def _with_literals(self, text: str, spans: Sequence[Span], literal: Sequence[Span]) -> Ids | None:
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
        return ids, trained

    def _cut(self, text: str, literal: Sequence[Span]) -> list[tuple[int, int, int | None]]:
        """Stretches of text, and between them the special tokens that are not meant as text, with their ids."""
        inside = {at for start, end in literal for at in range(start, end)}
        cuts: list[tuple[int, int, int | None]] = []
        at = 0
        for found in self.file.special_texts.finditer(text):
            if found.start() not in inside:
                cuts += [(at, found.start(), None), (found.start(), found.end(), self.file.special[found[0]])]
                at = found.end()
        return [*cuts, (at, len(text), None)]

    @cached_property
    def _can_be_cut(self) -> bool:
        if not self.file.special:
            return False
        probe = "".join(f"{token}user\nOne {token}\n two{token}three" for token in self.file.special)
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


class Remote:
    """The same, answered by a process of its own. Raises: ConfigError if that ends or does not answer."""

    def __init__(self, file: TokenizerFile) -> None:
        self._file = file
        self._child = Child("pipeline.tokens.reference", {"path": str(file.path.resolve())})

    def start(self) -> None:
        """Start loading."""
        self._child.start()

    def close(self) -> None:
        """End the process."""
        self._child.close()

    def with_spans(self, texts: Sequence[str], spans: Sequence[Sequence[Span]]) -> list[Ids]:
        """See `Reference`."""
        return self._ask("with_spans", list(texts), list(spans))

    def with_literals(self, text: str, spans: Sequence[Span], literal: Sequence[Span]) -> Ids | None:
        """See `Reference`."""
        return self._ask("with_literals", text, list(spans), list(literal))

    def _ask(self, do: str, *what: Any) -> Any:
        try:
            return self._child.ask({"do": do, "what": what}, _ANSWER_SECONDS)
        except EndedError as error:
            where = f"tokenizer={self._file.name}"
            raise ConfigError(where, f"cannot be used: {error}", "name another, or set tokens.backend") from error


def main() -> None:
    """Answer requests until there are no more."""
    reference = Reference(open_tokenizer(first_line()["path"]))
    reference.slow  # noqa: B018  loaded while nobody asks yet
    answers = {"with_spans": reference.with_spans, "with_literals": reference.with_literals}
    for line in sys.stdin:
        request = json.loads(line)
        answer(answers[request["do"]](*request["what"]))


if __name__ == "__main__":
    main()
