"""What can go wrong through no fault of the program, said in two lines: where and what, then the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from pipeline.visible import visible

_NAMES, _NAME_CHARS = 50, 80  # that a message has


class PoolmixError(Exception):
    """A mistake that the user can mend. The command line prints it in two lines and exits with `status`.

    `where` names the place (a source and row, a file, a setting), `what` says what was found and what
    is allowed there, in one line or several, `fix` is an instruction, best of all an override that can be pasted. Names
    from outside may be in `where` and `fix`: a line break there makes no line.
    """

    status = 2

    def __init__(self, where: str, what: str, fix: str) -> None:
        super().__init__(f"{visible(where)}: {what}\n  fix: {visible(fix)}")
        self.where, self.what, self.fix = where, what, fix


class ConfigError(PoolmixError):
    """A setting is missing, unknown or out of range."""


class SourceError(PoolmixError):
    """Raw data cannot be found or read at all (single bad rows are quarantined instead)."""


class SchemaError(PoolmixError):
    """A table does not have the columns or types that a stage asks for."""


class StoreError(PoolmixError):
    """A pool or bundle folder is missing, incomplete or cannot be written."""


class TemplateError(PoolmixError):
    """A chat template is not valid, or takes more time or memory than it may."""


class ConfigErrors(ConfigError):
    """Several configuration mistakes, reported at once."""

    def __init__(self, errors: Iterable[PoolmixError]) -> None:
        self.errors = list(errors)
        Exception.__init__(self, "\n".join(str(error) for error in self.errors))
        first = self.errors[0]
        self.where, self.what, self.fix = first.where, first.what, first.fix


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The names most like `name`, best first: what the user may have meant."""
    return difflib.get_close_matches(name, sorted(known), n=count, cutoff=0.5)


def known_names(name: str, known: Iterable[str]) -> str:
    """`did you mean cmath?` where something is near, else `have: a, b, c`."""
    names = sorted(known)
    near = nearest(name, names)
    return f"did you mean {' or '.join(near)}?" if near else f"have: {listed(names) or 'none'}"


def listed(names: Sequence[str]) -> str:
    """`a, b, c`, or the first of them where there are very many; a very long name is cut."""
    shown = ", ".join(name if len(name) <= _NAME_CHARS else f"{name[:_NAME_CHARS]}…" for name in names[:_NAMES])
    return shown if len(names) <= _NAMES else f"{shown} and {len(names) - _NAMES:,} more"
