"""How much memory a process may still take, what a build takes, and how it is fitted into less.

What was measured is in MiB, on Linux with glibc: a build of 30,000 and 200,000 rows, with 1 to 8 threads and blocks
of 256 KiB to 4 MiB. Inside Polars an allocation that fails ends the process, so it must not come to that.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path

from pipeline.errors import PoolmixError

MIB = 1 << 20
# Bytes of raw data that are parsed at once: the largest that fit are used.
BLOCKS = (4 * MIB, MIB, MIB // 4)
_SYSTEM = Path("/")
_UNLIMITED = 1 << 60  # cgroup v1 says some such number for "max"


class MemoryShortError(PoolmixError):
    """What is to be done needs more memory than the limits in force leave."""


@dataclass(frozen=True)
class Need:
    """Bytes that something takes: `heap` is written to, `reserved` is asked for and hardly used (the stacks of
    threads), `mapped` are files; `beside` is what other processes take for it."""

    heap: float
    reserved: float = 0
    mapped: float = 0
    beside: float = 0

    def __add__(self, other: Need) -> Need:
        return Need(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def times(self, count: int) -> Need:
        """So many of it."""
        return Need(*(size * count for size in astuple(self)))


@dataclass(frozen=True)
class Limit:
    """A limit in force: `left` bytes may still be taken. `counts` says of what: address, data or memory."""

    name: str
    left: int
    counts: str

    def takes(self, need: Need) -> float:
        """The bytes of a need that count against this limit."""
        if self.counts == "memory":
            return need.heap + need.beside
        return need.heap + need.reserved + (need.mapped if self.counts == "address" else 0)


@dataclass(frozen=True)
class Budget:
    """With how many threads, and how many bytes of raw data at a time for each, work is done. No result depends
    on either. `is_tight`: there may be too little for what comes later, so freed memory goes back at once."""

    threads: int
    block: int
    is_tight: bool = False


# Polars, Arrow, NumPy and the rest once they are imported, and 31 MiB to spare: pools were not made with 39 left, once.
_LIBRARIES = Need(50 * MIB, 55 * MIB, 315 * MIB)
# What one block takes on its way from raw bytes to a pool, and what is needed besides.
_PER_BLOCK_BYTE, _PER_BLOCK_BYTE_BESIDE = 27, 15
_AMPLE = 4  # times what reading takes: with so much nothing is spared
_READING, _THREAD = Need(20 * MIB, 50 * MIB), Need(4 * MIB, 26 * MIB)


def reading(budget: Budget) -> Need:
    """What it takes to make pools, once the libraries are there."""
    first = _READING + Need(_PER_BLOCK_BYTE * budget.block)
    return first + (_THREAD + Need(_PER_BLOCK_BYTE_BESIDE * budget.block)).times(budget.threads - 1)


@cache
def budget() -> Budget:
    """What fits into the limits in force when this is first asked, at the start of a command: at most as many
    threads as Polars is to have.

    Raises: MemoryShortError where not even the least does.
    """
    return fitted(_threads(), list(limits()), Need(0) if "polars" in sys.modules else _LIBRARIES)


def fitted(threads: int, found: Sequence[Limit], before: Need) -> Budget:
    """The largest blocks with which two threads fit, and as many threads as then do.

    `before` is needed besides. Where memory is tight, reading may take a half of it, as more stages follow; but one
    thread with the smallest blocks may take all. Raises: MemoryShortError if not even that fits.
    """
    if not _short(before + reading(Budget(threads, BLOCKS[0])).times(_AMPLE), found):
        return Budget(threads, BLOCKS[0])
    for block in BLOCKS:
        for count in range(threads, min(threads, 2) - 1, -1):
            if not _short(before + reading(Budget(count, block)).times(2), found):
                return Budget(count, block, is_tight=True)
    least = Budget(1, BLOCKS[-1], is_tight=True)
    require("pipeline", before + reading(least), "the least that a build takes", found)
    return least


def require(where: str, need: Need, what: str, found: Iterable[Limit] | None = None, fix: str = "") -> None:
    """Raises: MemoryShortError if a limit in force leaves less than is needed; `what` says for what."""
    for limit in _short(need, list(limits()) if found is None else found):
        says = f"{what} needs {mib(limit.takes(need))} MiB more, and {limit.name} leaves {mib(limit.left)} MiB"
        raise MemoryShortError(where, says, "raise the limit" + (f", or {fix}" if fix else ""))


def ran_out() -> MemoryShortError:
    """The error for memory that ran out although it was not expected to."""
    return MemoryShortError("memory", "the memory there is did not suffice", "raise the limit, or set threads=1")


def require_for_block(size: int) -> None:
    """Raises: MemoryShortError if there is too little for a block of so many bytes, which one long record made larger
    than those that were counted with."""
    if size > 2 * budget().block:
        fix = "set normalize.max_record_bytes to less, which quarantines such records"
        require("pipeline", Need(_PER_BLOCK_BYTE * size), f"a record of up to {mib(size)} MiB", fix=fix)


def mib(size: float) -> str:
    """Bytes as MiB."""
    return f"{size / MIB:,.0f}"


def _short(need: Need, found: Iterable[Limit]) -> list[Limit]:
    """The limits that leave too little, the one that lacks most first."""
    short = [limit for limit in found if limit.takes(need) > limit.left]
    return sorted(short, key=lambda limit: limit.left - limit.takes(need))


def _threads() -> int:
    asked = os.environ.get("POLARS_MAX_THREADS", "")
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(asked)) if asked.isdecimal() else there


def most() -> int | None:
    """Bytes that this process may have in all, those that it has among them; None where the system does not say."""
    left = [limit.left for limit in limits()]
    return max(0, min(left)) + _own(_SYSTEM).get("RssAnon", 0) if left else None


def limits(system: Path = _SYSTEM) -> Iterator[Limit]:
    """The limits in force on Linux: of the process, of its control groups, and what the machine has free."""
    if sys.platform != "linux":
        return
    import resource

    own = _own(system)
    for name, which, counts, held in (
        ("the limit of the address space (ulimit -v)", resource.RLIMIT_AS, "address", "VmSize"),
        ("the limit of the data segment (ulimit -d)", resource.RLIMIT_DATA, "data", "VmData"),
    ):
        soft = resource.getrlimit(which)[0]
        if soft != resource.RLIM_INFINITY:
            yield Limit(name, soft - own.get(held, 0), counts)
    yield from _groups(system)
    machine = _sizes(system / "proc/meminfo")
    if "MemAvailable" in machine:
        yield Limit("the machine", machine["MemAvailable"] + machine.get("SwapFree", 0), "memory")


def _own(system: Path) -> dict[str, int]:
    return _sizes(system / "proc/self/status")


def _sizes(path: Path) -> dict[str, int]:
    """The lines `Name:  123 kB` of a file of /proc, in bytes."""
    fields = (line.split() for line in _lines(path))
    return {words[0][:-1]: int(words[1]) << 10 for words in fields if words[2:] == ["kB"] and words[1].isdecimal()}


def _groups(system: Path) -> Iterator[Limit]:
    """The limits of the control group and of those around it, both versions. A container sees its own group as the
    root of the tree, whatever the path says."""
    tree = system / "sys/fs/cgroup"
    for line in _lines(system / "proc/self/cgroup"):
        _, kinds, path = line.rstrip("\n").split(":", 2)
        if kinds == "":
            roots, files, used, cache = [tree, tree / "unified"], ["memory.max", "memory.high"], "memory.current", ""
        elif "memory" in kinds.split(","):
            roots, files, used, cache = [tree / "memory"], ["memory.limit_in_bytes"], "memory.usage_in_bytes", "total_"
        else:
            continue
        inside = Path(path.lstrip("/"))
        for root in roots:
            for group in [root / part for part in (inside, *inside.parents)]:
                most = [int(text) for file in files for text in _lines(group / file) if text.strip().isdecimal()]
                if most and min(most) < _UNLIMITED:
                    held = sum(int(text) for text in _lines(group / used)) - _reclaimable(group, cache)
                    yield Limit(f"the control group /{group.relative_to(root)}", min(most) - held, "memory")


def _reclaimable(group: Path, prefix: str) -> int:
    """Bytes of files in memory that the system drops where it needs room."""
    counts = dict(line.split() for line in _lines(group / "memory.stat"))
    return sum(int(counts.get(f"{prefix}{name}_file", 0)) for name in ("inactive", "active"))


def _lines(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return stream.readlines()
    except OSError:
        return []
