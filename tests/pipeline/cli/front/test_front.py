"""The command line: verbs, flags, help, exit statuses, and what stands on which stream."""

import json
import os
import select
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli import front
from pipeline.cli.front import Program, Verb, main
from pipeline.report import columns_wide


def told(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_verb_gets_plain_resolved_settings_and_its_command(run) -> None:
    [one] = told(run("build", "mix=math_heavy", "out=数据/a (1),b=c"))
    assert one["config"]["name"] == "resample_42"
    assert one["config"]["out"] == "数据/a (1),b=c"
    assert "hydra" not in one["config"]
    assert one["command"] == "python -m toy build mix=math_heavy 'out=数据/a (1),b=c'"
    assert one["overrides"] == ["mix=math_heavy", "out=数据/a (1),b=c"]
    assert one["sweep"] is False


def test_keys_are_added_forced_and_taken_away(run) -> None:
    arguments = ["+new=1", "++seed=7", "~paths", "mix=custom", "+mix.weights.mine=2"]
    source = "+sources.mine={path: 数据/a (1).csv, columns: {user: q}, tags: [法律, zh]}"
    [one] = told(run("build", *arguments, source))
    config = one["config"]
    assert (config["new"], config["seed"], "paths" in config) == (1, 7, False)
    assert config["mix"]["weights"] == {"mine": 2}
    assert config["sources"]["mine"] == {
        "path": "数据/a (1).csv",
        "columns": {"user": "q"},
        "tags": ["法律", "zh"],
    }


def test_a_sweep_runs_every_combination_and_each_command_repeats_its_job(run) -> None:
    done = run("build", "-m", "mix=math_heavy,chat_heavy", "seed=1,2", "out=a (b),数\\,c")
    jobs = told(done)
    seen = {(j["config"]["mix"]["weights"]["cmath"], j["config"]["seed"], j["config"]["out"]) for j in jobs}
    assert seen == {(w, s, o) for w in (4, 1) for s in (1, 2) for o in ("a (b)", "数,c")}
    assert all(job["sweep"] for job in jobs)
    assert "Launching 8 jobs" in done.stderr
    words = shlex.split(jobs[-1]["command"])
    assert words[:4] == ["python", "-m", "toy", "build"]
    [again] = told(run(*words[3:]))
    assert again["config"] == jobs[-1]["config"]


def test_a_file_that_would_have_hydra_move_or_write_is_refused(run, tmp_path: Path) -> None:
    hydra = "hydra:\n  job: {chdir: true}\n  output_subdir: notes\n  run: {dir: here}\n  sweep: {dir: here}\n"
    (tmp_path / "own.yaml").write_text(f"defaults: [build, _self_]\n{hydra}")
    for arguments in (["seed=1"], ["-m", "seed=1,2"]):
        done = run("build", *arguments, "--config-dir", str(tmp_path), "--config-name", "own")
        assert (done.returncode, done.stdout) == (2, "")
        assert "own.yaml, line 2: hydra is refused" in done.stderr


def test_cfg_prints_the_configuration_and_nothing_else(run) -> None:
    done = run("build", "mix=math_heavy", "--cfg", "job", "-p", "mix")
    assert (done.returncode, done.stdout) == (
        0,
        "# @package mix\nstrategy: resample\nweights:\n  cmath: 4\n",
    )
    whole = run("build", "--cfg", "job", "--resolve")
    assert "name: concat_42" in whole.stdout
    assert "hydra" not in whole.stdout
    assert not whole.stderr
    assert "mix/balanced" in run("build", "--info", "defaults").stdout
    assert run("build", "-c", "job", "-p", "nowhere").returncode == 2


def test_own_mixes_come_from_a_folder(run, tmp_path: Path) -> None:
    (tmp_path / "my conf" / "mix").mkdir(parents=True)
    (tmp_path / "my conf/mix/mine.yaml").write_text("# my own\nstrategy: mine\n")
    own = ["--config-dir", str(tmp_path / "my conf")]
    [one] = told(run("build", "mix=mine", *own))
    assert one["config"]["mix"] == {"strategy": "mine"}
    [_, two] = told(run("build", "-m", "mix=balanced,mine", *own))
    assert told(run(*shlex.split(two["command"])[3:]))[0]["config"] == one["config"]
    assert "my own" in run("build", "--help", *own).stdout


def test_help_lists_verbs_and_no_verb_is_a_mistake(run) -> None:
    shown = run("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert all(text in shown.stdout for text in ("build", "say what one was told", "mix=math_heavy"))
    none = run()
    assert (none.returncode, none.stdout, none.stderr) == (2, "", shown.stdout)
    assert run("--version").stdout.startswith("poolmix")
    assert run("help", "build").stdout == run("build", "mix=none", "-h").stdout


def test_help_of_a_verb_has_docstring_groups_and_settings(run) -> None:
    lines = run("build", "--help").stdout.splitlines()
    assert "  python -m toy build mix=math_heavy" in lines
    assert lines[lines.index("  mix: the weights") + 1] == "  * balanced    as they come"
    assert "    math_heavy  much maths" in lines
    assert "    chat_heavy" in lines
    more = lines.index("source (+mix.weights.NAME=VALUE adds one):")
    assert lines[more + 1] == "    cmath  school maths"
    assert lines[lines.index("  # decides every order") :][:3] == [
        "  # decides every order",
        "  seed: 42",
        "  out: null  # the folder to write",
    ]


def test_help_has_no_groups_where_none_can_be_set(run) -> None:
    shown = run("check", "--help").stdout
    assert "GROUP=OPTION" not in shown
    assert "balanced" not in shown
    lines = shown.splitlines()
    assert lines[lines.index("settings (KEY=VALUE), with their defaults:") + 1] == "  bundle: ???"


def test_help_has_the_groups_and_settings_of_the_configuration_built_upon(run) -> None:
    inherited, own = (run(verb, "--help").stdout.splitlines() for verb in ("build", "again"))
    groups = own.index("groups (GROUP=OPTION; * is the default):")
    assert (
        own[groups : own.index("settings (KEY=VALUE), with their defaults:")]
        == (inherited[groups : inherited.index("settings (KEY=VALUE), with their defaults:")])
    )
    settings = own[own.index("settings (KEY=VALUE), with their defaults:") :]
    assert settings[1:5] == ["  twice: true", "  seed: 1", "", "and those of build:"]
    assert "  out: null  # the folder to write" in settings
    assert "  seed: 42" not in settings


def test_help_imports_neither_hydra_nor_the_verb(toy: Path, root: Path) -> None:
    code = (
        "import sys, runpy, contextlib\n"
        "sys.argv = ['toy', 'build', '--help']\n"
        "with contextlib.suppress(SystemExit):\n    runpy.run_module('toy', run_name='__main__')\n"
        "slow = {'hydra', 'omegaconf', 'yaml', 'toy.build', 'polars', 'datasets', 'torch'}\n"
        "assert not slow & {*sys.modules}, slow & {*sys.modules}\n"
    )
    path = os.pathsep.join([str(root), str(toy)])
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=True)


def test_exit_status_says_what_happened(run) -> None:
    assert run("fail").returncode == 0
    assert run("fail", "status=7").returncode == 7
    assert run("fail", "-m", "status=0,4,3").returncode == 4
    source = run("fail", "how=source")
    assert source.returncode == 2
    assert source.stderr == "source cmath: no file 'x'\n  fix: set sources.cmath.path=FILE\n"
    assert run("fail", "how=check").returncode == 3
    interrupted = run("fail", "how=interrupt")
    assert (interrupted.returncode, interrupted.stderr) == (130, "interrupted\n")
    bug = run("fail", "how=bug")
    assert bug.returncode == 1
    assert "Traceback" in bug.stderr
    assert "ValueError: a bug" in bug.stderr


def test_an_error_stops_a_sweep_and_names_its_job(run) -> None:
    done = run("fail", "-m", "how=none,check,log")
    assert (done.returncode, done.stdout) == (3, "job none\njob check\n")
    assert done.stderr.endswith("sweep stopped at: how=check\nbundle: 3 rows leak\n  fix: build again\n")
    assert run("fail", "-m", "how=none,bug").returncode == 1
    assert run("fail", "-m", "how=interrupt,none").returncode == 130


def test_a_closed_stdout_is_no_error(toy: Path, root: Path, tmp_path: Path) -> None:
    path = os.pathsep.join([str(root), str(toy)])
    command = f"{shlex.quote(sys.executable)} -m toy fail how=flood | head -1; echo ${{PIPESTATUS[0]}}"
    variables = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(["bash", "-c", command], env=variables, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("job flood\n141\n", "")


def test_logs_are_plain_and_on_stderr(run) -> None:
    done = run("fail", "how=log")
    assert (done.stdout, done.stderr) == ("job log\n", "info of toy\n")
    loud = run("fail", "how=log", "hydra.verbose=[toy]").stderr.splitlines()
    assert loud == ["info of toy", "debug of toy"]
    assert "info of other" in run("fail", "how=log", "hydra.verbose=true").stderr
    swept = run("fail", "-m", "how=log", "hydra.verbose=[toy]").stderr.splitlines()
    assert swept[-2:] == ["info of toy", "debug of toy"]


def test_it_can_be_called_twice_in_one_process_and_leaves_argv_alone(toy: Path, capsys, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(toy))
    program = Program("toy", "A toy.", {"build": Verb("", "toy.build", "build")}, toy / "conf")
    argv, variables = list(sys.argv), dict(os.environ)
    assert [main(program, ["build", "seed=1"]), main(program, ["build", "-m", "seed=2,3"])] == [0, 0]
    assert main(program, ["build", "sed=1"]) == 2
    assert (sys.argv, dict(os.environ)) == (argv, variables)
    seeds = [json.loads(line)["config"]["seed"] for line in capsys.readouterr().out.splitlines()]
    assert seeds == [1, 2, 3]


def test_without_poll_a_closed_stdout_is_still_no_error(monkeypatch) -> None:
    monkeypatch.delattr(select, "poll")
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(os.dup(write), "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(front, "_dispatch", _closed)
        assert main(Program("toy", "A toy.", {}, Path()), []) == 141
    os.close(write)


def _closed(*_: object) -> int:
    raise BrokenPipeError


@pytest.mark.parametrize("verb", ["", "build", "pools", "show", "stats", "verify", "diff"])
def test_help_of_the_pipeline_fits_a_window(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(PROGRAM, [verb, "--help"] if verb else ["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if columns_wide(line) > 100] == []
    assert not any(line.startswith("  # python -m") for line in lines)


def test_the_verbs_of_the_pipeline_are_listed() -> None:
    done = subprocess.run([sys.executable, "-m", "pipeline", "--help"], capture_output=True, text=True, check=True)
    assert all(f"  {verb} " in done.stdout for verb in ("build", "pools", "show", "stats", "verify", "diff"))
