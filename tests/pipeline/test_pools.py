"""`pools`: what is listed, made and removed."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.errors import StoreError
from pipeline.pool import FORMAT, open_pool

ROWS = "shape: columns, columns: {user: q, assistant: a}"


def pools(capsys: pytest.CaptureFixture[str], *overrides: str) -> list[str]:
    """The lines printed; nothing may go wrong."""
    assert main(PROGRAM, ["pools", *overrides]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.jsonl").write_text('{"q": "1+1?", "a": "2"}\n{"q": "2+2?", "a": ""}\n{"q": "3+3?", "a": "6"}\n')
    return tmp_path


def make(capsys: pytest.CaptureFixture[str], tags: str = "[x]") -> list[str]:
    return pools(capsys, "make=true", "mix=custom", f"+sources.mine={{path: mine.jsonl, {ROWS}, tags: {tags}}}")


def test_no_pools_are_no_mistake(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pools(capsys) == ["no pools yet: make=true makes them", "data_pools/pools"]
    assert not list(work.glob("data_pools"))


def test_a_source_without_a_weight_becomes_a_pool(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = make(capsys)
    [line] = [line for line in lines if line.startswith("* mine/")]
    assert line.split()[2:5] == ["2", "3", "1"]  # rows, raw rows, quarantined
    assert line.endswith("mine.jsonl")
    assert lines[-1] == "data_pools/pools"
    assert not (work / "data_pools" / "bundles").exists()
    size = sum(path.stat().st_size for path in next(work.glob("data_pools/pools/mine/*/")).rglob("*"))
    assert line.split()[5] == f"{size:,}"


def test_every_mix_can_be_made_into_pools(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = pools(capsys, "make=true", "mix=natural", "paths.pools=there")
    made = [line.split()[1].partition("/")[0] for line in lines if line.startswith("* ")]
    assert made == ["alpaca", "cmath", "emoji", "mawps", "tools"]
    assert lines[-1] == "there"
    assert pools(capsys, "paths.pools=there")[-6:] == lines[-6:]


def test_prune_keeps_the_newest_pool_and_everything_that_is_no_pool(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(capsys, "[x]")
    make(capsys, "[y]")
    make(capsys, "[x]")  # found again, and so the newest
    folder = work / "data_pools" / "pools" / "mine"
    newest = (folder / "latest").read_text().strip()
    [old] = [place.name for place in folder.iterdir() if place.is_dir() and place.name != newest]
    stale = folder / f".{old}.writing-999999"
    stale.mkdir()
    (stale / "data").write_bytes(b"12345")
    other = work / "data_pools" / "pools" / "notes" / "mine"
    other.mkdir(parents=True)
    (other / "manifest.json").write_text("{}")
    size = sum(path.stat().st_size for path in (folder / old).iterdir())

    lines = pools(capsys, "prune=true")
    assert lines[:2] == [
        f"removed  mine/{stale.name}  5 bytes, half-written",
        f"removed  mine/{old}  {size:,} bytes",
    ]
    assert f"freed    {size + 5:,} bytes" in lines
    assert sorted(place.name for place in folder.iterdir()) == sorted(["latest", newest])
    assert (other / "manifest.json").is_file()
    assert pools(capsys, "prune=true")[0] == "freed    0 bytes"


def test_a_pool_whose_manifest_is_damaged_is_listed_as_damaged(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(capsys, "[y]")
    make(capsys)
    folder = work / "data_pools" / "pools" / "mine"
    newest = (folder / "latest").read_text().strip()
    [old] = [place.name for place in folder.iterdir() if place.is_dir() and place.name != newest]
    path = folder / newest / "manifest.json"
    saved = path.read_bytes()
    keys = (b"raw_rows", b"path", b"format")
    changed = [saved.replace(b'"%s"' % key, b'"%s!"' % key[:-1], 1) for key in keys]
    for data in (*changed, saved.replace(b'"rows": 2', b'"rows": 3'), saved[:100], None):
        assert data != saved
        path.unlink(missing_ok=True)
        if data is not None:
            path.write_bytes(data)
        lines = pools(capsys)
        assert lines[1].startswith(f"* mine/{newest}"), data
        assert "damaged" in lines[1], data
        assert "manifest.json" in lines[1], data
        assert lines[2].split()[:4] == [f"mine/{old}", "2", "3", "1"], data
    path.write_bytes(changed[0])
    lines = pools(capsys, "prune=true")
    assert lines[0].startswith(f"removed  mine/{old}")
    assert "damaged" in lines[-2]
    assert sorted(place.name for place in folder.iterdir()) == sorted(["latest", newest])


def test_prune_removes_only_what_says_it_is_a_pool(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(capsys)
    folder = work / "data_pools" / "pools" / "mine" / ("0" * 16)
    (folder / "texts" / "x").mkdir(parents=True)
    (folder / "manifest.json").write_text('{"format": "poolmix bundle 1"}')
    assert "damaged" in pools(capsys, "prune=true")[-2]
    (folder.parent / "latest").write_text(folder.name)
    pools(capsys, "prune=true")
    assert (folder / "texts" / "x").is_dir()


def test_prune_leaves_bundles_alone_where_the_wrong_folder_is_named(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for ratio in ("0.1", "0.2"):
        source = f"+sources.mine={{path: mine.jsonl, {ROWS}}}"
        assert main(PROGRAM, ["build", "mix=custom", source, "+mix.weights.mine=1", f"split.valid_ratio={ratio}"]) == 0
    before = sorted((work / "data_pools" / "bundles").rglob("*"))
    pools(capsys, "prune=true", "paths.pools=data_pools")
    assert sorted((work / "data_pools" / "bundles").rglob("*")) == before


def test_overrides_that_a_list_would_ignore_are_refused(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(PROGRAM, ["pools", "mix=natural", "seed=3"]) == 2
    error = capsys.readouterr().err
    assert error.count("add make=true") == 2


def test_names_from_outside_are_harmless_on_a_terminal(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "a\x1b[31m.jsonl"
    (work / "mine.jsonl").rename(work / name)
    (work / "folder").mkdir()
    (work / name).rename(work / "folder" / name)
    lines = pools(capsys, "make=true", "mix=custom", f"+sources.mine={{path: folder, {ROWS}}}")
    assert "\x1b" not in "".join(lines)
    assert lines[-2].endswith(r"a\x1b[31m.jsonl")


def test_a_pool_is_opened_by_name_or_fingerprint_and_keeps_no_paths(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(capsys, "[x]")
    make(capsys, "[y]")
    folder = work / "data_pools" / "pools"
    newest = open_pool("mine", folder)
    names = [place.name for place in (folder / "mine").iterdir() if place.is_dir()]
    opened = [open_pool(f"mine/{name}", folder) for name in names]
    assert len(opened) == 2
    assert newest in opened
    assert {tuple(pool.manifest["settings"]["tags"]) for pool in opened} == {("x",), ("y",)}
    for pool in opened:
        assert pool.manifest["format"] == FORMAT
        assert not {"path", "hub", "revision", "files", "licence", "card"} & set(pool.manifest["settings"])
    (folder / "mine" / names[0] / "manifest.json").write_text('{"format": "poolmix pool 0"}')
    with pytest.raises(StoreError, match="no pool of this version"):
        open_pool(f"mine/{names[0]}", folder)
    with pytest.raises(StoreError, match="did you mean mine"):
        open_pool("mien", folder)


def test_the_modules_of_the_verbs_import_nothing_slow() -> None:
    code = "import sys, pipeline.cli.pools, pipeline.cli.show, pipeline.cli.stats; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"polars", "pyarrow", "numpy", "hydra"} & set(done.stdout.split())


def test_prune_takes_texts_away_and_the_next_build_makes_them_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    places = [f"paths.pools={tmp_path / 'pools'}", f"paths.bundles={tmp_path / 'bundles'}"]
    assert main(PROGRAM, ["build", "mix=balanced", *places]) == 0
    (texts,) = (tmp_path / "pools" / "cmath").glob("*/texts/*/data-*.arrow")
    before = texts.read_bytes()
    assert main(PROGRAM, ["pools", "prune=true", places[0]]) == 0
    assert not texts.exists()
    assert main(PROGRAM, ["build", "mix=balanced", *places]) == 0
    assert texts.read_bytes() == before
