"""Several commands at once: one does the work, the others use it, and readers see one bundle or the other."""

from __future__ import annotations

import errno
import fcntl
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.__main__ import PROGRAM
from pipeline.build import build
from pipeline.cli.front import main
from pipeline.cli.front.compose import composer
from pipeline.cli.front.compose import settings as plain
from pipeline.cli.front.flags import parse_flags
from pipeline.configuration import read_build
from pipeline.errors import StoreError
from pipeline.locks import locked, removing, using
from pipeline.manifest import ReplacedError, open_bundle, read_whole
from pipeline.store import new_folder, write_pointer
from pipeline.tools import Tools
from tests.faults.crowd import ROOT, SMALL, leftovers, manifest, start, start_code

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="an exchange in one step, and killing, as Linux has them")


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def made(outputs: list[str], stage: str, name: str) -> int:
    """How many processes did a stage's work themselves."""
    lines = [line for out in outputs for line in out.splitlines() if line.startswith(stage) and f" {name} " in line]
    assert len(lines) == len(outputs)
    return sum(not line.endswith("ready") for line in lines)


@LINUX
def test_eight_equal_builds_make_each_pool_once_and_one_bundle(tmp_path: Path) -> None:
    found = [ended(process) for process in [start(tmp_path, "build", "mix=math_heavy") for _ in range(8)]]
    assert [status for status, _, _ in found] == [0] * 8, found
    outputs = [out for _, out, _ in found]
    (path,) = {out.splitlines()[-1] for out in outputs}
    for name in ("alpaca", "cmath", "emoji", "mawps"):
        assert made(outputs, "normalize", name) == 1
    assert len(list((tmp_path / "data_pools" / "pools").glob("*/*/texts/*"))) == 4
    said = {line for _, _, err in found for line in err.splitlines()}
    assert all(line.startswith("waiting for another process that writes ") for line in said)
    assert manifest(tmp_path / path)["rows"]["train"] > 0
    assert leftovers(tmp_path) == []


PRUNE = """
import time
from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
while main(PROGRAM, ["pools", "prune=true"]) == 0:
    time.sleep(0.1)
"""


@LINUX
def test_different_builds_of_the_same_pools_beside_prunes_and_kills(tmp_path: Path) -> None:
    # With texts, which a prune removes from beside the newest pools, too.
    mixes = [["template=smollm2", f"mix.weights.cmath={weight}", f"out=b{weight}"] for weight in (1, 2, 3)]
    builds = [start(tmp_path, "build", *SMALL, *mix) for mix in [*mixes, *mixes]]
    doomed = [start(tmp_path, "build", *SMALL, "seed=9", f"out=doomed{k}") for k in range(2)]
    prunes = start_code(tmp_path, PRUNE)
    for process in doomed:
        time.sleep(1)
        process.kill()
        ended(process)
    found = [ended(process) for process in builds]
    assert [status for status, _, _ in found] == [0] * 6, found
    assert prunes.poll() is None
    prunes.kill()
    prunes.communicate()
    together = [manifest(tmp_path / f"b{weight}")["digest"] for weight in (1, 2, 3)]
    alone = tmp_path / "alone"
    alone.mkdir()
    status, out, err = ended(
        start(alone, "build", "-m", *SMALL, "template=smollm2", "out=each", "mix.weights.cmath=1,2,3")
    )
    assert status == 0, err
    folders = [alone / line for line in out.splitlines() if line.startswith("each/")]
    assert together == [json.loads((folder / "manifest.json").read_text())["digest"] for folder in folders]
    assert len({digest["train"] for digest in together}) == 3


def test_who_waits_for_long_says_so_once_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    with removing(tmp_path / "data_pools" / "pools"):
        process = start(tmp_path, "build", *SMALL)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line == "waiting for another process that removes pools from data_pools/pools\n"
        time.sleep(0.3)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        status, out, err = ended(process)
    assert time.monotonic() - begun < 10  # two seconds are promised; the machine may be busy
    assert (status, out, err) == (130, "", "interrupted\n")


def test_what_uses_the_pools_keeps_them_until_it_is_done(tmp_path: Path) -> None:
    pools = tmp_path / "pools"
    old = pools / "cmath" / "0123456789abcdef"
    with new_folder(old) as target:
        target.write_json("manifest.json", {"format": "poolmix pool 1", "name": "cmath", "fingerprint": old.name})
    write_pointer(old.parent / "latest", "f" * 16)
    with using(pools), using(pools):
        process = start(tmp_path, "pools", "prune=true", "paths.pools=pools")
        assert process.stderr is not None
        assert process.stderr.readline() == "waiting for another process that uses the pools in pools\n"
        assert process.poll() is None
        assert old.is_dir()
    assert ended(process)[0] == 0
    assert not old.exists()


HOLD = """
import sys, time
from pathlib import Path
from pipeline.locks import locked, using
with using(Path(sys.argv[1])), locked(Path(sys.argv[1]) / "x", "tries"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_dead_process_holds_no_lock(tmp_path: Path) -> None:
    process = start_code(tmp_path, HOLD, str(tmp_path))
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.wait()
    with removing(tmp_path), locked(tmp_path / "x", "tests"):
        pass
    process.stdout.close()


@LINUX
@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_file_system_without_locks_is_refused_and_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(_handle: int, _how: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    for hold in (using(tmp_path), removing(tmp_path), locked(tmp_path / "x", "tests")):
        with pytest.raises(StoreError, match="cannot be locked"), hold:
            pass


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two bundles that differ in everything but their files' names."""
    folder = tmp_path_factory.mktemp("two")
    places = [f"paths.pools={folder}/pools", f"paths.bundles={folder}"]
    for name, more in {"a": ["seed=1"], "b": ["seed=2", "+mix.weights.emoji=1", "split.valid_ratio=0.3"]}.items():
        assert main(PROGRAM, ["build", *SMALL, *places, f"out={folder}/{name}", *more]) == 0
    return folder / "a", folder / "b"


def put(target: Path, bundle: Path) -> None:
    """Publish the files of a bundle at `target`, as a build publishes them."""
    with new_folder(target) as folder:
        shutil.copytree(bundle, folder.path, dirs_exist_ok=True)
        (folder.path / "manifest.json").touch()  # written last, by this build and no other


EXCHANGE = """
import sys, time
from pathlib import Path
from tests.faults.test_together import put
target, *bundles = map(Path, sys.argv[1:])
while True:
    for bundle in bundles:
        put(target, bundle)
        print("put", flush=True)
        time.sleep(0.3)
"""


@LINUX
def test_readers_see_one_bundle_or_the_other(
    tmp_path: Path, two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "x"
    put(target, two[0])
    whole: dict[str, set[str]] = {}
    readers = {
        "verify": ["verify", f"bundle={target}"],
        "stats": ["stats", "format=json", f"bundle={target}"],
        "show": ["show", "n=300", "format=json", f"bundle={target}"],
        "quarantine": ["show", "quarantine=true", "n=1000", f"bundle={target}"],
        "diff": ["diff", f"a={target}", f"b={two[0]}"],
    }
    for bundle in two:
        put(target, bundle)
        for name, words in readers.items():
            assert main(PROGRAM, words) == 0
            whole.setdefault(name, set()).add(capsys.readouterr().out)
    writer = start_code(ROOT, EXCHANGE, str(target), *map(str, two))
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        for _ in range(5):
            for name, words in readers.items():
                assert main(PROGRAM, words) == 0, capsys.readouterr().err
                out = capsys.readouterr().out
                assert any(out.endswith(one) for one in whole[name]), name
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.communicate()


def test_a_bundle_that_is_replaced_over_and_over_ends_the_reading(tmp_path: Path, two: tuple[Path, Path]) -> None:
    put(tmp_path / "x", two[0])
    with pytest.raises(ReplacedError, match="20 times"):
        read_whole(str(tmp_path / "x"), tmp_path, lambda _: put(tmp_path / "x", two[1]))


def test_a_mistake_in_a_bundle_that_stays_is_raised_at_once(tmp_path: Path, two: tuple[Path, Path]) -> None:
    put(tmp_path / "x", two[0])
    times: list[int] = []
    with pytest.raises(ZeroDivisionError):
        read_whole(str(tmp_path / "x"), tmp_path, lambda _: times.append(1) or 1 / 0)
    assert times == [1]


def test_a_validation_split_is_reused_from_one_bundle_or_not_at_all(tmp_path: Path, two: tuple[Path, Path]) -> None:
    put(tmp_path / "x", two[0])
    words = ["template=none", "split.validation_from=x", f"paths.bundles={tmp_path}", f"paths.pools={tmp_path}/pools"]
    with composer(ROOT / "conf", "build", parse_flags([])) as compose:
        settings = read_build(plain(compose([*words, f"out={tmp_path}/y"])), ROOT)

    def say(line: str) -> None:
        if line.startswith("split"):
            put(tmp_path / "x", two[1])

    with pytest.raises(ReplacedError):
        build(settings, Tools(None, None), "", False, say)
    assert not (tmp_path / "y").exists()
    build(settings, Tools(None, None), "", False, lambda _: None)
    assert manifest(tmp_path / "y")["digest"]["validation"] == manifest(two[1])["digest"]["validation"]


def test_a_bundle_knows_when_another_stands_in_its_place(tmp_path: Path, two: tuple[Path, Path]) -> None:
    put(tmp_path / "x", two[0])
    bundle = open_bundle("x", tmp_path)
    bundle.require_current()
    put(tmp_path / "x", two[0])
    assert not bundle.is_current()
    shutil.rmtree(tmp_path / "x")
    with pytest.raises(ReplacedError):
        bundle.require_current()
