"""The configuration as frozen values, every mistake reported at once. Defaults are in the YAML files of
`conf/`, not here (only the shapes know defaults, since a source may come from the command line)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, ConfigErrors, PoolmixError, known_names
from pipeline.mix.strategies import SIZERS, Mix
from pipeline.sources.settings import Source
from pipeline.sources.shapes import SHAPES
from pipeline.split import Split

SOURCE_KEYS = {"shape", "tags", "path", "at", "hub", "revision", "files", "literal", "format", "delimiter", "columns", "options",
               "licence", "card"}


@dataclass(frozen=True)
class Paths:
    """Where results go, relative to the working folder."""

    pools: Path
    bundles: Path


@dataclass(frozen=True)
class Build:
    """Everything that a build is told. `config` is the composed configuration, as the manifest records it."""

    sources: Mapping[str, Source]
    mix: Mix
    split: Split
    prefer: Sequence[str]
    max_chars: int
    seed: int
    paths: Paths
    out: Path | None
    threads: int | None
    config: Mapping[str, Any]


class Settings:
    """A node of the configuration being read; mistakes gather in `errors` instead of stopping at the first."""

    def __init__(self, node: Any, where: str, errors: list[PoolmixError]) -> None:
        self.where, self.errors = where, errors
        self.node: Mapping[str, Any] = node if isinstance(node, Mapping) else {}
        if node is not None and not isinstance(node, Mapping):
            self.wrong("", node, "a mapping of settings", "{…}")

    def path(self, key: str) -> str:
        """The setting's full name, as an override spells it."""
        return f"{self.where}.{key}" if self.where and key else self.where or key

    def wrong(self, key: str, value: Any, allowed: str, example: str) -> None:
        """Note a mistake: what was found, what is allowed, and an override that would be right."""
        self.errors.append(ConfigError(f"{self.path(key)}={_shown(value)}", f"must be {allowed}",
                                       f"set {self.path(key)}={example}"))

    def known(self, keys: set[str]) -> None:
        """Note every key that is none of `keys`."""
        for key in sorted(set(self.node) - keys):
            self.errors.append(ConfigError(self.path(str(key)), f"no such setting ({known_names(str(key), keys)})",
                                           f"take {self.path(str(key))} out"))

    def value(self, key: str, good: Callable[[Any], bool], allowed: str, example: str, default: Any = None) -> Any:
        """The setting, `default` where it is null or absent."""
        value = self.node.get(key)
        if value is None:
            return default
        if not good(value):
            self.wrong(key, value, allowed, example)
            return default
        return value

    def required(self, key: str, good: Callable[[Any], bool], allowed: str, example: str, default: Any) -> Any:
        """The setting, which must be there; `default` only stands in until the mistakes are reported."""
        if self.node.get(key) is None:
            self.wrong(key, None, allowed, example)
            return default
        return self.value(key, good, allowed, example, default)


def is_text(value: Any) -> bool:
    """Text that is not blank."""
    return isinstance(value, str) and bool(value.strip())


def is_text_list(value: Any) -> bool:
    """A list of texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def is_whole(least: int) -> Callable[[Any], bool]:
    """A whole number of at least so much."""
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(least: float, most: float = math.inf) -> Callable[[Any], bool]:
    """A finite number within bounds."""
    return lambda value: (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
                          and least <= value <= most)


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)


def read_build(config: Mapping[str, Any], root: Path) -> Build:
    """The settings of a build. `root` is the project's folder, which the sample data lies below.

    Raises: ConfigErrors with every mistake found.
    """
    errors: list[PoolmixError] = []
    top = Settings(config, "", errors)
    sources = read_sources(config, root, errors)
    build = Build(
        sources=sources,
        mix=_mix(Settings(config.get("mix"), "mix", errors), list(sources)),
        split=_split(Settings(config.get("split"), "split", errors)),
        prefer=_prefer(Settings(config.get("dedup"), "dedup", errors), list(sources)),
        max_chars=Settings(config.get("normalize"), "normalize", errors).required(
            "max_chars", is_whole(1), "a whole number above 0", "1000000", 1),
        seed=top.required("seed", is_whole(0), "a whole number from 0", "42", 0),
        paths=read_paths(config, errors),
        out=_path(top.value("out", is_text, "a folder", "DIR")),
        threads=top.value("threads", is_whole(1), "a whole number above 0", "2"),
        config=config,
    )
    if errors:
        raise ConfigErrors(errors)
    return build


def read_paths(config: Mapping[str, Any], errors: list[PoolmixError]) -> Paths:
    """`paths.pools` and `paths.bundles`."""
    node = Settings(config.get("paths"), "paths", errors)
    return Paths(*(Path(node.required(name, is_text, "a folder", "DIR", ".")).expanduser()
                   for name in ("pools", "bundles")))


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text).expanduser()


def read_sources(config: Mapping[str, Any], root: Path, errors: list[PoolmixError]) -> dict[str, Source]:
    """The sources of a build, by name in sorted order."""
    corpus = Settings(config.get("corpus"), "corpus", errors).required("name", is_text, "a corpus", "samples", "samples")
    nodes = Settings(config.get("sources"), "sources", errors).node
    return {str(name): _source(str(name), Settings(nodes[name], f"sources.{name}", errors), corpus, root)
            for name in sorted(nodes, key=str)}


def _source(name: str, node: Settings, corpus: str, root: Path) -> Source:
    node.known(SOURCE_KEYS)
    shape_name = node.required("shape", lambda value: value in SHAPES, f"one of {', '.join(sorted(SHAPES))}", "columns",
                               "columns")
    shape = SHAPES[shape_name]
    columns = Settings(node.node.get("columns"), node.path("columns"), node.errors)
    columns.known(set(shape.columns))
    for role in shape.needs:
        if shape.columns[role] is None:
            columns.required(role, is_text, "the name of a column", "NAME", "")
    options = Settings(node.node.get("options"), node.path("options"), node.errors)
    options.known(set(shape.options))
    usual = {role: column for role, column in shape.columns.items() if column is not None}
    place = _place(name, node, corpus, root)
    return Source(
        name=name, shape=shape_name,
        tags=tuple(node.value("tags", is_text_list, "a list of texts", "[chat,en]", [])),
        format=node.value("format", lambda value: value in ("json", "csv", "parquet", "arrow"),
                          "json, csv, parquet or arrow", "json"),
        delimiter=node.value("delimiter", lambda value: isinstance(value, str) and len(value) == 1, "one character", "';'"),
        columns=usual | {role: columns.value(role, is_text, "the name of a column", "NAME", "") for role in columns.node},
        options={option: options.value(option, good, allowed, str(default), default)
                 for option, (default, good, allowed) in shape.options.items()}, **place)


def _place(name: str, node: Settings, corpus: str, root: Path) -> dict[str, Any]:
    """Where the rows are: `path` or `literal` as set, else what `at` says for the corpus."""
    own = {key: node.value(key, is_text, what, example) for key, what, example in (
        ("path", "a file, a glob or a folder", "FILE"), ("hub", "a data set's id", "ORG/NAME"),
        ("revision", "a branch, tag or commit", "main"), ("files", "a glob", "'*.jsonl'"),
        ("licence", "text", "Apache-2.0"), ("card", "text", "URL"))}
    own = {key: value for key, value in own.items() if value is not None}
    if node.node.get("literal") is not None:
        own["literal"] = node.value("literal", lambda value: isinstance(value, list) and all(
            isinstance(row, Mapping) for row in value), "a list of rows", "[{…}]", [])
    if "path" in own or "hub" in own or "literal" in own:
        return own
    at = Settings(node.node.get("at"), node.path("at"), node.errors).node
    if corpus not in at:
        have = f"only in {', '.join(sorted(at))}" if at else "no path, hub, literal or at"
        node.errors.append(ConfigError(f"source {name}", f"no data for corpus={corpus} ({have})",
                                       f"set sources.{name}.path=FILE"))
        return own
    there = Settings(at[corpus], node.path(f"at.{corpus}"), node.errors)
    there.known({"path", "hub", "revision", "files", "licence", "card"})
    place = {key: str(value) for key, value in there.node.items()} | own
    return place | ({"path": str(root / place["path"])} if "path" in place else {})


def _mix(node: Settings, sources: Sequence[str]) -> Mix:
    node.known({"name", "weights", "strategy", "stop", "total_rows", "replacement", "temperature", "max_epochs",
                "on_shortage"})
    weights = Settings(node.node.get("weights"), "mix.weights", node.errors)
    given: dict[str, float] = {}
    for name, weight in weights.node.items():
        if str(name) not in sources:
            node.errors.append(ConfigError(
                f"mix.weights.{name}", f"no source {name} in this mix ({known_names(str(name), sources)})",
                f"add it with '+sources.{name}={{path: FILE, shape: columns, …}}', or take the weight out"))
        elif not isinstance(weight, int | float) or isinstance(weight, bool):
            weights.wrong(str(name), weight, "a number", "1")
        else:
            given[str(name)] = float(weight)
    for name in sources:
        if name not in weights.node:
            node.errors.append(ConfigError(f"source {name}", "has no weight in the mix", f"set +mix.weights.{name}=1"))
    if not sources:
        node.errors.append(ConfigError("sources", "the mix has none", "choose mix=balanced, or add a source with "
                                       "'+sources.NAME={path: FILE, shape: SHAPE}' +mix.weights.NAME=1"))
    return Mix(
        name=node.value("name", is_text, "text", "NAME", "mix"), weights=given,
        strategy=node.required("strategy", lambda value: value in SIZERS, f"one of {', '.join(sorted(SIZERS))}", "resample",
                               "resample"),
        stop=node.required("stop", lambda value: value in ("all_exhausted", "first_exhausted"),
                           "all_exhausted or first_exhausted", "all_exhausted", "all_exhausted"),
        total_rows=node.value("total_rows", is_whole(1), "a whole number above 0", "10000"),
        replacement=bool(node.required("replacement", lambda value: isinstance(value, bool), "true or false", "false", False)),
        temperature=node.required("temperature", is_number(1e-6), "a number above 0", "2", 2.0),
        max_epochs=node.value("max_epochs", is_number(1e-6), "a number above 0", "4"),
        on_shortage=node.required("on_shortage", lambda value: value in ("error", "shrink", "renormalize"),
                                  "error, shrink or renormalize", "shrink", "error"))


def _split(node: Settings) -> Split:
    node.known({"name", "valid_ratio", "min_per_source", "min_validation", "validation_from"})
    return Split(
        name=node.value("name", is_text, "text", "prompts", "split"),
        valid_ratio=node.required("valid_ratio", is_number(0, 0.5), "a share from 0 to 0.5", "0.02", 0.0),
        min_per_source=node.required("min_per_source", is_whole(0), "a whole number from 0", "100", 0),
        min_validation=node.required("min_validation", is_whole(0), "a whole number from 0", "100", 0),
        validation_from=node.value("validation_from", is_text, "the folder of a bundle", "BUNDLE"))


def _prefer(node: Settings, sources: Sequence[str]) -> Sequence[str]:
    node.known({"name", "prefer"})
    names = node.value("prefer", is_text_list, "a list of sources", "[cmath]", [])
    for name in names:
        if name not in sources:
            node.errors.append(ConfigError("dedup.prefer", f"no source {name} in this build ({known_names(name, sources)})",
                                           "name sources of the mix"))
    return names


def bundle_setting(config: Mapping[str, Any], key: str) -> tuple[str, Path]:
    """A setting that names a bundle, and the folder where bundles are: the arguments of `open_bundle`."""
    errors: list[PoolmixError] = []
    name = Settings(config, "", errors).required(key, is_text, "a bundle's folder or name", "PATH", "")
    bundles = Settings(config.get("paths"), "paths", errors).required("bundles", is_text, "a folder", "DIR", ".")
    if errors:
        raise ConfigErrors(errors)
    return name, Path(bundles).expanduser()


def whole_setting(config: Mapping[str, Any], key: str) -> int:
    """A setting that is a whole number from 0."""
    errors: list[PoolmixError] = []
    value = Settings(config, "", errors).required(key, is_whole(0), "a whole number from 0", "3", 0)
    if errors:
        raise ConfigErrors(errors)
    return value
