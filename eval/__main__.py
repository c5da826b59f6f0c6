"""`python -m eval VERB …`: what a tuned model has gained and lost, and whether one mix beats another."""

from __future__ import annotations

import pipeline.safe_path  # noqa: F401  # pyright: ignore[reportUnusedImport]  first of all

# isort: split
import sys

from pipeline.__main__ import leave
from pipeline.cli import root
from pipeline.cli.front import Program, Verb, main

PROGRAM = Program(
    name="python -m eval",
    summary="What a tuned model has gained and lost, and whether one mix beats another.",
    verbs={
        "run": Verb("measure a run beside its base model, or a model alone", "eval.cli.run", "eval"),
        "compare": Verb("compare two runs on the same rows", "eval.cli.compare", "compare"),
        "ab": Verb("build, train and evaluate two mixes, and compare them", "eval.cli.ab", "ab"),
        "export": Verb(
            "write the rows with answers as a task for lm-evaluation-harness", "eval.cli.export", "eval_export"
        ),
    },
    conf=root() / "conf",
    module="eval",
    script=None,
)


if __name__ == "__main__":
    leave(main(PROGRAM, sys.argv[1:]))
