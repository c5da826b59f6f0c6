"""`latest`: a small text file that names a folder, instead of a link."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.small_files import require_regular

_LONGEST = 255  # bytes of a file's name on common file systems
_MOST_CHARACTERS = 4096  # of a path


def read_pointer(path: Path) -> str:
    """What `store.write_pointer` wrote: a folder's name, or of a bundle elsewhere its path; "" if nothing can be read.

    Imports nothing that takes time.
    """
    try:
        with require_regular(path).open(encoding="utf-8", errors="surrogateescape") as stream:
            text = stream.read(_MOST_CHARACTERS).strip().replace("\0", "")
    except (OSError, ValueError):
        return ""
    return text if all(len(os.fsencode(part)) <= _LONGEST for part in Path(text).parts) else ""


def named_folder(name: str, among: Path) -> Path:
    """Where a bundle or run is, or would be: by its path, by its name in the folder `among`, or `latest`."""
    folder = Path(name).expanduser()
    if name == "latest" and (among / "latest").is_file():
        return among / read_pointer(among / "latest")
    return among / name if not folder.is_dir() and (among / name).is_dir() else folder
