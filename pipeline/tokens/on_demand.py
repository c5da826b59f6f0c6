"""`tokens/KEY/` of a bundle that is already written: for training with a tokenizer that its build did not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.arrow import integers
from pipeline.folder import DATA
from pipeline.input_settings import InputSettings
from pipeline.manifest import Bundle
from pipeline.pool import Pool, whole_pool
from pipeline.render.texts import make_texts
from pipeline.store import lock, new_folder, open_table, whole_manifest
from pipeline.tokens.cutting import EncodedRows
from pipeline.tokens.dataset import FORMAT, tokens_key, write_tokens
from pipeline.tokens.ids import make_ids
from pipeline.tokens.of_bundle import encode_table
from pipeline.tools import Tools

SPLITS = ("train", "validation")


def tokens_of(bundle: Bundle, settings: InputSettings, with_: Tools, pools: Path) -> Path:
    """The folder with the sequences of a bundle: found if it is there and whole, made otherwise.

    The ids come from the pools where these are still there, and are kept beside them; else the bundle's own rows are
    rendered and encoded, each once.
    Raises: TemplateError, ConfigError as rendering and tokenizers do.
    """
    folder = bundle.folder / "tokens" / tokens_key(settings, with_)
    with lock(pools, folder):
        if whole_manifest(folder, FORMAT) is None:
            tables = {name: open_table(bundle.folder / name / DATA) for name in SPLITS}
            encoded, orders = _encoded(bundle, tables, settings, with_, pools)
            with new_folder(folder) as target:
                write_tokens(target, "", {name: (encoded, order) for name, order in orders.items()}, settings, with_)
    return folder


def _encoded(
    bundle: Bundle, tables: dict[str, pa.Table], settings: InputSettings, with_: Tools, pools: Path
) -> tuple[EncodedRows, dict[str, pl.DataFrame]]:
    """Encoded rows, and for each split the place of its rows among them, with `source` and `stage`."""
    rows = {name: _plain(table) for name, table in tables.items()}
    found = [whole_pool(pools / name / entry["pool"]) for name, entry in bundle.manifest["sources"].items()]
    there = [pool for pool in found if pool is not None]
    if len(there) == len(found):
        ids = pl.concat(_plain(pool.rows())["id"] for pool in there)
        if pl.concat(frame["id"] for frame in rows.values()).is_in(ids.implode()).all():
            encoded = EncodedRows([_ids(pool, pools, settings, with_) for pool in there], settings.cutting)
            return encoded, _orders(rows, ids, bundle.manifest)
    whole = pa.concat_tables(table.select(["source", "messages", "tools", "meta"]) for table in tables.values())
    once = pl.concat(rows.values()).with_row_index("at").unique("id", keep="first", maintain_order=True)
    unique = whole.take(integers(once["at"].to_numpy().astype(np.int64)))
    encoded = EncodedRows([encode_table(unique, settings, with_, has_text=False)], settings.cutting)
    return encoded, _orders(rows, once["id"], bundle.manifest)


def _plain(table: pa.Table) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(table.select(["id", "source"])))


def _ids(pool: Pool, pools: Path, settings: InputSettings, with_: Tools) -> pa.Table:
    renderer, codec = with_.both()
    texts = make_texts(pool, pools, renderer, settings.loss_of(pool.name))
    return make_ids(pool, texts, pools, codec, renderer).table()


def _orders(rows: dict[str, pl.DataFrame], ids: pl.Series, manifest: dict[str, Any]) -> dict[str, pl.DataFrame]:
    """`at`, `source` and `stage` of the rows of each split; `ids` are those of the encoded rows in their order."""
    places = pl.DataFrame({"id": ids}).with_row_index("at")
    stages = [entry.get("stage_rows", [entry["train_rows"]]) for entry in manifest["sources"].values()]
    stage = np.repeat(np.arange(len(stages[0]), dtype=np.uint8), np.sum(stages, axis=0))
    return {
        name: frame.join(places, on="id", how="left", maintain_order="left").select(
            "at", "source", pl.Series("stage", stage if name == "train" else np.zeros(len(frame), np.uint8))
        )
        for name, frame in rows.items()
    }
