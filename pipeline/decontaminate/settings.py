"""Reading `decontaminate`: which evaluation sets, and how much in common is too much."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import ConfigError, PoolmixError, known_names
from pipeline.names import name_fault
from pipeline.settings import Settings, is_text, is_whole
from pipeline.sources.block import repeated
from pipeline.sources.settings import NAME, read_sources
from pipeline.sources.source import Source


@dataclass(frozen=True)
class Decontaminate:
    """`against` has the evaluation sets; `ngram` counts words, `ngram_chars` characters of scripts without spaces.

    A set that was named by its path alone has the shape "" until its file is looked into.
    """

    against: Sequence[Source]
    ngram: int
    ngram_chars: int


def read_decontaminate(
    config: Mapping[str, Any], root: Path, trained_on: Mapping[str, Source], errors: list[PoolmixError]
) -> Decontaminate:
    """The node `decontaminate` beside the sources that are trained on. `root` is the project's folder."""
    node = Settings(config.get("decontaminate"), "decontaminate", errors)
    node.known({"name", "against", "ngram", "ngram_chars"})
    given = node.value("against", lambda value: isinstance(value, list), "a list of evaluation sets", "[FILE]", [])
    sets = [_evaluation_set(entry, config, root, errors) for entry in given]
    found = [one for one in sets if one is not None]
    names = [one.name for one in found]
    for name in names:
        if (fault := name_fault(name)) is not None:
            errors.append(_error(name, f"its name {fault}", "give it another: {name: NAME, path: FILE}"))
    for name in repeated(names):
        errors.append(_error(name, "two evaluation sets have this name", "give one a name: {name: NAME, path: FILE}"))
    for name in sorted(set(names) & set(trained_on)):
        errors.append(
            _error(name, "a source of this build has this name", f"give the evaluation set another, or take {name} out")
        )
    return Decontaminate(
        found,
        ngram=node.required("ngram", is_whole(2), "a whole number above 1", "13", 13),
        ngram_chars=node.required("ngram_chars", is_whole(2), "a whole number above 1", "25", 25),
    )


def _error(name: str, what: str, fix: str) -> ConfigError:
    return ConfigError(f"decontaminate.against, {name}", what, fix)


def _evaluation_set(entry: Any, config: Mapping[str, Any], root: Path, errors: list[PoolmixError]) -> Source | None:
    """A file of conf/source by its name, a mapping of its keys (and `name`), or else a path."""
    if isinstance(entry, Mapping):
        rest = {str(key): value for key, value in entry.items() if key != "name"}
        name = entry.get("name", _name_of(str(entry.get("path") or entry.get("hub") or "")))
        if set(rest) == {"path"} and is_text(rest["path"]):
            return Source(str(name), shape="", tags=(), path=rest["path"])
        return _source(str(name), rest, config, root, errors)
    if not is_text(entry):
        what = "must be a path, a name of conf/source or a mapping"
        errors.append(_error(str(entry), what, "set decontaminate.against=[FILE]"))
        return None
    file = root / "conf" / "source" / f"{entry}.yaml"
    if NAME.fullmatch(entry) and file.is_file():
        return _source(entry, yaml.safe_load(file.read_text(encoding="utf-8")), config, root, errors)
    if "/" not in entry and "." not in entry and not Path(entry).exists():
        known = known_names(entry, [path.stem for path in file.parent.glob("*.yaml")])
        what = f"neither a file nor a source of the project ({known})"
        errors.append(_error(entry, what, "name a FILE, or write {name: NAME, path: FILE, shape: SHAPE}"))
        return None
    return Source(_name_of(entry), shape="", tags=(), path=entry)


def _name_of(path: str) -> str:
    """`gsm8k-test` for `data/gsm8k/test.jsonl`: the folder belongs to it, as many sets are called test."""
    parts = [part for part in Path(path).parts if re.search(r"\w", part)][-2:]
    stems = [*parts[:-1], *(re.split(r"\.(?=\D)", part)[0] for part in parts[-1:])]
    return re.sub(r"[^\w-]+", "-", "-".join(stems)).strip("-") or "evaluation"


def _source(
    name: str, node: Mapping[str, Any], config: Mapping[str, Any], root: Path, errors: list[PoolmixError]
) -> Source:
    """The set as any source is read; mistakes in it are said of `decontaminate.against`."""
    own: list[PoolmixError] = []
    source = read_sources({"corpus": config.get("corpus"), "sources": {name: node}}, root, own)[name]
    for error in own:
        where = error.where.replace(f"sources.{name}.", "").replace(f"source {name}", "it")
        fix = error.fix.replace(f"sources.{name}.", "")
        errors.append(_error(name, f"{where}: {error.what}", fix))
    return dataclasses.replace(source, tags=())
