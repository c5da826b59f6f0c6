r"""Make a bundle: read the raw files, clean, render, deduplicate, split, mix, tokenize, write.

Examples:
  python -m pipeline build mix=math_heavy
  python -m pipeline build mix=math_heavy mix.weights.cmath=0.6 mix.total_rows=1200
  python -m pipeline build -m mix=math_heavy,chat_heavy seed=1,2
  python -m pipeline build mix=balanced sources.alpaca.path=my_rows.json out=bundles/mine
  python -m pipeline build mix=balanced +mix.weights.tools=0.5 template=qwen3
  python -m pipeline build mix=math_heavy template=qwen3 tokenizer=Qwen/Qwen3-0.6B
  python -m pipeline build mix=balanced tokenizer=DIR mix.unit=target_tokens mix.total_tokens=100000
  python -m pipeline build mix=math_heavy filter="len_answer < 2000 and 'zh' in tags" dedup=near
  python -m pipeline build mix=math_heavy decontaminate.against=[data/gsm8k/test.jsonl]
  python -m pipeline build mix=custom +mix.weights.mine=1 \
      '+sources.mine={path: f.csv, shape: columns, columns: {user: q, assistant: a}}'

Often used:
  mix.weights.NAME=W             how much of a source, relative to the others (0: none in training)
  +mix.weights.NAME=W            one more source: a file of conf/source or your own (--config-dir)
  mix.total_rows=N               how many training rows
  corpus=samples|hub             the sample data of the project, or the public data sets
  sources.NAME.path=FILE         a file, a glob or a folder for one source
  filter="EXPRESSION"            which rows stay; the others are quarantined as filtered
  dedup=near                     of nearly equal rows one stays; dedup.near.threshold=0.9
  dedup.on_conflict=first|drop   of rows of one prompt with different answers one stays, or none
  decontaminate=NAME             rows that an evaluation set has are quarantined as decontaminated;
                                 decontaminate.against=[FILE, …] for sets of your own
  split.valid_ratio=R            share of each source set aside for validation
  split.validation_from=BUNDLE   the validation rows of an earlier bundle, for a series
  template=NAME|none|tokenizer   how conversations become text; template.path=FILE.jinja for yours
  loss.targets=all|last|text     what is trained on; loss.tool_calls, loss.reasoning; or per source
  tokenizer=NAME                 a model, a folder or a tokenizer.json: token ids, cut and packed
  tokens.max_length=N            tokens of a sequence; tokens.on_long=truncate|drop|split
  mix.unit=rows|tokens|target_tokens   what the weights weigh

A filter is a condition on a row, written as in Python and never run as such:
  id source answer           texts; answer is the gold final answer, null where a source has none
  prompt reply               texts: the last turn of the user, of the assistant
  tags                       a list of texts: 'zh' in tags
  len_prompt len_answer      characters before the last turn and in it, as stats counts them
  turns                      how many messages
  has_answer has_reasoning has_system has_tools      true or false
  < <= > >= + - * /  == !=  in  not in  and or not
  len(X) lower(X) startswith(X, 'a') endswith(X, 'a')

Rows leave in this order: filter, copies, conflicts, near copies, evaluation sets; then comes the
split.
Of a FILE in decontaminate.against the questions count (its column question, problem, instruction,
prompt, input or text); of {name: N, path: FILE, shape: S, columns: {…}} the answers, too.

The last line printed is the bundle's folder.
"""

from __future__ import annotations

from typing import Any

from pipeline.cli.front import Job


def run(config: dict[str, Any], job: Job) -> None:
    """Build, and print the bundle's folder."""
    from pipeline.cli import prepare_libraries, root

    prepare_libraries(config.get("threads"))
    from pipeline.tools import early_tools

    with early_tools(config, root()) as with_:
        from pipeline.build import build
        from pipeline.configuration import read_build

        settings = read_build(config, root())
        print(build(settings, with_, job.command, job.sweep, lambda line: print(line, flush=True)))
