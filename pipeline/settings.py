"""Reading a node of the composed configuration: typed values out, every mistake noted on the way.

Defaults are in the YAML files of `conf/`, not here (only the shapes know defaults, since a source may come
from the command line).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, ConfigErrors, PoolmixError, known_names
from pipeline.names import PATH_RULE, is_path


@dataclass(frozen=True)
class Paths:
    """Where results go, relative to the working folder."""

    pools: Path
    bundles: Path


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
        self.errors.append(
            ConfigError(f"{self.path(key)}={_shown(value)}", f"must be {allowed}", f"set {self.path(key)}={example}")
        )

    def known(self, keys: set[str]) -> None:
        """Note every key that is none of `keys`."""
        for key in sorted(set(self.node) - keys):
            self.errors.append(
                ConfigError(
                    self.path(str(key)),
                    f"no such setting ({known_names(str(key), keys)})",
                    f"take {self.path(str(key))} out",
                )
            )

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

    def one_of(self, key: str, allowed: Sequence[str]) -> str:
        """The setting, which must be one of these texts."""
        return self.required(key, lambda value: value in allowed, " or ".join(allowed), allowed[0], allowed[0])


def is_bool(value: Any) -> bool:
    """True or false."""
    return isinstance(value, bool)


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
    return lambda value: (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and least <= value <= most
    )


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)


def read_paths(config: Mapping[str, Any], errors: list[PoolmixError]) -> Paths:
    """`paths.pools` and `paths.bundles`."""
    node = Settings(config.get("paths"), "paths", errors)
    return Paths(
        *(Path(node.required(name, is_path, PATH_RULE, "DIR", ".")).expanduser() for name in ("pools", "bundles"))
    )


def bundle_setting(config: Mapping[str, Any], key: str) -> tuple[str, Path]:
    """A setting that names a bundle, and the folder where bundles are: the arguments of `open_bundle`."""
    errors: list[PoolmixError] = []
    name = Settings(config, "", errors).required(key, is_text, "a bundle's folder or name", "PATH", "")
    bundles = Settings(config.get("paths"), "paths", errors).required("bundles", is_path, PATH_RULE, "DIR", ".")
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
