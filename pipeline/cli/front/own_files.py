"""What a configuration file may not say: anything that names code, reaches Hydra's own node, or leaves its folder.

A file is looked at as a stream of YAML events, before anything is built of it, so that neither deep nesting nor an
alias of aliases costs more than its bytes.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import ConfigError

# The largest file of the project has 3 KiB and 80 values; one of a thousand sources has 200 KiB.
MOST_BYTES, MOST_DEPTH, MOST_VALUES = 1 << 20, 50, 100_000
# The parser that Hydra uses: libyaml's is faster, and reads some files otherwise.
_LOADER: Any = yaml.SafeLoader
_NO_CODE = "configuration names neither code nor other folders here"
_NO_HYDRA = "no file sets or chooses anything of Hydra's own here"
_HYDRA = re.compile(r"(?<!\w)hydra(?!\w)")
_PACKAGE = re.compile(r"\s*#\s*@package\b.*(?<!\w)hydra(?!\w)")
# What leads out of the folders, or to a hidden one: a part of a path that begins with a dot, wherever it may stand.
OUTSIDE = re.compile(r"(?<![\w.-])\.|//|\\")
_PLAIN_TAG = re.compile(r"!|tag:yaml\.org,2002:(str|int|float|bool|null|seq|map)")


def yaml_files(folder: Path) -> Iterator[Path]:
    """Every `.yaml` below a folder, in the order of their names; links are followed, as Hydra does. Hidden folders
    (`.git`, `.venv`) are left out: nothing in them can be named (`OUTSIDE`)."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if name.endswith(".yaml"))


def file_errors(file: Path, folder: Path) -> list[ConfigError]:
    """What is wrong with a file of the configuration tree `folder`; what is no YAML at all is Hydra's to say."""
    own = file.relative_to(folder)
    if any(part == "hydra" for name in own.parts for part in name.split(".")):
        return [ConfigError(str(file), "the name hydra is refused: " + _NO_HYDRA, "give it another name")]
    try:
        content = _content(file)
    except OSError as error:
        return [ConfigError(str(file), f"cannot be read ({error.strerror or error})", "take it out of the folder")]
    try:
        found = _found_in(content)
    except UnicodeDecodeError as error:
        return [ConfigError(str(file), f"is not UTF-8 (byte {error.start})", "write it in UTF-8")]
    except (yaml.YAMLError, ValueError):
        return []
    return [ConfigError(f"{file}, line {line}", what, "leave it out") for line, what in found]


def _content(file: Path) -> bytes:
    """The bytes of a file that is one. Raises: OSError."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "it is no file")
    if status.st_size > MOST_BYTES:
        raise OSError(0, f"it has {status.st_size:,} bytes, more than {MOST_BYTES:,}")
    return file.read_bytes()


@lru_cache(maxsize=1000)
def _found_in(content: bytes) -> list[tuple[int, str]]:
    """Line and fault of whatever is refused. Several commands in one process look at the same bytes once.

    Raises: UnicodeDecodeError, ValueError, yaml.YAMLError.
    """
    text = content.decode("utf-8")
    return [*_header_errors(text), *_Walk().errors(yaml.parse(content, Loader=_LOADER))]


def _header_errors(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):  # as Hydra does: at more than \n
        if _PACKAGE.match(line):
            yield number, f"the package hydra is refused: {_NO_HYDRA}"


class _Walk:
    """One pass over the events of a file. `open` has for each collection around the present place: its anchor, how
    many values it holds (those of its aliases among them), and how many of them stand directly in it."""

    def __init__(self) -> None:
        self.open: list[list[Any]] = []
        self.maps: list[bool] = []
        self.values: dict[str, int] = {}  # by anchor
        self.setting = ""  # the top-level key of the present place

    def errors(self, events: Iterable[Any]) -> list[tuple[int, str]]:
        """Line and fault of whatever is refused; what is too deep or too much ends the look."""
        found: list[tuple[int, str]] = []
        for event in events:
            line = event.start_mark.line + 1
            fault = self._fault(event)
            if fault is not None:
                found.append((line, fault))
            if len(self.open) > MOST_DEPTH:
                return [*found, (line, f"it is nested more than {MOST_DEPTH} deep")]
            size = self._step(event)
            if size is None:
                return [*found, (line, "an alias stands within what it repeats")]
            if size > MOST_VALUES:
                return [*found, (line, f"it comes to more than {MOST_VALUES:,} values with its aliases written out")]
        return found

    def _fault(self, event: Any) -> str | None:
        tag = getattr(event, "tag", None)
        if tag is not None and not _PLAIN_TAG.fullmatch(tag):
            return f"the tag {tag} is refused: values are texts, numbers, lists and mappings"
        is_defaults = self.setting == "defaults" and bool(self.open)
        if isinstance(event, yaml.AliasEvent) and self._is_key():
            return "an alias as a key is refused: keys are written out"
        if isinstance(event, yaml.AliasEvent) and is_defaults:
            return "an alias among the defaults is refused: their names are written out"
        if not isinstance(event, yaml.ScalarEvent):
            return None
        if event.value in ("_target_", "searchpath"):
            return f"{event.value} is refused: {_NO_CODE}"
        if len(self.open) == 1 and self._is_key():
            if event.value == "<<":
                return "a merge at the top of a file is refused: its settings are written out"
            return f"hydra is refused: {_NO_HYDRA}" if _HYDRA.match(event.value) else None
        if is_defaults and _HYDRA.search(event.value):
            return f"{event.value} is refused: {_NO_HYDRA}"
        if is_defaults and OUTSIDE.search(event.value):
            return f"{event.value} is refused: defaults name files of the configuration folders"
        return None

    def _is_key(self) -> bool:
        return bool(self.open) and self.maps[-1] and self.open[-1][2] % 2 == 0

    def _step(self, event: Any) -> int | None:
        """Go on past an event; how many values the file has so far, None for an alias of what is not whole yet."""
        if isinstance(event, yaml.CollectionStartEvent):
            self.open.append([event.anchor, 1, 0])
            self.maps.append(isinstance(event, yaml.MappingStartEvent))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size, _ = self.open.pop()
            self.maps.pop()
            return self._add(anchor, size)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.values:
                return None
            return self._add(None, self.values[event.anchor])
        elif isinstance(event, yaml.ScalarEvent):
            if len(self.open) == 1 and self._is_key():
                self.setting = event.value
            return self._add(event.anchor, 1)
        return 0

    def _add(self, anchor: str | None, size: int) -> int:
        if anchor is not None:
            self.values[anchor] = size
        if self.open:
            self.open[-1][1] += size
            self.open[-1][2] += 1
            return self.open[-1][1]
        return size
