"""Time our training beside the plain TRL script that tutorials give, on the same rows and cores.

    make bench-train                 (or: python tests/benchmarks/bench_train.py --targets 6000)

SmolLM2-135M and the bundle of `mix=math_heavy`, one after the other as whole processes: `python -m train sft` with
`train=quick` until so many target tokens are trained on, then `plain_trl.py` (TRL on `messages`: bf16, padding, 4 rows
at a time, 16 in a step) once on the very rows that ours has seen. The same LoRA, learning rate and schedule. Prints
target tokens a second, of the training alone and of the whole process, then the validation loss of both adapters over
the same documents with the same masks, computed the same way. Needs the extra `train` and the model; 5 to 9 minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pipeline.folder import DATA
from pipeline.store import open_table

ROOT = Path(__file__).resolve().parents[2]
PLAIN = Path(__file__).with_name("plain_trl.py")
ACCUMULATE = 4  # times 4 rows in a step of the plain script, as tutorials have it
RATE = 5e-4


def run(command: list[str], folder: Path) -> float:
    """Wall seconds of a command, run to its end in a folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "HF_DATASETS_CACHE": str(folder / "cache")}
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"failed: {' '.join(command)}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}")
    return time.perf_counter() - start


def train_ours(folder: Path, targets: int) -> float:
    settings = [
        *(f"bundle={folder / 'bundle'}", f"out={folder / 'ours'}", f"paths.pools={folder / 'pools'}"),
        *(f"paths.runs={folder / 'runs'}", "train=quick", f"train.max_target_tokens={targets}", "quant=none"),
        *(f"train.learning_rate={RATE}", "device=cpu", "dtype=bf16"),
        # nothing is measured on the way, as in the plain script; a document of each source goes before and after
        *("train.eval_steps=1000000", "train.eval_rows=1", "train.save_steps=1000000", "train.warmup_ratio=0"),
    ]
    return run([sys.executable, "-m", "train", "sft", *settings], folder)


def train_plain(folder: Path, manifest: dict[str, Any]) -> float:
    """On the rows that ours trained on."""
    from train.data import training_sequences
    from train.settings import read_train
    from train.steps import plan_steps

    tokens = folder / "bundle" / "tokens" / manifest["tokens"]
    sequences = training_sequences(tokens)
    steps = plan_steps(sequences.tokens, sequences.targets, read_train(manifest["config"]).schedule, 1)
    numbers = open_table(tokens / "train" / DATA)["rows"].take(steps.order).combine_chunks().flatten().to_pylist()
    (folder / "rows.json").write_text(json.dumps(sorted(numbers)))
    lora, model = manifest["config"]["lora"], manifest["config"]["model"]
    template = ROOT / "conf" / "template" / f"{model['template']}.jinja"
    places = [folder / "bundle", folder / "rows.json", manifest["model"]["path"], template, folder / "plain"]
    options = ["--accumulate", ACCUMULATE, "--learning-rate", RATE]
    options += ["--rank", lora["r"], "--alpha", lora["alpha"], "--seed", manifest["seed"]]
    options += ["--projections", *model["lora_targets"]]
    return run([sys.executable, *map(str, [PLAIN, *places, *options])], folder)


def our_counts(run_folder: Path) -> dict[str, float]:
    """Of the training alone, as `metrics.jsonl` has it."""
    lines = (run_folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [record for record in map(json.loads, lines) if "loss" in record]
    last = steps[-1]
    seconds = sum(record["seconds"] for record in steps)
    return {"steps": last["step"], "tokens": last["tokens"], "targets": last["target_tokens"], "seconds": seconds}


def validation(folder: Path, manifest: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The losses over all validation documents, of the model as it was and with each adapter."""
    from peft import PeftModel

    from pipeline.manifest import open_bundle
    from train.data import validation_documents
    from train.device import choose, look
    from train.loss import add_target_losses
    from train.model import load_model
    from train.settings import Hardware
    from train.validation import losses, validation_loss

    bundle = open_bundle(str(folder / "bundle"), folder)
    documents = validation_documents(bundle.folder / "tokens" / manifest["tokens"], bundle, None)
    device = choose(Hardware("cpu", "bf16", "none", "auto", "auto", False), look("cpu"))
    adapters = {"untrained": None, "plain TRL": folder / "plain", "poolmix": next((folder / "ours").glob("*_adapter"))}
    found: dict[str, dict[str, float]] = {}
    together = documents.packed(manifest["config"]["tokens"]["max_length"])
    for name, adapter in adapters.items():
        model = load_model(Path(manifest["model"]["path"]), device)
        add_target_losses(model)
        tuned = model if adapter is None else PeftModel.from_pretrained(model, str(adapter))
        sums = validation_loss(tuned, documents, together, device.kind, nullcontext)
        found[name] = losses(sums, documents.sources)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=6000, help="target tokens to train on")
    parser.add_argument("--threads", type=int, help="of each (default: all cores); 1 where others use the machine")
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave it there")
    options = parser.parse_args()
    if options.threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    folder = (options.keep or Path(tempfile.mkdtemp(prefix="poolmix-bench-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    places = [f"paths.pools={folder / 'pools'}", f"out={folder / 'bundle'}"]
    run([sys.executable, "-m", "pipeline", "build", "mix=math_heavy", *places], folder)
    walls = {"poolmix": train_ours(folder, options.targets)}
    manifest = json.loads((folder / "ours" / "manifest.json").read_text(encoding="utf-8"))
    counts = {"poolmix": our_counts(folder / "ours")}
    walls["plain TRL"] = train_plain(folder, manifest)
    counts["plain TRL"] = json.loads((folder / "plain" / "counted.json").read_text(encoding="utf-8"))
    say_speed(walls, counts)
    for name, found in validation(folder, manifest).items():
        sources = "  ".join(f"{key.removeprefix('eval_loss_')} {found[key]:.4f}" for key in list(found)[1:])
        print(f"validation  {name:<9}  {found['eval_loss']:.4f}   {sources}", flush=True)
    if options.keep is None:
        shutil.rmtree(folder)


def say_speed(walls: dict[str, float], counts: dict[str, dict[str, float]]) -> None:
    """What each trained on and how fast, and the ratios."""
    rates: dict[str, tuple[float, float]] = {}
    for name in ("plain TRL", "poolmix"):
        own, wall = counts[name], walls[name]
        rates[name] = own["targets"] / own["seconds"], own["targets"] / wall
        padded = f", {1 - own['tokens'] / own['places']:.0%} padding" if "places" in own else ""
        print(
            f"{name:<9}  {own['steps']:.0f} steps, {own['tokens']:,.0f} tokens{padded}, {own['targets']:,.0f} targets: "
            f"training {own['seconds']:.0f} s, {rates[name][0]:.1f} targets/s; "
            f"process {wall:.0f} s, {rates[name][1]:.1f} targets/s",
            flush=True,
        )
    (a, b), (c, d) = rates["poolmix"], rates["plain TRL"]
    print(f"ratio      training {a / c:.2f}, process {b / d:.2f}", flush=True)


if __name__ == "__main__":
    main()
