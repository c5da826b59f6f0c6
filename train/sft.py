"""One training, from prepared sequences to a run: what `python -m train sft` does, step by step."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline import ending
from pipeline.errors import StoreError
from pipeline.leftovers import clear_leftovers
from pipeline.room import require_room
from pipeline.store import lock, new_folder, write_pointer
from train.answers import ANSWERS, Asked, answers_before, say_answers, write_answers
from train.curves import draw_curves
from train.equip import make_trainer
from train.generate import end_tokens, served_template, trained_end
from train.memory import gib, is_shortage, mib, peak, room, shortage
from train.merge import merge_run
from train.model import add_adapter, load_model, load_tokenizer, weights, without_casts
from train.parallel import is_main
from train.prepare import Prepared
from train.record import file_entries, resumed_entries, run_manifest, run_results
from train.room import writing_tensors
from train.run import DONE, INTERRUPTED, Run, open_run, write_manifest
from train.settings import Train
from train.steps import every
from train.trainer import Trainer, newest_checkpoint
from train.watch import Interruptions, Metrics, Timetable

Say = Callable[[str], None]
METRICS, CURVES = "metrics.jsonl", "curves.png"


@dataclass(frozen=True)
class Place:
    """Where a run goes. `resumed` says that it is there already, and to be gone on with."""

    folder: Path
    resumed: bool


def train(settings: Train, ready: Prepared, place: Place, command: str, root: Path, say: Say) -> Run:
    """Train an adapter, and write the run.

    Raises: MemoryShortError if memory runs out. What was reached until then stays, to be resumed.
    """
    main = is_main()
    with ExitStack() as stack:
        if main:
            if not place.resumed:
                require_room(place.folder, ready.written_bytes(settings.schedule.save_total_limit))
            stack.enter_context(writing_tensors(place.folder))
            stack.enter_context(lock(settings.paths.pools, place.folder))
            _require_place(place, settings)
            place.folder.mkdir(parents=True, exist_ok=True)
        manifest = run_manifest(settings, ready, place.folder.name, command, root)
        if place.resumed:
            manifest |= resumed_entries(open_run(str(place.folder), settings.paths.runs), manifest)
        if main:
            ending.advise(to_go_on(place.folder))
            write_manifest(place.folder, manifest)
            write_pointer(settings.paths.runs / "latest", str(place.folder.resolve()))
        try:
            return _train(settings, ready, place, manifest, say)
        except BaseException as error:
            if main and manifest.get("state") != DONE:  # its merge alone may have failed
                write_manifest(place.folder, manifest | {"state": INTERRUPTED})
            if is_shortage(error):
                raise shortage(settings, ready.device, ready.checkpointing) from error
            raise


def _require_place(place: Place, settings: Train) -> None:
    """Raises: StoreError where another process, which was waited for, has made the run."""
    there = (place.folder / "manifest.json").is_file()
    if place.resumed and open_run(str(place.folder), settings.paths.runs).manifest["state"] == DONE:
        raise StoreError(f"run {place.folder.name}", "another process has ended it", "begin a new run")
    if there and not place.resumed:
        raise StoreError(str(place.folder), "another process has made a run there", "name a new folder with out=")


def _train(settings: Train, ready: Prepared, place: Place, manifest: dict[str, Any], say: Say) -> Run:
    began = time.perf_counter()
    run, schedule = Run(place.folder, manifest), settings.schedule
    tokenizer = load_tokenizer(ready.files.folder)
    model = load_model(ready.files.folder, ready.device)
    say(model_line(ready, model))
    model = add_adapter(model, settings.lora, settings.model.lora_targets, settings.seed)
    say(adapter_line(settings, model))
    ends = end_tokens(model, tokenizer, trained_end(ready.sequences.table))
    asked = Asked(settings.questions, ready.template, tokenizer, settings.answer_tokens, ends)
    before = answers_before(run.folder) if place.resumed else asked.answers(model)
    if before and is_main():
        write_answers(run.folder, settings.questions, before, [None] * len(before))
    clear_leftovers(run.folder / "checkpoints")
    checkpoint = newest_checkpoint(run.folder / "checkpoints") if place.resumed else None
    since = int(checkpoint.name.removeprefix("step-")) if checkpoint is not None else 0
    timetable = Timetable(
        evaluate_at=every(schedule.eval_steps, ready.steps.total) if len(ready.documents.source) else set(),
        save_at=every(schedule.save_steps, ready.steps.total),
        log_every=schedule.logging_steps,
        patience=schedule.early_stopping,
    )
    metrics = Metrics(run.folder / METRICS, ready.steps, ready.device, say, since)
    timetable.catch_up(metrics.records)
    if checkpoint is not None:
        say(f"resumed    from {checkpoint.name}")
    several = Interruptions(say) if ready.steps.devices > 1 else None
    with several or nullcontext(), without_casts(model, ready.device):
        others = [several] if several is not None else []
        trainer = make_trainer(settings, ready, model, tokenizer, run.folder, timetable, metrics, others, since)
        with ending.instead(partial(_save_now, trainer, run)) if several is None else nullcontext():
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint is not None else None)
    step = trainer.state.global_step
    if several is not None and several.caught and step < ready.steps.total:
        ending.advise(f"step {step} is saved; {to_go_on(run.folder)}")
        ending.end(several.caught)
    if not is_main():
        return run
    if timetable.stopped_early:
        load_best(trainer, timetable, say)
    save_adapter(run, model, tokenizer, ready, ends)
    after = asked.answers(model)
    if after:
        write_answers(run.folder, settings.questions, before, after)
        say_answers(settings.questions, before, after, say)
    used = peak(ready.device)
    draw_curves(metrics.records, run.folder.name, run.folder / CURVES)
    best = timetable.best[1] if timetable.stopped_early and timetable.best is not None else None
    results = run_results(metrics.records, time.perf_counter() - began, used, best)
    names = [METRICS, CURVES, run.adapter.name, *([ANSWERS] if after else [])]
    run.manifest.update(state=DONE, results=results, files=file_entries(run.folder, names))
    write_manifest(run.folder, run.manifest)
    ending.advise("")
    if settings.merge:
        merge_run(run, say)
    for line in result_lines(results):
        say(line)
    advice = room(used, ready.device, settings, ready.checkpointing)
    if advice is not None:
        say(f"note       {advice}")
    return run


def _save_now(trainer: Trainer, run: Run) -> None:
    """What a signal does in the middle of the steps."""
    write_manifest(run.folder, run.manifest | {"state": INTERRUPTED})
    if step := trainer.save_now():
        ending.advise(f"step {step} is saved; {to_go_on(run.folder)}")


def to_go_on(folder: Path) -> str:
    """How to, after an interruption."""
    return f"to go on: python -m train sft resume={shlex.quote(str(folder))}"


def load_best(trainer: Trainer, timetable: Timetable, say: Say) -> None:
    """Put the adapter of the best step back."""
    if timetable.best is None:
        return
    loss, step = timetable.best
    say(f"stopped    early; the adapter is that of step {step}, whose validation loss is {loss:.4f}")
    place = trainer.checkpoints / f"step-{step:06d}"
    if place.is_dir():
        trainer.load_weights(place)


def save_adapter(run: Run, model: Any, tokenizer: Any, ready: Prepared, ends: Sequence[int]) -> None:
    """The adapter, its tokenizer, the template it was trained with and what ends an answer, in one folder."""
    with new_folder(run.adapter) as folder:
        model.save_pretrained(str(folder.path))
        tokenizer.chat_template = served_template(ready.template)
        tokenizer.save_pretrained(str(folder.path))
        (folder.path / "README.md").unlink(missing_ok=True)
        folder.write_json("generation_config.json", {"do_sample": False, "eos_token_id": list(ends)})
        folder.adopt()


def model_line(ready: Prepared, model: Any) -> str:
    """`model      134,515,008 parameters, 0.5 GiB on disk, 0.3 GiB as bf16, quant none`."""
    counts = weights(model)
    disk = sum(path.stat().st_size for path in ready.files.folder.glob("*.safetensors"))
    kind = ready.device.dtype if ready.device.quant == "none" else ready.device.quant
    sizes = f"{mib(disk)} MiB on disk, {mib(counts['bytes'])} MiB as {kind}"
    return f"model      {counts['parameters']:,} parameters: {sizes}"


def adapter_line(settings: Train, model: Any) -> str:
    """`adapter    r 16, alpha 32: 4,884,480 of 139,399,488 parameters are trained (3.50 %)`."""
    counts = weights(model)
    share = counts["trainable"] / counts["parameters"]
    return (
        f"adapter    r {settings.lora.r}, alpha {settings.lora.alpha:g}: {counts['trainable']:,} of "
        f"{counts['parameters']:,} parameters are trained ({share:.2%})"
    )


def result_lines(results: dict[str, Any]) -> list[str]:
    """What came of it."""
    lines: list[str] = []
    if "validation" in results:
        before, after = results["validation"]["before"], results["validation"]["after"]
        names = {name: name.removeprefix("eval_loss").strip("_") or "all" for name in after if name != "step"}
        pairs = [f"{short} {before[name]:.4f} → {after[name]:.4f}" for name, short in names.items()]
        lines.append("validation " + " · ".join(pairs))
    if "step" in results:
        speed = f"{results['tokens_per_second']:,.0f} tokens/s, {results['target_tokens_per_second']:,.0f} targets/s"
        reached = f"{results['step']} steps, {results['target_tokens']:,} targets in {results['seconds']:.0f} s"
        lines.append(f"done       {reached}: {speed}, peak {gib(results['peak_memory_bytes'])} GiB")
    return lines
