"""A whole A/B experiment: two mixes, built, trained and evaluated with several seeds each, and compared.

Examples:
  python -m eval ab a=math_heavy b=chat_heavy
  python -m eval ab a=math_heavy b=chat_heavy seeds='[0,1,2,3,4]' target_tokens=50000 out=DIR
  python -m eval ab a=math_heavy b=natural build='[mix.total_rows=400]' sft='[train=quick, model=qwen3_0_6b]'

Often used:
  a=MIX  b=MIX            files of conf/mix; a list adds settings of that arm's builds alone:
                          b='[math_heavy, sources.mawps.options.assistant=equation]'
  seeds='[…]'             a run an arm for each; with one, the verdict is on two runs, not on mixes; 3 to 5 are good
  target_tokens=N         each run trains on so many (null: as many as the smallest bundle has)
  build='[…]'             settings of all builds
  sft='[…]'               settings of all trainings
  eval='[…]'              settings of all evaluations, [limit=50, eval.max_new_tokens=64]
  out=DIR                 everything goes there

Arms differ in their weights alone, and in what a list adds, which the comparison tells: the same sources, validation
rows, numbers of target tokens, seeds and settings; a seed decides a run's rows, their order and the adapter's first
weights. Interrupted, the same command with the same out= goes on where it stopped. The last line printed is the
comparison's folder.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pipeline.cli.front import Job
from pipeline.settings import Settings, is_text, is_text_list, is_whole


def run(config: dict[str, Any], job: Job) -> None:
    """Run the experiment, and print the comparison's folder."""
    from pipeline.cli import prepare_libraries, root

    prepare_libraries(None)
    from eval.ab import Experiment, run_experiment
    from pipeline.configuration import read_out
    from pipeline.errors import ConfigErrors, PoolmixError
    from train.settings import read_train_paths

    errors: list[PoolmixError] = []
    top = Settings(config, "", errors)
    top.known({"a", "b", "seeds", "target_tokens", "build", "sft", "eval", "buckets", "out", "seed", "paths"})
    seeds = top.required("seeds", _are_seeds, "a list of different whole numbers", "[0,1,2]", [])
    lists = {
        name: top.value(name, is_text_list, "a list of settings", example, [])
        for name, example in (("build", "[mix.total_rows=400]"), ("sft", "[train=quick]"), ("eval", "[limit=50]"))
    }
    asked = Experiment(
        a=_arm(top, "a", "math_heavy"),
        b=_arm(top, "b", "chat_heavy"),
        seeds=seeds,
        target_tokens=top.value("target_tokens", is_whole(1), "a whole number above 0", "50000"),
        buckets=top.value("buckets", is_text_list, "a list of buckets, or null", "[all]"),
        seed=top.required("seed", is_whole(0), "a whole number from 0", "42", 0),
        **lists,
    )
    out = read_out(top)
    paths = read_train_paths(config, errors)
    if errors:
        raise ConfigErrors(errors)
    name = f"ab-{asked.a[0]}-{asked.b[0]}-{datetime.now():%Y%m%d-%H%M%S}"
    folder = out or paths.runs / name
    print(run_experiment(asked, folder, paths, root(), job.command, config, lambda line: print(line, flush=True)))


def _arm(top: Settings, name: str, example: str) -> list[str]:
    """A mix, or a list of one and of settings of its builds."""
    told = top.required(name, _is_arm, "a mix, or a list of a mix and of settings of its builds", example, "")
    return [told] if isinstance(told, str) else list(told)


def _is_arm(value: Any) -> bool:
    return is_text(value) or (is_text_list(value) and bool(value) and "=" not in value[0])


def _are_seeds(value: Any) -> bool:
    whole = isinstance(value, list) and all(
        isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in value
    )
    return whole and bool(value) and len(set(value)) == len(value)
