"""Write a run in the form that others want: for Ollama, as GGUF, or as a folder for the hub.

Examples:
  python -m train export to=ollama
  python -m train export to=ollama name=my-tutor
  python -m train export run=PATH to=gguf llama_cpp=DIR gguf_type=q8_0
  python -m train export to=ollama llama_cpp=DIR
  python -m train export to=hub_folder
  python -m train export to=hub_folder merged=true out=DIR

What it writes:
  to=ollama       the merged model with a Modelfile: the run's chat template in Ollama's language,
                  what ends an answer, temperature 0. Where ollama is installed, `ollama create` is
                  run, else its command is printed. With llama_cpp=DIR the model in it is a GGUF
                  file, for architectures that Ollama does not import by itself
  to=gguf         one GGUF file of the merged model, by llama.cpp's convert_hf_to_gguf.py
  to=hub_folder   the adapter (merged=true: the merged model) and its tokenizer with a model card: the
                  mix, the validation losses, how it is used. Nothing is uploaded

The model is merged first where it is not yet (see merge). Ollama's templates cannot take the blanks from
the ends of a text, as those of Gemma and Llama do; for texts without, prompts are those of the training,
which is checked. The last line printed is the folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.front import Job

if TYPE_CHECKING:
    from train.export import Export


def run(config: dict[str, Any], _job: Job) -> None:
    """Export, and print the folder."""
    from pipeline.cli import prepare_libraries

    prepare_libraries(config.get("threads"))
    name, runs, asked = _read(config)
    from train.export import export_run
    from train.quiet import quiet
    from train.run import open_run

    quiet()
    print(export_run(open_run(name, runs), asked, lambda line: print(line, flush=True)))


def _read(config: dict[str, Any]) -> tuple[str, Path, Export]:
    """The run's name, the folder of runs, and what is asked for. Raises: ConfigErrors."""
    from pipeline.errors import ConfigErrors, PoolmixError
    from pipeline.settings import Settings, is_bool, is_text, is_whole
    from train.export import GGUF_TYPES, TARGETS, Export
    from train.settings import DEVICES, DTYPES

    errors: list[PoolmixError] = []
    top = Settings(config, "", errors)
    top.known(
        {"run", "to", "merged", "name", "out", "gguf_type", "llama_cpp", "dtype", "device", "base", "threads", "paths"}
    )

    def folder(key: str) -> Path | None:
        value = top.value(key, is_text, "a folder or null", "DIR")
        return Path(value).expanduser() if value is not None else None

    top.value("threads", is_whole(1), "a whole number above 0", "2")
    name = top.required("run", is_text, "a run's folder or name, or latest", "latest", "latest")
    runs = Settings(config.get("paths"), "paths", errors).required("runs", is_text, "a folder", "DIR", ".")
    asked = Export(
        to=top.one_of("to", TARGETS),
        merged=top.required("merged", is_bool, "true or false", "false", False),
        out=folder("out"),
        name=top.value("name", is_text, "a name", "my-model"),
        gguf_type=top.one_of("gguf_type", GGUF_TYPES),
        llama_cpp=folder("llama_cpp"),
        dtype=top.one_of("dtype", DTYPES),
        device=top.one_of("device", DEVICES),
        base=folder("base"),
    )
    if errors:
        raise ConfigErrors(errors)
    return name, Path(runs).expanduser(), asked
