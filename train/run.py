"""A run on disk: what one training leaves behind.

RUN/
  manifest.json                       settings, bundle, model, device, versions, what was reached
  <model>_lora_adapter/               adapter and tokenizer, as transformers, peft and servers read them
  <model>_lora_merged/                base and adapter in one, where it was asked for
  checkpoints/step-000040/            to go on from; without pickle
  metrics.jsonl  curves.png           what was measured at which step
  answers.jsonl                       the questions, answered before and after
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError, known_names
from pipeline.names import require_parts
from pipeline.pointer import named_folder
from pipeline.small_files import read_small
from pipeline.store import replace_text

FORMAT = "poolmix run 1"
RUNNING, INTERRUPTED, DONE = "running", "interrupted", "done"


@dataclass(frozen=True)
class Run:
    """A training's folder and what its manifest says."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def adapter(self) -> Path:
        """The folder of the adapter and its tokenizer."""
        return self.folder / adapter_name(self.manifest["model"]["short"])

    @property
    def merged(self) -> Path:
        """The folder of the merged model."""
        return self.folder / merged_name(self.manifest["model"]["short"])

    def checkpoints(self) -> list[Path]:
        """The checkpoints, oldest first."""
        return sorted(path for path in (self.folder / "checkpoints").glob("step-*") if path.is_dir())

    def require_adapter(self) -> Path:
        """The adapter's folder. Raises: StoreError if the run has none yet."""
        if not (self.adapter / "adapter_model.safetensors").is_file():
            fix = f"run `python -m train sft resume={self.folder}`"
            raise StoreError(f"run {self.folder.name}", f"no adapter, the run is {self.manifest['state']}", fix)
        return self.adapter


def adapter_name(short: str) -> str:
    """The folder of a model's adapter in a run."""
    return f"{short}_lora_adapter"


def merged_name(short: str) -> str:
    """The folder of the merged model in a run."""
    return f"{short}_lora_merged"


def open_run(name: str, runs: Path) -> Run:
    """A run by its folder, by its name below `runs`, or `latest`. Raises: StoreError if there is none."""
    folder = named_folder(name, runs)
    path = folder / "manifest.json"
    try:
        manifest = json.loads(read_small(path))
    except (OSError, ValueError, RecursionError) as error:
        known = [place.parent.name for place in runs.glob("*/manifest.json")]
        what = f"no run there ({known_names(name, known)})"
        raise StoreError(f"run {name}", what, "run `python -m train sft`, or name a run's folder") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(str(path), f"not a manifest of format '{FORMAT}'", "name the folder of a run")
    model = manifest.get("model")
    require_parts(path, [model.get("short") if isinstance(model, dict) else None], manifest.get("files"))
    return Run(folder, manifest)


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Replace a run's manifest in one step."""
    replace_text(folder / "manifest.json", json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`; a last line that was cut off is none."""
    records: list[dict[str, Any]] = []
    if path.is_file():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(text))
            except ValueError:
                break
    return records
