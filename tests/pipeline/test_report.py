"""Tables stand straight in a terminal, whatever is in them."""

import sys

import pytest

from pipeline.report import columns_wide, progress, table


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
