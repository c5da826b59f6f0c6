"""A bundle built on the way to a training, by `python -m pipeline build` itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import StoreError
from train.settings import Train


def build_bundle(settings: Train, say: Callable[[str], None]) -> Path:
    """Build a bundle with the settings in `build`; returns its folder. Raises: StoreError if that fails.

    `rows=FILE` is the path of the source that `build` calls `rows`.
    """
    package = str(Path(__file__).resolve().parents[1])
    paths = [f"paths.pools={settings.paths.pools}", f"paths.bundles={settings.paths.bundles}"]
    rows = settings.config.get("rows")
    own = [f"sources.rows.path={rows}"] if rows is not None else []
    command = [sys.executable, "-m", "pipeline", "build", *paths, *settings.build, *own]
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    last = ""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=os.environ | {"PYTHONPATH": path}
    ) as process:
        for line in process.stdout or ():
            last = line.rstrip("\n")
            say(last)
    if process.returncode:
        raise StoreError("build", "the bundle was not built, as is said above", "mend it, or name a bundle=PATH")
    return Path(last)
