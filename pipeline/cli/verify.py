"""Prove a bundle's promises from its files alone: bytes, keys, no leakage, exact quotas, sums, tokens.

Examples:
  python -m pipeline verify
  python -m pipeline verify bundle=data_pools/bundles/math_heavy-1a2b3c4d
  python -m pipeline verify bundle=latest paths.bundles=elsewhere
  python -m pipeline verify template=qwen3
  python -m pipeline verify template=qwen3 tokenizer=Qwen/Qwen3-0.6B
  python -m pipeline verify template.path=mine.jinja
  python -m pipeline verify pools=true         (the pools instead)

With a template the bundle's rows are rendered by it, too, each once: the text must be the bundle's
(if it was built with that template), the last turn must begin where the generation prompt ends, and
what is marked must be the assistant's turns. With a tokenizer, text and prompts must be those of
its own chat template, and special tokens in people's texts must stay text.

pools=true checks all pools below paths.pools instead, with the texts, token ids and other results
kept beside them. A build needs no such check: it compares what it uses, and makes again what is
damaged.

One line a promise. The exit status is 3 if one does not hold.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.front import Job
from pipeline.visible import visible

if TYPE_CHECKING:
    from pipeline.input_settings import InputSettings
    from pipeline.manifest import Bundle
    from pipeline.verify.checks import Check

_SHOWN = 5


def run(config: dict[str, Any], _job: Job) -> int:
    """Print each check with what was found; returns 3 if any fails, else 0."""
    from pipeline.manifest import read_whole
    from pipeline.settings import bundle_setting

    if _asks_for_pools(config):
        return _verify_pools(config)
    name, bundles = bundle_setting(config, "bundle")
    unreadable = _unreadable(name, bundles)
    if unreadable is not None:
        return _print_checks(*unreadable)
    return read_whole(name, bundles, lambda bundle: _print_checks(bundle.folder, _checks(bundle, config)))


def _print_checks(where: Path, checks: Iterable[Check]) -> int:
    failed = 0
    for check in checks:
        failed += bool(check.faults)
        print(f"{'FAILED' if check.faults else 'ok':<6}  {check.name:<17}  {check.promise}", flush=True)
        for fault in check.faults[:_SHOWN]:
            print(f"{'':<27}{visible(fault)}")
        if len(check.faults) > _SHOWN:
            print(f"{'':<27}… and {len(check.faults) - _SHOWN:,} more")
    print(f"{where}: {f'{failed} of its promises do not hold' if failed else 'all promises hold'}")
    return 3 if failed else 0


def _asks_for_pools(config: dict[str, Any]) -> bool:
    from pipeline.errors import ConfigErrors, PoolmixError
    from pipeline.settings import Settings

    errors: list[PoolmixError] = []
    asked = Settings(config, "", errors).required(
        "pools", lambda value: isinstance(value, bool), "true or false", "true", False
    )
    if errors:
        raise ConfigErrors(errors)
    return bool(asked)


def _verify_pools(config: dict[str, Any]) -> int:
    """The same of all pools. Raises: StoreError if there is no folder of pools."""
    from pipeline.errors import ConfigErrors, PoolmixError, StoreError
    from pipeline.locks import using
    from pipeline.settings import read_paths
    from pipeline.verify.pools import verify_pools

    errors: list[PoolmixError] = []
    pools = read_paths(config, errors).pools
    if errors:
        raise ConfigErrors(errors)
    if not pools.is_dir():
        raise StoreError(f"paths.pools={pools}", "no such folder", "name the folder with the pools")
    with using(pools) if os.access(pools, os.W_OK) else nullcontext():  # where nobody writes nobody removes any
        return _print_checks(pools, verify_pools(pools))


def _unreadable(name: str, bundles: Path) -> tuple[Path, list[Check]] | None:
    """The folder of a bundle whose manifest cannot be read, and the check that this fails; None where it can be.
    Raises: StoreError if there is no bundle at all."""
    from pipeline.errors import StoreError
    from pipeline.manifest import open_bundle
    from pipeline.pointer import named_folder
    from pipeline.verify.checks import FILES, Check
    from pipeline.verify.manifest import MANIFEST

    try:
        open_bundle(name, bundles)
    except StoreError as error:
        folder = named_folder(name, bundles)
        if (folder / MANIFEST).exists():
            what = error.what if MANIFEST in error.what else f"{MANIFEST} is {error.what}"
            return folder, [Check("files", FILES, [what])]
        if (folder / "dataset_dict.json").is_file():
            return folder, [Check("files", FILES, [f"{MANIFEST} is missing"])]
        raise
    return None


def _inputs(config: dict[str, Any], bundle: Bundle) -> InputSettings | None:
    """How the bundle's rows become text, under the template and tokenizer asked for.

    None where neither is. Raises: ConfigErrors.
    """
    from pipeline.cli import root
    from pipeline.errors import ConfigErrors, PoolmixError
    from pipeline.input_settings import read_inputs
    from pipeline.render.template import NONE

    errors: list[PoolmixError] = []
    asked = {"template": config["template"], "tokenizer": config["tokenizer"]}
    if asked == {"template": {"name": NONE, "path": None}, "tokenizer": None}:
        return None
    settings = read_inputs(bundle.manifest["config"] | asked, root(), bundle.manifest["sources"], errors)
    if errors:
        raise ConfigErrors(errors)
    return settings


def _checks(bundle: Bundle, config: dict[str, Any]) -> Iterator[Check]:
    """The bundle's own promises, and then, if its rows can be read, those of the template."""
    from pipeline.verify.checks import verify

    checks = verify(bundle)
    first = next(checks)
    settings = _inputs(config, bundle) if not first.faults else None  # what is configured wrongly is said first
    bundle.require_current()
    yield first
    schema = True
    for check in checks:
        bundle.require_current()
        schema = schema and not (check.name == "schema" and check.faults)
        yield check
    if settings is not None and schema:
        from pipeline.report import progress
        from pipeline.verify.parity import parity

        with progress("render") as advance:
            yield from parity(bundle, settings, advance)
