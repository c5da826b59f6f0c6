"""What a source's YAML says, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Source:
    """A named raw data set and how to read it.

    Exactly one of `path` (a file, a glob or a folder), `hub` (a data set's id on the Hugging Face Hub, with
    `revision`, and `files`, a glob over its paths) and `literal` (the rows themselves) says where the data is.
    `columns` and `options` hold every key that the shape knows, defaults filled in. `split_think` moves
    `<think>…</think>` at the head of an assistant's text to `reasoning_content`.
    """

    name: str
    shape: str
    tags: Sequence[str]
    path: str | None = None
    hub: str | None = None
    revision: str = "main"
    files: str | None = None
    literal: Sequence[Any] | None = None
    format: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    split_think: bool = False
    licence: str | None = None
    card: str | None = None
