"""The command line: one module a verb, the front over Hydra that they share, and nothing that knows data."""

from __future__ import annotations

import os
from pathlib import Path

# Freed memory is kept for the next block instead of going back to the system: asking for it again and again
# costs more than the work itself where memory is slow to come by (a virtual machine, say).
_KEEP_FREED_MEMORY = {"_RJEM_MALLOC_CONF": "dirty_decay_ms:-1,muzzy_decay_ms:-1", "MIMALLOC_PURGE_DELAY": "-1"}


def root() -> Path:
    """The folder that holds `conf/` and `data_pools/samples/`: the package itself in a wheel, else the checkout."""
    package = Path(__file__).resolve().parents[1]
    return package if (package / "conf").is_dir() else package.parent


def prepare_libraries(threads: int | None) -> None:
    """Set what Polars and Arrow read from the environment when they are first imported."""
    for name, value in _KEEP_FREED_MEMORY.items():
        os.environ.setdefault(name, value)
    if isinstance(threads, int) and threads > 0:
        os.environ["POLARS_MAX_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(threads)
