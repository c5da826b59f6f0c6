"""The token ids of a pool under one tokenizer: encoded once, kept beside the pool's rows, whole and uncut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.folder import DATA, Folder
from pipeline.kept import Kept, keep
from pipeline.pool import Pool
from pipeline.render.renderer import Renderer
from pipeline.schema import ENCODED
from pipeline.tokens.codec import Codec, Sample
from pipeline.tokens.encode import encode
from pipeline.tokens.fast import Differs
from pipeline.tools import ids_folder
from pipeline.workers import in_order

FORMAT = "poolmix ids 2"
_GROWTH = 1.6  # bytes of ids and labels for a byte of texts, as measured: 1.3 to 1.9


def make_ids(
    pool: Pool,
    texts: Kept,
    pools: Path,
    codec: Codec,
    renderer: Renderer,
    progress: Callable[[int], None] = lambda _: None,
) -> Kept:
    """The columns ENCODED for each row of a pool: found if they are there and whole, encoded otherwise.

    A row without text has none. The manifest says how many rows the reference encoded (`slow`) and how many are
    without tokens because their special tokens could not be told from the template's (`unmarked`).
    """

    def make(fast: bool) -> Kept:
        folder = ids_folder(pool.folder, texts.folder, codec)
        size = _GROWTH * (texts.folder / DATA).stat().st_size

        def write(target: Folder) -> dict[str, Any]:
            return _write(target, pool, texts, codec, renderer, progress, fast)

        return keep(pools, folder, FORMAT, write, size)

    try:
        return make(fast=True)
    except Differs:
        return make(fast=False)


def _write(
    target: Folder,
    pool: Pool,
    texts: Kept,
    codec: Codec,
    renderer: Renderer,
    progress: Callable[[int], None],
    fast: bool,
) -> dict[str, Any]:
    slow = unmarked = rows = 0
    samples: list[Sample] = []
    rendered = texts.table().to_batches()
    batches = pool.rows().select(["messages", "tools", "meta"]).to_batches()
    pairs = list(zip(batches, rendered, strict=True))
    with target.table(DATA, ENCODED) as writer:
        for encoded in in_order(lambda pair: encode(*pair, codec, renderer, fast), pairs):
            writer.write_batch(encoded.columns)
            slow += encoded.slow
            unmarked += encoded.unmarked
            rows += encoded.columns.num_rows
            samples += encoded.samples
            progress(encoded.columns.num_rows)
    codec.confirm(samples)
    return {
        "tokenizer": codec.file.name,
        "backend": "gigatoken" if fast and codec.fast is not None else "tokenizers",
        "rows": rows,
        "slow": slow,
        "unmarked": unmarked,
    }
