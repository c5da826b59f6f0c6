"""Everything about a training that is known before its model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.damage import require_whole
from pipeline.errors import StoreError
from pipeline.manifest import Bundle
from pipeline.render.template import Template
from train.data import (
    Documents,
    Sequences,
    make_sequences,
    template_node,
    training_sequences,
    validation_documents,
)
from train.device import Device, choose, look, others_at_work, report_to
from train.memory import SHORT, estimate, gib, shortage, state_bytes
from train.model import outline
from train.models import ModelFiles, find_model
from train.settings import Train
from train.steps import Steps, plan_steps

Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """`tokens` is the folder of the sequences, `counts` the numbers of parameters (`parameters`, `trainable`)."""

    bundle: Bundle
    device: Device
    files: ModelFiles
    template: Template
    tokens: Path
    sequences: Sequences
    documents: Documents
    steps: Steps
    counts: Mapping[str, int]
    checkpointing: bool
    report_to: list[str]

    def written_bytes(self, checkpoints: int | None) -> float:
        """About how many bytes the run will have: the adapter, and so many checkpoints with the optimizer's state."""
        return self.counts["trainable"] * (4 + (4 + state_bytes(self.device)) * (1 + (checkpoints or 0)))


def prepare(settings: Train, bundle: Bundle, root: Path, processes: int, say: Say) -> Prepared:
    """Check the bundle, find the model, make the sequences, plan the steps, estimate the memory, and say all of it.

    Raises: PoolmixError for what the user can mend, before anything long begins.
    """
    require_whole(bundle)
    rows = bundle.manifest["rows"]
    say(f"bundle     {bundle.folder}: {rows['train']:,} training rows, {rows['validation']:,} for validation")
    device = choose(settings.hardware, look(settings.hardware.device))
    say(f"device     {device.line()}")
    trackers, missing = report_to(settings.schedule.report_to)
    for note in filter(None, [*device.notes, missing, others_at_work(device, settings.threads)]):
        say(f"note       {note}")
    files = find_model(settings.model, say)
    node = template_node(settings.config, settings.model.template, root)
    tokens, template = make_sequences(bundle, settings.config, node, files.folder, root, settings.paths.pools)
    sequences = training_sequences(tokens)
    documents = validation_documents(tokens, bundle, settings.schedule.eval_rows)
    bundle.require_current()
    steps = plan_steps(sequences.tokens, sequences.targets, settings.schedule, processes)
    if steps.total == 0:
        what = f"{len(sequences.tokens)} sequences are too few for {processes} processes"
        raise StoreError(f"bundle {bundle.folder.name}", what, "build a larger one, or start fewer processes")
    for line in data_lines(sequences, documents, steps, template):
        say(line)
    shape, counts = outline(files.folder, settings.lora, settings.model.lora_targets)
    most = int(sequences.tokens.max()) * steps.batch
    checkpointing = settings.hardware.gradient_checkpointing
    if checkpointing is None:
        checkpointing = estimate(shape, counts, device, most, False).total > SHORT * device.memory
    guess = estimate(shape, counts, device, most, checkpointing)
    say(f"memory     about {guess.line()}; there are {gib(device.memory)} GiB")
    if guess.total > 1.5 * device.memory:
        raise shortage(settings, device, checkpointing)
    return Prepared(
        bundle, device, files, template, tokens, sequences, documents, steps, counts, checkpointing, trackers
    )


def data_lines(sequences: Sequences, documents: Documents, steps: Steps, template: Template) -> list[str]:
    """What is trained on and measured, and in how many steps."""
    validation = f"{len(documents.source):,} documents of {', '.join(documents.sources) or 'no source'}"
    each = f"{steps.accumulate} × {steps.batch}" + (f" × {steps.devices} processes" if steps.devices > 1 else "")
    lines = [
        f"data       {len(sequences.tokens):,} sequences, {sequences.tokens.sum():,} tokens, "
        f"{sequences.targets.sum():,} of them targets; template {template.name}",
        f"validation {validation}",
        f"steps      {steps.total:,} of {each} sequences: {steps.tokens[-1]:,} tokens, "
        f"{steps.target_tokens[-1]:,} targets",
    ]
    if steps.left_over:
        lines.append(f"note       {steps.left_over} sequences at the end do not go round")
    return lines
