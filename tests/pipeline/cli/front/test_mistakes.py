"""Mistakes on the command line and in configuration files: two lines each, all at once, exit status 2."""

from pathlib import Path

import pytest


def mistakes(run, *arguments: str) -> list[str]:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) % 2 == 0, done.stderr
    assert all(line.startswith("  fix: ") for line in lines[1::2]), done.stderr
    assert "Traceback" not in done.stderr
    assert "HYDRA_FULL_ERROR" not in done.stderr
    return [f"{what} | {fix.removeprefix('  fix: ')}" for what, fix in zip(lines[::2], lines[1::2], strict=True)]


def test_every_mistake_is_reported_at_once_with_the_nearest_names(run) -> None:
    arguments = [
        "mixx=balanced",
        "splt.valid_ratio=0.1",
        "mix=math_hevy",
        "seed=3",
        "+seed=4",
        "~foo",
        "valid_ratio=1",
    ]
    found = mistakes(run, "build", *arguments)
    starts = [
        "mixx=balanced: ",
        "splt.valid_ratio=0.1: ",
        "mix=math_hevy: ",
        "+seed=4: ",
        "~foo: ",
        "valid_ratio=1: ",
    ]
    assert [start for start, text in zip(starts, found, strict=True) if text.startswith(start)] == starts
    assert "| mix=balanced, or +mixx=balanced" in found[0]
    assert "| split.valid_ratio=0.1, or" in found[1]
    assert "| mix=math_heavy" in found[2]
    assert "| seed=4" in found[3]
    assert "| split.valid_ratio=1, or" in found[5]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["biuld", "mix=x"], "did you mean build? | python -m toy build mix=x"),
        (["--cfg", "job"], "the verb comes first | python -m toy build --cfg …"),
        (["build", "--mix=math_heavy"], "| a setting has no dashes: mix=math_heavy"),
        (["build", "-m", "--cfg", "job"], "only one of these"),
        (["build", "--cfg", "jobs"], "allowed are job, hydra, all"),
        (["build", "--config-dir", "nowhere"], "'nowhere' is no folder"),
        (["build", "math_heavy"], "| write mix=math_heavy"),
        (["build", "=3"], "| write KEY=VALUE, without spaces"),
        (["build", "数=1"], "'数' is no key"),
        (["build", "mix=math_heavy,chat_heavy"], "| add -m to run one job for each"),
        (["build", "seed=range(1,3)"], "| add -m, or put the value in quotes"),
        (["build", "mix=null"], "no option 'null' in group mix; have: balanced"),
        (
            ["build", "source=cmath"],
            "the files of group source are named in mix.weights | +mix.weights.cmath=1",
        ),
        (["build", "mix@other=balanced"], "| mix=balanced, or +mix@other=balanced adds it"),
        (["build", "paths.pools.x=1"], "this verb has no setting 'paths.pools.x'; did you mean paths.pools"),
        (["build", "xyz=1"], "'xyz'; have: mix, name, out, paths, seed, split | +xyz=1 adds it"),
        (["check", "split=x"], "this verb has no setting 'split'; have: bundle, lost, run, same | leave it out"),
        (["check", "~split"], "this verb has no setting 'split'; have: bundle, lost, run, same | leave it out"),
        (["check", "mix=balanced"], "this verb has no setting 'mix'; have: bundle"),
        (["fail", "link@x=1"], "this verb has no setting 'link@x'; did you mean link"),
        (["check", "same=1", "source=cmath"], "this verb has no setting 'source'; have"),
        (["build", "out=${nowhere}"], "out: Interpolation key 'nowhere' not found | out=VALUE"),
        (
            ["build", "--cfg", "job", "--resolve", "out=${nowhere}"],
            "out: Interpolation key 'nowhere' not found",
        ),
        (["build", "-m", "seed=1,2", "sead=1,2"], "sead=1,2: this verb has no setting 'sead'; did you mean seed"),
        (
            ["build", "-m", "mix=balanced,math_hevy"],
            "no option 'math_hevy' in group mix; did you mean math_heavy",
        ),
        (["completion"], '| eval "$(python -m toy completion bash)"'),
    ],
)
def test_a_mistake_is_explained(run, arguments: list[str], expected: str) -> None:
    [found] = mistakes(run, *arguments)
    assert expected in found


def test_all_values_that_are_missing_are_named(run) -> None:
    found = mistakes(run, "check")
    assert len(found) == 3
    assert [text.partition(" | ")[2] for text in found[:2]] == ["bundle=VALUE", "run=VALUE"]
    assert found[2].startswith("lost: Interpolation key 'nowhere' not found")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("strategy: [a\nweights: 1\n", "mix/own.yaml, line 2: expected ',' or ']'"),
        ("a: 1\na: 2\n", "mix/own.yaml, line 2: found duplicate key a"),
        (
            "defaults:\n  - /source: cmth\n",
            "mix/own.yaml: no file source/cmth.yaml; did you mean cmath? | mend",
        ),
        ("strategy: x\na: ${nowhere}\n", "mix.a: Interpolation key 'nowhere' not found"),
        ("defaults:\n  - /source: ???\n", "source: an option must be chosen; have: cmath"),
    ],
)
def test_a_mistake_in_a_file_names_the_file(run, tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "conf/mix").mkdir(parents=True)
    (tmp_path / "conf/mix/own.yaml").write_text(text)
    [found] = mistakes(run, "build", "mix=own", "--config-dir", str(tmp_path / "conf"))
    assert expected in found


def test_an_unknown_primary_configuration_is_named(run) -> None:
    [found] = mistakes(run, "build", "--config-name", "bild")
    assert "no file bild.yaml; did you mean build or" in found


def test_a_mapping_under_python_without_assertions_is_explained(run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra reads mappings in its assertions."""
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    (found,) = mistakes(run, "build", "mix=custom", "+sources.m={path: a.jsonl}")
    assert found.startswith("+sources.m={path: a.jsonl}: Hydra reads no mappings under `python -O`")
    assert run("build", "--cfg", "job", "seed=10").returncode == 0
