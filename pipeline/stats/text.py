"""The counts of a bundle or pool laid out as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.report import columns_wide, table
from pipeline.visible import visible

_ANSWERS = 3


def statistics_lines(counts: Mapping[str, Any]) -> Iterator[str]:
    """Everything that was counted in a bundle or pool, as tables."""
    yield visible(counts["name"])
    yield f"  {visible(counts.get('bundle') or counts['pool'])}"
    yield f"  {' · '.join(f'{split} {rows:,} rows' for split, rows in counts['rows'].items())}"
    yield from _section("From raw to unique rows", *_sources(counts["sources"]))
    yield from _reasons(counts["sources"])
    if "uses" in counts:
        unit = counts["mix"]["unit"].replace("_", " ")
        yield from _section("Mix" if unit == "rows" else f"Mix, in {unit}", *_mix(counts))
    if "tokens" in counts:
        yield from _tokens(counts["tokens"])
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
    refused = {name: entry["quarantined"] for name, entry in sources.items() if entry["quarantined"]}
    if not refused:
        return
    yield ""
    yield "Quarantined"
    width = max(map(columns_wide, refused))
    for name, reasons in refused.items():
        counts = " · ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items()))
        yield f"  {name}{' ' * (width - columns_wide(name))}  {counts}"


def _mix(counts: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Asked and got are in the unit of the mix, and so is the quota, which is shown where it is not rows."""
    columns: dict[str, Callable[[str, Any], str]] = {
        "asked": lambda _, entry: f"{entry['requested_weight']:.4f}",
        "got": lambda _, entry: f"{entry['achieved_weight']:.4f}",
        "rows": lambda _, entry: f"{entry['train_rows']:,}",
        "epochs": lambda _, entry: f"{entry['epochs']:.2f}",
    }
    if counts["mix"]["unit"] != "rows":
        columns["quota"] = lambda _, entry: f"{entry['quota']:,}"
    if "tokens" in counts:
        none = dict.fromkeys(("tokens", "share", "target_tokens", "target_share"), 0)
        train = counts["tokens"]["splits"]["train"]["sources"]
        columns |= {
            "tokens": lambda name, _: f"{train.get(name, none)['tokens']:,}",
            "share": lambda name, _: f"{train.get(name, none)['share']:.4f}",
            "target tokens": lambda name, _: f"{train.get(name, none)['target_tokens']:,}",
            "target share": lambda name, _: f"{train.get(name, none)['target_share']:.4f}",
        }
    columns |= {"uses: rows": lambda name, _: _uses(counts["uses"][name])}
    rows = [[name, *(cell(name, entry) for cell in columns.values())] for name, entry in counts["sources"].items()]
    return ["source", *columns], rows


def _tokens(tokens: Mapping[str, Any]) -> Iterator[str]:
    """How full the sequences are, and what was lost on the way to them."""
    packed = "packed" if tokens["pack"] else "one row each"
    facts = [
        tokens["tokenizer"]["name"],
        tokens["template"]["name"],
        f"sequences of {tokens['max_length']:,}, {packed}",
    ]
    whole = ("sequences", "fill", "rows", "tokens", "target_tokens")
    yield from _section(
        visible(f"Tokens ({' · '.join(facts)})"),
        ["split", *(name.replace("_", " ") for name in whole)],
        [
            [name, *(f"{split[key]:.4f}" if key == "fill" else f"{split[key]:,}" for key in whole)]
            for name, split in tokens["splits"].items()
        ],
    )
    lines = [
        (source, name, entry) for name, split in tokens["splits"].items() for source, entry in split["sources"].items()
    ]
    reasons = sorted({reason for _, _, entry in lines for reason in entry["dropped"]})
    lost = ("lost_tokens", "lost_target_tokens")
    yield from _section(
        f"Lost on the way to sequences (long rows: {tokens['on_long']})",
        ["source", "split", *(f"rows {reason}" for reason in reasons), "tokens", "target tokens"],
        [
            [source, name, *(f"{entry['dropped'].get(reason, 0):,}" for reason in reasons)]
            + [f"{entry[key]:,}" for key in lost]
            for source, name, entry in sorted(lines, key=lambda line: line[:2])
            if entry["dropped"] or any(entry[key] for key in lost)
        ],
    )


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
