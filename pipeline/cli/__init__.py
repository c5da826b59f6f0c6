"""The command line: one module a verb, the front over Hydra that they share, and nothing that knows data."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from pathlib import Path

from pipeline import memory

# Freed memory is kept for the next block instead of going back to the system, in one arena for all threads:
# asking for it again and again costs more than the work itself where memory is slow to come by (a virtual
# machine, say). Polars allocates with jemalloc, Arrow with the C library here.
_ENVIRONMENT = {
    "_RJEM_MALLOC_CONF": "narenas:1,dirty_decay_ms:-1,muzzy_decay_ms:-1,thp:always",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "OPENBLAS_NUM_THREADS": "1",  # NumPy's: nothing here multiplies matrices, and its threads spin while they wait
}
# Where there is little of it, it goes back at once.
_FRUGAL = {"_RJEM_MALLOC_CONF": "narenas:1,dirty_decay_ms:0,muzzy_decay_ms:0,retain:false"}
_MALLOPT = {-1: 2**31 - 1, -3: 2**30, -8: 1}  # glibc's M_TRIM_THRESHOLD, M_MMAP_THRESHOLD (bytes), M_ARENA_MAX
_MALLOPT_FRUGAL = {-1: 2**17, -3: 2**17, -8: 1}
_LOG = logging.getLogger(__name__)


def root() -> Path:
    """The folder that holds `conf/` and `data_pools/samples/`: the package itself in a wheel, else the checkout."""
    package = Path(__file__).resolve().parents[1]
    return package if (package / "conf").is_dir() else package.parent


def prepare_libraries(threads: int | None) -> None:
    """Set what Polars and Arrow read from the environment when they are first imported.

    Raises: MemoryShortError where the limits in force leave too little for them and for what they are to do.
    """
    if isinstance(threads, int) and threads > 0:
        os.environ["POLARS_MAX_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(threads)
    fitting = memory.budget()
    if fitting.is_tight:
        os.environ["POLARS_MAX_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(fitting.threads)
        _LOG.info("little memory: threads=%d, blocks of %d KiB", fitting.threads, fitting.block >> 10)
        os.environ.update(_FRUGAL)  # whatever is set: Polars sets it, too, for what is started after it is imported
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        for option, amount in (_MALLOPT_FRUGAL if fitting.is_tight else _MALLOPT).items():
            libc.mallopt(option, amount)
