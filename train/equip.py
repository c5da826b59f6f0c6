"""TRL's trainer with everything that a training needs: its settings in TRL's words, and its rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
from trl.trainer.sft_config import SFTConfig

from train.data import without_last_targets
from train.prepare import Prepared
from train.settings import Train
from train.trainer import Trainer
from train.watch import Metrics, Timetable


def make_trainer(
    settings: Train,
    ready: Prepared,
    model: Any,
    tokenizer: Any,
    folder: Path,
    timetable: Timetable,
    metrics: Metrics,
    others: Sequence[Any],
    since: int,
) -> Trainer:
    """TRL's trainer, told everything; `since` is the step that a resumed run goes on from, `others` more callbacks."""
    arguments = trainer_arguments(settings, ready, folder)
    measured = any(record["step"] == since for record in metrics.records if "eval_loss" in record)
    wanted = {0, *timetable.evaluate_at} if timetable.evaluate_at else set[int]()
    arguments.eval_on_start = since in wanted and not measured
    trainer = Trainer(
        documents=ready.documents,
        max_length=settings.config["tokens"]["max_length"],
        targets_per_step=ready.steps.targets_per_step,
        checkpoints=folder / "checkpoints",
        keep=settings.schedule.save_total_limit,
        model=model,
        args=arguments,
        train_dataset=training_rows(ready),
        processing_class=tokenizer,
        callbacks=[timetable, metrics, *others],
        best=lambda: timetable.best[1] if timetable.patience is not None and timetable.best is not None else None,
    )
    for callback in [own for own in trainer.callback_handler.callbacks if type(own).__name__ == "PrinterCallback"]:
        trainer.remove_callback(callback)
    return trainer


def trainer_arguments(settings: Train, ready: Prepared, folder: Path) -> SFTConfig:
    """The settings in TRL's words."""
    schedule, device, steps = settings.schedule, ready.device, ready.steps
    return SFTConfig(
        output_dir=str(folder / "checkpoints"),
        max_steps=steps.total,
        per_device_train_batch_size=steps.batch,
        gradient_accumulation_steps=steps.accumulate,
        learning_rate=schedule.learning_rate,
        lr_scheduler_type=schedule.lr_scheduler_type,
        warmup_steps=round(schedule.warmup_ratio * steps.total),
        weight_decay=schedule.weight_decay,
        max_grad_norm=schedule.max_grad_norm,
        optim=device.optim,
        gradient_checkpointing=ready.checkpointing,
        bf16=device.dtype == "bf16",
        fp16=device.dtype == "fp16",
        use_cpu=device.kind == "cpu",
        seed=settings.seed,
        data_seed=settings.seed,
        # The sequences are packed already: no preparation, no padding, positions that begin anew in each document.
        padding_free=True,
        packing=False,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        train_sampling_strategy="sequential",
        remove_unused_columns=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=device.kind == "cuda",
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to=ready.report_to,
        run_name=folder.name,
        disable_tqdm=True,
        ddp_backend="gloo" if device.kind == "cpu" and steps.devices > 1 else None,
    )


def training_rows(ready: Prepared) -> datasets.Dataset:
    """The sequences in the order of the steps; the last of them without the targets that are beyond the limit."""
    steps = ready.steps
    rows = datasets.Dataset(ready.sequences.table)
    if not steps.surplus:
        return rows.select(steps.order)
    end = len(steps.order) - steps.batch * steps.devices
    last: Any = rows.select(steps.order[end:]).to_dict()
    last["labels"] = without_last_targets(last["labels"], steps.surplus)
    return datasets.concatenate_datasets(
        [rows.select(steps.order[:end]), datasets.Dataset.from_dict(last, features=rows.features)]
    )
