"""Prove a bundle's promises from its files alone: bytes, keys, no leakage, exact quotas, sums, tokens.

Examples:
  python -m pipeline verify
  python -m pipeline verify bundle=data_pools/bundles/math_heavy-1a2b3c4d
  python -m pipeline verify bundle=latest paths.bundles=elsewhere
  python -m pipeline verify template=qwen3
  python -m pipeline verify template=qwen3 tokenizer=Qwen/Qwen3-0.6B
  python -m pipeline verify template.path=mine.jinja

With a template the bundle's rows are rendered by it, too, each once: the text must be the bundle's
(if it was built with that template), the last turn must begin where the generation prompt ends, and
what is marked must be the assistant's turns. With a tokenizer, text and prompts must be those of
its own chat template, and special tokens in people's texts must stay text.

One line a promise. The exit status is 3 if one does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.cli.front import Job

if TYPE_CHECKING:
    from pipeline.input_settings import InputSettings
    from pipeline.manifest import Bundle
    from pipeline.verify.checks import Check

_SHOWN = 5


def run(config: dict[str, Any], _job: Job) -> int:
    """Print each check with what was found; returns 3 if any fails, else 0."""
    from pipeline.manifest import read_whole
    from pipeline.settings import bundle_setting

    return read_whole(*bundle_setting(config, "bundle"), lambda bundle: _print_checks(config, bundle))


def _print_checks(config: dict[str, Any], bundle: Bundle) -> int:
    failed = 0
    for check in _checks(bundle, _inputs(config, bundle)):
        bundle.require_current()
        failed += bool(check.faults)
        print(f"{'FAILED' if check.faults else 'ok':<6}  {check.name:<17}  {check.promise}", flush=True)
        for fault in check.faults[:_SHOWN]:
            print(f"{'':<27}{fault}")
        if len(check.faults) > _SHOWN:
            print(f"{'':<27}… and {len(check.faults) - _SHOWN:,} more")
    print(f"{bundle.folder}: {f'{failed} of its promises do not hold' if failed else 'all promises hold'}")
    return 3 if failed else 0


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


def _checks(bundle: Bundle, settings: InputSettings | None) -> Iterator[Check]:
    """The bundle's own promises, and then, if its rows can be read, those of the template."""
    from pipeline.verify.checks import verify

    broken: set[str] = set()
    for check in verify(bundle):
        broken |= {check.name} if check.faults else set()
        yield check
    if settings is not None and not broken & {"files", "schema"}:
        from pipeline.report import progress
        from pipeline.verify.parity import parity

        with progress("render") as advance:
            yield from parity(bundle, settings, advance)
