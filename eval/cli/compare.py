"""Compare two runs, or two arms of several runs, on the same validation rows.

Examples:
  python -m eval compare a=RUN b=RUN
  python -m eval compare a='[RUN, RUN, RUN]' b='[RUN, RUN, RUN]' names='[math_heavy, chat_heavy]'
  python -m eval compare a=DIR b=DIR eval.buckets='[all, cmath]' out=DIR

Often used:
  a=RUN  b=RUN         a run's folder or name that `eval run` has measured, or the folder of an evaluation;
                       a list of them is one arm: what is said is then said of arms, not of two runs
  names='[old, new]'   what they are called (else: arms by their mixes, two runs A and B)
  eval.buckets='[…]'   of all, each source, each tag:NAME
  out=DIR              write the comparison there

Differences are paired by row. Intervals and p of two runs are over prompts; those of arms are over training
runs, too. p is corrected for all comparisons shown (Holm). The last line printed is the comparison's folder:
metrics.json, metrics.csv, report.html.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pipeline.cli.front import Job


def run(config: dict[str, Any], job: Job) -> None:
    """Compare, and print the comparison's folder."""
    from pipeline.cli import prepare_libraries

    prepare_libraries(None)
    from eval.compare import Comparison, compare, find_results, usual_names
    from pipeline.configuration import read_out
    from pipeline.errors import ConfigErrors, PoolmixError
    from pipeline.settings import Settings, is_text_list, is_whole
    from train.settings import read_train_paths

    errors: list[PoolmixError] = []
    top = Settings(config, "", errors)
    top.known({"a", "b", "names", "out", "seed", "eval", "paths"})
    arms = [_arm(top, key) for key in ("a", "b")]
    names = top.value("names", _is_pair, "two different names", "[old, new]")
    seed = top.required("seed", is_whole(0), "a whole number from 0", "42", 0)
    out = read_out(top)
    node = Settings(config.get("eval"), "eval", errors)
    node.known({"buckets"})
    chosen = node.value("buckets", is_text_list, "a list of buckets, or null", "[all]")
    paths = read_train_paths(config, errors)
    if errors:
        raise ConfigErrors(errors)
    a, b = (find_results(arm, paths.runs) for arm in arms)
    target = out or paths.runs / f"compare-{datetime.now():%Y%m%d-%H%M%S}"
    asked = Comparison((a, b), (names[0], names[1]) if names else usual_names((a, b)), chosen, seed)
    print(compare(asked, target, paths.pools, job.command, config, lambda line: print(line, flush=True)))


def _arm(top: Any, key: str) -> list[str]:
    value = top.node.get(key)
    named = [value] if isinstance(value, str) else value
    if not isinstance(named, list) or not named or not all(isinstance(one, str) and one.strip() for one in named):
        top.wrong(key, value, "a run, or a list of runs", "RUN")
        return []
    return named


def _is_pair(value: Any) -> bool:
    named = isinstance(value, list) and all(isinstance(one, str) and one.strip() for one in value)
    return named and len(value) == len(set(value)) == 2
