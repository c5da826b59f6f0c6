"""Time the way from messages to packed token ids beside TRL's own preparation of the same rows.

    make bench-tokens                (or: python tests/benchmarks/bench_tokens.py --tokenizer qwen3=DIR)

Alpaca, 52,000 conversations, rendered by the same template, masked, tokenized and packed to 1,024 tokens on disk. The
commands run in turn as whole processes: TRL's from JSON lines of `messages`, ours from the raw file and with nothing
ready, so that it also normalizes, deduplicates and writes the bundle. Then a remix: other weights over five
sources, which for ours is a build whose pools are ready, and for TRL the preparation of the drawn rows. Prints
medians and ratios, and compares the ids and labels of every row. Needs the shared data and the extra `train`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
TRL = Path(__file__).with_name("trl_preparation.py")
TEMPLATES = {"qwen3": "qwen3", "smollm2": "smollm2"}
SOURCES = {
    "alpaca": ("alpaca/alpaca_data.json", "alpaca"),
    "huanhuan": ("huanhuan/huanhuan.json", "alpaca"),
    "cmath": ("cmath/deepseek_cmath_test.jsonl", "columns, columns: {user: question, assistant: golden}"),
    "mawps": ("mawps/mawps_n00_from_svamp.csv", "mawps"),
    "emoji": ("emoji_shape/bilingual_qa_emojishape.jsonl", "emoji"),
}


def run(command: list[str], folder: Path) -> float:
    """Wall seconds of a command, run to its end in a folder."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")}
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"failed: {' '.join(command)}\n{done.stderr[-3000:]}")
    return time.perf_counter() - start


def build(folder: Path, mix: str, *overrides: str) -> list[str]:
    places = [f"paths.pools={folder / 'pools'}", f"out={folder / 'bundle'}"]
    return [
        sys.executable,
        "-m",
        "pipeline",
        "build",
        f"--config-dir={folder / 'conf'}",
        f"mix={mix}",
        *places,
        *overrides,
    ]


def write_configuration(folder: Path) -> None:
    """The mixes in a configuration folder of their own, as one would write for a lasting experiment."""
    mixes = folder / "conf" / "mix"
    mixes.mkdir(parents=True)
    for name, sources, more in (
        ("one", ["alpaca"], "strategy: concat"),
        ("five", list(SOURCES), "strategy: resample\n  total_rows: 87000"),
    ):
        entries = "".join(
            f"  {source}: {{path: {DATA / SOURCES[source][0]}, shape: {SOURCES[source][1]}}}\n" for source in sources
        )
        weights = "".join(f"    {source}: 1\n" for source in sources)
        text = f"# @package _global_\nsources:\n{entries}mix:\n  name: {name}\n  {more}\n  weights:\n{weights}"
        (mixes / f"{name}.yaml").write_text(text)


def write_messages(lines: Path, target: Path) -> None:
    """The `messages` of a bundle's JSONL alone, in the order of the raw rows."""
    rows = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    rows.sort(key=lambda row: int(row["id"].rpartition(":")[2]))
    with target.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps({"messages": row["messages"]}, ensure_ascii=False) + "\n")


def trl(messages: Path, tokenizer: str, template: str, out: Path, *more: str) -> list[str]:
    jinja = ROOT / "conf" / "template" / f"{template}.jinja"
    return [sys.executable, str(TRL), str(messages), tokenizer, str(jinja), str(out), *more]


def in_turn(title: str, commands: dict[str, Callable[[], float]], runs: int) -> None:
    """Run each in turn, `runs` times, and print medians and the ratio of the first to the second."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            seconds[name].append(command())
    middle = {name: statistics.median(walls) for name, walls in seconds.items()}
    first, second = middle
    walls = "  ".join(f"{name} {middle[name]:.2f} s ({min(own):.2f}-{max(own):.2f})" for name, own in seconds.items())
    print(f"{title}: {walls}  ratio {middle[first] / middle[second]:.1f}", flush=True)


def compare_rows(folder: Path, messages: Path, template: str, tokenizer: str) -> None:
    """Ids and labels of every row, ours (uncut, from the pool) and TRL's (without packing)."""
    import pyarrow as pa
    from datasets import load_from_disk

    run(trl(messages, tokenizer, template, folder / "rows", "--no-packing"), folder)
    (path,) = (folder / "pools" / "alpaca").glob("*/ids/*/data-*.arrow")
    ours = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
    theirs = load_from_disk(str(folder / "rows")).with_format("arrow")[:]
    for name in ("input_ids", "labels"):
        a = ours[name].combine_chunks()
        b = theirs[name].cast(a.type).combine_chunks()
        rows = [k for k in range(len(a)) if a[k].as_py() != b[k].as_py()] if not a.equals(b) else []
        print(f"  {name}: {len(a):,} and {len(b):,} rows, {len(rows):,} differ {rows}", flush=True)
        if name == "labels":
            (texts,) = (folder / "pools" / "alpaca").glob("*/texts/*/data-*.arrow")
            written = pa.ipc.open_stream(pa.memory_map(str(texts))).read_all()["text"]
            known = sum(is_rest(written[k].as_py(), a[k].as_py(), b[k].as_py(), tokenizer) for k in rows)
            print(f"  {known:,} of these differ only in a last character of several tokens: of it TRL trains the first")


def is_rest(text: str, ours: list[int], theirs: list[int], tokenizer: str) -> bool:
    """Whether all that we train on and TRL does not are further tokens of the character that the token before is of."""
    from tokenizers import Tokenizer

    places = Tokenizer.from_file(f"{tokenizer}/tokenizer.json").encode(text, add_special_tokens=False).offsets
    differ = [k for k in range(len(ours)) if ours[k] != theirs[k]]
    return all(theirs[k] == -100 and ours[k - 1] != -100 and places[k][0] < places[k - 1][1] for k in differ)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tokenizer", action="append", help="qwen3=DIR or smollm2=DIR, with a tokenizer.json")
    options = parser.parse_args()
    if not DATA.is_dir():
        print("the shared data is not here: nothing measured")
        return
    folder = Path(tempfile.mkdtemp(prefix="poolmix-bench-"))
    write_configuration(folder)
    run(build(folder, "one", "split=none", "template=none"), folder)
    messages = folder / "messages.jsonl"
    write_messages(folder / "bundle" / "train.jsonl", messages)
    for given in options.tokenizer or [f"qwen3={DATA / 'qwen3_tokenizer'}"]:
        template, _, tokenizer = given.partition("=")
        measure(folder, messages, TEMPLATES[template], tokenizer, options.runs)
    shutil.rmtree(folder)


def measure(folder: Path, messages: Path, template: str, tokenizer: str, runs: int) -> None:
    def fresh(command: list[str]) -> Callable[[], float]:
        def timed() -> float:
            for made in ("pools", "bundle", "trl", "cache"):
                shutil.rmtree(folder / made, ignore_errors=True)
            return run(command, folder)

        return timed

    inputs = ["split=none", f"template={template}", f"tokenizer={tokenizer}"]
    commands = {
        "trl": fresh(trl(messages, tokenizer, template, folder / "trl")),
        "poolmix": fresh(build(folder, "one", *inputs)),
    }
    in_turn(f"{template}, messages to packed ids", commands, runs)
    manifest = json.loads(next((folder / "bundle" / "tokens").glob("*/manifest.json")).read_text())
    train = manifest["splits"]["train"]
    print(
        f"  {train['rows']:,} rows, {train['tokens']:,} tokens, {train['sequences']:,} sequences, fill {train['fill']}"
    )
    compare_rows(folder, messages, template, tokenizer)
    run(build(folder, "five", *inputs), folder)
    weight = [4.0]

    def remix() -> float:
        weight[0] += 0.1  # weights that no earlier bundle had
        return run(build(folder, "five", *inputs, f"mix.weights.alpaca={weight[0]:.1f}"), folder)

    remix()
    drawn = folder / "drawn.jsonl"
    write_messages(folder / "bundle" / "train.jsonl", drawn)

    def again() -> float:
        for made in ("trl", "cache"):
            shutil.rmtree(folder / made, ignore_errors=True)
        return run(trl(drawn, tokenizer, template, folder / "trl"), folder)

    in_turn(f"{template}, other weights, 87,000 rows", {"trl": again, "poolmix": remix}, runs)


if __name__ == "__main__":
    main()
