"""`python -m train VERB …`: from a bundle to an adapter, and on from there."""

from __future__ import annotations

import pipeline.safe_path  # noqa: F401  # pyright: ignore[reportUnusedImport]  first of all

# isort: split
import sys

from pipeline.__main__ import leave
from pipeline.cli import root
from pipeline.cli.front import Program, Verb, main

PROGRAM = Program(
    name="python -m train",
    summary="From a bundle to an adapter that can be merged, exported and talked to.",
    verbs={
        "sft": Verb("tune a model on a bundle (QLoRA): an adapter, with all that was measured", "train.cli.sft", "sft"),
        "merge": Verb("merge a run's adapter into its base model, and check the result", "train.cli.merge", "merge"),
        "export": Verb("write a run for Ollama, as GGUF, or as a folder for the hub", "train.cli.export", "export"),
        "chat": Verb("talk with a tuned model in the terminal, and with its base", "train.cli.chat", "chat"),
    },
    conf=root() / "conf",
    module="train",
    script=None,
)


if __name__ == "__main__":
    leave(main(PROGRAM, sys.argv[1:]))
