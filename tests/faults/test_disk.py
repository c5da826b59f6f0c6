"""A disk that is full, fails or may not be written: one clear message, and what was there is still there."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StoreError
from pipeline.folder import file_digest
from pipeline.manifest import open_bundle
from pipeline.room import free_bytes, require_room, size_text, writing
from pipeline.store import new_folder
from pipeline.verify.checks import verify
from tests.pipeline import conftest as of_pipeline

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the faults are made as Linux has them")

tiny_tokenizer = of_pipeline.tiny_tokenizer
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MESSAGE = re.compile(r"[^\n]+: [^\n]+\n  fix: [^\n]+\n")
MOST = 1 << 40
ROWS = [{"instruction": f"What is {k} plus {k}?", "input": "", "output": f"It is {2 * k}."} for k in range(300)]

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Run]]:
    """A folder on a disk that fails as told, and run(argv, kind, first, last, errno) → status, out, err, counts."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    place = tmp_path_factory.mktemp("faulty")
    library = place / "faulty_disk.so"
    built = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "faulty_disk.c", "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        pytest.skip(f"the C compiler does not build a library: {built.stderr[:200]}")
    disk = place / "disk"
    disk.mkdir()
    environment = os.environ | {
        "LD_PRELOAD": str(library),
        "FAULTY_FOLDER": str(disk),
        "PYTHONPATH": str(ROOT),
        "POLARS_MAX_THREADS": "2",
    }
    command = [sys.executable, str(HERE / "on_faulty_disk.py")]
    with subprocess.Popen(
        command, env=environment, cwd=place, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def run(argv: list[str], kind: str | None = None, first: int = 0, last: int = 0, number: int = 0) -> Any:
            asked = {"argv": argv, "kind": kind, "first": first, "last": last, "errno": number}
            print(json.dumps(asked), file=process.stdin, flush=True)
            assert process.stdout is not None
            return json.loads(process.stdout.readline())

        yield disk, run
        process.stdin.close()


def places(disk: Path) -> list[str]:
    """A mix of one source, its pools and bundles on the disk."""
    raw = disk.parent / "rows.jsonl"
    if not raw.exists():
        raw.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    source = "+sources.own={path: " + str(raw) + ", shape: alpaca, tags: [x]}"
    return ["mix=custom", source, "+mix.weights.own=1", f"paths.pools={disk / 'pools'}", f"paths.bundles={disk / 'b'}"]


def state(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in folder.rglob("*") if path.is_file()}


def hidden(disk: Path) -> list[Path]:
    return [path for path in disk.rglob(".*") if "writing" in path.name]


def digests(bundle: Path) -> dict[str, str]:
    return open_bundle(str(bundle), bundle.parent).manifest["digest"]


def commands(disk: Path, tokenizer: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Name → (what is done before, what is done on the faulty disk)."""
    build, out = ["build", *places(disk)], f"out={disk / 'bundle'}"
    return {
        "pools": ([], ["pools", "make=true", *places(disk)]),
        "build": ([], [*build, out]),
        "remix": ([*build, out], [*build, out, "mix.total_rows=90", "seed=7"]),
        "tokens": ([*build, out], [*build, out, f"tokenizer={tokenizer}", "dedup=near"]),
    }


# Kind of call → what it may fail with.
ERRORS = {
    "open": (errno.EDQUOT, errno.EROFS, errno.ENOSPC),
    "write": (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG),
    "fsync": (errno.EIO, errno.ENOSPC),
    "rename": (errno.EROFS, errno.EIO, errno.ENOSPC),
    "mkdir": (errno.ENOSPC, errno.EROFS, errno.EACCES),
    "close": (errno.EIO, errno.EDQUOT),
}
DEFAULT_POINTS = 12


def points(counts: dict[str, int], every: bool, share: int) -> list[tuple[str, int, int, bool]]:
    """(kind, n, errno, whether all later calls fail, too) over all calls, or `share` of them spread evenly."""
    found = [
        (kind, n, errors[n % len(errors)], errors[n % len(errors)] in (errno.ENOSPC, errno.EROFS) and n % 2 == 0)
        for kind, errors in ERRORS.items()
        for n in range(1, counts[kind] + 1)
    ]
    return found if every else found[:: max(1, len(found) // share)][:share]


def fault_everywhere(faulty: tuple[Path, Run], tokenizer: Path, name: str, every: bool) -> int:
    disk, run = faulty
    before, command = commands(disk, tokenizer)[name]

    def fresh() -> None:
        shutil.rmtree(disk)
        disk.mkdir()
        if before:
            assert run(before)["status"] == 0

    fresh()
    done = run(command)
    assert done["status"] == 0, done["err"]
    assert all(done["counts"][kind] for kind in ERRORS)
    right = digests(disk / "bundle") if name != "pools" else None
    tried = 0
    for kind, n, number, lasting in points(done["counts"], every, DEFAULT_POINTS // 4):
        fresh()
        old = state(disk / "bundle")
        failed = run(command, kind, n, MOST if lasting else n, number)
        where = f"{name}: {kind} {n} with {errno.errorcode[number]}{' and all later' if lasting else ''}"
        if failed["status"] == 0:  # a call that nothing depends on: a folder that is there already, a lock's end
            assert right is None or digests(disk / "bundle") == right, where
        else:
            tried += 1
            assert failed["status"] == 2, f"{where}\n{failed['err']}"
            errors = "".join(line for line in failed["err"].splitlines(True) if not line.startswith("warning:"))
            assert MESSAGE.fullmatch(errors), f"{where}\n{failed['err']}"
            assert str(disk) in errors, where
            if number in (errno.ENOSPC, errno.EDQUOT):
                assert "are free there" in errors, f"{where}\n{errors}"
        if not lasting:
            assert hidden(disk) == [], where
        if (disk / "bundle").exists():
            now = state(disk / "bundle")
            checks = list(verify(open_bundle(str(disk / "bundle"), disk)))
            assert now == old or not any(check.faults for check in checks), where
            assert now == old or digests(disk / "bundle") == right, where
        again = run(command)
        assert again["status"] == 0, f"{where}\n{again['err']}"
        assert hidden(disk) == [], where
        if right is not None:
            assert digests(disk / "bundle") == right, where
    return tried


@pytest.mark.parametrize("name", ["pools", "build", "remix", "tokens"])
def test_a_failing_call_is_said_and_changes_nothing(faulty: tuple[Path, Run], tiny_tokenizer: Path, name: str) -> None:
    assert fault_everywhere(faulty, tiny_tokenizer, name, every=False) >= DEFAULT_POINTS // 4 - 2


@pytest.mark.torture
@pytest.mark.parametrize("name", ["pools", "build", "remix", "tokens"])
def test_every_failing_call_is_said_and_changes_nothing(
    faulty: tuple[Path, Run], tiny_tokenizer: Path, name: str
) -> None:
    tried = fault_everywhere(faulty, tiny_tokenizer, name, every=True)
    print(f"{name}: {tried} faults")
    assert tried > 50


def command(*argv: str) -> list[str]:
    return [sys.executable, "-m", "pipeline", *argv]


def call(argv: list[str], folder: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "POLARS_MAX_THREADS": "2"}
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False, **more)


def test_a_limit_of_file_size_is_said(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    asked = command("build", *places(disk))
    done = call(asked, tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)))
    assert (done.returncode, done.stdout) == (2, "")
    assert MESSAGE.fullmatch(done.stderr)
    assert "ulimit -f" in done.stderr
    assert hidden(disk) == []


def in_namespace(mount: str, argv: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """A command in a mount namespace of its own, after `mount` there; skips where the system allows none."""
    script = f'{mount} && exec "$@"'
    probe = call(["unshare", "-rm", "sh", "-c", script, "sh", "true"], folder)
    if probe.returncode:
        pytest.skip(f"no mounts here: {probe.stderr.strip()[:100]}")
    return call(["unshare", "-rm", "sh", "-c", script, "sh", *argv], folder)


needs_unshare = pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare")


@needs_unshare
def test_a_small_disk_refuses_before_it_writes(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    done = in_namespace(f"mount -t tmpfs -o size=40k none {disk}", command("build", *places(disk)), tmp_path)
    assert done.returncode == 2, done.stderr
    assert MESSAGE.fullmatch(done.stderr)
    assert re.search(r"needs about [\d.,]+ KiB, and [\d.,]+ KiB are free there", done.stderr)
    assert "prune=true" in done.stderr


@needs_unshare
def test_a_disk_without_inodes_is_said(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=50m,nr_inodes=8 none {disk}"
    done = in_namespace(mount, command("build", *places(disk)), tmp_path)
    assert done.returncode == 2, done.stderr
    assert MESSAGE.fullmatch(done.stderr)
    assert "can hold no more files" in done.stderr


@needs_unshare
def test_readers_need_no_writable_folder(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    assert call(command("build", *places(disk)), tmp_path).returncode == 0
    paths = [f"paths.pools={disk / 'pools'}", f"paths.bundles={disk / 'b'}"]
    script = " && ".join(
        f"{sys.executable} -m pipeline {verb} {' '.join(paths)}"
        for verb in ("show n=1", "show pool=own n=1", "verify", "verify pools=true")
    )
    mount = f"mount --bind {disk} {disk} && mount -o remount,ro,bind {disk}"
    done = in_namespace(mount, ["sh", "-c", script], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    written = in_namespace(mount, command("build", *places(disk), "seed=5"), tmp_path)
    assert written.returncode == 2
    assert "cannot be written (Read-only file system)" in written.stderr or "may not be written" in written.stderr
    assert "Traceback" not in written.stderr


@pytest.mark.parametrize("name", ["pools", "b"])
def test_a_path_that_is_a_file_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / name).write_text("a file")
    done = call(command("build", *places(tmp_path / "disk")), tmp_path)
    assert done.returncode == 2
    assert MESSAGE.fullmatch(done.stderr)
    assert "is not a folder" in done.stderr


def test_room_is_asked_of_the_folder_above(tmp_path: Path) -> None:
    free = free_bytes(tmp_path / "not" / "there")
    assert free is not None
    require_room(tmp_path / "not" / "there", 0.5 * free)
    with pytest.raises(StoreError, match=r"needs about .* are free there"):
        require_room(tmp_path / "not" / "there", 2 * free + (1 << 40))


def test_sizes_are_rounded_to_what_is_read() -> None:
    sizes = {0: "0 bytes", 1023: "1,023 bytes", 1 << 10: "1.0 KiB", 10 << 10: "10 KiB", 3 << 29: "1.5 GiB"}
    assert {size: size_text(size) for size in sizes} == sizes


def test_a_closed_pipe_is_no_fault_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(BrokenPipeError), writing(tmp_path):
        raise BrokenPipeError


def test_an_error_when_a_file_is_closed_is_not_swallowed(tmp_path: Path) -> None:
    def fill() -> None:
        with writing(tmp_path / "x"), new_folder(tmp_path / "x") as folder, folder.open("a") as stream:
            stream.write(b"some")
            os.close(stream.stream.fileno())

    with pytest.raises(StoreError, match="cannot be written"):
        fill()
    assert not (tmp_path / "x").exists()
