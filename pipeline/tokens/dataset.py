"""`tokens/KEY/` in a bundle: the sequences of both splits for one tokenizer and template, with a manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import polars as pl
import xxhash

from pipeline.folder import Folder
from pipeline.input_settings import InputSettings
from pipeline.tokens.cutting import EncodedRows
from pipeline.tokens.sequences import write_sequences
from pipeline.tools import Tools

FORMAT = "poolmix tokens 1"


def tokens_key(settings: InputSettings, with_: Tools) -> str:
    """16 hex digits over all that the sequences of given rows depend on."""
    renderer, codec = with_.both()
    losses = {name: loss.settings() for name, loss in sorted(settings.losses.items())}
    what = [renderer.template.key(losses), codec.file.digest, asdict(settings.cutting)]
    return xxhash.xxh3_64_hexdigest(json.dumps(what, sort_keys=True, ensure_ascii=False).encode())


def write_tokens(
    target: Folder,
    prefix: str,
    splits: Mapping[str, tuple[EncodedRows, pl.DataFrame]],
    settings: InputSettings,
    with_: Tools,
) -> dict[str, Any]:
    """Write the sequences of each split, and their manifest, under names that begin with `prefix`; returns the latter.

    In: for each split its encoded rows, and a frame with `at` (place among these), `source` and `stage`, one line a
    row of the split in its order.
    """
    renderer, codec = with_.both()
    manifest = {
        "format": FORMAT,
        "tokenizer": {"name": codec.file.name, "digest": codec.file.digest},
        "template": {"name": renderer.template.name, "key": renderer.template.key()},
        "loss": {name: loss.settings() for name, loss in sorted(settings.losses.items())},
        **asdict(settings.cutting),
        "splits": {
            name: write_sequences(target, f"{prefix}{name}", rows.places, rows.pieces, order, settings.cutting)
            for name, (rows, order) in splits.items()
        },
    }
    written = [name for name in list(target.files) if name.startswith(prefix)]
    files = {name.removeprefix(prefix): target.files.pop(name) for name in sorted(written)}
    target.write_manifest(manifest | {"files": files}, prefix)
    return manifest
