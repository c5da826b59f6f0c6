"""Tables stand straight in a terminal, whatever is in them."""

import sys

import polars as pl
import pytest

from pipeline.mix.order import order_rows
from pipeline.mix.plan import Mix, Stretch, measure
from pipeline.mix.strategies import plan_mix
from pipeline.report import columns_wide, mix_lines, progress, table


@pytest.mark.parametrize(
    ("text", "columns"),
    [("cmath", 5), ("数学", 4), ("é", 1), ("e\u0301", 1), ("😀", 2), ("ｱ", 1), ("Ａ", 2), ("a\u200bb", 2), ("", 0)],
)
def test_wide_signs_count_two_columns_and_combining_ones_none(text: str, columns: int) -> None:
    assert columns_wide(text) == columns


def test_columns_are_aligned_as_the_terminal_shows_them() -> None:
    rows = [["数学", "1", "甲"], ["emoji 😀", "1,234", "b"], ["cafe\u0301", "22", ""]]
    assert table(["source", "rows", "tag"], rows, indent=2) == [
        "  source     rows  tag",
        "  数学          1   甲",
        "  emoji 😀  1,234    b",
        "  cafe\u0301         22",
    ]
    ends = {columns_wide(line) for line in table(["source", "rows"], [row[:2] for row in rows])}
    assert len(ends) == 1


def test_progress_counts_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        with progress("normalize") as advance:
            advance(10)
            advance(25)
    assert capsys.readouterr().out == ""


def mixed(mix: Mix) -> list[str]:
    """The lines for twenty rows of `a` and ten of `b`, five tokens each."""
    size = 1 if mix.unit == "rows" else 5
    rows = pl.DataFrame({"source": ["a"] * 20 + ["b"] * 10, "key": [f"{k:02}" for k in range(30)]})
    rows = rows.with_row_index("at").with_columns(pl.lit(size, pl.Int64).alias("size"))
    plan = plan_mix(mix, measure(rows, ["a", "b", "c"]))
    return mix_lines(mix, plan, order_rows(rows, plan, 42))


def test_the_mix_is_shown_as_asked_and_as_got() -> None:
    assert mixed(Mix("test", {"a": 1, "b": 3, "c": 0}, "resample", total_rows=40)) == [
        "mix        resample → 40 training rows",
        "           source   asked     got  available  rows  epochs",
        "           a       0.2500  0.2500         20    10    0.50",
        "           b       0.7500  0.7500         10    30    3.00",
        "           c       0.0000  0.0000          0     0       –",
    ]


def test_other_units_have_a_column_and_stages_a_line() -> None:
    schedule = [Stretch(0.5, {"a": 4, "b": 1}), Stretch(1, {"b": 1})]
    mix = Mix("test", {"a": 1, "b": 1, "c": 0}, "resample", unit="target_tokens", total_tokens=100, schedule=schedule)
    assert mixed(mix) == [
        "mix        resample → 20 training rows, 100 target tokens",
        "           stage 1  to  50 %  a 0.80 · b 0.20",
        "           stage 2  to 100 %  b 1.00",
        "           source   asked     got  available  rows  epochs  target tokens",
        "           a       0.4000  0.4000         20     8    0.40             40",
        "           b       0.6000  0.6000         10    12    1.20             60",
        "           c       0.0000  0.0000          0     0       –              0",
    ]
