"""What dead writers leave goes with the next command that writes there; what live ones write stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import store
from pipeline.leftovers import aside, clear_leftovers
from pipeline.store import new_folder, remove_folder, replace_text, write_pointer
from tests.faults.processes import ROOT

WRITER = """
import sys
from pathlib import Path
from pipeline.store import new_folder, replace_text
from pipeline.leftovers import hidden
target = Path(sys.argv[1])
with new_folder(target) as folder, hidden(target.with_name("latest")) as note:
    folder.write_text("a.txt", "half")
    note.write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
"""


def writer(target: Path) -> subprocess.Popen[str]:
    """A process in the middle of writing a folder and a pointer."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def write(target: Path, text: str) -> None:
    with new_folder(target) as folder:
        folder.write_text("a.txt", text)


def write_other_folder(folder: Path) -> None:
    write(folder / "other", "whole")


def write_pointer_there(folder: Path) -> None:
    write_pointer(folder / "pointer", "other")


def remove_one(folder: Path) -> None:
    (folder / "gone").mkdir()
    remove_folder(folder / "gone")


@pytest.mark.parametrize("act", [write_other_folder, write_pointer_there, remove_one])
def test_the_next_write_in_a_folder_clears_what_the_dead_left_and_nothing_else(act, tmp_path: Path) -> None:
    for own in (".mine.writing-notes", ".mine", "mine.writing-1", ".mine.writing-7"):  # the last without a lock
        (tmp_path / own).mkdir()
    with writer(tmp_path / "live") as live, writer(tmp_path / "dead") as dead:
        dead.kill()
        dead.wait()
        assert any(name.startswith(".dead.writing-") for name in names(tmp_path))
        act(tmp_path)
        left = names(tmp_path)
        assert not any(".dead." in name for name in left)
        assert f".live.writing-{live.pid}/a.txt" in left
        assert f".latest.writing-{live.pid}" in left
        assert {".mine.writing-notes", ".mine", "mine.writing-1", ".mine.writing-7"} <= set(left)
        assert live.stdin is not None
        live.stdin.close()
        assert live.wait() == 0
    assert (tmp_path / "live" / "a.txt").read_text() == "half"
    assert not any("live.writing" in name for name in names(tmp_path))


def test_a_number_that_a_living_process_has_does_not_save_what_a_dead_one_left(tmp_path: Path) -> None:
    with writer(tmp_path / "x") as dead:
        dead.kill()
    for name in (f".x.writing-{dead.pid}", f".x.writing-{dead.pid}.lock"):
        (tmp_path / name).rename(tmp_path / name.replace(str(dead.pid), str(os.getpid())))
    write(tmp_path / "y", "whole")
    assert names(tmp_path) == ["y", "y/a.txt"]


def test_a_death_between_two_renames_brings_the_old_folder_back(tmp_path: Path) -> None:
    write(tmp_path / "x", "old")
    with writer(tmp_path / "x") as dead:
        dead.kill()
    place = tmp_path / f".x.writing-{dead.pid}"
    (tmp_path / "x").rename(aside(place))
    clear_leftovers(tmp_path)
    assert names(tmp_path) == ["x", "x/a.txt"]
    assert (tmp_path / "x" / "a.txt").read_text() == "old"


@pytest.mark.parametrize("fails", [False, True])
def test_without_an_exchange_there_is_the_old_folder_or_the_new_one(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.sys, "platform", "darwin")
    write(tmp_path / "x", "old")
    rename = Path.rename

    def renamed(path: Path, target: Path) -> Path:
        if fails and target.name == "x" and not path.name.endswith("-old"):
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", renamed)
    if fails:
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "x", "new")
    else:
        write(tmp_path / "x", "new")
    assert names(tmp_path) == ["x", "x/a.txt"]
    assert (tmp_path / "x" / "a.txt").read_text() == ("old" if fails else "new")


def test_a_file_is_replaced_under_a_name_of_its_own(tmp_path: Path) -> None:
    replace_text(tmp_path / "a", "x")
    replace_text(tmp_path / "a", "y")
    assert (names(tmp_path), (tmp_path / "a").read_text()) == (["a"], "y")
