"""Count what is in a bundle or pool: the fate of raw rows, lengths, turns, tags, repeats.

Examples:
  python -m pipeline stats
  python -m pipeline stats bundle=math_heavy-1a2b3c4d examples=10
  python -m pipeline stats pool=cmath
  python -m pipeline stats format=json | jq .sources.cmath.unique

Often used:
  bundle=PATH   the bundle: a folder, a name below paths.bundles, or latest
  pool=NAME     the newest pool of a source instead
  examples=N    list so many of the prompts that have several different answers
  format=json   one object on one line

Lengths are in characters (Unicode code points) of content, reasoning and tool calls: the answer is
the last message, the prompt everything before it. Repeated rows count as often as they are used.
Tokens are counted where the bundle has sequences (build tokenizer=NAME): those that are left after
cutting, target tokens those trained on.
"""

from __future__ import annotations

from typing import Any

from pipeline.cli.front import Job


def run(config: dict[str, Any], _job: Job) -> None:
    """Print the counts."""
    from pipeline.errors import ConfigErrors, PoolmixError
    from pipeline.manifest import read_whole
    from pipeline.pool import open_pool
    from pipeline.settings import Settings, bundle_setting, is_text, read_paths, whole_setting
    from pipeline.show.rows import json_line, refuse_both
    from pipeline.stats.counts import bundle_statistics, pool_statistics
    from pipeline.stats.text import statistics_lines

    errors: list[PoolmixError] = []
    top = Settings(config, "", errors)
    form = top.required("format", lambda value: value in ("table", "json"), "table or json", "json", "table")
    pool = top.value("pool", is_text, "the name of a source", "NAME")
    paths = read_paths(config, errors)
    if errors:
        raise ConfigErrors(errors)
    examples = whole_setting(config, "examples")
    if pool is not None:
        refuse_both(config)
        counts = pool_statistics(open_pool(pool, paths.pools), examples)
    else:
        counts = read_whole(*bundle_setting(config, "bundle"), lambda bundle: bundle_statistics(bundle, examples))
    print(json_line(counts) if form == "json" else "\n".join(statistics_lines(counts)))
