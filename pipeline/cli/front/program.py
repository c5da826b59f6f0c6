"""What the command line of one program consists of, and what a verb is told besides its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import PoolmixError


@dataclass(frozen=True)
class Verb:
    """One thing a program does: `module` has its help as docstring and `run(config, job) -> int | None`."""

    summary: str
    module: str
    config: str  # the primary config, without `.yaml`


@dataclass(frozen=True)
class Program:
    """The verbs behind one command. `name` is how it was called: `python -m pipeline` or `poolmix`."""

    name: str
    summary: str
    verbs: Mapping[str, Verb]
    conf: Path  # folder of the Hydra configuration tree
    module: str = "pipeline"  # `python -m MODULE` is completed by the shell too
    script: str | None = "poolmix"  # the console script of the same program, if it has one
    # Setting → group@package: `+mix.weights.NAME=1` brings the file NAME of the group `source` along.
    implied: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Job:
    """What a verb is told besides its configuration.

    `command` repeats this very job when pasted into a shell, one job of a sweep too. `overrides` are
    those of this job, in the form in which they can be typed.
    """

    command: str
    overrides: tuple[str, ...]
    sweep: bool


class SweepEnded(BaseException):
    """A sweep must stop here; not an Exception, because Hydra would go on with the next job."""

    def __init__(self, cause: PoolmixError | BrokenPipeError, overrides: Sequence[str]) -> None:
        super().__init__(str(cause))
        self.cause, self.overrides = cause, overrides
