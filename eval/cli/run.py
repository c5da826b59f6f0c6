"""Measure a run beside its base model on validation rows: perplexity, replies, JSON, tool calls, answers, style.

Examples:
  python -m eval run
  python -m eval run run=math_heavy-1a2b3c4d-SmolLM2-135M-Instruct-20260101-120000 limit=50
  python -m eval run run=latest eval.metrics='[perplexity, answer]' eval.buckets='[all, cmath]'
  python -m eval run bundle=latest model=qwen3_0_6b out=DIR
  python -m eval run bundle=latest backend=openai base_url=http://localhost:11434/v1 model_name=llama3.2 out=DIR

Often used:
  run=PATH                     a run's folder or name, or latest; without it a model= alone is measured
  bundle=PATH                  whose validation rows (the run's own, unless named)
  limit=N                      rows of each source, the same for every model; null: all
  eval.metrics='[…]'           of perplexity, usability, json, tools, answer, style
  eval.buckets='[…]'           of all, each source, each tag:NAME
  eval.max_new_tokens=N  eval.batch_size=N
  backend=openai               replies of a server: base_url=…/v1 model_name=NAME, server.api=chat|completions
  out=DIR                      write the result there, not to eval/ in the run's folder

Replies are kept, so an interrupted evaluation goes on where it stopped. Values have 95 % intervals (bootstrap
over prompts); a * marks differences that are seen after Holm's correction. The last line printed is the
result's folder: metrics.json, metrics.csv, generations.jsonl, report.html.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.cli.front import Job


def run(config: dict[str, Any], job: Job) -> None:
    """Measure, and print the result's folder."""
    from pipeline.cli import prepare_libraries, root

    prepare_libraries(config.get("threads"))
    from eval.settings import read_evaluation

    settings = read_evaluation(config)
    from eval.run import run_evaluation
    from train.quiet import quiet

    quiet()
    folder: Path = run_evaluation(settings, job.command, root(), lambda line: print(line, flush=True))
    print(folder)
