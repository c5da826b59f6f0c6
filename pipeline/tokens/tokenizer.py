"""A tokenizer's files: `tokenizer.json` and what stands beside it, from a file, a folder or the hub."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import xxhash

from pipeline.errors import ConfigError
from pipeline.render.template import Template
from pipeline.small_files import read_small, read_small_text

_MOST_BYTES = 256 << 20  # of tokenizer.json; the largest in use have 35 MB
_MOST_GROWTH = 100  # those in use leave texts as long as they are, or write one sign for another
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


class AddedToken(msgspec.Struct):
    """A token that is found in a text before anything else."""

    id: int
    content: str
    special: bool = False


class Model(msgspec.Struct):
    """The model of tokenizer.json; `vocab` is a list of pairs where the model is Unigram."""

    vocab: dict[str, int] | list[Any]
    type: str | None = None
    byte_fallback: bool | None = None


class Content(msgspec.Struct):
    """tokenizer.json, as far as it matters here."""

    model: Model
    added_tokens: list[AddedToken] = []
    normalizer: Any = None


def _growth(normalizer: Any) -> float:
    """How many times as long a text may become by its replacements, one upon the other.

    What is put before each piece of a text, however short, counts as if it replaced a character.
    """
    if not isinstance(normalizer, dict):
        return 1
    growth = max(1.0, len(str(normalizer.get("prepend", ""))), _longest(normalizer.get("precompiled_charsmap")))
    parts: Any = normalizer.get("normalizers")
    for own in parts if isinstance(parts, list) else ():
        growth *= _growth(own)
    if "content" in normalizer:
        pattern: Any = normalizer.get("pattern")
        taken = len(str(pattern["String"])) if isinstance(pattern, dict) and "String" in pattern else 0
        growth *= max(1.0, len(str(normalizer["content"])) / (taken or 0.5))  # an expression may match nothing
    return growth


def _longest(table: Any) -> int:
    """The characters of the longest text in a table of SentencePiece's: the size of a tree of characters (4 bytes), the
    tree, and the texts that it writes for them, each with a zero at its end. What is no table has none."""
    if not isinstance(table, str):
        return 0
    try:
        data = base64.b64decode(table)
    except ValueError:
        return 0
    texts = data[4 + int.from_bytes(data[:4], "little") :].split(b"\0")
    return max(len(text.decode(errors="replace")) for text in texts)


@dataclass(frozen=True)
class TokenizerFile:
    """`path` is that of tokenizer.json and `data` its content; `name` is what the user called it.

    `config` is tokenizer_config.json as data, `chat_template` the model's own.
    """

    name: str
    path: Path
    data: bytes
    config: Mapping[str, Any]
    chat_template: str | None

    @cached_property
    def digest(self) -> str:
        """xxh3-64 of tokenizer.json, 16 hex digits."""
        return xxhash.xxh3_64_hexdigest(self.data)

    @cached_property
    def content(self) -> Content:
        """What is needed of tokenizer.json. Raises: ConfigError if it is none of a tokenizer, or would make texts
        longer than any tokenizer needs to."""
        try:
            found = msgspec.json.decode(self.data, type=Content)
        except (msgspec.DecodeError, RecursionError) as error:
            what = f"its tokenizer.json is not valid ({error})"
            raise ConfigError(f"tokenizer={self.name}", what, "name another") from error
        if _growth(found.normalizer) > _MOST_GROWTH:
            what = f"its normalizer makes texts more than {_MOST_GROWTH} times as long"
            raise ConfigError(f"tokenizer={self.name}", what, "name another")
        return found

    @cached_property
    def special(self) -> dict[str, int]:
        """Text → id of the tokens marked special, the longest text first."""
        tokens = [(token.content, token.id) for token in self.content.added_tokens if token.special]
        return dict(sorted(tokens, key=lambda token: (-len(token[0]), token[0])))

    @cached_property
    def special_texts(self) -> re.Pattern[str]:
        """Matches the special tokens, the longest first."""
        return re.compile("|".join(map(re.escape, self.special)) or "(?!)")

    @cached_property
    def size(self) -> int:
        """One more than the highest id."""
        vocabulary = self.content.model.vocab
        own = max(vocabulary.values(), default=-1) if isinstance(vocabulary, dict) else len(vocabulary) - 1
        return 1 + max([own, *(token.id for token in self.content.added_tokens)])

    def template(self, variables: Mapping[str, Any]) -> Template:
        """The tokenizer's own chat template, given its special tokens as transformers does.

        Raises: ConfigError if it has none.
        """
        if self.chat_template is None:
            raise ConfigError(
                "template=tokenizer", f"{self.name} has no chat template", "name a template of the project"
            )
        tokens = {name: self.config.get(name) for name in _SPECIAL}
        texts = {name: token.get("content") if isinstance(token, dict) else token for name, token in tokens.items()}
        given = {name: text for name, text in texts.items() if isinstance(text, str)}
        return Template("tokenizer", self.chat_template, given | dict(variables))


def open_tokenizer(name: str) -> TokenizerFile:
    """A tokenizer by the path of its tokenizer.json, by a folder that has one, or by a model's name on the hub.

    Raises: ConfigError if there is none, or if it is not valid JSON.
    """
    place = Path(name).expanduser()
    if not place.exists():
        place = _from_hub(name)
    path = place / "tokenizer.json" if place.is_dir() else place
    if not path.is_file():
        raise ConfigError(f"tokenizer={name}", "the folder has no tokenizer.json", "name a model, a folder or the file")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(f"tokenizer={name}", f"{path.name} has more than {_MOST_BYTES:,} bytes", "name another")
        data = path.read_bytes()
        config, template = _beside(path.parent)
    except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
        what = f"its files cannot be read ({' '.join(str(error).split())[:200] or type(error).__name__})"
        raise ConfigError(f"tokenizer={name}", what, "mend them, or name another") from error
    return TokenizerFile(name, path, data, config, template)


def _beside(folder: Path) -> tuple[dict[str, Any], str | None]:
    """What tokenizer_config.json says, and the chat template. Raises: whatever a file that is none may cause."""
    path = folder / "tokenizer_config.json"
    config = json.loads(read_small(path)) if path.is_file() else {}
    if not isinstance(config, dict):
        raise TypeError(f"{path.name} is no object")
    own = folder / "chat_template.jinja"
    template = read_small_text(own) if own.is_file() else config.get("chat_template")
    if isinstance(template, list):  # several by name
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    if not isinstance(template, str | None):
        raise TypeError("its chat template is no text")
    (template or "").encode()
    return config, template


def _from_hub(name: str) -> Path:
    """The folder in the hub's cache with a model's tokenizer, downloaded where it is not there yet."""
    import httpx2
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    fix = "name a folder or a tokenizer.json, or try again with a network (a gated model: `hf auth login`)"
    try:
        files = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
        return Path(snapshot_download(name, allow_patterns=files))
    except HFValidationError as error:
        raise ConfigError(f"tokenizer={name}", "no such file or folder, and no model's name", fix) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx2.HTTPError, OSError) as error:
        what = f"no such file or folder, and the hub does not give it ({type(error).__name__})"
        raise ConfigError(f"tokenizer={name}", what, fix) from error


def byte_letters() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary (GPT-2's `bytes_to_unicode`)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]
