"""`build`: sources are found by their weight, shipped ones and own ones."""

import json
from pathlib import Path

import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/source").mkdir(parents=True)
    (tmp_path / "conf/source/gsm8k.yaml").write_text(
        "shape: columns\ntags: [math, en]\ncolumns: {user: question, assistant: answer}\npath: gsm8k.jsonl\n"
    )
    rows = [{"question": f"{n} + {n}?", "answer": str(n + n)} for n in range(20)]
    (tmp_path / "gsm8k.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "other.jsonl").write_text("\n".join(map(json.dumps, rows[:10])))
    return tmp_path


def built(capsys: pytest.CaptureFixture[str], *overrides: str) -> list[dict[str, int]]:
    """Source → raw rows, of each bundle."""
    assert main(PROGRAM, ["build", *overrides]) == 0
    lines = capsys.readouterr().out.splitlines()
    folders = [line for line in lines if line.startswith("data_pools/bundles/")]
    manifests = [json.loads((Path(folder) / "manifest.json").read_text("utf-8")) for folder in folders]
    return [{name: entry["raw_rows"] for name, entry in manifest["sources"].items()} for manifest in manifests]


def test_a_weight_adds_a_shipped_source(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert built(capsys, "mix=custom", "+mix.weights.tools=1") == [{"tools": 21}]
    [sources] = built(capsys, "mix=balanced", "+mix.weights.tools=1")
    assert sorted(sources) == ["alpaca", "cmath", "emoji", "mawps", "tools"]


def test_a_weight_adds_a_source_of_ones_own(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--config-dir", "conf", "mix=custom", "+mix.weights.gsm8k=1"]
    assert built(capsys, *own) == [{"gsm8k": 20}]
    assert built(capsys, *own, "sources.gsm8k.path=other.jsonl") == [{"gsm8k": 10}]
    assert built(capsys, "-m", *own, "sources.gsm8k.path=gsm8k.jsonl,other.jsonl") == [{"gsm8k": 20}, {"gsm8k": 10}]
