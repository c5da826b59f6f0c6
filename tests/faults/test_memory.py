"""Little memory: a command fits its work into the limits in force, or refuses; it never ends in the middle."""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.memory import BLOCKS, MIB, Budget, Limit, MemoryShortError, Need, fitted, limits, most, reading, require
from tests.faults.crowd import leftovers, start

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
_ROWS = 12_000
_SOURCE = ["mix=custom", "+sources.g={path: ../g.jsonl, shape: alpaca}", "+mix.weights.g=1"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of rows, each of some hundred bytes and none like another."""
    folder = tmp_path_factory.mktemp("memory")
    draw = random.Random(7)
    words = [f"word{number}" for number in range(5_000)]
    with (folder / "g.jsonl").open("w", encoding="utf-8") as stream:
        for number in range(_ROWS):
            row = {"instruction": f"Question {number}: {' '.join(draw.choices(words, k=12))}", "input": ""}
            stream.write(json.dumps({**row, "output": " ".join(draw.choices(words, k=60))}) + "\n")
    return folder


def limited(raw: Path, number: int, kind: int, mebibytes: int, *words: str) -> tuple[int, str, str]:
    """Exit status, digest (where there is a bundle) and stderr of a build under a limit."""
    folder = raw / f"{number}-{mebibytes}"
    folder.mkdir()
    size = mebibytes * MIB
    before = partial(resource.setrlimit, kind, (size, size))
    process = start(folder, "build", *_SOURCE, "out=b", *words, before=before)
    _, err = process.communicate(timeout=300)
    path = folder / "b" / "manifest.json"
    digest = json.dumps(json.loads(path.read_text())["digest"]) if path.is_file() else ""
    assert leftovers(folder) == []
    return process.returncode, digest, err


def climb(raw: Path, number: int, kind: int, steps: list[int], *words: str) -> list[bool]:
    """Build under each limit; returns which suffice, and asserts that the others are refused in two lines."""
    found = [limited(raw, number, kind, step, *words) for step in steps]
    for step, (status, digest, err) in zip(steps, found, strict=True):
        lines = [line for line in err.splitlines() if not line.startswith("little memory: ")]
        if status == 0:
            assert digest == found[-1][1] != "", step
            assert lines == []
        else:
            assert (status, digest) == (2, ""), (step, err)
            assert len(lines) == 2, (step, err)
            assert "MiB more, and the limit of the " in lines[0], (step, err)
            assert lines[1].startswith("  fix: raise the limit"), (step, err)
    return [status == 0 for status, _, _ in found]


def test_a_build_runs_or_is_refused_under_any_limit(raw: Path) -> None:
    # The smallest that sufficed by trial is 650 MiB with one thread.
    suffices = climb(raw, 0, resource.RLIMIT_AS, [60, 450, 520, 600, 700, 6_000], "template=none", "threads=4")
    assert suffices == sorted(suffices)
    assert suffices[:2] == [False, False]
    assert suffices[-2:] == [True, True]


def test_a_record_too_long_for_the_limit_is_refused_before_it_is_read(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "long.jsonl").write_text(json.dumps({"instruction": "q", "output": "word " * 2_500_000}) + "\n")
    before = partial(resource.setrlimit, resource.RLIMIT_AS, (700 * MIB, 700 * MIB))
    source = ["mix=custom", "+sources.g={path: long.jsonl, shape: alpaca}", "+mix.weights.g=1", "template=none"]
    process = start(tmp_path, "build", *source, before=before)
    err = process.communicate()[1]
    assert process.returncode == 2, err
    assert "a record of up to 12 MiB needs" in err
    assert "max_record_bytes" in err


def test_what_is_read_in_a_process_of_its_own_fits_where_a_build_does(tmp_path: Path) -> None:
    pq.write_table(pa.table({"instruction": [f"{k}?" for k in range(9)], "output": ["a"] * 9}), tmp_path / "p.parquet")
    before = partial(resource.setrlimit, resource.RLIMIT_AS, (700 * MIB, 700 * MIB))
    source = ["mix=custom", "+sources.g={path: p.parquet, shape: alpaca}", "+mix.weights.g=1", "template=none"]
    process = start(tmp_path, "build", *source, before=before)
    err = process.communicate()[1]
    assert process.returncode == 0, err


@pytest.mark.torture
@pytest.mark.parametrize(
    ("number", "words"),
    list(
        enumerate(
            [
                ["template=none", "threads=1"],
                ["template=none", "threads=8"],
                ["template=none", "threads=2", "dedup=near"],
                ["threads=2"],
            ],
            start=1,
        )
    ),
)
@pytest.mark.parametrize("kind", [resource.RLIMIT_AS, resource.RLIMIT_DATA])
def test_the_whole_ladder(raw: Path, number: int, words: list[str], kind: int) -> None:
    steps = [*range(50, 400, 50), *range(400, 1000, 25), 1200, 1500, 2000, 4000]
    suffices = climb(raw, 10 * number + kind, kind, steps, *words)
    assert suffices[-1]
    assert not suffices[0]


def test_what_the_limit_leaves_decides_over_threads_and_blocks() -> None:
    def under(mebibytes: int, threads: int = 8) -> Budget:
        return fitted(threads, [Limit("a limit", mebibytes * MIB, "address")], Need(0))

    assert under(100_000) == Budget(8, BLOCKS[0])
    found = [under(size) for size in range(80, 8_000, 40)]
    assert all(a.block <= b.block for a, b in pairwise(found))
    assert {budget.block for budget in found} == set(BLOCKS)
    assert found[0] == Budget(1, BLOCKS[-1], is_tight=True)
    for size, budget in zip(range(80, 8_000, 40), found, strict=True):
        assert Limit("", 0, "address").takes(reading(budget)) <= size * MIB
    with pytest.raises(MemoryShortError, match="a limit leaves 70 MiB"):
        under(70)


def test_each_limit_counts_what_it_counts() -> None:
    need = Need(heap=1, reserved=10, mapped=100, beside=1000)
    taken = {counts: Limit("", 0, counts).takes(need) for counts in ("address", "data", "memory")}
    assert taken == {"address": 111, "data": 11, "memory": 1001}
    assert need + need == need.times(2)


def test_the_smallest_limit_refuses() -> None:
    found = [Limit("one", 50, "memory"), Limit("two", 20, "memory"), Limit("three", 200, "memory")]
    with pytest.raises(MemoryShortError, match="two leaves"):
        require("here", Need(100), "this", found)
    require("here", Need(20), "this", found)


def files(system: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (system / name).parent.mkdir(parents=True, exist_ok=True)
        (system / name).write_text(text)


def groups(system: Path) -> dict[str, int]:
    return {limit.name: limit.left for limit in limits(system) if "control group" in limit.name}


def test_limits_of_all_groups_around_a_process_count(tmp_path: Path) -> None:
    files(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user/job\n",
            "sys/fs/cgroup/user/job/memory.max": "max\n",
            "sys/fs/cgroup/user/job/memory.high": "9000\n",
            "sys/fs/cgroup/user/job/memory.current": "5000\n",
            "sys/fs/cgroup/user/job/memory.stat": "anon 1\ninactive_file 700\nactive_file 300\nslab 7\n",
            "sys/fs/cgroup/user/memory.max": "6000\n",
            "sys/fs/cgroup/user/memory.current": "5500\n",
            "proc/meminfo": "MemTotal: 100 kB\nMemAvailable: 40 kB\nSwapFree: 2 kB\nHugePages_Total: 0\n",
        },
    )
    assert groups(tmp_path) == {"the control group /user/job": 5000, "the control group /user": 500}
    assert [limit.left for limit in limits(tmp_path) if limit.name == "the machine"] == [42 << 10]


def test_a_container_that_sees_its_own_group_as_the_root_is_limited_by_it(tmp_path: Path) -> None:
    files(
        tmp_path,
        {
            "proc/self/cgroup": "0::/kubepods/pod1/../box\n",
            "sys/fs/cgroup/memory.max": "1000\n",
            "sys/fs/cgroup/memory.current": "400\n",
        },
    )
    assert set(groups(tmp_path).values()) == {600}


def test_the_first_version_of_control_groups_is_read(tmp_path: Path) -> None:
    files(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/box\n0::/\n",
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "3000\n",
            "sys/fs/cgroup/memory/box/memory.usage_in_bytes": "2500\n",
            "sys/fs/cgroup/memory/box/memory.stat": "inactive_file 5\ntotal_inactive_file 100\ntotal_active_file 200\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert groups(tmp_path) == {"the control group /box": 800}


@pytest.mark.parametrize("text", ["", "nonsense\n", "memory.max\n\n:::\n"])
def test_files_that_say_nothing_limit_nothing(tmp_path: Path, text: str) -> None:
    files(tmp_path, {"proc/meminfo": text, "proc/self/status": text, "sys/fs/cgroup/memory.max": text})
    assert not groups(tmp_path)


ASK = "from pipeline.memory import limits, most; print([limit.left for limit in limits()], most())"


def test_a_limit_of_this_process_is_found() -> None:
    before = partial(resource.setrlimit, resource.RLIMIT_AS, (900 * MIB, 900 * MIB))
    out = subprocess.run([sys.executable, "-c", ASK], preexec_fn=before, capture_output=True, text=True, check=True)
    left = int(out.stdout.strip("[").partition(",")[0])
    assert 600 * MIB < left < 900 * MIB
    assert most() is not None
