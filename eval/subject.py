"""What is measured: a bundle's validation rows, and a base model, alone or with the adapter of a run."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from eval.generations import model_digest
from eval.settings import Evaluation
from pipeline.damage import require_whole
from pipeline.errors import ConfigError, ConfigErrors, PoolmixError, StoreError
from pipeline.manifest import Bundle, open_bundle
from pipeline.render.template import Template, read_template
from train.adapted import find_base
from train.data import make_sequences, template_node
from train.device import Device, choose, look
from train.models import find_model
from train.run import Run, open_run
from train.settings import Hardware

Say = Callable[[str], None]
BASE, TUNED = "base", "tuned"  # what a result calls its models


@dataclass(frozen=True)
class Local:
    """A model here: its base's folder, its adapter's, and where it runs. `tokens` is the folder of the bundle's
    sequences for its tokenizer and template, of at most `max_length` tokens."""

    base: Path
    adapter: Path | None
    device: Device
    tokens: Path
    max_length: int

    @property
    def names(self) -> Sequence[str]:
        """The models that there are to measure."""
        return [BASE] if self.adapter is None else [BASE, TUNED]

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """By the models' names, what their files hold."""
        return {name: model_digest(self.base, self.adapter if name == TUNED else None) for name in self.names}


@dataclass(frozen=True)
class Subject:
    """`other_bundle` says that the run was trained beside other validation rows; `local` is None for a server's."""

    bundle: Bundle
    run: Run | None
    template: Template
    other_bundle: bool
    local: Local | None


@contextmanager
def as_named(model: Any, name: str) -> Generator[None]:
    """A loaded model as the base was, or tuned."""
    with model.disable_adapter() if name == BASE and hasattr(model, "disable_adapter") else nullcontext():
        yield


def find_subject(settings: Evaluation, root: Path, say: Say) -> Subject:
    """Open and check the bundle and the run, find the model, and make the bundle's tokens, before anything long begins.

    Raises: StoreError for a run that has no adapter, or was trained beside other validation rows.
    """
    run = open_run(settings.run, settings.paths.runs) if settings.run is not None else None
    named = settings.bundle or (run.manifest["bundle"]["path"] if run is not None else "latest")
    bundle = open_bundle(named, settings.paths.bundles)
    require_whole(bundle)
    say(f"bundle     {bundle.folder}: {bundle.manifest['rows']['validation']:,} validation rows")
    other = run is not None and _is_other(run, bundle, settings.allow_other_bundle, say)
    if settings.server is not None:
        return Subject(bundle, None, _own_template(settings, root), False, None)
    if run is not None:
        run.require_adapter()
        config, base, name = run.manifest["config"], find_base(run, say), run.manifest["config"]["model"]["template"]
        say(f"run        {run.folder}: {run.manifest['model']['short']} on {run.manifest['bundle']['mix']}")
    else:
        config, base, name = settings.config, find_model(settings.model, say).folder, settings.model.template
    device = _device(settings.hardware, run)
    say(f"device     {device.name} · {device.dtype} · quant {device.quant}")
    for note in device.notes:
        say(f"note       {note}")
    node = template_node(config, name, root)
    tokens, template = make_sequences(bundle, config, node, base, root, settings.paths.pools)
    if run is not None and template.key() != run.manifest["template"]["key"]:
        what = "its template is no longer the one that it was trained with"
        raise StoreError(f"run {run.folder.name}", what, f"put back conf/template/{template.name}.jinja as it was")
    local = Local(base, run.adapter if run is not None else None, device, tokens, config["tokens"]["max_length"])
    return Subject(bundle, run, template, other, local)


def _own_template(settings: Evaluation, root: Path) -> Template:
    """The template that is configured. Raises: ConfigErrors."""
    errors: list[PoolmixError] = []
    node = template_node(settings.config, settings.model.template, root)
    template = read_template({"template": node}, root, errors)
    if errors or template is None:
        raise ConfigErrors(errors or [ConfigError("template", "is none", "set template=chatml")])
    return template


def _is_other(run: Run, bundle: Bundle, allowed: bool, say: Say) -> bool:
    """Whether the run was trained beside other validation rows: some of these may then have been trained on."""
    trained: Mapping[str, Any] = run.manifest["bundle"]
    if trained["digest"]["validation"] == bundle.manifest["digest"]["validation"]:
        return False
    if not allowed:
        what = f"it was trained beside other validation rows ({trained['name']}), so it may have seen some of these"
        fix = "leave bundle= out, or set allow_other_bundle=true, which marks the report"
        raise StoreError(f"run {run.folder.name} on bundle {bundle.folder.name}", what, fix)
    say("note       the run was trained beside other validation rows: it may have seen some of these")
    return True


def _device(asked: Hardware, run: Run | None) -> Device:
    """Where to measure: on a processor in fp32, where replies come faster and nothing is rounded, else as trained."""
    machine = look(asked.device)
    cpu = not machine.cuda and not machine.mps
    trained = run.manifest["device"]["quant"] if run is not None else "none"
    return choose(
        replace(
            asked,
            dtype="fp32" if cpu and asked.dtype == "auto" else asked.dtype,
            quant=trained if asked.quant == "auto" else asked.quant,
        ),
        machine,
    )
