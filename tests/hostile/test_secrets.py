"""Tokens and passwords are used, and are nowhere in what is written or said."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.secrets import scrubbed, without_secrets
from tests.hostile.attacks import SHAPE, all_bytes, build_of, run, write_rows

# Each is in one place: the environment, the hub's file, an address, a setting.
ENVIRONMENT = {
    "HF_TOKEN": "hf_canaryAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "OPENAI_API_KEY": "canary-environment-key",
    "MY_DB_PASSWORD": 'canary "quoted" \\ pässword/%',
    "AWS_SECRET_ACCESS_KEY": "canary+aws/secret=",
}
STORED = "hf_canaryBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
ADDRESS = "https://someone:canary-password@host.example/data?rows=1&token=canary-query&x=1"
SETTING = "canary-setting"
CANARY = b"canary"


def leaks(*texts: str | bytes) -> list[bytes]:
    """What stands around each canary that got out, in any spelling that begins with it."""
    found: list[bytes] = []
    for text in texts:
        data = text.encode() if isinstance(text, str) else text
        places = [at for at in range(len(data)) if data.startswith(CANARY, at)]
        found += [data[max(0, at - 60) : at + 40] for at in places]
    return found


class Echo(http.server.BaseHTTPRequestHandler):
    """Refuses everything, and says what it was given."""

    seen: list[str]
    status: int

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        key = self.headers.get("Authorization", "none")
        self.seen.append(key)
        data = json.dumps({"error": {"message": f"wrong key: {key}"}}).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Error-Message", f"wrong key: {key}")
        self.end_headers()
        self.wfile.write(data)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()


@pytest.fixture(params=[401, 500])
def echo(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[str]]]:
    """An address whose every answer repeats the token, and what it was given."""
    seen: list[str] = []
    handler = type("Own", (Echo,), {"seen": seen, "status": request.param})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


def test_a_build_and_all_that_looks_at_it_keep_every_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    (home / "token").write_text(STORED + "\n")
    write_rows(work / "rows.jsonl", 30)
    own = {"HF_HOME": str(home), **ENVIRONMENT}
    del own["HF_TOKEN"]
    said = f"{ADDRESS} {' '.join(ENVIRONMENT.values())} {STORED}".replace("'", "")
    (work / "conf" / "mix").mkdir(parents=True)
    mix = {"mix": {"name": "own", "strategy": "resample", "weights": {"mine": 1}}}
    source = {"path": "rows.jsonl", "shape": "columns", "columns": {"user": "q", "assistant": "a"}}
    mix["sources"] = {"mine": source | {"card": ADDRESS, "licence": said}}
    (work / "conf" / "mix" / "own.yaml").write_text("# @package _global_\n" + json.dumps(mix))
    build = ["build", "--config-dir", "conf", "mix=own", "template=none", f"++sources.mine.card={ADDRESS}"]
    made = run([*build, "out=bundle"], work, **own, HF_TOKEN=ENVIRONMENT["HF_TOKEN"])
    assert made.returncode == 0, made.stderr
    commands = [
        [*build, "--cfg", "job"],
        [*build, "sources.mine.path=hf://canary-user:canary-pass@datasets/a/b@main/c.jsonl?token=canary-token"],
        [*build, f"sources.mine.path={ENVIRONMENT['OPENAI_API_KEY']}.jsonl", "hydra.verbose=true"],
    ]
    done = [made, *(run(command, work, **own) for command in commands)]
    assert [one.returncode for one in done] == [0, 0, 2, 2]
    monkeypatch.chdir(work)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    for command in (
        ["show", "bundle=bundle"],
        ["stats", "bundle=bundle"],
        ["verify", "bundle=bundle"],
        ["diff", "a=bundle", "b=bundle"],
        ["sniff", f"path={ADDRESS}"],
        [*build, f"+sources.mine.password={SETTING}", f"+extra={{api_key: {SETTING}, token: {SETTING}}}"],
        [*build, "-m", f"seed={ENVIRONMENT['HF_TOKEN']}"],
    ):
        main(PROGRAM, command)
    out, err = capsys.readouterr()
    assert leaks(out, err, *(one.stdout + one.stderr for one in done)) == []
    (work / "conf" / "mix" / "own.yaml").unlink()
    assert leaks(all_bytes(work)) == []
    manifest = json.loads((work / "bundle" / "manifest.json").read_text())
    assert manifest["sources"]["mine"]["card"] == "https://…@host.example/data?rows=1&token=…&x=1"
    assert "++sources.mine.card=" in manifest["command"]


def test_the_address_of_a_bundle_does_not_depend_on_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(tmp_path / "rows.jsonl", 30)
    monkeypatch.chdir(tmp_path)
    source = f"+sources.mine={{path: rows.jsonl, {SHAPE}, card: 'https://a:SECRET@h/'}}"
    for secret in ("one", "two"):
        told = ["build", "mix=custom", "+mix.weights.mine=1", "template=none", source.replace("SECRET", secret)]
        assert main(PROGRAM, told) == 0
    folders = {line for line in capsys.readouterr().out.splitlines() if line.startswith("data_pools")}
    assert len(folders) == 1


def test_a_hub_that_repeats_the_token_does_not_make_us_say_it(echo: tuple[str, list[str]], tmp_path: Path) -> None:
    address, seen = echo
    own = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), **ENVIRONMENT}
    build = ["build", "mix=custom", "+sources.mine={hub: lab/rows, shape: messages}", "+mix.weights.mine=1"]
    done = run([*build, "hydra.verbose=true"], tmp_path, **own)
    assert done.returncode == 2, done.stderr
    assert any("canary" in key for key in seen)
    assert leaks(done.stdout, done.stderr, all_bytes(tmp_path)) == []


@pytest.mark.parametrize("echo", [401], indirect=True)
def test_a_server_that_repeats_the_key_does_not_make_an_evaluation_say_it(
    echo: tuple[str, list[str]], tmp_path: Path
) -> None:
    pytest.importorskip("openai")
    pytest.importorskip("scipy")
    address, seen = echo
    write_rows(tmp_path / "rows.jsonl", 30)
    built = run(build_of("rows.jsonl", "template=chatml", "out=bundle"), tmp_path)
    assert built.returncode == 0, built.stderr
    told = ["bundle=bundle", "backend=openai", f"base_url={address}/v1?api_key=canary-query", "model_name=small"]
    told += ["template=chatml", "eval.metrics=[usability]", "server.retries=0", "+server.extra.api_key=canary-extra"]
    done = run(["run", *told, "out=eval"], tmp_path, "eval", **ENVIRONMENT)
    assert done.returncode == 2, done.stderr
    assert any(ENVIRONMENT["OPENAI_API_KEY"] in key for key in seen)
    assert leaks(done.stdout, done.stderr, all_bytes(tmp_path)) == []


def test_a_run_and_a_result_record_settings_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    config = {"server": {"extra": {"api_key": SETTING, "top_k": 1}}, "base": ADDRESS, "all": list(ENVIRONMENT.values())}
    kept = scrubbed(config)
    assert leaks(json.dumps(kept)) == []
    assert kept["server"]["extra"]["top_k"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "tokens.max_length=512 tokenizer=Qwen/Qwen3-0.6B tokens.pack=true",
        "template.eos_token=<|im_end|>",
        "hf://datasets/org/name@main/train.jsonl",
        "git@github.com:org/name.git",
        "sk-learn-experiments-of-spring hf_transfer task-0123456789abcdefghij",
        "server.api_key_env=OPENAI_API_KEY api_key=null",
        "monkey=12345678 keyboard=longer-than-eight dedup_key: 0123456789abcdef",
        "digest.train 0123456789abcdef0123456789abcdef",
        "https://huggingface.co/datasets/org/name?row=3&split=train",
        "someone@example.org: 12 rows",
        "./keys/of/someone short word",
        "sources.postgres_qa.path, 12345678 rows",
        "data/token=abc/rows.jsonl",
    ],
)
def test_what_is_no_secret_stays(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "A_KEY": "short",
        "B_TOKEN": "true",
        "C_SECRET": "./keys/of/someone",
        "D_KEY": "",
        "E_PASSWORD": "postgres",
        "F_PASSWORD": "12345678",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "longer-than-eight")
    assert without_secrets(text) == text
    settings = {"tokens": text, "key": text, "eos_token": text, "token": text, "postgres_qa": text}
    assert scrubbed(settings) == settings


@pytest.mark.parametrize("secret", ENVIRONMENT.values())
def test_a_secret_is_found_as_it_is_in_json_and_in_addresses(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.parse import quote

    monkeypatch.setenv("SOME_TOKEN", secret)
    for spelt in (secret, json.dumps(secret), quote(secret, safe=""), f"x{secret}y", repr(secret)[1:-1]):
        if spelt != repr(secret)[1:-1] or "\\" not in secret:
            assert leaks(without_secrets(f"before {spelt} after")) == []


def test_a_key_that_looks_like_a_place_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "/aB3" * 10
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key)
    assert without_secrets(f"with {key}!") == "with …!"


@pytest.mark.parametrize("name", ["OPENAI_KEYS", "WANDB_API_KEY2", "GITHUB_PAT", "NPM_AUTH", "db_pass"])
def test_a_variable_holds_a_secret_by_its_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "s3cr3t-value")
    assert without_secrets("s3cr3t-value") == "…"


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "SSH_AUTH_SOCK", "KEYBOARD", "MONKEY", "PATH"])
def test_a_variable_that_sounds_like_one_holds_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "n0-s3cr3t-value")
    assert without_secrets("n0-s3cr3t-value") == "n0-s3cr3t-value"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic …"),
        ("authorization=dXNlcjpwYXNz", "authorization=…"),
        ("x-api-key: abc123", "x-api-key: …"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "…"),
    ],
)
def test_what_stands_in_a_header_goes(text: str, left: str) -> None:
    assert without_secrets(text) == left


@pytest.mark.parametrize(
    "token",
    [
        "hf_" + "aB3" * 11,
        "sk-" + "aB3" * 10,
        "sk-proj-" + "aB3_" * 10,
        "ghp_" + "aB3" * 12,
        "github_pat_" + "aB3" * 12,
        "AKIA" + "A1B2" * 4,
        "xoxb-" + "12345-" * 5 + "ab",
        "AIza" + "aB3_-" * 7,
    ],
)
def test_tokens_are_known_by_their_form(token: str) -> None:
    assert without_secrets(f"key={token}, 'x'") == "key=…, 'x'"
