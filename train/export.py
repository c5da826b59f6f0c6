"""A run in the form that others want: for Ollama, as GGUF, or as a folder for the hub. Nothing is uploaded."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, StoreError, TemplateError
from pipeline.folder import Folder
from pipeline.render.renderer import Renderer
from pipeline.room import require_free, require_place, require_room
from pipeline.store import lock, new_folder
from train.adapted import run_template
from train.card import base_id, model_card
from train.merge import is_merged, merge_run
from train.model import load_tokenizer
from train.modelfile import Message, Turns, find_turns, modelfile
from train.room import writing_tensors
from train.run import Run

Say = Callable[[str], None]
TARGETS = ("ollama", "gguf", "hub_folder")
GGUF_TYPES = ("auto", "f32", "f16", "bf16", "q8_0")
# The converter of llama.cpp: in its folder, or by either name on the PATH.
_CONVERTERS = ("convert_hf_to_gguf.py", "convert-hf-to-gguf")
_LLAMA_CPP = "git clone https://github.com/ggml-org/llama.cpp"
_GO_ON_HUB = (".safetensors", ".json", ".jinja", ".md", ".model")
# What a library notes of the machine it ran on.
_OF_THE_MACHINE = ("is_local", "local_files_only", "name_or_path")
_GGUF_BYTES = {"f32": 4, "q8_0": 1.07}  # a weight; else two


@dataclass(frozen=True)
class Export:
    """What is asked for. `out` of None is a folder in the run; `name` is what Ollama is to call the model."""

    to: str
    merged: bool
    out: Path | None
    name: str | None
    gguf_type: str
    llama_cpp: Path | None
    dtype: str
    device: str
    base: Path | None


def export_run(run: Run, asked: Export, say: Say) -> Path:
    """Write what is asked for, and return its folder; the model is merged first where that is needed.

    Raises: StoreError without an adapter, for a folder that is in use, or where another program fails; ConfigError
    if llama.cpp is needed and not there; TemplateError for a template that Ollama has no way to write; MergeError.
    """
    run.require_adapter()
    make, kind = {
        "ollama": (_ollama, "ollama"),
        "gguf": (_gguf, "gguf"),
        "hub_folder": (_hub_folder, "merged_hub" if asked.merged else "lora_hub"),
    }[asked.to]
    target = asked.out if asked.out is not None else run.folder / f"{run.manifest['model']['short']}_{kind}"
    if asked.out is not None:
        require_free(target)
    require_place("out", target)
    return make(run, asked, target, say)


def _merged(run: Run, asked: Export, say: Say) -> Path:
    if is_merged(run):
        say(f"merged     {run.merged.name} is there")
        return run.merged
    return merge_run(run, say, asked.dtype, asked.device, asked.base)


@contextmanager
def _new(run: Run, target: Path) -> Generator[Folder]:
    with writing_tensors(target), lock(run.folder, target), new_folder(target) as folder:
        yield folder
        folder.adopt()


def _hub_folder(run: Run, asked: Export, target: Path, say: Say) -> Path:
    source = _merged(run, asked, say) if asked.merged else run.adapter
    title = asked.name or f"{run.manifest['model']['short']}-{run.manifest['bundle']['mix']}"
    with _new(run, target) as folder:
        for path in sorted(source.iterdir()):
            if path.suffix in _GO_ON_HUB:
                _link(path, folder.path / path.name)
        _rewrite(folder, "tokenizer_config.json", lambda settings: _without(settings, _OF_THE_MACHINE))
        if not asked.merged:
            _rewrite(folder, "adapter_config.json", lambda settings: settings | _base_of(run))
        folder.write_text("README.md", model_card(run.manifest, title, asked.merged))
    say(f"hub        {', '.join(sorted(path.name for path in target.iterdir()))}")
    say(f"           to upload it: hf upload OWNER/{title} {shlex.quote(str(target))}")
    return target


def _base_of(run: Run) -> dict[str, Any]:
    """What an adapter says of its base: where others find it, not where it is on this machine."""
    model = run.manifest["model"]
    return {"base_model_name_or_path": base_id(model) or model["short"], "revision": model["commit"]}


def _ollama(run: Run, asked: Export, target: Path, say: Say) -> Path:
    turns = run_turns(run)
    name = asked.name or _ollama_name(run)
    converter = find_converter(asked.llama_cpp) if asked.llama_cpp is not None else None
    source = _merged(run, asked, say)
    with _new(run, target) as folder:
        for path in sorted(source.iterdir()):
            _link(path, folder.path / path.name)
        _rewrite(folder, "tokenizer_config.json", lambda settings: _with_no_bos(settings, folder.path))
        model = "."
        if converter is not None:
            model = f"./{name.rpartition('/')[2].partition(':')[0]}.gguf"
            parts = list(folder.path.iterdir())
            _convert(converter, folder.path, folder.path / model, asked.gguf_type, say)
            for path in parts:
                path.unlink()
        folder.write_text("Modelfile", modelfile(model, turns, stops(run)))
    command = ["ollama", "create", name, "-f", "Modelfile"]
    say(f"ollama     {target / 'Modelfile'}, template {run.manifest['template']['name']}")
    if shutil.which("ollama") is None:
        say("           the program ollama is not installed here; where it is, run")
        say(f"           cd {shlex.quote(str(target.resolve()))} && {shlex.join(command)} && ollama run {name}")
        return target
    say(f"           {shlex.join(command)}")
    done = subprocess.run(command, cwd=target, stdout=2, check=False)  # to stderr, as it is progress
    if done.returncode != 0:
        what = f"`{shlex.join(command)}` ended with status {done.returncode}; what it said stands above"
        fix = "if no server runs: `ollama serve`; if it cannot import this architecture: set llama_cpp=DIR"
        raise StoreError(f"ollama {name}", what, fix)
    say(f"           to talk with it: ollama run {name}")
    return target


def _ollama_name(run: Run) -> str:
    name = f"{run.manifest['model']['short']}-{run.manifest['bundle']['mix']}".lower()
    return re.sub(r"[^a-z0-9._-]+", "-", name).strip("._-")


def run_turns(run: Run) -> Turns:
    """The pieces of text around the turns of a run's template. Raises: TemplateError."""
    template = run_template(run)
    with Renderer(template) as renderer:

        def render(messages: Sequence[Message]) -> str:
            row = renderer.rows([{"messages": list(messages), "tools": None, "meta": None, "prompt": True}])[0]
            if "error" in row:
                fix = "serve the run by a program that reads Jinja: export to=gguf or to=hub_folder"
                raise TemplateError(f"template {template.name}", f"refuses plain turns ({row['error']})", fix)
            return row["text"]

        return find_turns(template.name, render)


def stops(run: Run) -> list[str]:
    """The texts of the tokens at which an answer ends."""
    settings = json.loads((run.adapter / "generation_config.json").read_text(encoding="utf-8"))
    tokenizer = load_tokenizer(run.adapter)
    return [text for token in settings["eos_token_id"] if (text := tokenizer.decode([token])).strip()]


def _with_no_bos(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The template writes whatever a text begins with; Ollama is told not to write it a second time.

    It notes that only for a tokenizer that has a special token to begin with, so one that has none names any.
    """
    added = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")).get("added_tokens", [])
    names = [token["content"] for token in added]
    return {"bos_token": names[0] if names else None} | _given(settings) | {"add_bos_token": False}


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _gguf(run: Run, asked: Export, target: Path, say: Say) -> Path:
    converter = find_converter(asked.llama_cpp)
    source = _merged(run, asked, say)
    kind = "" if asked.gguf_type == "auto" else f"-{asked.gguf_type}"
    file = f"{run.manifest['model']['short']}-{run.manifest['bundle']['mix']}{kind}.gguf"
    require_room(target, run.manifest["model"]["parameters"] * _GGUF_BYTES.get(asked.gguf_type, 2))
    with _new(run, target) as folder:
        _convert(converter, source, folder.path / file, asked.gguf_type, say)
    say(f"           to talk with it: llama-cli -m {shlex.quote(str(target / file))} --jinja")
    return target


def find_converter(llama_cpp: Path | None) -> list[str]:
    """The command that begins llama.cpp's conversion. Raises: ConfigError if there is none here, saying what to do.

    The package gguf writes files, but only llama.cpp's own script knows which tensor of which model goes where.
    """
    if llama_cpp is not None:
        script = llama_cpp / _CONVERTERS[0]
        if not script.is_file():
            what, fix = f"has no {_CONVERTERS[0]}", f"name the folder of llama.cpp: {_LLAMA_CPP}"
            raise ConfigError(f"llama_cpp={llama_cpp}", what, fix)
        return [sys.executable, str(script)]
    for name in _CONVERTERS:
        found = shutil.which(name)
        if found is not None:
            return [sys.executable, found] if found.endswith(".py") else [found]
    what = f"llama.cpp's {_CONVERTERS[0]} is needed, and neither named nor on the PATH"
    raise ConfigError("to=gguf", what, f"{_LLAMA_CPP}, then: python -m train export to=gguf llama_cpp=llama.cpp")


def _convert(converter: Sequence[str], source: Path, target: Path, kind: str, say: Say) -> None:
    """Run the converter, and look at what it wrote. Raises: StoreError."""
    command = [*converter, str(source), "--outfile", str(target), "--outtype", kind]
    say(f"gguf       {shlex.join([*converter, str(source), '--outtype', kind])}")
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode != 0 or not target.is_file():
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        what = f"llama.cpp's converter ended with status {done.returncode}: {' / '.join(said[-3:])[:600]}"
        raise StoreError(f"model {source.name}", what, "mend what it says; a newer llama.cpp knows more architectures")
    from gguf import GGUFReader

    tensors = GGUFReader(str(target)).tensors
    say(f"gguf       {target.name}: {len(tensors):,} tensors, {target.stat().st_size / 2**20:,.0f} MiB")


def _link(source: Path, target: Path) -> None:
    """The same file in another folder, without a copy where the disk can; neither is ever written to again."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _rewrite(folder: Folder, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """A JSON file of the folder with its settings changed; what it was linked to stays as it is."""
    path = folder.path / name
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    folder.write_json(name, change(settings))


def _without(settings: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}
