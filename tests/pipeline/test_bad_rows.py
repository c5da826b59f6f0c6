"""A source of which too much is refused stops the build, with reasons and examples, whenever its pool was made."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.bad_rows import BadRows, read_bad_rows, require_good_rows
from pipeline.errors import PoolmixError, SourceError
from pipeline.ingest import make_pool
from pipeline.pool import Pool

GOOD = json.dumps({"instruction": "q", "output": "a"})
BAD = ["{", json.dumps({"instruction": "q", "output": ""}), "[]"]
LAX = BadRows("quarantine", 0.2)


def pool_of(source: Any, folder: Path, good: int, bad: int, kinds: int = 1) -> Pool:
    """The pool of a source with so many rows, the bad ones of so many kinds in turn."""
    lines = [GOOD] * good + [BAD[k % kinds] for k in range(bad)]
    (folder / "rows.jsonl").write_text("\n".join(lines))
    return make_pool(source("alpaca", {}, {}, path=str(folder / "rows.jsonl")), folder / "pools", 1000)


@pytest.mark.parametrize(("good", "bad", "stops"), [(80, 20, False), (79, 21, True), (16, 4, False), (15, 5, True)])
def test_more_than_the_share_stops(source: Any, tmp_path: Path, good: int, bad: int, stops: bool) -> None:
    pool = pool_of(source, tmp_path, good, bad)
    if stops:
        with pytest.raises(SourceError, match=f"{bad} of {good + bad} rows"):
            require_good_rows(pool, LAX)
        require_good_rows(pool, BadRows("quarantine", bad / (good + bad)))
    else:
        require_good_rows(pool, LAX)


def test_of_few_rows_only_the_last_counts(source: Any, tmp_path: Path) -> None:
    require_good_rows(pool_of(source, tmp_path, 1, 18), LAX)
    with pytest.raises(SourceError, match="3 of 3 rows"):
        require_good_rows(pool_of(source, tmp_path, 0, 3), LAX)
    require_good_rows(pool_of(source, tmp_path, 0, 0), LAX)


def test_the_commonest_reasons_are_named_with_an_example(source: Any, tmp_path: Path) -> None:
    pool = pool_of(source, tmp_path, 10, 14, kinds=3)
    with pytest.raises(SourceError) as error:
        require_good_rows(pool, LAX)
    lines = str(error.value).splitlines()
    assert "14 of 24 rows (58.3%)" in lines[0]
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["bad_json", "5,"],
        ["empty_answer", "5,"],
        ["wrong_type", "4,"],
    ]
    assert "rows.jsonl, line 11" in lines[1]
    assert "normalize.max_bad_share" in lines[-1]


def test_fail_stops_at_the_first(source: Any, tmp_path: Path) -> None:
    require_good_rows(pool_of(source, tmp_path, 3, 0), BadRows("fail", 1.0))
    with pytest.raises(SourceError, match=r"the first: rows\.jsonl, line 4: bad_json"):
        require_good_rows(pool_of(source, tmp_path, 3, 2), BadRows("fail", 1.0))


def test_a_pool_found_ready_is_judged_too(source: Any, tmp_path: Path) -> None:
    first, second = (pool_of(source, tmp_path, 10, 10) for _ in range(2))
    assert (first.made, second.made) == (True, False)
    for pool in (first, second):
        with pytest.raises(SourceError, match="10 of 20"):
            require_good_rows(pool, LAX)


@pytest.mark.parametrize(
    ("node", "wrong"),
    [
        ({"on_bad_rows": "quarantine", "max_bad_share": 0.2}, 0),
        ({"on_bad_rows": "fail", "max_bad_share": 0}, 0),
        ({"on_bad_rows": "skip", "max_bad_share": 1.5}, 2),
        ({}, 2),
    ],
)
def test_the_settings_are_checked(node: dict[str, Any], wrong: int) -> None:
    errors: list[PoolmixError] = []
    read_bad_rows({"normalize": node}, errors)
    assert len(errors) == wrong
