"""What is wrong with a configuration that Hydra refuses, found by trying the overrides one by one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.cli.front.compose import unresolved
from pipeline.cli.front.groups import find_groups, option_exists
from pipeline.cli.front.quoting import Override
from pipeline.errors import ConfigError, ConfigErrors, PoolmixError, known_names, nearest

COMPOSE_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError)

Compose = Callable[[Sequence[str]], Any]


def explain(
    compose: Compose,
    overrides: Sequence[Override],
    folders: Sequence[Path],
    error: Exception,
    implied: Mapping[str, str],
) -> PoolmixError:
    """Every mistake among the overrides, in their order; else what is wrong with the files themselves.

    `compose` is tried with more and more of the overrides, groups first, so that one mistake does not
    hide the next and an override that needs an earlier one (`mix=custom +mix.weights.x=1`) is judged
    with it. A group that the configuration has no place for is a setting like any other.
    """
    groups = find_groups(folders)
    usual = _attempt(compose, []) is None
    chosen = _chosen_groups(compose([])) if usual else set(groups)
    of_groups = [
        o
        for o in overrides
        if o.group in groups and not isinstance(o.value, dict) and (o.group in chosen or o.sign == "+")
    ]
    found: dict[str, PoolmixError] = {}
    for override in of_groups:
        if wrong := _option_error(override, groups[override.group], folders):
            found[override.typed] = wrong
    good: list[str] = []
    base = _attempt(compose, [o.forms[0] for o in of_groups if o.typed not in found])
    if base is not None and not usual:
        return ConfigErrors(list(found.values()) or [file_error(base, folders)])
    for override in sorted(overrides, key=lambda o: o not in of_groups):
        if override.typed in found:
            continue
        forms = override.forms if override in of_groups else override.forms[:1]  # a sweep may be long
        failure = next((e for form in forms if (e := _attempt(compose, [*good, form]))), None)
        if failure is None:
            good.append(override.forms[0])
        else:
            found[override.typed] = _override_error(override, compose(good), folders, failure, implied)
    in_order = [found[o.typed] for o in overrides if o.typed in found]
    if not in_order and _attempt(compose, good) is None:  # it composes, but `--resolve` fails
        in_order = list(unresolved(compose(good)))
    return ConfigErrors(in_order or [file_error(error, folders)])


def _attempt(compose: Compose, overrides: Sequence[str]) -> Exception | None:
    try:
        compose(overrides)
    except COMPOSE_ERRORS as error:
        return error
    return None


def _option_error(override: Override, options: dict[str, Path], folders: Sequence[Path]) -> ConfigError | None:
    if override.sign == "~":
        return None
    for option in override.value if isinstance(override.value, list) else [override.value]:
        if isinstance(option, str) and option_exists(folders, override.group, option):
            continue
        option = "null" if option is None else str(option)
        near = nearest(option, options)
        fix = f"{override.name}={near[0] if near else next(iter(options))}"
        if "," in option:
            fix = "add -m to run one job for each of them"
        what = f"no option '{option}' in group {override.group}; {known_names(option, options)}"
        return ConfigError(override.typed, what, fix)
    return None


def _override_error(
    override: Override, config: Any, folders: Sequence[Path], error: Exception, implied: Mapping[str, str]
) -> ConfigError:
    """Why this one override fails on a configuration that composes without it."""
    sign, key = override.sign, override.key
    groups = find_groups(folders)
    names = {*_keys(config), *(name for name in config.hydra.runtime.choices if not name.startswith("hydra/"))}
    if sign == "+" and key in names:
        return ConfigError(override.typed, f"'{key}' is there already", f"{key}={override.typed.partition('=')[2]}")
    if sign != "+" and key not in names:
        return _name_error(override, config, names, folders, implied)
    if override.group in groups:
        return _option_error(override, groups[override.group], folders) or file_error(error, folders)
    if sign == "~":  # Hydra takes null for absence
        return ConfigError(override.typed, f"'{key}' is null or another value already", "leave it out")
    what = _first_line(error.__cause__ or error)
    return ConfigError(override.typed, what, "--cfg job shows the setting; --help the syntax")


def _name_error(
    override: Override, config: Any, names: set[str], folders: Sequence[Path], implied: Mapping[str, str]
) -> ConfigError:
    """There is no such setting, and no place for such a group; `names` are those that there are."""
    sign, key, group, text = override.sign, override.key, override.group, override.typed.partition("=")[2]
    own = sorted(str(name) for name in config if name != "hydra")
    near, more = nearest(key, names), [] if sign else [f"+{key}={text} adds it"]
    if group in find_groups(folders) and group not in _chosen_groups(config):
        near, more = [name for name in own if name.startswith(key)], []  # `sources` for `source`
    for setting, place in implied.items():
        if (
            place.partition("@")[0] == group
            and setting.partition(".")[0] in own
            and option_exists(folders, group, text)
        ):
            what = f"the files of group {group} are named in {setting}"
            return ConfigError(override.typed, what, f"+{setting}.{text}=1")
    there = f"did you mean {' or '.join(near)}?" if near else f"have: {', '.join(own)}"
    fixes = [f"{sign}{name}{'=' if text else ''}{text}" for name in near[:1]] + more
    return ConfigError(
        override.typed, f"this verb has no setting '{key}'; {there}", ", or ".join(fixes) or "leave it out"
    )


def _chosen_groups(config: Any) -> set[str]:
    return {name.partition("@")[0] for name in config.hydra.runtime.choices}


def _keys(config: Any) -> Iterator[str]:
    """The dotted names of all settings, those of whole branches too."""
    plain: Any = OmegaConf.to_container(config, resolve=False)
    stack = [(name, value) for name, value in plain.items() if name != "hydra"]
    while stack:
        name, value = stack.pop()
        yield str(name)
        if isinstance(value, dict):
            branch: dict[Any, Any] = value
            stack.extend((f"{name}.{key}", below) for key, below in branch.items())


def file_error(error: Exception, folders: Sequence[Path]) -> ConfigError:
    """A mistake in the configuration files themselves."""
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark or error.context_mark):
        where = f"{mark.name}, line {mark.line + 1}"
        what = f"{error.problem or error.context} (column {mark.column + 1})"
        return ConfigError(where, what.replace("\n", " "), "mend the YAML there")
    message = str(error)
    if must := re.match(r"You must specify '([^']+)'", message):
        options = [line.strip() for line in message.splitlines()[2:]]
        example = f"{must[1]}={options[0] if options else 'OPTION'}"
        return ConfigError(must[1], f"an option must be chosen; have: {', '.join(options)}", example)
    what = _first_line(error)
    if error.__cause__ is not None and not message:
        what = _first_line(error.__cause__)
    where = str(getattr(error, "full_key", None) or "configuration")
    inside = re.match(r"In '([^']+)': (.*)", what)
    if inside:
        file = next((f for folder in folders if (f := folder / f"{inside[1]}.yaml").is_file()), None)
        where, what = str(file or inside[1]), inside[2] or _first_line(ValueError(message.partition("\n")[2]))
    fix = "mend the file; --info defaults shows which files are used"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        name = error.missing_cfg_file.rpartition("/")[2]
        known = error.options or [file.stem for folder in folders for file in folder.glob("*.yaml")]
        what = f"no file {error.missing_cfg_file}.yaml; {known_names(name, known)}"
        fix = "mend the name in the defaults list" if inside else "--config-name with one of these"
    return ConfigError(where, what, fix)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
