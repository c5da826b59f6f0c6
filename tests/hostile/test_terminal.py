"""What comes from data or names reaches a terminal as text: captured from a real one, no control sequence is in it."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.__main__ import PROGRAM
from pipeline.cli.front import main
from pipeline.cli.front.outlet import outlets, prints_rows
from pipeline.errors import StoreError
from tests.hostile.attacks import CONTROL, build_of, captured, run, write_rows

# Clear the screen, set the clipboard and a title, a link, C1's CSI, ring, go back, begin the line anew, turn it round.
EVIL = "\x1b[2J\x1b]52;c;ZXZpbA==\x07\x1b]0;t\x1b\\\x1b]8;;http://evil\x07x\x9b31m\x07\b\b\rok\u202e\u2066\x7f\x0b\x0c\u2028"
NAME = "ev\x1b[31mil\x9b5m\u202e\rname"  # of a file
PAINTED = re.compile(r"\x1b\[[0-9;]*m")  # what `show` itself writes


SOURCE = "+sources.mine={path: data, shape: columns, columns: {user: question, assistant: answer, tags: t}}"
SETTINGS = ("normalize.max_bad_share=0.9", "template=chatml")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle and pool of hostile rows, tags and columns, a third of them refused, from a file with a hostile name."""
    folder = tmp_path_factory.mktemp("terminal")
    rows = [
        {"question": f"{EVIL} {at}", "answer": f"{EVIL}{at}" if at % 3 else "", "t": [EVIL], EVIL: EVIL}
        for at in range(12)
    ]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) + '{"question": "' + "\x9b\x7f" + "\n"
    (folder / "data").mkdir()
    (folder / "data" / f"{NAME}.jsonl").write_text(text, "utf-8")
    done = run(["build", "mix=custom", SOURCE, "+mix.weights.mine=1", *SETTINGS, "out=bundle"], folder)
    assert done.returncode == 0, done.stderr
    return folder


def control(text: str) -> list[str]:
    """What a terminal would act upon: all but line ends, tabs and our colours."""
    return CONTROL.findall(PAINTED.sub("", text.replace("\r\n", "\n")))


@pytest.mark.parametrize(
    "command",
    [
        ["show", "bundle=bundle", "n=20"],
        ["show", "bundle=bundle", "quarantine=true"],
        ["show", "bundle=bundle", "id=mine:0"],
        ["show", "bundle=bundle", f"tag={EVIL}x"],
        ["stats", "bundle=bundle", "examples=3"],
        ["pools"],
        ["sniff", "path=data"],
        ["verify", f"bundle=no{EVIL}"],
        ["build", "mix=custom", SOURCE, "+mix.weights.mine=1", "template=chatml"],  # refused: too many bad rows
        ["build", "mix=custom", f"+sources.mine={{path: 'data/{NAME}', shape: columns}}", "+mix.weights.mine=1"],
        ["build", f"mi{EVIL}x=1"],
        [f"bu{EVIL}ild"],
    ],
    ids=lambda command: " ".join(command).encode("ascii", "backslashreplace").decode()[:40],
)
def test_no_control_sequence_of_data_or_names_reaches_the_terminal(command: list[str], work: Path) -> None:
    text = captured(command, work)
    assert text.strip()
    assert control(text) == []
    if command[0] != "show":
        assert PAINTED.search(text) is None


def test_our_colours_are_there_and_the_rows_can_be_read(work: Path) -> None:
    text = captured(["show", "bundle=bundle", "n=1"], work)
    assert PAINTED.search(text)
    assert r"\x1b[2J\x1b]52;c;ZXZpbA==\x07" in text
    assert r"\x9b31m" in text


def test_what_sniff_prints_is_the_yaml_of_the_source(work: Path) -> None:
    found = yaml.safe_load(captured(["sniff", "path=data"], work).replace("\r\n", "\n"))
    assert (found["path"], found["shape"]) == ("data", "columns")
    text = run(["sniff", f"path=data/{NAME}.jsonl"], work).stdout
    assert CONTROL.search(text) is None
    assert yaml.safe_load(text)["path"] == f"data/{NAME}.jsonl"


def test_a_progress_bar_still_moves_and_its_title_does_not_act() -> None:
    from tqdm import tqdm

    before, sys.stderr = sys.stderr, io.StringIO()
    try:
        with outlets():
            for _ in tqdm(range(3), desc=f"file {EVIL}", mininterval=0, position=1):
                pass
        text = sys.stderr.getvalue()
    finally:
        sys.stderr = before
    assert "\r" in text
    assert "\x1b[A" in text
    assert set(CONTROL.findall(text.replace("\x1b[A", ""))) == {"\r"}
    assert "\x1b[2J" not in text


def test_streams_are_themselves_again_and_a_bug_is_told_safely(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with outlets():
        print(EVIL, end="")
        print(EVIL, end="", file=sys.stderr)
    assert (sys.stdout, sys.stderr) == before
    error = ValueError(EVIL)
    sys.excepthook(ValueError, error, None)
    out, err = capsys.readouterr()
    assert CONTROL.findall(out + err) == []
    assert "ValueError" in err


def test_rows_that_are_printed_stay_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with outlets():
        prints_rows()
        print("\x1b[32mhf_" + "a" * 34)
    assert capsys.readouterr().out == "\x1b[32mhf_" + "a" * 34 + "\n"


def test_a_name_with_line_breaks_makes_no_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", 40)
    paths = [f"paths.pools={tmp_path / 'pools'}", f"paths.bundles={tmp_path}"]
    assert main(PROGRAM, [*build_of(str(rows), "template=none"), *paths, f"out={tmp_path / 'b'}"]) == 0
    forged = "x\nok      keys\nb: all promises hold"
    (tmp_path / "b" / forged).touch()
    capsys.readouterr()
    assert main(PROGRAM, ["verify", f"bundle={tmp_path / 'b'}", *paths]) == 3
    assert not set(forged.splitlines()) & set(capsys.readouterr().out.splitlines())
    error = str(StoreError(forged, "is wrong", forged))
    assert len(error.splitlines()) == 2
    assert error.count("\\n") == 4
