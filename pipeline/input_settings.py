"""How rows become training input: template, loss, tokenizer, and how sequences are cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, PoolmixError
from pipeline.render.loss import Loss, read_loss
from pipeline.render.template import Template, read_template
from pipeline.settings import Settings, is_text, is_whole

BACKENDS = ("auto", "tokenizers")
ON_LONG = ("truncate", "drop", "split")


@dataclass(frozen=True)
class Cutting:
    """`max_length` is in tokens. A longer row is truncated (its end is lost), dropped, or split into several."""

    max_length: int
    on_long: str
    pack: bool


@dataclass(frozen=True)
class InputSettings:
    """`template` is None for messages alone, `tokenizer` for no token ids; `losses` has that of each source."""

    template: Template | None
    loss: Loss
    losses: Mapping[str, Loss]
    tokenizer: str | None
    backend: str
    cutting: Cutting

    def loss_of(self, source: str) -> Loss:
        """The loss of a source; the build's own for one that is not of this build."""
        return self.losses.get(source, self.loss)


def read_inputs(
    config: Mapping[str, Any], root: Path, sources: Iterable[str], errors: list[PoolmixError]
) -> InputSettings:
    """The nodes `template`, `loss`, `tokenizer` and `tokens`, and `loss` of each source."""
    top = Settings(config, "", errors)
    loss = read_loss(config, "loss", errors)
    nodes = Settings(config.get("sources"), "sources", errors).node
    tokens = Settings(config.get("tokens"), "tokens", errors)
    tokens.known({"max_length", "on_long", "pack", "backend"})
    settings = InputSettings(
        template=read_template(config, root, errors),
        loss=loss,
        losses={
            name: read_loss(
                nodes[name] if isinstance(nodes.get(name), Mapping) else {}, f"sources.{name}.loss", errors, loss
            )
            for name in sources
        },
        tokenizer=top.value("tokenizer", is_text, "a model's name, a folder or a tokenizer.json", "NAME"),
        backend=tokens.required("backend", lambda value: value in BACKENDS, " or ".join(BACKENDS), "auto", "auto"),
        cutting=Cutting(
            max_length=tokens.required("max_length", is_whole(2), "a whole number above 1", "1024", 1024),
            on_long=tokens.required(
                "on_long", lambda value: value in ON_LONG, ", ".join(ON_LONG), "truncate", "truncate"
            ),
            pack=bool(tokens.required("pack", lambda value: isinstance(value, bool), "true or false", "true", True)),
        ),
    )
    if settings.tokenizer is not None and settings.template is None:
        errors.append(
            ConfigError(f"tokenizer={settings.tokenizer}", "there is no text to encode", "set template=NAME, too")
        )
    return settings
