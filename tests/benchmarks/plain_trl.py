"""The script that tutorials give for LoRA with TRL, on the `messages` of a bundle.

    python plain_trl.py BUNDLE ROWS.json MODEL TEMPLATE.jinja OUT --accumulate N …

As `bench_train.py` runs it. TRL's defaults (gradient checkpointing among them), and: bf16, padding instead of packing,
4 rows at a time, LoRA of the same rank on the same projections, our learning rate and schedule, no evaluation.
`assistant_only_loss` with the project's template gives the same target tokens. Trains once, in TRL's random order, on
the rows of the bundle whose numbers ROWS.json lists. Writes the adapter to OUT, and what was counted to
OUT/counted.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from datasets import load_from_disk
from peft import LoraConfig
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer

IGNORED = -100  # the label of a token that is no target


class Counting:
    """TRL's collator, which counts what goes through it."""

    def __init__(self, collate: Any) -> None:
        self.collate = collate
        self.places = self.tokens = self.targets = 0

    def __call__(self, rows: Any) -> Any:
        batch = self.collate(rows)
        self.places += batch["input_ids"].numel()
        self.tokens += int(batch["attention_mask"].sum())
        self.targets += int((batch["labels"] != IGNORED).sum())
        return batch


def main() -> None:
    options = arguments()
    numbers = json.loads(Path(options.rows).read_text(encoding="utf-8"))
    rows: Any = load_from_disk(options.bundle)["train"].select(numbers)
    settings = SFTConfig(
        output_dir=f"{options.out}.checkpoints",
        assistant_only_loss=True,
        chat_template_path=options.template,
        model_init_kwargs={"dtype": "bfloat16"},
        bf16=True,
        use_cpu=True,
        packing=False,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=options.accumulate,
        num_train_epochs=1,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        seed=options.seed,
    )
    lora = LoraConfig(
        r=options.rank, lora_alpha=options.alpha, target_modules=options.projections, task_type="CAUSAL_LM"
    )
    trainer = SFTTrainer(
        model=options.model,
        args=settings,
        train_dataset=rows.select_columns(["messages"]),
        processing_class=AutoTokenizer.from_pretrained(options.model),
        peft_config=lora,
    )
    trainer.data_collator = counting = Counting(trainer.data_collator)
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    trainer.save_model(options.out)
    counted = {"steps": trainer.state.global_step, "seconds": seconds}
    counted |= {"places": counting.places, "tokens": counting.tokens, "targets": counting.targets}
    (Path(options.out) / "counted.json").write_text(json.dumps(counted))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bundle", "rows", "model", "template", "out"):
        parser.add_argument(name)
    for name in ("accumulate", "rank", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("learning-rate", "alpha"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--projections", nargs="+", required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
