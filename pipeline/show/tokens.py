"""Rows as a model is trained on them: their text with what is trained on, and their tokens."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.damage import whole_table
from pipeline.errors import ConfigError, ConfigErrors, PoolmixError
from pipeline.folder import DATA
from pipeline.input_settings import InputSettings, read_inputs
from pipeline.manifest import Bundle
from pipeline.pool import Pool
from pipeline.render.render import Rendering, render
from pipeline.schema import RENDERED
from pipeline.show.rows import one_row
from pipeline.tokens.encode import encode
from pipeline.tokens.view import Spelling, Tokens
from pipeline.tokens.written import Piece, Sequences, find_sequences, no_sequences
from pipeline.tools import Tools, tools

# What `read_inputs` wants and showing a row does not depend on; a few rows are encoded by the reference.
_TOKENS = {"max_length": 2, "on_long": "truncate", "pack": True, "backend": "tokenizers"}


@dataclass(frozen=True)
class Shown:
    """A row's text, the character ranges of it that are trained on, and its tokens where they are asked for.

    `why` says what is missing. `pieces` are the row's stretches in the sequences; None where there are no sequences.
    """

    text: str | None
    targets: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    tokens: Tokens | None = None
    pieces: list[Piece] | None = None
    why: str = ""


@dataclass(frozen=True)
class Packed:
    """A sequence: for each document in it the row, its first token there, and the tokens."""

    number: int
    size: int
    documents: list[tuple[dict[str, Any], int, Tokens]]


class View:
    """How rows are looked at: `template` is the name of the one that makes their text, `tokenizer` that of theirs."""

    def __init__(self, place: Bundle | Pool, settings: InputSettings | None, with_: Tools, asked: bool) -> None:
        self._place, self._settings, self._renderer, self._codec = place, settings, with_.renderer, with_.codec
        by = made = place.manifest.get("template") if isinstance(place, Bundle) else None
        if asked and with_.renderer is not None:
            by = {"name": with_.renderer.template.name, "key": with_.renderer.template.key()}
        self._own = made is not None and made == by  # the rows have the texts that are asked for
        self.template: str = by["name"] if by is not None else ""
        self.tokenizer = with_.codec.file.name if with_.codec is not None else None
        self.sequences: Sequences | None = None
        if isinstance(place, Bundle) and with_.codec is not None and by is not None:
            self.sequences = find_sequences(place, with_.codec.file.digest, by["key"])
        self._spelling = Spelling(with_.codec) if with_.codec is not None else None

    def rows(self, rows: Sequence[Mapping[str, Any]], split: str | None, at: Sequence[int]) -> list[Shown]:
        """Rows as plain values, `at` these places of a split of the bundle (None: in none)."""
        pieces: Mapping[int, list[Piece]] = {}
        if self.sequences is not None and split is not None:
            pieces = self.sequences.pieces(split, at)
        places = at if split is not None else [-1] * len(rows)
        return [self._row(row, pieces.get(place)) for row, place in zip(rows, places, strict=True)]

    def _row(self, row: Mapping[str, Any], pieces: list[Piece] | None) -> Shown:
        table = one_row(row)
        rendered, why = self._rendered(row, table)
        if rendered is None:
            return Shown(None, why=why, pieces=pieces)
        text, targets = rendered.column("text")[0].as_py(), rendered.column("targets")[0].as_py()
        ranges = [(target["start"], target["end"]) for target in targets]
        if self._codec is None or self._spelling is None or self._renderer is None:
            return Shown(text, ranges)
        encoded = encode(table, rendered, self._codec, self._renderer, fast=False)
        if encoded.unmarked:
            why = "no tokens: special tokens in its text cannot be told from the template's"
            return Shown(text, ranges, pieces=pieces, why=why)
        tokens = self._spelling.tokens(*(encoded.columns.column(name)[0].as_py() for name in ("input_ids", "labels")))
        if pieces is not None:
            tokens = tokens.kept([(piece.start, piece.length) for piece in pieces])
        return Shown(text, ranges, tokens, pieces)

    def _rendered(self, row: Mapping[str, Any], table: pa.RecordBatch) -> tuple[pa.RecordBatch | None, str]:
        """The columns RENDERED of the row, or why there are none."""
        if self._own and row.get("text") is not None:
            own = {"text": row["text"], "targets": row["targets"]}
            return pa.RecordBatch.from_pylist([own], schema=RENDERED), ""
        why = f"no text: {self.template} cannot render it"
        if self._renderer is None or self._settings is None:
            return None, why if "epoch" in row else ""
        done = render(table, Rendering(self._renderer, self._settings.loss_of(row["source"])))
        if done.refused:
            return None, f"{why} ({done.refused[0][1]})"
        return (None, why) if self._own and "epoch" in row else (done.columns, "")

    def count(self, split: str) -> int:
        """How many sequences a split has."""
        return self.sequences.table(split).num_rows if self.sequences is not None else 0

    def packed(self, split: str, n: int) -> Iterator[Packed]:
        """The first `n` sequences of a split, as they are written. Raises: ConfigError if there are none."""
        if self.sequences is None or self._spelling is None or not isinstance(self._place, Bundle):
            raise no_sequences(self._place, self.tokenizer, self.template)
        rows = whole_table(self._place, f"{split}/{DATA}").select(["id", "source", "epoch"])
        table = self.sequences.table(split)
        for number in range(min(n, table.num_rows)):
            sequence = table.slice(number, 1).to_pylist()[0]
            documents: list[tuple[dict[str, Any], int, Tokens]] = []
            at = 0
            for row, start, length in zip(*(sequence[name] for name in ("rows", "starts", "seq_lengths")), strict=True):
                own = slice(at, at + length)
                tokens = self._spelling.tokens(sequence["input_ids"][own], sequence["labels"][own])
                documents.append((rows.slice(row, 1).to_pylist()[0], start, tokens))
                at += length
            yield Packed(number, self.sequences.manifest["max_length"], documents)


@contextmanager
def open_view(
    place: Bundle | Pool, template: Mapping[str, Any] | None, tokenizer: str | None, root: Path
) -> Generator[View]:
    """A view of a bundle's or pool's rows under a template (None: the bundle's own) and with a tokenizer (None: none).

    `root` is the project's folder. Raises: ConfigErrors, among others where there is no template at all.
    """
    if template is None and (not isinstance(place, Bundle) or "template" not in place.manifest):
        what = "its rows have no text" if isinstance(place, Bundle) else "a pool has no text"
        raise ConfigError(f"{place.folder}", what, "set template=NAME, which shows them under that one")
    if template is None and tokenizer is None:
        yield View(place, None, Tools(None, None), asked=False)
        return
    settings = _inputs(place, template, tokenizer, root)
    with tools(settings) as with_:
        yield View(place, settings, with_, asked=template is not None)


def _inputs(
    place: Bundle | Pool, template: Mapping[str, Any] | None, tokenizer: str | None, root: Path
) -> InputSettings:
    """The settings that the bundle was built with, but for what is asked for; those of a pool's rows are the usual."""
    config: dict[str, Any] = dict(place.manifest["config"]) if isinstance(place, Bundle) else {}
    config |= {"tokenizer": tokenizer, "tokens": _TOKENS} | ({"template": template} if template is not None else {})
    errors: list[PoolmixError] = []
    sources = place.manifest["sources"] if isinstance(place, Bundle) else [place.name]
    settings = read_inputs(config, root, sources, errors)
    if not errors and settings.template is None:
        errors.append(ConfigError("template=none", "it makes no text", "name another"))
    if errors:
        raise ConfigErrors(errors)
    return settings


def row_data(row: Mapping[str, Any], shown: Shown | None) -> dict[str, Any]:
    """A row as plain values, with its text and tokens as they are shown."""
    data = dict(row)
    if shown is None:
        return data
    data["text"] = shown.text
    data["targets"] = [{"start": start, "end": end} for start, end in shown.targets]
    data |= {"why": shown.why} if shown.why else {}
    data |= token_data(shown.tokens) if shown.tokens is not None else {}
    if shown.pieces is not None:
        data["pieces"] = [asdict(piece) for piece in shown.pieces]
    return data


def packed_data(packed: Packed) -> dict[str, Any]:
    """A sequence as plain values."""
    documents = [row | {"start": start} | token_data(tokens) for row, start, tokens in packed.documents]
    return {"sequence": packed.number, "max_length": packed.size, "documents": documents}


def token_data(tokens: Tokens) -> dict[str, Any]:
    """Ids, texts, and whether each is trained on."""
    return {"input_ids": tokens.ids, "tokens": tokens.texts, "trained": tokens.trained}
