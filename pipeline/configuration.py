"""Everything that a build is told, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, ConfigErrors, PoolmixError, known_names
from pipeline.mix.strategies import SIZERS, Mix, relative_weights
from pipeline.settings import Paths, Settings, is_number, is_text, is_text_list, is_whole, read_paths
from pipeline.sources.settings import read_sources
from pipeline.sources.source import Source
from pipeline.split import Split


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


def read_build(config: Mapping[str, Any], root: Path) -> Build:
    """The settings of a build. `root` is the project's folder, which the sample data lies below.

    Raises: ConfigErrors with every mistake found.
    """
    errors: list[PoolmixError] = []
    top = Settings(config, "", errors)
    top.known(
        {"seed", "out", "threads", "paths", "normalize", "corpus", "sources", "mix", "split", "dedup", "template"}
    )
    sources = read_sources(config, root, errors)
    build = Build(
        sources=sources,
        mix=_mix(Settings(config.get("mix"), "mix", errors), list(sources)),
        split=_split(Settings(config.get("split"), "split", errors)),
        prefer=_prefer(Settings(config.get("dedup"), "dedup", errors), list(sources)),
        max_chars=Settings(config.get("normalize"), "normalize", errors).required(
            "max_chars", is_whole(1), "a whole number above 0", "1000000", 1
        ),
        seed=top.required("seed", is_whole(0), "a whole number from 0", "42", 0),
        paths=read_paths(config, errors),
        out=_path(top.value("out", is_text, "a folder", "DIR")),
        threads=top.value("threads", is_whole(1), "a whole number above 0", "2"),
        config=config,
    )
    if errors:
        raise ConfigErrors(errors)
    return build


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text).expanduser()


def _mix(node: Settings, sources: Sequence[str]) -> Mix:
    node.known(
        {"name", "weights", "strategy", "stop", "total_rows", "replacement", "temperature", "max_epochs", "on_shortage"}
    )
    given = _weights(Settings(node.node.get("weights"), "mix.weights", node.errors), sources)
    replacement = bool(
        node.required("replacement", lambda value: isinstance(value, bool), "true or false", "false", False)
    )
    if replacement and node.node.get("max_epochs") is not None:
        node.errors.append(
            ConfigError(
                "mix.max_epochs",
                "has no meaning where rows are drawn with replacement",
                "set mix.max_epochs=null or mix.replacement=false",
            )
        )
    return Mix(
        name=node.value("name", is_text, "text", "NAME", "mix"),
        weights=given,
        strategy=node.required(
            "strategy", lambda value: value in SIZERS, f"one of {', '.join(sorted(SIZERS))}", "resample", "resample"
        ),
        stop=node.required(
            "stop",
            lambda value: value in ("all_exhausted", "first_exhausted"),
            "all_exhausted or first_exhausted",
            "all_exhausted",
            "all_exhausted",
        ),
        total_rows=node.value("total_rows", is_whole(1), "a whole number above 0", "10000"),
        replacement=replacement,
        temperature=node.required("temperature", is_number(1e-6), "a number above 0", "2", 2.0),
        max_epochs=node.value("max_epochs", is_number(1e-6), "a number above 0", "4"),
        on_shortage=node.required(
            "on_shortage",
            lambda value: value in ("error", "shrink", "renormalize"),
            "error, shrink or renormalize",
            "shrink",
            "error",
        ),
    )


def _weights(weights: Settings, sources: Sequence[str]) -> dict[str, float]:
    """`mix.weights`: one usable number for each source, and for nothing else."""
    given: dict[str, float] = {}
    for name, weight in weights.node.items():
        if str(name) not in sources:
            weights.errors.append(
                ConfigError(
                    f"mix.weights.{name}",
                    f"no source {name} in this mix ({known_names(str(name), sources)})",
                    f"add it with '+sources.{name}={{path: FILE, shape: columns, …}}', or take the weight out",
                )
            )
        elif not isinstance(weight, int | float) or isinstance(weight, bool):
            weights.wrong(str(name), weight, "a number", "1")
        else:
            given[str(name)] = float(weight)
    for name in sources:
        if name not in weights.node:
            weights.errors.append(
                ConfigError(f"source {name}", "has no weight in the mix", f"set +mix.weights.{name}=1")
            )
    if not sources:
        weights.errors.append(
            ConfigError(
                "sources",
                "the mix has none",
                "choose mix=balanced, or add a source with "
                "'+sources.NAME={path: FILE, shape: SHAPE}' +mix.weights.NAME=1",
            )
        )
    if given and len(given) == len(weights.node):
        try:
            relative_weights(given)
        except ConfigError as error:
            weights.errors.append(error)
    return given


def _split(node: Settings) -> Split:
    node.known({"name", "valid_ratio", "min_per_source", "min_validation", "validation_from"})
    return Split(
        name=node.value("name", is_text, "text", "prompts", "split"),
        valid_ratio=node.required("valid_ratio", is_number(0, 0.5), "a share from 0 to 0.5", "0.02", 0.0),
        min_per_source=node.required("min_per_source", is_whole(0), "a whole number from 0", "100", 0),
        min_validation=node.required("min_validation", is_whole(0), "a whole number from 0", "100", 0),
        validation_from=node.value("validation_from", is_text, "the folder of a bundle", "BUNDLE"),
    )


def _prefer(node: Settings, sources: Sequence[str]) -> Sequence[str]:
    node.known({"name", "prefer"})
    names = node.value("prefer", is_text_list, "a list of sources", "[cmath]", [])
    for name in names:
        if name not in sources:
            node.errors.append(
                ConfigError(
                    "dedup.prefer",
                    f"no source {name} in this build ({known_names(name, sources)})",
                    "name sources of the mix",
                )
            )
    return names
