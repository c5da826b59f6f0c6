"""The command line over Hydra that the programs share: VERB [KEY=VALUE …] [FLAGS].

stdout has only what the verb prints; logs, progress and mistakes go to stderr. Exit status: what the verb
returns (0 if nothing; of a sweep the highest), 2 for a mistake of the user or what the error says, 130
after ctrl-C, 143 after SIGTERM, 141 where stdout was closed (as a program that SIGPIPE ended), 1 with a
traceback for a bug.
"""

from __future__ import annotations

import errno
import os
import select
import shlex
import sys
from collections.abc import Sequence

from pipeline import ending
from pipeline.cli.front.flags import Flags, parse_flags
from pipeline.cli.front.outlet import outlets
from pipeline.cli.front.program import Job, Program, SweepEnded, Verb
from pipeline.errors import ConfigError, PoolmixError, StoreError, known_names, nearest
from pipeline.memory import ran_out

__all__ = ["Job", "Program", "Verb", "main"]


def main(program: Program, argv: Sequence[str]) -> int:
    """Run the verb that `argv` (without the program's name) begins with; returns the exit status."""
    with outlets(), ending.signals():
        try:
            return _outcome(program, list(argv))
        except BaseException:
            if ending.received() is None:
                raise
            return ending.ended()


def _outcome(program: Program, argv: list[str]) -> int:
    try:
        status = _dispatch(program, argv)
        sys.stdout.flush()
    except (PoolmixError, SweepEnded) as error:
        if ending.received() is not None:  # a mistake that only the signal has made
            raise
        return _stopped(error)
    except MemoryError:
        return _stopped(ran_out())
    except BrokenPipeError as error:
        return _closed_pipe(error)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return _stopped(
            StoreError(f"{str(error.filename)[:80]}…", "is longer than a path may be", "give a shorter name")
        )
    except KeyboardInterrupt as error:
        if ending.received() is not None:
            raise
        print(str(error) or "interrupted", file=sys.stderr)
        return 130
    return status


def _stopped(error: PoolmixError | SweepEnded) -> int:
    if isinstance(error, SweepEnded):
        if isinstance(error.cause, BrokenPipeError):
            return _closed_pipe(error.cause)
        print(f"sweep stopped at: {' '.join(error.overrides)}", file=sys.stderr)
        error = error.cause
    print(error, file=sys.stderr)
    return error.status


def _closed_pipe(error: BrokenPipeError) -> int:
    """End quietly where the reader of stdout went away; another broken pipe is a bug, where one can tell."""
    if hasattr(select, "poll"):  # not on Windows
        stdout = select.poll()
        stdout.register(sys.stdout.fileno(), 0)
        if not stdout.poll(0):
            raise error
    # What is left in the buffer would raise once more when Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def _dispatch(program: Program, argv: list[str]) -> int:
    if argv[:1] == ["help"]:
        argv = [*argv[1:], "--help"]
    if not argv or argv[0] in ("-h", "--help"):
        from pipeline.cli.front.help import overview

        print(overview(program), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    name, *arguments = argv
    if name == "completion":
        from pipeline.cli.front.completion import completion

        return completion(program, arguments)
    if name != "--version":
        if name not in program.verbs:
            raise _no_verb(program, argv)
        flags = parse_flags(arguments)
        if not flags.version:
            return _run(program, name, flags, shlex.join(arguments))
    from pipeline.cli.front.help import version

    print(version(program))
    return 0


def _no_verb(program: Program, argv: list[str]) -> ConfigError:
    name = argv[0]
    if name.startswith("-") or "=" in name:
        what, fix = "the verb comes first", f"{program.name} {next(iter(program.verbs))} {name} …"
        return ConfigError(f"{program.name} {name}", what, fix)
    near = nearest(name, program.verbs)
    fix = shlex.join([*near[:1], *argv[1:]]) if near else "--help"
    what = f"no such verb; {known_names(name, program.verbs)}"
    return ConfigError(f"{program.name} {name}", what, f"{program.name} {fix}")


def _run(program: Program, name: str, flags: Flags, typed: str) -> int:
    if flags.help:
        from pipeline.cli.front.help import verb_help

        print(verb_help(program, name, flags.config_dir))
        return 0
    from pipeline.cli.front.run import run_verb

    return run_verb(program, name, flags, typed)
