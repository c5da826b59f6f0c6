"""What may be the name of a file or folder, and what a path may be."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import StoreError
from pipeline.visible import ACTIVE, visible

# Bytes of UTF-8. A bundle's name, a model's and a time make a run's, and a hidden one with a process number is longer
# still: that must stay below the 255 bytes that a file system takes.
LONGEST = 80
_MOST = 255
_SHOWN = 80  # characters
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)  # of Windows


def name_fault(text: str, longest: int = LONGEST) -> str | None:
    """What keeps a text from being the name of a folder on every system, or None."""
    if not text.strip():
        return "is empty"
    if found := ACTIVE.search(text):
        return f"has the control character {visible(found[0])}"
    if "/" in text or "\\" in text:
        return "has a / or \\"
    if text[0] in ".-" or text[-1] in ". " or text[0] == " ":
        return "begins with a dot, - or space, or ends with a dot or space"
    if _RESERVED.fullmatch(text):
        return "is a name that Windows keeps for devices"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "is no UTF-8"
    return f"has {size} bytes, and at most {longest} fit" if size > longest else None


def is_name(value: Any) -> bool:
    """A text that can be a folder's name on every system."""
    return isinstance(value, str) and name_fault(value) is None


NAME_RULE = f"a name: at most {LONGEST} bytes, without / and control characters, no dot or - at its head"


def is_path(value: Any) -> bool:
    """A text that can be a path: no part of it is too long, and no control character is in it."""
    if not isinstance(value, str) or not value.strip() or ACTIVE.search(value):
        return False
    try:
        return all(len(os.fsencode(part)) <= _MOST for part in Path(value).parts)
    except UnicodeEncodeError:
        return False


PATH_RULE = f"a path without control characters, no part of it longer than {_MOST} bytes"


def is_inside(name: Any) -> bool:
    """Whether a relative path that a manifest has stays in the manifest's folder."""
    if not isinstance(name, str) or not name or "\0" in name or "\\" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and bool(path.parts)


def is_part(name: Any) -> bool:
    """Whether a name that a manifest or a pointer has is that of one folder, not a way to somewhere else."""
    return is_inside(name) and "/" not in name and name != "."


def file_part(text: str) -> str:
    """A text as part of a file's name: what else might stand there becomes -."""
    return re.sub(r"[^\w.-]+", "-", text).encode()[:LONGEST].decode(errors="ignore")


def require_parts(where: Path, names: Iterable[Any], files: Any = None) -> None:
    """Raises: StoreError if a manifest at `where` has a path among its `names`, or a file outside of its folder among
    the keys of `files`."""
    wrong = [name for name in names if not is_part(name)]
    wrong += [name for name in files if not is_inside(name)] if isinstance(files, Mapping) else []
    if wrong:
        what = f"has {str(wrong[0])[:_SHOWN]!r} where a name in its folder is meant"
        raise StoreError(str(where), what, "it is not as poolmix wrote it: make it again")


def bundle_parts(manifest: Mapping[str, Any]) -> list[Any]:
    """The names in a bundle's manifest that become parts of paths."""
    nodes = [node for key in ("sources", "evaluation_sets") if isinstance(node := manifest.get(key), Mapping)]
    pools = [entry.get("pool") for node in nodes for entry in node.values() if isinstance(entry, Mapping)]
    tokens = [manifest["tokens"].get("key")] if isinstance(manifest.get("tokens"), Mapping) else []
    return [manifest.get("name"), *(name for node in nodes for name in node), *pools, *tokens]
