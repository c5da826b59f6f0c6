"""TRL's own preparation of a data set of `messages`: rendered, masked, tokenized, packed, and saved.

    python trl_preparation.py MESSAGES.jsonl TOKENIZER TEMPLATE.jinja OUT [--no-packing]

As `bench_tokens.py` runs it: `assistant_only_loss=True`, `packing=True`, `max_length=1024`, two processes. The
trainer gets a model of a few thousand weights, since it does not start without one.
"""

from __future__ import annotations

import argparse

from datasets import load_dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl import SFTConfig, SFTTrainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("messages", "tokenizer", "template", "out"):
        parser.add_argument(name)
    parser.add_argument("--no-packing", action="store_true")
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
        )
    )
    packing = not options.no_packing
    settings = SFTConfig(
        output_dir=f"{options.out}.run",
        assistant_only_loss=True,
        packing=packing,
        max_length=1024 if packing else None,
        dataset_num_proc=2,
        chat_template_path=options.template,
        use_cpu=True,
        report_to=[],
        bf16=False,
    )
    rows = load_dataset("json", data_files=options.messages, split="train")
    trainer = SFTTrainer(model=model, args=settings, train_dataset=rows, processing_class=tokenizer)
    trainer.train_dataset.save_to_disk(options.out)


if __name__ == "__main__":
    main()
