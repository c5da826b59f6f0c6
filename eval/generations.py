"""Generated replies that are kept, so that no reply is generated twice, and an interrupted evaluation goes on."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import xxhash

from pipeline.folder import file_digest
from pipeline.room import writing
from pipeline.store import lock
from train.generate import Reply


def model_digest(base: Path, adapter: Path | None) -> str:
    """xxh3-128 over names and digests of the weights and settings in a model's folder, and in its adapter's."""
    state = xxhash.xxh3_128()
    for folder in (base, adapter):
        for path in sorted(folder.iterdir()) if folder is not None else ():
            if path.suffix == ".safetensors" or path.name in ("config.json", "adapter_config.json", "tokenizer.json"):
                state.update(f"{path.name}\x1f{file_digest(path)}\x1f".encode())
    return state.hexdigest()


def settings_digest(**settings: Any) -> str:
    """xxh3-128 of settings as canonical JSON."""
    return xxhash.xxh3_128_hexdigest(json.dumps(settings, sort_keys=True, ensure_ascii=False).encode())


class Generations:
    """The replies of one model under one set of settings: a file of JSON lines that only grows.

    A line that a killed process left half-written, or that is damaged, is none, and its prompt is answered again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found = dict(_read(path))

    def of(self, prompts: Sequence[str]) -> dict[int, Reply]:
        """What is there already, by the prompts' places."""
        keys = map(_key, prompts)
        return {at: self.found[key] for at, key in enumerate(keys) if key in self.found}

    def take(self, prompts: Sequence[str], fresh: Generator[tuple[int, Reply]]) -> Generator[tuple[int, Reply]]:
        """Hand replies on, each once it is on the disk."""
        with closing(fresh):
            for at, reply in fresh:
                key = _key(prompts[at])
                line = {"prompt": key, "text": reply.text, "tokens": reply.tokens, "ended": reply.ended}
                with writing(self.path), self.path.open("ab") as stream:
                    stream.write(json.dumps(line).encode() + b"\n")  # in ASCII: lone surrogates stay what they are
                self.found[key] = reply
                yield at, reply


@contextmanager
def kept_generations(pools: Path, model: str, settings: str) -> Generator[Generations]:
    """Those of a model under some settings, while no other process adds to them."""
    path = pools / "generations" / f"{model}-{settings}.jsonl"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with lock(pools, path):
        with writing(path):
            _mend(path)
        yield Generations(path)


def _read(path: Path) -> Iterator[tuple[str, Reply]]:
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            value = json.loads(line)
            key, text, tokens, ended = (value[name] for name in ("prompt", "text", "tokens", "ended"))
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        if isinstance(key, str) and isinstance(text, str):
            yield key, Reply(text, tokens, ended)


def _mend(path: Path) -> None:
    """Cut off a last line that has no end."""
    if path.is_file():
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with path.open("rb+") as stream:
                stream.truncate(whole)


def _key(prompt: str) -> str:
    return xxhash.xxh3_128_hexdigest(prompt.encode("utf-8", "surrogatepass"))
