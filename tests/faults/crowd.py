"""Our commands as processes, many at a time, and what a reader may see of what they leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.manifest import open_bundle
from pipeline.verify.checks import verify

ROOT = Path(__file__).resolve().parents[2]
# Two small sources without texts: what is tried here does not depend on rendering.
SMALL = ["template=none", "mix=custom", "+mix.weights.cmath=1", "+mix.weights.mawps=1"]


def start(folder: Path, *words: str, before: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    """`python -m pipeline WORDS` in a folder; `before` runs in the new process."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "pipeline", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


def start_code(folder: Path, code: str, *arguments: str) -> subprocess.Popen[str]:
    """A Python program of a few lines that uses this package."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def manifest(bundle: Path) -> dict[str, Any]:
    """The manifest of a bundle, all of whose promises hold."""
    opened = open_bundle(str(bundle), bundle.parent)
    assert [check.name for check in verify(opened) if check.faults] == []
    return json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))


def leftovers(folder: Path) -> list[str]:
    """Everything hidden below a folder but the locks."""
    return sorted(path.name for path in folder.rglob(".*") if path.name != ".locks")
