"""Show what differs between two bundles: settings, training rows per source, validation.

Examples:
  python -m pipeline diff a=math_heavy-1a2b3c4d b=chat_heavy-5e6f7a8b
  python -m pipeline diff a=bundles/one b=bundles/two examples=10

Without b= the other bundle is the one built last. Rows are the same where source and key are, so
bundles built from other copies of the raw files compare well. The exit status is 0 whether or not
they differ.
"""

from __future__ import annotations

from typing import Any

from pipeline.cli.front import Job


def run(config: dict[str, Any], _job: Job) -> None:
    """Print the difference."""
    import polars as pl

    from pipeline.diff import Difference, diff
    from pipeline.manifest import Bundle, read_whole
    from pipeline.report import table
    from pipeline.settings import bundle_setting, whole_setting

    names = [bundle_setting(config, name) for name in ("a", "b")]
    examples = whole_setting(config, "examples")

    def compared(a: Bundle) -> tuple[Bundle, Bundle, Difference]:
        return read_whole(*names[1], lambda b: (a, b, diff(a, b)))

    a, b, found = read_whole(*names[0], compared)
    print(f"a  {a.folder}\nb  {b.folder}\n")
    print("configuration: the same" if not found.config else "configuration")
    settings = [[name, _short(one), _short(other)] for name, (one, other) in found.config.items()]
    print("\n".join(table(["setting", "a", "b"], settings, indent=2)) if settings else "", end="\n" if settings else "")
    print(f"\ntraining rows: {'the same, in the same order' if found.same_order else ''}".rstrip())
    columns = ["source", "rows_a", "rows_b", "both", "only_a", "only_b", "repeats"]
    lines = [[row[0], *(f"{value:,}" for value in row[1:])] for row in found.rows.select(columns).iter_rows()]
    head = ["source", "rows a", "rows b", "in both", "only a", "only b", "other repeats"]
    print("\n".join(table(head, lines, indent=2)))
    for source in found.rows["source"] if examples else []:
        for row in found.examples.filter(pl.col("source") == source).head(examples).iter_rows(named=True):
            print(f"    {row['id']}: {row['a']} × in a, {row['b']} × in b")
    if found.same_validation:
        print("\nvalidation: the same rows in the same order")
    else:
        only = f"{found.validation_only_a:,} rows only in a, {found.validation_only_b:,} only in b"
        print(f"\nvalidation: differs ({only})")


def _short(value: Any) -> str:
    text = "–" if value is None else str(value)
    return text if len(text) <= 50 else text[:47] + "…"
