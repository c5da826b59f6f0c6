"""A model's settings, and where its files are found: a local folder, the hub, or a wheel."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import ConfigError, PoolmixError, StoreError
from pipeline.names import PATH_RULE, is_path, name_fault
from pipeline.settings import Settings, is_text
from train.foreign import TARGETS_RULE, are_plain_targets, folder_fault
from train.wheel import Wheel, cache_folder, model_from_wheel, read_wheel

# What is taken from the hub, of its top folder: data, and nothing that could be run (no pickles, no code).
_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "tokenizer.model"]
_SHORT = 96  # bytes of a model's name, as on the hub
_OFFLINE_FIX = "set model.path to a folder with its files, or model=smollm2_135m, which pip has, too"


@dataclass(frozen=True)
class ModelSettings:
    """`id` and `revision` name the model on the hub; `path` is a folder with its files, used instead.

    `lora_targets` are names of projections, or an expression that matches whole names of modules (peft's
    `target_modules`). `gate` says what the hub asks for before it gives the model.
    """

    name: str
    id: str
    revision: str
    path: Path | None
    template: str
    lora_targets: list[str] | str
    licence: str
    gate: str | None
    wheel: Wheel | None

    @property
    def short(self) -> str:
        """The last part of the folder's path, or else of the id: adapters are named after it."""
        return Path(os.path.abspath(self.path)).name if self.path is not None else self.id.rpartition("/")[2]


@dataclass(frozen=True)
class ModelFiles:
    """`folder` has config.json, tokenizer.json and weights as safetensors; `commit` is that of the hub's snapshot."""

    folder: Path
    origin: Literal["folder", "hub", "wheel"]
    commit: str | None


def read_model(config: Mapping[str, Any], errors: list[PoolmixError]) -> ModelSettings:
    """`model`; nothing is looked for yet."""
    node = Settings(config.get("model"), "model", errors)
    node.known({field.name for field in fields(ModelSettings)})
    path = node.value("path", is_path, PATH_RULE, "DIR")
    settings = ModelSettings(
        name=node.required("name", is_text, "the model's name", "NAME", ""),
        id=node.required("id", _is_id, "the hub's name of a model", "OWNER/MODEL", ""),
        revision=node.required("revision", is_text, "a branch, a tag or a commit", "main", ""),
        path=Path(path).expanduser() if path is not None else None,
        template=node.required("template", is_text, "the name of a template", "smollm2", ""),
        lora_targets=node.required("lora_targets", are_plain_targets, TARGETS_RULE, "[q_proj,v_proj]", []),
        licence=node.required("licence", is_text, "the licence's name", "Apache-2.0", ""),
        gate=node.value("gate", is_text, "a sentence or null", "null"),
        wheel=read_wheel(node.node.get("wheel"), errors),
    )
    if settings.short and (fault := name_fault(settings.short, _SHORT)) is not None:
        where = f"model.path={path}" if path is not None else f"model.id={settings.id}"
        errors.append(
            ConfigError(where, f"its last part, after which adapters are named, {fault}", "rename the folder")
        )
    return settings


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"([\w-][\w.-]*/)?[\w-][\w.-]*", value) is not None


def find_model(settings: ModelSettings, say: Callable[[str], None]) -> ModelFiles:
    """The model's files: in `path` if that is set, else from the hub or its cache, else from the wheel.

    The wheel stands in only for the very model it was made of, not for another id or revision.
    Raises: ConfigError where there are none, or none that are safe to read; StoreError where they cannot be written.
    """
    if settings.path is not None:
        fault = folder_fault(settings.path)
        if fault is not None:
            raise ConfigError(f"model.path={settings.path}", *fault)
        say(f"model  {settings.short} from the folder {settings.path}")
        return ModelFiles(settings.path, "folder", None)
    found = _from_hub(settings)
    if isinstance(found, Path):
        say(f"model  {settings.id} from the hub, commit {found.name[:8]}")
        return ModelFiles(found, "hub", found.name)
    wheel = settings.wheel
    if wheel is None or (wheel.id, "main") != (settings.id, settings.revision):
        raise found
    folder = model_from_wheel(wheel, cache_folder(), say)
    say(f"model  {settings.id} from the {wheel.name} ({found.what})")
    return ModelFiles(folder, "wheel", None)


def _from_hub(settings: ModelSettings) -> Path | ConfigError:
    """The snapshot in the hub's cache, brought up to date where the hub answers; or why there is none to use."""
    import httpx2
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    problem = _hub_problem(settings)
    try:
        snapshot = snapshot_download(
            settings.id,
            revision=settings.revision,
            allow_patterns=_FILES,
            ignore_patterns="*/*",
            local_files_only=problem is not None,
        )
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError, LocalEntryNotFoundError) as error:
        return problem or _refusal(settings, error)
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise StoreError("the hub's cache", what, "make room, or set HF_HUB_CACHE to another folder") from error
    fault = folder_fault(Path(snapshot))  # the cache may have but the tokenizer of it, or half of a download
    if fault is None:
        return Path(snapshot)
    return problem or ConfigError(_where(settings), f"on the hub, it {fault[0]}", "name another model")


def _hub_problem(settings: ModelSettings) -> ConfigError | None:
    """Why the hub does not give the model; None if it will.

    It is asked once, with a time limit, which `snapshot_download` by itself does not have.
    """
    import httpx2
    from huggingface_hub import HfApi, constants, is_offline_mode
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if is_offline_mode():
        return ConfigError(_where(settings), "the hub is not asked, as HF_HUB_OFFLINE is set", _OFFLINE_FIX)
    try:
        HfApi().model_info(settings.id, revision=settings.revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError) as error:
        return _refusal(settings, error)
    return None


def _refusal(settings: ModelSettings, error: Exception) -> ConfigError:
    """What an error of the hub's library means to the user."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        what = f"the hub gives it only to those who have accepted its licence ({settings.licence})"
        fix = settings.gate or "accept the licence on the model's page of the hub, then run `hf auth login`"
    elif isinstance(error, RevisionNotFoundError):
        what, fix = f"it has no revision {settings.revision}", "set model.revision=main"
    elif isinstance(error, HFValidationError | RepositoryNotFoundError):
        what = "the hub has no such model, or does not show it without a login"
        fix = settings.gate or "check the name, or run `hf auth login`"
    elif isinstance(error, HfHubHTTPError):
        what, fix = f"the hub answers with status {error.response.status_code}", _OFFLINE_FIX
    else:
        what, fix = "the hub cannot be reached", _OFFLINE_FIX
    return ConfigError(_where(settings), what, fix)


def _where(settings: ModelSettings) -> str:
    return f"model.id={settings.id}"
