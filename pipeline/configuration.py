"""Everything that a build is told, as one frozen value."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.bad_rows import BadRows, read_bad_rows
from pipeline.decontaminate.settings import Decontaminate, read_decontaminate
from pipeline.dedup.settings import Dedup, read_dedup
from pipeline.errors import ConfigError, ConfigErrors, PoolmixError
from pipeline.filters.expression import Filter, read_filter
from pipeline.input_settings import InputSettings, read_inputs
from pipeline.mix.plan import Mix
from pipeline.mix.settings import read_mix
from pipeline.names import PATH_RULE, is_path
from pipeline.secrets import scrubbed
from pipeline.settings import Paths, Settings, is_number, is_text, is_whole, read_paths
from pipeline.sources.settings import read_sources
from pipeline.sources.source import Source
from pipeline.split import Split

_KEYS = {
    *("seed", "out", "threads", "paths", "normalize", "corpus", "sources", "mix", "split", "dedup"),
    *("template", "loss", "tokenizer", "tokens", "filter", "decontaminate"),
}


@dataclass(frozen=True)
class Build:
    """Everything that a build is told. `config` is the composed configuration as the manifest records it, without
    secrets."""

    sources: Mapping[str, Source]
    mix: Mix
    split: Split
    dedup: Dedup
    filter: Filter | None
    decontaminate: Decontaminate
    max_chars: int
    max_record_bytes: int
    bad_rows: BadRows
    seed: int
    paths: Paths
    out: Path | None
    threads: int | None
    inputs: InputSettings
    config: Mapping[str, Any]


def read_build(config: Mapping[str, Any], root: Path) -> Build:
    """The settings of a build. `root` is the project's folder, which the sample data lies below.

    Raises: ConfigErrors with every mistake found.
    """
    errors: list[PoolmixError] = []
    top = Settings(config, "", errors)
    top.known(_KEYS)
    sources = read_sources(config, root, errors)
    rows = Settings(config.get("normalize"), "normalize", errors)
    rows.known({"max_chars", "max_record_bytes", "on_bad_rows", "max_bad_share"})
    build = Build(
        sources=sources,
        mix=read_mix(Settings(config.get("mix"), "mix", errors), list(sources)),
        split=_split(Settings(config.get("split"), "split", errors)),
        dedup=read_dedup(Settings(config.get("dedup"), "dedup", errors), list(sources)),
        filter=_filter(top),
        decontaminate=read_decontaminate(config, root, sources, errors),
        max_chars=rows.required("max_chars", is_whole(1), "a whole number above 0", "1000000", 1),
        max_record_bytes=rows.required("max_record_bytes", is_whole(1000), "a whole number from 1000", "16777216", 1),
        bad_rows=read_bad_rows(config, errors),
        seed=top.required("seed", is_whole(0), "a whole number from 0", "42", 0),
        paths=read_paths(config, errors),
        out=read_out(top),
        threads=top.value("threads", is_whole(1), "a whole number above 0", "2"),
        inputs=read_inputs(config, root, sources, errors),
        config=scrubbed(config),
    )
    if build.mix.unit != "rows" and build.inputs.tokenizer is None:
        errors.append(ConfigError(f"mix.unit={build.mix.unit}", "nothing counts tokens", "set tokenizer=MODEL, too"))
    if errors:
        raise ConfigErrors(errors)
    return build


def read_out(top: Settings) -> Path | None:
    """The folder that a result goes to, where one is named; what stands there is replaced."""
    text = top.value("out", is_path, PATH_RULE, "DIR")
    path = None if text is None else Path(text).expanduser()
    if path is not None and Path.cwd().is_relative_to(os.path.abspath(path)):
        what = "is the folder you work in, or above it, and would be replaced"
        top.errors.append(ConfigError(f"out={text}", what, "name a new folder, or call from another"))
    return path


def _split(node: Settings) -> Split:
    node.known({"name", "valid_ratio", "min_per_source", "min_validation", "validation_from"})
    return Split(
        name=node.value("name", is_text, "text", "prompts", "split"),
        valid_ratio=node.required("valid_ratio", is_number(0, 0.5), "a share from 0 to 0.5", "0.02", 0.0),
        min_per_source=node.required("min_per_source", is_whole(0), "a whole number from 0", "100", 0),
        min_validation=node.required("min_validation", is_whole(0), "a whole number from 0", "100", 0),
        validation_from=node.value("validation_from", is_text, "the folder of a bundle", "BUNDLE"),
    )


def _filter(top: Settings) -> Filter | None:
    text = top.value("filter", is_text, "an expression", "\"len_answer < 2000 and 'zh' in tags\"")
    try:
        return None if text is None else read_filter(text)
    except ConfigError as error:
        top.errors.append(error)
        return None
