"""The same inputs give the same bundle, file for file, whatever else is different around the build."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from pipeline.folder import file_digest
from tests.pipeline.conftest import tiny_tokenizer  # noqa: F401  a fixture

# A build in a process of its own; its first argument is the size of the blocks in which raw files are read.
PROGRAM = """
import sys
import pipeline.sources.block as block
block.BLOCK_BYTES = int(sys.argv.pop(1))
from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
sys.exit(main(PROGRAM, sys.argv[1:]))
"""
# Every way to read, select, mix and write in one build; all paths are relative to the working folder.
OVERRIDES = (
    "build",
    "mix=natural",
    "mix.strategy=resample",
    "mix.weights.cmath=3",
    "seed=7",
    "dedup=near",
    "dedup.on_conflict=first",
    "decontaminate.against=[data/test.jsonl]",
    "filter=len_answer < 5000",
    "template=chatml",
    "tokenizer=tiny",
    "tokens.max_length=256",
    "+mix.weights.parts=1",
    "+mix.weights.table=2",
    "out=bundle",
)
# Files of conf/source; as overrides, `python -O` could not read them (Hydra reads mappings in its assertions).
SOURCES = {
    "parts": "{path: data/parts, shape: columns, columns: {user: q, assistant: a}, tags: [en]}",
    "table": "{path: 'data/table-*.parquet', shape: columns, columns: {user: q, assistant: a}}",
}
# What differs from build to build, each with its values; the first of each is the usual one.
FACTORS: dict[str, Sequence[Any]] = {
    "threads": (None, 1, 2, 3, 8),
    "polars_threads": (None, "1", "2", "8"),
    "hash_seed": ("0", "1", "4294967295", "random"),
    "locale": ("C.UTF-8", "C", "POSIX", "tr_TR.UTF-8", "zh_CN.GB18030"),
    "zone": ("UTC", "Asia/Shanghai", "America/St_Johns"),
    "flags": ((), ("-O",), ("-X", "utf8=0"), ("-X", "utf8=1"), ("-OO",)),
    "backwards": (False, True),
    "folder": ("work", "with space", "题库 é"),
    "umask": (0o022, 0o077),
    "columns": ("80", "20", "300"),
    "block": (4 << 20, 1 << 12, 70_001),
    "home": ("home", "another home"),
    "temporary": (None, "temporary files"),
    "pools": ("cold", "warm"),
}


@dataclass(frozen=True)
class Built:
    """What is compared: all of the manifest that does not say where and how, and what each file is."""

    manifest: dict[str, Any]
    files: dict[str, str]


def surroundings(k: int) -> dict[str, Any]:
    """The *k*-th choice of a value for each factor: the usual ones first, then some that a hash picks."""
    if k == 0:
        return {name: values[0] for name, values in FACTORS.items()}
    picks = {name: xxhash.xxh3_64_intdigest(f"{name} {k}".encode()) for name in FACTORS}
    chosen = {name: values[picks[name] % len(values)] for name, values in FACTORS.items()}
    if "utf8=0" in chosen["flags"]:  # and then names of files have to be in the locale's own encoding
        chosen["locale"] = "C.UTF-8"
    return chosen


def write_data(data: Path, backwards: bool) -> None:
    """The raw files, made in one order or the other, with other times."""
    (data / "parts").mkdir(parents=True)
    rows = [(f"What is {k} and {k + 1}?", f"It is {2 * k + 1}, 一共 {2 * k + 1} 个。") for k in range(240)]
    rows += rows[:20]
    table = pa.table({"q": [f"Table: {q}" for q, _ in rows], "a": [a for _, a in rows]})
    cuts = list(enumerate(range(0, len(rows), 65)))
    for k, start in reversed(cuts) if backwards else cuts:
        part = data / "parts" / f"{'iIbA'[k % 4]}-{k}.jsonl"
        lines = [json.dumps({"q": q, "a": a}, ensure_ascii=k % 2 == 0) for q, a in rows[start : start + 65]]
        part.write_text("\n".join([*lines, "{broken"]) + "\n", encoding="utf-8")
        os.utime(part, (1_700_000_000 + k * 1000, 1_700_000_000 - k * 1000))
        pq.write_table(table.slice(start, 65), data / f"table-{k}.parquet", row_group_size=17)
    (data / "test.jsonl").write_text(json.dumps({"question": rows[5][0], "answer": "11"}) + "\n")


def build(place: Path, tokenizer: Path, factors: dict[str, Any], warm: Path) -> Built:
    """One build in a new folder; `warm` is the folder of pools that warm builds share."""
    work = place / factors["folder"]
    work.mkdir(parents=True)
    write_data(work / "data", factors["backwards"])
    shutil.copytree(tokenizer, work / "tiny")
    (work / "conf" / "source").mkdir(parents=True)
    for name, text in SOURCES.items():
        (work / "conf" / "source" / f"{name}.yaml").write_text(text)
    environment = os.environ | {
        "PYTHONHASHSEED": factors["hash_seed"],
        "LC_ALL": factors["locale"],
        "TZ": factors["zone"],
        "COLUMNS": factors["columns"],
        "HOME": str(place / factors["home"]),
        **({"POLARS_MAX_THREADS": factors["polars_threads"]} if factors["polars_threads"] else {}),
    }
    if factors["temporary"]:
        (place / factors["temporary"]).mkdir()
        environment["TMPDIR"] = str(place / factors["temporary"])
    overrides = [*OVERRIDES, f"paths.pools={warm if factors['pools'] == 'warm' else 'pools'}"]
    overrides += [f"threads={factors['threads']}"] if factors["threads"] else []
    command = [sys.executable, *factors["flags"], "-c", PROGRAM, str(factors["block"]), *overrides]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, umask=factors["umask"])
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return read(work / "bundle")


def read(bundle: Path) -> Built:
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    paths = [path for path in bundle.rglob("*") if path.is_file() and path != bundle / "manifest.json"]
    files = {path.relative_to(bundle).as_posix(): file_digest(path) for path in paths}
    # The card quotes the command, which names folders and threads.
    card = (bundle / "README.md").read_text(encoding="utf-8")
    files["README.md"] = card.replace(manifest.pop("command"), "")
    del manifest["created"], manifest["files"], manifest["xxh3_128"]  # digests: of the card, of the time and place
    manifest["config"] = {name: value for name, value in manifest["config"].items() if name not in ("paths", "threads")}
    return Built(manifest, files)


def check(numbers: Sequence[int], tmp_path: Path, tokenizer: Path) -> None:
    usual = build(tmp_path / "usual", tokenizer, surroundings(0), tmp_path / "pools")
    assert all(count for count in usual.manifest["rows"].values())
    assert any(name.startswith("tokens/") for name in usual.files)
    for k in numbers:
        factors = surroundings(k)
        found = build(tmp_path / str(k), tokenizer, factors, tmp_path / "pools")
        differ = {name for name, _ in usual.files.items() ^ found.files.items()}
        assert not differ, f"{sorted(differ)} differ with {factors}"
        assert found.manifest == usual.manifest, factors
        shutil.rmtree(tmp_path / str(k))


def test_a_bundle_depends_on_nothing_around_its_build(tmp_path: Path, tiny_tokenizer: Path) -> None:  # noqa: F811
    # Other blocks, another order of files, hash seed, zone, umask and encoding than the usual.
    check((15,), tmp_path, tiny_tokenizer)


@pytest.mark.torture
def test_a_hundred_builds_are_one(tmp_path: Path, tiny_tokenizer: Path) -> None:  # noqa: F811
    check(range(1, 101), tmp_path, tiny_tokenizer)


def test_every_value_of_every_factor_is_tried() -> None:
    """By the hundred; the few of the default run leave some out."""
    tried = [surroundings(k) for k in range(101)]
    assert {name: {values[name] for values in tried} for name in FACTORS} == {
        name: set(values) for name, values in FACTORS.items()
    }
