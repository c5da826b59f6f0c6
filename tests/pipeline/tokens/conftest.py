"""Small tokenizers, trained here, and rows rendered and encoded."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from pipeline.render.loss import Loss
from pipeline.render.render import Rendering, render
from pipeline.render.renderer import Renderer
from pipeline.render.template import Template
from pipeline.schema import MESSAGE, POOL
from pipeline.tokens.codec import Codec
from pipeline.tokens.tokenizer import TokenizerFile, open_tokenizer

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parents[3]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CORPUS = [
    *("Hello world, how are you?  I'm fine.\n\n\nWhat is 1+1? It is 2.\n\n", "user\nassistant\nsystem\n" * 3),
    *("一块橡皮8角，一把尺子15角。等于二。", "👩‍👩‍👧 ☀️ 👍🏽 é ñ", "   spaces   and\ttabs\n\n", "user's  \n\n\n answer"),
] * 20
# Name → how the small tokenizers differ.
BYTE_LEVEL = ("bytes", "bytes, offsets trimmed", "bytes, composed", "bytes missing")
SENTENCES = ("sentences", "sentences always", "sentences never", "sentences by normalizer", "sentences of words")


@cache
def trained(name: str) -> str:
    """The text of a tokenizer.json."""
    return _byte_level(name) if name in BYTE_LEVEL else _sentences(name)


def _byte_level(name: str) -> str:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets="trimmed" in name)
    if "composed" in name:
        tokenizer.normalizer = normalizers.NFC()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=SPECIAL, initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    data = json.loads(tokenizer.to_str())
    if "missing" in name:  # as some published vocabularies lack bytes that no text should have
        merged = {letter for pair in data["model"]["merges"] for letter in "".join(pair)}
        plain = {*"abcdefghijklmnopqrstuvwxyz<|>_ĠĊ"}
        for letter in [letter for letter in letters if letter not in merged | plain][:20]:
            del data["model"]["vocab"][letter]
    return json.dumps(data)


def _sentences(name: str) -> str:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))  # noqa: S106
    scheme = {"sentences always": "always", "sentences never": "never"}.get(name, "first")
    if name == "sentences by normalizer":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=name == "sentences of words")
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    special = ["<unk>", "<bos>", *SPECIAL, *fallback]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([text[:40] for text in CORPUS], trainer)
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] not in fallback]
    return json.dumps(data)


@pytest.fixture(scope="session")
def tokenizer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], TokenizerFile]:
    """tokenizer("bytes") → one of the small ones; tokenizer("qwen3") → the real one, where it is. A second argument
    changes its data, a mapping, in place."""

    def find(name: str, change: Callable[[Any], object] | None = None) -> TokenizerFile:
        if name == "qwen3":
            return open_tokenizer(str(request.getfixturevalue("shared") / "qwen3_tokenizer"))
        data = json.loads(trained(name))
        if change is not None:
            change(data)
        path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
        path.write_text(json.dumps(data), "utf-8")
        return open_tokenizer(str(path))

    return cache(find)


@pytest.fixture(scope="session")
def codec(tokenizer: Callable[[str], TokenizerFile]) -> Generator[Callable[..., Codec]]:
    """codec("bytes"), codec("bytes", "tokenizers") → loaded once; codec(file) for another file."""
    found: dict[Any, Codec] = {}

    def find(name: str | TokenizerFile, backend: str = "auto") -> Codec:
        file = tokenizer(name) if isinstance(name, str) else name
        return found.setdefault((str(file.path), backend), Codec(file, backend))

    yield find
    for one in found.values():
        one.__exit__(None, None, None)


def batch(rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows with the columns of a pool; each has `messages`, and `tools` and `meta` as JSON text."""
    empty: Row = {"source": "t", "tags": [], "answer": None, "key": "", "prompt_key": "", "tools": None, "meta": None}
    turn = dict.fromkeys(field.name for field in MESSAGE)
    filled = [
        empty | {"id": f"t:{k}"} | row | {"messages": [turn | message for message in row["messages"]]}
        for k, row in enumerate(rows)
    ]
    return pa.RecordBatch.from_pylist(filled, schema=POOL)


USUAL = Loss()


class Rendered:
    """Rows under a template of the project, or under Jinja text, each in a sandbox that stays open."""

    def __init__(self) -> None:
        self.open: dict[str, Renderer] = {}

    def renderer(self, name: str) -> Renderer:
        """The sandbox of a template."""
        if name not in self.open:
            text, variables = name, {}
            if "{" not in name:
                folder = ROOT / "conf" / "template"
                text = (folder / f"{name}.jinja").read_text("utf-8")
                found = yaml.safe_load((folder / f"{name}.yaml").read_text("utf-8"))
                variables = {k: v for k, v in found.items() if k not in ("name", "path") and v is not None}
            self.open[name] = Renderer(Template(name, text, variables)).__enter__()
        return self.open[name]

    def __call__(
        self, name: str, rows: Sequence[Row], loss: Loss = USUAL
    ) -> tuple[pa.RecordBatch, pa.RecordBatch, Renderer]:
        """The rows as a batch, their texts and targets, and the sandbox: the arguments of `encode`."""
        columns = batch(rows)
        renderer = self.renderer(name)
        return columns, render(columns, Rendering(renderer, loss)).columns, renderer


@pytest.fixture(scope="session")
def rendered() -> Generator[Rendered]:
    """rendered("chatml", rows, loss) → what `encode` takes."""
    found = Rendered()
    yield found
    for renderer in found.open.values():
        renderer.__exit__(None, None, None)
