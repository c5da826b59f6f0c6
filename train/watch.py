"""What happens in the course of a training: when it measures and saves, and what it writes down."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

from transformers import TrainerCallback

from pipeline.ending import answered
from pipeline.store import replace_text
from train.device import Device
from train.memory import gib, peak
from train.run import read_metrics
from train.steps import Steps


class Timetable(TrainerCallback):
    """Measures and saves at given steps, and ends after so many measures (`patience`) without a lower loss."""

    def __init__(self, evaluate_at: set[int], save_at: set[int], log_every: int, patience: int | None) -> None:
        self.evaluate_at, self.save_at, self.log_every, self.patience = evaluate_at, save_at, log_every, patience
        self.best: tuple[float, int] | None = None
        self.worse = 0
        self.stopped_early = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Before the trainer logs, measures and saves, in this order."""
        step = state.global_step
        control.should_log = step % self.log_every == 0 or step in self.evaluate_at
        control.should_evaluate = step in self.evaluate_at
        control.should_save |= step in self.save_at
        return control

    def on_evaluate(self, args: Any, state: Any, control: Any, **more: Any) -> Any:
        """Note the best step; with `patience`, save it, and end when nothing has become better for so long."""
        if self.patience is None or "eval_loss" not in more["metrics"]:
            return control
        self.note(more["metrics"]["eval_loss"], state.global_step)
        if self.worse == 0 and state.global_step > 0:
            control.should_save = True
        if self.worse >= self.patience:
            self.stopped_early = control.should_training_stop = True
        return control

    def catch_up(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Take into account what a run that is resumed has measured."""
        for record in records:
            if "eval_loss" in record:
                self.note(record["eval_loss"], record["step"])

    def note(self, loss: float, step: int) -> None:
        """Take a measure into account."""
        if self.best is None or loss < self.best[0]:
            self.best, self.worse = (loss, step), 0
        else:
            self.worse += 1


class Metrics(TrainerCallback):
    """Writes `metrics.jsonl`, a line a step that is logged and one a validation, and says them."""

    def __init__(self, path: Path, steps: Steps, device: Device, say: Callable[[str], None], since: int) -> None:
        self.path, self.steps, self.device, self.say = path, steps, device, say
        self.records = [record for record in read_metrics(path) if record["step"] <= since] if since else []
        self._from = (time.perf_counter(), since)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The first step's time begins here; what a broken run wrote beyond its checkpoint goes."""
        if state.is_world_process_zero:
            replace_text(self.path, "".join(json.dumps(record) + "\n" for record in self.records))
            self.say(header())
        self._from = (time.perf_counter(), state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Rate and norm as the trainer gives them, the loss in nats per target token of the steps since the last log
        (the trainer's is per target of an average step); tokens and time are counted here."""
        step, logs = state.global_step, more["logs"]
        if "loss" in logs:
            began, before = self._from
            seconds = max(time.perf_counter() - began, 1e-9)
            tokens, targets = (
                int(counts[step] - counts[before]) for counts in (self.steps.tokens, self.steps.target_tokens)
            )
            summed = logs["loss"] * (step - before) * self.steps.targets_per_step
            record = {
                "step": step,
                "loss": summed / targets if targets else 0.0,
                **{name: logs[name] for name in ("learning_rate", "grad_norm") if name in logs},
                "tokens": int(self.steps.tokens[step]),
                "target_tokens": int(self.steps.target_tokens[step]),
                "tokens_per_second": tokens / seconds,
                "target_tokens_per_second": targets / seconds,
                "memory_bytes": peak(self.device),
                "seconds": seconds,
            }
            self._write(record, state)
        elif "eval_loss" in logs:
            found = {name: value for name, value in logs.items() if name.startswith("eval_loss")}
            self._write({"step": step, **found, "target_tokens": int(self.steps.target_tokens[step])}, state)
        self._from = (time.perf_counter(), step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Saving is not training."""
        self._from = (time.perf_counter(), state.global_step)

    def _write(self, record: dict[str, Any], state: Any) -> None:
        if not state.is_world_process_zero:
            return
        self.records.append(record)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self.say(line(record, self.steps))


def header() -> str:
    """Of the table whose lines `line` makes."""
    return "step         loss    rate      norm    tokens/s  targets/s  targets     memory"


def line(record: dict[str, Any], steps: Steps) -> str:
    """A record of `metrics.jsonl` for the console."""
    step = f"{record['step']:>{len(str(steps.total))}}/{steps.total}"
    if "eval_loss" in record:
        sources = "  ".join(
            f"{name.removeprefix('eval_loss_')} {value:.4f}"
            for name, value in record.items()
            if name.startswith("eval_loss_")
        )
        return f"{step:<11}  validation {record['eval_loss']:.4f}   {sources}"
    return (
        f"{step:<11}  {record['loss']:<6.4f}  {record['learning_rate']:<8.2e}  {record.get('grad_norm', 0):<6.3f}  "
        f"{record['tokens_per_second']:<8,.0f}  {record['target_tokens_per_second']:<9,.0f}  "
        f"{record['target_tokens']:<10,}  {gib(record['memory_bytes'])} GiB"
    )


class Interruptions(TrainerCallback):
    """On SIGINT or SIGTERM: end after the step at hand, with a checkpoint; on a second one, at once.

    For several processes, which write a checkpoint together. (One alone does it at once: `Trainer.save_now`.)
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.caught = 0  # the number of the signal
        self._before: dict[int, Any] = {}
        self._answered = ExitStack()

    def __enter__(self) -> Interruptions:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._catch)
            self._answered.enter_context(answered(number))
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._answered.close()

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if self.caught:
            raise KeyboardInterrupt
        self.caught = number
        self.say("interrupted: saving after this step (once more ends at once)")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Save, and end."""
        if self.caught:
            control.should_save = control.should_training_stop = True
            control.should_evaluate = False
        return control


class BeforeStep(TrainerCallback):
    """Calls `act` before the weights change."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The gradients are there."""
        self._act()
