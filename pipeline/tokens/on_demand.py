"""`tokens/KEY/` of a bundle that is already written: for training with a tokenizer that its build did not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.arrow import integers
from pipeline.damage import warn_if_damaged
from pipeline.folder import DATA
from pipeline.input_settings import InputSettings
from pipeline.leftovers import clear_leftovers
from pipeline.locks import using
from pipeline.manifest import Bundle
from pipeline.pool import Pool, whole_pool
from pipeline.render.texts import make_texts
from pipeline.room import require_room, writing
from pipeline.store import lock, new_folder, open_table, whole_manifest
from pipeline.tokens.cutting import EncodedRows
from pipeline.tokens.dataset import FORMAT, tokens_key, write_tokens
from pipeline.tokens.ids import make_ids
from pipeline.tokens.of_bundle import encode_table
from pipeline.tools import Tools

_TOKEN_BYTES = 8  # an id and a label
SPLITS = ("train", "validation")
_ROW = ["id", "key"]  # a row of another bundle may have the id of one of this, and other content


def tokens_of(bundle: Bundle, settings: InputSettings, with_: Tools, pools: Path) -> Path:
    """The folder with the sequences of a bundle: found if it is there and whole, made otherwise.

    The ids of rows that the pools still have come from there, and are kept beside them; other rows of the bundle (of
    pools that are gone, or a validation split of another bundle) are rendered and encoded, each once.
    Raises: TemplateError, ConfigError as rendering and tokenizers do; StoreError if it cannot be written.
    """
    folder = bundle.folder / "tokens" / tokens_key(settings, with_)
    with using(pools), writing(folder), lock(pools, folder):
        if whole_manifest(folder, FORMAT) is None:
            warn_if_damaged(f"tokens/{folder.name} of {bundle.folder.name}", folder, FORMAT)
            tables = {name: open_table(bundle.folder / name / DATA) for name in SPLITS}
            bundle.require_current()
            encoded, orders = _encoded(bundle, tables, settings, with_, pools)
            tokens = sum(int(encoded.sizes("tokens", order["at"]).sum()) for order in orders.values())
            require_room(folder, tokens * _TOKEN_BYTES)
            bundle.require_current()
            with new_folder(folder) as target, writing(folder):  # inside the bundle: where that goes, so does this
                bundle.require_current()
                write_tokens(target, "", {name: (encoded, order) for name, order in orders.items()}, settings, with_)
        else:
            clear_leftovers(folder.parent)
    return folder


def _encoded(
    bundle: Bundle, tables: dict[str, pa.Table], settings: InputSettings, with_: Tools, pools: Path
) -> tuple[EncodedRows, dict[str, pl.DataFrame]]:
    """Encoded rows, and for each split the place of its rows among them, with `source` and `stage`."""
    rows = {name: _plain(table) for name, table in tables.items()}
    found = [whole_pool(pools / name / entry["pool"]) for name, entry in bundle.manifest["sources"].items()]
    there = [pool for pool in found if pool is not None]
    every = pl.concat(rows.values()).with_row_index("row")
    known = pl.concat([every.clear().select(_ROW), *(_plain(pool.rows()).select(_ROW) for pool in there)])
    others = every.join(known, on=_ROW, how="anti", maintain_order="left")
    others = others.unique(_ROW, keep="first", maintain_order=True)
    encoded = [_ids(pool, pools, settings, with_) for pool in there]
    if len(others):
        whole = pa.concat_tables(table.select(["source", "messages", "tools", "meta"]) for table in tables.values())
        own = whole.take(integers(others["row"].to_numpy().astype(np.int64)))
        encoded.append(encode_table(own, settings, with_, has_text=False))
    places = pl.concat([known, others.select(_ROW)])
    return EncodedRows(encoded, settings.cutting), _orders(rows, places, bundle.manifest)


def _plain(table: pa.Table) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(table.select([*_ROW, "source"])))


def _ids(pool: Pool, pools: Path, settings: InputSettings, with_: Tools) -> pa.Table:
    renderer, codec = with_.both()
    texts = make_texts(pool, pools, renderer, settings.loss_of(pool.name))
    return make_ids(pool, texts, pools, codec, renderer).table()


def _orders(rows: dict[str, pl.DataFrame], encoded: pl.DataFrame, manifest: dict[str, Any]) -> dict[str, pl.DataFrame]:
    """`at`, `source` and `stage` of the rows of each split; `encoded` has `id` and `key` of the encoded rows."""
    places = encoded.with_row_index("at")
    stages = [entry.get("stage_rows", [entry["train_rows"]]) for entry in manifest["sources"].values()]
    stage = np.repeat(np.arange(len(stages[0]), dtype=np.uint8), np.sum(stages, axis=0))
    return {
        name: frame.join(places, on=_ROW, how="left", maintain_order="left").select(
            "at", "source", pl.Series("stage", stage if name == "train" else np.zeros(len(frame), np.uint8))
        )
        for name, frame in rows.items()
    }
