"""The configuration folders read as text: which groups and options there are, without importing Hydra."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.small_files import require_regular

_DEFAULT = re.compile(r"\s*-\s*(?:override\s+|optional\s+)*/?([\w/-]+)(?:@[\w.]+)?\s*:\s*([^#\n]*)#?(.*)")


_BASE = re.compile(r"\s*-\s*/?([\w-]+)\s*(?:#.*)?")


def find_groups(folders: Iterable[Path]) -> dict[str, dict[str, Path]]:
    """Group → option → file, by name. A name in an earlier folder hides the later one, as in Hydra."""
    found: dict[str, dict[str, Path]] = {}
    for folder in folders:
        for file in folder.glob("*/**/*.yaml"):
            group = file.parent.relative_to(folder).as_posix()
            found.setdefault(group, {}).setdefault(file.stem, file)
    return {group: dict(sorted(found[group].items())) for group in sorted(found)}


def _text(file: Path) -> str:
    """A file for help; empty where it is no file, which is said where it is used."""
    try:
        return require_regular(file).read_text("utf-8", errors="replace")
    except OSError:
        return ""


def first_comment(file: Path) -> str:
    """The first comment above the settings of a file that is not one of Hydra's `# @package` lines."""
    for line in _text(file).splitlines():
        text = line.strip()
        if text and not text.startswith("#"):
            break
        comment = text.lstrip("#").strip()
        if comment and not comment.startswith("@"):
            return comment
    return ""


def bases(primary: Path) -> list[Path]:
    """The primary config and those that it builds on (`- build` in its defaults list), itself first."""
    if not primary.is_file():
        return []
    lines = top_level_blocks(primary).get("defaults", "").splitlines()
    names = [match[1] for line in lines if (match := _BASE.fullmatch(line)) and match[1] != "_self_"]
    return [primary, *(file for name in names for file in bases(primary.with_name(f"{name}.yaml")))]


def default_options(primary: Path) -> dict[str, tuple[str, str]]:
    """Group → chosen option and the comment behind it, from the defaults list of one primary config."""
    blocks = top_level_blocks(primary)
    matches = map(_DEFAULT.match, blocks.get("defaults", "").splitlines())
    return {match[1]: (match[2].strip(), match[3].strip()) for match in matches if match}


def top_level_blocks(primary: Path) -> dict[str, str]:
    """Top-level key → its text with the comments above it, in the order of the file.

    The first line, a comment, is the command of the whole file, as is what stands between it and an empty line.
    """
    blocks: dict[str, str] = {}
    above: list[str] = []
    key = ""
    for number, line in enumerate(_text(primary).splitlines()):
        if number == 0 and line.startswith("#"):
            continue
        if match := re.match(r"([\w-]+)\s*:", line):
            key = match[1]
            blocks[key] = "\n".join([*above, line])
            above = []
        elif not line or line.startswith("#"):
            above = [*above, line] if line else []
        elif key:
            blocks[key] += "\n".join(["", *above, line])
            above = []
    return blocks


def option_exists(folders: Sequence[Path], group: str, option: str) -> bool:
    """Whether Hydra would find the option; options of subfolders (`ab/small`) too."""
    name = option if option.endswith(".yaml") else f"{option}.yaml"
    return any((folder / group / name).is_file() for folder in folders)
