"""The files of an exported task that are text: YAML and Python for the lm-evaluation-harness, and a README for people.

`about` is what the export's manifest says, see `eval.lm_eval_task`.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from typing import Any

About = Mapping[str, Any]
_WIDTH = 120

_CALLS = '''\
"""What the tasks call. This folder may lie anywhere, and be moved."""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.append(str(FOLDER))
from {package}.lm_eval_calls import read_rows, score  # noqa: E402


def rows(source, **_):
    return read_rows(FOLDER, source)


def process_results(row, replies):
    return score(row, replies)
'''

_TASK = """\
task: {name}
custom_dataset: !function calls.rows
dataset_kwargs:
  source: {source}
test_split: test
output_type: generate_until
{prompt}
doc_to_target: answer
num_fewshot: 0
generation_kwargs:
  do_sample: false
  max_gen_toks: {max_gen_toks}
  until: {until}
process_results: !function calls.process_results
metric_list:
  - metric: correct
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1
  validation: {validation}
  rows: {rows}
  rule: {rule}
"""

_GROUP = """\
group: {name}
task: {tasks}
aggregate_metric_list:
  - metric: correct
    aggregation: mean
    weight_by_size: true
metadata:
  version: 1
"""

_README = """\
# {group}

Validation rows of the bundle `{name}` that have an answer, as tasks of the lm-evaluation-harness
(https://github.com/EleutherAI/lm-evaluation-harness; tried with 0.4.13), written by poolmix {poolmix}. In this folder:

    pip install "lm_eval[hf]" math-verify
    {command}

An adapter that poolmix trained: `--model_args pretrained=BASE,peft=ADAPTER,tokenizer=ADAPTER`, with ADAPTER the folder
`RUN/…_lora_adapter`. On a processor add `dtype=float32` there: poolmix measures so, the harness in what the model was
saved in. `--log_samples --output_path RESULTS` keeps every reply; let RESULTS be a folder elsewhere.

| task | rows | licence of the source |
|---|---|---|
{sources}

## What is asked

{rows}

{prompts}

{ends}

## What the numbers mean

`correct` is the share of replies whose final answer equals the row's: the measure `correct` of `python -m eval run`, by
the same rule. The group has the share of all rows, not the mean of its tasks. How the answer is found and compared
stands in `{rule}/answers.py`. That folder is a copy of poolmix's rule as it was when this was written:
poolmix need not be installed, and one that is has no say. Numbers are compared by the copy alone, roots, π and unknowns
by math-verify. Other versions of it or of torch, another precision or batch size may change single replies or verdicts.

`correct_stderr` is the harness's, and takes rows as independent. The intervals of `python -m eval run` keep rows of one
prompt together, and `python -m eval compare` compares models on the same rows, which says more than two such numbers.

| what | xxh3-128 |
|---|---|
| the bundle's validation split (id, key and epoch of its rows) | `{validation}` |
| `rows.jsonl` | `{digest}` |
"""

_MESSAGES = (
    "The harness puts the question, after the system text where there is one, into the chat template of the model's "
    "tokenizer: without `--apply_chat_template` it would be another prompt. The template must be that of the training, "
    "which an adapter's own tokenizer has."
)
_TEXT = (
    "The prompts are texts as poolmix's template `{name}` writes them for the training: run without "
    "`--apply_chat_template`, and with `add_bos_token=False` among the `--model_args`, since whatever a text begins "
    "with stands in it."
)
_ENDS = (
    "Replies are greedy, have at most {max_gen_toks} tokens, and end at the `eos_token_id` of the model's "
    "`generation_config.json`. Of an adapter's model the harness reads that of BASE: where ADAPTER has another (a base "
    "model that had to learn how turns end), measure the merged model (`python -m train merge`) in their place."
)
_WHY = {
    "no_answer": "{} without an answer to compare with",
    "no_reply": "{} that do not end with a reply",
    "several_turns": "{} with several turns, which the harness cannot ask as such",
    "template_refuses": "{} that the template cannot write",
    "tools": "{} with tools, which the harness does not hand to a chat template",
}


def calls_code(rule: str) -> str:
    """The module that the tasks name; `rule` is the package beside it."""
    return _CALLS.format(package=rule)


def task_yaml(about: About, source: str) -> str:
    """The task of one source."""
    prompt = 'doc_to_text: user\ndescription: "{{system}}"' if about["template"] is None else "doc_to_text: prompt"
    return _TASK.format(
        name=_quoted(f"{about['group']}_{source}"),
        source=_quoted(source),
        prompt=prompt,
        max_gen_toks=about["max_gen_toks"],
        until=_quoted(about["until"]),
        validation=_quoted(about["bundle"]["validation"]),
        rows=_quoted(about["rows"]["xxh3_128"]),
        rule=_quoted(about["rule"]),
    )


def group_yaml(about: About) -> str:
    """The group of all sources' tasks."""
    tasks = [f"{about['group']}_{source}" for source in about["rows"]["sources"]]
    return _GROUP.format(name=_quoted(about["group"]), tasks=_quoted(tasks))


def _quoted(value: Any) -> str:
    """A value in YAML, which reads JSON."""
    return json.dumps(value, ensure_ascii=False)


def command(about: About, folder: str) -> str:
    """How the tasks in a folder are run."""
    arguments, template = "pretrained=MODEL", " --apply_chat_template"
    if about["template"] is not None:
        arguments, template = "pretrained=MODEL,add_bos_token=False", ""
    tasks = f"--include_path {folder} --tasks {about['group']}"
    return f"lm_eval {tasks} --model hf --model_args {arguments} --batch_size 8{template}"


def readme(about: About, bundle: Mapping[str, Any]) -> str:
    """How the tasks are run, and what their numbers mean; `bundle` is the manifest of the bundle."""
    licences = {name: source["licence"] or "not stated" for name, source in bundle["sources"].items()}
    sources = about["rows"]["sources"]
    table = [f"| `{about['group']}_{name}` | {rows:,} | {licences.get(name, '')} |" for name, rows in sources.items()]
    prompts = _MESSAGES if about["template"] is None else _TEXT.format(name=about["template"]["name"])
    return _README.format(
        group=about["group"],
        name=about["bundle"]["name"],
        poolmix=about["poolmix"],
        command=command(about, "."),
        sources="\n".join(table),
        rows=_filled(_which(about)),
        prompts=_filled(prompts),
        ends=_filled(_ENDS.format(max_gen_toks=about["max_gen_toks"])),
        rule=about["rule"],
        validation=about["bundle"]["validation"],
        digest=about["rows"]["xxh3_128"],
    )


def _filled(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _which(about: About) -> str:
    """Which rows of the validation split are asked, and which are not."""
    of = "All" if about["limit"] is None else f"The first {about['limit']:,}"
    text = f"{of} rows of each source in the validation split; it stands by rank, the same for every model and mix."
    left_out = [_WHY[reason].format(f"{count:,}") for reason, count in about["rows"]["left_out"].items()]
    return f"{text} Left out: {'; '.join(left_out)}." if left_out else text
