"""Files of a group that a setting brings along: `+mix.weights.NAME=1` makes conf/source/NAME.yaml a source.

It is as if `+source@_global_.sources.NAME=NAME` had been typed too, unless the mix has that source anyway or
an override brings it, so that `sources.NAME.path=FILE` can follow as for any other source.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pipeline.cli.front.groups import find_groups, option_exists
from pipeline.cli.front.mistakes import COMPOSE_ERRORS
from pipeline.cli.front.quoting import Override
from pipeline.errors import ConfigError

Compose = Callable[[Sequence[str]], Any]


def implied(
    rules: Mapping[str, str], compose: Compose, overrides: Sequence[Override], folders: Sequence[Path]
) -> list[str]:
    """The overrides to add, in Hydra's grammar. `rules` are those of `Program.implied`.

    Raises: ConfigError where some jobs of a sweep have the file anyway and others have not.
    """
    wanted = {
        f"{place}.{name}": (name, override)
        for override in overrides
        for setting, place in rules.items()
        for name in [override.key.removeprefix(f"{setting}.")]
        if "+" in override.sign and override.key == f"{setting}.{name}"
        if option_exists(folders, place.partition("@")[0], name)
    }
    if not wanted:
        return []
    groups = find_groups(folders)
    below = tuple(f"{_key(place)}." for place in wanted)
    rest = [o for o in overrides if not o.key.startswith(below)]  # these need the file
    lacking = {place: set[bool]() for place in wanted}
    for config in _jobs(compose, rest, groups):
        for place, (_, override) in wanted.items():
            if override.key.partition(".")[0] in config.hydra.runtime.choices:
                lacking[place].add(OmegaConf.select(config, _key(place)) is None)
    if both := next((place for place, values in lacking.items() if len(values) > 1), None):
        what = f"some of these jobs have {_key(both)} anyway, others do not"
        raise ConfigError(wanted[both][1].typed, what, "give those that have it, and those that do not, a command each")
    return [f"+{place}={name}" for place, (name, _) in wanted.items() if lacking[place] == {True}]


def _key(place: str) -> str:
    return place.partition("@")[2].removeprefix("_global_.")


def _jobs(compose: Compose, overrides: Sequence[Override], groups: Mapping[str, Any]) -> Iterator[Any]:
    """The configuration for each choice of groups, of what composes; mistakes are explained elsewhere."""
    of_groups = [o.forms for o in overrides if o.group in groups]
    others = [o.forms[0] for o in overrides if o.group not in groups]
    for chosen in itertools.product(*of_groups):
        for attempt in ([*chosen, *others], chosen, ()):
            try:
                config = compose(attempt)
            except COMPOSE_ERRORS:
                continue
            yield config
            break
