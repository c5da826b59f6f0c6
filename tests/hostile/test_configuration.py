"""Configuration names no code, in no spelling and from no place; what it names is bounded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.cli.front.references import reference_errors

ROOT = Path(__file__).resolve().parents[2]
# Seconds for a refusal on a busy machine; what is refused here would take hours, or for ever.
PATIENCE = 20.0
CALL = "{_target_: os.makedirs, name: CANARY, exist_ok: true}"
# Python's logging calls whatever stands behind `()`.
LOGGING = "{version: 1, formatters: {a: {(): os.makedirs, name: CANARY, exist_ok: true}}}"
TARGETS = [
    "+x._target_=os.makedirs",
    f"+x={CALL}",
    f"+x={{a: [{{b: {CALL}}}]}}",
    f"+x=[{CALL}]",
    '+x={"_target_": os.makedirs}',
    "+x={'_target_': os.makedirs}",
    "++mix._target_=os.makedirs",
    "+a.b._target_=os.makedirs",
    "x={_tar\\get_: a, _target_ : b}",
    "+hydra.callbacks.a._target_=os.makedirs",
    f"+hydra.callbacks.a={CALL}",
    f"hydra.job_logging={LOGGING}",
    f"+hydra.job_logging.formatters={LOGGING}",
    "hydra/launcher=submitit",
    "hydra/sweeper=ax",
    "hydra/job_logging=default",
    "+hydra/callbacks=x",
    "~hydra",
    "hydra={}",
    "+mix@hydra.callbacks=balanced",
    "+mix@_global_.hydra=balanced",
    "hydra.searchpath=[file:///tmp]",
    "hydra.searchpath=[pkg://evil]",
    "++hydra.searchpath=[pkg://evil]",
    "+hydra.job.env_set={LD_PRELOAD: x}",
    "hydra.verbose='${oc.env:HOME}'",
    "hydra.run.dir=CANARY",
    "+mix/../../evil=x",
    "+mix/..=x",
    "mix=../../evil",
    "mix=//etc/evil",
    "mix=/etc/evil",
    "mix=.h/evil",
    "mix=x/.h/evil",
    "mix='.h/evil'",
    "mix=[balanced,.h/evil]",
    "mix=[balanced, /etc/evil]",
    "mix=balanced,.h/evil",
    "mix=choice(balanced,.h/evil)",
    "mix=${dedup}.h/evil",
    "+mix@extra=.h/evil",
    "+mix/.h=evil",
    "+mix.weights./etc/evil=1",
    "+x=" + "[" * 3000 + "]" * 3000,
    "+x=" + "{a: " * 60 + "}" * 60,
    "--config-path=evil",
    "--config-name=../evil",
    "--config-name=x/../../evil",
    "--config-name=/etc/evil",
    "--config-name=.h/evil",
    "--config-name=x/.evil",
    "--experimental-rerun=evil.pickle",
    "--hydra-help",
    "--shell-completion",
]
FILES = {
    "a target": f"x: {CALL}\n",
    "a target, quoted": '"_target_": os.makedirs\n',
    "a target, escaped": '"\\x5f\\u0074arget_": os.makedirs\n',
    "a target as a block key": "? _target_\n: os.makedirs\n",
    "a target through an alias": f"x: &a {CALL}\ny: *a\n",
    "a target through a merge": f"x: &a {CALL}\ny: {{<<: *a}}\n",
    "hydra's own node": "# @package _global_\nhydra: {job: {chdir: true}}\n",
    "hydra's own node, quoted": '# @package _global_\n"hydr\\x61": {job: {chdir: true}}\n',
    "logging": f"# @package _global_\nhydra: {{job_logging: {LOGGING}, hydra_logging: {LOGGING}}}\n",
    "a package": f"# @package hydra\njob_logging: {LOGGING}\n",
    "a package below": "#@package   hydra.job\nenv_set: {LD_PRELOAD: x}\n",
    "a merge at the top": f"# @package _global_\nx: &a {{hydra: {{job_logging: {LOGGING}}}}}\n<<: *a\n",
    "an alias as a key": f"# @package _global_\nname: &h hydra\n*h :\n  job_logging: {LOGGING}\n",
    "a merge by its tag": f"# @package _global_\n!!merge q:\n  hydra: {{job_logging: {LOGGING}}}\n",
    "a directive that one parser refuses": f"# @package _global_\n%FOO bar\n---\nhydra: {{job_logging: {LOGGING}}}\n",
    "another version": f"%YAML 1.9\n---\n# @package _global_\nhydra: {{job_logging: {LOGGING}}}\n",
    "a package behind a carriage return": f"# @note x\r# @package hydra\njob_logging: {LOGGING}\n",
    "a package behind a line separator": f"# @note x\u2028# @package hydra\njob_logging: {LOGGING}\n",
    "defaults through an alias": "x: &d defaults\n*d : [../../evil]\n",
    "a hidden folder in defaults": "defaults: ['.evil/x']\n",
    "a hidden folder behind a word in defaults": "defaults:\n  - optional .evil: x\n",
    "a hidden folder behind a name in defaults": "defaults:\n  - optional /dedup: ${mix}.evil/x\n",
    "an override in defaults": "defaults:\n  - override /hydra/launcher: evil\n",
    "a package in defaults": "defaults:\n  - /mix@hydra.callbacks: balanced\n",
    "an alias in defaults": "x: &a [override /hydra/launcher: evil]\ndefaults: *a\n",
    "another folder in defaults": "defaults: [../../evil]\n",
    "another root in defaults": "defaults: [//etc/evil]\n",
    "a package of Python in defaults": "defaults: ['pkg://evil']\n",
    "a file's address in defaults": "defaults: ['file:///etc/evil']\n",
    "a search path": "hydra:\n  searchpath: [pkg://evil]\n",
    "an object": "x: !!python/object/apply:os.makedirs [CANARY]\n",
    "a name": "x: !!python/name:os.system\n",
    "a path": "x: !!python/object/apply:pathlib.Path [a]\n",
    "another tag": "x: !evil 1\n",
    "a declared tag": "%TAG !e! tag:yaml.org,2002:python/\n---\nx: !e!name:os.system\n",
    "two documents": "x: 1\n---\nx: 2\n",
    "aliases of aliases": "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{k + 1}: &a{k + 1} [{', '.join([f'*a{k}'] * 9)}]\n" for k in range(9)),
    "an alias in itself": "a: &a [*a]\n",
    "an alias of nothing": "a: *b\n",
    "deep nesting": "a: " + "[" * 5000 + "]" * 5000 + "\n",
    "deep blocks": "".join("  " * k + "a:\n" for k in range(400)),
    "too large a file": "# " + "x" * (1 << 20) + "\na: 1\n",
    "no UTF-8": "a: \udcff\n",
    "a text doubled again and again": "# @package _global_\na0: xxxxxxxxxx\n"
    + "".join(f"a{k + 1}: ${{a{k}}}${{a{k}}}\n" for k in range(60)),
    "a mapping doubled again and again": "# @package _global_\na0: {x: 1}\n"
    + "".join(f"a{k + 1}: {{x: '${{a{k}}}', y: '${{a{k}}}'}}\n" for k in range(60)),
    "names in a circle": "# @package _global_\na: ${b}\nb: ${a}\n",
    "a name within itself": "# @package _global_\na: {b: '${a}'}\n",
    "a secret": "# @package _global_\na: ${oc.env:HF_TOKEN}\n",
    "a resolver that makes": "# @package _global_\na: ${oc.create:{b}}\n",
    "a resolver that reads": "# @package _global_\na: '${ oc.decode : x}'\n",
    "a resolver of Hydra's": "# @package _global_\na: ${hydra:runtime.cwd}\n",
    "a name that is made": "# @package _global_\na: b\nc: ${${a}}\n",
}


def run(*arguments: str) -> int:
    """The exit status of the cheapest verb that composes everything, in this process. (It refuses a group of its own
    accord, too: what is only printed, with `--cfg`, is not refused by anything but the guard.)"""
    return main(PROGRAM, ["pools", *arguments])


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration folder of the user's, and an empty working folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HF_TOKEN", "s3cr3t")
    (tmp_path / "own" / "split").mkdir(parents=True)
    return tmp_path / "own"


def write(file: Path, text: str, canary: Path) -> None:
    file.write_bytes(text.replace("CANARY", str(canary)).encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("override", TARGETS)
def test_no_override_names_code(override: str, own: Path, canary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ([], ["-m"], ["--cfg", "job"]):
        assert run(override.replace("CANARY", str(canary)), *more) == 2
    found = capsys.readouterr()
    assert "Traceback" not in found.err
    assert "  fix: " in found.err
    assert not found.out


@pytest.mark.parametrize("what", FILES)
def test_no_file_names_code_or_more_than_there_is_room_for(
    what: str, own: Path, canary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Selected by a group, in a sweep as well, and where the configuration is only printed."""
    write(own / "split" / "evil.yaml", FILES[what], canary)
    started = time.monotonic()
    for more in ([], ["-m"], ["--cfg", "job", "--resolve"]):
        assert run("split=evil", f"--config-dir={own}", *more) == 2
    assert time.monotonic() - started < PATIENCE
    found = capsys.readouterr()
    assert "Traceback" not in found.err
    assert "s3cr3t" not in found.err + found.out


@pytest.mark.parametrize("name", ["split/hydra.yaml", "hydra/launcher/basic.yaml", "hydra/job_logging/evil.yaml"])
def test_no_file_stands_where_hydra_keeps_its_own(name: str, own: Path, canary: Path) -> None:
    (own / name).parent.mkdir(parents=True, exist_ok=True)
    write(own / name, f"x: 1\nformatters: {LOGGING}\n", canary)
    for more in ([], ["-m"], ["--cfg", "job"]):
        assert run("+split@_name_=hydra", f"--config-dir={own}", *more) == 2
        assert run("split=prompts", f"--config-dir={own}", *more) == 2


def test_a_linked_folder_is_looked_through_too(own: Path, tmp_path: Path, canary: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere" / "evil.yaml", FILES["logging"], canary)
    (own / "dedup").symlink_to(tmp_path / "elsewhere")
    (own / "round").symlink_to(own)
    for more in (["-m"], ["--cfg", "job"]):
        assert run("dedup=evil", f"--config-dir={own}", *more) == 2


@pytest.mark.parametrize("name", ["mix/.h/bomb.yaml", ".h/bomb.yaml", "../elsewhere/bomb.yaml"])
def test_no_file_is_used_that_was_not_looked_through(name: str, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Hidden folders (`.git`, `.venv`) and those elsewhere are not: nothing in them can be named, by whatever way."""
    file = own / name
    file.parent.mkdir(parents=True)
    file.write_text(FILES["aliases of aliases"])
    for more in ([], ["-m"], ["--cfg", "job"]):
        for named in (file.resolve().with_suffix(""), file.resolve(), Path(name).with_suffix("")):
            assert run(f"--config-dir={own}", f"--config-name={named}", *more) == 2
        for option in (".h/bomb", "../.h/bomb", file.with_suffix(""), file.resolve().with_suffix("")):
            assert run(f"--config-dir={own}", f"mix={option}", *more) == 2
            assert run(f"--config-dir={own}", f"+mix@extra=[balanced,{option}]", *more) == 2
    assert "  fix: " in capsys.readouterr().err


def test_paths_and_numbers_that_are_no_options_are_let_through(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "split" / "v1.5-a.yaml").write_text("defaults: [prompts]\n")
    (own / "more").mkdir()
    (own / "more" / "mine.1.yaml").write_text("defaults: [/pools, _self_]\n")
    paths = ["paths.pools=/tmp/p", "paths.bundles=./.b", "out=./x", "+sources.m.path=../rows.jsonl"]
    mappings = ["split={valid_ratio: .5, name: ../x}", "template={name: none, path: /tmp/.x.jinja}"]
    for more in (paths, mappings, ["+sources.m={path: ./.m/a.jsonl}"], ["split=v1.5-a"], ["-cn", "more/mine.1"]):
        assert run(f"--config-dir={own}", *more, "--cfg", "job") == 0, capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_what_is_no_file_is_not_waited_for(own: Path) -> None:
    os.mkfifo(own / "split" / "evil.yaml")
    assert run("split=evil", f"--config-dir={own}") == 2


def test_a_primary_configuration_is_held_to_the_same(own: Path, canary: Path) -> None:
    write(own / "mine.yaml", f"defaults: [pools, _self_]\nx: {CALL}\n", canary)
    for name in ("mine", str(own / "mine"), "hydra/config"):
        for more in ([], ["-m"], ["--cfg", "job"]):
            assert run(f"--config-dir={own}", f"--config-name={name}", *more) == 2


def test_the_folder_conf_of_the_working_folder_is_held_to_the_same(own: Path, canary: Path) -> None:
    Path("conf/source").mkdir(parents=True)
    write(Path("conf/source/mine.yaml"), f"path: x\nshape: messages\nx: {CALL}\n", canary)
    assert main(PROGRAM, ["build", "mix=custom", "+mix.weights.mine=1"]) == 2


def test_what_does_no_harm_is_let_through(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "# the hydra of Lerna, @package or not\nx: &a {b: [1]}\ny: *a\nz: {<<: *a, hydra: 1}\nw: \\${oc.env:HOME}\n"
    (own / "split" / "mine.yaml").write_text(
        f"defaults: [prompts, _self_]\n{text}v: ${{.x.b}} ${{split.name}}\nname: n\n"
    )
    assert run("split=mine", f"--config-dir={own}", "--cfg", "job", "--resolve") == 0
    found = capsys.readouterr().out
    assert "v: '[1] n'" in found
    assert "${oc.env:HOME}" in found


def test_names_are_followed_as_they_are_meant() -> None:
    settings = {"a": {"b": "x" * 400_000, "c": "${.b}", "d": "${..a.b}"}, "e": ["${a.b}"], "f": "${nowhere}"}
    [error] = reference_errors(settings)
    assert error.where == "e.0"
    assert not reference_errors({**settings, "e": ["\\${a.b}"]})


MODULE = "import os\nos.makedirs({canary!r}, exist_ok=True)\nraise SystemExit('not this one')\n"
MODULES = ["logging.py", "polars.py", "yaml/__init__.py", "hydra/__init__.py", "hydra_plugins/evil.py"]


def start(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | more
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


def test_modules_in_the_working_folder_are_not_the_programs(own: Path, canary: Path) -> None:
    for name in [*MODULES, "train_.py", "datasets.py", "numpy.py"]:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(MODULE.format(canary=str(canary)))
    done = start("pipeline", "pools", "-m", "make=false")
    assert done.returncode == 0, done.stderr
    assert "no pools yet" in done.stdout
    assert start("train", "sft", "--cfg", "job", "-p", "seed").returncode == 0
    assert start("eval", "ab", "--help").returncode == 0


def test_plugins_of_hydra_are_not_looked_for(own: Path, tmp_path: Path, canary: Path) -> None:
    """Not even where they are installed: Hydra would import each of them."""
    plugins = tmp_path / "installed" / "hydra_plugins"
    plugins.mkdir(parents=True)
    (plugins / "evil.py").write_text(MODULE.format(canary=str(canary)))
    path = os.pathsep.join([str(ROOT), str(tmp_path / "installed")])
    assert start("pipeline", "pools", PYTHONPATH=path).returncode == 0


def test_an_arm_of_an_experiment_is_held_to_the_same(own: Path, canary: Path) -> None:
    """`eval ab` hands an arm's settings on to `build`."""
    pytest.importorskip("torch")
    from eval.__main__ import PROGRAM as EVAL

    arm = f"b=[math_heavy, '+x={{_target_: os.makedirs, name: {canary}}}']"
    assert main(EVAL, ["ab", "a=math_heavy", arm]) == 2
