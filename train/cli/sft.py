"""Tune a model on a bundle: QLoRA SFT, from the bundle's sequences to an adapter.

Examples:
  python -m train sft train=quick
  python -m train sft bundle=math_heavy-1a2b3c4d model=qwen3_0_6b
  python -m train sft bundle=latest model.path=DIR template=chatml train.max_steps=100
  python -m train sft build='[mix=chat_heavy, seed=1]' train.max_target_tokens=100000
  python -m train sft experiment=qwen_legal_cpu
  python -m train sft resume=latest

Often used:
  bundle=PATH                  a bundle's folder or name, or latest
  build='[mix=NAME, …]'        the settings of a bundle to build first
  model=NAME                   a file of conf/model; model.path=DIR for a folder of your own
  train=NAME                   a file of conf/train: standard, quick
  experiment=NAME              a whole recipe: a file of conf/experiment
  train.max_target_tokens=N    end there, so that two mixes are trained equally
  train.learning_rate=R  lora.r=N  tokens.max_length=N  quant=nf4|int8|none  seed=N
  questions='[…]'              asked before and after; or a file with one a line
  resume=latest                go on with an interrupted run

What it runs on is chosen and said: CUDA or CPU, bf16 where it is fast, NF4 on a card. The last line
printed is the run's folder: adapter and tokenizer, metrics.jsonl, curves.png, manifest.json.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.front import Job
from pipeline.errors import ConfigError, StoreError
from pipeline.room import require_free, require_place

if TYPE_CHECKING:
    from pipeline.manifest import Bundle
    from train.run import Run
    from train.settings import Train

# What may be said besides `resume`: all else is as the run began.
_WITH_RESUME = ("resume=", "paths.", "threads=")


def run(config: dict[str, Any], job: Job) -> None:
    """Train, and print the run's folder."""
    from pipeline.cli import prepare_libraries

    prepare_libraries(config.get("threads"))
    from train.settings import read_train

    settings = read_train(config)
    resumed = _resumed(config, settings, job)
    if resumed is not None:
        settings = read_train({**resumed.manifest["config"], "paths": config["paths"], "threads": config["threads"]})
    from train.parallel import processes, share
    from train.quiet import quiet

    quiet()
    with processes() as count:
        from pipeline.manifest import open_bundle

        say = _say()
        if resumed is not None:
            bundle = open_bundle(resumed.manifest["bundle"]["path"], settings.paths.bundles)
        else:
            bundle = open_bundle(share(lambda: _bundle(settings, say)), settings.paths.bundles)
        _train(settings, bundle, resumed, job, count, say)


def _train(settings: Train, bundle: Bundle, resumed: Run | None, job: Job, count: int, say: Any) -> None:
    from pipeline.cli import root
    from train.parallel import share
    from train.prepare import prepare

    if resumed is not None and bundle.manifest["digest"] != resumed.manifest["bundle"]["digest"]:
        where = f"run {resumed.folder.name}"
        raise StoreError(where, f"{bundle.folder} is not the bundle it began with", "build that one again")
    ready = prepare(settings, bundle, root(), count, say)
    from train.sft import Place, train

    folder = resumed.folder if resumed is not None else Path(share(lambda: str(_folder(settings, bundle, job.sweep))))
    made = train(settings, ready, Place(folder, resumed is not None), job.command, root(), say)
    say(str(made.folder))


def _say() -> Any:
    from train.parallel import is_main

    return (lambda line: print(line, flush=True)) if is_main() else (lambda _: None)


def _resumed(config: dict[str, Any], settings: Train, job: Job) -> Run | None:
    """The run to go on with. Raises: StoreError, ConfigError."""
    from train.run import DONE, open_run

    if config.get("resume") is None:
        return None
    others = [text for text in job.overrides if not text.lstrip("+").startswith(_WITH_RESUME)]
    if others:
        what = "a resumed run goes on with the settings that it began with"
        raise ConfigError(" ".join(others), what, "take it out, or begin a new run without resume")
    found = open_run(str(config["resume"]), settings.paths.runs)
    if found.manifest["state"] == DONE:
        raise StoreError(f"run {found.folder.name}", "it is done", "begin a new run")
    return found


def _bundle(settings: Train, say: Any) -> str:
    """The bundle's folder, built first where `build` says so."""
    if not settings.build:
        return settings.bundle
    from train.recipe import build_bundle

    return str(build_bundle(settings, say))


def _folder(settings: Train, bundle: Bundle, sweep: bool) -> Path:
    """A new folder for the run; in a sweep one of its own below `out`. Raises: StoreError if `out` is there already."""
    if settings.out is not None and not sweep:
        require_place("out", settings.out)
        require_free(settings.out, "name a new folder, or resume=DIR")
        return settings.out
    name = f"{bundle.manifest['name']}-{settings.model.short}-{datetime.now():%Y%m%d-%H%M%S}"
    place, number = settings.out or settings.paths.runs, 1
    while (folder := place / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return folder
