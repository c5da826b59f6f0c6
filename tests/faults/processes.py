"""Our commands as real processes in a place of their own: started, signalled, and what they left judged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from pipeline.manifest import open_bundle
from pipeline.store import damaged_file
from pipeline.verify.checks import verify

ROOT = Path(__file__).resolve().parents[2]
TOPICS = ("apples", "boats", "小船", "lamps", "keys")
# Of a busy machine: what is promised are two seconds on a quiet one.
MARGIN = 4.0
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_FILES = {"manifest.json", "metrics.json"}  # name the other files of their folder, and are written last


@dataclass(frozen=True)
class Place:
    """A folder with raw rows, and all that commands write there: pools, bundles, runs, temporary files."""

    folder: Path

    @property
    def paths(self) -> list[str]:
        return [f"paths.{name}={self.folder / name}" for name in ("pools", "bundles")]

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    def start(self, module: str, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
        """A command as the leader of a process group. What it says goes to files, so that it never waits for us."""
        self.temporary.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(self.temporary), "HF_HUB_OFFLINE": "1"}
        with (self.folder / "out.txt").open("wb") as out, (self.folder / "err.txt").open("wb") as err:
            return subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=self.folder,
                env=environment | {"OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                **{"preexec_fn": usual_signals} | more,
            )

    def run(self, module: str, *arguments: str) -> list[str]:
        """What an undisturbed command prints."""
        with self.start(module, *arguments) as process:
            process.wait()
        assert process.returncode == 0, self.errors()
        return (self.folder / "out.txt").read_text("utf-8").splitlines()

    def errors(self) -> str:
        """What the last command has said on stderr."""
        return (self.folder / "err.txt").read_text("utf-8")

    def left(self) -> list[str]:
        """Temporary files and folders, wherever commands write."""
        found = [*self.folder.rglob(".*.writing-*"), *self.temporary.rglob("*")]
        return sorted(str(path.relative_to(self.folder)) for path in found)

    def faults(self) -> list[str]:
        """What is wrong with the folders that a reader can see: every file as its manifest says, every promise kept."""
        found: list[str] = []
        for top, folders, files in os.walk(self.folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            folder = Path(top)
            for name in _FILES & set(files):
                manifest = json.loads((folder / name).read_text("utf-8"))
                damage = damaged_file(folder, manifest.get("files", {}))
                found += [f"{folder}: {damage}"] if damage else []
            if "dataset_dict.json" in files and "manifest.json" in files:
                for check in verify(open_bundle(str(folder), folder.parent)):
                    found += [f"{folder}: {check.name}: {fault}" for fault in check.faults]
            if folder.parent.name in ("texts", "ids", "checkpoints") and "manifest.json" not in files:
                found.append(f"{folder}: no manifest")
        return found


def usual_signals() -> None:
    """As a shell starts a command: what runs the tests may have signals ignored, which processes inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def write_rows(path: Path, count: int, salt: int = 0) -> None:
    """Raw rows written for these tests, and where they lie."""
    lines = (
        {
            "instruction": f"How many {TOPICS[n % 5]} are {n} and {salt + n % 7} of them? Say it in a sentence.",
            "input": "" if n % 3 else f"Count number {n}: " + "one more, " * (n % 11),
            "output": f"There are {n + salt + n % 7} {TOPICS[n % 5]}.",
        }
        for n in range(count)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")


def digest(bundle: Path) -> Any:
    """The content digests of a bundle, and those of its tokens' files."""
    manifest = json.loads((bundle / "manifest.json").read_text("utf-8"))
    tokens = {name: entry for name, entry in manifest["files"].items() if name.startswith("tokens/")}
    return manifest["digest"], {name: entry for name, entry in tokens.items() if name.endswith(".arrow")}


def kill(process: subprocess.Popen[bytes]) -> None:
    """The whole group, without a word, if it has not ended."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_for(process: subprocess.Popen[bytes], there: Callable[[], bool], seconds: float = 120) -> bool:
    """Whether something happened before the process ended."""
    late = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < late:
        with suppress(FileNotFoundError):  # a folder that went while one looked into it
            if there():
                return True
        time.sleep(0.0005)
    return False


def moment(seed: int, number: int, of: int) -> float:
    """The `number`th of so many moments from 0 to 1, spread evenly, each somewhere in its share."""
    return (number + xxhash.xxh3_64_intdigest(f"{seed} {number}".encode()) / 2**64) / of


def group_is_gone(leader: int, seconds: float = 3) -> bool:
    """Whether no process of a group is left, soon."""
    late = time.monotonic() + seconds
    while time.monotonic() < late:
        try:
            os.killpg(leader, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False
