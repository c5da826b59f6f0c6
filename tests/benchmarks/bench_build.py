"""Time a build beside the recipe that one would write by hand with `datasets`: same rows, same outputs.

    make bench                      (or: python tests/benchmarks/bench_build.py --runs 3)

200,000 rows in two sources, mixed 70/30 with repeats. Both write pools, train and validation as Arrow, and both
as JSONL. The commands run in turn (recipe, build, remix, …) as whole processes, each build from nothing, each remix
with only the weights changed; `rendered` builds also render each conversation, which the recipe does not. Prints
medians, peak memory and ratios; never fails.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall seconds and peak memory in MiB of a command, run to its end in a folder."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"failed: {' '.join(command)}\n{process.stderr.read().decode() if process.stderr else ''}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def make_rows(folder: Path, rows: int) -> list[Path]:
    """Two files with half of the rows each."""
    whole = folder / "all.jsonl"
    subprocess.run(
        [
            sys.executable,
            SHARED / "baselines" / "make_scale.py",
            SHARED / "data" / "alpaca" / "alpaca_data.json",
            whole,
            str(rows),
        ],
        check=True,
    )
    lines = whole.read_bytes().splitlines(keepends=True)
    halves = [folder / "a.jsonl", folder / "b.jsonl"]
    for path, part in zip(halves, (lines[: rows // 2], lines[rows // 2 :]), strict=True):
        path.write_bytes(b"".join(part))
    whole.unlink()
    return halves


def write_configuration(folder: Path, files: list[Path]) -> None:
    """A mix of the two files in a configuration folder of its own, as one would write for a lasting experiment."""
    mix = folder / "conf" / "mix"
    mix.mkdir(parents=True)
    sources = "".join(f"  {path.stem}: {{path: {path}, shape: alpaca, tags: [chat, en]}}\n" for path in files)
    weights = "".join(f"    {path.stem}: {weight}\n" for path, weight in zip(files, (0.7, 0.3), strict=True))
    (mix / "scale.yaml").write_text(
        f"# @package _global_\nsources:\n{sources}mix:\n  name: scale\n  weights:\n{weights}"
    )


def build_command(template: str, *overrides: str) -> list[str]:
    places = [f"paths.pools=data_pools/{template}/pools", f"paths.bundles=data_pools/{template}/bundles"]
    command = [sys.executable, "-m", "pipeline", "build", "--config-dir=conf", "mix=scale", f"template={template}"]
    return [*command, *places, *overrides]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=200_000)
    options = parser.parse_args()
    if not SHARED.is_dir():
        print("the shared data is not here: nothing measured")
        return
    folder = Path(tempfile.mkdtemp(prefix="poolmix-bench-"))
    files = make_rows(folder, options.rows)
    write_configuration(folder, files)
    recipe = [
        sys.executable,
        str(SHARED / "baselines" / "handwritten_recipe.py"),
        str(folder / "recipe"),
        "resample",
        *(f"{path}={weight}" for path, weight in zip(files, (0.7, 0.3), strict=True)),
    ]
    other = ("mix.weights.a=0.3", "mix.weights.b=0.7")
    commands = {
        "recipe": recipe,
        "build": build_command("none"),
        "remix": build_command("none", *other),
        "rendered build": build_command("smollm2"),
        "rendered remix": build_command("smollm2", *other),
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    memory: dict[str, list[float]] = {name: [] for name in commands}
    for run in range(options.runs + 1):
        for made in ("recipe", "data_pools"):
            shutil.rmtree(folder / made, ignore_errors=True)
        for name, command in commands.items():
            if run == 0 and name == "recipe":
                continue  # the first round only warms up ours
            wall, peak = timed(command, folder)
            if run:
                seconds[name].append(wall)
                memory[name].append(peak)
                print(f"run {run}  {name:<14}  {wall:7.2f} s  {peak:6,.0f} MiB", flush=True)
    middle = {name: statistics.median(walls) for name, walls in seconds.items()}
    print(f"\n{options.rows:,} rows, medians of {options.runs} runs")
    for name in seconds:
        print(
            f"{name:<14}  {middle[name]:7.2f} s  {max(memory[name]):6,.0f} MiB at most  "
            f"{middle['recipe'] / middle[name]:5.1f} × the recipe's speed"
        )
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
