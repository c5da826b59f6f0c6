"""What is refused before Hydra sees it: anything that could make it run code, or act on its own.

`hydra.utils.instantiate` builds whatever a key `_target_` names, and Hydra itself does so for the
launcher, the sweeper and the callbacks in its `hydra` node. Configuration is data here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError

ALLOWED_HYDRA = ("hydra.verbose",)

_TARGET = re.compile(r"(?<!\w)_target_(?!\w)")
_KEY = re.compile(r"(~|\+\+?)?([A-Za-z_$][\w$-]*([./@:]+[\w$-]+)*)", re.ASCII)
_PARENT = re.compile(r"(?<![\w.])\.\.(?![\w.])")
# A YAML file without any of these cannot hold a refused key, however it is spelt.
_SUSPECT = (b"_target_", b"searchpath", b"\\")


def override_error(override: str, folders: Sequence[Path]) -> ConfigError | None:
    """Why this override is not let through to Hydra, or None. `folders` are the configuration trees."""
    if _TARGET.search(override):
        return ConfigError(
            override, "_target_ is refused: configuration names no code here", "leave it out; use a setting"
        )
    key, equals, value = override.partition("=")
    if not _KEY.fullmatch(key):
        fix = "letters, digits, _, - and dots make a key; other names fit into a YAML file (--config-dir)"
        fix = fix if key.strip("+~ ") else "write KEY=VALUE, without spaces around the ="
        return ConfigError(override, f"'{key}' is no key of a setting", fix)
    bare = key.lstrip("~+")
    if "hydra" in re.split(r"[./@:]", bare) and bare not in ALLOWED_HYDRA:
        allowed = ", ".join(ALLOWED_HYDRA)
        return ConfigError(override, f"of Hydra's own settings only {allowed} can be set", f"leave out {key}")
    if not equals and not key.startswith("~"):
        return ConfigError(override, "an override is KEY=VALUE", _meant(override, folders))
    group = bare.partition("@")[0]
    if any((folder / group).is_dir() for folder in folders) and _PARENT.search(value):
        return ConfigError(override, f"the options of {group} are files below it", "name one without ..")
    return None


def _meant(word: str, folders: Sequence[Path]) -> str:
    """`mix=math_heavy` for `math_heavy`, where that is an option of a group."""
    groups = sorted({file.parent.name for folder in folders for file in folder.glob(f"*/{word}.yaml")})
    return f"write {' or '.join(f'{group}={word}' for group in groups) or f'{word}=VALUE'}"


def refuse_files(folders: Iterable[Path]) -> list[ConfigError]:
    """Look through every YAML file below the folders for `_target_` and `searchpath` keys."""
    errors: list[ConfigError] = []
    for folder in folders:
        for file in sorted(folder.rglob("*.yaml")):
            if not file.is_file():
                errors.append(ConfigError(str(file), "is no regular file", "take it out"))
                continue
            content = file.read_bytes()
            if any(sign in content for sign in _SUSPECT):
                errors.extend(_file_errors(file, content))
    return errors


def _file_errors(file: Path, content: bytes) -> list[ConfigError]:
    import yaml

    try:
        events = list(yaml.parse(content, Loader=yaml.SafeLoader))
    except yaml.YAMLError:
        return []  # Hydra reports it, if the file is used at all
    scalars = [event for event in events if isinstance(event, yaml.ScalarEvent)]
    refused = [event for event in scalars if event.value in ("_target_", "searchpath")]
    return [
        ConfigError(
            f"{file}, line {event.start_mark.line + 1}",
            f"{event.value} is refused: configuration names neither code nor other folders here",
            "leave it out",
        )
        for event in refused
    ]


def has_target(settings: Any) -> bool:
    """Whether a key `_target_` stands anywhere in composed settings, wherever it came from."""
    if isinstance(settings, dict):
        return "_target_" in settings or any(map(has_target, settings.values()))
    return isinstance(settings, list) and any(map(has_target, settings))
