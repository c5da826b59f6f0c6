"""What `show` is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, ConfigErrors, PoolmixError
from pipeline.settings import Settings, is_text, is_text_list, is_whole, read_paths


@dataclass(frozen=True)
class Asked:
    """The settings of `show`."""

    n: int
    pool: str | None
    rows: str | None
    sources: list[str]
    tag: str | None
    id: str | None
    text: bool
    template: Mapping[str, Any] | None
    tokenizer: str | None
    packed: bool
    quarantine: bool
    reason: str | None
    json: bool
    pools: Path

    @property
    def viewing(self) -> bool:
        """Whether texts or tokens are to be shown in place of messages."""
        return self.text or self.template is not None or self.tokenizer is not None


def read_asked(config: Mapping[str, Any]) -> Asked:
    """Raises: ConfigErrors with every mistake found."""
    errors: list[PoolmixError] = []
    tag = config.get("tag")
    top = Settings({**config, "tag": str(tag) if isinstance(tag, int) else tag}, "", errors)  # a tag may be 2024

    def flag(name: str) -> bool:
        return bool(top.required(name, lambda value: isinstance(value, bool), "true or false", "true", False))

    names = top.value("sources", lambda value: is_text(value) or is_text_list(value), "a source or a list", "NAME", [])
    asked = Asked(
        n=top.required("n", is_whole(0), "a whole number from 0", "3", 0),
        pool=top.value("pool", is_text, "the name of a source", "NAME"),
        rows=top.value("rows", lambda value: value in ("train", "validation"), "train or validation", "train"),
        sources=[names] if isinstance(names, str) else names,
        tag=top.value("tag", is_text, "a tag", "NAME"),
        id=top.value("id", is_text, "SOURCE:ROW", "cmath:17"),
        text=flag("text"),
        template=config.get("template"),
        tokenizer=top.value("tokenizer", is_text, "a model's name, a folder or a tokenizer.json", "NAME"),
        packed=flag("packed"),
        quarantine=flag("quarantine") or config.get("reason") is not None,
        reason=top.value("reason", is_text, "a reason", "NAME"),
        json=top.required("format", lambda value: value in ("text", "json"), "text or json", "json", "text") == "json",
        pools=read_paths(config, errors).pools,
    )
    errors += _idle(asked)
    if errors:
        raise ConfigErrors(errors)
    return asked


def _idle(asked: Asked) -> list[PoolmixError]:
    """An error for each setting that has no effect beside another."""
    values: dict[str, Any] = {
        "sources": asked.sources,
        **{
            name: getattr(asked, name)
            for name in ("rows", "tag", "text", "template", "tokenizer", "packed", "quarantine")
        },
    }
    beside = {
        "id": ("rows", "tag", "sources", "quarantine", "packed"),
        "quarantine": ("rows", "tag", "text", "template", "tokenizer", "packed"),
        "packed": ("sources", "tag", "text"),
        "pool": ("rows", "packed"),
    }
    idle: dict[str, str] = {}
    for chosen in (name for name in beside if getattr(asked, name)):
        for name in beside[chosen]:
            if values[name]:
                idle.setdefault(name, chosen)
    return [
        ConfigError(name, f"has no effect beside {chosen}", f"take {name} or {chosen} out")
        for name, chosen in idle.items()
    ]
