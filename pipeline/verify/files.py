"""What is wrong with the files of a written folder, by its manifest: bytes, kinds, and files too many."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from pipeline.entries import Entry
from pipeline.store import damaged_file
from pipeline.verify.manifest import MANIFEST


def wrong_files(folder: Path, files: Mapping[str, Entry], besides: Sequence[str] = ()) -> Iterator[str]:
    """A line for each file that is not as the manifest says, is no plain file, or is not in the manifest.

    `besides` are the folders inside that answer for themselves.
    """
    plain = {name: entry for name, entry in files.items() if not {"..", "/"} & set(PurePosixPath(name).parts)}
    yield from (f"{name} lies outside" for name in files if name not in plain)
    yield from (fault for name in plain if (fault := damaged_file(folder, {name: dict(plain[name])})))
    for place, folders, names in os.walk(folder):
        where = Path(place)
        if where == folder:
            folders[:] = [name for name in folders if name not in besides or (where / name).is_symlink()]
        for name in sorted([*folders, *names]):
            path, shown = where / name, (where / name).relative_to(folder).as_posix()
            if path.is_symlink():
                yield f"{shown} is a link"
            elif path.is_dir():
                continue
            elif not path.is_file():
                yield f"{shown} is no plain file"
            elif shown not in files and shown != MANIFEST:
                yield f"{shown} is not in the manifest"
