"""A whole A/B experiment: build, train and evaluate two mixes with everything but the weights equal, and compare.

OUT/
  experiment.json                       what was asked for; the same again goes on where it stopped
  a-0/bundle/  a-0/run/  a-0/run/eval/  arm a, seed 0; and so on
  comparison/                           metrics.json, metrics.csv, report.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from eval.compare import Comparison, compare, find_results
from pipeline.errors import StoreError
from pipeline.manifest import open_bundle
from pipeline.room import require_free, require_place, writing
from pipeline.secrets import scrubbed
from pipeline.small_files import read_small
from pipeline.store import read_manifest, replace_text
from train.data import make_sequences, template_node, training_sequences
from train.models import find_model
from train.recipe import run_command
from train.run import DONE
from train.run import FORMAT as RUN_FORMAT
from train.settings import TrainPaths, read_train

Say = Callable[[str], None]
NOTE = "experiment.json"


@dataclass(frozen=True)
class Experiment:
    """Two mixes and the seeds of their runs; `build`, `sft` and `eval` are settings that all of them share.

    `a` and `b` have the mix first; what follows are settings of builds that this arm alone has.
    """

    a: Sequence[str]
    b: Sequence[str]
    seeds: Sequence[int]
    target_tokens: int | None
    build: Sequence[str]
    sft: Sequence[str]
    eval: Sequence[str]
    buckets: Sequence[str] | None
    seed: int

    @property
    def arms(self) -> list[tuple[str, Sequence[str], int]]:
        """Folder, mix with settings, and seed of each run, those of one seed next to each other."""
        return [(f"{arm}-{seed}", told, seed) for seed in self.seeds for arm, told in (("a", self.a), ("b", self.b))]

    @property
    def names(self) -> tuple[str, str]:
        """What the arms are called."""
        a, b = " ".join(self.a), " ".join(self.b)
        return (a, b) if a != b else (f"{a} (a)", f"{b} (b)")


def run_experiment(
    asked: Experiment, out: Path, paths: TrainPaths, root: Path, command: str, config: Mapping[str, Any], say: Say
) -> Path:
    """Do what is not done yet, and compare; the comparison's folder. Raises: PoolmixError as the steps do."""
    _note(asked, out)
    shared = [f"paths.pools={paths.pools}", f"paths.bundles={paths.bundles}"]
    with_runs = [*shared, f"paths.runs={paths.runs}"]
    first = out / asked.arms[0][0] / "bundle"
    for name, (mix, *own), seed in asked.arms:
        folder = out / name / "bundle"
        same = [] if folder == first else [f"split.validation_from={first}"]
        if not (folder / "manifest.json").is_file():
            say(f"build      {name}: {' '.join([mix, *own])}, seed {seed}")
            told = [f"mix={mix}", f"seed={seed}", *same, *asked.build, *own, *shared, f"out={folder}"]
            run_command("pipeline", ["build", *told], say)
    targets = asked.target_tokens or _smallest(asked, out, paths, root, with_runs, say)
    for name, _, seed in asked.arms:
        folder = out / name
        told = [f"bundle={folder / 'bundle'}", f"seed={seed}", f"train.max_target_tokens={targets}", *asked.sft]
        if not _is_done(folder / "run"):
            say(f"train      {name}: {targets:,} target tokens")
            begun = [f"resume={folder / 'run'}"] if _is_begun(folder / "run") else [*told, f"out={folder / 'run'}"]
            run_command("train", ["sft", *begun, *with_runs], say)
    for name, _, _ in asked.arms:
        run = out / name / "run"
        if not (run / "eval" / "metrics.json").is_file():
            say(f"evaluate   {name}")
            run_command("eval", ["run", f"run={run}", *asked.eval, *with_runs], say)
    runs = {arm: [str(out / f"{arm}-{seed}" / "run") for seed in asked.seeds] for arm in ("a", "b")}
    a, b = (find_results(runs[arm], paths.runs) for arm in ("a", "b"))
    say(f"compare    {' and '.join(asked.names)}, {len(asked.seeds)} runs each, {targets:,} target tokens a run")
    comparison = Comparison((a, b), asked.names, asked.buckets, asked.seed)
    return compare(comparison, out / "comparison", paths.pools, command, config, say)


def _note(asked: Experiment, out: Path) -> None:
    """Note what is asked for. Raises: StoreError if the folder holds something else."""
    wanted = scrubbed(asdict(asked))
    path = out / NOTE
    require_place("out", out)
    if path.is_file():
        try:
            there = dict(json.loads(read_small(path)))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise StoreError(str(path), "is no experiment's note", "name a new folder") from error
        unlike = [name for name in wanted if there.get(name) != wanted[name] and name not in ("buckets", "seed")]
        if unlike:
            what = f"an experiment with other settings stands there ({', '.join(unlike)})"
            raise StoreError(f"out={out}", what, "name a new folder, or the same settings to go on with it")
    else:
        require_free(out)
    with writing(path):
        out.mkdir(parents=True, exist_ok=True)
        replace_text(path, json.dumps(wanted, ensure_ascii=False, indent=2) + "\n")


def _smallest(asked: Experiment, out: Path, paths: TrainPaths, root: Path, with_runs: Sequence[str], say: Say) -> int:
    """The fewest target tokens that a bundle has, which all can be trained on."""
    lines = run_command("train", ["sft", *asked.sft, *with_runs, "--cfg", "job"], lambda _: None)
    settings = read_train(yaml.safe_load("\n".join(lines)))
    model = find_model(settings.model, say).folder
    node = template_node(settings.config, settings.model.template, root)
    found = [
        make_sequences(
            open_bundle(str(out / name / "bundle"), paths.bundles), settings.config, node, model, root, paths.pools
        )
        for name, _, _ in asked.arms
    ]
    return min(int(training_sequences(folder).targets.sum()) for folder, _ in found)


def _is_done(run: Path) -> bool:
    manifest = read_manifest(run, RUN_FORMAT)
    return manifest is not None and manifest["state"] == DONE


def _is_begun(run: Path) -> bool:
    return read_manifest(run, RUN_FORMAT) is not None
