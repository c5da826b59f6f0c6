"""One call of a verb: a single job, a sweep of them, or its configuration printed."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.cli.front import guard, quoting
from pipeline.cli.front.flags import Flags
from pipeline.cli.front.groups import option_exists
from pipeline.cli.front.program import Job, Program, SweepEnded, Verb
from pipeline.errors import ConfigError, ConfigErrors, PoolmixError
from pipeline.secrets import without_secrets

_OWN = Path("conf")


def run_verb(program: Program, name: str, flags: Flags, typed: str) -> int:
    """Run a verb with the overrides in `flags`; `typed` is what stood after it on the command line.

    Returns the exit status, of a sweep the highest one. Raises: ConfigErrors with every mistake in the
    overrides and the configuration files; SweepEnded for an error in one job of a sweep; what the verb
    raises.
    """
    flags = _with_own_folder(program, flags)
    own = [Path(flags.config_dir)] if flags.config_dir is not None else []
    run = _Run(program, name, program.verbs[name], flags, [program.conf, *own], typed)
    run.check()
    run.imply()
    if flags.multirun or flags.cfg or flags.info:
        run.under_hydra()
    else:
        run.once()
    return max(run.statuses, default=0)


def _with_own_folder(program: Program, flags: Flags) -> Flags:
    """The flags with `--config-dir conf` where an override brings along a file (`+mix.weights.NAME=1`) that only
    the folder `conf` of the working folder has, as `sniff` writes them."""
    if flags.config_dir is not None:
        return flags
    for setting, place in program.implied.items():
        group, start = place.partition("@")[0], f"+{setting}."
        for override in flags.overrides:
            key = "+" + override.partition("=")[0].lstrip("+")
            name = key.removeprefix(start)
            if name == key or not override.startswith("+") or option_exists([program.conf], group, name):
                continue
            if option_exists([_OWN], group, name):
                return replace(flags, config_dir=str(_OWN))
    return flags


@dataclass
class _Run:
    """One call of a verb: a single job, a sweep, or the configuration printed."""

    program: Program
    name: str
    verb: Verb
    flags: Flags
    folders: list[Path]
    typed: str
    forms: list[str] = field(default_factory=list[str])  # of the overrides typed
    added: list[str] = field(default_factory=list[str])  # overrides that they imply
    statuses: list[int] = field(default_factory=list[int])
    in_verb: bool = False

    @property
    def config(self) -> str:
        return self.flags.config_name or self.verb.config

    def check(self) -> None:
        """Refuse what may not reach Hydra, and write the rest in Hydra's grammar. Raises: ConfigErrors."""
        errors = [e for text in self.flags.overrides if (e := guard.override_error(text, self.folders))]
        errors += guard.refuse_files(self.folders)
        if not errors:
            self.forms = [quoting.hydra_form(text, self.flags.multirun) for text in self.flags.overrides]
            errors = [e for text in self.forms if not self.flags.multirun and (e := _sweep_error(text))]
        if errors:
            raise ConfigErrors(errors)

    def imply(self) -> None:
        """Add the files of groups that settings bring along. Raises: ConfigError."""
        if not any(text.startswith("+") for text in self.flags.overrides):
            return
        from pipeline.cli.front.compose import composer
        from pipeline.cli.front.implied import implied

        with composer(self.program.conf, self.config, self.flags) as compose:
            self.added = implied(self.program.implied, compose, self.overrides(), self.folders)

    def overrides(self) -> list[quoting.Override]:
        return list(map(quoting.Override, self.flags.overrides, self.forms))

    def once(self) -> None:
        """Compose once and hand the configuration to the verb (`hydra.main` alone composes twice)."""
        from hydra.core.hydra_config import HydraConfig

        from pipeline.cli.front.compose import application, composer
        from pipeline.cli.front.mistakes import COMPOSE_ERRORS

        try:
            with composer(self.program.conf, self.config, self.flags) as compose:
                config = compose([*self.forms, *self.added])
        except COMPOSE_ERRORS as error:
            raise self.explain(error) from None
        HydraConfig.instance().set_config(config)  # for `job`
        application(self.program.conf, self.config, self.job)(config)

    def under_hydra(self) -> None:
        """A sweep, `--cfg` or `--info`, by `hydra.main` itself."""
        from tempfile import gettempdir

        from pipeline.cli.front import compose
        from pipeline.cli.front.mistakes import COMPOSE_ERRORS
        from pipeline.leftovers import hidden

        if self.flags.multirun:
            _log_to_stderr(self.verb, False)
        user = os.getuid() if hasattr(os, "getuid") else ""
        with hidden(Path(gettempdir()) / f"poolmix-{user}") as folder:
            folder.mkdir(mode=0o700)
            forms = [*self.forms, *self.added]
            arguments = compose.hydra_arguments(self.flags, self.config, forms, str(folder))
            try:
                compose.refuse_hydra(self.program.conf, self.config, self.flags, forms)
                with compose.command_line(arguments):
                    compose.application(self.program.conf, self.config, self.job)()
            except COMPOSE_ERRORS as error:
                if self.in_verb:
                    raise
                raise self.explain(error) from None
            except SystemExit as error:
                if self.in_verb:
                    raise
                self.statuses.append(2 if error.code else 0)  # a `--package` that is not there

    def explain(self, error: Exception) -> PoolmixError:
        from pipeline.cli.front.compose import composer
        from pipeline.cli.front.mistakes import explain

        with composer(self.program.conf, self.config, self.flags) as compose:

            def with_added(forms: Sequence[str]) -> Any:
                return compose([*forms, *self.added])

            return explain(with_added, self.overrides(), self.folders, error, self.program.implied)

    def job(self, config: Any) -> None:
        """What Hydra calls, once or for each job of a sweep."""
        from hydra.core.hydra_config import HydraConfig

        from pipeline.cli.front.compose import folder_arguments, settings

        sweep = self.flags.multirun
        overrides = self.flags.overrides
        if sweep:
            forms = [form for form in HydraConfig.get().overrides.task if form not in self.added]
            overrides = tuple(map(quoting.typed_form, forms))
        typed = shlex.join([*overrides, *folder_arguments(self.flags)]) if sweep else self.typed
        command = without_secrets(f"{self.program.name} {self.name} {typed}".rstrip())
        try:
            plain = settings(config)
            _log_to_stderr(self.verb, HydraConfig.get().verbose)
            self.in_verb = True
            status = import_module(self.verb.module).run(plain, Job(command, overrides, sweep))
        except (PoolmixError, BrokenPipeError) as error:
            if sweep:
                raise SweepEnded(error, overrides) from error
            raise
        self.in_verb = False
        self.statuses.append(status or 0)


def _sweep_error(form: str) -> ConfigError | None:
    if not quoting.is_sweep(form):
        return None
    return ConfigError(form, "this is a sweep over several values", "add -m, or put the value in quotes: \"'…'\"")


def _log_to_stderr(verb: Verb, verbose: Any) -> None:
    """Plain messages: our own and Hydra's from INFO on, those of other packages from WARNING on.

    `verbose` is that of Hydra: true for DEBUG everywhere, or the names of loggers.
    """
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    own = [verb.module.partition(".")[0], "pipeline", "hydra"]
    for name in own:
        logging.getLogger(name).setLevel(logging.INFO)
    if verbose:
        names: list[str] = ["", *own] if verbose is True else [verbose] if isinstance(verbose, str) else [*verbose]
        for name in names:
            logging.getLogger(name).setLevel(logging.DEBUG)
