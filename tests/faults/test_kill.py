"""`kill -9` at any moment: a reader sees the old folder or the new one, and the next run makes good."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.processes import Place, digest, kill, moment, wait_for

MIX = ["mix=custom", "+mix.weights.one=1", "+mix.weights.two=1"]
SOURCES = [f"+sources.{name}={{path: {name}.jsonl, shape: alpaca, tags: [TAG]}}" for name in ("one", "two")]


# Where a command works on something hidden, and where it has written the last of it.
CRITICAL = {
    "pool": "pools/*/.*.writing-*",
    "whole pool": "pools/*/.*.writing-*/manifest.json",
    "text": "pools/*/*/*/.*.writing-*",
    "whole text": "pools/*/*/*/.*.writing-*/manifest.json",
    "bundle": "out/.*.writing-*",
    "whole bundle": "out/.*.writing-*/manifest.json",
}


@dataclass(frozen=True)
class Stage:
    """A command that is killed again and again: that of an attempt by its number, each with the same work to do.

    `moments` are of CRITICAL; `prepare` comes before each attempt; `reads` is what a reader finds.
    """

    command: Callable[[Place, int], list[str]]
    moments: Sequence[str]
    prepare: Callable[[Place], None] = lambda _: None
    reads: Callable[[Place], Any] = lambda place: digest(place.folder / "out" / "bundle")


def sources(number: int) -> list[str]:
    return [text.replace("TAG", f"t{number}") for text in SOURCES]


def pools(place: Place, number: int) -> list[str]:
    return ["pools", "make=true", *sources(number), "mix=custom", *place.paths]


def build(place: Place, number: int) -> list[str]:
    return ["build", *sources(number), *MIX, *place.paths, f"out={place.folder / 'out' / 'bundle'}"]


def remix(place: Place, number: int) -> list[str]:
    return [*build(place, 0), f"mix.weights.one={1 + number % 2}"]


def tokenize(place: Place, number: int) -> list[str]:
    tokenizer = f"tokenizer={place.folder / 'tokenizer'}"
    return [*build(place, 0), "template=chatml", tokenizer, f"mix.weights.one={1 + number % 2}"]


def forget_texts(place: Place) -> None:
    """So that an attempt has to render and to encode again; what is hidden stays."""
    for kept in place.folder.glob("pools/*/*/*/[!.]*"):
        if kept.parent.name in ("texts", "ids"):
            shutil.rmtree(kept)


def pool_rows(place: Place) -> Any:
    """The newest pool of each source: where it is, and the bytes of its files."""
    latest = sorted(place.folder.glob("pools/*/latest"))
    newest = [path.parent / path.read_text("utf-8").strip() for path in latest]
    return [(pool.parent.name, (pool / "manifest.json").read_text("utf-8")) for pool in newest]


STAGES = {
    "pools": Stage(pools, ["pool", "whole pool"], reads=pool_rows),
    "build": Stage(build, ["pool", "text", "bundle", "whole bundle"]),
    "remix": Stage(remix, ["bundle", "whole bundle"]),
    "tokenize": Stage(tokenize, ["text", "whole text", "bundle", "whole bundle"], forget_texts),
}
OF_RAW = ("pools", "build")  # an attempt has other raw rows, or there is nothing to do


def attempt(place: Place, stage: Stage, number: int, when: float | str, whole: float) -> str:
    """Kill the command at a share of its time, or at a critical moment; when that was."""
    before = visible(place)
    pattern = CRITICAL.get(str(when), "")
    dead = set(place.folder.glob(pattern)) if pattern else set[Path]()
    with place.start("pipeline", *stage.command(place, number)) as process:
        if pattern:
            wait_for(process, lambda: bool(set(place.folder.glob(pattern)) - dead))
        else:
            time.sleep(float(when) * 1.2 * whole)  # the last of them after its end
        ended = process.poll() is not None
        kill(process)
    if ended:
        return "after its end"
    if any(path.name.startswith(".") and path.is_dir() for path in hidden(place, process.pid)):
        return "while something was hidden"
    return "before anything was written" if visible(place) == before else "between two folders"


def hidden(place: Place, process: int) -> list[Path]:
    """What a process had under hidden names."""
    return list(place.folder.rglob(f".*.writing-{process}"))


def visible(place: Place) -> list[tuple[str, int]]:
    """Every manifest that a reader can see, and which one it is."""
    paths = [path for path in place.folder.rglob("manifest.json") if ".writing-" not in str(path)]
    return sorted((str(path), path.stat().st_ino) for path in paths)


def kill_again_and_again(name: str, place: Place, moments: Sequence[float | str], tokenizer: Path) -> Counter[str]:
    """Kill a stage at each of the moments, and judge what is there after each of them, and at the end."""
    stage, found = STAGES[name], Counter[str]()
    shutil.copytree(tokenizer, place.folder / "tokenizer")
    known: list[Any] = []
    whole = 0.0
    for number in range(2):  # as they are when nobody is killed
        stage.prepare(place)
        began = time.monotonic()
        place.run("pipeline", *stage.command(place, number))
        whole = time.monotonic() - began
        known.append(stage.reads(place))
    assert (known[0] == known[1]) == (name == "build")
    seen = known[1]
    for at, when in enumerate(moments):
        stage.prepare(place)
        found[attempt(place, stage, at + 2 if name in OF_RAW else at, when, whole)] += 1
        assert place.faults() == []
        now = stage.reads(place)
        if name != "pools":
            assert now in (seen, known[at % 2])  # the old one or the new one
            found["new" if now != seen else "old"] += now != seen or known[0] != known[1]
        seen = now
    stage.prepare(place)
    last = len(moments) % 2
    place.run("pipeline", *stage.command(place, last))
    assert stage.reads(place) == known[last]
    assert (place.left(), place.faults()) == ([], [])
    return found


@pytest.mark.parametrize("name", STAGES)
def test_a_killed_command_leaves_the_old_or_the_new_and_the_next_one_makes_good(
    name: str, place: Place, tiny_tokenizer: Path
) -> None:
    critical = STAGES[name].moments
    moments = [0.4, *critical, 0.8, *critical][: 5 if name in ("build", "remix") else 4]
    found = kill_again_and_again(name, place, moments, tiny_tokenizer)
    assert found["while something was hidden"] >= 1


@pytest.mark.torture
@pytest.mark.parametrize(("name", "count"), [("pools", 100), ("build", 120), ("remix", 120), ("tokenize", 120)])
def test_kills_at_every_moment(name: str, count: int, place: Place, tiny_tokenizer: Path) -> None:
    stage = STAGES[name]
    spread = [moment(11, at, count // 2) for at in range(count // 2)]
    critical = [stage.moments[at % len(stage.moments)] for at in range(count - len(spread))]
    moments = [one for pair in zip(spread, critical, strict=True) for one in pair]
    found = kill_again_and_again(name, place, moments, tiny_tokenizer)
    print(f"{name}: {count} kills: " + ", ".join(f"{n} {what}" for what, n in sorted(found.items())))
