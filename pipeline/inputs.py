"""What training reads of the rows: their texts, and their token ids."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline import report
from pipeline.errors import ConfigError
from pipeline.input_settings import InputSettings
from pipeline.kept import Kept
from pipeline.pool import Pool
from pipeline.render.renderer import Renderer
from pipeline.render.template import TOKENIZER, Template
from pipeline.render.texts import make_texts, texts_folder
from pipeline.tokens.codec import Codec
from pipeline.tokens.ids import ids_folder, make_ids
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


@dataclass(frozen=True)
class Inputs:
    """Texts and ids of the pools, in the order of the pools; empty where they are not asked for."""

    texts: Sequence[Kept]
    ids: Sequence[Kept]


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
    pointer = source / "latest"
    return source / (pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else "none")


def make_inputs(settings: InputSettings, pools: Sequence[Pool], place: Path, with_: Tools, say: report.Say) -> Inputs:
    """Render and encode what the pools do not have yet; `place` is the folder of all pools."""
    texts: list[Kept] = []
    ids: list[Kept] = []
    if with_.renderer is None:
        return Inputs([], [])
    for pool in pools:
        with report.progress(f"render  {pool.name}") as advance:
            texts.append(make_texts(pool, place, with_.renderer, settings.loss_of(pool.name), advance))
    width = max(len(pool.name) for pool in pools)
    say(report.render_line(texts, width))
    if with_.codec is not None:
        for pool, text in zip(pools, texts, strict=True):
            with report.progress(f"tokenize  {pool.name}") as advance:
                ids.append(make_ids(pool, text, place, with_.codec, with_.renderer, advance))
        say(report.ids_line(ids, width))
    return Inputs(texts, ids)


def input_warnings(pools: Sequence[Pool], inputs: Inputs) -> list[str]:
    """What the user should know: rows without text, and rows without tokens although they have a text."""
    warnings: list[str] = []
    for pool, text in zip(pools, inputs.texts, strict=False):
        if text.manifest["refused"]:
            (row, error), name = text.manifest["first_refused"], text.manifest["template"]
            warnings.append(
                f"{text.manifest['refused']:,} rows of {pool.name} have no text, as {name} cannot render them "
                f"({row}: {error})"
            )
    for pool, ids in zip(pools, inputs.ids, strict=False):
        if ids.manifest["unmarked"]:
            warnings.append(
                f"{ids.manifest['unmarked']:,} rows of {pool.name} have no tokens: special tokens in their text "
                "cannot be told from the template's"
            )
    return warnings
