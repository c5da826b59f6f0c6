"""A run for Ollama, as GGUF and for the hub: prompts stay those of the training, and nothing tells of the machine."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import yaml

from pipeline.cli.front import main
from pipeline.errors import TemplateError
from pipeline.render.renderer import Renderer
from pipeline.render.template import Template
from tests.train.finished import CONF, finished_run, project_template
from train.__main__ import PROGRAM
from train.modelfile import find_turns, go_template, modelfile
from train.run import Run

Model = Callable[[str], Path]
Message = dict[str, str]
TEMPLATES = sorted(path.stem for path in (CONF / "template").glob("*.jinja"))
SYSTEM = {"role": "system", "content": "Be brief.\n\nUse {{ braces }}."}
TALK = [
    {"role": "user", "content": "一加一？ \"quoted\" and 'single' 👩‍🔧"},
    {"role": "assistant", "content": "Two:\n\n```\n1 + 1\n```"},
    {"role": "user", "content": "Thanks"},
    {"role": "assistant", "content": "You are welcome."},
    {"role": "user", "content": "And 2 + 2?"},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Model) -> Run:
    """A finished run of a tiny Llama."""
    return finished_run(tmp_path_factory.mktemp("export") / "run", tiny_model("llama"), template="smollm2")


def export(run: Run, *overrides: str) -> int:
    return main(PROGRAM, ["export", f"run={run.folder}", *overrides])


def rendered(renderer: Renderer, messages: Sequence[Message]) -> str:
    return renderer.rows([{"messages": list(messages), "tools": None, "meta": None, "prompt": True}])[0]["text"]


# What Ollama does with a template, for the part of Go's language that is used: text, if, else, range, and four ways to
# name a value. Unlike Go it knows no white space trimming and no nested pipelines, and fails on what it does not know.


def go_text(template: str, messages: Sequence[Message]) -> str:
    """A template filled in as Ollama does: `.System` joins the system texts, which stay among the messages, too."""
    pieces = iter(re.split(r"\{\{ (.*?) \}\}", template))
    system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
    root = {"System": system, "Messages": list(messages)}
    return "".join(_filled(_parsed(pieces)[0], root, root, 0))


def _parsed(pieces: Iterator[str]) -> tuple[list[Any], str]:
    """A list of texts and actions (name, condition, then, otherwise) up to `end`, `else` or the end; and which."""
    nodes: list[Any] = []
    while True:
        nodes.append(next(pieces))
        action = next(pieces, None)
        if action is None or action == "end" or action.startswith("else"):
            return nodes, action or ""
        nodes.append(_action(action, pieces))


def _action(action: str, pieces: Iterator[str]) -> tuple[str, str, list[Any], list[Any]]:
    name, _, condition = action.partition(" ")
    if name not in ("if", "range"):
        return ("value", action, [], [])
    then, end = _parsed(pieces)
    if end == "else":
        return (name, condition, then, _parsed(pieces)[0])
    return (name, condition, then, [_action(end.removeprefix("else "), pieces)] if end != "end" else [])


def _filled(nodes: list[Any], root: dict[str, Any], dot: dict[str, Any], at: int) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, str):
            yield node
            continue
        name, condition, then, otherwise = node
        if name == "value":
            yield json.loads(condition) if condition.startswith('"') else dot[condition.removeprefix(".").title()]
        elif name == "range":
            assert condition == "$i, $_ := .Messages"
            for number, message in enumerate(root["Messages"]):
                each = {"Role": message["role"], "Content": message["content"]}
                yield from _filled(then, root, each, number)
        else:
            yield from _filled(then if _holds(condition, root, dot, at) else otherwise, root, dot, at)


def _holds(condition: str, root: dict[str, Any], dot: dict[str, Any], at: int) -> bool:
    if condition == "gt (len (slice $.Messages $i)) 1":
        return len(root["Messages"][at:]) > 1
    if condition.startswith("eq .Role "):
        return dot["Role"] == json.loads(condition.removeprefix("eq .Role "))
    assert condition == ".System"
    return bool(root["System"])


@pytest.mark.parametrize("name", TEMPLATES)
def test_ollamas_template_gives_the_text_of_ours(name: str) -> None:
    variants = [{}, {"enable_thinking": False}] if name == "qwen3" else [{}]
    for more in variants:
        with Renderer(project_template(name, **more)) as renderer:
            template = go_template(find_turns(name, lambda messages, by=renderer: rendered(by, messages)))
            for length in (1, 3, 5):
                for messages in (TALK[:length], [SYSTEM, *TALK[:length]]):
                    assert go_text(template, messages) == rendered(renderer, messages)


def test_a_conversation_that_ends_with_an_answer_goes_on_with_it() -> None:
    with Renderer(project_template("chatml")) as renderer:
        template = go_template(find_turns("chatml", lambda messages: rendered(renderer, messages)))
    assert go_text(template, TALK[:2]).endswith(f"<|im_start|>assistant\n{TALK[1]['content']}")


@pytest.mark.parametrize(
    "text",
    [
        "{% for m in messages | reverse %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
        "{% for m in messages %}{{ loop.index }} {{ m.role }}: {{ m.content }}\n{% endfor %}",
        "{% for m in messages %}{{ m.content if m.role == 'user' }}{% endfor %}",
        '{% for m in messages %}"""{{ m.content }}"""{% endfor %}',
        "{% for m in messages %}\x07{{ m.content }}{% endfor %}",
    ],
)
def test_a_template_that_ollama_has_no_way_to_write_is_refused(text: str) -> None:
    with (
        Renderer(Template("mine", text, {})) as renderer,
        pytest.raises(TemplateError, match="template mine: ") as refused,
    ):
        find_turns("mine", lambda messages: rendered(renderer, messages))
    assert "to=gguf" in refused.value.fix


def test_braces_of_a_template_are_text_in_ollamas() -> None:
    text = "{% for m in messages %}{{ '{{' + m.role + '}} ' }}{{ m.content }}{% endfor %}{{ '{{assistant}} ' }}"
    with Renderer(Template("braces", text, {})) as renderer:
        turns = find_turns("braces", lambda messages: rendered(renderer, messages))
        assert go_text(go_template(turns), [SYSTEM, *TALK]) == rendered(renderer, [SYSTEM, *TALK])
    assert 'PARAMETER stop "<|im_end|>"' in modelfile(".", turns, ["<|im_end|>"])


def test_ollama_gets_a_folder_that_stands_by_itself(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(run, "to=ollama", "name=tutor") == 0
    lines = capsys.readouterr().out.splitlines()
    folder = Path(lines[-1])
    text = (folder / "Modelfile").read_text("utf-8")
    assert text.splitlines()[1] == "FROM ."
    for stop in ("<|im_end|>", "<|endoftext|>"):
        assert f'PARAMETER stop "{stop}"' in text
    assert "PARAMETER temperature 0" in text
    assert any(f"cd {shlex.quote(str(folder))} && ollama create tutor -f Modelfile" in line for line in lines)
    with Renderer(project_template("smollm2")) as renderer:
        template = text.partition('TEMPLATE """')[2].partition('"""\n')[0]
        assert go_text(template, [SYSTEM, *TALK]) == rendered(renderer, [SYSTEM, *TALK])
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    assert settings["add_bos_token"] is False
    assert settings["bos_token"].startswith("<|im_")  # a special token, for the line above to be heeded
    assert (folder / "model.safetensors").stat().st_ino == (run.merged / "model.safetensors").stat().st_ino
    assert "add_bos_token" not in (run.merged / "tokenizer_config.json").read_text("utf-8")
    assert export(run, "to=ollama", "name=tutor") == 0  # again, and nothing is merged anew
    assert "is there" in capsys.readouterr().out


@pytest.mark.parametrize("status", [0, 1])
def test_ollama_is_run_where_it_is(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    program = tmp_path / "ollama"
    program.write_text(f'#!/bin/sh\necho "$PWD: $@" > {tmp_path}/called\nexit {status}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    target = tmp_path / "for ollama"
    assert export(run, "to=ollama", f"out={target}") == (2 if status else 0)
    assert (tmp_path / "called").read_text() == f"{target}: create tiny-llama-tiny -f Modelfile\n"
    if status:
        assert "ollama serve" in capsys.readouterr().err


CONVERTER = """
import sys
from pathlib import Path
from gguf import GGUFWriter
import numpy as np
source, _, target, _, kind = sys.argv[1:]
if not (Path(source) / "model.safetensors").is_file() or kind == "q8_0":
    sys.exit("NotImplementedError: not known here")
writer = GGUFWriter(target, "llama")
writer.add_tensor("token_embd.weight", np.zeros((4, 4), np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
"""


@pytest.fixture
def llama_cpp(tmp_path: Path) -> Path:
    """A folder in the place of llama.cpp's, whose converter writes one tensor, and does not know q8_0."""
    (tmp_path / "llama.cpp").mkdir()
    (tmp_path / "llama.cpp" / "convert_hf_to_gguf.py").write_text(CONVERTER)
    return tmp_path / "llama.cpp"


def test_gguf_is_written_by_the_converter_of_llama_cpp(
    run: Run, llama_cpp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from gguf import GGUFReader

    assert export(run, "to=gguf", f"llama_cpp={llama_cpp}", "gguf_type=bf16") == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    assert [path.name for path in folder.iterdir()] == ["tiny-llama-tiny-bf16.gguf"]
    assert len(GGUFReader(str(folder / "tiny-llama-tiny-bf16.gguf")).tensors) == 1
    assert export(run, "to=gguf", f"llama_cpp={llama_cpp}", "gguf_type=q8_0") == 2
    assert "not known here" in capsys.readouterr().err
    assert export(run, "to=ollama", f"llama_cpp={llama_cpp}", f"out={llama_cpp.parent / 'o'}") == 0
    assert sorted(path.name for path in (llama_cpp.parent / "o").iterdir()) == ["Modelfile", "tiny-llama-tiny.gguf"]
    assert "FROM ./tiny-llama-tiny.gguf\n" in (llama_cpp.parent / "o" / "Modelfile").read_text("utf-8")


def test_without_llama_cpp_it_is_said_how_to_get_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert export(run, "to=gguf") == 2
    said = capsys.readouterr().err
    assert "convert_hf_to_gguf.py is needed" in said
    assert "fix: git clone" in said
    assert "llama_cpp=llama.cpp" in said
    assert export(run, "to=gguf", f"llama_cpp={tmp_path}") == 2
    assert f"llama_cpp={tmp_path}: has no convert_hf_to_gguf.py" in capsys.readouterr().err


@pytest.mark.parametrize("merged", [False, True])
def test_a_folder_for_the_hub_has_a_card_and_neither_pickles_nor_places(
    run: Run, tmp_path: Path, merged: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "hub"
    assert export(run, "to=hub_folder", f"merged={str(merged).lower()}", f"out={target}") == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(target)
    names = {path.name for path in target.iterdir()}
    weights = "model.safetensors" if merged else "adapter_model.safetensors"
    assert names >= {weights, "README.md", "tokenizer.json", "chat_template.jinja", "generation_config.json"}
    assert {Path(name).suffix for name in names} <= {".safetensors", ".json", ".jinja", ".md"}
    card = (target / "README.md").read_text("utf-8")
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["library_name"] == ("transformers" if merged else "peft")
    assert front["license"] == "apache-2.0"
    assert {"poolmix", "tiny"} <= set(front["tags"])
    for line in ("| cmath | 0.75 |", "| all | 3.2000 | 1.6000 |", "| cmath | 3.1000 | 1.5000 |"):
        assert line in card
    for name in names - {"tokenizer.json", weights}:
        assert str(run.folder.parents[1]) not in (target / name).read_text("utf-8")
    assert export(run, "to=hub_folder", f"out={target}") == 2  # what is there is not replaced
    if not merged:
        assert json.loads((target / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny-llama"


def test_a_base_from_the_hub_is_named_in_card_and_adapter(
    tmp_path: Path, tiny_model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(tmp_path / "run", tiny_model("llama"))
    run.manifest["model"] |= {"origin": "hub", "commit": "0123abcd"}
    run.manifest["config"]["model"]["licence"] = "Some Other License"
    (run.folder / "manifest.json").write_text(json.dumps(run.manifest))
    assert export(run, "to=hub_folder") == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    front = yaml.safe_load((folder / "README.md").read_text("utf-8").split("---\n")[1])
    base = "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert (front["base_model"], front["license"], front["license_name"]) == (base, "other", "some-other-license")
    adapter = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    assert (adapter["base_model_name_or_path"], adapter["revision"]) == (base, "0123abcd")


def test_wrong_settings_are_all_said(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(run, "to=onnx", "gguf_type=q2", "merged=maybe") == 2
    said = capsys.readouterr().err
    for setting in ("to=onnx", "gguf_type=q2", "merged=maybe"):
        assert setting in said
    assert main(PROGRAM, ["export", "--help"]) == 0
    assert "to=gguf llama_cpp=DIR" in capsys.readouterr().out
