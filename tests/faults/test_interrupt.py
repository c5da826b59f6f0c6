"""Ctrl-C and SIGTERM: the end within two seconds, one line, nothing half-written, no process left."""

from __future__ import annotations

import os
import signal
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.faults.processes import MARGIN, WORDS, Place, group_is_gone, kill, moment, wait_for

MIX = ["mix=custom", "+mix.weights.one=1", "+mix.weights.two=1"]
SOURCES = [f"+sources.{name}={{path: {name}.jsonl, shape: alpaca}}" for name in ("one", "two")]
FOREVER = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}"


def build(place: Place, *more: str) -> list[str]:
    return ["build", *SOURCES, *MIX, *place.paths, f"out={place.folder / 'out' / 'bundle'}", *more]


def end(place: Place, process, number: int, to_group: bool = False) -> float:
    """Send the signal, and judge the end; returns the seconds it took."""
    before = place.errors().splitlines()
    began = time.monotonic()
    (os.killpg if to_group else os.kill)(process.pid, number)
    try:
        process.wait(20)
    except BaseException:
        kill(process)
        raise
    seconds = time.monotonic() - began
    assert process.returncode == 128 + number, place.errors()
    said = place.errors().splitlines()[len(before) :]
    assert [line.split(";")[0] for line in said] == [WORDS[number]]
    assert group_is_gone(process.pid)
    assert place.left() == []
    assert place.faults() == []
    assert seconds < 2 + MARGIN
    return seconds


def is_writing(place: Place) -> bool:
    return any(Path(place.folder / "out").glob(".bundle.writing-*/train"))


def started(place: Place) -> bool:
    """A build has said its first words."""
    return (place.folder / "out.txt").stat().st_size > 0


@pytest.mark.parametrize("number", WORDS)
def test_a_build_ends_while_it_writes(number: int, place: Place, tiny_tokenizer: Path) -> None:
    with place.start("pipeline", *build(place, "template=chatml", f"tokenizer={tiny_tokenizer}")) as process:
        assert wait_for(process, lambda: is_writing(place))
        end(place, process, number, to_group=number == signal.SIGINT)
    assert not (place.folder / "out" / "bundle").exists()


@pytest.mark.parametrize("number", WORDS)
def test_a_build_ends_while_a_template_runs_on(number: int, place: Place) -> None:
    (place.folder / "own.jinja").write_text(FOREVER)
    with place.start("pipeline", *build(place, "template.path=own.jinja")) as process:
        assert wait_for(process, lambda: started(place))
        time.sleep(0.3)
        end(place, process, number, to_group=number == signal.SIGINT)


def test_a_command_ends_while_it_waits_for_another_one(place: Place) -> None:
    place.run("pipeline", *build(place))
    with place.start("pipeline", *build(place)) as first:
        assert wait_for(first, lambda: is_writing(place))
        os.killpg(first.pid, signal.SIGSTOP)  # holds the lock of the bundle, and does nothing
        other = Place(place.folder / "second")
        arguments = [word.replace("path: ", f"path: {place.folder}/") for word in build(place)]
        other.folder.mkdir()
        with other.start("pipeline", *arguments) as second:
            assert wait_for(second, lambda: len((other.folder / "out.txt").read_text().splitlines()) > 5)
            time.sleep(0.3)
            end(other, second, signal.SIGINT)
        kill(first)
    place.run("pipeline", *build(place))
    assert (place.left(), place.faults()) == ([], [])


@pytest.mark.skipif(not find_spec("trl"), reason="needs the extra `train`")
@pytest.mark.parametrize("to_group", [False, True])
def test_a_command_that_runs_another_one_ends_with_it(to_group: bool, place: Place) -> None:
    building = f"build=[{', '.join([*SOURCES, *MIX])}]".replace("path: ", f"path: {place.folder}/")
    arguments = ["sft", building, *place.paths, f"paths.runs={place.folder / 'runs'}"]
    with place.start("train", *arguments) as process:
        assert wait_for(process, lambda: any(place.folder.glob("bundles/.*.writing-*/train")))
        end(place, process, signal.SIGINT if to_group else signal.SIGTERM, to_group)


def test_a_sweep_ends_with_one_line(place: Place) -> None:
    arguments = build(place, "-m", "seed=1,2,3")
    with place.start("pipeline", *arguments) as process:
        assert wait_for(process, lambda: started(place))
        end(place, process, signal.SIGTERM)


def test_what_was_ignored_stays_ignored(place: Place) -> None:
    """As `nohup` and a shell's `&` start a command."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with place.start("pipeline", *build(place), preexec_fn=None) as process:
            assert wait_for(process, lambda: started(place))
            os.kill(process.pid, signal.SIGINT)
            assert process.wait(60) == 0
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.torture
@pytest.mark.parametrize("number", WORDS)
def test_a_build_ends_at_any_moment(number: int, place: Place, tiny_tokenizer: Path) -> None:
    settings = build(place, "template=chatml", f"tokenizer={tiny_tokenizer}")
    began = time.monotonic()
    place.run("pipeline", *settings)
    whole, seconds = time.monotonic() - began, []
    for at in range(50):
        tags = f"+sources.one.tags=[t{at}]"
        with place.start("pipeline", *settings, tags) as process:
            time.sleep(0.15 + moment(7, at, 50) * whole)  # what comes before is Python itself
            if process.poll() is None:
                seconds.append(end(place, process, number, to_group=at % 2 == 0))
    print(f"{WORDS[number]} {len(seconds)} times: {max(seconds):.2f} s at most, {sum(seconds) / len(seconds):.2f} mean")
