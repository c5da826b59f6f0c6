"""Rows of a written bundle rendered and encoded anew: where no pool has them, or under another template."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.arrow import integers
from pipeline.input_settings import InputSettings
from pipeline.places import batches
from pipeline.render.loss import Loss
from pipeline.render.render import Rendering, render
from pipeline.render.renderer import Renderer
from pipeline.schema import ENCODED
from pipeline.tokens.codec import Differs
from pipeline.tokens.encode import encode
from pipeline.tools import Tools

Render = Callable[[pa.RecordBatch], pa.RecordBatch]


def renderer_of(settings: InputSettings, renderer: Renderer) -> Render:
    """A function from rows of any sources to their columns RENDERED, each source under its own loss."""
    renderings: dict[Loss, Rendering] = {}

    def rendered(rows: pa.RecordBatch) -> pa.RecordBatch:
        sources = pl.Series("source", pl.from_arrow(rows.column("source")))
        losses = {source: settings.loss_of(source) for source in sources.unique()}
        parts: list[pa.RecordBatch] = []
        places: list[np.ndarray] = []
        for loss in set(losses.values()):
            own = [source for source, its in losses.items() if its == loss]
            at = np.flatnonzero(sources.is_in(own).to_numpy())
            rendering = renderings.setdefault(loss, Rendering(renderer, loss))
            part = rows if len(at) == rows.num_rows else rows.take(integers(at))
            columns = render(part, rendering).columns
            if rendering.differing is not None:
                rendering.outlines, rendering.differing = False, None
                columns = render(part, rendering).columns
            parts.append(columns)
            places.append(at)
        if len(parts) == 1:
            return parts[0]
        return pa.concat_batches(parts).take(integers(np.argsort(np.concatenate(places))))

    return rendered


def encode_table(table: pa.Table, settings: InputSettings, with_: Tools, rendered: bool) -> pa.Table:
    """The columns ENCODED of rows with `source`, `messages`, `tools`, `meta`.

    `rendered` says that the table has the texts and targets of these settings; otherwise they are made.
    """
    renderer, codec = with_.both()
    make = renderer_of(settings, renderer)

    def all_of(fast: bool) -> pa.Table:
        parts = batches(table)
        texts = (batch.select(["text", "targets"]) if rendered else make(batch) for batch in parts)
        found = [encode(batch, text, codec, renderer, fast) for batch, text in zip(parts, texts, strict=True)]
        codec.confirm([sample for part in found for sample in part.samples])
        return pa.Table.from_batches([part.columns for part in found], schema=ENCODED)

    try:
        return all_of(fast=True)
    except Differs:
        return all_of(fast=False)


def rows_in_order(table: pa.Table) -> pl.DataFrame:
    """All rows of a split one after the other: `at`, `source`, `stage`."""
    sources = pl.Series("source", pl.from_arrow(table["source"]))
    return pl.DataFrame({"at": np.arange(len(sources)), "source": sources}).with_columns(
        pl.lit(0, pl.UInt8).alias("stage")
    )
