"""Files of pools and bundles that are changed, cut, gone, swapped or added: named by `verify`, never used."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.errors import StoreError
from pipeline.folder import DATA, file_digest, is_sealed, sealed
from pipeline.manifest import open_bundle
from pipeline.store import scan_pool
from pipeline.verify.checks import verify
from pipeline.verify.pools import verify_pools
from tests.pipeline import conftest as of_pipeline

tiny_tokenizer = of_pipeline.tiny_tokenizer
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path) -> tuple[Path, list[str]]:
    """A folder with `pools` and `bundle` (texts, ids, near copies, overlaps, sequences), and what builds them."""
    folder = tmp_path_factory.mktemp("damage")
    rows = [{"instruction": f"What is {k} plus {k}?", "input": "", "output": f"It is {2 * k}."} for k in range(120)]
    rows += [{"instruction": "broken"}, {"instruction": f"What is {1} plus {1}?", "input": "", "output": "It is 3."}]
    for name, own in (("one", rows[:70]), ("two", rows[60:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))
    test = folder / "test.jsonl"
    test.write_text(json.dumps({"question": "What is 5 plus 5?"}) + "\n")
    sources = [f"+sources.{name}={{path: {folder / name}.jsonl, shape: alpaca, tags: [x]}}" for name in ("one", "two")]
    command = ["build", "mix=custom", *sources, "+mix.weights.one=1", "+mix.weights.two=2", "dedup=near"]
    command += [
        "dedup.on_conflict=first",
        f"tokenizer={tiny_tokenizer}",
        f"decontaminate.against=[{test}]",
    ]
    command += [f"paths.pools={folder / 'pools'}", f"paths.bundles={folder / 'b'}", f"out={folder / 'bundle'}"]
    assert main(PROGRAM, command) == 0
    return folder, command


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and ".locks" not in path.parts)


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << (place % 7)
    path.write_bytes(data)


def damages(path: Path, original: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """Everything that is done to a copy of a file; each ends with other bytes there, or none, or not in its place."""
    size = path.stat().st_size

    def swap_for(other: bytes) -> Callable[[], None]:
        return lambda: (path.unlink(), path.write_bytes(other))[0]  # type: ignore[func-returns-value]

    def folder_instead() -> None:
        path.unlink()
        path.mkdir()

    def link_instead() -> None:
        path.unlink()
        path.symlink_to(original)

    for place in sorted({0, size // 3, size // 2, size - 1}) if size else []:
        yield f"flip {place}", lambda place=place: flip(path, place)
    if size:
        yield "cut", lambda: os.truncate(path, size // 2)
        yield "empty", lambda: os.truncate(path, 0)
        yield "swap", swap_for(b"x" * size)
    yield "delete", path.unlink
    yield "longer", lambda: path.write_bytes(path.read_bytes() + b"\n")
    yield "folder", folder_instead
    yield "link", link_instead


def each_damage(original: Path, copy: Path) -> Iterator[str]:
    """Do each of them, one after another: what was done before is taken back."""
    for what, do in damages(copy, original):
        do()
        yield what
        if copy.is_dir():
            copy.rmdir()
        copy.unlink(missing_ok=True)
        shutil.copy(original, copy)


def found_in(bundle: Path) -> str:
    """What is wrong with a bundle, up to the first promise that does not hold."""
    try:
        checks = verify(open_bundle(str(bundle), bundle.parent))
        return "\n".join(next((check.faults for check in checks if check.faults), []))
    except StoreError as error:
        return str(error)


def test_every_damage_of_a_bundle_is_named(
    built: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = built
    names = [path.relative_to(folder / "bundle") for path in files(folder / "bundle")]
    assert {"tokens", "near.json", "duplicates.jsonl", "manifest.json"} <= {name.parts[0] for name in names}
    copy, done = Path(shutil.copytree(folder / "bundle", tmp_path / "copy")), 0
    for name in names:
        for what in each_damage(folder / "bundle" / name, copy / name):
            if name.as_posix() != "manifest.json":
                assert name.as_posix() in found_in(copy), f"{name}: {what}"
            if name.as_posix() in ("manifest.json", "val.jsonl") and what in ("cut", "delete", "link"):  # all of it
                status = main(PROGRAM, ["verify", f"bundle={copy}"])
                said = capsys.readouterr()
                assert (status, said.err) == (3, ""), f"{name}: {what}"
                assert name.as_posix() in said.out, f"{name}: {what}\n{said.out}"
            done += 1
    assert done > 100
    assert not found_in(copy)


def faults(pools: Path) -> dict[str, list[str]]:
    return {check.name: check.faults for check in verify_pools(pools) if check.faults}


def test_every_damage_of_a_pool_is_named(built: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, _ = built
    assert faults(folder / "pools") == {}
    names = [path.relative_to(folder / "pools") for path in files(folder / "pools" / "one")]
    assert {"texts", "ids", "overlaps", "near"} <= {name.parts[2] for name in names if len(name.parts) > 2}
    copy = Path(shutil.copytree(folder / "pools", tmp_path / "copy"))
    for name in names:
        for what in each_damage(folder / "pools" / name, copy / name):
            if name.name == "latest" and what in ("longer", "link"):
                continue  # a line break more; a pointer is read, wherever it lies
            found = " ".join(line for own in faults(copy).values() for line in own)
            assert name.name in found, f"{name}: {what}"
        assert faults(copy) == {}


def test_files_of_other_folders_and_files_too_many_are_named(built: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, _ = built
    copy = Path(shutil.copytree(folder / "pools", tmp_path / "pools"))
    one, two = (next(path for path in (copy / name).iterdir() if path.is_dir()) for name in ("one", "two"))
    for name in (DATA, "lines.arrow", "manifest.json"):
        saved = (one / name).read_bytes()
        shutil.copy(two / name, one / name)
        assert any("other" in line or "bytes" in line for own in faults(copy).values() for line in own), name
        (one / name).write_bytes(saved)
    assert faults(copy) == {}
    (one / "more.txt").write_text("")
    os.mkfifo(one / "pipe")
    (one / "gone").symlink_to(tmp_path / "nowhere")
    (found,) = faults(copy).values()
    assert found == ["gone is a link", "more.txt is not in the manifest", "pipe is no plain file"]


@pytest.mark.parametrize(
    "kind", ["", "ids", *(pytest.param(kind, marks=pytest.mark.torture) for kind in ("texts", "overlaps", "near"))]
)
def test_a_build_makes_again_what_is_damaged_and_says_so(
    built: tuple[Path, list[str]], kind: str, tmp_path: Path
) -> None:
    folder, command = built
    copy = Path(shutil.copytree(folder, tmp_path / "copy", symlinks=True))
    again = [word.replace(str(folder / "pools"), str(copy / "pools")) for word in command]
    again[-1] = f"out={copy / 'bundle'}"
    one = next(path for path in (copy / "pools" / "one").iterdir() if path.is_dir())
    damaged = one if not kind else next((one / kind).iterdir())
    flip(damaged / DATA, (damaged / DATA).stat().st_size // 2)
    done = run(*again)
    assert done.returncode == 0, done.stderr
    name = "pool one" if not kind else damaged.relative_to(copy / "pools").as_posix()
    said = f"warning: {name} was damaged ({DATA} has other bytes than when it was written): made again"
    assert [line for line in done.stderr.splitlines() if "damaged" in line] == [said]
    assert faults(copy / "pools") == {}
    manifests = [json.loads((place / "bundle" / "manifest.json").read_text()) for place in (folder, copy)]
    assert manifests[0]["digest"] == manifests[1]["digest"]
    assert "damaged" not in run(*again).stderr


def run(*argv: str, seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "POLARS_MAX_THREADS": "2"}
    command = [sys.executable, "-m", "pipeline", *argv]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=seconds)


def test_readers_say_what_is_damaged(
    built: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bytes changed in many places of a mapped table would end the process, if it were read."""
    folder, _ = built
    copy = Path(shutil.copytree(folder, tmp_path / "copy", symlinks=True))
    one = next(path for path in (copy / "pools" / "one").iterdir() if path.is_dir())
    paths = [f"paths.pools={copy / 'pools'}", f"paths.bundles={copy / 'b'}"]
    bundle = f"bundle={copy / 'bundle'}"
    tokens = next((copy / "bundle" / "tokens").iterdir()) / "train" / DATA
    readers = {
        copy / "bundle" / "train" / DATA: [
            ["show", bundle],
            ["show", bundle, "id=one:0"],
            ["stats", bundle],
            ["diff", f"a={copy / 'bundle'}", f"b={folder / 'bundle'}"],
        ],
        copy / "bundle" / "quarantine.jsonl": [["show", bundle, "quarantine=true"]],
        copy / "bundle" / "manifest.json": [["show", bundle], ["stats", bundle]],
        tokens: [["show", bundle, "packed=true"]],
        one / DATA: [["show", "pool=one"], ["stats", "pool=one"]],
        one / "manifest.json": [["show", "pool=one"]],
    }
    for path, commands in readers.items():
        saved, rng = path.read_bytes(), random.Random(path.name)
        for data in (saved[: len(saved) // 2], bytes(b ^ (rng.random() < 0.2) * rng.randrange(256) for b in saved)):
            path.write_bytes(data)
            for argv in commands:
                status = main(PROGRAM, [*argv, *(paths if argv[0] != "diff" else paths[1:])])
                said = capsys.readouterr().err
                assert status == 2, f"{argv}: {said}"
                assert path.name in said or "no pool" in said, f"{argv}: {said}"
                assert "\n  fix: " in said
        path.write_bytes(saved)
    flip(one / DATA, 5000)
    with pytest.raises(Exception, match=f"{DATA} has other bytes"):
        scan_pool("one", copy / "pools")


@pytest.mark.parametrize("data", [b"\xff\xfe", b"\0", b"../..", b"a/b", b"", b"x" * 5000])
def test_a_damaged_pointer_is_no_traceback(
    built: tuple[Path, list[str]], tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = built
    copy = Path(shutil.copytree(folder / "pools", tmp_path / "pools"))
    (copy / "one" / "latest").write_bytes(data)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "latest").write_bytes(data)
    paths = [f"paths.pools={copy}", f"paths.bundles={tmp_path / 'b'}"]
    assert main(PROGRAM, ["show", "pool=one", *paths]) == 2
    assert main(PROGRAM, ["show", "bundle=latest", *paths]) == 2
    assert main(PROGRAM, ["verify", "pools=true", *paths]) == 3
    assert "latest" in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_in_place_of_a_pointer_is_not_waited_for(built: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, _ = built
    copy = Path(shutil.copytree(folder / "pools", tmp_path / "pools"))
    (copy / "one" / "latest").unlink()
    os.mkfifo(copy / "one" / "latest")
    for argv, status in ((["pools"], 0), (["pools", "prune=true"], 0), (["verify", "pools=true"], 3)):
        done = run(*argv, f"paths.pools={copy}", seconds=60)
        assert (done.returncode, done.stderr) == (status, "")
    assert "latest names no pool of this source" in done.stdout


@pytest.mark.parametrize("data", ['{"format":"poolmix bundle 1","name":"x"}', '{"format":"poolmix bundle 1"}'])
def test_every_reader_says_what_a_manifest_lacks(
    built: tuple[Path, list[str]], tmp_path: Path, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = built
    copy = Path(shutil.copytree(folder / "bundle", tmp_path / "copy"))
    (copy / "manifest.json").write_text(data)
    for argv in readers(copy, folder / "bundle"):
        assert main(PROGRAM, argv) == 2, argv
        where, fix = capsys.readouterr().err.splitlines()
        assert "manifest.json" in where
        assert fix.startswith("  fix: ")
    assert main(PROGRAM, ["verify", f"bundle={copy}"]) == 3
    assert "manifest.json" in capsys.readouterr().out


def readers(bundle: Path, other: Path) -> list[list[str]]:
    """The commands that read a bundle; `other` is a whole one."""
    asked = [[], ["id=one:0"], ["quarantine=true"]]
    shown = [["show", f"bundle={bundle}", *more] for more in asked]
    return [*shown, ["stats", f"bundle={bundle}"], ["diff", f"a={bundle}", f"b={other}"]]


def test_every_byte_of_a_manifest_is_sealed(tmp_path: Path) -> None:
    text = sealed({"format": "x 1", "files": {"a": {"bytes": 1, "xxh3_128": "0"}}}).encode()
    assert is_sealed(text)
    for place in range(len(text)):
        for bit in range(8):
            assert not is_sealed(text[:place] + bytes([text[place] ^ 1 << bit]) + text[place + 1 :]), place
    assert sealed(json.loads(text)).encode() == text


# What a forger writes for a value, the digests made to fit.
STRANGE: list[Any] = [None, True, -1, 0, 1e308, "", "../../etc/passwd", [], {}, [[]], {"a": None}, 2**70]


def changed(value: Any, rng: random.Random) -> Any:
    """The manifest with one of its values or keys, anywhere, made another."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        kind = rng.random()
        if kind < 0.1:
            return {name: own for name, own in value.items() if name != key}
        if kind < 0.15:
            return {(name if name != key else f"{key}x"): own for name, own in value.items()}
        return value | {key: changed(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return [*value[:at], changed(value[at], rng), *value[at + 1 :]]
    return rng.choice(STRANGE)


def forge(built: tuple[Path, list[str]], tmp_path: Path, tries: int, asked: int) -> None:
    """`verify` looks at each forged manifest, every command at one in `asked` of them."""
    folder, _ = built
    copy = Path(shutil.copytree(folder, tmp_path / "copy", symlinks=True))
    tokens = next((copy / "bundle" / "tokens").iterdir())
    one = next(path for path in (copy / "pools" / "one").iterdir() if path.is_dir())
    kept = next((one / "texts").iterdir())

    def of_pools() -> object:
        return faults(copy / "pools")

    def of_bundle() -> object:
        return found_in(copy / "bundle")

    of = readers(copy / "bundle", folder / "bundle")
    commands = {copy / "bundle": of, one: [["pools", f"paths.pools={copy / 'pools'}"]]}
    for place, looked in ((copy / "bundle", of_bundle), (tokens, of_bundle), (one, of_pools), (kept, of_pools)):
        path = place / "manifest.json"
        saved = path.read_text(encoding="utf-8")
        for number in range(tries):
            forged = changed(json.loads(saved), random.Random(number))
            path.write_text(sealed(forged) if isinstance(forged, dict) else json.dumps(forged), encoding="utf-8")
            looked()
            for argv in commands.get(place, []) if number % asked == 0 else []:
                assert main(PROGRAM, argv) in (0, 2, 3), (number, argv)
        path.write_text("[" * 100_000, encoding="utf-8")
        assert looked()
        path.write_text(saved, encoding="utf-8")
        assert not looked()


def test_a_forged_manifest_is_no_traceback(built: tuple[Path, list[str]], tmp_path: Path) -> None:
    forge(built, tmp_path, 25, asked=10)


@pytest.mark.fuzz
def test_no_forged_manifest_is_a_traceback(built: tuple[Path, list[str]], tmp_path: Path) -> None:
    forge(built, tmp_path, 3000, asked=20)


def test_digests_are_of_what_is_read(tmp_path: Path) -> None:
    import xxhash

    for size in (0, 1, 1 << 20, (1 << 20) + 1):
        (tmp_path / "x").write_bytes(os.urandom(size))
        assert file_digest(tmp_path / "x") == xxhash.xxh3_128_hexdigest((tmp_path / "x").read_bytes())
