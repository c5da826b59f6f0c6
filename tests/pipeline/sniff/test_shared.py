"""Real data sets have the shape that they are known to have."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import SourceError
from pipeline.sniff.sniff import sniff

ALPACA = {"instruction": "instruction", "input": "input", "output": "output"}
FILES: dict[str, tuple[str, dict[str, str], int, int]] = {
    "alpaca/alpaca_data.json": ("alpaca", ALPACA, 3996, 4000),
    "cmath/deepseek_cmath_test.jsonl": (
        "columns",
        {"user": "question", "assistant": "golden", "answer": "golden"},
        1098,
        1098,
    ),
    "emoji_shape/bilingual_qa_emojishape.jsonl": ("emoji", {"question": "question"}, 2957, 2957),
    "gsm8k/test.jsonl": ("gsm8k", {"question": "question", "answer": "answer"}, 1319, 1319),
    "huanhuan/huanhuan.json": ("alpaca", ALPACA, 3729, 3729),
    "llamafactory/alpaca_zh_demo.json": ("alpaca", ALPACA, 1000, 1000),
    "llamafactory/identity.json": ("alpaca", ALPACA, 91, 91),
    "llamafactory/v1_sft_demo.jsonl": ("messages", {"messages": "messages"}, 500, 500),
    "mawps/mawps_n00_from_svamp.csv": ("mawps", {"question": "Question", "numbers": "Numbers"}, 1921, 1921),
}
# How many of these rows fit is for the shape's own tests.
NESTED: dict[str, tuple[str, dict[str, str], int]] = {
    "llamafactory/dpo_zh_demo.json": ("preference", {"chosen": "chosen", "rejected": "rejected"}, 300),
    "llamafactory/glaive_toolcall_zh_demo.json": (
        "sharegpt",
        {"conversations": "conversations", "tools": "tools"},
        300,
    ),
}


def found(path: Path, said: Any, roles: dict[str, str]) -> tuple[str, dict[str, str | None], int, int]:
    finding = sniff(str(path), 4000, 1_000_000)
    shape, columns = said(finding)
    return shape, {role: columns.get(role) for role in roles}, finding.kept, finding.records


@pytest.mark.parametrize("name", FILES)
def test_a_real_file_has_its_shape(shared: Path, said: Any, name: str) -> None:
    assert found(shared / name, said, FILES[name][1]) == FILES[name]


@pytest.mark.parametrize("name", NESTED)
def test_a_real_file_of_nested_rows_has_its_shape(shared: Path, said: Any, name: str) -> None:
    shape, columns, records = NESTED[name]
    got = found(shared / name, said, columns)
    assert (got[0], got[1], got[3]) == (shape, columns, records)
    assert got[2] >= 0.9 * records


@pytest.mark.parametrize("name", ["PROVENANCE.json", "README.md", "gsm8k/LICENSE", "qwen3_tokenizer"])
def test_what_is_no_training_data_is_refused(shared: Path, name: str) -> None:
    with pytest.raises(SourceError):
        sniff(str(shared / name), 4000, 1_000_000)


SAMPLES = {
    "alpaca.json": "alpaca",
    "cmath.jsonl": "columns",
    "emoji.jsonl": "emoji",
    "emoji_dpo.jsonl": "preference",
    "law.jsonl": "columns",
    "library.jsonl": "alpaca",
    "mawps.csv": "mawps",
    "tools.jsonl": "messages",
}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_have_their_shapes(root: Path, name: str) -> None:
    finding = sniff(str(root / "data_pools/samples" / name), 4000, 1_000_000)
    assert finding.kind.shape == SAMPLES[name]
    assert finding.kept >= 0.5 * finding.records
