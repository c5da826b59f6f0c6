"""The flags beside the overrides: Hydra's own names, less those that would run or replace code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, ConfigErrors, known_names

HELP = """\
  -m, --multirun           run once for each of the values between commas: KEY=A,B
  -c, --cfg job|hydra|all  print the configuration instead of running; --resolve fills in ${…},
                           -p, --package KEY prints that part of it only
  -i, --info [TOPIC]       print all, config, defaults, defaults-tree, plugins or searchpath
  -cd, --config-dir DIR    a folder with configuration files of your own: DIR/mix/NAME.yaml, …
  -cn, --config-name NAME  another primary configuration
  -h, --help               this text
      --version            the version"""

_SWITCHES = {
    **dict.fromkeys(("-m", "--multirun"), "multirun"),
    **dict.fromkeys(("-r", "--run"), "run"),
    **dict.fromkeys(("-h", "--help"), "help"),
    "--version": "version",
    "--resolve": "resolve",
}
_VALUED = {
    **dict.fromkeys(("-c", "--cfg"), "cfg"),
    **dict.fromkeys(("-p", "--package"), "package"),
    **dict.fromkeys(("-i", "--info"), "info"),
    **dict.fromkeys(("-cd", "--config-dir"), "config_dir"),
    **dict.fromkeys(("-cn", "--config-name"), "config_name"),
}
_CHOICES = {
    "cfg": ("job", "hydra", "all"),
    "info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
_REFUSED = {
    **dict.fromkeys(("-cp", "--config-path"), "give your own folder with --config-dir DIR instead"),
    **dict.fromkeys(("-sc", "--shell-completion"), "use `completion bash` in place of a verb"),
    "--experimental-rerun": "repeat the `command` of the manifest instead",
    "--hydra-help": "--help has the flags, --info and --cfg hydra what Hydra knows",
}
NAMES = (*_SWITCHES, *_VALUED)


@dataclass(frozen=True)
class Flags:
    """A command line after its verb, taken apart."""

    overrides: tuple[str, ...] = ()
    multirun: bool = False
    run: bool = False
    help: bool = False
    version: bool = False
    resolve: bool = False
    cfg: str | None = None
    package: str | None = None
    info: str | None = None
    config_dir: str | None = None
    config_name: str | None = None


def parse_flags(arguments: Sequence[str]) -> Flags:
    """Tell flags from overrides, wherever they stand. No abbreviations: `--multi` is a mistake.

    Raises: ConfigErrors with every mistake at once.
    """
    found: dict[str, Any] = {}
    overrides: list[str] = []
    errors: list[ConfigError] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            overrides.append(word)
            continue
        name, equals, value = word.partition("=")
        if name in _SWITCHES and not equals:
            found[_SWITCHES[name]] = True
        elif name in _VALUED:
            field = _VALUED[name]
            if not equals and rest and (field != "info" or rest[0] in _CHOICES["info"]):
                value = rest.pop(0)
            found[field] = value or ("all" if field == "info" else "")
        else:
            errors.append(_unknown(word))
    flags = replace(Flags(overrides=tuple(overrides)), **found)
    errors.extend(_contradictions(flags))
    if errors:
        raise ConfigErrors(errors)
    return flags


def _unknown(word: str) -> ConfigError:
    name, _, value = word.partition("=")
    if name in _SWITCHES:
        return ConfigError(word, "this flag takes no value", f"write {name}")
    if name in _REFUSED:
        return ConfigError(name, "this flag of Hydra is not allowed here", _REFUSED[name])
    fix = "--help lists the flags"
    if word.startswith("--") and (bare := name.lstrip("-")):
        fix = f"a setting has no dashes: {bare}={value or 'VALUE'}; {fix}"
    return ConfigError(name, f"no such flag; {known_names(name, NAMES)}", fix)


def _is_below(name: Path) -> bool:
    """Whether it is the name of a file that is looked through (`own_files.py`), wherever that folder may be."""
    return bool(name.parts) and not name.is_absolute() and not any(part.startswith(".") for part in name.parts)


def _contradictions(flags: Flags) -> list[ConfigError]:
    errors: list[ConfigError] = []
    for field, allowed in _CHOICES.items():
        value: str | None = getattr(flags, field)
        if value is not None and value not in allowed:
            what = f"found '{value}', allowed are {', '.join(allowed)}"
            errors.append(ConfigError(f"--{field}", what, f"--{field} {allowed[0]}"))
    modes = {"--multirun": flags.multirun, "--cfg": flags.cfg, "--info": flags.info, "--run": flags.run}
    chosen = [name for name, value in modes.items() if value]
    if len(chosen) > 1:
        errors.append(ConfigError(" ".join(chosen), "only one of these can be given", f"keep {chosen[0]}"))
    if flags.cfg is None and (flags.resolve or flags.package is not None):
        used = "--resolve" if flags.resolve else "--package"
        errors.append(ConfigError(used, "it works with --cfg only", f"add --cfg job to {used}"))
    if flags.config_dir is not None and not Path(flags.config_dir).is_dir():
        what = f"'{flags.config_dir}' is no folder"
        errors.append(ConfigError("--config-dir", what, "give a folder that has mix/NAME.yaml and the like"))
    if flags.config_name is not None and not _is_below(Path(flags.config_name)):
        what = f"'{flags.config_name}' names no file in the configuration folders"
        fix = "give a name without / and dots at its head, or ..; --config-dir adds a folder"
        errors.append(ConfigError("--config-name", what, fix))
    return errors
