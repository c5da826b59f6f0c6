"""The sequences of a bundle, found again: by tokenizer and template, and by the rows in them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.arrow import numbers
from pipeline.damage import whole_table
from pipeline.errors import ConfigError
from pipeline.folder import DATA
from pipeline.manifest import Bundle
from pipeline.pool import Pool
from pipeline.store import read_manifest
from pipeline.tokens.dataset import FORMAT
from pipeline.visible import visible


@dataclass(frozen=True)
class Piece:
    """A stretch of a row in a sequence: `start` and `length` in tokens of the row."""

    sequence: int
    start: int
    length: int


@dataclass(frozen=True)
class Sequences:
    """`tokens/KEY/` of a bundle."""

    folder: Path
    manifest: Mapping[str, Any]

    def table(self, split: str) -> pa.Table:
        """The sequences of a split, with the columns SEQUENCES."""
        return whole_table(self, f"{split}/{DATA}")

    def pieces(self, split: str, at: Sequence[int]) -> dict[int, list[Piece]]:
        """For each of these rows of the split its pieces, in the row's order; none for a dropped row."""
        table = self.table(split)
        flat = {
            name: np.concatenate([np.zeros(0, np.int32), *(numbers(chunk.flatten()) for chunk in table[name].chunks)])
            for name in ("rows", "starts", "seq_lengths")
        }
        counts = np.concatenate([np.zeros(0, np.int32), *(numbers(c.value_lengths()) for c in table["rows"].chunks)])
        sequence = np.repeat(np.arange(len(counts)), counts)
        found: dict[int, list[Piece]] = {row: [] for row in at}
        for k in np.flatnonzero(np.isin(flat["rows"], list(at))).tolist():
            piece = Piece(int(sequence[k]), int(flat["starts"][k]), int(flat["seq_lengths"][k]))
            found[int(flat["rows"][k])].append(piece)
        return {row: sorted(pieces, key=lambda piece: piece.start) for row, pieces in found.items()}


def find_sequences(bundle: Bundle, tokenizer: str, template: str) -> Sequences | None:
    """The sequences for a tokenizer (its digest) and a template (its key); of several those of the bundle's build."""
    own = bundle.manifest.get("tokens", {}).get("key")
    folders = sorted((bundle.folder / "tokens").glob("*/"), key=lambda folder: (folder.name != own, folder.name))
    for folder in folders:
        manifest = read_manifest(folder, FORMAT)
        if manifest is not None and (manifest["tokenizer"]["digest"], manifest["template"]["key"]) == (
            tokenizer,
            template,
        ):
            return Sequences(folder, manifest)
    return None


def built_with(bundle: Bundle) -> str:
    """The tokenizer that the bundle has sequences of. Raises: ConfigError if it has none."""
    tokens = bundle.manifest.get("tokens")
    if tokens is None:
        raise no_sequences(bundle, None, "")
    return tokens["tokenizer"]["name"]


def no_sequences(place: Bundle | Pool, tokenizer: str | None, template: str) -> ConfigError:
    """What to say where packed sequences are asked for and the bundle has none: how to build them."""
    changed = {"tokenizer": tokenizer or "NAME"} | ({"template": template} if template else {})
    command = [word for word in shlex.split(place.manifest.get("command", "")) if word.partition("=")[0] not in changed]
    fix = shlex.join([*command, *(f"{name}={value}" for name, value in changed.items())])
    of = f" of {tokenizer} under {template}" if tokenizer is not None else ""
    return ConfigError("packed=true", f"{place.folder} has no sequences{of}", visible(f"run `{fix}`"))
