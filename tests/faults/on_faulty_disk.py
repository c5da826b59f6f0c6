"""Commands run one after the other on a disk that fails as told: a program of its own, for LD_PRELOAD.

Reads from stdin a line of JSON for each command: {"argv": [...], "kind": name or null, "first": n, "last": n,
"errno": n}; writes a line of JSON for each: {"status", "out", "err", "counts": {kind: n}}. It is the real command
line, in one process to save its start.
"""

import contextlib
import ctypes
import io
import json
import sys
import traceback

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main

KINDS = ("open", "write", "fsync", "rename", "mkdir", "unlink", "close")


def run(argv: list[str], kind: str | None, first: int, last: int, errno: int) -> dict[str, object]:
    """One command, with the calls of one kind from `first` to `last` failing."""
    disk = ctypes.CDLL(None)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        disk.faulty_arm(KINDS.index(kind) if kind else -1, ctypes.c_long(first), ctypes.c_long(last), errno)
        try:
            status = main(PROGRAM, argv)
        except BaseException:
            status = 1
            traceback.print_exc()
        counts = (ctypes.c_long * len(KINDS))()
        disk.faulty_counts(counts)
        disk.faulty_arm(-1, 0, 0, 0)
    done = {"status": status, "out": out.getvalue(), "err": err.getvalue()}
    return done | {"counts": dict(zip(KINDS, counts, strict=True))}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)
