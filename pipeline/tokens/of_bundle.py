"""Rows of a written bundle rendered and encoded anew: where no pool has them, or under another template."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.arrow import integers
from pipeline.input_settings import InputSettings
from pipeline.places import batches
from pipeline.render.loss import Loss
from pipeline.render.render import Rendering, render
from pipeline.render.renderer import Renderer
from pipeline.schema import ENCODED, RENDERED
from pipeline.tokens.encode import encode
from pipeline.tokens.fast import Differs
from pipeline.tools import Tools


def rendered(parts: Sequence[pa.RecordBatch], settings: InputSettings, renderer: Renderer) -> list[pa.RecordBatch]:
    """The columns RENDERED of batches with rows of any sources, each source under its own loss."""
    by_loss: dict[Loss, Rendering] = {}
    found = [_rendered(part, settings, renderer, by_loss, outlines=True) for part in parts]
    if all(rendering.differing is None for rendering in by_loss.values()):
        return found
    return [_rendered(part, settings, renderer, {}, outlines=False) for part in parts]


def _rendered(
    rows: pa.RecordBatch, settings: InputSettings, renderer: Renderer, by_loss: dict[Loss, Rendering], outlines: bool
) -> pa.RecordBatch:
    sources = pl.Series("source", pl.from_arrow(rows.column("source")))
    losses = {source: settings.loss_of(source) for source in sources.unique()}
    parts: list[pa.RecordBatch] = []
    places: list[np.ndarray] = []
    for loss in set(losses.values()):
        own = [source for source, its in losses.items() if its == loss]
        at = np.flatnonzero(sources.is_in(own).to_numpy())
        rendering = by_loss.setdefault(loss, Rendering(renderer, loss, outlines))
        parts.append(render(rows if len(at) == rows.num_rows else rows.take(integers(at)), rendering).columns)
        places.append(at)
    if len(parts) == 1:
        return parts[0]
    return pa.concat_batches(parts).take(integers(np.argsort(np.concatenate(places))))


def encode_table(table: pa.Table, settings: InputSettings, with_: Tools, has_text: bool) -> pa.Table:
    """The columns ENCODED of rows with `source`, `messages`, `tools`, `meta`.

    `has_text` says that the table has the texts and targets of these settings; otherwise they are made.
    """
    renderer, codec = with_.both()
    parts = batches(table)
    texts = [part.select(RENDERED.names) for part in parts] if has_text else rendered(parts, settings, renderer)

    def encoded(fast: bool) -> pa.Table:
        found = [encode(part, text, codec, renderer, fast) for part, text in zip(parts, texts, strict=True)]
        codec.confirm([sample for own in found for sample in own.samples])
        return pa.Table.from_batches([own.columns for own in found], schema=ENCODED)

    try:
        return encoded(fast=True)
    except Differs:
        return encoded(fast=False)


def rows_in_order(table: pa.Table) -> pl.DataFrame:
    """All rows of a split one after the other: `at`, `source`, `stage`."""
    sources = pl.Series("source", pl.from_arrow(table["source"]))
    return pl.DataFrame({"at": np.arange(len(sources)), "source": sources}).with_columns(
        pl.lit(0, pl.UInt8).alias("stage")
    )
