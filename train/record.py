"""What a run's manifest says."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.folder import file_entry
from pipeline.secrets import scrubbed
from train.prepare import Prepared
from train.run import FORMAT, RUNNING, Run
from train.settings import Train

_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "datasets", "safetensors")


def run_manifest(settings: Train, ready: Prepared, name: str, command: str, root: Path) -> dict[str, Any]:
    """All that is known when a training begins; `results` and `files` come at its end."""
    bundle, model, device = ready.bundle.manifest, settings.model, ready.device
    return {
        "format": FORMAT,
        "name": name,
        "state": RUNNING,
        "command": command,
        "seed": settings.seed,
        "created": _now(),
        "versions": {"poolmix": __version__, "python": platform.python_version()}
        | {package: found for package in _PACKAGES if (found := _version(package))},
        "git": _git(root),
        "bundle": {
            "path": str(ready.bundle.folder.resolve()),
            "name": bundle["name"],
            "mix": bundle["config"]["mix"]["name"] if "name" in bundle["config"]["mix"] else bundle["name"],
            "digest": bundle["digest"],
            "weights": bundle["config"]["mix"]["weights"],
        },
        "model": {
            "name": model.name,
            "short": model.short,
            "id": model.id,
            "revision": model.revision,
            "commit": ready.files.commit,
            "origin": ready.files.origin,
            "path": str(ready.files.folder.resolve()),
            **ready.counts,
        },
        "template": {"name": ready.template.name, "key": ready.template.key()},
        "tokens": ready.tokens.name,
        "device": asdict(device) | {"gradient_checkpointing": ready.checkpointing},
        "steps": {
            "total": ready.steps.total,
            "sequences": ready.steps.sequences,
            "processes": ready.steps.devices,
            "tokens": int(ready.steps.tokens[-1]),
            "target_tokens": int(ready.steps.target_tokens[-1]),
        },
        "config": scrubbed(settings.config),
    }


def resumed_entries(run: Run, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What stays of the manifest of a run that is gone on with, and when that was."""
    again = {"at": manifest["created"], "command": manifest["command"]}
    kept = {name: run.manifest[name] for name in ("created", "command")}
    return kept | {"resumed": [*run.manifest.get("resumed", []), again]}


def run_results(
    records: Sequence[Mapping[str, Any]], seconds: float, peak: int, best: int | None = None
) -> dict[str, Any]:
    """What a training came to, of the lines of its `metrics.jsonl`; `best` is the step whose adapter was kept, if it is
    not the last one."""
    steps = [record for record in records if "loss" in record]
    measures = [record for record in records if "eval_loss" in record]
    spent = sum(record["seconds"] for record in steps)
    results: dict[str, Any] = {"seconds": round(seconds, 1), "peak_memory_bytes": peak}
    if steps:
        last = steps[-1]
        results |= {
            "step": last["step"],
            "loss": last["loss"],
            "tokens": last["tokens"],
            "target_tokens": last["target_tokens"],
            "tokens_per_second": round(last["tokens"] / spent, 1),
            "target_tokens_per_second": round(last["target_tokens"] / spent, 1),
        }
    if measures:
        kept = [record for record in measures if best is None or record["step"] == best]
        sides = {"before": measures[0], "after": kept[-1]}
        results["validation"] = {
            side: {name: value for name, value in record.items() if name.startswith("eval_loss") or name == "step"}
            for side, record in sides.items()
        }
    return results if best is None else results | {"best_step": best}


def file_entries(folder: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Size and digest of the files of a run, whole folders among them."""
    given = [folder / name for name in names]
    paths = [*given, *(path for place in given for path in place.rglob("*"))]
    return {path.relative_to(folder).as_posix(): file_entry(path) for path in sorted(paths) if path.is_file()}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(root: Path) -> str | None:
    """The commit of the checkout, with `+` where files differ from it."""
    asked = (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    try:
        commit, changed = (
            subprocess.run(["git", "-C", str(root), *what], capture_output=True, text=True, check=True).stdout.strip()
            for what in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changed else "")
