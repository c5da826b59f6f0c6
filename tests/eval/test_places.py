"""Where results go: nothing else is replaced, what cannot be written is said, and what is damaged is not read."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("trl")

from eval.__main__ import PROGRAM
from eval.generations import Generations, kept_generations
from pipeline.cli.front import main
from train.generate import Reply

Trained = Callable[[str, int], Path]
Evaluate = Callable[..., int]
SHORT = ("eval.metrics=[usability]", "eval.max_new_tokens=4", "limit=2")


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], evaluate: Evaluate) -> Callable[..., str]:
    """refused("run", …) → the two lines with which a verb is refused."""

    def run(verb: str, *overrides: str) -> str:
        capsys.readouterr()
        assert evaluate(verb, *overrides) == 2
        said = capsys.readouterr().err
        assert len(said.splitlines()) == 2, said
        assert "\n  fix: " in said
        return said

    return run


@pytest.fixture(scope="module")
def evaluation(trained: Trained, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluation."""
    out = tmp_path_factory.mktemp("places") / "result"
    paths = [f"paths.pools={bundle.parent / 'pools'}", f"paths.runs={out.parent}"]
    assert main(PROGRAM, ["run", f"run={trained('llama', 1)}", *paths, *SHORT, f"out={out}"]) == 0
    return out


@pytest.fixture
def result(evaluation: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(evaluation, tmp_path / "result"))


def test_a_result_replaces_an_earlier_one_and_nothing_else(
    refused: Callable[..., str], evaluate: Evaluate, trained: Trained, result: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    verbs = [("run", f"run={trained('llama', 1)}", *SHORT), ("compare", f"a={result}", f"b={result}")]
    for name in ("thesis.txt", "metrics.json", "manifest.json"):  # those of other programs, too
        (own / name).write_text('{"acc": 0.9}')
        for verb in verbs:
            assert "something else than an evaluation" in refused(*verb, f"out={own}")
            assert (own / name).read_text() == '{"acc": 0.9}'
    (tmp_path / "link").symlink_to(own)
    (tmp_path / "empty").mkdir()
    for verb in verbs:
        assert "is a link" in refused(*verb, f"out={tmp_path / 'link'}")
        assert evaluate(*verb, f"out={tmp_path / 'empty'}") == 0


def test_a_place_that_cannot_be_is_said(
    refused: Callable[..., str], trained: Trained, result: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    run, arms = (f"run={trained('llama', 1)}", *SHORT), (f"a={result}", f"b={result}")
    for verb in (("run", *run), ("compare", *arms), ("ab", "a=math_heavy", "b=chat_heavy")):
        assert "is not a folder" in refused(*verb, f"out={tmp_path / 'file' / 'x'}")
        assert "the folder you work in" in refused(*verb, "out=.")


def test_a_file_that_may_not_grow_is_said(
    refused: Callable[..., str], trained: Trained, result: Path, tmp_path: Path, bundle: Path
) -> None:
    shutil.rmtree(bundle.parent / "pools" / "generations")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size, where in ((100, "generations"), (2000, "again")):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            said = refused("run", f"run={trained('llama', 1)}", *SHORT, f"out={tmp_path / 'again'}")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert where in said.partition(": cannot be written (File too large)")[0]
        assert not (tmp_path / "again").exists()
        assert not list(tmp_path.glob(".again*"))


@pytest.mark.parametrize("name", ["scores.parquet", "rows.parquet", "generations.jsonl"])
def test_a_damaged_result_is_not_compared(refused: Callable[..., str], result: Path, name: str) -> None:
    data = (result / name).read_bytes()
    for damaged in (data[: len(data) // 2], None):
        (result / name).write_bytes(damaged) if damaged is not None else (result / name).unlink()
        said = refused("compare", f"a={result}", f"b={result}", f"out={result.parent / 'c'}")
        assert name in said
        assert "evaluate again" in said


@pytest.mark.parametrize("note", ["{", "[1]", "null", "[" * 99_999])
def test_a_damaged_note_of_an_experiment_is_said(refused: Callable[..., str], tmp_path: Path, note: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "experiment.json").write_text(note)
    assert "experiment" in refused("ab", "a=math_heavy", "b=chat_heavy", f"out={tmp_path / 'out'}")


def test_a_damaged_reply_is_asked_for_again(tmp_path: Path) -> None:
    prompts = [f"prompt {k}" for k in range(4)]
    made = [Reply(f"reply {k}", k, True) for k in range(4)]
    with kept_generations(tmp_path, "model", "how") as kept:
        list(kept.take(prompts, (one for one in enumerate(made))))
    (path,) = (tmp_path / "generations").iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(
        lines[0].replace(b'"text"', b'"text') + b"\xff\n[]\n" + lines[1].replace(b'"reply 1"', b"1") + lines[2]
    )
    assert Generations(path).of(prompts) == {2: made[2]}
