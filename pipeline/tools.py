"""What renders and encodes: a template in its sandbox, and a tokenizer.

Nothing here imports Polars or Arrow, so that both can start while these are still being imported.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, PoolmixError
from pipeline.input_settings import InputSettings, read_inputs
from pipeline.pointer import read_pointer
from pipeline.render.loss import Loss
from pipeline.render.renderer import Renderer
from pipeline.render.template import TOKENIZER, Template
from pipeline.settings import read_paths
from pipeline.tokens.codec import Codec
from pipeline.tokens.tokenizer import open_tokenizer


@dataclass(frozen=True)
class Tools:
    """What renders and encodes; None where neither is asked for."""

    renderer: Renderer | None
    codec: Codec | None

    def both(self) -> tuple[Renderer, Codec]:
        """Raises: ValueError unless both are there."""
        if self.renderer is None or self.codec is None:
            raise ValueError("token ids need a template and a tokenizer")
        return self.renderer, self.codec

    def dismiss(self) -> None:
        """End the processes in the background, where nothing will be asked any more."""
        for tool in (self.renderer, self.codec):
            if tool is not None:
                threading.Thread(target=tool.close, daemon=True).start()


@contextmanager
def tools(settings: InputSettings) -> Generator[Tools]:
    """The template in its sandbox, and the tokenizer; both start when they are first asked.

    Raises: ConfigError if the tokenizer is not there, or has no template where its own is asked for.
    """
    codec = Codec(open_tokenizer(settings.tokenizer), settings.backend) if settings.tokenizer is not None else None
    template = _resolved(settings.template, codec)
    with ExitStack() as stack:
        if codec is not None:
            stack.enter_context(codec)
        yield Tools(stack.enter_context(Renderer(template)) if template is not None else None, codec)


def _resolved(template: Template | None, codec: Codec | None) -> Template | None:
    """The template itself, where it is the tokenizer's own."""
    if template is None or template.name != TOKENIZER:
        return template
    if codec is None:
        raise ConfigError("template=tokenizer", "no tokenizer is named", "set tokenizer=MODEL, a folder or a file")
    return codec.file.template(template.variables)


def start_early(settings: InputSettings, with_: Tools, pools: Path) -> None:
    """Start what will be needed, as far as the newest pools tell, while the raw files are still being read."""
    if with_.renderer is None:
        return
    newest = {name: _newest(pools / name) for name in settings.losses}
    texts = {name: texts_folder(pool, with_.renderer, settings.losses[name]) for name, pool in newest.items()}
    if not all(folder.is_dir() for folder in texts.values()):
        with_.renderer.start()
    codec = with_.codec
    if codec is not None and not all(ids_folder(newest[name], texts[name], codec).is_dir() for name in newest):
        codec.start()


def _newest(source: Path) -> Path:
    """The newest pool of a source, or where there is none a folder that is not there either."""
    return source / (read_pointer(source / "latest") or "none")


def texts_folder(pool: Path, renderer: Renderer, loss: Loss) -> Path:
    """Where the texts of a pool are kept."""
    return pool / "texts" / renderer.template.key(loss.settings())


def ids_folder(pool: Path, texts: Path, codec: Codec) -> Path:
    """Where the ids of a pool are kept: they depend on its texts and on the tokenizer."""
    return pool / "ids" / f"{texts.name}-{codec.file.digest}"


@contextmanager
def early_tools(config: Mapping[str, Any], root: Path) -> Generator[Tools]:
    """The tools of a build, started if it will need them; none where its settings are wrong, for it to say so."""
    errors: list[PoolmixError] = []
    settings = read_inputs(config, root, config.get("sources") or {}, errors)
    paths = read_paths(config, errors)
    if errors:
        yield Tools(None, None)
        return
    with tools(settings) as with_:
        start_early(settings, with_, paths.pools)
        yield with_
