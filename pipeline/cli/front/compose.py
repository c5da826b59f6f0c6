"""The one module that runs Hydra: compose one configuration, or hand a sweep over to `hydra.main`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.cli.front.flags import Flags
from pipeline.cli.front.guard import has_target
from pipeline.cli.front.quoting import quote
from pipeline.cli.front.references import reference_errors
from pipeline.errors import ConfigError, ConfigErrors, PoolmixError

# Hydra must neither leave files behind, nor change the folder, nor log anywhere else than we do.
_QUIET = (
    "hydra.output_subdir=null",
    "hydra.job.chdir=false",
    "hydra/launcher=basic",
    "hydra/sweeper=basic",
    "hydra/hydra_logging=none",
    "hydra/job_logging=none",
)
# Hydra imports every module of this package, wherever one of that name is found. It finds none.
sys.modules["hydra_plugins"] = None  # type: ignore[assignment]
# What of Hydra's own node is the call's: all else must be as Hydra has it, for a sweep to run nothing but the verb.
_OF_THE_CALL = ("overrides", "runtime", "verbose", "job", "mode")


@contextmanager
def composer(conf: Path, config: str, flags: Flags) -> Generator[Callable[[Sequence[str]], Any]]:
    """A function from overrides to the composed configuration, its `hydra` node included.

    It raises Hydra's own errors, and ConfigErrors for references that are refused.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(str(conf.absolute()), version_base="1.3", job_name=config):
        if flags.config_dir is not None:
            loader: Any = GlobalHydra.instance().config_loader()
            folder = f"file://{Path(flags.config_dir).absolute()}"
            # As `hydra.main` does it; `hydra.searchpath` would come too late for a primary config in there.
            loader.get_search_path().prepend("command-line", folder, anchor="schema")
            loader.repository.initialize_sources(loader.get_search_path())
        yield lambda overrides: _checked(compose(config, list(overrides), return_hydra_config=True))


def _checked(config: Any) -> Any:
    """The configuration, if `${…}` in it does no harm. Raises: ConfigErrors."""
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(config, resolve=False)
    errors = reference_errors({key: value for key, value in plain.items() if key != "hydra"})
    if errors:
        raise ConfigErrors(errors)
    return config


def refuse_hydra(conf: Path, config: str, flags: Flags, overrides: Sequence[str]) -> None:
    """Hydra would build the callbacks of a sweep before its first job, and what else its own node names: there must be
    nothing of the kind, wherever it may have come from.

    Raises: ConfigError, and what a composer raises.
    """
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    with composer(conf, config, flags):
        hydra: Any = GlobalHydra.instance().hydra
        mode = RunMode.MULTIRUN if flags.multirun else RunMode.RUN
        composed = _checked(hydra.compose_config(config, list(overrides), mode))
        usual = hydra.compose_config(None, [], mode)
    found, expected = (_own_node(node.hydra) for node in (composed, usual))
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            what = f"found {found.get(name)}; Hydra may run nothing of its own here"
            raise ConfigError(f"hydra.{name}", what, "take it out of the files; --info defaults lists those")


def _own_node(node: Any) -> dict[str, Any]:
    """What Hydra's node says, but for the call's own, and of the job what is done around it."""
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(node, resolve=False)
    around = {f"job.{name}": plain["job"][name] for name in ("chdir", "env_set", "env_copy", "config")}
    return {name: value for name, value in plain.items() if name not in _OF_THE_CALL} | around


def application(conf: Path, config: str, task: Callable[[Any], None]) -> Callable[..., None]:
    """An ordinary `hydra.main` function: it takes its arguments from sys.argv, or a ready configuration."""
    import hydra

    return hydra.main(version_base="1.3", config_path=str(conf.absolute()), config_name=config)(task)


def hydra_arguments(flags: Flags, config: str, overrides: Sequence[str], folder: str) -> list[str]:
    """What `hydra.main` finds on its command line; in a sweep it keeps its own notes in `folder`."""
    arguments = folder_arguments(flags)
    if flags.multirun:
        folders = [f"hydra.{key}={quote(folder)}" for key in ("sweep.dir", "run.dir")]
        own = [*_QUIET, *folders, "hydra.sweep.subdir=job", f"hydra.job.name={quote(config)}"]
        return ["--multirun", *arguments, *overrides, *own]
    for name, value in (("cfg", flags.cfg), ("package", flags.package), ("info", flags.info)):
        arguments += [f"--{name}", value] if value is not None else []
    return [*arguments, *(["--resolve"] if flags.resolve else []), *overrides]


def folder_arguments(flags: Flags) -> list[str]:
    """The flags that say which configuration files are used: part of what a job is."""
    arguments = ["--config-dir", flags.config_dir] if flags.config_dir is not None else []
    return [*arguments, "--config-name", flags.config_name] if flags.config_name is not None else arguments


@contextmanager
def command_line(arguments: Sequence[str]) -> Generator[None]:
    """sys.argv for `hydra.main`, which prints errors and ends, unless the environment has it raise them."""
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = [argv[0], *arguments], "1"
    try:
        yield
    finally:
        sys.argv = argv
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error


def settings(config: Any) -> dict[str, Any]:
    """The configuration as plain data, without `hydra`: resolved, nothing missing.

    Raises: ConfigErrors naming every missing value and every reference that leads nowhere or is refused.
    """
    from omegaconf import OmegaConf, open_dict
    from omegaconf.errors import OmegaConfBaseException

    with open_dict(config):
        config.pop("hydra", None)
    _checked(config)
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, ValueError) as error:
        raise ConfigErrors(list(unresolved(config)) or [_value_error("configuration", error)]) from None
    if has_target(plain):
        what = "a key _target_ is refused: configuration names no code here"
        raise ConfigError("configuration", what, "take it out of the files; --info defaults lists them")
    return plain


def unresolved(node: Any, path: str = "") -> Generator[PoolmixError]:
    """An error for every value that is missing or cannot be resolved, in the order of the configuration."""
    from omegaconf import DictConfig, ListConfig
    from omegaconf.errors import (
        InterpolationToMissingValueError,
        MissingMandatoryValue,
        OmegaConfBaseException,
    )

    keys: Any = range(len(node)) if isinstance(node, ListConfig) else list(node)
    for key in keys:
        if not path and key == "hydra":
            continue
        where = f"{path}.{key}" if path else str(key)
        try:
            value = node[key]
        except MissingMandatoryValue:
            yield ConfigError(where, "a value must be given", f"{where}=VALUE")
        except InterpolationToMissingValueError:
            continue  # the missing value itself is reported
        except (OmegaConfBaseException, ValueError) as error:
            yield _value_error(where, error)
        else:
            if isinstance(value, DictConfig | ListConfig):
                yield from unresolved(value, where)


def _value_error(where: str, error: Exception) -> ConfigError:
    what = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ConfigError(where, what, f"{where}=VALUE, or mend the ${{…}} in it; --cfg job shows it as it stands")
