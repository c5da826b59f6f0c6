"""Names and paths from settings, data and manifests lead nowhere else, and nothing without an end is read."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.errors import ConfigError, SourceError, StoreError
from pipeline.manifest import open_bundle
from pipeline.names import LONGEST, file_part, name_fault
from pipeline.pool import open_pool
from pipeline.sources.files import find_files
from pipeline.store import damaged_file, read_manifest, replace_text
from tests.hostile.attacks import SHAPE, alarm, build_of, write_rows
from tests.pipeline.sources.test_hub import Fetcher, Hub

LONG = "x" * 300
BAD_NAMES = [
    *("..", ".", "../evil", "a/../../evil", "/evil", "a\\b", "", " ", "a\0b", "a\nb", "a\x1b[31mb", "a\x9bb"),
    *("CON", "nul", "com1", "LPT9.txt", "a.", "a ", " a", "-rf", ".hidden", LONG, "数" * 100, "a\u202eb", "\ud800"),
]
GOOD_NAMES = ["math_heavy", "Qwen3-0.6B", "数学", "a b", "x" * LONGEST, "e\u0301", "console", "com10"]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, two below the test's own, with a file of rows."""
    folder = tmp_path / "above" / "work"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    write_rows(folder / "rows.jsonl")
    return folder


@pytest.fixture
def bundle(work: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(PROGRAM, build_of("rows.jsonl", "template=none", "out=bundle")) == 0
    capsys.readouterr()
    return work / "bundle"


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said of a command that ends with status 2."""
    assert main(PROGRAM, list(arguments)) == 2
    said = capsys.readouterr().err
    assert "  fix: " in said
    return said


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_no_folder_can_have_everywhere_is_told(name: str) -> None:
    assert name_fault(name)


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_good_name_is_a_folder(name: str, tmp_path: Path) -> None:
    assert name_fault(name) is None
    (tmp_path / f".{name}-12345678-{'m' * 96}-20260101-120000.writing-1234567").mkdir()


@pytest.mark.parametrize("text", [*BAD_NAMES, *GOOD_NAMES])
def test_any_text_becomes_part_of_a_name_in_its_folder(text: str, tmp_path: Path) -> None:
    made = tmp_path / f"eval-{file_part(text.replace(chr(0xD800), '?'))}-1"
    made.mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [made.name]


@pytest.mark.parametrize("name", [name for name in BAD_NAMES if name not in ("", " ", "\ud800")])
def test_a_mix_with_a_bad_name_is_refused_and_writes_nothing(
    name: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "conf" / "mix").mkdir(parents=True)
    (work / "conf" / "mix" / "evil.yaml").write_text(yaml.safe_dump({"name": name, "strategy": "resample"}))
    source = f"+sources.mine={{path: rows.jsonl, {SHAPE}}}"
    said = refused(capsys, "build", "--config-dir", "conf", "mix=evil", source, "+mix.weights.mine=1")
    assert "mix.name" in said
    assert sorted(path.name for path in work.iterdir()) == ["conf", "rows.jsonl"]
    assert [path.name for path in work.parent.iterdir()] == ["work"]


@pytest.mark.parametrize("name", ["../evil", "a/b", LONG, "CON"])
def test_a_source_or_evaluation_set_with_a_bad_name_is_refused(
    name: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "conf" / "mix").mkdir(parents=True)
    source = {"path": "rows.jsonl", "shape": "columns", "columns": {"user": "q", "assistant": "a"}}
    mix = {"sources": {name: source}, "mix": {"name": "own", "strategy": "resample", "weights": {name: 1}}}
    text = "# @package _global_\n" + yaml.safe_dump(mix)
    (work / "conf" / "mix" / "own.yaml").write_text(text)
    assert "source" in refused(capsys, "build", "--config-dir", "conf", "mix=own")
    against = f"decontaminate.against=[{{name: '{name}', path: rows.jsonl}}]"
    assert "decontaminate.against" in refused(capsys, *build_of("rows.jsonl", against))
    assert sorted(path.name for path in work.iterdir()) == ["conf", "rows.jsonl"]


@pytest.mark.parametrize(
    "setting", ["out={}", "paths.pools={}", "paths.bundles={}", "sources.mine.path={}", "split.validation_from={}"]
)
@pytest.mark.parametrize("path", [f"a/{LONG}/b", "a\x1b[2J\nb"])
def test_a_path_that_cannot_be_is_refused(
    setting: str, path: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, *build_of("rows.jsonl", setting.format(path)))
    assert "\x1b" not in said
    assert [place.name for place in work.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize(
    "command",
    [["show", "bundle={}"], ["show", "pool={}"], ["verify", "bundle={}"], ["build", "mix={}"], ["sniff", "path={}"]],
)
def test_a_name_longer_than_any_file_has_is_a_mistake_and_no_bug(
    command: list[str], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(capsys, *(part.format(LONG) for part in command))


@pytest.mark.parametrize("out", [".", "..", "../work", "/"])
def test_the_working_folder_is_not_exchanged_with_a_bundle(
    out: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "the folder you work in" in refused(capsys, *build_of("rows.jsonl", f"out={out}"))
    assert work.samefile(".")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path may have 108 bytes
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


ENDLESS: dict[str, Callable[[Path], None]] = {
    "pipe": _pipe,
    "socket": _socket,
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "random": lambda path: path.symlink_to("/dev/random"),
    "stdin": lambda path: path.symlink_to("/dev/stdin"),
    "environment": lambda path: path.symlink_to("/proc/self/environ"),
    "memory": lambda path: path.symlink_to("/proc/self/mem"),
    "gone": lambda path: path.symlink_to("nowhere"),
    "circle": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_only_regular_files_are_read(kind: str, tmp_path: Path) -> None:
    ENDLESS[kind](tmp_path / "a.jsonl")
    with alarm(20):
        for path in (tmp_path / "a.jsonl", tmp_path / "*.jsonl", tmp_path):
            with pytest.raises(SourceError):
                find_files("mine", str(path))
    write_rows(tmp_path / "b.jsonl")
    assert [file.name for file in find_files("mine", str(tmp_path))] == ["b.jsonl"]


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/stdin", "/proc/self/environ", "/proc/self/mem"])
def test_devices_are_refused_with_a_format_too(path: str) -> None:
    with pytest.raises(SourceError, match="no regular file"):
        find_files("mine", path, "json")


@pytest.mark.parametrize(
    "address", ["hf://datasets/a/b@main/x.jsonl?token=secretive", "https://h/x.jsonl", "file:///x"]
)
def test_an_address_is_no_path(address: str) -> None:
    with pytest.raises(SourceError, match=r"sources\.mine\.hub="):
        find_files("mine", address)


def test_a_link_to_a_file_is_that_file_wherever_it_lies(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "data").mkdir()
    write_rows(tmp_path / "cache" / "0123abcd")
    (tmp_path / "data" / "a.jsonl").symlink_to("../cache/0123abcd")
    [found] = find_files("mine", str(tmp_path / "data"))
    assert (found.name, found.digest()[0]) == ("a.jsonl", (tmp_path / "cache" / "0123abcd").stat().st_size)


@pytest.mark.parametrize("kind", ["pipe", "zero", "socket"])
def test_settings_and_manifests_are_regular_files_too(kind: str, work: Path, bundle: Path) -> None:
    ENDLESS[kind](work / "t.jinja")
    ENDLESS[kind](work / "tokenizer.json")
    shutil.copytree(bundle, work / "other")
    (work / "other" / "manifest.json").unlink()
    ENDLESS[kind](work / "other" / "manifest.json")
    (work / "conf" / "mix").mkdir(parents=True)
    ENDLESS[kind](work / "conf" / "mix" / "mine.yaml")
    with alarm(60):
        for more in (
            ["template.path=t.jinja"],
            ["tokenizer=tokenizer.json"],
            ["tokenizer=."],
            ["--config-dir", "conf"],
        ):
            assert main(PROGRAM, build_of("rows.jsonl", *more)) == 2
        assert main(PROGRAM, ["show", "bundle=other"]) == 2
        assert read_manifest(work / "other", "poolmix bundle 1") is None


OUTSIDE = ["../evil", "/etc/passwd", "..", ".", "", "a/../../b", "a\0b", None, 7]


def test_a_bundle_whose_manifest_leads_out_of_it_is_none(bundle: Path) -> None:
    path = bundle / "manifest.json"
    whole = path.read_text()
    for name in OUTSIDE:
        key = name if isinstance(name, str) else "a/b"
        for change in (
            {"name": name},
            {"sources": {key: {}}},
            {"sources": {"mine": {"pool": name}}},
            {"tokens": {"key": name}},
            {"files": {key if name == key != "." else "../a": {"bytes": 0, "xxh3_128": ""}}},
        ):
            path.write_text(json.dumps(json.loads(whole) | change))
            with pytest.raises(StoreError, match="not as poolmix wrote it"):
                open_bundle(str(bundle), bundle.parent)
    path.write_text(whole)
    assert open_bundle(str(bundle), bundle.parent).manifest["name"] == "bundle"


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "", ".."])
def test_what_is_read_for_a_digest_lies_in_the_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("x")
    (tmp_path / "folder").mkdir()
    assert damaged_file(tmp_path / "folder", {name: {"bytes": 1, "xxh3_128": ""}}) == f"{name} is no file of its folder"


def test_a_pointer_to_a_pool_names_a_folder_beside_it(work: Path, bundle: Path) -> None:
    pointer = work / "data_pools" / "pools" / "mine" / "latest"
    for text in ("../../../bundle", "/etc", "..", "a/b", "\0", ""):
        pointer.write_text(text + "\n")
        with pytest.raises(StoreError, match="not as poolmix wrote it"):
            open_pool("mine", work / "data_pools" / "pools")
    assert main(PROGRAM, build_of("rows.jsonl", "template=none", "out=bundle")) == 0, "a build points it anew"


@pytest.mark.parametrize("short", ["../evil", "/etc", "..", "", None])
def test_a_run_whose_manifest_leads_out_of_it_is_none(short: object, tmp_path: Path) -> None:
    from train.run import open_run

    (tmp_path / "manifest.json").write_text(json.dumps({"format": "poolmix run 1", "model": {"short": short}}))
    with pytest.raises(StoreError, match="not as poolmix wrote it"):
        open_run(str(tmp_path), tmp_path)


@pytest.mark.parametrize("last", ["..", "a\nb", "x" * 97, "-v"])
def test_a_model_s_folder_has_a_name_that_adapters_can_have(last: str, tmp_path: Path) -> None:
    from train.models import read_model

    node = {"name": "m", "id": "a/b", "revision": "main", "template": "t", "lora_targets": ["q"], "licence": "l"}
    errors: list[Exception] = []
    read_model({"model": {**node, "path": str(tmp_path / last)}}, errors)
    assert [type(error) for error in errors] == ([] if last == ".." else [ConfigError])


def test_what_is_written_goes_through_no_link_that_was_planted(work: Path, bundle: Path) -> None:
    canary = work / "canary"
    canary.write_text("untouched")
    bundles, locks = work / "data_pools" / "bundles", work / "data_pools" / "pools" / ".locks"
    build = build_of("rows.jsonl", "template=none")
    (bundles / "latest").unlink()
    (bundles / "latest").symlink_to(canary)
    (bundles / f".latest.writing-{os.getpid()}").symlink_to(canary)
    assert main(PROGRAM, build) == 0
    assert not (bundles / "latest").is_symlink()
    for lock in list(locks.iterdir()):
        lock.unlink()
        lock.symlink_to(canary)
    assert main(PROGRAM, build) == 2
    assert canary.read_text() == "untouched"


def test_an_out_that_is_a_link_is_refused_and_where_it_leads_nothing_changes(work: Path, bundle: Path) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir() if path.is_file()}
    (work / "link").symlink_to("bundle")
    assert main(PROGRAM, build_of("rows.jsonl", "template=none", "seed=7", "out=link")) == 2
    assert {path.name: path.read_bytes() for path in bundle.iterdir() if path.is_file()} == before
    assert (work / "link").is_symlink()
    assert sorted(path.name for path in work.iterdir()) == ["bundle", "data_pools", "link", "rows.jsonl"]
    (work / "nowhere").symlink_to("/nonexistent/place")
    assert main(PROGRAM, build_of("rows.jsonl", "template=none", "out=nowhere")) == 2


def test_a_text_file_replaces_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "canary").write_text("untouched")
    (tmp_path / "latest").symlink_to("canary")
    (tmp_path / f".latest.writing-{os.getpid()}").symlink_to("canary")
    replace_text(tmp_path / "latest", "new")
    assert (tmp_path / "canary").read_text() == "untouched"
    assert (tmp_path / "latest").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canary", "latest"]


def test_a_data_set_that_lists_files_outside_of_it_is_refused(tmp_path: Path) -> None:
    hub = Hub()
    fetch = Fetcher(tmp_path / "home", hub.url)
    try:
        for at, name in enumerate(("../evil.jsonl", "/evil.jsonl", "data/../../evil.jsonl")):
            hub.publish(f"lab/evil-{at}", {name: b'{"q": 1}\n', "good.jsonl": b'{"q": 1}\n'})
            assert "leads out of its folder" in fetch(f"lab/evil-{at}", "main", name)["error"]
    finally:
        fetch.close()
        hub.server.shutdown()
        hub.server.server_close()
    assert not list(tmp_path.rglob("evil*"))
