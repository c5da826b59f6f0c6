"""Training sequences and validation documents out of a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import yaml

from pipeline.arrow import numbers
from pipeline.errors import ConfigErrors, PoolmixError, StoreError
from pipeline.folder import DATA
from pipeline.input_settings import read_inputs
from pipeline.manifest import Bundle
from pipeline.pack import pack
from pipeline.render.template import Template
from pipeline.store import open_table
from pipeline.tokens.encode import IGNORED
from pipeline.tokens.on_demand import tokens_of
from pipeline.tools import tools


def template_node(config: Mapping[str, Any], model_template: str, root: Path) -> Mapping[str, Any]:
    """The node `template` of a training: as configured, or that of the model."""
    node = config.get("template")
    if node:
        return node
    path = root / "conf" / "template" / f"{model_template}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def make_sequences(
    bundle: Bundle, config: Mapping[str, Any], template: Mapping[str, Any], tokenizer: Path, root: Path, pools: Path
) -> tuple[Path, Template]:
    """The folder with the sequences of a bundle for a tokenizer, found in the bundle or made, and their template.

    What is trained on is what the bundle's build says (`loss`, per source, too); `tokens` and the template are the
    training's. Raises: ConfigErrors, TemplateError.
    """
    errors: list[PoolmixError] = []
    built: Mapping[str, Any] = bundle.manifest["config"]
    settings = read_inputs(
        {**built, "template": template, "tokens": config["tokens"], "tokenizer": str(tokenizer)},
        root,
        built.get("sources") or {},
        errors,
    )
    if errors:
        raise ConfigErrors(errors)
    with tools(settings) as with_:
        return tokens_of(bundle, settings, with_, pools), with_.both()[0].template


@dataclass(frozen=True)
class Sequences:
    """The training split: its table (`input_ids`, `labels`, `seq_lengths`), and per sequence tokens and targets."""

    table: pa.Table
    tokens: np.ndarray
    targets: np.ndarray


def training_sequences(folder: Path) -> Sequences:
    """Of a folder that `make_sequences` gave. Raises: StoreError if there is none at all."""
    table = open_table(folder / "train" / DATA).select(["input_ids", "labels", "seq_lengths"]).combine_chunks()
    if table.num_rows == 0:
        raise StoreError(f"sequences {folder.name}", "there are none to train on", "build a bundle with more rows")
    lists = table.column("input_ids").combine_chunks()
    trained = numbers(table.column("labels").combine_chunks().flatten()) != IGNORED
    tokens = numbers(lists.value_lengths()).astype(np.int64)
    bounds = np.append(0, np.cumsum(tokens))
    counts = np.append(0, np.cumsum(trained, dtype=np.int64))
    return Sequences(table, tokens, counts[bounds[1:]] - counts[bounds[:-1]])


def without_last_targets(labels: Sequence[list[int]], surplus: int) -> list[list[int]]:
    """Labels of consecutive sequences whose last `surplus` targets are no longer any."""
    kept: list[list[int]] = []
    for own in reversed(labels):
        at = [place for place, label in enumerate(own) if label != IGNORED]
        dropped = set(at[max(0, len(at) - surplus) :])
        surplus -= len(dropped)
        kept.append([IGNORED if place in dropped else label for place, label in enumerate(own)])
    return kept[::-1]


@dataclass(frozen=True)
class Documents:
    """Rows of the validation split, flat: document *k* is input_ids[bounds[k]:bounds[k + 1]], of sources[source[k]] and
    the split's row row[k]."""

    input_ids: np.ndarray
    labels: np.ndarray
    bounds: np.ndarray
    source: np.ndarray
    row: np.ndarray
    sources: list[str]

    def packed(self, max_length: int) -> list[np.ndarray]:
        """The documents that stand together in each sequence of at most so many tokens."""
        found = pack(np.diff(self.bounds), max_length)
        return [found.order[a:b] for a, b in zip(found.bounds[:-1], found.bounds[1:], strict=True)]


def validation_documents(folder: Path, bundle: Bundle, rows: int | None) -> Documents:
    """The first `rows` rows of each source in the validation split (all of them for None), as they are tokenized.

    The split's order is by rank, so these are a fair sample, and the same for every mix over the same sources.
    """
    table = open_table(folder / "validation" / DATA)
    split = pl.DataFrame(pl.from_arrow(open_table(bundle.folder / "validation" / DATA).select(["source"])))
    split = split.with_columns(pl.col("source").cast(pl.String)).with_row_index("row")
    chosen = split.filter(pl.int_range(pl.len()).over("source") < rows) if rows is not None else split
    names = sorted(chosen["source"].unique().to_list())
    flat = {
        name: numbers(table.column(name).combine_chunks().flatten()) for name in table.column_names if table.num_rows
    }
    if not flat:
        none = np.zeros(0, np.int64)
        return Documents(none, none, np.zeros(1, np.int64), none, none, names)
    bounds = np.append(0, np.cumsum(flat["seq_lengths"].astype(np.int64)))
    at = np.flatnonzero(np.isin(flat["rows"], chosen["row"].to_numpy()))
    at = at[np.argsort(flat["rows"][at], kind="stable")]
    lengths = np.diff(bounds)[at]
    own = np.append(0, np.cumsum(lengths))
    index = np.repeat(bounds[at] - own[:-1], lengths) + np.arange(own[-1])
    source = split["source"].replace_strict({name: k for k, name in enumerate(names)}, default=-1).to_numpy()
    number = flat["rows"][at]
    return Documents(flat["input_ids"][index], flat["labels"][index], own, source[number], number, names)
