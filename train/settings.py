"""Everything that a training is told, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, ConfigErrors, PoolmixError
from pipeline.names import PATH_RULE, is_path
from pipeline.settings import Settings, is_bool, is_number, is_text, is_text_list, is_whole
from pipeline.small_files import read_small_text
from train.foreign import MOST_RANK, TARGETS_RULE, are_plain_targets
from train.models import ModelSettings, read_model

_MOST_QUESTIONS = 1_000_000  # characters of a file

DEVICES = ("auto", "cuda", "mps", "cpu")
DTYPES = ("auto", "bf16", "fp16", "fp32")
QUANTS = ("auto", "nf4", "int8", "none")
ATTENTIONS = ("auto", "flash_attention_2", "documents", "sdpa", "eager")
REPORTS = ("none", "trackio", "tensorboard", "wandb")
_KEYS = {
    *("bundle", "build", "seed", "out", "resume", "threads", "device", "dtype", "quant", "attention", "lora"),
    *("tokens", "questions", "answer_tokens", "merge", "paths", "model", "train", "template", "experiment", "rows"),
}
_TRAIN_KEYS = {
    *("name", "epochs", "max_steps", "max_target_tokens", "per_device_train_batch_size"),
    *("gradient_accumulation_steps", "learning_rate", "lr_scheduler_type", "warmup_ratio", "weight_decay"),
    *("max_grad_norm", "optim", "gradient_checkpointing", "logging_steps", "eval_steps", "eval_rows", "save_steps"),
    *("save_total_limit", "early_stopping", "report_to"),
}


@dataclass(frozen=True)
class Lora:
    """`alpha / r` is what the adapter counts; `targets` of None are those that the model's file names."""

    r: int
    alpha: int
    dropout: float
    targets: Sequence[str] | str | None


@dataclass(frozen=True)
class Hardware:
    """What the user asks for; `auto` leaves it to `train.device`."""

    device: str
    dtype: str
    quant: str
    attention: str
    optim: str
    gradient_checkpointing: bool | None  # None: where memory would be short


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. `eval_steps` and `save_steps` below 1 are shares of all steps."""

    epochs: float
    max_steps: int | None
    max_target_tokens: int | None
    batch: int  # sequences at a time on one device
    accumulate: int  # times in a step
    learning_rate: float
    lr_scheduler_type: str
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    logging_steps: int
    eval_steps: float
    eval_rows: int | None
    save_steps: float
    save_total_limit: int | None
    early_stopping: int | None
    report_to: str


@dataclass(frozen=True)
class TrainPaths:
    """Where things are, relative to the working folder."""

    pools: Path
    bundles: Path
    runs: Path


@dataclass(frozen=True)
class Train:
    """A training. `config` is the composed configuration, as the run's manifest records it."""

    bundle: str
    build: Sequence[str]
    model: ModelSettings
    lora: Lora
    hardware: Hardware
    schedule: Schedule
    seed: int
    out: Path | None
    threads: int | None
    questions: Sequence[str]
    answer_tokens: int
    merge: bool
    paths: TrainPaths
    config: Mapping[str, Any]


def read_train(config: Mapping[str, Any]) -> Train:
    """The settings of a training. Raises: ConfigErrors with every mistake found."""
    errors: list[PoolmixError] = []
    top = Settings(config, "", errors)
    top.known(_KEYS)
    out = top.value("out", is_path, PATH_RULE, "DIR")
    settings = Train(
        bundle=top.required("bundle", is_text, "a bundle's folder or name, or latest", "latest", "latest"),
        build=top.value("build", is_text_list, "a list of settings", "[mix=math_heavy]", []),
        model=read_model(config, errors),
        lora=_lora(Settings(config.get("lora"), "lora", errors)),
        hardware=_hardware(top, Settings(config.get("train"), "train", errors)),
        schedule=_schedule(Settings(config.get("train"), "train", errors)),
        seed=top.required("seed", is_whole(0), "a whole number from 0", "42", 0),
        out=None if out is None else Path(out).expanduser(),
        threads=top.value("threads", is_whole(1), "a whole number above 0", "2"),
        questions=read_questions(top),
        answer_tokens=top.required("answer_tokens", is_whole(1), "a whole number above 0", "128", 1),
        merge=bool(top.required("merge", is_bool, "true or false", "false", False)),
        paths=read_train_paths(config, errors),
        config=config,
    )
    if config.get("rows") is not None and not settings.build:
        fix = "name a recipe that builds with rows of one's own: experiment=gemma3_qlora"
        errors.append(ConfigError(f"rows={config['rows']}", "`build` is empty, so nothing reads it", fix))
    if errors:
        raise ConfigErrors(errors)
    return settings


def read_train_paths(config: Mapping[str, Any], errors: list[PoolmixError]) -> TrainPaths:
    """`paths.pools`, `paths.bundles` and `paths.runs`."""
    node = Settings(config.get("paths"), "paths", errors)
    return TrainPaths(
        *(
            Path(node.required(name, is_path, PATH_RULE, "DIR", ".")).expanduser()
            for name in ("pools", "bundles", "runs")
        )
    )


def _is_rank(value: Any) -> bool:
    return is_whole(1)(value) and value <= MOST_RANK


def _lora(node: Settings) -> Lora:
    node.known({"r", "alpha", "dropout", "targets"})
    return Lora(
        r=node.required("r", _is_rank, f"a whole number from 1 to {MOST_RANK:,}", "16", 1),
        alpha=node.required("alpha", is_whole(1), "a whole number above 0", "32", 1),
        dropout=node.required("dropout", is_number(0, 0.99), "a share from 0 to 0.99", "0.05", 0.0),
        targets=node.value("targets", are_plain_targets, TARGETS_RULE, "[q_proj,v_proj]"),
    )


def _hardware(top: Settings, train: Settings) -> Hardware:
    checkpointing = train.required(
        "gradient_checkpointing",
        lambda value: is_bool(value) or value == "auto",
        "auto, true or false",
        "auto",
        "auto",
    )
    return Hardware(
        device=top.one_of("device", DEVICES),
        dtype=top.one_of("dtype", DTYPES),
        quant=top.one_of("quant", QUANTS),
        attention=top.one_of("attention", ATTENTIONS),
        optim=train.required("optim", is_text, "an optimizer's name", "auto", "auto"),
        gradient_checkpointing=None if checkpointing == "auto" else checkpointing,
    )


def _schedule(node: Settings) -> Schedule:
    node.known(_TRAIN_KEYS)
    whole = (is_whole(1), "a whole number above 0")
    steps = (is_number(1e-9), "a number of steps, or below 1 a share of them")
    return Schedule(
        epochs=node.required("epochs", is_number(1e-9), "a number above 0", "1", 1),
        max_steps=node.value("max_steps", *whole, "100"),
        max_target_tokens=node.value("max_target_tokens", *whole, "100000"),
        batch=node.required("per_device_train_batch_size", *whole, "1", 1),
        accumulate=node.required("gradient_accumulation_steps", *whole, "8", 1),
        learning_rate=node.required("learning_rate", is_number(0), "a number from 0", "2e-4", 0.0),
        lr_scheduler_type=node.required("lr_scheduler_type", is_text, "a schedule's name", "cosine", "cosine"),
        warmup_ratio=node.required("warmup_ratio", is_number(0, 1), "a share from 0 to 1", "0.03", 0.0),
        weight_decay=node.required("weight_decay", is_number(0), "a number from 0", "0.0", 0.0),
        max_grad_norm=node.required("max_grad_norm", is_number(0), "a number from 0", "1.0", 1.0),
        logging_steps=node.required("logging_steps", *whole, "1", 1),
        eval_steps=node.required("eval_steps", *steps, "0.1", 1),
        eval_rows=node.value("eval_rows", *whole, "200"),
        save_steps=node.required("save_steps", *steps, "0.2", 1),
        save_total_limit=node.value("save_total_limit", *whole, "2"),
        early_stopping=node.value("early_stopping", *whole, "3"),
        report_to=node.one_of("report_to", REPORTS),
    )


def read_questions(top: Settings) -> Sequence[str]:
    """The questions themselves, or the lines of a file."""
    value = top.node.get("questions")
    if is_text(value):
        try:
            text = read_small_text(Path(str(value)).expanduser())
        except (OSError, UnicodeDecodeError) as error:
            top.errors.append(ConfigError(f"questions={value}", f"cannot be read ({error})", "name a file in UTF-8"))
            return []
        if len(text) > _MOST_QUESTIONS:
            what = f"has more than {_MOST_QUESTIONS:,} characters"
            top.errors.append(ConfigError(f"questions={value}", what, "ask fewer questions"))
            return []
        return [line for line in text.splitlines() if line.strip()]
    return top.value("questions", is_text_list, "a list of questions, or a file with one a line", "[Hello]", [])
