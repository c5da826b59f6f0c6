"""The validation rows that are measured: which, in which buckets, and what a model is asked to answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pipeline.arrow import integers
from pipeline.damage import whole_table
from pipeline.errors import ConfigError, StoreError, known_names
from pipeline.folder import DATA
from pipeline.manifest import Bundle
from pipeline.render.render import conversations
from pipeline.render.renderer import Renderer
from pipeline.render.template import Template

ALL = "all"


@dataclass(frozen=True)
class Rows:
    """Rows of a bundle's validation split. `place` is where each stands in the split.

    `frame` has their `id`, `source`, `tags` and `group` (the prompt key: rows that share a prompt share luck).
    `values` are the whole rows, `asked` the conversations before the reply, both as Python values.
    """

    place: np.ndarray
    frame: pl.DataFrame
    values: Sequence[Mapping[str, Any]]
    asked: Sequence[Mapping[str, Any]]


def choose_rows(bundle: Bundle, limit: int | None) -> Rows:
    """The first `limit` rows of each source (None: all). The split stands by rank, which neither weights nor models
    change, so these are a fair sample and the same for all. Raises: StoreError if there are none."""
    table = whole_table(bundle, f"validation/{DATA}")
    frame = pl.DataFrame(pl.from_arrow(table.select(["id", "source", "tags", "prompt_key"]))).with_row_index("place")
    frame = frame.with_columns(pl.col("source").cast(pl.String))
    if limit is not None:
        frame = frame.filter(pl.int_range(pl.len()).over("source") < limit)
    if not len(frame):
        what, fix = "it has no validation rows", "build it with split=prompts"
        raise StoreError(f"bundle {bundle.folder.name}", what, fix)
    place = frame["place"].to_numpy().astype(np.int64)
    own = table.take(integers(place)).combine_chunks()
    plain = conversations(own.to_batches()[0]).plain(range(len(place)))
    answers = own.column("answer").to_pylist()
    values = [
        {**row, "id": id_, "source": source, "tags": tags, "answer": answer}
        for row, id_, source, tags, answer in zip(
            plain, frame["id"], frame["source"], frame["tags"].to_list(), answers, strict=True
        )
    ]
    asked = [{**row, "messages": row["messages"][:-1]} for row in plain]
    bundle.require_current()
    return Rows(place, frame.select("id", "source", "tags", group="prompt_key"), values, asked)


def render_prompts(rows: Rows, template: Template) -> list[str | None]:
    """What a model gets to answer each row, None where the template refuses it or no reply is to be given."""
    answered = [row["messages"][-1]["role"] == "assistant" and len(row["messages"]) > 1 for row in rows.values]
    with Renderer(template) as renderer:
        found = iter(
            renderer.rows([{**row, "prompt": True} for row, good in zip(rows.asked, answered, strict=True) if good])
        )
    return [next(found).get("text") if good else None for good in answered]


def buckets(frame: pl.DataFrame, chosen: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Which rows are in each bucket: `all`, each source by its name, each tag as `tag:NAME`.

    Raises: ConfigError that names one of `chosen` that is none of them.
    """
    found = {ALL: np.ones(len(frame), bool)}
    for source in sorted(frame["source"].unique().to_list()):
        found[source] = (frame["source"] == source).to_numpy()
    tags = frame["tags"].fill_null([])
    for tag in sorted(tags.explode().drop_nulls().unique().to_list()):
        found[f"tag:{tag}"] = tags.list.contains(tag).to_numpy()
    if chosen is None:
        return _unlike(found)
    for name in chosen:
        if name not in found:
            what = f"no such bucket in these rows ({known_names(name, found)})"
            raise ConfigError(f"eval.buckets={name}", what, "name one of them, or leave it out")
    return {name: found[name] for name in chosen}


def _unlike(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those that have other rows than every one before: a tag that all rows of one source have says nothing more."""
    kept: dict[bytes, str] = {}
    for name, inside in found.items():
        kept.setdefault(inside.tobytes(), name)
    return {name: found[name] for name in kept.values()}
