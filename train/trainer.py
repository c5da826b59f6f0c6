"""TRL's SFTTrainer, with validation per source, and checkpoints that appear whole and hold no pickle."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import set_peft_model_state_dict
from safetensors.torch import load_file
from trl.trainer.sft_trainer import SFTTrainer

from pipeline.store import new_folder, remove_folder, whole_manifest
from train.checkpoint import has_state, load_state, random_state, restore_random_state, save_state
from train.data import Documents
from train.foreign import ADAPTER, adapter_fault
from train.loss import add_target_losses
from train.validation import losses, validation_loss
from train.watch import BeforeStep

FORMAT = "poolmix checkpoint 1"


class Trainer(SFTTrainer):
    """Measures `documents` where it evaluates, and keeps the newest of its checkpoints, and that of the step `best`."""

    model: Any
    optimizer: Any
    lr_scheduler: Any
    accelerator: Any

    def __init__(
        self,
        *,
        documents: Documents,
        max_length: int,
        targets_per_step: float,
        checkpoints: Path,
        keep: int | None,
        best: Callable[[], int | None],
        **more: Any,
    ) -> None:
        super().__init__(**more)
        add_target_losses(self.model.get_base_model())
        for parameter in self.model.parameters():  # SFTTrainer puts the adapter of a quantized model in bfloat16
            if parameter.requires_grad:
                parameter.data = parameter.data.to(torch.float32)
        self.documents, self.checkpoints, self._keep, self._best = documents, checkpoints, keep, best
        self._validation = documents.packed(max_length)
        self._targets_per_step = targets_per_step
        # Held from before the weights change until all is noted of the step, and while a checkpoint is written.
        self._changing, self._held = threading.RLock(), False
        self._random: Any = None  # as the last finished step left it
        self._written = 0  # the step of the newest checkpoint that this training has written
        self.add_callback(BeforeStep(self._change))

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The sum over a step's target tokens, divided by how many a step has on average: so each token counts the same
        in the end. (Divided by the step's own number, those of steps with few targets would count more.) On a processor
        nothing is computed for other tokens."""
        if num_items_in_batch is not None:
            num_items_in_batch = torch.full_like(
                torch.as_tensor(num_items_in_batch), self._targets_per_step, dtype=torch.float32
            )
        if self.args.device.type != "cpu" or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        found = model(**inputs, use_cache=False, target_losses=True)
        if num_items_in_batch is None:
            return found.sum() / max(1, len(found))
        # the number counts the tokens of all processes, whose gradients are averaged
        return found.sum() / num_items_in_batch * self.accelerator.num_processes

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """`eval_loss` and `eval_loss_SOURCE` (nats per target token) of the validation documents."""
        self._settle()
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        autocast: Callable[[], AbstractContextManager[Any]] = self.accelerator.autocast
        own = self._validation[rank::world]
        sums = torch.from_numpy(validation_loss(self.model, self.documents, own, self.args.device, autocast))
        if world > 1:
            sums = self.accelerator.reduce(sums.to(self.args.device), "sum").cpu()
        found = losses(np.asarray(sums), self.documents.sources)
        if found:
            self._metrics["eval"].clear()
            super(SFTTrainer, self).log(dict(found))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """A folder that appears whole: adapter, optimizer, schedule, random numbers, the trainer's state."""
        if self.is_fsdp_enabled:  # sharded: the library's own way
            super()._save_checkpoint(model, trial)
            return
        random_states = _gathered(random_state(), self.accelerator)
        if self.args.should_save:
            with self._changing:
                self._write_checkpoint(random_states)
                self._remove_old()
        self.accelerator.wait_for_everyone()

    def _write_checkpoint(self, random_states: list[Any]) -> None:
        with new_folder(self.checkpoints / f"step-{self.state.global_step:06d}") as folder:
            self.save_model(str(folder.path), _internal_call=True)
            for name in ("training_args.bin", "README.md"):
                (folder.path / name).unlink(missing_ok=True)
            save_state(folder.path, "optimizer", self.optimizer.state_dict())
            save_state(folder.path, "schedule", self.lr_scheduler.state_dict())
            save_state(folder.path, "random", random_states)
            if self.accelerator.scaler is not None:
                save_state(folder.path, "scaler", self.accelerator.scaler.state_dict())
            self.state.save_to_json(str(folder.path / "trainer_state.json"))
            folder.adopt()
            folder.write_manifest({"format": FORMAT, "files": dict(folder.files)})
        self._written = self.state.global_step

    def save_now(self) -> int:
        """From another thread, while this training goes on: a checkpoint of the last finished step; returns its number,
        0 before the first.

        Forward and backward passes change neither weights nor the optimizer, so these are as that step left them. From
        here on they stay so: the training stops where the next step would change them.
        """
        self._changing.acquire()
        if self._random is not None and self._written != self.state.global_step:
            self._write_checkpoint([self._random])
        return self.state.global_step

    def _change(self) -> None:
        self._changing.acquire()
        self._held = True

    def _settle(self) -> None:
        """The step is finished, and written down."""
        if self._held:
            self._random, self._held = random_state(), False
            self._changing.release()

    def _maybe_log_save_evaluate(self, *given: Any, **named: Any) -> None:
        super()._maybe_log_save_evaluate(*given, **named)
        self._settle()

    def _remove_old(self) -> None:
        found = sorted(self.checkpoints.glob("step-*")) if self._keep is not None else []
        best = self._best()
        for path in found[: -(self._keep or 1)]:
            if best is None or path.name != f"step-{best:06d}":
                remove_folder(path)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """The adapter alone, from its safetensors: the library would take a pickle of whole weights first."""
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        set_peft_model_state_dict(self.model, load_file(str(Path(resume_from_checkpoint) / ADAPTER)))

    def load_weights(self, checkpoint: Path) -> None:
        """Put the adapter of a checkpoint in place of the present one."""
        self._load_from_checkpoint(str(checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or self.is_fsdp_enabled:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        self.optimizer.load_state_dict(load_state(Path(checkpoint), "optimizer"))
        self.lr_scheduler.load_state_dict(load_state(Path(checkpoint), "schedule"))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None and not self.is_fsdp_enabled:
            states = load_state(Path(checkpoint), "random")
            restore_random_state(states[self.accelerator.process_index % len(states)])

    def _load_scaler(self, checkpoint: str | None) -> None:
        if checkpoint is not None and self.accelerator.scaler is not None and has_state(Path(checkpoint), "scaler"):
            self.accelerator.scaler.load_state_dict(load_state(Path(checkpoint), "scaler"))


def newest_checkpoint(checkpoints: Path) -> Path | None:
    """The newest whole checkpoint, or None. One that was damaged, or asks for code, is passed over."""
    for path in sorted(checkpoints.glob("step-*"), reverse=True):
        if whole_manifest(path, FORMAT) is not None and adapter_fault(path) is None:
            return path
    return None


def _gathered(state: Any, accelerator: Any) -> list[Any]:
    """The state of each process, in their order."""
    if accelerator.num_processes == 1:
        return [state]
    states: list[Any] = [None] * accelerator.num_processes
    torch.distributed.all_gather_object(states, state)
    return states
