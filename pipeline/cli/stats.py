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
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.cli.front import Job

_ANSWERS = 3


def run(config: dict[str, Any], _job: Job) -> None:
    """Print the counts."""
    from pipeline.errors import ConfigErrors, PoolmixError
    from pipeline.manifest import open_bundle
    from pipeline.pool import open_pool
    from pipeline.settings import Settings, bundle_setting, is_text, read_paths, whole_setting
    from pipeline.show import json_line, refuse_both
    from pipeline.stats import bundle_statistics, pool_statistics

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
        counts = bundle_statistics(open_bundle(*bundle_setting(config, "bundle")), examples)
    print(json_line(counts) if form == "json" else "\n".join(_text(counts)))


def _text(counts: Mapping[str, Any]) -> Iterator[str]:
    from pipeline.show import visible

    yield visible(counts["name"])
    yield f"  {visible(counts.get('bundle') or counts['pool'])}"
    yield f"  {' · '.join(f'{split} {rows:,} rows' for split, rows in counts['rows'].items())}"
    yield from _section("From raw to unique rows", *_sources(counts["sources"]))
    yield from _reasons(counts["sources"])
    if "uses" in counts:
        yield from _section("Mix", *_mix(counts["sources"], counts["uses"]))
    yield from _section("Characters", *_characters(counts["splits"]))
    yield from _section("Rows", *_shape(counts["splits"]))
    splits = list(counts["rows"])
    yield from _section(
        "Tags",
        ["tag", *splits],
        [[visible(tag), *(f"{rows.get(split, 0):,}" for split in splits)] for tag, rows in counts["tags"].items()],
    )
    yield from _several(counts["several_answers"])


def _section(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    from pipeline.report import table

    yield ""
    yield title
    yield from table(head, rows, indent=2) if rows else ["  none"]


def _sources(sources: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    copies = list(dict.fromkeys(kind for entry in sources.values() for kind in entry["duplicates"]))
    rest = [key for key in ("unique", "validation", "available") if all(key in entry for entry in sources.values())]
    lines = {
        name: [
            entry["raw_rows"],
            sum(entry["quarantined"].values()),
            *(entry["duplicates"].get(kind, 0) for kind in copies),
            *(entry[key] for key in rest),
        ]
        for name, entry in sources.items()
    }
    if len(lines) > 1:
        lines["all"] = [sum(column) for column in zip(*lines.values(), strict=True)]
    head = ["source", "raw", "quarantined", *(f"copies {kind}" for kind in copies), *rest]
    return head, [[name, *(f"{number:,}" for number in numbers)] for name, numbers in lines.items()]


def _reasons(sources: Mapping[str, Any]) -> Iterator[str]:
    from pipeline.report import columns_wide

    refused = {name: entry["quarantined"] for name, entry in sources.items() if entry["quarantined"]}
    if not refused:
        return
    yield ""
    yield "Quarantined"
    width = max(map(columns_wide, refused))
    for name, reasons in refused.items():
        counts = " · ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items()))
        yield f"  {name}{' ' * (width - columns_wide(name))}  {counts}"


def _mix(sources: Mapping[str, Any], uses: Mapping[str, Mapping[int, int]]) -> tuple[list[str], list[list[str]]]:
    rows = [
        [
            name,
            f"{entry['requested_weight']:.4f}",
            f"{entry['achieved_weight']:.4f}",
            f"{entry['train_rows']:,}",
            f"{entry['epochs']:.2f}",
            _uses(uses[name]),
        ]
        for name, entry in sources.items()
    ]
    return ["source", "asked", "got", "rows", "epochs", "uses: rows"], rows


def _uses(histogram: Mapping[int, int]) -> str:
    """`1×: 200 · 2×: 50`; a long histogram (drawing with replacement) is cut."""
    parts = [f"{uses}×: {rows:,}" for uses, rows in list(histogram.items())[:6]]
    return " · ".join(parts + (["…"] if len(histogram) > 6 else [])) or "–"


def _characters(splits: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    head = ["source", "split", "prompt: median", "95 %", "max", "answer: median", "95 %", "max"]
    return head, [
        [
            line["source"],
            line["split"],
            *(f"{value:,}" for part in ("prompt", "answer") for value in line["characters"][part].values()),
        ]
        for line in splits
    ]


def _shape(splits: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    head = ["source", "split", "rows", "turns: median", "95 %", "max", "with tools", "reasoning", "answer"]
    return head, [
        [
            line["source"],
            line["split"],
            f"{line['rows']:,}",
            *(f"{value:,}" for counts in (line["turns"], line["with"]) for value in counts.values()),
        ]
        for line in splits
    ]


def _several(found: Mapping[str, Any]) -> Iterator[str]:
    from pipeline.show import visible

    yield from _section(
        f"Prompts with several answers: {found['prompts']:,}",
        ["source", "prompts"],
        [[name, f"{count:,}"] for name, count in found["sources"].items()],
    )
    for example in found["examples"]:
        yield f"  {visible(example['prompt'])}"
        rows = example["rows"]
        for row in rows[:_ANSWERS]:
            yield f"    {visible(row['id'])} ({row['split']})  {visible(row['answer'])}"
        if len(rows) > _ANSWERS:
            yield f"    … and {len(rows) - _ANSWERS:,} more"
