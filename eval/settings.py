"""Everything that an evaluation is told, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.measures import MEASURES, METRICS
from eval.server import APIS, Server
from pipeline.configuration import read_out
from pipeline.errors import ConfigError, ConfigErrors, PoolmixError
from pipeline.settings import Settings, is_bool, is_number, is_text, is_text_list, is_whole
from train.models import ModelSettings, read_model
from train.settings import DEVICES, DTYPES, QUANTS, Hardware, TrainPaths, read_train_paths

BACKENDS = ("transformers", "openai")
_KEYS = {
    *("bundle", "run", "allow_other_bundle", "out", "limit", "seed", "backend", "base_url", "model_name"),
    *("server", "threads", "device", "dtype", "quant", "tokens", "eval", "paths", "model", "template"),
}


@dataclass(frozen=True)
class Evaluation:
    """An evaluation. `metrics` are names of `eval.measures.METRICS`, `limit` counts rows of each source.

    `server` of None generates here. `config` is the composed configuration, as the result records it.
    """

    bundle: str | None
    run: str | None
    allow_other_bundle: bool
    out: Path | None
    limit: int | None
    seed: int
    server: Server | None
    hardware: Hardware
    metrics: Sequence[str]
    buckets: Sequence[str] | None
    max_new_tokens: int
    batch_size: int
    model: ModelSettings
    paths: TrainPaths
    config: Mapping[str, Any]


def read_evaluation(config: Mapping[str, Any]) -> Evaluation:
    """The settings of an evaluation. Raises: ConfigErrors with every mistake found."""
    errors: list[PoolmixError] = []
    top = Settings(config, "", errors)
    top.known(_KEYS)
    node = Settings(config.get("eval"), "eval", errors)
    node.known({"metrics", "buckets", "max_new_tokens", "batch_size"})
    whole = (is_whole(1), "a whole number above 0")
    metrics = node.required("metrics", is_text_list, "a list of measures", "[perplexity]", [])
    for name in metrics:
        if name not in METRICS:
            node.wrong("metrics", metrics, f"of {', '.join(METRICS)}", "[perplexity]")
            break
    if not metrics:
        node.wrong("metrics", metrics, "at least one measure", "[perplexity]")
    elif top.node.get("backend") == "openai" and not any(name in MEASURES for name in metrics):
        what = "a server does not tell perplexity, and nothing else is to be measured"
        errors.append(ConfigError("eval.metrics", what, "add a measure of replies: eval.metrics=[usability]"))
    settings = Evaluation(
        bundle=top.value("bundle", is_text, "a bundle's folder or name, or latest", "latest"),
        run=top.value("run", is_text, "a run's folder or name, or latest", "latest"),
        allow_other_bundle=bool(top.value("allow_other_bundle", is_bool, "true or false", "true", False)),
        out=read_out(top),
        limit=top.value("limit", *whole, "100"),
        seed=top.required("seed", is_whole(0), "a whole number from 0", "42", 0),
        server=_server(top),
        hardware=_hardware(top),
        metrics=metrics,
        buckets=node.value("buckets", is_text_list, "a list of buckets, or null", "[all]"),
        max_new_tokens=node.required("max_new_tokens", *whole, "128", 1),
        batch_size=node.required("batch_size", *whole, "16", 1),
        model=read_model(config, errors),
        paths=read_train_paths(config, errors),
        config=config,
    )
    top.value("threads", *whole, "2")
    if errors:
        raise ConfigErrors(errors)
    return settings


def _server(top: Settings) -> Server | None:
    """What `backend` says. `base_url` and `model_name` go with a server, and a server goes with them."""
    backend = top.one_of("backend", BACKENDS)
    base_url = top.value("base_url", _is_url, "an address that begins with http:// or https://", "http://localhost/v1")
    name = top.value("model_name", is_text, "what the server calls the model", "NAME")
    node = Settings(top.node.get("server"), "server", top.errors)
    node.known({"api", "api_key_env", "concurrency", "timeout", "retries", "extra"})
    fields = dict[str, Any](
        api=node.one_of("api", tuple(APIS)),
        api_key_env=node.value("api_key_env", is_text, "the name of an environment variable, or null", "NAME"),
        concurrency=node.required("concurrency", is_whole(1), "a whole number above 0", "8", 1),
        timeout=node.required("timeout", is_number(0.001), "seconds above 0", "120", 1.0),
        retries=node.required("retries", is_whole(0), "a whole number from 0", "4", 0),
        extra=node.value("extra", lambda value: isinstance(value, Mapping), "a mapping", "{top_k: 1}", {}),
    )
    if backend == "openai":
        for key, example in (("base_url", "http://localhost:8000/v1"), ("model_name", "NAME")):
            if top.node.get(key) is None:
                top.wrong(key, None, "given with backend=openai", example)
        if top.node.get("run") is not None:
            what = "a server has models, not runs"
            fix = "take run= out, serve the run's merged model, and name it with model_name="
            top.errors.append(ConfigError(f"run={top.node['run']}", what, fix))
        return Server(base_url=base_url, model=name, **fields) if base_url and name else None
    if base_url is not None or name is not None:
        top.wrong("backend", backend, "openai where base_url or model_name is set", "openai")
    return None


def _hardware(top: Settings) -> Hardware:
    return Hardware(
        device=top.one_of("device", DEVICES),
        dtype=top.one_of("dtype", DTYPES),
        quant=top.one_of("quant", QUANTS),
        attention="auto",
        optim="auto",
        gradient_checkpointing=False,
    )


def _is_url(value: Any) -> bool:
    return is_text(value) and value.startswith(("http://", "https://"))
