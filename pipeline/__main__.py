"""`python -m pipeline VERB …`: raw instruction data → pools → a bundle with an exact mix."""

from __future__ import annotations

import pipeline.safe_path  # noqa: F401  # pyright: ignore[reportUnusedImport]  first of all

# isort: split
import gc
import logging
import os
import signal
import sys
from dataclasses import replace
from typing import NoReturn

from pipeline.cli import root
from pipeline.cli.front import Program, Verb, main

PROGRAM = Program(
    name="python -m pipeline",
    summary="From raw instruction data to pools, and from pools to a bundle with an exact mix.",
    verbs={
        "build": Verb("raw data → pools → a bundle with an exact mix", "pipeline.cli.build", "build"),
        "pools": Verb("list the pools; make them without a build, or remove old ones", "pipeline.cli.pools", "pools"),
        "show": Verb("print rows of a bundle, a pool or the quarantine; find one row", "pipeline.cli.show", "show"),
        "stats": Verb("count rows, lengths, tags and repeats of a bundle or pool", "pipeline.cli.stats", "stats"),
        "verify": Verb("check a written bundle: files, quotas, no leakage", "pipeline.cli.verify", "verify"),
        "diff": Verb("compare two bundles, row by row", "pipeline.cli.diff", "diff"),
        "sniff": Verb("say which shape unknown raw data has, as the YAML of a source", "pipeline.cli.sniff", "sniff"),
    },
    conf=root() / "conf",
    implied={"mix.weights": "source@_global_.sources"},
)
# New objects before Python looks for those in use no more: of what libraries make as they are imported all stays, and
# looking through it again and again takes a twentieth of a short command.
_MANY = 100_000


def console() -> NoReturn:
    """The console script `poolmix`."""
    gc.set_threshold(_MANY)
    leave(main(replace(PROGRAM, name="poolmix"), sys.argv[1:]))


def leave(status: int) -> NoReturn:
    """End the program at once: taking it apart object by object would take a quarter of a second after a build."""
    for number in (signal.SIGINT, signal.SIGTERM):  # all is done: no reason for a word more
        signal.signal(number, signal.SIG_DFL)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    gc.set_threshold(_MANY)
    leave(main(PROGRAM, sys.argv[1:]))
