"""What is refused before Hydra sees it: anything that could make it run code, or act on its own.

`hydra.utils.instantiate` builds whatever a key `_target_` names, and Hydra itself does so for the
launcher, the sweeper and the callbacks in its `hydra` node. Configuration is data here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.cli.front.own_files import OUTSIDE, file_errors, yaml_files
from pipeline.cli.front.quoting import UnreadableError, hydra_form, parse
from pipeline.errors import ConfigError

ALLOWED_HYDRA = ("hydra.verbose",)

_TARGET = re.compile(r"(?<!\w)_target_(?!\w)")
_KEY = re.compile(r"(~|\+\+?)?([A-Za-z_$][\w$-]*([./@:]+[\w$-]+)*)", re.ASCII)
_MAPPING = re.compile(r"(?<!\$)\{")
_ABSOLUTE = re.compile(r"(^|[\s'\"\[(,}])/")
_VERBOSE = re.compile(r"[\w.,\[\] ]*", re.ASCII)
_MOST_BRACKETS = 50  # one within the other, as deep as a file may go


def override_error(override: str, folders: Sequence[Path]) -> ConfigError | None:
    """Why this override is not let through to Hydra, or None. `folders` are the configuration trees."""
    if _TARGET.search(override):
        return ConfigError(
            override, "_target_ is refused: configuration names no code here", "leave it out; use a setting"
        )
    if _depth(override) > _MOST_BRACKETS:
        what = f"its brackets stand more than {_MOST_BRACKETS} deep"
        return ConfigError(f"{override[:40]}…", what, "write it into a YAML file, with fewer of them")
    if not __debug__ and _MAPPING.search(override):
        what = "Hydra reads no mappings under `python -O`, which takes away a part of its reader"
        return ConfigError(override, what, "run without -O, or write it into a YAML file (--config-dir)")
    key, equals, value = override.partition("=")
    if not _KEY.fullmatch(key):
        fix = "letters, digits, _, - and dots make a key; other names fit into a YAML file (--config-dir)"
        fix = fix if key.strip("+~ ") else "write KEY=VALUE, without spaces around the ="
        return ConfigError(override, f"'{key}' is no key of a setting", fix)
    bare = key.lstrip("~+")
    if "hydra" in re.split(r"[./@:]", bare) and bare not in ALLOWED_HYDRA:
        allowed = ", ".join(ALLOWED_HYDRA)
        return ConfigError(override, f"of Hydra's own settings only {allowed} can be set", f"leave out {key}")
    if bare in ALLOWED_HYDRA and not _VERBOSE.fullmatch(value):
        return ConfigError(override, "true, false or names of loggers are allowed", "hydra.verbose=true")
    if any(signs in key for signs in ("..", "//", "./", "/.")):
        return ConfigError(override, f"'{key}' is no key of a setting", "write names with single dots between them")
    if not equals and not key.startswith("~"):
        return ConfigError(override, "an override is KEY=VALUE", _meant(override, folders))
    group = bare.partition("@")[0]
    if any((folder / group).is_dir() for folder in folders) and _leads_out(value):
        fix = "name one without .., //, \\, and / or a dot at the head of a part"
        return ConfigError(override, f"the options of {group} are files below it", fix)
    return None


def _leads_out(value: str) -> bool:
    """Whether an option is chosen that is not below its group, or that nobody looked through; by a list, sweep or
    function, too. A mapping chooses none: its values may be paths."""
    if not OUTSIDE.search(value) and not _ABSOLUTE.search(value):
        return False
    try:
        return not isinstance(parse(hydra_form(f"key={value}", sweep=False).partition("=")[2]).value(), dict)
    except UnreadableError:
        return True


def _depth(text: str) -> int:
    """How many opening brackets stand unclosed at most."""
    deepest = depth = 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _meant(word: str, folders: Sequence[Path]) -> str:
    """`mix=math_heavy` for `math_heavy`, where that is an option of a group."""
    groups = sorted({file.parent.name for folder in folders for file in folder.glob(f"*/{word}.yaml")})
    return f"write {' or '.join(f'{group}={word}' for group in groups) or f'{word}=VALUE'}"


def refuse_files(folders: Iterable[Path]) -> list[ConfigError]:
    """Look through every YAML file below the folders for what none may say (`own_files.py`)."""
    return [error for folder in folders for file in yaml_files(folder) for error in file_errors(file, folder)]


def has_target(settings: Any) -> bool:
    """Whether a key `_target_` stands anywhere in composed settings, wherever it came from."""
    if isinstance(settings, dict):
        return "_target_" in settings or any(map(has_target, settings.values()))
    return isinstance(settings, list) and any(map(has_target, settings))
