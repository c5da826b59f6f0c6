"""Nothing on the command line or in a configuration file makes Hydra run code."""

from pathlib import Path

import pytest

from pipeline.cli.front.guard import has_target, override_error, refuse_files


@pytest.mark.parametrize(
    "override",
    [
        "+x._target_=os.system",
        "_target_=x",
        "+x={a: [{_target_: os.system}]}",
        "+x={ _target_ : os.system}",
        "hydra.callbacks.a._target_=x",
        "hydra.sweeper.params={seed: 1}",
        "hydra/launcher=joblib",
        "+hydra/callbacks=x",
        "~hydra.job",
        "hydra.searchpath=[/tmp]",
        "hydra.run.dir=x",
        "hydra.mode=MULTIRUN",
        "hydra={callbacks: {}}",
        "+mix@hydra.callbacks=x",
        "+mix@_global_.hydra=x",
        "={hydra: {}}",
        "+={hydra: {}}",
        "mix=../split/default",
        "mix='../split/default'",
        "mix=balanced,../x",
        "mix@a=[../x]",
    ],
)
def test_dangerous_overrides_are_refused(toy: Path, override: str) -> None:
    assert override_error(override, [toy / "conf"]) is not None


@pytest.mark.parametrize(
    "override",
    [
        "hydra.verbose=true",
        "out=../x",
        "mix=math_heavy",
        "path=my_target_file",
        "+mix.weights.hydrate=1",
        "~mix",
        "source@sources.cmath=x",
        "path=hydra.callbacks",
    ],
)
def test_other_overrides_pass(toy: Path, override: str) -> None:
    assert override_error(override, [toy / "conf"]) is None


@pytest.mark.parametrize(
    "text",
    [
        "a:\n  - b: {_target_: os.system}\n",
        '"_t\\x61rget_": os.system\n',
        "? _target_\n: x\n",
        "hydra:\n  searchpath: [/tmp]\n",
    ],
)
def test_a_target_in_a_file_is_refused_before_hydra_runs(run, tmp_path: Path, text: str) -> None:
    folder = tmp_path / "own/mix"
    folder.mkdir(parents=True)
    (folder / "unused.yaml").write_text(f"# first line\n{text}")
    assert refuse_files([tmp_path / "own"])
    for arguments in (["seed=1"], ["-m", "seed=1,2"], ["--cfg", "job"], ["--info", "config"]):
        done = run("build", *arguments, "--config-dir", str(tmp_path / "own"))
        assert (done.returncode, done.stdout) == (2, "")
        assert "unused.yaml, line" in done.stderr


def test_a_comment_about_it_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("# no _target_ here\npath: 'my_target_' \nwindows: C:\\x\n")
    assert not refuse_files([tmp_path])


@pytest.mark.parametrize("arguments", [["seed=1"], ["-m", "seed=1,2"]])
def test_files_outside_the_checked_folders_bring_nothing_in(run, tmp_path: Path, arguments: list[str]) -> None:
    proof = tmp_path / "proof"
    target = f"{{_target_: pathlib.Path.touch, self: {{_target_: pathlib.Path, _args_: ['{proof}']}}}}"
    (tmp_path / "evil.yaml").write_text(f"# @package _global_\nhydra: {{callbacks: {{a: {target}}}}}\nx: {target}\n")
    (tmp_path / "own/mix").mkdir(parents=True)
    (tmp_path / "own/mix/mine.yaml").write_text("defaults: [../../evil]\nstrategy: x\n")
    done = run("build", "mix=mine", *arguments, "--config-dir", str(tmp_path / "own"))
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert not proof.exists()


@pytest.mark.parametrize("flag", ["--config-path=x", "-cp", "--experimental-rerun=x", "--experimental", "-sc"])
def test_flags_that_replace_or_run_things_are_refused(run, flag: str) -> None:
    assert run("build", flag).returncode == 2


def test_a_target_is_found_at_any_depth() -> None:
    assert has_target({"a": [{"b": {"_target_": 1}}]})
    assert not has_target({"a": ["_target_", {"b": None}]})
