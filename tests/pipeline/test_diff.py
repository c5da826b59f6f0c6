from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.diff import Difference, diff, flat
from pipeline.manifest import open_bundle


def compare(a: list[str], b: list[str]) -> Difference:
    for name, overrides in (("a", a), ("b", b)):
        assert main(PROGRAM, ["build", f"out={name}", *overrides]) == 0
    return diff(*(open_bundle(name, Path("data_pools/bundles")) for name in ("a", "b")))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_bundle_does_not_differ_from_itself() -> None:
    found = compare([], [])
    assert found.config == {}
    assert found.same_order
    assert found.same_validation
    assert found.rows.select("only_a", "only_b", "repeats").sum().row(0) == (0, 0, 0)


def test_other_weights_differ_in_rows_and_repeats_only() -> None:
    found = compare(["mix=balanced"], ["mix=balanced", "mix.weights.cmath=2", "mix.weights.mawps=0"])
    assert found.config == {"mix.weights.cmath": (1, 2), "mix.weights.mawps": (1, 0)}
    assert found.same_validation
    assert not found.same_order
    mawps = next(row for row in found.rows.iter_rows(named=True) if row["source"] == "mawps")
    assert mawps["both"] == mawps["only_b"] == mawps["rows_b"] == 0
    cmath = next(row for row in found.rows.iter_rows(named=True) if row["source"] == "cmath")
    assert cmath["only_a"] == 0  # the larger quota contains the smaller one
    uses = found.examples.filter(source="cmath")
    assert (uses["b"] > uses["a"]).all()


def test_another_seed_gives_other_validation_rows() -> None:
    found = compare(["seed=1"], ["seed=2"])
    assert found.config == {"seed": (1, 2)}
    assert not found.same_validation
    assert found.validation_only_a == found.validation_only_b > 0


def test_the_verb_says_it_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    compare(["mix=math_heavy"], ["mix=chat_heavy"])
    capsys.readouterr()
    assert main(PROGRAM, ["diff", "a=a", "b=b"]) == 0
    out = capsys.readouterr().out
    assert "mix.weights.cmath" in out
    assert "validation: the same rows in the same order" in out
    assert main(PROGRAM, ["diff", "b=b"]) == 2
    assert main(PROGRAM, ["diff", "a=a", "b=nowhere"]) == 2


def test_nested_settings_get_their_full_names() -> None:
    assert flat({"mix": {"weights": {"a": 1}, "x": {}}, "seed": 2}) == {"mix.weights.a": 1, "mix.x": {}, "seed": 2}
